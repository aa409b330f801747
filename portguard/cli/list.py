"""`portguard list`."""

from __future__ import annotations

import gc
import os

from portguard.api import listing as api
from portguard.cli import output
from portguard.model import PROTOCOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import Protocol


def run(
    *,
    is_all: bool,
    is_tcp: bool,
    is_udp: bool,
    is_v4: bool,
    is_v6: bool,
    is_mine: bool,
    is_by_project: bool,
    as_json: bool,
) -> int:
    """List, print what was found, return the exit code. That nothing listens is an answer too."""
    gc.disable()  # what is made here stays until the end, and there can be tens of thousands of it
    found = api.list_ports(
        protocols=_protocols(is_tcp=is_tcp, is_udp=is_udp),
        families=(4, 6) if is_v4 == is_v6 else (4,) if is_v4 else (6,),
        connections=is_all,
        mine=is_mine,
        brief=not (as_json or is_by_project),
        processors=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
    )
    from portguard.render import text  # not when the table cannot be read

    output.message(text.notes(found.notes))
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("list", 0, documents.listing(found)))
        return 0
    from portguard.render import listing  # not in JSON

    projects = api.projects_of(found) if is_by_project else None
    told = listing.listing(found, colour=output.wants_colour(), width=output.width(), projects=projects)
    if told:
        output.answer(told)
    else:
        output.message("nothing listens\n")
    return 0


def _protocols(*, is_tcp: bool, is_udp: bool) -> Sequence[Protocol]:
    if is_tcp == is_udp:
        return PROTOCOLS
    return ("tcp",) if is_tcp else ("udp",)
