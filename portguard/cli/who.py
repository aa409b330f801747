"""`portguard who`."""

from __future__ import annotations

import os

from portguard.api import who as api
from portguard.cli import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def run(*, ports: Sequence[str], all_holders: bool, as_json: bool) -> int:
    """Say who has the ports, return the exit code."""
    report = api.who(*ports, all_holders=all_holders)
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("who", report.exit_code, documents.who(report)))
    else:
        from portguard.render import text, who  # not in JSON

        output.message("".join(text.notes(port.notes) for port in report.ports))
        output.answer(who.who(report, os.environ.get("HOME", ""), colour=output.wants_colour()))
    return report.exit_code
