"""`portguard lint`."""

from __future__ import annotations

from portguard.api import lint as api
from portguard.cli import output
from portguard.cli.command import CONFIG, JSON, Command, Option, arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "declare",
    "Check the declarations without binding anything.\n\n"
    "Compares them with compose, .env and devcontainer files, so the answer is the same on every machine.",
    (
        CONFIG,
        Option("output_format", ("--format",), "text (default), json, github or sarif.", str, "text", "FORMAT"),
        Option("strict", ("--strict",), "Fail on warnings, too."),
        JSON,
    ),
    arguments("paths", "FILE", "Lint the projects these files belong to. Default: the one here."),
)


def run(*, paths: Sequence[str], config: str | None, output_format: str, strict: bool, as_json: bool) -> int:
    """Judge the declarations, say what was found, return the exit code."""
    kind = output.checked_format("json" if as_json else output_format)
    report = api.lint(*paths, config=config, strict=strict)
    if kind == "json":
        from portguard.render import documents  # json costs 0.7 x the interpreter's start

        output.answer(documents.document("lint", report.exit_code, documents.data(report)))
    elif kind == "github":
        from portguard.render import annotations  # not in text

        output.answer(annotations.github(report.findings, base=output.repository()))
    elif kind == "sarif":
        from portguard import __version__
        from portguard.render import annotations  # not in text
        from portguard.rules.lint import RULES

        rules = {name: (rule.short, rule.why) for name, rule in RULES.items()}
        output.answer(annotations.sarif(report.findings, base=output.repository(), version=__version__, rules=rules))
    else:
        from portguard.render import text  # not in JSON

        output.answer(text.lint(report, output.working_directory(), colour=output.wants_colour()))
    return report.exit_code
