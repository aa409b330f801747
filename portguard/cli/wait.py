"""`portguard wait`."""

from __future__ import annotations

from portguard.api import wait as api
from portguard.cli import output
from portguard.cli.command import JSON, Command, Option, arguments
from portguard.errors import OutputError
from portguard.rules.verdicts import worst

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import WaitReport


COMMAND = Command(
    "act",
    "Wait until every port has a listener, all at the same time.\n\nExits 0 on success, 1 on timeout.",
    (
        Option("free", ("--free",), "Wait until the ports are free instead."),
        Option(
            "timeout",
            ("--timeout",),
            "Give up after this long; 0 means no limit.",
            float,
            api.DEFAULT_TIMEOUT,
            "SECONDS",
        ),
        JSON,
    ),
    arguments("ports", "PORT[/udp]|ADDRESS:PORT", "Ports; TCP unless given.", is_required=True),
)


def run(*, ports: Sequence[str], free: bool, timeout: float, as_json: bool) -> int:
    """Wait, say what was seen, return the exit code."""
    report = api.wait(*ports, free=free, timeout=timeout, owners=as_json)
    try:
        _tell(report, free=free, as_json=as_json)
    except OutputError as error:
        output.message(f"portguard: {error.message}\n")
        return worst((report.exit_code, OutputError.exit_code))
    return report.exit_code


def _tell(report: WaitReport, *, free: bool, as_json: bool) -> None:
    """Write the answer, and as messages what is the matter with each port that is not so. Raises OutputError."""
    from portguard.render import wait  # not needed while waiting

    output.message(wait.missed(report))
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        failures = [port.failure for port in report.ports if port.failure is not None]
        errors = [documents.error(failure.code, failure.message, failure.hint) for failure in failures]
        output.answer(documents.document("wait", report.exit_code, documents.data(report), errors))
    elif report.exit_code == 0:
        output.answer(wait.reached(report, free=free))
