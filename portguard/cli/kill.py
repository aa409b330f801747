"""`portguard kill`."""

from __future__ import annotations

import os
import sys

from portguard.api import kill as api
from portguard.cli import output
from portguard.errors import UsageError
from portguard.render import kill as render
from portguard.render import text
from portguard.render.safe import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import KillReport


def run(
    *,
    ports: Sequence[str],
    is_agreed: bool,
    is_dry: bool,
    is_forced: bool,
    is_tree: bool,
    names: Sequence[str],
    as_json: bool,
) -> int:
    """Show what would be stopped, ask, stop it, and say what became of the ports; return the exit code."""
    report = api.kill(
        *ports,
        force=is_forced,
        tree=is_tree,
        confirm=names,
        dry_run=is_dry,
        ask=None if is_agreed else lambda plan: _ask(plan, names, is_forced=is_forced, is_tree=is_tree),
    )
    output.message(text.notes(report.notes))
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("kill", report.exit_code, documents.kill(report, is_dry=is_dry)))
    elif is_dry:
        output.answer(render.plan(report, colour=output.wants_colour()))
    else:
        output.answer(render.outcome(report, colour=output.wants_colour()))
    return report.exit_code


def _ask(plan: KillReport, names: Sequence[str], *, is_forced: bool, is_tree: bool) -> tuple[str, ...] | None:
    """Show the plan and ask; return the names that were typed, None for no. Raises UsageError without a terminal."""
    output.message(render.plan(plan, colour=False))
    if not _is_terminal(sys.stdin) or not _is_terminal(sys.stderr):
        wanted = [port.target for port in plan.ports]
        command = api.again(wanted, force=is_forced, tree=is_tree, confirm=names, is_agreed=True)
        raise UsageError("nothing was stopped: there is no terminal to ask on", command)
    actions = [action for port in plan.ports for action in port.actions]
    strangers = dict.fromkeys(action.name for action in actions if action.needs_name and action.name not in names)
    typed_names = [
        name
        for name in strangers
        if _answer(f"{safe(name)} is not this project's. To stop it, type its name: ") == name
    ]
    if any(not action.needs_name for action in actions):
        return tuple(typed_names) if _answer("Go ahead? [y/N] ").lower() in ("y", "yes") else None
    return tuple(typed_names) if typed_names or len(strangers) == 0 else None


def _answer(question: str) -> str:
    """Return what is typed; nothing when the terminal is closed."""
    output.message(question)
    return sys.stdin.readline().strip()


def _is_terminal(stream: object) -> bool:
    try:
        return os.isatty(stream.fileno())  # type: ignore[attr-defined]  # None, or closed, is caught below
    except (AttributeError, OSError, ValueError):
        return False
