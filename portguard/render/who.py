"""`who` as text: a paragraph per holder, then the connections. Foreign strings go through `safe()`."""

from __future__ import annotations

import time

from portguard.render.safe import safe
from portguard.rules import explain, ownership
from portguard.rules.addresses import endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from portguard.model import Background, Holder, Process, WhoPort, WhoReport

_BOLD, _RESET = "\x1b[1m", "\x1b[0m"
_PATH_LIMIT = 70
_LINE_LIMIT = 400
_PROCESSES_SHOWN = 8


def who(report: WhoReport, home: str, *, colour: bool) -> str:
    """Return what is known about each port; paths below `home` are shown with ~."""
    return "\n".join(line for port in report.ports for line in _port(port, home, colour=colour)) + "\n"


def _port(port: WhoPort, home: str, *, colour: bool) -> Iterator[str]:
    if not port.holders:
        yield f"nothing listens on {f'port {port.port}' if port.asked is None else safe(port.asked)}"
        if port.asked is not None:
            yield f"  next: see the whole port: portguard who {port.port}"
    for holder, background in zip(port.holders, port.backgrounds, strict=True):
        head = f"{safe(endpoint(holder.address, holder.port))}/{holder.protocol}"
        yield f"{_BOLD}{head}{_RESET}  {_state(holder)}" if colour else f"{head}  {_state(holder)}"
        yield from (f"  {safe(line, _LINE_LIMIT)}" for line in _holder(holder, background, home))
    if port.connections:
        yield f"connections on port {port.port}:"
    for connection in port.connections:
        place = safe(endpoint(connection.address, connection.port))
        yield f"  {place}/{connection.protocol}  {connection.state}  {safe(explain.owner_of(connection), _LINE_LIMIT)}"


def _state(holder: Holder) -> str:
    return "listens" if holder.state == "listen" else "is bound"


def _holder(holder: Holder, background: Background, home: str) -> Iterator[str]:
    if holder.container is not None:
        yield ownership.describe(holder.container)
        compose = holder.container.compose
        if compose is not None and compose.working_dir:
            yield f"in {_short(compose.working_dir, home)}"
        if holder.processes:
            yield f"through {explain.owner_of(holder)}"
    else:
        yield explain.owner_of(holder)
        for process in holder.processes[:_PROCESSES_SHOWN]:
            yield from _process(process, home, is_alone=len(holder.processes) == 1)
        if len(holder.processes) > _PROCESSES_SHOWN:
            yield f"and {len(holder.processes) - _PROCESSES_SHOWN} more processes"
    if holder.unit is not None:
        yield f"systemd {'user ' if holder.user_unit else ''}unit {holder.unit}"
    if background.checkout is not None:
        branch = f", branch {background.branch}" if background.branch is not None else ""
        yield f"git checkout {_short(background.checkout, home)}{branch}"
    for line in (background.started_by, background.comeback):
        if line is not None:
            yield line


def _process(process: Process, home: str, *, is_alone: bool) -> Iterator[str]:
    parts = []
    if process.started_at is not None:
        parts.append(f"since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(process.started_at))}")
    if process.cwd:
        parts.append(f"in {_short(process.cwd, home)}")
    if process.exe:
        parts.append(_short(process.exe, home))
    if parts:
        yield ("" if is_alone else f"pid {process.pid}: ") + ", ".join(parts)


def _short(path: str, home: str) -> str:
    if home and home != "/" and (path == home or path.startswith(home.rstrip("/") + "/")):
        path = "~" + path[len(home.rstrip("/")) :]
    return path if len(path) <= _PATH_LIMIT else path[: _PATH_LIMIT - 3] + "..."
