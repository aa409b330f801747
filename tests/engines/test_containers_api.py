"""What engines say about containers, read right: recorded answers of several versions, and a real engine's."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import portguard as library
from portguard.engines import command, containers, endpoint, query
from portguard.model import Compose, Container
from portguard.rules.attribution import Published, Running, by_address, by_id, container_id_of, match, publishes_nothing
from portguard.rules.engines import DOCKER, PODMAN
from portguard.system import origin
from tests.worlds import engine as engine_world
from tests.worlds import netns
from tests.worlds.engine import IMAGE, Engine, docker_engine

A, B = "a1" * 32, "b2" * 32
LABELS = {
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "db",
    "com.docker.compose.project.working_dir": "/src/shop, the other",
    "com.docker.compose.oneoff": "False",
}
SHOP = Compose("shop", "db", "/src/shop, the other")

# ---------------------------------------------------------------- recorded: GET /containers/json

DOCKER_20 = [
    {
        "Id": A,
        "Names": ["/shop_web_1/db", "/shop_db_1"],
        "Image": "postgres:16",
        "ImageID": "sha256:00",
        "Command": "docker-entrypoint.sh postgres",
        "Created": 1700000000,
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 5432, "PublicPort": 28210, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 5432, "PublicPort": 28210, "Type": "tcp"},
            {"PrivatePort": 9000, "Type": "tcp"},
            {"IP": "127.0.0.1", "PrivatePort": 53, "PublicPort": 5353, "Type": "udp"},
            {"IP": "0.0.0.0", "PrivatePort": 7, "PublicPort": 7777, "Type": "sctp"},
        ],
        "Labels": LABELS,
        "State": "running",
        "Status": "Up 2 seconds",
        "HostConfig": {"NetworkMode": "shop_default"},
        "NetworkSettings": {"Networks": {"shop_default": {"IPAddress": "172.18.0.2", "GlobalIPv6Address": ""}}},
        "Mounts": [],
    }
]
DOCKER_28 = [
    {
        **DOCKER_20[0],
        "NetworkSettings": {
            "Networks": {"a": {"IPAddress": "172.18.0.2"}, "b": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}}
        },
    }
]
DOCKER_29 = [
    {**DOCKER_28[0], "ImageManifestDescriptor": {"mediaType": "x"}, "Health": {"Status": "none"}},
    # A failed start, started again: running, without a network or a port (moby#51758).
    {
        "Id": B, "Names": ["/lost"], "Image": "busybox", "Ports": [], "Labels": {}, "State": "running",
        "HostConfig": {"NetworkMode": "bridge"}, "NetworkSettings": {"Networks": {}},
    },
]  # fmt: skip
PODMAN_4 = [
    {
        "Id": B,
        "Names": ["/shop_db_1"],
        "Image": "docker.io/library/postgres:16",
        "Ports": [
            {"PrivatePort": 5432, "PublicPort": 28210, "Type": "tcp"},
            {"IP": "127.0.0.1", "PrivatePort": 53, "PublicPort": 5353, "Type": "udp"},
        ],
        "Labels": {**LABELS, "io.podman.compose.project": "shop"},
        "State": "running",
        "HostConfig": {"NetworkMode": "podman"},
        "NetworkSettings": {"Networks": {"podman": {"IPAddress": "10.88.0.2"}}},
        "NetworkingConfig": None,
    }
]


@pytest.mark.parametrize("answer", [DOCKER_20, DOCKER_28, DOCKER_29], ids=["20.10", "28.2", "29.7"])
def test_docker_s_list(answer: list[dict[str, Any]]) -> None:
    """All versions give the own name among links, the published ports alone, and the labels as they are."""
    found = containers.from_list(answer, "docker")[0]

    assert found.identity == Container("docker", A, "shop_db_1", "postgres:16", SHOP)
    assert found.ports == (
        Published("0.0.0.0", 28210, 5432, "tcp"), Published("::", 28210, 5432, "tcp"),
        Published("127.0.0.1", 5353, 53, "udp"),
    )  # fmt: skip
    assert "172.18.0.2" in found.addresses
    assert not found.is_host_network
    assert not found.is_oneoff


def test_podman_s_list() -> None:
    """Podman's interface leaves the wildcard address out: the port counts as published everywhere."""
    (found,) = containers.from_list(PODMAN_4, "podman")

    assert found.ports == (Published("", 28210, 5432, "tcp"), Published("127.0.0.1", 5353, 53, "udp"))
    assert found.identity.compose == SHOP
    assert match("tcp", "0.0.0.0", 28210, [found]) == match("tcp", "::", 28210, [found]) == found
    assert match("udp", "0.0.0.0", 5353, [found]) is None


@pytest.mark.parametrize(
    ("labels", "compose", "is_oneoff"),
    [
        ({}, None, False),
        ({"com.docker.compose.project": ""}, None, False),
        ({"com.docker.compose.service": "db"}, None, False),
        ({"com.docker.compose.project": "p"}, Compose("p", None, None), False),
        ({"com.docker.compose.project": "p", "com.docker.compose.oneoff": "True"}, Compose("p", None, None), True),
        ({"io.podman.compose.project": "p", "io.podman.compose.service": "s"}, Compose("p", "s", None), False),
        ({"com.docker.compose.project": "$(reboot)\x1b[2J"}, Compose("$(reboot)\x1b[2J", None, None), False),
        ({"com.docker.compose.project": ["p"]}, None, False),
    ],
)
def test_labels(labels: dict[str, Any], compose: Compose | None, is_oneoff: bool) -> None:
    """Labels are handed on raw, empty and ill-typed ones are none."""
    (found,) = containers.from_list([{"Id": A, "Labels": labels}], "docker")

    assert (found.identity.compose, found.is_oneoff) == (compose, is_oneoff)


# ---------------------------------------------------------------- recorded: inspect, podman ps, services

INSPECTED = {
    "Id": A,
    "Name": "/shop_db_1",
    "State": {"Status": "running", "Running": True, "Restarting": False, "Pid": 77},
    "Config": {"Image": "postgres:16", "Labels": LABELS},
    "HostConfig": {
        "NetworkMode": "shop_default",
        "PortBindings": {
            "5432/tcp": [{"HostIp": "", "HostPort": "28210"}],
            "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "8000-8010"}],
            "80/tcp": [{"HostIp": "", "HostPort": ""}],
        },
        "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
    },
    "NetworkSettings": {
        "Ports": {
            "5432/tcp": [{"HostIp": "0.0.0.0", "HostPort": "28210"}, {"HostIp": "::", "HostPort": "28210"}],
            "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "8001"}],
            "9000/tcp": None,
        },
        "Networks": {"shop_default": {"IPAddress": "172.18.0.2", "GlobalIPv6Address": ""}},
    },
}


def test_inspect_tells_the_same_as_the_list() -> None:
    """Inspect tells the same as the list, and besides what was asked for and the restart policy."""
    (found,) = containers.from_inspect([INSPECTED], "docker")

    assert found.identity == Container("docker", A, "shop_db_1", "postgres:16", SHOP)
    assert found.ports == (
        Published("0.0.0.0", 28210, 5432, "tcp"), Published("::", 28210, 5432, "tcp"),
        Published("127.0.0.1", 8001, 53, "udp"),
    )  # fmt: skip
    assert found.asked == (
        Published("", 28210, 5432, "tcp"), Published("", 0, 53, "udp"), Published("", 0, 80, "tcp"),
    )  # fmt: skip
    assert (found.restart_policy, found.addresses, found.state) == ("unless-stopped", ("172.18.0.2",), "running")
    assert not publishes_nothing(found)


def test_inspected_without_ports() -> None:
    """Engine 29's container that runs without the ports it asked for is told from one that asks for none."""
    lost = {**INSPECTED, "NetworkSettings": {"Ports": {}, "Networks": {}}}

    (found,) = containers.from_inspect([lost], "docker")

    assert publishes_nothing(found)
    (plain,) = containers.from_inspect([{**lost, "HostConfig": {"RestartPolicy": {"Name": "no"}}}], "docker")
    assert not publishes_nothing(plain)
    assert plain.restart_policy is None


def test_podman_ps_counts_a_range_up_from_its_first_port() -> None:
    """`podman ps` counts a range up from its first port; a range beyond the last port ends there."""
    answer = [
        {
            "Id": B, "Names": ["web"], "Image": "busybox", "Labels": None, "State": "running", "Networks": ["podman"],
            "Ports": [
                {"host_ip": "", "container_port": 80, "host_port": 8000, "range": 3, "protocol": "tcp"},
                {"host_ip": "127.0.0.1", "container_port": 53, "host_port": 5353, "range": 1, "protocol": "udp"},
                {"host_ip": "::1", "container_port": 65534, "host_port": 65534, "range": 10, "protocol": "tcp"},
            ],
        },
        {"Id": A, "Names": None, "Ports": None},
    ]  # fmt: skip

    found, bare = containers.from_ps(answer, "podman")

    assert found.identity == Container("podman", B, "web", "busybox")
    assert found.ports == (
        Published("", 8000, 80, "tcp"), Published("", 8001, 81, "tcp"), Published("", 8002, 82, "tcp"),
        Published("127.0.0.1", 5353, 53, "udp"),
        Published("::1", 65534, 65534, "tcp"), Published("::1", 65535, 65535, "tcp"),
    )  # fmt: skip
    assert (bare.ports, bare.identity.name) == ((), "")


def test_a_swarm_service_publishes_its_ingress_ports_on_every_address() -> None:
    """A swarm service publishes its ingress ports on every address; those in host mode are its containers' own."""
    answer = [
        {
            "ID": "9mnpnzenvg8p8tdbtq4wvbkcz",
            "Spec": {"Name": "shop_web", "TaskTemplate": {"ContainerSpec": {"Image": "nginx:1"}}},
            "Endpoint": {
                "Ports": [
                    {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"},
                    {"Protocol": "tcp", "TargetPort": 81, "PublishedPort": 8081, "PublishMode": "host"},
                ]
            },
        },
        {"ID": "x", "Spec": {"Name": "none"}, "Endpoint": {}},
    ]

    (found,) = containers.from_services(answer)

    assert found.identity == Container("docker", "9mnpnzenvg8p8tdbtq4wvbkcz", "shop_web", "nginx:1")
    assert (found.ports, found.is_service) == ((Published("", 8080, 80, "tcp"),), True)
    assert match("tcp", "::", 8080, [found]) == found


# ---------------------------------------------------------------- a real engine

RUN = ("run", "--detach", "--init")
WANTED = {
    "tcp": ("--publish", "80/tcp"),
    "udp": ("--publish", "53/udp"),
    "one-address": ("--publish", "127.0.0.1::80"),
    "several": ("--publish", "80", "--publish", "127.0.0.1::81", "--publish", "53/udp"),
    "none": ("--expose", "80"),
    "host": ("--network", "host"),
    "restarting": ("--publish", "80", "--restart", "on-failure:3"),
    "labelled": (
        "--publish", "80", "--label", "com.docker.compose.project=shop\n\x1b[2J, $(reboot)",
        "--label", "com.docker.compose.service=web",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Return a dockerd of this test's own that runs one container of each kind."""
    with docker_engine(tmp_path_factory.mktemp("engine")) as running:
        for name, options in WANTED.items():
            running.docker(*RUN, "--name", name, *options, IMAGE, "sleep", "1000", check=True)
        yield running


@pytest.fixture(scope="module")
def ranged(engine: Engine) -> tuple[int, int]:
    """Run two containers that share a range of four host ports; return the range."""
    first = port_of(engine, "tcp") + 100
    for name in ("range-1", "range-2"):
        published = f"{first}-{first + 3}:80"
        engine.docker(*RUN, "--name", name, "--publish", published, IMAGE, "sleep", "1000", check=True)
    return first, first + 3


def ports_by_docker(engine: Engine, name: str) -> set[tuple[str, int, int, str]]:
    """Return (address, port, target, protocol) each, as `docker port` prints them."""
    found = set()
    for line in engine.docker("port", name, check=True).stdout.splitlines():
        target, _, host = line.partition(" -> ")
        address, _, port = host.rpartition(":")
        number, _, protocol = target.partition("/")
        found.add((address.strip("[]"), int(port), int(number), protocol))
    return found


def port_of(engine: Engine, name: str) -> int:
    """Return the one host port of a container."""
    return next(port for _, port, _, _ in ports_by_docker(engine, name))


def ask(engine: Engine) -> dict[str, Running]:
    """Return what the engine says of its containers, by name."""
    answer = query.ask(engine.environ())
    assert answer.has_answered
    assert not [failure for failure in answer.failures if str(engine.socket) in failure]
    return {running.identity.name: running for running in answer.containers}


real = pytest.mark.needs("docker")


@real
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [*WANTED, "range-1", "range-2"])
def test_a_real_container(engine: Engine, ranged: tuple[int, int], name: str) -> None:
    """For each kind of container, list, inspect and the docker command give the ports that `docker port` prints."""
    listed = ask(engine)[name]
    inspected = query.inspect(endpoint.find_endpoint(engine.environ()), listed.identity.id)
    commanded = {
        running.identity.name: running for running in command.running(DOCKER, engine.environ(), deadline=30)
    }[name]  # fmt: skip

    expected = ports_by_docker(engine, name)
    for found in (listed, inspected, commanded):
        assert found is not None
        assert set(found.ports) == expected
        assert found.identity == listed.identity
        assert found.is_host_network is (name == "host")
        assert not publishes_nothing(found)
    assert bool(expected) is (name not in ("none", "host"))
    assert inspected is not None
    assert bool(inspected.asked) is bool(expected)
    assert inspected.restart_policy == ("on-failure" if name == "restarting" else None)
    assert {published.protocol for published in listed.ports} >= ({"udp"} if name in ("udp", "several") else set())
    if name == "one-address":
        assert {published.address for published in listed.ports} == {"127.0.0.1"}
    if name.startswith("range"):
        assert all(ranged[0] <= published.port <= ranged[1] for published in listed.ports)
    if name == "labelled":
        assert listed.identity.compose == Compose("shop\n\x1b[2J, $(reboot)", "web", None)


@real
@pytest.mark.timeout(300)
def test_every_proxy_is_attributed(engine: Engine, ranged: tuple[int, int]) -> None:
    """Each real docker-proxy leads to its container, by what it holds and by its own arguments alike."""
    running = ask(engine)
    mine = set(engine.pids())
    forwards = [forward for forward in origin.forwards(DOCKER.proxies) if forward.pid in mine]

    assert len(forwards) == sum(len(found.ports) for found in running.values())
    for forward in forwards:
        found = match(forward.protocol, forward.host_address, forward.host_port, running.values())
        assert found is not None
        assert forward.container_address in found.addresses
        assert by_address(forward.container_address, running.values()) == found


@real
@pytest.mark.timeout(300)
def test_a_real_control_group(engine: Engine) -> None:
    """A container's process, host network or not, leads to its container by its control group."""
    running = ask(engine)
    for name in ("host", "tcp"):
        pid = int(engine.docker("inspect", "--format", "{{.State.Pid}}", name, check=True).stdout)

        assert by_id(container_id_of(origin.cgroup_of(pid)), running.values()) == running[name]
    assert container_id_of(origin.cgroup_of(os.getpid())) not in {found.identity.id for found in running.values()}


@real
@pytest.mark.timeout(300)
def test_no_swarm_here(engine: Engine) -> None:
    """A real engine outside any swarm has no services, and that is not a failure."""
    assert query.services(endpoint.find_endpoint(engine.environ())) == ()


# ---------------------------------------------------------------- a real Podman


def storage_of_its_own(directory: Path) -> dict[str, str]:
    """Return an environment in which podman keeps everything below this directory."""
    text = f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/graph"\nrunroot = "{directory}/run"\n'
    (directory / "storage.conf").write_text(text)
    return {**os.environ, "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"), "HOME": str(directory)}


def podman(environ: dict[str, str], *arguments: str) -> str:
    """Run podman, and return what it prints."""
    done = subprocess.run(["podman", *arguments], env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.needs("podman")
def test_podman_with_nothing(tmp_path: Path) -> None:
    """Podman without a socket is asked by its command; where nothing runs, that is nothing."""
    environ = storage_of_its_own(tmp_path)

    assert query.ask_command(PODMAN, environ, deadline=60) == ()


class Seen(NamedTuple):
    """What the ways of asking say of one container under Podman, and what its conmon does."""

    printed: str
    by_socket: tuple[Running, ...]
    by_command: tuple[Running, ...]
    inspected: Running | None
    served: tuple[str, ...]
    by_who: tuple[tuple[str, str], ...]
    by_who_without_socket: tuple[tuple[str, str], ...]
    killed: tuple[str, ...]


def named_by_who(numbers: list[int], environ: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return engine and name of the container that `who` names for each of these ports' holders."""
    holders = [holder for port in library.who(*numbers, environ=environ).ports for holder in port.holders]
    identities = [holder.container for holder in holders]
    return tuple((found.engine, found.name) if found is not None else ("", "") for found in identities)


def see_podman(directory: Path) -> Seen:
    """Run a container under a Podman of our own, in namespaces of our own, and ask about it in every way."""
    netns.unshare(netns.CLONE_NEWNS)
    netns.mount("none", "/", None, netns.MS_REC | netns.MS_PRIVATE)
    netns.mount("tmpfs", "/run", "tmpfs")
    if Path("/var/lib/cni").is_dir():  # where addresses are remembered
        netns.mount("tmpfs", "/var/lib/cni", "tmpfs")
    engine_world._mount_cgroups()
    environ = storage_of_its_own(directory)
    (directory / "image.tar").write_bytes(engine_world.image_tar())
    podman(environ, "import", str(directory / "image.tar"), "portguard-test")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        first = min(sock.getsockname()[1], 65000)
    options = [
        "--publish", "80", "--publish", "127.0.0.1::53/udp", "--publish", f"{first}-{first + 2}:100-102",
        "--restart", "always", "--label", "com.docker.compose.project=shop",
        # What the kernel allows a container in a container; Podman's own defaults are more.
        "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
    ]  # fmt: skip
    group = ("--cgroup-manager", "cgroupfs")
    parent = ("--cgroup-parent", f"/portguard-test-{os.getpid()}")
    path = directory / "podman.sock"
    podman(environ, *group, "run", "--detach", "--name", "web", *options, *parent, "portguard-test", "sleep", "1000")
    service = subprocess.Popen(["podman", "system", "service", "--time", "0", f"unix://{path}"], env=environ)
    try:
        deadline = time.monotonic() + 30
        answer = query.ask({**environ, "DOCKER_HOST": f"unix://{path}"}, deadline=10)
        while not answer.has_answered and time.monotonic() < deadline:
            answer = query.ask({**environ, "DOCKER_HOST": f"unix://{path}"}, deadline=10)
        mine = [running for running in answer.containers if running.identity.name == "web"]
        engine = answer.endpoints[mine[0].identity.id]
        numbers = [published.port for published in mine[0].ports]
        served = next(published.port for published in mine[0].ports if published.protocol == "tcp")
        nowhere = {**environ, "DOCKER_HOST": f"unix://{directory}/nowhere.sock"}
        return Seen(
            podman(environ, "port", "web"),
            tuple(mine),
            query.ask_command(PODMAN, environ, deadline=30),
            query.inspect(engine, mine[0].identity.id, deadline=30),
            tuple(filter(None, (origin.served_by(pid, "conmon") for pid in netns.descendants(os.getpid())))),
            named_by_who(numbers, {**environ, "DOCKER_HOST": f"unix://{path}"}),
            named_by_who(numbers, nowhere),
            tuple(library.kill(served, confirm=names, environ=nowhere).ports[0].status for names in ((), ("web",))),
        )
    finally:
        podman(environ, *group, "rm", "--force", "--all", "--time", "0")
        service.terminate()
        service.wait(30)
        engine_world._remove_cgroups(parent[1].removeprefix("/"))


@pytest.mark.needs("podman", "docker", "netns")
@pytest.mark.timeout(300)
def test_real_podman(tmp_path: Path) -> None:
    """Podman's socket, its command and its inspection tell the ports that `podman port` prints, a range's included."""
    seen = netns.run_in_netns(see_podman, tmp_path, timeout=250)

    expected = set()
    for line in seen.printed.splitlines():
        target, _, host = line.partition(" -> ")
        address, _, port = host.rpartition(":")
        number, _, protocol = target.partition("/")
        expected.add(("" if address == "0.0.0.0" else address, int(port), int(number), protocol))
    assert len(expected) == 5
    assert seen.inspected is not None
    for found in (*seen.by_socket, *seen.by_command, seen.inspected):
        assert set(found.ports) == expected
        assert (found.identity.engine, found.identity.name) == ("podman", "web")
        assert found.identity.compose == Compose("shop", None, None)
        for published in found.ports:
            assert match(published.protocol, published.address or "0.0.0.0", published.port, [found]) == found
    assert len(seen.by_socket) == len(seen.by_command) == 1
    assert seen.inspected.restart_policy == "always"
    assert seen.served == (seen.inspected.identity.id,)
    assert len(seen.by_who) == len(expected)
    assert set(seen.by_who) == set(seen.by_who_without_socket) == {("podman", "web")}
    assert seen.killed == ("refused", "freed")
