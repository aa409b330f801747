"""Writes docs/reference.md from the code: `python docs/make_reference.py`. A test holds the page to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import portguard
from portguard.cli.app import build
from portguard.cli.command import COMMANDS, module_of
from portguard.errors import EXIT_CODES
from portguard.rules.lint import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
_HOW_TO_IGNORE = (
    "An error makes `portguard lint` exit with 1; a warning does so with `--strict`. Each can be turned off in the "
    'config, with a reason: `[lint.ignore]`, `wildcard-database = "reachable from the VPN alone"`.'
)
SCHEMA = Path(portguard.__file__).parent / "config" / "portguard.schema.json"


def page() -> str:
    """Return the whole page."""
    parts = [
        "# Reference",
        "Made from the code by `python docs/make_reference.py`.",
        "## Exit codes",
        *_exit_codes(),
        "## Commands",
        *_commands(),
        "## Findings of lint",
        _HOW_TO_IGNORE,
        *(_finding(name) for name in RULES),
        "## portguard.toml",
        "The same tables may stand in `pyproject.toml` under `[tool.portguard]`.",
        *_config(),
    ]
    return "\n\n".join(parts) + "\n"


def _exit_codes() -> Iterator[str]:
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    yield "\n".join(["| exit code | meaning |", "|---|---|", *rows])
    yield "`portguard run` exits with the command's own code once the command has started."


def _commands() -> Iterator[str]:
    group: Any = typer.main.get_command(build({name: module_of(name).COMMAND for name in COMMANDS}, _nothing))
    for name in sorted(group.commands):
        command = group.commands[name]
        context = typer.Context(command, info_name=f"portguard {name}")
        usage = " ".join(command.get_usage(context).split()).removeprefix("Usage: ")
        yield f"### portguard {name}"
        yield f"`{usage}`"
        yield command.help.strip()
        rows = [_option(parameter) for parameter in command.params if parameter.param_type_name == "option"]
        yield "\n".join(["| option | what it does |", "|---|---|", *rows])


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    value = f" `{parameter.metavar}`" if parameter.metavar else ""
    return f"| {names}{value} | {parameter.help or 'Show the help and exit.'} |"


def _nothing(*_: object, **__: object) -> int:
    return 0


def _finding(name: str) -> str:
    rule = RULES[name]
    return f"### {name}\n\n{rule.severity}: {rule.short}. {rule.why}"


def _config() -> Iterator[str]:
    schema = json.loads(SCHEMA.read_text())
    yield "\n".join(["| key | what it says |", "|---|---|", *_keys(schema, "")])


def _keys(schema: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, item in schema.get("properties", {}).items():
        if item.get("description"):
            yield f"| `{prefix}{name}` | {item['description']} |"
        yield from _keys(item, f"{prefix}{name}.")
        for inner in item.get("patternProperties", {}).values():
            for choice in inner.get("anyOf", inner.get("oneOf", [inner])):
                yield from _keys(choice, f"{prefix}{name}.NAME.")


if __name__ == "__main__":
    (HERE / "reference.md").write_text(page())
