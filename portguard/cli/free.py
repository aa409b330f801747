"""`portguard free`."""

from __future__ import annotations

from portguard.api import free as api
from portguard.cli import output
from portguard.errors import UsageError
from portguard.model import PROTOCOLS
from portguard.rules.ranges import DYNAMIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portguard.model import Protocol
    from portguard.rules.ranges import Range


def run(
    *,
    count: int,
    is_tcp: bool,
    is_udp: bool,
    is_both: bool,
    within: str | None,
    ttl: int,
    is_unleased: bool,
    hold: int | None,
    as_json: bool,
) -> int:
    """Hand out ports, print them, return the exit code. What cannot be printed is taken back."""
    undo: list[Callable[[], object]] = []
    try:
        report = api.hand_out(
            count,
            protocols=_protocols(is_tcp=is_tcp, is_udp=is_udp, is_both=is_both),
            within=_range(within),
            ttl=ttl if hold is None else hold,
            lease=not is_unleased,
            cwd=None,
            environ=None,
            hold=hold is not None,
            undo=undo,
        )
        if report.notes:
            from portguard.render import text  # rarely needed

            output.message(text.notes(report.notes))
        if as_json:
            from portguard.render import documents  # json costs 0.7 x the interpreter's start

            output.answer(documents.document("free", 0, documents.free(report)))
        else:
            output.answer("".join(f"{port.port}\n" for port in report.ports))
    except BaseException:
        for step in undo:
            step()
        raise
    return 0


def _protocols(*, is_tcp: bool, is_udp: bool, is_both: bool) -> Sequence[Protocol]:
    if is_both or is_tcp == is_udp:
        return PROTOCOLS
    return ("tcp",) if is_tcp else ("udp",)


def _range(text: str | None) -> Range:
    if text is None:
        return DYNAMIC
    first, dash, last = text.partition("-")
    if not dash or not all(part.isascii() and part.isdigit() and len(part) <= len("65535") for part in (first, last)):
        raise UsageError(f"--range {text!r}: a range is FIRST-LAST", "write for instance --range 50000-50999")
    return int(first), int(last)
