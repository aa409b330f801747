"""Findings as annotations for machines that show them beside the code: GitHub's workflow commands, and SARIF 2.1.0.

Pure: text out, nothing written. Paths are told relative to a `base`, the root of the repository, because that is how
both readers find the file. Foreign strings are made printable by `safe()` first, and escaped for the format then.
"""

from __future__ import annotations

import json

from portguard.model import Finding, Source
from portguard.render.safe import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from portguard.model import CheckReport, PortReport

# What a check has against a port, by cause: in short, and why it matters.
CHECK_RULES: dict[str, tuple[str, str]] = {
    "check-listener": (
        "Something listens on the port.",
        "A server that is started now cannot bind it, and fails with `address already in use`.",
    ),
    "check-connection": (
        "An outgoing connection uses the port as its local port.",
        "The kernel assigned it as a source port; no server can bind it until that connection ends.",
    ),
    "check-time-wait": (
        "A closed connection lingers on the port.",
        "A server that does not set SO_REUSEADDR cannot bind it until the kernel releases it, within a minute.",
    ),
    "check-bound": (
        "A socket is bound to the port and does not listen.",
        "The port is in use although no list of servers shows it; a server that is started now cannot bind it.",
    ),
    "check-lease": (
        "The port is leased to another checkout or command.",
        "Nothing listens yet, but the port was given to another checkout or command, which will use it.",
    ),
    "check-duplicate": (
        "The port is declared twice.",
        "Only one of the servers that need it can start, even if the port is free now.",
    ),
    "check-address-not-local": (
        "This host does not have the address.",
        "A server can only bind addresses of its own host; this one fails if the address is missing.",
    ),
    "check-excluded": (
        "The system has excluded the port.",
        "Nothing listens, but no server can bind it: the system reserved its range.",
    ),
    "check-permission": (
        "This user cannot bind the port: permission denied.",
        "Ports below a limit need privileges; a server that this user starts cannot bind it.",
    ),
    "check-none": (
        "Could not determine whether the port is free.",
        "A server may fail to bind it; this host could not find out.",
    ),
}

_SHOWN_BY_GITHUB = 10  # annotations of a kind and step; github.com/orgs/community/discussions/26680
_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")  # RFC 3986, 2.3


# --- what there is to tell --------------------------------------------------------------------------------------------


def of_check(report: CheckReport) -> list[Finding]:
    """Return a finding for each port that cannot be had; what fails no check is a warning."""
    return [_of_port(port) for port in report.ports if port.verdict not in ("free", "ours")]


def _of_port(port: PortReport) -> Finding:
    is_error = port.verdict != "unknown" and not port.optional
    return Finding(
        id=f"check-{port.cause}",
        severity="error" if is_error else "warning",
        message=f"{port.name}: {port.message}",
        hint=port.hint,
        source=port.source,
        name=port.name,
    )


def of_failure(code: str, messages: Sequence[str], hint: str | None, cwd: str) -> list[Finding]:
    """Return a finding for each sentence that says why there is no answer; its id is the error's code.

    The sentences about a config begin with `file:line:column: ` or `file:line: `, relative to `cwd` where not absolute.
    """
    return [_of_message(code, message, hint, cwd) for message in messages]


def _of_message(code: str, message: str, hint: str | None, cwd: str) -> Finding:
    import re  # only when something failed

    place = re.match(r"(.+?):([1-9]\d{0,8})(?::([1-9]\d{0,8}))?: ", message, re.DOTALL) if code == "config" else None
    if place is None:
        return Finding(code, "error", message, hint, Source(None, None))
    file, line, column = place.groups()
    path = file if not cwd or _is_absolute(file, cwd) else f"{cwd.rstrip('/')}/{file}"
    what = message[place.end() :]
    return Finding(code, "error", what, hint, Source(path, int(line)), int(column) if column else None)


def failure_rules(code: str) -> dict[str, tuple[str, str]]:
    """Return the rule for the findings of a failure, for `sarif`."""
    if code == "config":
        return {code: ("The declarations are invalid.", "No port was checked: the declarations must be read first.")}
    return {code: (f"portguard could not answer ({code}).", "No port was checked; the message says what went wrong.")}


# --- GitHub -----------------------------------------------------------------------------------------------------------


def github(findings: Iterable[Finding], *, base: str) -> str:
    """Return a workflow command a line for each finding, errors first; nothing if there are none.

    GitHub shows few of them: from eleven of a kind on, a last line that is not a command tells how many there are.
    https://docs.github.com/actions/reference/workflow-commands-for-github-actions, escaped like @actions/core.
    """
    ordered = sorted(findings, key=lambda finding: finding.severity != "error")
    lines = [_command(finding, base) for finding in ordered]
    errors = sum(finding.severity == "error" for finding in ordered)
    warnings = len(ordered) - errors
    if max(errors, warnings) > _SHOWN_BY_GITHUB:
        lines.append(f"portguard: errors: {errors}, warnings: {warnings}; GitHub shows {_SHOWN_BY_GITHUB} of each")
    return "".join(f"{line}\n" for line in lines)


def _command(finding: Finding, base: str) -> str:
    file, line = finding.source
    properties: dict[str, str | int | None] = {
        "file": None if file is None else _relative(file, base)[0],
        "line": None if file is None else line,
        "col": None if file is None or line is None else finding.column,
        "title": f"portguard {finding.id}",
    }
    written = ",".join(f"{name}={_escape_property(str(value))}" for name, value in properties.items() if value)
    text = finding.message if finding.hint is None else f"{finding.message}\nnext: {finding.hint}"
    return f"::{finding.severity} {written}::{_escape_data(text)}"


def _escape_data(text: str) -> str:
    return _printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


def _printable(text: str) -> str:
    """Return `text` through `safe()`, but for its line ends, which both formats can carry."""
    return "\n".join("\r".join(map(safe, line.split("\r"))) for line in text.split("\n"))


# --- SARIF ------------------------------------------------------------------------------------------------------------


def sarif(findings: Iterable[Finding], *, base: str, version: str, rules: Mapping[str, tuple[str, str]]) -> str:
    """Return a SARIF 2.1.0 document, one line of ASCII: `rules` by id (in short, and why) and a result each finding.

    https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html, with what GitHub's code scanning wants besides.
    """
    order = {name: number for number, name in enumerate(rules)}
    seen: dict[str, int] = {}
    results = [_result(finding, base, order, seen) for finding in findings]
    described = [_rule(name, short, why) for name, (short, why) in rules.items()]
    driver = {"name": "portguard", "version": version, "rules": described}
    document = {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(document, ensure_ascii=True) + "\n"


def _rule(name: str, short: str, why: str) -> dict[str, Any]:
    return {"id": name, "shortDescription": {"text": short}, "fullDescription": {"text": why}, "help": {"text": why}}


def _result(finding: Finding, base: str, order: Mapping[str, int], seen: dict[str, int]) -> dict[str, Any]:
    file = finding.source.file
    path, is_relative = ("", False) if file is None else _relative(file, base)
    place = {} if file is None else {"locations": [{"physicalLocation": _location(path, is_relative, finding)}]}
    index = {"ruleIndex": order[finding.id]} if finding.id in order else {}
    identity = _fingerprint(finding.id, finding.name or "", path)
    seen[identity] = seen.get(identity, 0) + 1
    return {
        "ruleId": finding.id,
        **index,
        "level": finding.severity,
        "message": {"text": _sentences(finding)},
        **place,
        "partialFingerprints": {"portguard/v1": f"{identity}:{seen[identity]}"},
    }


def _sentences(finding: Finding) -> str:
    """Return message and hint in which no foreign string is a link (`[text](target)`, SARIF section 3.11.6)."""
    text = finding.message if finding.hint is None else f"{finding.message.rstrip('.')}. Next: {finding.hint}"
    return _printable(text).replace("](", "] (")


def _location(path: str, is_relative: bool, finding: Finding) -> dict[str, Any]:
    """Return where it is; code scanning wants a line, so a whole file's finding stands at its first."""
    artifact = {"uri": _uri(path, is_relative=is_relative)} | ({"uriBaseId": "%SRCROOT%"} if is_relative else {})
    column = {} if finding.column is None or finding.source.line is None else {"startColumn": finding.column}
    return {"artifactLocation": artifact, "region": {"startLine": finding.source.line or 1, **column}}


def _fingerprint(*parts: str) -> str:
    """Return what stays the same when lines move: equal findings of a file are told apart by a count behind it."""
    from hashlib import sha256  # 0.2 x the interpreter's start

    return sha256(b"\0".join(map(_encode, parts))).hexdigest()[:32]


# --- paths ------------------------------------------------------------------------------------------------------------


def _relative(path: str, base: str) -> tuple[str, bool]:
    """Return `path` as seen from `base`, with forward slashes, and whether it is; outside of it is as it is."""
    is_absolute = _is_absolute(path, base)
    if _is_windows(base or path):
        path, base = path.replace("\\", "/"), base.replace("\\", "/")
    shortened = path.removeprefix(base.rstrip("/") + "/") if base else path
    return shortened, shortened != path or not is_absolute


def _is_windows(path: str) -> bool:
    r"""Whether it begins with a drive (`C:\`) or a share (`\\host`)."""
    return (path[:1].isalpha() and path[1:3] in (":\\", ":/")) or path.startswith("\\\\")


def _is_absolute(path: str, base: str) -> bool:
    """Whether it is, on the system that `base` is a path of; without one, on any."""
    return path.startswith("/") or (_is_windows(base or path) and _is_windows(path))


def _uri(path: str, *, is_relative: bool) -> str:
    """Return the URI of a path, its bytes percent-encoded (RFC 3986); a `file` URI if it is absolute (RFC 8089)."""
    quoted = "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in _encode(path))
    if is_relative:
        return quoted
    return f"file://{quoted}" if path.startswith("/") else f"file:///{quoted.replace('%3A', ':', 1)}"


def _encode(text: str) -> bytes:
    """Return the bytes a path was made of (PEP 383), or those of UTF-8 if surrogates in it never were bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
