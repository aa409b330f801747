"""`portguard env`."""

from __future__ import annotations

import os

from portguard.api import env as api
from portguard.cli import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMATS = ("dotenv", "shell", "github", "json")


def run(
    *,
    names: Sequence[str],
    config: str | None,
    output_format: str,
    write: str | None,
    is_isolated: bool,
    is_moving: bool,
    as_json: bool,
) -> int:
    """Print the checkout's numbers, or write them into a file; return the exit code."""
    output.checked_format(output_format, FORMATS)
    path = None if write is None else os.path.abspath(write)
    report = api.env(*names, config=config, isolated=is_isolated, move=is_moving, unread=path)
    changed = None
    if path is not None:
        changed = api.write(path, report)
    from portguard.render import text  # not when it fails
    from portguard.render.safe import safe

    output.message(text.notes(report.notes))
    if as_json or output_format == "json":
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("env", 0, documents.env(report)))
    elif path is None:
        output.answer(_lines(report.variables, "export " if output_format == "shell" else ""))
    elif changed:
        output.message(f"written: {', '.join(report.variables)} in {safe(write or '')}\n")
    return 0


def _lines(variables: Mapping[str, str], prefix: str) -> str:
    """Return an assignment a line; the values are digits and words, which no shell reads otherwise."""
    return "".join(f"{prefix}{name}={value}\n" for name, value in variables.items())
