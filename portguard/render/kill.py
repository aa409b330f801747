"""`kill` for people: the plan before, a line for each port after. Foreign strings go through `safe()`."""

from __future__ import annotations

from portguard.render.safe import safe
from portguard.render.text import details
from portguard.rules.addresses import target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from portguard.model import KillPort, KillReport

_WORDS = {"still-held": "still held", "nobody": "not in use"}
_RED, _GREEN, _RESET = "\x1b[1;31m", "\x1b[32m", "\x1b[0m"
_LINE_LIMIT = 400


def plan(report: KillReport, *, colour: bool) -> str:
    """Return what would be done about each port, and why nothing if nothing would be."""
    return "\n".join(line for port in report.ports for line in _planned(port, colour=colour)) + "\n"


def _planned(port: KillPort, *, colour: bool) -> Iterator[str]:
    if not port.actions:
        yield from _told(port, colour=colour)
        return
    yield f"{_where(port)}  {safe(port.message, _LINE_LIMIT)}"
    yield from (f"  {line}" for line in details(port.holders))
    for action in port.actions:
        more = f" (another project's: --confirm {action.name})" if action.needs_name else ""
        verb = "end" if action.kind == "process" else "stop"
        yield f"  would {verb} {safe(action.text + more, _LINE_LIMIT)}"


def outcome(report: KillReport, *, colour: bool) -> str:
    """Return what came of it, a line for each port and a next step where it is not free."""
    return "\n".join(line for port in report.ports for line in _told(port, colour=colour)) + "\n"


def _told(port: KillPort, *, colour: bool) -> Iterator[str]:
    word = _WORDS.get(port.status, port.status)
    if colour:
        word = f"{_GREEN if port.status == 'freed' else _RED}{word}{_RESET}"
    yield f"{_where(port)}  {word}: {safe(port.message, _LINE_LIMIT)}"
    if port.status != "freed":
        yield from (f"  {line}" for line in details(port.successors or port.holders))
    if port.hint:
        yield f"  next: {safe(port.hint, _LINE_LIMIT)}"


def _where(port: KillPort) -> str:
    return safe(target(port.hosts, port.port, port.protocol))
