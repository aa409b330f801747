"""`portguard init`."""

from __future__ import annotations

from portguard.api import init as api
from portguard.cli import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(*, is_forced: bool, as_json: bool) -> int:
    """Write a `portguard.toml`, say from what; return the exit code."""
    from portguard.api.here import shown, working_directory
    from portguard.render import text
    from portguard.render.safe import safe

    report = api.init(force=is_forced)
    output.message(text.notes(report.notes))
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("init", 0, _data(report)))
        return 0
    here = working_directory(None)
    lines = [
        f"{safe(shown(path, here))}: {count} port{'' if count == 1 else 's'}"
        for path, count in zip(report.sources, report.counts, strict=True)
    ]
    lines.append(f"{'written' if report.was_written else 'unchanged'}: {safe(report.path)}")
    output.answer("\n".join(lines) + "\n")
    return 0


def _data(report: api.InitReport) -> dict[str, Any]:
    return {
        "path": report.path,
        "written": report.was_written,
        "sources": list(report.sources),
        "text": report.text,
        "notes": [{"id": note.id, "message": note.message} for note in report.notes],
    }
