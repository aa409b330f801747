"""`portguard free`."""

from __future__ import annotations

from portguard.api import free as api
from portguard.cli import output
from portguard.cli.command import JSON, Command, Option
from portguard.errors import OK, UsageError
from portguard.model import PROTOCOLS
from portguard.rules.ranges import DYNAMIC, decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portguard.model import Protocol
    from portguard.rules.ranges import Range

COMMAND = Command(
    "share",
    "Print free ports, one per line, that no other caller will get.",
    (
        Option("count", ("--count", "-n"), "How many ports.", int, 1, "N"),
        Option("tcp", ("--tcp",), "Free for TCP."),
        Option("udp", ("--udp",), "Free for UDP."),
        Option("both", ("--both",), "Free for both (default)."),
        Option("within", ("--range",), "Choose from this range. Default: 49152-65535.", str, None, "A-B"),
        Option("ttl", ("--ttl",), "How long no other caller gets the port.", int, api.DEFAULT_TTL, "SECONDS"),
        Option("no_lease", ("--no-lease",), "Do not lease the port: another caller may get it too."),
        Option("hold", ("--hold",), "Keep it leased and bound for this long (TCP, Linux).", int, None, "SECONDS"),
        JSON,
    ),
    examples=(
        ("PORT=$(portguard free) npm run dev", "start a server on a free port"),
        ("portguard free -n 3 --tcp", "print three ports, free for TCP"),
        ("portguard free --range 50000-50999 --ttl 300", "choose from a range, for five minutes"),
    ),
)


def run(
    *,
    count: int,
    tcp: bool,
    udp: bool,
    both: bool,
    within: str | None,
    ttl: int,
    no_lease: bool,
    hold: int | None,
    as_json: bool,
) -> int:
    """Hand out ports, print them, return the exit code. What cannot be printed is taken back."""
    undo: list[Callable[[], object]] = []
    try:
        report = api.hand_out(
            count,
            protocols=_protocols(tcp=tcp, udp=udp, both=both),
            within=_range(within),
            ttl=ttl if hold is None else hold,
            lease=not no_lease,
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

            output.answer(documents.document("free", OK, documents.data(report)))
        else:
            output.answer("".join(f"{port.port}\n" for port in report.ports))
    except BaseException:
        for step in undo:
            step()
        raise
    return OK


def _protocols(*, tcp: bool, udp: bool, both: bool) -> Sequence[Protocol]:
    if both or tcp == udp:
        return PROTOCOLS
    return ("tcp",) if tcp else ("udp",)


def _range(text: str | None) -> Range:
    if text is None:
        return DYNAMIC
    first, _, last = text.partition("-")
    low, high = decimal(first), decimal(last)
    if low is None or high is None:
        raise UsageError(f"--range {text!r}: a range is FIRST-LAST", "write for instance --range 50000-50999")
    return low, high
