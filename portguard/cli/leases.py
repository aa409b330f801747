"""`portguard leases`."""

from __future__ import annotations

import os
import time

from portguard.api import leases as api
from portguard.cli import output
from portguard.cli.command import JSON, Command, Option, arguments
from portguard.errors import OK, UsageError
from portguard.model import LeasesReport
from portguard.render import leases as render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ACTIONS = ("list", "release", "prune")

COMMAND = Command(
    "share",
    "List the ports that were handed out, or release them.",
    (
        Option("all_", ("--all",), "release: all of this checkout's ports."),
        Option("dry_run", ("--dry-run",), "prune: only show what would be released."),
        JSON,
    ),
    arguments(
        "words",
        "[list | release PORT|NAME... | prune]",
        "Default: list. prune: release the ports of checkouts that no longer exist.",
    ),
)


def run(*, words: Sequence[str], all_: bool, dry_run: bool, as_json: bool) -> int:
    """List what is handed out, or release it; print it, return the exit code."""
    action, *targets = words or ("list",)
    if action not in ACTIONS:
        raise UsageError(f"unknown action {action!r}", f"portguard leases, or with one of: {', '.join(ACTIONS[1:])}")
    if targets and action != "release":
        raise UsageError(f"`leases {action}` does not take {targets[0]!r}", f"portguard leases {action}")
    if all_ and action != "release":
        step = "portguard leases" if action == "list" else f"portguard leases {action}"
        raise UsageError("--all goes only with `leases release`, and releases all of this checkout's ports", step)
    if dry_run and action != "prune":
        raise UsageError(f"--dry-run does not go with `leases {action}`", "portguard leases prune --dry-run")
    home = os.environ.get("HOME", "")
    if action == "list":
        found = api.list_leases()
        told = render.leases(found, home, now=time.time(), colour=output.wants_colour(), width=output.width())
        nothing = "nothing is handed out"
    else:
        found = api.release(*targets, everything=all_) if action == "release" else api.prune(dry=dry_run)
        told = render.given_back(found, home)
        nothing = "nothing to release"
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("leases", OK, documents.data(LeasesReport(tuple(found)))))
    elif told:
        output.answer(told)
    else:
        output.message(f"{nothing}\n")
    return OK
