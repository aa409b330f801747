"""Who forwards for containers: every such program by every name it may have, and no one else."""

from __future__ import annotations

import pytest

from portguard.rules.engines import (
    DOCKER,
    ENGINES,
    FORWARDERS,
    PODMAN,
    RUNTIMES,
    Engine,
    engine_of,
    is_forwarder,
    known,
)

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
def test_a_name_counts_whole(name: str | None, expected: bool) -> None:
    """A name counts whole, or cut to exactly the length that Linux (15) or macOS (16) leaves of it."""
    assert is_forwarder(name) is expected


def test_on_macos_ssh_forwards_for_colima() -> None:
    """On macOS ssh forwards for colima; the same name elsewhere, and another name there, do not."""
    assert is_forwarder("ssh", platform="darwin")
    assert not is_forwarder("sshd", platform="darwin")
    assert not is_forwarder("ssh", platform="linux")
    assert not is_forwarder("ssh")


def test_the_records_of_the_engines() -> None:
    """What each engine is called, where it listens, and what it is asked, word for word: commands are made of it."""
    assert {"docker": DOCKER, "podman": PODMAN} == ENGINES
    assert (DOCKER.kind, DOCKER.find, DOCKER.has_compose) == ("container", "docker ps --filter publish={port}", True)
    assert (DOCKER.ps, DOCKER.own_list, DOCKER.headers, DOCKER.monitor) == (None, None, (), None)
    assert [path for path, _ in DOCKER.sockets] == [
        "/var/run/docker.sock",
        "{runtime}/docker.sock",
        "{home}/.docker/run/docker.sock",
        "{home}/.docker/desktop/docker.sock",
    ]
    assert (DOCKER.publishers, DOCKER.proxies) == (("dockerd",), ("docker-proxy", "rootlesskit-docker-proxy"))
    assert (PODMAN.kind, PODMAN.find, PODMAN.has_compose) == ("podman container", "podman ps", False)
    assert (PODMAN.ps, PODMAN.own_list) == (
        ("ps", "--no-trunc", "--format", "json"),
        "/v4.0.0/libpod/containers/json",
    )
    assert PODMAN.headers == (b"libpod-api-version:", b"server: libpod/")
    assert [path for path, _ in PODMAN.sockets] == ["{runtime}/podman/podman.sock", "/run/podman/podman.sock"]
    assert (PODMAN.monitor, PODMAN.publishers, PODMAN.proxies) == ("conmon", (), ())
    assert Engine("x", "x", ()) == ("x", "x", (), (), None, None, "", False, (), (), (), None, {})


def test_runtimes_have_the_words_for_what_they_start() -> None:
    """A process that one of these started is said to run in a container."""
    assert RUNTIMES == {
        "conmon": "podman",
        "containerd-shim": "a container engine",
        "containerd-shim-runc-v2": "a container engine",
        "docker-init": "a container engine",
        "dockerd": "docker",
        "lxc-start": "LXC",
        "systemd-nspawn": "systemd-nspawn",
    }


def test_the_engine_of_a_forwarder() -> None:
    """A forwarder of one engine alone tells it; one that several use tells nothing; unknown names mean the default."""
    assert engine_of(["node", None, "conmon"]) is PODMAN
    assert engine_of(["docker-proxy"]) is DOCKER
    assert engine_of(["slirp4netns", "node"]) is None
    assert (known("podman"), known("nerdctl")) == (PODMAN, DOCKER)
