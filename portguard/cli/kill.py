"""`portguard kill`."""

from __future__ import annotations

import os
import sys

from portguard.api import kill as api
from portguard.cli import output
from portguard.cli.command import JSON, Command, Option, arguments
from portguard.errors import UsageError
from portguard.render import kill as render
from portguard.render import text
from portguard.render.safe import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import KillReport


COMMAND = Command(
    "act",
    "Stop what listens on a port and nothing else, or say why not.\n\n"
    "Containers are stopped through their engine and systemd units through systemd. Exits 0 if every port was freed, "
    "1 if one was not or had nothing to stop, 3 if the port could not be checked afterwards.",
    (
        Option("yes", ("--yes", "-y"), "Skip the prompt (only your own processes and this project's)."),
        Option("dry_run", ("--dry-run",), "Only show what would be stopped."),
        Option("force", ("--force",), "Send SIGKILL if the port is still held after SIGTERM."),
        Option("tree", ("--tree",), "Also stop the supervisor in the same checkout and everything it runs."),
        Option(
            "confirm", ("--confirm",), "Full name of another project's container or unit to stop.", list, (), "NAME"
        ),
        JSON,
    ),
    arguments("ports", "PORT[/udp]|ADDRESS:PORT", "Ports; TCP unless given.", is_required=True),
)


def run(
    *,
    ports: Sequence[str],
    yes: bool,
    dry_run: bool,
    force: bool,
    tree: bool,
    confirm: Sequence[str],
    as_json: bool,
) -> int:
    """Show what would be stopped, ask, stop it, and say what became of the ports; return the exit code."""
    report = api.kill(
        *ports,
        force=force,
        tree=tree,
        confirm=confirm,
        dry_run=dry_run,
        ask=None if yes else lambda plan: _ask(plan, confirm, force=force, tree=tree),
    )
    output.message(text.notes(report.notes))
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("kill", report.exit_code, documents.data(report)))
    elif dry_run:
        output.answer(render.plan(report, colour=output.wants_colour()))
    else:
        output.answer(render.outcome(report, colour=output.wants_colour()))
    return report.exit_code


def _ask(plan: KillReport, confirm: Sequence[str], *, force: bool, tree: bool) -> tuple[str, ...] | None:
    """Show the plan and ask; return the names that were typed, None for no. Raises UsageError without a terminal."""
    output.message(render.plan(plan, colour=False))
    if not _is_terminal(sys.stdin) or not _is_terminal(sys.stderr):
        wanted = [port.target for port in plan.ports]
        command = api.again(wanted, force=force, tree=tree, confirm=confirm, yes=True)
        raise UsageError("nothing was stopped: no terminal to ask on", command)
    actions = [action for port in plan.ports for action in port.actions]
    strangers = dict.fromkeys(action.name for action in actions if action.needs_name and action.name not in confirm)
    typed_names = [
        name
        for name in strangers
        if _answer(f"{safe(name)} is not this project's. To stop it, type its name: ") == name
    ]
    if any(not action.needs_name for action in actions):
        return tuple(typed_names) if _answer("Go ahead? [y/N] ").lower() in ("y", "yes") else None
    return tuple(typed_names) if typed_names or len(strangers) == 0 else None


def _answer(question: str) -> str:
    """Return what is typed; nothing if the terminal is closed."""
    output.message(question)
    return sys.stdin.readline().strip()


def _is_terminal(stream: object) -> bool:
    try:
        return os.isatty(stream.fileno())  # type: ignore[attr-defined]  # None, or closed, is caught below
    except (AttributeError, OSError, ValueError):
        return False
