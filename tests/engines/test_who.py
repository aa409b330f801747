"""Who publishes a port: the right container on real engines, and never the forwarder as the culprit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PORTGUARD
from tests.worlds.engine import IMAGE, Engine, docker_engine
from tests.worlds.users import as_user

pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(300)]

FORWARDERS = {"docker-proxy", "dockerd", "conmon", "rootlessport"}


@pytest.fixture(scope="module", params=[True, False], ids=["userland-proxy", "no-userland-proxy"])
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, bool]]:
    """Return an engine with the userland proxy, and one without."""
    with docker_engine(tmp_path_factory.mktemp("who"), userland_proxy=request.param) as engine:
        yield engine, request.param


def who(engine: Engine, *ports: str, **options: Any) -> list[dict[str, Any]]:
    """Return the entries of `portguard who` beside the engine."""
    done = engine.ns.run(
        [*PORTGUARD, "who", "--json", *ports],
        capture_output=True,
        text=True,
        env=engine.environ(),
        **options,
    )
    assert "Traceback" not in done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["data"]["ports"]
    return found


def base_port(engine: Engine) -> int:
    """Return a port that is free beside the engine, and so, in a namespace of its own, are the ones after it."""
    done = engine.ns.run([*PORTGUARD, "free", "--no-lease", "--range", "20000-30000"], capture_output=True, text=True)
    return int(done.stdout)


def test_every_kind_of_published_port(proxied: tuple[Engine, bool], tmp_path: Path) -> None:
    """TCP, UDP, one address, another loopback, IPv6, a range: name, project and service are right for each holder."""
    engine, has_proxy = proxied
    first = base_port(engine)
    published = {
        "tcp": [f"{first}:80"],
        "loopback": [f"127.0.0.1:{first + 1}:80"],
        "other": [f"127.0.0.2:{first + 2}:80"],
        "udp": [f"{first + 3}:80/udp"],
        "udp-loopback": [f"127.0.0.1:{first + 4}:80/udp"],
        "both": [f"{first + 5}:80/tcp", f"{first + 5}:80/udp"],
        "range": [f"{first + 10}-{first + 14}:80-84"],
        "udp-range": [f"{first + 20}-{first + 24}:80-84/udp"],
        "shared-a": [f"127.0.0.1:{first + 30}:80"],
        "shared-b": [f"127.0.0.2:{first + 30}:80"],
    }
    if has_proxy:
        published["ipv6"] = [f"[::1]:{first + 6}:80"]
    text = "version: '2.4'\nservices:\n"
    for service, ports in published.items():
        text += f"  {service}:\n    image: {IMAGE}\n    command: httpd -f -p 80 -h /www\n    stop_signal: SIGKILL\n"
        text += "    ports:\n" + "".join(f"      - '{port}'\n" for port in ports)
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "docker-compose.yml").write_text(text)
    assert engine.compose(directory, "up", "-d").returncode == 0
    try:
        cases = 0
        for service, ports in published.items():
            if service.startswith("shared"):
                continue
            for number in numbers_of(ports):
                (entry,) = who(engine, str(number))
                assert entry["holders"], (service, number)
                for holder in entry["holders"]:
                    cases += 1
                    assert_is(holder, service, directory)
        for address, service in (("127.0.0.1", "shared-a"), ("127.0.0.2", "shared-b")):
            (entry,) = who(engine, f"{address}:{first + 30}")
            (holder,) = entry["holders"]
            assert_is(holder, service, directory)
            cases += 1
        assert cases >= (30 if has_proxy else 18)
    finally:
        engine.compose(directory, "down", "-t", "0")


def numbers_of(ports: list[str]) -> list[int]:
    """Return the host ports of short port specifications, ranges written out."""
    found: list[int] = []
    for port in ports:
        host = port.partition("/")[0].rpartition(":")[0].rpartition(":")[2]
        low, _, high = host.partition("-")
        found += range(int(low), int(high or low) + 1)
    return list(dict.fromkeys(found))


def assert_is(holder: dict[str, Any], service: str, directory: Path) -> None:
    """Fail unless the holder's container is the service's."""
    container = holder["container"]
    assert container is not None, (service, holder)
    assert container["engine"] == "docker"
    assert f"_{service}_" in container["name"] or f"-{service}-" in container["name"]
    assert container["compose"] == {"project": "shop", "service": service, "working_dir": str(directory)}


def test_the_forwarder_is_not_the_culprit(proxied: tuple[Engine, bool]) -> None:
    """In text the container is the subject; a command to end the forwarder is never printed."""
    engine, _ = proxied
    port = str(base_port(engine))
    engine.docker("run", "--detach", "--name", "lonely", "--publish", f"{port}:80", IMAGE, "httpd", "-f", "-p", "80")
    try:
        done = engine.ns.run([*PORTGUARD, "check", port], capture_output=True, text=True, env=engine.environ())
    finally:
        engine.docker("rm", "--force", "lonely")

    assert done.returncode == 1
    assert "container lonely" in done.stdout
    assert "docker stop lonely" in done.stdout
    assert "kill" not in done.stdout
    assert not FORWARDERS & set(done.stdout.splitlines()[1].split())


def test_a_container_on_the_host_s_network(proxied: tuple[Engine, bool]) -> None:
    """A server in a container without a network of its own is found by its control group."""
    engine, _ = proxied
    port = str(base_port(engine))
    engine.docker("run", "--detach", "--network", "host", "--name", "bare", IMAGE, "httpd", "-f", "-p", port)
    try:
        deadline = 50
        while not (entry := who(engine, port)[0])["holders"] and deadline:
            deadline -= 1
    finally:
        engine.docker("rm", "--force", "bare")

    assert entry["holders"][0]["container"]["name"] == "bare"


def test_a_restart_policy_is_told(proxied: tuple[Engine, bool]) -> None:
    """Who looks is told that the engine would start the container again."""
    engine, _ = proxied
    port = str(base_port(engine))
    command = ["run", "--detach", "--restart", "always", "--name", "again", "--publish", f"{port}:80"]
    engine.docker(*command, IMAGE, "httpd", "-f", "-p", "80")
    try:
        done = engine.ns.run([*PORTGUARD, "who", port], capture_output=True, text=True, env=engine.environ())
    finally:
        engine.docker("rm", "--force", "again")

    assert "docker starts it again when it ends" in done.stdout


@pytest.mark.needs("users")
def test_without_access_to_the_engine(proxied: tuple[Engine, bool]) -> None:
    """An ordinary user learns from docker-proxy's own words that it is a container's port, and what is not known."""
    engine, has_proxy = proxied
    port = str(base_port(engine))
    engine.docker("run", "--detach", "--name", "shy", "--publish", f"{port}:80", IMAGE, "httpd", "-f", "-p", "80")
    try:
        done = as_user(["-m", "portguard", "check", "--json", port], ns=engine.ns)
    finally:
        engine.docker("rm", "--force", "shy")

    (entry,) = json.loads(done.stdout)["data"]["ports"]
    assert (entry["verdict"], done.returncode) == ("conflict", 1)
    holder = entry["holders"][0]
    if not has_proxy:  # dockerd itself holds it, and says nothing to strangers
        assert (holder["owner_status"], holder["container"]) == ("hidden", None)
        return
    assert (holder["container"]["engine"], holder["container"]["name"]) == ("docker", None)
    assert any("docker-proxy" in note["message"] for note in entry["notes"])
    assert f"docker ps --filter publish={port}" in entry["hint"]


def test_list_names_containers(proxied: tuple[Engine, bool]) -> None:
    """`list` shows the container beside the socket, in text and JSON."""
    engine, _ = proxied
    port = base_port(engine)
    engine.docker("run", "--detach", "--name", "listed", "--publish", f"{port}:80", IMAGE, "httpd", "-f", "-p", "80")
    try:
        options: dict[str, Any] = {"capture_output": True, "text": True, "env": engine.environ()}
        document = json.loads(engine.ns.run([*PORTGUARD, "list", "--json"], **options).stdout)
        text = engine.ns.run([*PORTGUARD, "list"], **options).stdout
    finally:
        engine.docker("rm", "--force", "listed")

    found = [listener for listener in document["data"]["listeners"] if listener["port"] == port]
    assert found
    assert {listener["container"]["name"] for listener in found} == {"listed"}
    assert "listed" in next(line for line in text.splitlines() if line.startswith(f"{port}/tcp"))
