"""Reading annotations back as their readers do: GitHub's runner, and a SARIF viewer. Written without a look at ours."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

_SCHEMA = Path(__file__).parent / "data" / "sarif-schema-2.1.0.json"


class Command(NamedTuple):
    """A workflow command: its name, its properties and its data, unescaped."""

    name: str
    properties: dict[str, str]
    data: str


def commands(output: str) -> list[Command]:
    """Return the commands in an output, as actions/runner finds them (ActionCommand.TryParseV2) among its lines."""
    found = map(_command, re.split(r"\r\n|\r|\n", output))
    return [command for command in found if command is not None]


def _command(line: str) -> Command | None:
    line = line.lstrip()
    end = line.find("::", 2)
    if not line.startswith("::") or end < 0:
        return None
    name, _, written = line[2:end].partition(" ")
    if name not in ("error", "warning", "notice", "debug", "group", "add-mask", "stop-commands", "set-output"):
        return None
    pairs = (part.split("=", 1) for part in written.strip().split(",") if part)
    properties = {pair[0]: _unescape(pair[1], ",:") for pair in pairs if len(pair) == 2}
    return Command(name, properties, _unescape(line[end + 2 :], ""))


def _unescape(text: str, more: str) -> str:
    for character in f"\r\n{more}%":  # the percent sign last: "%250A" is "%0A", not a line's end
        text = text.replace(f"%{ord(character):02X}", character)
    return text


@functools.cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(_SCHEMA.read_text()))


def schema_errors(document: Any) -> list[str]:
    """Return what the published schema of SARIF 2.1.0 has against a document."""
    return [error.message for error in _validator().iter_errors(document)]


def read_sarif(output: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return driver and results of a valid document of one line of ASCII."""
    assert output.isascii()
    assert output.count("\n") == 1
    document = json.loads(output)
    assert schema_errors(document) == []
    (run,) = document["runs"]
    driver: dict[str, Any] = run["tool"]["driver"]
    results: list[dict[str, Any]] = run["results"]
    return driver, results
