"""`portguard run`."""

from __future__ import annotations

import os

from portguard.api import run as api
from portguard.cli import output
from portguard.errors import UsageError
from portguard.render import text
from portguard.render.safe import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def run(
    *,
    names: Sequence[str],
    command: Sequence[str],
    config: str | None,
    is_isolated: bool,
    is_moving: bool,
    is_unheld: bool,
    is_passing: bool,
    as_json: bool,
) -> int:
    """Check and take the ports, and become the command; returns only when that fails."""
    if not command:
        raise UsageError("there is no command to run", "write it after two dashes: portguard run -- npm start")
    try:
        ready = api.prepare(
            *names, config=config, isolated=is_isolated, move=is_moving, held=not is_unheld, passed=is_passing
        )
    except api.RefusedError as error:
        if as_json:
            from portguard.render import documents  # json costs 0.7 x the interpreter's start

            errors = [documents.error(error.code, message, error.hint) for message in error.messages]
            output.answer(documents.document("run", error.exit_code, documents.check(error.report), errors))
        else:
            output.message(text.conflicts(error.report, os.getcwd(), error.hint))
        return error.exit_code
    output.message(text.notes(ready.notes))
    try:
        return api.become(command, ready)
    except FileNotFoundError:
        output.message(f"portguard: {safe(command[0])}: there is no such command\n")
        return api.NOT_FOUND
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        output.message(f"portguard: {safe(command[0])}: cannot be run: {reason}\n")
        return api.NOT_EXECUTABLE
