"""Results as JSON documents: the contract for programs. Foreign strings stay as they are, escaped to ASCII by JSON.

A document is its record: every field is a key of the same name, so a new field needs no line here. MOVED lists the few
that are elsewhere. Keys are only ever added while SCHEMA_VERSION stays; removing or changing one raises it.
"""

from __future__ import annotations

import json
import time

from portguard import model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

SCHEMA_VERSION = 1
# By record: its fields that are not keys of their own, and the keys that carry what they say.
MOVED: Mapping[type, Mapping[str, tuple[str, ...]]] = {
    model.CheckReport: {"exit_code": ()},  # in the envelope
    model.LintReport: {"exit_code": ()},
    model.WhoReport: {"exit_code": ()},
    model.WaitReport: {"exit_code": ()},
    model.KillReport: {"exit_code": ()},
    model.PortReport: {"last_port": ("range",)},
    model.Finding: {"column": ("source",)},
    model.PortInfo: {"tcp": ("services",), "udp": ("services",)},
    model.Listener: {"holder": model.Holder._fields},
    model.Connection: {"holder": model.Holder._fields},
    model.WhoPort: {"backgrounds": ("holders",)},
}
_PLAIN = frozenset((str, int, bool, type(None)))
_TIMES = frozenset(("started_at", "expires_at", "since"))


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


def empty(report: str | None) -> dict[str, Any]:
    """Return the `data` of a command that failed before it had its report: the same keys, with nothing in them."""
    if report is None:
        return {}
    record: Any = getattr(model, report)
    moved = MOVED.get(record, {})
    data = {
        field: _nothing(record.__annotations__[field], default)
        for field, default in zip(record._fields, record._defaults, strict=True)
        if field not in moved
    }
    if record is model.Listing:
        del data["connections"]
    if record is model.CheckReport:
        data["summary"] = {}
    return data | {"notes": []}


def _nothing(annotation: str, default: object) -> object:
    if default is False:
        return False
    if annotation.endswith("| None"):
        return None
    kinds: dict[str, object] = {"tuple": [], "dict": {}, "int": 0}
    return kinds.get(annotation.partition("[")[0])


def data(report: tuple[Any, ...]) -> dict[str, Any]:
    """Return the `data` of a command's report. Every document has `notes`."""
    found = _of_record(report)
    return found if "notes" in found else found | {"notes": []}


def _of(value: object) -> Any:
    """Return a value as JSON has it."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, tuple):
        return _of_record(value) if hasattr(value, "_fields") else [_of(item) for item in value]
    return value


def _of_record(record: Any) -> dict[str, Any]:
    """Return a record as a mapping from its fields, changed where it is one of the few."""
    moved = MOVED.get(type(record), {})
    found = {
        field: value if type(value) in _PLAIN else time_of(value) if field in _TIMES else _of(value)
        for field, value in zip(record._fields, record, strict=True)
        if field not in moved
    }
    change = _CHANGES.get(type(record))
    return found if change is None else change(record, found)


def time_of(seconds: float) -> str:
    """Return an instant as RFC 3339 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# --- the few that differ: a record and its fields in, the document out -----------------------------------------------


def _check(report: model.CheckReport, found: dict[str, Any]) -> dict[str, Any]:
    return found | {"summary": report.summary}


def _port(port: model.PortReport, found: dict[str, Any]) -> dict[str, Any]:
    return found if port.last_port is None else found | {"range": [port.port, port.last_port]}


def _finding(finding: model.Finding, found: dict[str, Any]) -> dict[str, Any]:
    return found | {"source": found["source"] | {"column": finding.column}}


def _info(info: model.PortInfo, found: dict[str, Any]) -> dict[str, Any]:
    return found | {"services": {"tcp": info.tcp, "udp": info.udp}}


def _socket(item: model.Listener | model.Connection, found: dict[str, Any]) -> dict[str, Any]:
    return _of_record(item.holder) | found


def _listing(listing: model.Listing, found: dict[str, Any]) -> dict[str, Any]:
    """Leave out `connections` unless they were asked for."""
    return {key: value for key, value in found.items() if key != "connections" or listing.connections is not None}


def _who(port: model.WhoPort, found: dict[str, Any]) -> dict[str, Any]:
    """Put into each holder where it comes from."""
    pairs = zip(found["holders"], port.backgrounds, strict=True)
    return found | {"holders": [holder | _of_record(background) for holder, background in pairs]}


def _env(report: model.EnvReport, found: dict[str, Any]) -> dict[str, Any]:
    return found | {
        "variables": {
            name: int(value) if value.isdigit() and name != "COMPOSE_PROJECT_NAME" else value
            for name, value in report.variables.items()
        }
    }


def _checkout(checkout: model.Checkout, found: dict[str, Any]) -> dict[str, Any]:
    return found | {"common": checkout.common or None}


def _container(container: model.Container, found: dict[str, Any]) -> dict[str, Any]:
    return found | {"id": container.id or None, "name": container.name or None}


def _wait(port: model.WaitPort, found: dict[str, Any]) -> dict[str, Any]:
    return found | {"seconds": None if port.seconds is None else round(port.seconds, 3)}


_CHANGES: Mapping[type, Callable[[Any, dict[str, Any]], dict[str, Any]]] = {
    model.CheckReport: _check,
    model.Checkout: _checkout,
    model.Connection: _socket,
    model.Container: _container,
    model.EnvReport: _env,
    model.Finding: _finding,
    model.Listener: _socket,
    model.Listing: _listing,
    model.PortInfo: _info,
    model.PortReport: _port,
    model.WaitPort: _wait,
    model.WhoPort: _who,
}
