"""`portguard run`."""

from __future__ import annotations

import errno
import os

from portguard.api import run as api
from portguard.cli import output
from portguard.cli.main import RUN_FAILED
from portguard.errors import UsageError
from portguard.render import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_EXECUTABLE = 126
NOT_FOUND = 127
_NEXT_STEPS = {
    errno.EACCES: "let it be executed: chmod +x FILE (a directory cannot be)",
    errno.ENOEXEC: "name its interpreter in its first line, as in #!/bin/sh, or in front: portguard run -- sh FILE",
}


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
            output.answer(documents.document("run", RUN_FAILED, documents.check(error.report), errors))
        else:
            output.message(text.conflicts(error.report, os.getcwd(), error.hint))
        return RUN_FAILED
    output.message(text.notes(ready.notes))
    try:
        return api.become(command, ready)
    except FileNotFoundError:
        on_path = "check its spelling, or that PATH names its directory"
        at_path = "check the path, and of a script the interpreter in its first line"
        hint = at_path if os.path.dirname(command[0]) else on_path
        return _not_run(NOT_FOUND, "not-found", f"{command[0]}: there is no such command", hint, as_json=as_json)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        step = _NEXT_STEPS.get(error.errno or 0) if isinstance(error, OSError) else None
        message = f"{command[0]}: cannot be run: {reason}"
        return _not_run(NOT_EXECUTABLE, "not-executable", message, step, as_json=as_json)


def _not_run(exit_code: int, code: str, message: str, hint: str | None, *, as_json: bool) -> int:
    """Say why the command could not become this process; return the exit code."""
    output.message(text.error([message], hint))
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        errors = [documents.error(code, message, hint)]
        output.answer(documents.document("run", exit_code, documents.empty("run"), errors))
    return exit_code
