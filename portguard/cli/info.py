"""`portguard info`."""

from __future__ import annotations

from portguard.api import info as api
from portguard.cli import output
from portguard.cli.command import JSON, Command, arguments
from portguard.errors import OK
from portguard.model import InfoReport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "look",
    "Explain a port number.\n\n"
    "Shows its range, its names, which tools use it by default, and what this system does with it.",
    (JSON,),
    arguments("ports", "PORT[/udp]", "Port numbers.", is_required=True),
)


def run(*, ports: Sequence[str], as_json: bool) -> int:
    """Say what the numbers mean, return the exit code."""
    found = api.info(*ports)
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("info", OK, documents.data(InfoReport(tuple(found)))))
    else:
        from portguard.render import listing  # not in JSON

        output.answer(listing.info(found, colour=output.wants_colour()))
    return OK
