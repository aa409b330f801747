"""`portguard check`."""

from __future__ import annotations

import os

from portguard.api import check as api
from portguard.cli import output
from portguard.errors import OutputError
from portguard.rules.verdicts import worst

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def run(
    *,
    targets: Sequence[str],
    config: str | None,
    as_json: bool,
    is_quiet: bool,
    is_strict: bool,
    is_by_compose: bool,
) -> int:
    """Check, say what was found, return the exit code."""
    report = api.check(*targets, config=config, strict=is_strict, compose_config=is_by_compose)
    try:
        if as_json:
            from portguard.render import documents  # json costs 0.7 x the interpreter's start

            output.answer(documents.document("check", report.exit_code, documents.check(report)))
        elif not is_quiet:
            from portguard.render import text  # not in JSON

            output.message(text.check_notes(report))
            output.answer(text.check(report, os.getcwd(), colour=output.wants_colour()))
    except OutputError as error:
        output.message(f"portguard: {error.message}\n")
        return worst((report.exit_code, OutputError.exit_code))
    return report.exit_code
