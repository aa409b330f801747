"""What the engines say about containers, as records. Every field of an answer is foreign: checked, never trusted.

The same record comes from three sources: the API's list, `docker inspect` for engines only the docker command reaches,
and `podman ps` where Podman has no socket. What is malformed is left out; nothing here raises.
"""

from __future__ import annotations

from portguard.model import Compose, Container
from portguard.rules.attribution import Published, Running
from portguard.rules.engines import DEFAULT
from portguard.rules.ranges import decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["Published", "Running", "from_inspect", "from_list", "from_ps", "from_services", "host_ports"]

_LABEL = "com.docker.compose."
_PODMAN_LABEL = "io.podman.compose."  # what podman-compose writes also, and its first versions alone
_PROTOCOLS = ("tcp", "udp")
_PORTS = 65535
_MOST_PORTS = 65536  # of one container: every number once, more is nonsense


def from_list(answer: Any, engine: str) -> tuple[Running, ...]:
    """Return the containers of `GET /containers/json`, all versions' and Podman's."""
    return tuple(
        Running(
            identity=_identity(engine, entry["Id"], _own_name(entry.get("Names")), entry.get("Image"), labels),
            ports=_ports(entry.get("Ports"), "IP", "PublicPort", "PrivatePort", "Type"),
            is_host_network=_table(entry.get("HostConfig")).get("NetworkMode") == "host",
            is_oneoff=_is_oneoff(labels),
            addresses=_addresses(_table(entry.get("NetworkSettings")).get("Networks")),
            state=_word(entry.get("State")),
        )
        for entry, labels in _entries(answer, "Labels")
    )


def from_inspect(answer: Any, engine: str) -> tuple[Running, ...]:
    """Return the containers of `docker inspect`, a list of objects; only here `asked` and the restart policy are known.

    Containers that have ended in the meantime are left out.
    """
    found = []
    for entry, _ in _entries(answer, ""):
        config, host, network, state = (
            _table(entry.get(key)) for key in ("Config", "HostConfig", "NetworkSettings", "State")
        )
        labels = _strings(config.get("Labels"))
        restart = _table(host.get("RestartPolicy")).get("Name")
        if state.get("Running") is False and state.get("Restarting") is not True:
            continue
        found.append(
            Running(
                identity=_identity(engine, entry["Id"], entry.get("Name"), config.get("Image"), labels),
                ports=tuple(host_ports(network.get("Ports"))),
                is_host_network=host.get("NetworkMode") == "host",
                is_oneoff=_is_oneoff(labels),
                restart_policy=restart if isinstance(restart, str) and restart not in ("", "no") else None,
                addresses=_addresses(network.get("Networks")),
                asked=tuple(host_ports(host.get("PortBindings"), is_wish=True)),
                state=_word(state.get("Status")),
            )
        )
    return tuple(found)


def from_ps(answer: Any, engine: str) -> tuple[Running, ...]:
    """Return the containers of an engine's `ps` as JSON (podman-ps(1)); a `range` of ports counts up from the first."""
    found = []
    for entry, labels in _entries(answer, "Labels"):
        rows = [
            {**row, "host_port": row["host_port"] + offset, "container_port": row["container_port"] + offset}
            for row in map(_table, _list(entry.get("Ports")))
            if _port(row.get("host_port")) and _port(row.get("container_port"))
            for offset in range(min(_count(row.get("range")), _PORTS + 1 - row["host_port"]))
        ]
        names = _list(entry.get("Names"))
        found.append(
            Running(
                identity=_identity(engine, entry["Id"], names[0] if names else "", entry.get("Image"), labels),
                ports=_ports(rows[:_MOST_PORTS], "host_ip", "host_port", "container_port", "protocol"),
                is_oneoff=_is_oneoff(labels),
                state=_word(entry.get("State")),
            )
        )
    return tuple(found)


def from_services(answer: Any) -> tuple[Running, ...]:
    """Return the swarm services of `GET /services` that publish through the ingress network, as records of their own.

    Such a port is on every node and every address, belongs to no container, and is missing from the containers' list.
    """
    found = []
    for entry in _list(answer):
        table = _table(entry)
        spec = _table(table.get("Spec"))
        name, identifier = spec.get("Name"), _identifier(table.get("ID"))
        rows = [
            row
            for row in map(_table, _list(_table(table.get("Endpoint")).get("Ports")))
            if row.get("PublishMode") != "host"
        ]
        ports = _ports(rows, "-", "PublishedPort", "TargetPort", "Protocol")
        if not ports or not isinstance(name, str) or not identifier:
            continue
        image = _table(_table(spec.get("TaskTemplate")).get("ContainerSpec")).get("Image")
        identity = Container(DEFAULT.name, identifier, name, image if isinstance(image, str) else None)
        found.append(Running(identity, ports, is_service=True))
    return tuple(found)


def host_ports(ports: Any, *, is_wish: bool = False) -> Iterator[Published]:
    """Yield the host ports of an inspected `Ports` or `PortBindings` table: "80/tcp" to a list of addresses and ports.

    `is_wish` reads what a configuration asks for, where "" stands for any port and "8000-8010" for one of those: both
    become port 0.
    """
    for key, hosts in _table(ports).items():
        target, _, protocol = key.partition("/")
        protocol = protocol or "tcp"
        for host in map(_table, _list(hosts)):
            number = host.get("HostPort")
            if is_wish and isinstance(number, str) and not _number(number) and protocol in _PROTOCOLS:
                yield Published("", 0, _number(target), protocol)
            elif isinstance(number, str):
                row = {"a": host.get("HostIp"), "p": _number(number), "t": _number(target), "k": protocol}
                yield from _ports([row], "a", "p", "t", "k")


def _ports(rows: Any, address: str, public: str, private: str, kind: str) -> tuple[Published, ...]:
    """Return the published ports among rows with these field names; Podman leaves the wildcard address out."""
    found: dict[Published, None] = {}
    for row in map(_table, _list(rows)):
        number, target = _port(row.get(public)), _port(row.get(private))
        host, protocol = row.get(address), row.get(kind, "tcp")
        if number and target and protocol in _PROTOCOLS and (host is None or isinstance(host, str)):
            found[Published(host or "", number, target, protocol)] = None
    return tuple(found)


def _entries(answer: Any, labels: str) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    for entry in map(_table, _list(answer)):
        if _identifier(entry.get("Id")):
            yield entry, _strings(entry.get(labels))


def _identifier(value: Any) -> str:
    """Return an identifier, "" for anything else: it becomes a word of commands."""
    return value if isinstance(value, str) and value.isascii() and value.isalnum() else ""


def _identity(engine: str, identifier: str, name: Any, image: Any, labels: dict[str, str]) -> Container:
    project = labels.get(_LABEL + "project") or labels.get(_PODMAN_LABEL + "project")
    compose = None
    if project:
        service = labels.get(_LABEL + "service") or labels.get(_PODMAN_LABEL + "service")
        compose = Compose(project, service, labels.get(_LABEL + "project.working_dir"))
    return Container(
        engine=engine,
        id=identifier,
        name=name.lstrip("/") if isinstance(name, str) else "",
        image=image if isinstance(image, str) else None,
        compose=compose,
    )


def _own_name(names: Any) -> str:
    """Return the container's own name: a link to it from another container is `/other/alias`, in any order."""
    known = [name for name in _list(names) if isinstance(name, str)]
    return next((name for name in known if name.count("/") <= 1), known[0] if known else "")


def _is_oneoff(labels: dict[str, str]) -> bool:
    return labels.get(_LABEL + "oneoff", "").lower() == "true"


def _word(value: Any) -> str:
    return value if isinstance(value, str) and value else "running"


def _addresses(networks: Any) -> tuple[str, ...]:
    found = [
        _table(network).get(key) for network in _table(networks).values() for key in ("IPAddress", "GlobalIPv6Address")
    ]
    return tuple(address for address in found if isinstance(address, str) and address)


def _port(value: Any) -> int:
    """Return a port's number, 0 for anything else."""
    return value if type(value) is int and 0 < value <= _PORTS else 0  # a bool is an int, and no port


def _number(text: str) -> int:
    """Return a port's number, 0 for anything else."""
    return decimal(text) or 0


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 1


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> dict[str, str]:
    return {key: item for key, item in _table(value).items() if isinstance(item, str)}
