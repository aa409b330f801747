"""`wait` as text: a line per port that is ready, and for each other one what was found instead."""

from __future__ import annotations

from portguard.render import text
from portguard.rules import waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from portguard.model import WaitReport


def reached(report: WaitReport, *, free: bool) -> str:
    """Return a line for each port that is free, or served, and since when."""
    return "".join(
        waiting.reached(port.hosts, port.port, port.protocol, port.seconds, free=free) + "\n"
        for port in report.ports
        if port.seconds is not None
    )


def missed(report: WaitReport) -> str:
    """Return what is the matter with each port that is not so, and the next step."""
    failures = [port.failure for port in report.ports if port.failure is not None]
    return "".join(text.error([failure.message], failure.hint) for failure in failures)
