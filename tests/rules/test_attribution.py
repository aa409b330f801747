"""Which container a holder is, and what control groups tell: tables of shapes, and hostile ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portguard.model import Container
from portguard.rules import attribution
from portguard.rules.attribution import Published, Running, container_id_of, match, unit_of, user_of
from portguard.rules.engines import is_forwarder

A, B, C = "a" * 64, "0123456789abcdef" * 4, "c" * 64


def container(name: str, *ports: tuple[str, int, str], engine: str = "docker", **more: Any) -> Running:
    """Return a container that publishes (address, port, protocol) each."""
    published = tuple(Published(address, port, 80, protocol) for address, port, protocol in ports)
    return Running(Container(engine, name * 64, name), published, **more)


def named(found: Running | None) -> str | None:
    """Return the container's name."""
    return None if found is None else found.identity.name


@pytest.mark.parametrize(
    ("published", "held", "matches"),
    [
        ("0.0.0.0", "0.0.0.0", True), ("::", "::", True), ("127.0.0.1", "127.0.0.1", True), ("::1", "::1", True),
        # Podman's interface leaves the wildcard out.
        ("", "0.0.0.0", True), ("", "::", True), ("", "127.0.0.1", True), ("", "::1", True),
        # Dual-stack forwarders, and those of virtual machines on the loopback address.
        ("0.0.0.0", "::", True), ("0.0.0.0", "127.0.0.1", True), ("::", "::1", True), ("::", "0.0.0.0", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True), ("0:0:0:0:0:0:0:1", "::1", True), ("fe80::1", "fe80::1%eth0", True),
        ("127.0.0.1", "0.0.0.0", False), ("127.0.0.1", "127.0.0.2", False), ("127.0.0.1", "::1", False),
        ("::1", "::", False), ("192.0.2.1", "127.0.0.1", False), ("nonsense", "127.0.0.1", False),
        ("\x1b[2J", "0.0.0.0", False), ("nonsense:", "::", False),
    ],
)  # fmt: skip
def test_addresses(published: str, held: str, matches: bool) -> None:
    """A container is the holder's exactly when the address is the same, or it is published on every address."""
    found = match("tcp", held, 8080, [container("a", (published, 8080, "tcp"))])

    assert (found is not None) is matches


def test_port_and_protocol() -> None:
    """Neither another port nor the other protocol matches."""
    running = [container("a", ("", 8080, "tcp")), container("b", ("", 8080, "udp")), container("c", ("", 8081, "tcp"))]

    assert named(match("tcp", "0.0.0.0", 8080, running)) == "a"
    assert named(match("udp", "0.0.0.0", 8080, running)) == "b"
    assert named(match("tcp", "0.0.0.0", 8081, running)) == "c"
    assert match("udp", "0.0.0.0", 8081, running) is None
    assert match("tcp", "0.0.0.0", 8080, []) is None


def test_the_closest_wins() -> None:
    """Each holder is its own address's container, then a wildcard's of the same family, then of the other one."""
    running = [
        container("a", ("::", 80, "tcp")),
        container("b", ("0.0.0.0", 80, "tcp")),
        container("c", ("127.0.0.1", 80, "tcp")),
    ]
    for order in (running, running[::-1]):
        assert named(match("tcp", "0.0.0.0", 80, order)) == "b"
        assert named(match("tcp", "::", 80, order)) == "a"
        assert named(match("tcp", "127.0.0.1", 80, order)) == "c"
        assert named(match("tcp", "127.0.0.2", 80, order)) == "b"
        assert named(match("tcp", "::1", 80, order)) == "a"


@pytest.mark.parametrize(
    ("forwarder", "name"),
    [("docker-proxy", "a"), ("dockerd", "a"), ("conmon", "b"), ("rootlessport", "b"), ("pasta", "a"), (None, "a")],
)
def test_two_engines(forwarder: str | None, name: str) -> None:
    """Where two engines claim one endpoint, the forwarder's own is believed, and otherwise the first."""
    running = [container("a", ("", 80, "tcp")), container("b", ("", 80, "tcp"), engine="podman")]

    assert named(match("tcp", "0.0.0.0", 80, running, forwarder=forwarder)) == name


def test_known_forwarders_are_recognised() -> None:
    """Known forwarders are recognised, also cut as the kernel cuts names; servers are not, and ssh on macOS alone."""
    for name in ("docker-proxy", "dockerd", "conmon", "rootlessport", "com.docker.backend", "com.docker.back",
                 "com.docker.backend.exe", "wslrelay.exe", "pasta.avx2", "rootlesskit", "slirp4netns", "gvproxy",
                 "OrbStack Helper", "limactl", "rootlesskit-doc"):  # fmt: skip
        assert is_forwarder(name), name
    for other in (None, "", "node", "docker", "docker-proxy ", "com.docker", "ssh", "python3", "Docker-Proxy"):
        assert not is_forwarder(other), other
    assert is_forwarder("ssh", platform="darwin")


def test_by_id_and_address() -> None:
    """Containers are found by identifier and by their own address; never by nothing."""
    running = [container("a"), container("b", addresses=("172.17.0.2", "fd00:0::2"))]

    assert named(attribution.by_id("b" * 64, running)) == "b"
    assert attribution.by_id(None, running) is None
    assert attribution.by_id("", running) is None
    assert named(attribution.by_address("172.17.0.2", running)) == "b"
    assert named(attribution.by_address("fd00::2", running)) == "b"
    assert attribution.by_address("", running) is None


@pytest.mark.parametrize(
    ("more", "ports", "expected"),
    [
        ({"asked": (Published("", 80, 80, "tcp"),)}, (), True),
        ({"asked": (Published("", 0, 80, "tcp"),)}, (), True),
        ({"asked": (Published("", 80, 80, "tcp"),), "state": "paused"}, (), True),
        ({"asked": (Published("", 80, 80, "tcp"),), "state": "restarting"}, (), False),
        ({"asked": (Published("", 80, 80, "tcp"),), "is_host_network": True}, (), False),
        ({"asked": (Published("", 80, 80, "tcp"),)}, (("", 80, "tcp"),), False),
        ({}, (), False),
    ],
)
def test_only_a_container_that_is_up(
    more: dict[str, Any], ports: tuple[tuple[str, int, str], ...], expected: bool
) -> None:
    """Only a container that is up, asks for ports and has none publishes nothing against its will."""
    assert attribution.publishes_nothing(container("a", *ports, **more)) is expected


USER = "0::/user.slice/user-1000.slice/user@1000.service"
V1 = "12:pids:{0}\n11:memory:{0}\n1:name=systemd:{0}\n0::/\n"

CGROUPS: dict[str, tuple[str, str | None, tuple[str, bool] | None]] = {
    "docker, version 1, cgroupfs": (V1.format(f"/docker/{B}"), B, None),
    "docker, version 1, systemd": (V1.format(f"/system.slice/docker-{B}.scope"), B, None),
    "docker, version 2, cgroupfs": (f"0::/docker/{B}", B, None),
    "docker, version 2, systemd": (f"0::/system.slice/docker-{B}.scope\n", B, None),
    "docker, own parent": (V1.format(f"/some-parent/{B}"), B, None),
    "docker in docker": (f"0::/docker/{A}/docker/{B}", B, None),
    "docker, below its own service": (f"0::/system.slice/docker.service/docker/{B}", B, None),
    "docker, rootless": (f"{USER}/user.slice/docker-{B}.scope", B, None),
    "docker, a systemd inside": (f"0::/system.slice/docker-{B}.scope/system.slice/nginx.service", B, None),
    "docker, a systemd inside, cgroupfs": (f"0::/docker/{B}/system.slice/nginx.service", B, None),
    "podman": (f"0::/machine.slice/libpod-{B}.scope/container", B, None),
    "podman, version 1": (V1.format(f"/machine.slice/libpod-{B}.scope"), B, None),
    "podman, cgroupfs": (V1.format(f"/libpod_parent/libpod-{B}"), B, None),
    "podman, rootless": (f"{USER}/user.slice/libpod-{B}.scope/container", B, None),
    "podman, conmon": (f"0::/machine.slice/libpod-conmon-{B}.scope", B, None),
    "podman, in its unit": (f"0::/system.slice/web.service/libpod-payload-{B}", B, ("web.service", False)),
    "podman, in a user's unit": (f"{USER}/app.slice/web.service/libpod-payload-{B}", B, ("web.service", True)),
    "containerd": (f"0::/default/{B}", B, None),
    "CRI, version 1": (f"4:cpu:/kubepods/burstable/pod12345678-1234/{B}", B, None),
    "CRI, systemd": (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{B}.scope", B, None),
    "CRI, containerd's form": (f"9:cpu:/system.slice/containerd.service/kube-pod1.slice:cri-containerd:{B}", B, None),
    "CRI-O": (f"0::/kubepods.slice/kubepods-pod1.slice/crio-{B}.scope/container", B, None),
    "container that is being removed": (f"0::/docker/{B} (deleted)", B, None),
    "own view from inside": ("0::/", None, None),
    "system service": ("0::/system.slice/nginx.service", None, ("nginx.service", False)),
    "system service, version 1": (V1.format("/system.slice/nginx.service"), None, ("nginx.service", False)),
    "system service, mixed": (
        "1:name=systemd:/system.slice/nginx.service\n0::/system.slice/nginx.service", None, ("nginx.service", False),
    ),
    "system service, version 1 without systemd's": ("4:memory:/system.slice/nginx.service", None, None),
    "service with groups below": ("0::/system.slice/php.service/pool/www", None, ("php.service", False)),
    "service in slices": ("0::/system.slice/system-pg.slice/pg@15-main.service", None, ("pg@15-main.service", False)),
    "service with an escape": (
        r"0::/system.slice/dev@home-x\x2dy.service", None, (r"dev@home-x\x2dy.service", False),
    ),
    "service with the kernel's own name": ("0::/system.slice/_cpu.service", None, ("cpu.service", False)),
    "service at the root": ("0::/nginx.service", None, ("nginx.service", False)),
    "service that is being removed": ("0::/system.slice/nginx.service (deleted)", None, ("nginx.service", False)),
    "user service": (f"{USER}/app.slice/syncthing.service", None, ("syncthing.service", True)),
    "user service, old": (f"{USER}/dbus.service", None, ("dbus.service", True)),
    "user's manager itself": (f"{USER}/init.scope", None, None),
    "user's terminal": (f"{USER}/app.slice/vte-spawn-1.scope", None, None),
    "user@ alone": (USER, None, None),
    "session": ("0::/user.slice/user-1000.slice/session-3.scope", None, None),
    "session, version 1": (V1.format("/user.slice/user-1000.slice/session-c1.scope"), None, None),
    "PID 1": ("0::/init.scope", None, None),
    "slices alone": ("0::/system.slice", None, None),
    "empty": ("", None, None),
    "cut": ("0::", None, None),
    "no line of the kind": ("nginx.service", None, None),
    "option for a name": ("0::/system.slice/.service", None, None),
    "shell in a name": ("0::/system.slice/a;reboot.service", None, None),
    "blank in a name": ("0::/system.slice/a b.service", None, None),
    "escape sequence in a name": ("0::/system.slice/\x1b[2J.service", None, None),
    "long name": (f"0::/system.slice/{'x' * 300}.service", None, None),
    "63 digits": (f"0::/docker/{B[1:]}", None, None),
    "65 digits": (f"0::/docker/{B}0", None, None),
    "capitals": (f"0::/docker/{B.upper()}", None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CGROUPS)
def test_control_groups(name: str) -> None:
    """Every known shape of /proc/PID/cgroup gives its container and its service, and hostile ones nothing."""
    text, container_id, unit = CGROUPS[name]

    assert container_id_of(text) == container_id
    assert unit_of(text) == unit


def test_user_of() -> None:
    """The user whose manager runs a unit is told by number, and only by number."""
    assert user_of(f"{USER}/app.slice/x.service") == 1000
    assert user_of("0::/system.slice/x.service") is None
    assert user_of("0::/user@-1.service\n0::/user@x.service\n0::/user@²²²²²²²²²².service") is None


@given(st.text(alphabet=st.characters(codec=None), max_size=200), st.text(alphabet=":/\n0-ab.\x00", max_size=200))
def test_no_text_makes_the_readers_fail(first: str, second: str) -> None:
    """No text makes the readers fail, and what they return is of the form they promise."""
    for text in (first, second, f"0::/{first}", f"0::/system.slice/{second}.service"):
        found = container_id_of(text)
        assert found is None or attribution.is_container_id(found)
        unit = unit_of(text)
        assert unit is None or (unit[0].isascii() and unit[0].isprintable() and unit[0].endswith(".service"))
        user_of(text)


@given(st.text(max_size=50), st.text(max_size=50), st.integers())
def test_any_address(published: str, held: str, port: int) -> None:
    """Addresses are foreign: none makes the match fail, and equal ones always match."""
    running = container("a", (published, port, "tcp"))

    match("tcp", held, port, [running])
    assert named(match("tcp", published, port, [running])) == "a"


@pytest.mark.parametrize(
    ("address", "expected"),
    [("", True), ("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("::1", False)],
)
def test_a_port_without_an_address(address: str, expected: bool) -> None:
    """A port without an address, or with one that stands for a family, is published on every address."""
    assert Published(address, 80, 80, "tcp").is_wildcard is expected


@pytest.mark.parametrize("forwarder", ["docker-proxy", "dockerd", "com.docker.backend", "com.docker.vpnkit"])
def test_forwarders_of_docker(forwarder: str) -> None:
    """Each of docker's own forwarders decides for docker, whichever engine was asked first."""
    running = [container("b", ("", 80, "tcp"), engine="podman"), container("a", ("", 80, "tcp"))]

    assert named(match("tcp", "0.0.0.0", 80, running, forwarder=forwarder)) == "a"
    assert named(match("tcp", "0.0.0.0", 80, running, forwarder="gvproxy")) == "b"
    assert named(match("tcp", "0.0.0.0", 80, running)) == "b"


def test_an_address_of_its_own_is_closest() -> None:
    """What is published on the very address comes before what is published on every one, whatever the order."""
    running = [container("a", ("", 80, "tcp")), container("b", ("127.0.0.1", 80, "tcp"))]

    assert named(match("tcp", "127.0.0.1", 80, running)) == "b"
    assert named(match("tcp", "127.0.0.1", 80, [container("c", ("0.0.0.0", 80, "tcp")), running[0]])) == "a"


def test_names_at_their_ends() -> None:
    """Identifiers are 64 hexadecimal digits, names of services up to 255 long, users up to ten digits."""
    assert attribution.is_container_id("0123456789abcdef" * 4)
    assert not attribution.is_container_id("X" * 64)
    assert not attribution.is_container_id("a" * 63)
    assert attribution.is_service_name("a" * 247 + ".service")
    assert not attribution.is_service_name("a" * 248 + ".service")
    assert user_of("0::/user@1234567890.service") == 1234567890
    assert user_of("0::/user@12345678901.service") is None


def test_a_line_without_a_path_says_nothing() -> None:
    """A line without a path says nothing, and takes nothing away from one that has said something."""
    assert unit_of("0::/system.slice/web.service\n0:") == ("web.service", False)
    assert unit_of("0:/system.slice/web.service") is None


@pytest.mark.parametrize(
    ("text", "is_root", "expected"),
    [("1000", True, 1000), ("4294967295", True, 4294967295), ("1000", False, None), ("", True, None),
     ("-1", True, None), ("10000000000", True, None), ("٣", True, None), (" 1", True, None)],
)  # fmt: skip
def test_the_user_behind_sudo_is_believed_of_root_alone(text: str, is_root: bool, expected: int | None) -> None:
    """SUDO_UID counts for root, and if it is a decimal number of at most ten digits."""
    assert attribution.sudo_uid({"SUDO_UID": text}, is_root=is_root) == expected
    assert attribution.sudo_uid({}, is_root=is_root) is None
