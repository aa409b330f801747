"""`portguard init`."""

from __future__ import annotations

from portguard.api import init as api
from portguard.cli import output
from portguard.cli.command import JSON, Command, Option
from portguard.errors import OK

TYPE_CHECKING = False

COMMAND = Command(
    "declare",
    "Write a portguard.toml from what the repository already declares.",
    (Option("force", ("--force",), "Overwrite an existing one."), JSON),
)


def run(*, force: bool, as_json: bool) -> int:
    """Write a `portguard.toml`, say from what; return the exit code."""
    from portguard.api.here import shown, working_directory
    from portguard.render import text
    from portguard.render.safe import safe

    report = api.init(force=force)
    output.message(text.notes(report.notes))
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("init", OK, documents.data(report)))
        return OK
    here = working_directory(None)
    lines = [
        f"{safe(shown(path, here))}: {count} port{'' if count == 1 else 's'}"
        for path, count in zip(report.sources, report.counts, strict=True)
    ]
    lines.append(f"{'written' if report.written else 'unchanged'}: {safe(report.path)}")
    output.answer("\n".join(lines) + "\n")
    return OK
