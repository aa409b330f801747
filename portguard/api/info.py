"""`info`: what a port number means: its range, its names, its default users, and what this system does with it."""

from __future__ import annotations

import os
import sys

from portguard.errors import UsageError
from portguard.model import Declaration, PortInfo
from portguard.rules import notes, ranges, services, targets
from portguard.system import kernel, services_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from portguard.model import Protocol
    from portguard.rules.ranges import Range

_BOTH: tuple[Protocol, ...] = ("tcp", "udp")


def info(
    *ports: str | int, environ: Mapping[str, str] | None = None, services_path: str | None = None
) -> list[PortInfo]:
    """Tell about each port (5432, "53/udp") once, in the order asked. Looks at no socket.

    Names that portguard's own table lacks come from the system's services file (`services_path`). Raises UsageError
    for what is not a port.
    """
    environ = os.environ if environ is None else environ
    asked = list(dict.fromkeys(_parse(str(port)) for port in ports))
    path = services_file.path_of(environ) if services_path is None else services_path
    known = services_file.read(path) if any(not _is_in_table(port) for port, _ in asked) else {}
    ephemeral, reserved = kernel.ephemeral_range(), kernel.reserved_ports()
    start = kernel.unprivileged_port_start()
    return [
        _info(port, protocols, known, ephemeral=ephemeral, is_reserved=ranges.contains(reserved, port), start=start)
        for port, protocols in asked
    ]


def name_of(port: int, protocol: str, known: Mapping[tuple[int, str], str]) -> str | None:
    """Return the usual name of a number: our table's, else the services file's (`known`), else None."""
    if not _is_in_table(port):
        return known.get((port, protocol))
    found = services.service_of(port)
    return found.tcp if protocol == "tcp" else found.udp


def _is_in_table(port: int) -> bool:
    return port in services.REGISTERED or port in services.UNREGISTERED


def _parse(text: str) -> tuple[int, tuple[Protocol, ...]]:
    target = targets.parse_target(text)
    if not isinstance(target, Declaration) or target.hosts != ("*",):
        raise UsageError(f"{text!r} is not a port number", "write for instance 3000 or 53/udp")
    return target.port, target.protocols if "/" in text else _BOTH


def _info(
    port: int,
    protocols: tuple[Protocol, ...],
    known: Mapping[tuple[int, str], str],
    *,
    ephemeral: Range | None,
    is_reserved: bool,
    start: int,
) -> PortInfo:
    found = services.service_of(port)
    can_be_assigned = None
    if ephemeral is not None:
        can_be_assigned = ephemeral[0] <= port <= ephemeral[1] and not is_reserved
    found_notes = list(
        ranges.port_notes(port, "tcp", ephemeral=ephemeral if can_be_assigned else None, platform=sys.platform)
    )
    if is_reserved:
        found_notes.append(notes.reserved(port))
    found_notes.append(notes.ephemeral_range(ephemeral, services.EPHEMERAL_DEFAULTS))
    if found.source is not None:
        found_notes.append(notes.unregistered(port, found.source))
    return PortInfo(
        port=port,
        protocols=protocols,
        range=services.range_of(port),
        tcp=name_of(port, "tcp", known),
        udp=name_of(port, "udp", known),
        tools=found.tools,
        ephemeral=can_be_assigned,
        browser_blocked=port in ranges.BROWSER_BLOCKED,
        privileged=port < start,
        notes=tuple(found_notes),
        ephemeral_range=ephemeral,
    )
