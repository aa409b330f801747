"""Annotations: whatever a message holds, GitHub reads one command a finding, and SARIF is valid and points there."""

from __future__ import annotations

import ast
import json
import os
import re
import unicodedata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard import model
from portguard.model import CheckReport, Finding, PortReport, Source
from portguard.render import annotations as ours
from portguard.render.safe import safe
from tests.amount import examples
from tests.annotated import commands, read_sarif, schema_errors

PIECES = (
    "%", "%0A", "%0D", "%25", "%250A", "%3A", "%2C", "\r", "\n", "\r\n", "\n::error::x", "::", ":", ",", "=", "::error",
    "::stop-commands::x\n", "##[error]", "##[set-env name=A;]b", "\x1b[31m", "\x1b]52;c;aGk=\x07", "\x9b", "\x00",
    "\x85", "\u2028", "\u2029", "\u202e", "\u200b", "\ufeff", "\v", "\f", "\x7f", "\udcff", "\ud800", "\udfff",
    "\U0010ffff", "\\", "\\n", "\\x1b", " ", "\t", "[x](http://evil)", "](1)", "{0}", "é", "漢字", "👩‍👩‍👧", "next: ",
    "x" * 300,
)  # fmt: skip
# A byte each: the pieces above, ASCII, and characters spread over all of Unicode. (`st.text` takes four times as long.)
_ATOMS = [*PIECES, *map(chr, range(0x20, 0x7F)), *(chr(number * 0x2B01) for number in range(100))][:256]
TEXTS = st.binary(max_size=16).map(lambda data: "".join(_ATOMS[byte % len(_ATOMS)] for byte in data))
NAMES = st.binary(min_size=1, max_size=5).map(lambda data: "".join(PIECES[byte % len(PIECES)] for byte in data))
FORBIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
Severity = Literal["error", "warning"]
SEVERITIES: st.SearchStrategy[Severity] = st.sampled_from(("error", "warning"))
FINDINGS = st.builds(
    Finding,
    id=st.sampled_from(["port-0", "check-listener", "other"]),
    severity=SEVERITIES,
    message=TEXTS,
    hint=st.one_of(st.none(), TEXTS),
    source=st.one_of(
        st.just(Source(None, None)),
        st.builds(Source, NAMES.map("/base/".__add__), st.one_of(st.none(), st.integers(1, 9_999))),
        st.builds(Source, NAMES.map("/elsewhere/".__add__), st.integers(1, 9_999)),
        st.builds(Source, NAMES, st.integers(1, 9_999)),
    ),
    column=st.one_of(st.none(), st.integers(1, 999)),
    name=st.one_of(st.none(), TEXTS),
)
RULES = {"port-0": ("Port 0.", "It means any."), "check-listener": ("Busy.", "It fails.")}


def finding(message: str = "no", **changes: Any) -> Finding:
    """Return an error in /base/compose.yaml, line 5."""
    plain = Finding("check-listener", "error", message, None, Source("/base/compose.yaml", 5))
    return plain._replace(**changes)


def sarif(*findings: Finding, base: str = "/base") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return driver and results of the document about findings."""
    return read_sarif(ours.sarif(findings, base=base, version="1.2.3", rules=RULES))


def printable(text: str) -> str:
    """Return a text as it is to be shown: `safe()` but for its line ends."""
    return "".join(part if part in "\r\n" else safe(part) for part in re.split(r"([\r\n])", text))


# --- GitHub -----------------------------------------------------------------------------------------------------------


@pytest.mark.scaled
@settings(max_examples=examples(3_000), deadline=None, database=None)
@given(TEXTS, st.one_of(st.none(), TEXTS), NAMES, SEVERITIES)
def test_a_message_is_read_back(message: str, hint: str | None, file: str, severity: Severity) -> None:
    """One line, one command; by the runner's rules it is the message, printable, and so is the file's name."""
    found = finding(message, hint=hint, severity=severity, source=Source(f"/base/{file}", 3), column=7)

    output = ours.github([found], base="/base")

    (command,) = commands(output)
    assert output.count("\n") == 1
    assert output.endswith("\n")
    assert "\r" not in output
    assert not {unicodedata.category(character) for character in output[:-1]} & FORBIDDEN
    assert command.name == severity
    assert command.data == printable(message if hint is None else f"{message}\nnext: {hint}")
    assert command.properties == {
        "file": printable(file),
        "line": "3",
        "col": "7",
        "title": "portguard check-listener",
    }
    if message.replace("\n", "").replace("\r", "").isprintable() and "\\" not in message and hint is None:
        assert command.data == message


@pytest.mark.scaled
@settings(max_examples=examples(1_000), deadline=None, database=None)
@given(st.lists(FINDINGS, max_size=8))
def test_a_command_for_each_finding(findings: list[Finding]) -> None:
    """As many commands as findings, and no other line while there are few; errors come first, else as found."""
    output = ours.github(findings, base="/base")

    read = commands(output)
    assert len(read) == len(findings) == len(output.splitlines())
    assert [command.name for command in read] == sorted(item.severity for item in findings)
    errors = [item.id for item in findings if item.severity == "error"]
    assert [command.properties["title"] for command in read][: len(errors)] == [f"portguard {name}" for name in errors]


@pytest.mark.parametrize(("errors", "warnings", "is_told"), [(10, 10, False), (11, 0, True), (3, 11, True)])
def test_more_than_github_shows(errors: int, warnings: int, is_told: bool) -> None:
    """Beyond ten of a kind one more line tells how many there are, and is no command."""
    findings = [finding()] * errors + [finding(severity="warning")] * warnings

    output = ours.github(findings, base="/base")

    assert len(commands(output)) == errors + warnings
    plain = [line for line in output.splitlines() if not line.startswith("::")]
    assert len(plain) == is_told
    assert all(f"errors: {errors}, warnings: {warnings}" in line and "##[" not in line for line in plain)


@pytest.mark.parametrize(
    ("source", "column", "base", "properties"),
    [
        (Source(None, None), None, "/base", {}),
        (Source(None, 3), 2, "/base", {}),
        (Source("/base/a/b.yaml", 3), None, "/base", {"file": "a/b.yaml", "line": "3"}),
        (Source("/base/a.yaml", 3), 2, "/base/", {"file": "a.yaml", "line": "3", "col": "2"}),
        (Source("/base/a.yaml", None), 2, "/base", {"file": "a.yaml"}),
        (Source("/based/a.yaml", 1), None, "/base", {"file": "/based/a.yaml", "line": "1"}),
        (Source("/a.yaml", 1), None, "/", {"file": "a.yaml", "line": "1"}),
        (Source("/a.yaml", 1), None, "", {"file": "/a.yaml", "line": "1"}),
        (Source("C:\\work\\a\\b.yaml", 1), None, "C:\\work", {"file": "a/b.yaml", "line": "1"}),
        (Source("D:\\b.yaml", 1), None, "C:\\work", {"file": "D:/b.yaml", "line": "1"}),
        (Source("/base/a\\b.yaml", 1), None, "/base", {"file": "a\\\\b.yaml", "line": "1"}),
    ],
)
def test_where(source: Source, column: int | None, base: str, properties: dict[str, str]) -> None:
    """Paths are relative to the base with forward slashes, outside of it as they are; without a file there is none."""
    (command,) = commands(ours.github([finding(source=source, column=column)], base=base))

    assert command.properties == {**properties, "title": "portguard check-listener"}


def test_without_findings_there_is_no_line_for_github() -> None:
    """Without findings there is no line for GitHub, and a valid document without results."""
    assert ours.github([], base="/base") == ""
    assert sarif() == (sarif(finding())[0], [])


# --- SARIF ------------------------------------------------------------------------------------------------------------


def test_the_schema_objects() -> None:
    """The schema is the published one, and finds fault with a wrong level, a wrong key and a missing message."""
    document = json.loads(ours.sarif([finding()], base="/base", version="1", rules=RULES))
    assert schema_errors(document) == []
    faults: list[dict[str, Any]] = [{"level": "fatal"}, {"line": 3}, {"message": {}}, {"partialFingerprints": {"a": 1}}]
    for broken in faults:
        changed = json.loads(json.dumps(document))
        changed["runs"][0]["results"][0] |= broken
        assert schema_errors(changed), broken


@pytest.mark.scaled
@settings(max_examples=examples(800), deadline=None, database=None)
@given(st.lists(FINDINGS, max_size=8))
def test_sarif_is_valid_whatever_was_found(findings: list[Finding]) -> None:
    """The document validates; a result each finding in their order, with its rule, level, text and place."""
    _driver, results = sarif(*findings)

    assert len(results) == len(findings)
    for result, found in zip(results, findings, strict=True):
        assert (result["ruleId"], result["level"]) == (found.id, found.severity)
        assert result.get("ruleIndex", -1) == [*RULES, "other"].index(found.id) or found.id == "other"
        text = result["message"]["text"]
        assert "](" not in text
        assert text.startswith(printable(found.message.rstrip("." if found.hint is not None else "")).split("](")[0])
        assert not {unicodedata.category(character) for character in text if character not in "\r\n"} & FORBIDDEN
        assert ("locations" in result) == (found.source.file is not None)
    prints = [result["partialFingerprints"]["portguard/v1"] for result in results]
    assert len(set(prints)) == len(prints)


@pytest.mark.scaled
@settings(max_examples=examples(1_000), deadline=None, database=None)
@given(NAMES)
def test_a_uri_leads_to_the_file(name: str) -> None:
    """Relative and percent-encoded, it holds nothing but what RFC 3986 allows, and decodes to the path's very bytes."""
    _driver, (inside, outside) = sarif(
        finding(source=Source(f"/base/{name}", 2)), finding(source=Source(f"/else/{name}", 2))
    )

    artifacts = [item["locations"][0]["physicalLocation"]["artifactLocation"] for item in (inside, outside)]
    path = name.encode(
        "utf-8", "surrogatepass" if re.search("[\ud800-\udc7f\udd00-\udfff]", name) else "surrogateescape"
    )
    assert all(re.fullmatch(r"(file://)?([A-Za-z0-9._~/-]|%[0-9A-F]{2})+", artifact["uri"]) for artifact in artifacts)
    assert unquote_to_bytes(artifacts[0]["uri"]) == path
    assert artifacts[0]["uriBaseId"] == "%SRCROOT%"
    assert unquote_to_bytes(artifacts[1]["uri"]) == b"file:///else/" + path
    assert "uriBaseId" not in artifacts[1]


def test_a_windows_path_outside_is_a_file_uri() -> None:
    """A drive's letter keeps its colon (RFC 8089 appendix E.2)."""
    _driver, (result,) = sarif(finding(source=Source("D:\\a b\\c.yaml", 1)), base="C:\\work")

    assert result["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "file:///D:/a%20b/c.yaml"}


def test_what_code_scanning_reads() -> None:
    """What code scanning reads: driver, rules with descriptions and help, region, message with the next step."""
    driver, (result, unplaced) = sarif(
        finding("db: busy", hint="stop it: kill 7", column=3), finding(source=Source("/base/x", None), id="port-0")
    )

    assert (driver["name"], driver["version"]) == ("portguard", "1.2.3")
    assert driver["rules"][1] == {
        "id": "check-listener",
        "shortDescription": {"text": "Busy."},
        "fullDescription": {"text": "It fails."},
        "help": {"text": "It fails."},
    }
    assert result["message"]["text"] == "db: busy. Next: stop it: kill 7"
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "compose.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 5, "startColumn": 3},
    }
    assert unplaced["ruleIndex"] == 0
    assert unplaced["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}


def test_fingerprints_stay_when_lines_move() -> None:
    """Id, name and file make it, neither line nor checkout; equal findings of one file are told apart."""

    def prints(*findings: Finding, base: str = "/base") -> list[str]:
        return [result["partialFingerprints"]["portguard/v1"] for result in sarif(*findings, base=base)[1]]

    one = finding(name="db")
    (first,) = prints(one)
    assert prints(one._replace(source=Source("/base/compose.yaml", 99), column=4, message="else")) == [first]
    assert prints(one._replace(source=Source("/clone/compose.yaml", 5)), base="/clone") == [first]
    others = [one._replace(name="web"), one._replace(id="port-0"), one._replace(source=Source("/base/x.yaml", 5))]
    assert len({first, *prints(*others)}) == 4
    twice = prints(one, one)
    assert twice[0] == first
    assert twice[1] != first


# --- what there is to tell --------------------------------------------------------------------------------------------


def causes() -> set[str]:
    """Return every cause that `portguard.model` knows; the type is there for type checkers alone."""
    tree = ast.parse(Path(model.__file__).read_text())
    (value,) = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "Cause"
    ]
    return set(ast.literal_eval(value.slice)) if isinstance(value, ast.Subscript) else set()


def port(**changes: Any) -> PortReport:
    """Return a conflict."""
    return PortReport(
        name="db", port=5432, declared_port=5432, protocol="tcp", hosts=("*",), env=None, service=None,
        source=Source("/base/compose.yaml", 5), verdict="conflict", cause="listener", message="busy", hint="wait",
        suggestion=None, notes=(), holders=(),
    )._replace(**changes)  # fmt: skip


def test_a_rule_for_every_cause() -> None:
    """Each cause has a short sentence and a reason, within what GitHub shows of them."""
    assert "listener" in causes()
    assert set(ours.CHECK_RULES) == {f"check-{cause}" for cause in causes()}
    for short, why in ours.CHECK_RULES.values():
        assert short.endswith(".")
        assert why.endswith(".")
        assert short != why
        assert max(len(short), len(why)) <= 1024


def test_what_cannot_be_had_is_told() -> None:
    """What cannot be had is told: as an error, as a warning where it is optional or unknown; free and ours are not."""
    ports = (
        port(),
        port(verdict="unavailable", cause="permission", hint=None),
        port(optional=True),
        port(verdict="unknown", cause="none"),
        port(verdict="free", cause="none"),
        port(verdict="ours"),
    )

    found = ours.of_check(CheckReport(None, (), ports, 1))

    assert [(item.id, item.severity) for item in found] == [
        ("check-listener", "error"),
        ("check-permission", "error"),
        ("check-listener", "warning"),
        ("check-none", "warning"),
    ]
    assert found[0] == Finding(
        "check-listener", "error", "db: busy", "wait", Source("/base/compose.yaml", 5), None, "db"
    )
    assert found[1].hint is None


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("config", "a.toml:2:7: port 0", ("port 0", "/cwd/a.toml", 2, 7)),
        ("config", "/x/a.toml:2:7: port 0", ("port 0", "/x/a.toml", 2, 7)),
        ("config", ".env:3: no '='", ("no '='", "/cwd/.env", 3, None)),
        ("config", "C:\\x.toml:2:7: port 0", ("port 0", "/cwd/C:\\x.toml", 2, 7)),
        ("config", "a.toml: is empty", ("a.toml: is empty", None, None, None)),
        ("config", "a\nb.toml:1:2: c:3:4: d", ("c:3:4: d", "/cwd/a\nb.toml", 1, 2)),
        ("config", "a.toml:0: x", ("a.toml:0: x", None, None, None)),
        ("usage", "127.0.0.1:99999: no port", ("127.0.0.1:99999: no port", None, None, None)),
    ],
)
def test_a_configs_mistake_is_told_where_it_stands(
    code: str, message: str, expected: tuple[str, str | None, int | None, int | None]
) -> None:
    """A config's mistake is told where it stands; whatever has no place keeps its whole sentence."""
    (found,) = ours.of_failure(code, [message], "hint", "/cwd")

    assert (found.message, found.source.file, found.source.line, found.column) == expected
    assert (found.id, found.severity, found.hint) == (code, "error", "hint")
    assert set(ours.failure_rules(code)) == {code}


def test_of_failure_on_windows() -> None:
    """A drive's colon is no line's, and an absolute path stays one."""
    (found,) = ours.of_failure("config", ["C:\\x\\a.toml:2:7: port 0"], None, "C:\\work")

    assert found.source == Source("C:\\x\\a.toml", 2)


def test_the_base_of_the_file_system_is_no_special_case() -> None:
    """Every real path is found below the root."""
    (command,) = commands(ours.github([finding(source=Source(os.path.realpath(__file__), 1))], base="/"))

    assert Path("/", command.properties["file"]) == Path(__file__).resolve()
