"""`portguard env`."""

from __future__ import annotations

import os

from portguard.api import env as api
from portguard.cli import output
from portguard.cli.command import CONFIG, ISOLATED, JSON, MOVE, Command, Option, arguments
from portguard.errors import OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMATS = ("dotenv", "shell", "github", "json")

COMMAND = Command(
    "share",
    "Print this checkout's ports as NAME=port.\n\n"
    "The main checkout has the declared numbers; a linked worktree has its own, which stay the same.",
    (
        CONFIG,
        Option("output_format", ("--format",), "dotenv (default), shell, github or json.", str, "dotenv", "FORMAT"),
        Option("write", ("--write",), "Keep them in a marked block of this file instead.", str, None, "FILE"),
        ISOLATED,
        MOVE,
        JSON,
    ),
    arguments("names", "NAME", "Declared names. Default: every port with a variable."),
)


def run(
    *,
    names: Sequence[str],
    config: str | None,
    output_format: str,
    write: str | None,
    isolated: bool,
    move: bool,
    as_json: bool,
) -> int:
    """Print the checkout's numbers, or write them into a file; return the exit code."""
    output.checked_format(output_format, FORMATS)
    path = None if write is None else os.path.abspath(write)
    report = api.env(*names, config=config, isolated=isolated, move=move, unread=path)
    changed = None
    if path is not None:
        changed = api.write(path, report)
    from portguard.render import text  # not when it fails
    from portguard.render.safe import safe

    output.message(text.notes(report.notes))
    if as_json or output_format == "json":
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("env", OK, documents.data(report)))
    elif path is None:
        output.answer(_lines(report.variables, "export " if output_format == "shell" else ""))
    elif changed:
        output.message(f"written: {', '.join(report.variables)} in {safe(write or '')}\n")
    return OK


def _lines(variables: Mapping[str, str], prefix: str) -> str:
    """Return an assignment a line; the values are digits and words, which no shell reads otherwise."""
    return "".join(f"{prefix}{name}={value}\n" for name, value in variables.items())
