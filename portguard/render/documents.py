"""Results as JSON documents: the contract for programs. Foreign strings stay as they are, escaped to ASCII by JSON."""

from __future__ import annotations

import json
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from portguard.model import (
        CheckReport,
        Container,
        EnvReport,
        FreeReport,
        Holder,
        KillReport,
        LeaseInfo,
        LintReport,
        Listing,
        Note,
        PortInfo,
        PortReport,
        Process,
        WaitReport,
        WhoReport,
    )

SCHEMA_VERSION = 1


def document(command: str | None, exit_code: int, data: dict[str, Any], errors: Sequence[dict[str, Any]] = ()) -> str:
    """Return the envelope every command answers in, one line."""
    envelope = {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "ok": exit_code == 0,
        "exit_code": exit_code,
        "data": data,
        "errors": list(errors),
    }
    return json.dumps(envelope, ensure_ascii=True) + "\n"


def error(code: str, message: str, hint: str | None) -> dict[str, Any]:
    """Return one entry of `errors`."""
    return {"code": code, "message": message, "hint": hint}


def empty(command: str | None) -> dict[str, Any]:
    """Return the `data` of a command that failed before it had any: the same keys, nothing in them."""
    if command == "check":
        return {"config": None, "sources": [], "ports": [], "summary": {}}
    if command == "list":
        return {"listeners": []}
    if command == "leases":
        return {"leases": []}
    if command == "env":
        return {"config": None, "isolated": None, "checkout": None, "ports": [], "variables": {}, "notes": []}
    if command == "kill":
        return {"dry_run": None, "ports": []}
    if command == "init":
        return {"path": None, "written": False, "sources": [], "text": None, "notes": []}
    if command == "lint":
        return {"config": None, "sources": [], "findings": [], "ignored": 0}
    if command == "run":
        return empty("check")
    if command == "schema":
        return {"schema": None}
    return {"ports": []} if command in ("free", "info", "wait", "who") else {}


def check(report: CheckReport) -> dict[str, Any]:
    """Return the `data` of a check."""
    return {
        "config": report.config,
        "sources": list(report.sources),
        "ports": [_port(port) for port in report.ports],
        "summary": report.summary,
    }


def free(report: FreeReport) -> dict[str, Any]:
    """Return the `data` of a hand-out."""
    return {
        "ports": [
            {
                "port": port.port,
                "protocols": list(port.protocols),
                "leased": port.leased,
                "expires_at": _time(port.expires_at),
                "name": port.name,
            }
            for port in report.ports
        ]
    }


def env(report: EnvReport) -> dict[str, Any]:
    """Return the `data` of a checkout's numbers."""
    return {
        "config": report.config,
        "isolated": report.isolated,
        "checkout": {"root": report.checkout.root, "common": report.checkout.common or None},
        "ports": [
            {
                "name": port.name,
                "env": port.env,
                "port": port.port,
                "declared_port": port.declared_port,
                "protocols": list(port.protocols),
                "origin": port.origin,
            }
            for port in report.ports
        ],
        "variables": {
            name: int(value) if value.isdigit() and name != "COMPOSE_PROJECT_NAME" else value
            for name, value in report.variables.items()
        },
        "notes": [_note(note) for note in report.notes],
    }


def leases(found: Iterable[LeaseInfo]) -> dict[str, Any]:
    """Return the `data` of what is handed out."""
    return {
        "leases": [
            {
                "port": item.port,
                "protocols": list(item.protocols),
                "kind": item.kind,
                "name": item.name,
                "directory": item.directory,
                "checkout": item.checkout,
                "process": None if item.process is None else _process(item.process),
                "since": _time(item.since),
                "expires_at": _time(item.expires_at),
                "listening": item.listening,
                "gone": item.gone,
            }
            for item in found
        ]
    }


def lint(report: LintReport) -> dict[str, Any]:
    """Return the `data` of a judgement."""
    return {
        "config": report.config,
        "sources": list(report.sources),
        "findings": [
            {
                "id": item.id,
                "severity": item.severity,
                "message": item.message,
                "hint": item.hint,
                "name": item.name,
                "source": {"file": item.source.file, "line": item.source.line, "column": item.column},
            }
            for item in report.findings
        ],
        "ignored": report.ignored,
    }


def info(found: Iterable[PortInfo]) -> dict[str, Any]:
    """Return the `data` of what numbers mean."""
    return {
        "ports": [
            {
                "port": item.port,
                "range": item.range,
                "services": {"tcp": item.tcp, "udp": item.udp},
                "tools": list(item.tools),
                "ephemeral": item.ephemeral,
                "browser_blocked": item.browser_blocked,
                "privileged": item.privileged,
                "notes": [_note(note) for note in item.notes],
            }
            for item in found
        ]
    }


def listing(found: Listing) -> dict[str, Any]:
    """Return the `data` of a list; `connections` only where they were asked for."""
    listeners = [_holder(item.holder) | {"range": item.range, "service": item.service} for item in found.listeners]
    if found.connections is None:
        return {"listeners": listeners}
    remote = [{"remote_address": item.remote_address, "remote_port": item.remote_port} for item in found.connections]
    connections = [_holder(item.holder) | end for item, end in zip(found.connections, remote, strict=True)]
    return {"listeners": listeners, "connections": connections}


def _port(port: PortReport) -> dict[str, Any]:
    span = {} if port.last_port is None else {"range": [port.port, port.last_port]}
    return span | {
        "name": port.name,
        "port": port.port,
        "declared_port": port.declared_port,
        "protocol": port.protocol,
        "hosts": list(port.hosts),
        "env": port.env,
        "service": port.service,
        "source": {"file": port.source.file, "line": port.source.line},
        "verdict": port.verdict,
        "cause": port.cause,
        "message": port.message,
        "hint": port.hint,
        "suggestion": port.suggestion,
        "notes": [_note(note) for note in port.notes],
        "holders": [_holder(holder) for holder in port.holders],
    }


def who(report: WhoReport) -> dict[str, Any]:
    """Return the `data` of `who`."""
    return {
        "ports": [
            {
                "port": port.port,
                "holders": [_holder(holder) for holder in port.holders],
                "connections": [_holder(holder) for holder in port.connections],
            }
            for port in report.ports
        ]
    }


def wait(report: WaitReport) -> dict[str, Any]:
    """Return the `data` of `wait`."""
    return {
        "ports": [
            {
                "target": port.target,
                "port": port.port,
                "protocol": port.protocol,
                "hosts": list(port.hosts),
                "reached": port.reached,
                "seconds": None if port.seconds is None else round(port.seconds, 3),
                "holders": [_holder(holder) for holder in port.holders],
            }
            for port in report.ports
        ]
    }


def kill(report: KillReport, *, dry_run: bool) -> dict[str, Any]:
    """Return the `data` of `kill`."""
    return {
        "dry_run": dry_run,
        "ports": [
            {
                "target": port.target,
                "port": port.port,
                "protocol": port.protocol,
                "hosts": list(port.hosts),
                "status": port.status,
                "message": port.message,
                "hint": port.hint,
                "actions": [
                    {
                        "kind": action.kind,
                        "name": action.name,
                        "text": action.text,
                        "pids": list(action.pids),
                        "id": action.id,
                        "needs_name": action.needs_name,
                    }
                    for action in port.actions
                ],
                "holders": [_holder(holder) for holder in port.holders],
                "successors": [_holder(holder) for holder in port.successors],
            }
            for port in report.ports
        ],
    }


def _note(note: Note) -> dict[str, Any]:
    return {"id": note.id, "message": note.message}


def _holder(holder: Holder) -> dict[str, Any]:
    return {
        "protocol": holder.protocol,
        "address": holder.address,
        "port": holder.port,
        "state": holder.state,
        "owner_status": holder.owner_status,
        "processes": [_process(process) for process in holder.processes],
        "processes_complete": holder.processes_complete,
        "container": _container(holder.container),
        "unit": holder.unit,
    }


def _container(container: Container | None) -> dict[str, Any] | None:
    if container is None:
        return None
    compose = container.compose
    return {
        "engine": container.engine,
        "id": container.id or None,
        "name": container.name or None,
        "image": container.image,
        "compose": None
        if compose is None
        else {"project": compose.project, "service": compose.service, "working_dir": compose.working_dir},
    }


def _process(process: Process) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "name": process.name,
        "user": process.user,
        "exe": process.exe,
        "cwd": process.cwd,
        "started_at": _time(process.started_at),
        "parent_pid": process.parent_pid,
    }


def _time(seconds: float | None) -> str | None:
    """Return an instant as RFC 3339 in UTC, to the second."""
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
