"""`portguard leases`."""

from __future__ import annotations

import os
import time

from portguard.api import leases as api
from portguard.cli import output
from portguard.errors import UsageError
from portguard.render import leases as render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ACTIONS = ("list", "release", "prune")


def run(*, words: Sequence[str], is_all: bool, is_dry: bool, as_json: bool) -> int:
    """List what is handed out, or give it back; print it, return the exit code."""
    action, *targets = words or ("list",)
    if action not in ACTIONS:
        raise UsageError(f"`leases` has no {action!r}", f"portguard leases, or with one of: {', '.join(ACTIONS[1:])}")
    if targets and action != "release":
        raise UsageError(f"`leases {action}` takes no {targets[0]!r}", f"portguard leases {action}")
    if is_all and action != "release":
        step = "portguard leases" if action == "list" else f"portguard leases {action}"
        raise UsageError("--all goes with `leases release` alone, and gives back all of this checkout's", step)
    if is_dry and action != "prune":
        raise UsageError(f"--dry-run does not go with `leases {action}`", "portguard leases prune --dry-run")
    home = os.environ.get("HOME", "")
    if action == "list":
        found = api.list_leases()
        told = render.leases(found, home, now=time.time(), colour=output.wants_colour(), width=output.width())
        nothing = "nothing is handed out"
    else:
        found = api.release(*targets, everything=is_all) if action == "release" else api.prune(dry=is_dry)
        told = render.given_back(found, home)
        nothing = "nothing to give back"
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("leases", 0, documents.leases(found)))
    elif told:
        output.answer(told)
    else:
        output.message(f"{nothing}\n")
    return 0
