"""Reports as text. Foreign strings go through `safe()`; nothing else decides what is printable."""

from __future__ import annotations

import time

from portguard.render.safe import safe
from portguard.rules.addresses import target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from portguard.model import CheckReport, Finding, Holder, LintReport, Note, PortReport, Process

_COLOURS = {"conflict": "\x1b[1;31m", "unavailable": "\x1b[1;31m", "unknown": "\x1b[1;33m"} | {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
}
_RESET = "\x1b[0m"
_PATH_LIMIT = 72
_LINE_LIMIT = 400
_PROCESSES_SHOWN = 4


def check(report: CheckReport, cwd: str, *, colour: bool) -> str:
    """Return what a check found: a paragraph for each port that cannot be had, then one line of sums."""
    paragraphs = [_paragraph(port, cwd, colour=colour) for port in report.ports if port.verdict not in ("free", "ours")]
    return "\n".join([*paragraphs, _summary(report, cwd)]) + "\n"


def conflicts(report: CheckReport, cwd: str, hint: str | None) -> str:
    """Return why a command is not run: a paragraph for each port that cannot be had, and what else would help."""
    paragraphs = [_paragraph(port, cwd, colour=False) for port in report.ports]
    return "\n".join([*paragraphs, *([f"next: {safe(hint)}"] if hint else [])]) + "\n"


def lint(report: LintReport, cwd: str, *, colour: bool) -> str:
    """Return a line for each finding, its hint below it, and one line of sums."""
    lines = [line for item in report.findings for line in _finding(item, cwd, colour=colour)]
    counts = [
        f"{count} {kind}{'s' if count > 1 else ''}"
        for kind in ("error", "warning")
        if (count := sum(item.severity == kind for item in report.findings))
    ]
    off = f", {report.ignored} turned off" if report.ignored else ""
    if not report.sources:
        return "nothing to lint\n"
    more = f" and {len(report.sources) - 1} more" if len(report.sources) > 1 else ""
    where = f"({_path(report.sources[0], cwd)}{more})"
    return "\n".join([*lines, f"{', '.join(counts) or 'no findings'}{off} {where}"]) + "\n"


def _finding(item: Finding, cwd: str, *, colour: bool) -> list[str]:
    parts = [_path(item.source.file, cwd), *(str(part) for part in (item.source.line, item.column) if part)]
    severity = f"{_COLOURS[item.severity]}{item.severity}{_RESET}" if colour else item.severity
    line = f"{':'.join(parts)}: {severity} {item.id}: {safe(item.message, _LINE_LIMIT)}"
    return [line, *([f"  next: {safe(item.hint, _LINE_LIMIT)}"] if item.hint else [])]


def _paragraph(port: PortReport, cwd: str, *, colour: bool) -> str:
    verdict = f"{_COLOURS[port.verdict]}{port.verdict}{_RESET}" if colour else port.verdict
    what = target(port.hosts, port.port, port.protocol, port.last_port)
    place = f"  ({_path(port.source.file, cwd)}:{port.source.line})" if port.source.file else ""
    named = "" if port.source.file is None else f"{port.name}  "
    lines = [f"{verdict}  {safe(named + what)}{place}", f"  {safe(port.message, _LINE_LIMIT)}"]
    lines.extend(f"  {line}" for line in details(port.holders))
    if port.hint:
        lines.append(f"  next: {safe(port.hint, _LINE_LIMIT)}")
    return "\n".join(lines)


def details(holders: Iterable[Holder]) -> list[str]:
    """Return one line a process: since when, and in which directory; a container's forwarder is not worth one."""
    plain = [holder for holder in holders if holder.container is None]
    processes = list({process.pid: process for holder in plain for process in holder.processes}.values())
    if len(processes) == 1:
        return [line for line in (_detail(processes[0]),) if line]
    lines = [f"pid {process.pid}: {_detail(process) or 'gone'}" for process in processes[:_PROCESSES_SHOWN]]
    hidden = len(processes) - _PROCESSES_SHOWN
    return [*lines, f"and {hidden} more processes"] if hidden > 0 else lines


def _detail(process: Process) -> str:
    parts = []
    if process.started_at is not None:
        parts.append(f"since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(process.started_at))}")
    if process.cwd:
        parts.append(f"in {safe(process.cwd, _PATH_LIMIT)}")
    return ", ".join(parts)


def _path(path: str | None, cwd: str) -> str:
    return safe((path or "").removeprefix(cwd.rstrip("/") + "/"), _PATH_LIMIT)


def _summary(report: CheckReport, cwd: str) -> str:
    counts = ", ".join(_counted(count, verdict) for verdict, count in report.summary.items() if count)
    total = len(report.ports)
    sums = f"{total} port{'' if total == 1 else 's'}: {counts or 'none declared'}"
    source = next(iter(report.sources), None)
    return f"{sums} ({_path(source, cwd)})" if source else sums


def _counted(count: int, verdict: str) -> str:
    return f"{count} {verdict}{'s' if verdict == 'conflict' and count > 1 else ''}"


def check_notes(report: CheckReport) -> str:
    """Return the notes about the files, then those of all ports, a line each."""
    return notes(report.notes) + "".join(
        f"note: {safe(port.name)}: {safe(note.message)}\n" for port in report.ports for note in port.notes
    )


def notes(found: Iterable[Note]) -> str:
    """Return notes that belong to no port, a line each."""
    return "".join(f"note: {safe(note.message)}\n" for note in found)


def error(messages: Iterable[str], hint: str | None) -> str:
    """Return an error as lines: what is wrong, each on its own, then the next step."""
    lines = [f"portguard: {safe(message, _LINE_LIMIT)}" for message in messages]
    return "\n".join([*lines, *([f"  next: {safe(hint)}"] if hint else [])]) + "\n"
