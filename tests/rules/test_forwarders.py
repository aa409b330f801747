"""Who forwards for containers: every such program by every name it may have, and nobody else."""

from __future__ import annotations

import pytest

from portguard.rules.engines import FORWARDERS, is_forwarder

# Those that docker, podman, their rootless modes and virtual machines are known to use; see docs/guarantees.md.
KNOWN = """
OrbStack, OrbStack Helper, com.docker.backend, com.docker.proxy, com.docker.vpnkit, conmon, docker-proxy, dockerd
gvproxy, limactl, passt, pasta, pasta.avx2, rootlesskit, rootlesskit-docker-proxy, rootlessport, slirp4netns, vpnkit
vpnkit-bridge, wslrelay
"""


def test_all_of_them() -> None:
    """None of the known forwarders has been lost from the table, and none is an accident."""
    assert sorted(FORWARDERS) == sorted(name.strip() for name in KNOWN.replace("\n", ",").split(",") if name.strip())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dockerd", True),
        ("dockerd.exe", True),
        ("docker", False),
        ("com.docker.anything", True),
        ("com.docker.", True),
        ("com.docker", False),
        ("rootlesskit-doc", True),
        ("rootlesskit-dock", True),
        ("rootlesskit-docke", False),
        ("rootlesskit-do", False),
        ("rootlesskit-dox", False),
        ("OrbStack Helpe", False),
        ("", False),
        (None, False),
    ],
)
def test_names(name: str | None, expected: bool) -> None:
    """A name counts whole, or cut to exactly the length that Linux (15) or macOS (16) leaves of it."""
    assert is_forwarder(name) is expected


def test_ssh() -> None:
    """On macOS ssh forwards for colima; the same name elsewhere, and another name there, do not."""
    assert is_forwarder("ssh", platform="darwin")
    assert not is_forwarder("sshd", platform="darwin")
    assert not is_forwarder("ssh", platform="linux")
    assert not is_forwarder("ssh")
