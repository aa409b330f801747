"""`portguard who`."""

from __future__ import annotations

import os

from portguard.api import who as api
from portguard.cli import output
from portguard.cli.command import JSON, Command, Option, arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "look",
    "Show who holds a port, why, and what started it.",
    (
        Option(
            "all_holders", ("--all-holders",), "Search every process, even unrelated ones that were passed the socket."
        ),
        JSON,
    ),
    arguments("ports", "PORT[/udp]|ADDRESS:PORT", "Ports; both protocols unless given.", is_required=True),
    (
        ("portguard who 5432", "show the process, container or unit, and what started it"),
        ("portguard who 127.0.0.1:8080", "show only who receives connections to that address"),
        ("portguard who 53/udp --json", "print one JSON document"),
    ),
)


def run(*, ports: Sequence[str], all_holders: bool, as_json: bool) -> int:
    """Say who has the ports, return the exit code."""
    report = api.who(*ports, all_holders=all_holders)
    if as_json:
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("who", report.exit_code, documents.data(report)))
    else:
        from portguard.render import text, who  # not in JSON

        output.message("".join(text.notes(port.notes) for port in report.ports))
        output.answer(who.who(report, os.environ.get("HOME", ""), colour=output.wants_colour()))
    return report.exit_code
