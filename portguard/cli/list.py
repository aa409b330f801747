"""`portguard list`."""

from __future__ import annotations

import gc
import os

from portguard.api import listing as api
from portguard.cli import output
from portguard.cli.command import JSON, Command, Option
from portguard.errors import OK
from portguard.model import PROTOCOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import Protocol

COMMAND = Command(
    "look",
    "List what listens on this host, and who is behind it.",
    (
        Option("all_", ("--all",), "Also list connections, as a separate table."),
        Option("tcp", ("--tcp",), "Only TCP."),
        Option("udp", ("--udp",), "Only UDP."),
        Option("v4", ("-4",), "Only IPv4 sockets."),
        Option("v6", ("-6",), "Only IPv6 sockets, including dual-stack ones."),
        Option("mine", ("--mine",), "Only sockets of your own processes."),
        Option("by_project", ("--by-project",), "In text, one table per compose project or checkout."),
        JSON,
    ),
)


def run(
    *,
    all_: bool,
    tcp: bool,
    udp: bool,
    v4: bool,
    v6: bool,
    mine: bool,
    by_project: bool,
    as_json: bool,
) -> int:
    """List, print what was found, return the exit code. That nothing listens is an answer too."""
    gc.disable()  # what is made here stays until the end, and there can be tens of thousands of it
    found = api.list_ports(
        protocols=_protocols(tcp=tcp, udp=udp),
        families=(4, 6) if v4 == v6 else (4,) if v4 else (6,),
        connections=all_,
        mine=mine,
        brief=not (as_json or by_project),
        processors=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
    )
    from portguard.render import text  # not when the table cannot be read

    output.message(text.notes(found.notes))
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("list", OK, documents.data(found)))
        return OK
    from portguard.render import listing  # not in JSON

    told = listing.listing(found, colour=output.wants_colour(), width=output.width(), by_project=by_project)
    if told:
        output.answer(told)
    else:
        output.message("nothing listens\n")
    return OK


def _protocols(*, tcp: bool, udp: bool) -> Sequence[Protocol]:
    if tcp == udp:
        return PROTOCOLS
    return ("tcp",) if tcp else ("udp",)
