"""`portguard check`."""

from __future__ import annotations

from portguard.api import check as api
from portguard.cli import output
from portguard.cli.command import CONFIG, JSON, Command, Option, arguments
from portguard.errors import OutputError
from portguard.rules.verdicts import worst

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import CheckReport


COMMAND = Command(
    "look",
    "Check whether every declared port can be bound right now.\n\n"
    "Exits 0 if every port is free or held by this project, 1 if not.",
    (
        CONFIG,
        Option("output_format", ("--format",), "text (default), json, github or sarif.", str, "text", "FORMAT"),
        JSON,
        Option("quiet", ("--quiet", "-q"), "Print no text; the exit code is the answer."),
        Option("strict", ("--strict",), "Count ports held by this project as conflicts; fail on unknown."),
        Option("compose_config", ("--compose-config",), "Let `docker compose config` resolve the compose files."),
    ),
    arguments("targets", "NAME|PORT[/udp]|ADDRESS:PORT", "Declared names, or any ports. Default: every declared port."),
    (
        ("portguard check && docker compose up", "check what the project declares, then start it"),
        ("portguard check 3000 127.0.0.1:5432 53/udp", "check any ports; no config needed"),
        ("portguard check web --json", "check one declared port, for a program"),
    ),
)


def run(
    *,
    targets: Sequence[str],
    config: str | None,
    as_json: bool,
    quiet: bool,
    strict: bool,
    compose_config: bool,
    output_format: str = "text",
) -> int:
    """Check, say what was found, return the exit code; `as_json` is another spelling of the format "json".

    `quiet` leaves out what people read: the text and the messages. What a program asked for it gets.
    """
    asked = output.checked_format(output_format)
    kind = "json" if as_json else asked
    report = api.check(*targets, config=config, strict=strict, compose_config=compose_config)
    try:
        if not quiet:
            _message(report, kind)
        if not quiet or kind != "text":
            _answer(report, kind)
    except OutputError as error:
        output.message(f"portguard: {error.message}\n")
        return worst((report.exit_code, OutputError.exit_code))
    return report.exit_code


def _message(report: CheckReport, kind: str) -> None:
    """Write the notes, those of ports unless JSON has them, as messages."""
    if kind != "json" or report.notes:
        from portguard.render import text  # rarely needed with JSON

        output.message(text.notes(report.notes) if kind == "json" else text.check_notes(report))


def _answer(report: CheckReport, kind: str) -> None:
    """Write the answer in a format. Raises OutputError."""
    if kind == "json":
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("check", report.exit_code, documents.data(report)))
        return
    if kind == "text":
        from portguard.render import text  # not in the others

        output.answer(text.check(report, output.working_directory(), colour=output.wants_colour()))
        return
    from portguard.render import annotations  # json again

    findings = annotations.of_check(report)
    if kind == "github":
        output.answer(annotations.github(findings, base=output.repository()))
        return
    from portguard import __version__  # only told here

    rules = annotations.CHECK_RULES
    output.answer(annotations.sarif(findings, base=output.repository(), version=__version__, rules=rules))
