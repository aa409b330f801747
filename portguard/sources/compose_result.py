"""What a compose project publishes: the records, and how they come from the merged services. Pure."""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.model import Note, Source
from portguard.sources import port_spec
from portguard.sources.compose_files import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import Protocol
    from portguard.sources.compose_merge import PortEntry, Service

PORTS_LIMIT = 70_000  # of one project, with those that take no effect; a protocol has 65,535


class PublishedPort(NamedTuple):
    """A container port on the host: any one of `first` to `last` for each of `replicas` containers.

    `host_ip` is canonical, "" when unspecified. `file` and `line` say where it is written; `line` is 0 in a resolved
    model, which does not tell. `env` is the variable that alone decides `first`, None if there is none.
    """

    service: str
    target: int
    protocol: Protocol
    host_ip: str
    first: int
    last: int
    replicas: int
    file: str
    line: int
    env: str | None = None


class ComposeProject(NamedTuple):
    """A project: its name, its directory (absolute), what was read, its active services, and what they publish.

    `host_network` are the services that use the host's network: their ports are known to no one but themselves.
    """

    name: str
    working_dir: str
    files: tuple[str, ...]
    env_files: tuple[str, ...]
    services: tuple[str, ...]
    ports: tuple[PublishedPort, ...]
    notes: tuple[Note, ...]
    host_network: tuple[str, ...] = ()


def is_active(service: Service, profiles: Sequence[str]) -> bool:
    """Whether a service has no profile, or one of these; "*" is all of them."""
    own = service.get("profiles") or ()
    return not own or "*" in profiles or any(profile in profiles for profile in own)


class Result:
    """Gathers what the active services publish; `cwd` is what paths in messages are relative to."""

    def __init__(self, cwd: str) -> None:
        self.ports: list[PublishedPort] = []
        self.notes: list[Note] = []
        self.host_network: list[str] = []
        self._cwd = cwd

    def add(self, service: Service, problems: list[str]) -> None:
        """Add one service's ports; what compose refuses goes to `problems`."""
        where = self._place(service.file, service.line) + service.name
        replicas = _replicas(service, where, problems)
        entries = service.get("ports") or ()
        network = service.get("network_mode") or ""
        if network == "host":
            self.host_network.append(service.name)
        if network in ("host", "none") or network.startswith(("service:", "container:")):
            if entries:
                # compose 2 starts a host-network service without its ports; docker-compose 1 refuses the file.
                what = f"{where} has network_mode {network!r}: its ports are not published"
                self.notes.append(Note("ports-unused", what))
            return
        if replicas > 0:
            for entry in entries:
                self._add_port(service.name, entry, replicas)

    def _add_port(self, name: str, entry: PortEntry, replicas: int) -> None:
        mapping = entry.mapping
        span = port_spec.bounds(mapping.published)
        title = f"{self._place(entry.file, entry.line)}{name}:{mapping.target}/{mapping.protocol}"
        if span is None:
            if entry.missing:
                names = " and ".join(dict.fromkeys(entry.missing))
                self.notes.append(
                    Note("random-port", f"{title} gets any free port: {names} is empty", Source(entry.file, entry.line))
                )
        elif mapping.protocol in ("tcp", "udp"):
            protocol: Protocol = "udp" if mapping.protocol == "udp" else "tcp"
            self.ports.append(
                PublishedPort(
                    name, mapping.target, protocol, mapping.host_ip, *span, replicas, entry.file, entry.line, entry.env
                )
            )
        else:
            self.notes.append(Note("protocol-not-checked", f"{title} is published, and {mapping.protocol} not checked"))

    def _place(self, file: str, line: int) -> str:
        return f"{shown(file, self._cwd)}:{line}: " if line else ""


def _replicas(service: Service, where: str, problems: list[str]) -> int:
    scale, declared = service.get("scale"), service.get("replicas")
    if scale is not None and declared is not None and scale != declared:
        problems.append(f"{where}: scale is {scale} and deploy.replicas is {declared}: compose wants one number")
    replicas: int = scale if scale is not None else declared if declared is not None else 1
    if replicas > 1 and service.get("container_name"):
        problems.append(f"{where}: {replicas} containers cannot share one container_name")
    return replicas
