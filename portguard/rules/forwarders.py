"""Processes that hold ports for containers. Pure: names in, yes or no out; the one answer to that question.

Ending one breaks the container's port and leaves the container running.
"""

from __future__ import annotations

# fmt: off
FORWARDERS = frozenset((
    "OrbStack", "OrbStack Helper", "com.docker.backend", "com.docker.proxy", "com.docker.vpnkit", "conmon",
    "docker-proxy", "dockerd", "gvproxy", "limactl", "passt", "pasta", "pasta.avx2", "rootlesskit",
    "rootlesskit-docker-proxy", "rootlessport", "slirp4netns", "vpnkit", "vpnkit-bridge", "wslrelay",
))
# fmt: on
_COMM_LENGTHS = (15, 16)  # bytes of a process's name: TASK_COMM_LEN on Linux, MAXCOMLEN on macOS


def is_forwarder(name: str | None, *, platform: str = "linux") -> bool:
    """Whether a process of this name holds ports for containers. Names may be cut as the system cuts them.

    On macOS `ssh` is one: colima forwards through it.
    """
    if name is None:
        return False
    bare = name.removesuffix(".exe")
    if bare in FORWARDERS or bare.startswith("com.docker.") or (platform == "darwin" and bare == "ssh"):
        return True
    return len(bare) in _COMM_LENGTHS and any(full.startswith(bare) for full in FORWARDERS)
