"""`portguard run`."""

from __future__ import annotations

import errno
import os

from portguard.api import run as api
from portguard.cli import output
from portguard.cli.command import CONFIG, ISOLATED, JSON, MOVE, Command, Option, arguments
from portguard.errors import NOT_EXECUTABLE, NOT_FOUND, RUN_FAILED, UsageError
from portguard.render import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NEXT_STEPS = {
    errno.EACCES: "make it executable: chmod +x FILE (not a directory)",
    errno.ENOEXEC: "name its interpreter in its first line, as in #!/bin/sh, or in front: portguard run -- sh FILE",
}

COMMAND = Command(
    "act",
    "Check and reserve the ports, then run a command with them.\n\n"
    "The command finds its ports in the environment. portguard exits with the command's code; "
    f"{RUN_FAILED} if portguard fails first, {NOT_EXECUTABLE} if the command is not executable, "
    f"{NOT_FOUND} if it is not found.",
    (
        CONFIG,
        ISOLATED,
        MOVE,
        Option("no_hold", ("--no-hold",), "Do not keep the ports bound: for servers without SO_REUSEADDR."),
        Option("pass_fd", ("--pass-fd",), "Pass listening sockets to the command, with LISTEN_FDS."),
        JSON._replace(help="If the command does not start, print why as one JSON document."),
    ),
    arguments("names", "[NAME]... -- COMMAND", "Declared names. Default: every declared port."),
    (
        ("portguard run -- npm start", "check and reserve every declared port, then start the server"),
        ("portguard run web -- npm start", "only the port declared as web"),
        ("portguard run --move -- docker compose up", "move ports someone else holds to new numbers first"),
    ),
    takes_command=True,
)


def run(
    *,
    names: Sequence[str],
    command: Sequence[str],
    config: str | None,
    isolated: bool,
    move: bool,
    no_hold: bool,
    pass_fd: bool,
    as_json: bool,
) -> int:
    """Check and take the ports, and become the command; returns only when that fails."""
    if not command:
        raise UsageError("no command to run", "write it after --: portguard run -- npm start")
    try:
        ready = api.prepare(*names, config=config, isolated=isolated, move=move, no_hold=no_hold, pass_fd=pass_fd)
    except api.RefusedError as error:
        if as_json:
            from portguard.render import documents  # json costs 0.7 x the interpreter's start

            errors = [documents.error(error.code, message, error.hint) for message in error.messages]
            output.answer(documents.document("run", RUN_FAILED, documents.data(error.report), errors))
        else:
            output.message(text.conflicts(error.report, os.getcwd(), error.hint))
        return RUN_FAILED
    output.message(text.notes(ready.notes))
    try:
        return api.become(command, ready)
    except FileNotFoundError:
        on_path = "check its spelling, and that its directory is on PATH"
        at_path = "check the path, and the interpreter in a script's first line"
        hint = at_path if os.path.dirname(command[0]) else on_path
        return _not_run(NOT_FOUND, "not-found", f"{command[0]}: command not found", hint, as_json=as_json)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        step = _NEXT_STEPS.get(error.errno or 0) if isinstance(error, OSError) else None
        message = f"{command[0]}: could not be run: {reason}"
        return _not_run(NOT_EXECUTABLE, "not-executable", message, step, as_json=as_json)


def _not_run(exit_code: int, code: str, message: str, hint: str | None, *, as_json: bool) -> int:
    """Say why the command could not become this process; return the exit code."""
    output.message(text.error([message], hint))
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        errors = [documents.error(code, message, hint)]
        output.answer(documents.document("run", exit_code, documents.empty("CheckReport"), errors))
    return exit_code
