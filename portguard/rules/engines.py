"""Container engines: one record each. Pure data; what an engine is called, where it is, and what it starts.

A new engine is one more record here, and in `engines/containers.py` a parser if it prints what none of those reads.
Nothing else in the package compares an engine's name.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Engine(NamedTuple):
    """A container engine. Process names are as the system shows them, before it cuts them off.

    `name` is its command and what documents call it, `kind` the words before a container's name. `sockets` are where
    its API may listen, each with a few words on it; {runtime} and {home} are the user's directories. `headers` are how
    its API's answers begin a line that no other engine's has, in lower case.

    `ps` lists the running containers as JSON; if it is None, `ps --quiet --no-trunc` and `inspect` do. `own_list` is a
    resource of its API that says more than Docker's. `find` finds the container behind {port}. `has_compose`: the
    compose plugin manages its containers.

    `forwarders` hold ports for its containers and for no other engine's; of these, `publishers` publish ports of their
    own, `proxies` name their target and `monitor` its container in their arguments. `runtimes` start containers, each
    with the words for that.
    """

    name: str
    kind: str
    sockets: tuple[tuple[str, str], ...]
    headers: tuple[bytes, ...] = ()
    ps: tuple[str, ...] | None = None
    own_list: str | None = None
    find: str = ""
    has_compose: bool = False
    forwarders: tuple[str, ...] = ()
    publishers: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    monitor: str | None = None
    runtimes: Mapping[str, str] = {}


# docs.docker.com: rootless mode, Docker Desktop for macOS and Linux; moby, cmd/docker-proxy.
DOCKER = Engine(
    name="docker",
    kind="container",
    sockets=(
        ("/var/run/docker.sock", "docker's default"),
        ("{runtime}/docker.sock", "rootless docker"),
        ("{home}/.docker/run/docker.sock", "Docker Desktop"),
        ("{home}/.docker/desktop/docker.sock", "Docker Desktop"),
    ),
    find="docker ps --filter publish={port}",
    has_compose=True,
    forwarders=(
        "docker-proxy",
        "dockerd",
        "com.docker.backend",
        "com.docker.proxy",
        "com.docker.vpnkit",
        "rootlesskit-docker-proxy",
    ),
    publishers=("dockerd",),
    proxies=("docker-proxy", "rootlesskit-docker-proxy"),
    runtimes={"docker-init": "a container engine", "dockerd": "docker"},
)
# podman-system-service(1), podman-ps(1), conmon(8).
PODMAN = Engine(
    name="podman",
    kind="podman container",
    sockets=(("{runtime}/podman/podman.sock", "rootless podman"), ("/run/podman/podman.sock", "podman")),
    headers=(b"libpod-api-version:", b"server: libpod/"),
    ps=("ps", "--no-trunc", "--format", "json"),
    own_list="/v4.0.0/libpod/containers/json",
    find="podman ps",
    forwarders=("conmon", "rootlessport", "gvproxy"),
    monitor="conmon",
    runtimes={"conmon": "podman"},
)
ENGINES = {engine.name: engine for engine in (DOCKER, PODMAN)}
DEFAULT = DOCKER  # whose command line, contexts and compose plugin others imitate

# Hold ports for containers of any engine, or for virtual machines that engines run in.
_SHARED_FORWARDERS = (
    "OrbStack", "OrbStack Helper", "limactl", "passt", "pasta", "pasta.avx2", "rootlesskit", "slirp4netns", "vpnkit",
    "vpnkit-bridge", "wslrelay",
)  # fmt: skip
FORWARDERS = frozenset((*_SHARED_FORWARDERS, *(name for engine in ENGINES.values() for name in engine.forwarders)))
RUNTIMES = {
    "containerd-shim": "a container engine",
    "containerd-shim-runc-v2": "a container engine",
    "lxc-start": "LXC",
    "systemd-nspawn": "systemd-nspawn",
} | {name: words for engine in ENGINES.values() for name, words in engine.runtimes.items()}
_COMM_LENGTHS = (15, 16)  # bytes of a process's name: TASK_COMM_LEN on Linux, MAXCOMLEN on macOS


def is_forwarder(name: str | None, *, platform: str = "linux") -> bool:
    """Whether a process of this name holds ports for containers: ending it breaks the port, and the container runs on.

    Names may be cut off as the system does. On macOS `ssh` is one: colima forwards through it.
    """
    if name is None:
        return False
    bare = name.removesuffix(".exe")
    if bare in FORWARDERS or bare.startswith("com.docker.") or (platform == "darwin" and bare == "ssh"):
        return True
    return len(bare) in _COMM_LENGTHS and any(full.startswith(bare) for full in FORWARDERS)


def engine_of(names: Iterable[str | None]) -> Engine | None:
    """Return the engine whose own forwarder has one of these names, None if it may be any engine's."""
    for name in names:
        for engine in ENGINES.values():
            if name is not None and name.startswith(engine.forwarders):
                return engine
    return None


def known(name: str) -> Engine:
    """Return the engine of this name, the default one for an unknown name."""
    return ENGINES.get(name, DEFAULT)
