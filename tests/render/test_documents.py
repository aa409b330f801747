"""Claims about the JSON documents: they are the records, field by field, and keys only grow within a schema version."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest

from portguard import model
from portguard.cli.command import COMMANDS
from portguard.render import documents

HOLDER = (
    "protocol", "address", "port", "state", "owner_status", "processes", "processes_complete", "container", "unit",
)  # fmt: skip
# What each record's document had when schema version 1 was declared. Never remove a key; a new one needs no line here.
VERSION_1: dict[type, tuple[str, ...]] = {
    model.CheckReport: ("config", "sources", "ports", "summary"),
    model.PortReport: (
        "name", "port", "declared_port", "protocol", "hosts", "env", "service", "source", "verdict", "cause",
        "message", "hint", "suggestion", "notes", "holders", "range",
    ),
    model.Source: ("file", "line"),
    model.Note: ("id", "message"),
    model.Holder: HOLDER,
    model.Process: ("pid", "name", "user", "exe", "cwd", "started_at", "parent_pid"),
    model.Container: ("engine", "id", "name", "image", "compose"),
    model.Compose: ("project", "service", "working_dir"),
    model.FreeReport: ("ports",),
    model.FreePort: ("port", "protocols", "leased", "expires_at", "name"),
    model.EnvReport: ("config", "isolated", "checkout", "ports", "variables", "notes"),
    model.Checkout: ("root", "common"),
    model.EnvPort: ("name", "env", "port", "declared_port", "protocols", "origin"),
    model.LeasesReport: ("leases",),
    model.LeaseInfo: (
        "port", "protocols", "kind", "name", "directory", "checkout", "process", "since", "expires_at", "listening",
        "gone",
    ),
    model.LintReport: ("config", "sources", "findings", "ignored"),
    model.Finding: ("id", "severity", "message", "hint", "name", "source"),
    model.InfoReport: ("ports",),
    model.PortInfo: (
        "port", "range", "services", "tools", "ephemeral", "browser_blocked", "privileged", "notes",
    ),
    model.Listing: ("listeners", "connections"),
    model.Listener: (*HOLDER, "range", "service"),
    model.Connection: (*HOLDER, "remote_address", "remote_port"),
    model.WhoReport: ("ports",),
    model.WhoPort: ("port", "holders", "connections"),
    model.WaitReport: ("ports",),
    model.WaitPort: ("target", "port", "protocol", "hosts", "reached", "seconds", "holders"),
    model.KillReport: ("dry_run", "ports"),
    model.KillPort: (
        "target", "port", "protocol", "hosts", "status", "message", "hint", "actions", "holders", "successors",
    ),
    model.KillAction: ("kind", "name", "text", "pids", "id", "needs_name"),
    model.InitReport: ("path", "written", "sources", "text", "notes"),
    model.SchemaReport: ("schema",),
}  # fmt: skip
# Keys of a document that are no field of its record, and why.
MADE = {model.CheckReport: {"summary"}}  # a property of the record
SECONDS = 1_700_000_000.0


def sample(kind: Any) -> Any:
    """Return a value of a record type, or of a field's type, with everything in it that can be there."""
    if hasattr(kind, "_fields"):
        hints = get_type_hints(kind, vars(model) | {"Literal": str})
        return kind(**{field: sample(hints[field]) for field in kind._fields})
    text = str(kind)
    origin = getattr(kind, "__origin__", None)
    if origin is tuple:
        return (sample(kind.__args__[0]),)
    if origin is dict:
        return {"WEB_PORT": "8080"}
    arguments = [part for part in getattr(kind, "__args__", ()) if part is not type(None)]
    if arguments and origin is None:  # X | None
        return sample(arguments[0])
    plain = {int: 8080, str: "text", bool: True, float: SECONDS}
    return plain.get(kind, "tcp" if "Literal" in text else "text")


@pytest.fixture(autouse=True)
def literals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give `model` the names that only type checkers see, so that its annotations can be evaluated."""
    for name in ("Protocol", "Verdict", "Cause", "OwnerStatus", "Outcome", "RangeName", "Origin", "Severity"):
        monkeypatch.setattr(model, name, str, raising=False)
    monkeypatch.setattr(model, "KillStatus", str, raising=False)


@pytest.mark.parametrize("kind", VERSION_1, ids=lambda kind: kind.__name__)
def test_every_field_is_in_the_document_and_the_other_way_round(kind: Any) -> None:
    """A record's document has a key for each field, and no key without a field; MOVED says where the few others are."""
    record = sample(kind)
    found = documents._of(record)
    moved = documents.MOVED.get(kind, {})
    carried = {key for keys in moved.values() for key in keys}

    missing = [field for field in record._fields if field not in moved and field not in found]
    assert missing == []
    assert carried - set(found) == set()
    surplus = set(found) - set(record._fields) - carried - MADE.get(kind, set())
    assert surplus == set()
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("kind", VERSION_1, ids=lambda kind: kind.__name__)
def test_keys_only_grow(kind: Any) -> None:
    """Schema version 1 still has all the keys it began with."""
    assert documents.SCHEMA_VERSION == 1
    assert set(VERSION_1[kind]) - set(documents._of(sample(kind))) == set()


def test_every_record_of_a_document_is_walked() -> None:
    """The tests above see every record that a command's report can reach."""
    seen: set[type] = set()

    def walk(value: Any) -> None:
        if hasattr(value, "_fields"):
            seen.add(type(value))
        for part in value if isinstance(value, tuple) else ():
            walk(part)

    reports = {getattr(model, report) for report in COMMANDS.values()}
    for report in reports:
        walk(sample(report))
    assert seen - set(VERSION_1) - {model.Background, model.Failure} == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_failure_has_the_keys_of_an_answer(name: str) -> None:
    """The `data` of a command that failed has the answer's keys, `notes` among them, with nothing in them."""
    nothing = documents.empty(COMMANDS[name])
    full = documents.data(sample(getattr(model, COMMANDS[name])))

    assert "notes" in full
    assert set(nothing) | ({"connections"} if name == "list" else set()) == set(full)
    assert all(not value for value in nothing.values())


def test_who_carries_what_its_text_shows() -> None:
    """Each holder has its checkout and branch, what started it, and whether it comes back."""
    (port,) = documents.data(sample(model.WhoReport))["ports"]
    (holder,) = port["holders"]

    assert [holder[key] for key in ("checkout", "branch", "started_by", "comeback")] == ["text"] * 4
    assert "project" in documents.data(sample(model.Listing))["listeners"][0]


def test_times_and_empty_names() -> None:
    """Instants are RFC 3339 in UTC; a container that only its forwarder shows has neither id nor name."""
    process = documents.data(model.Process(1, started_at=SECONDS))
    container = documents.data(model.Container("docker", "", ""))

    assert process["started_at"] == "2023-11-14T22:13:20Z"
    assert (container["id"], container["name"]) == (None, None)


def test_records_made_unchecked_have_the_order_their_makers_write() -> None:
    """Loops that make tens of thousands of records write the fields by position: a new field must be added there."""
    assert model.Holder._fields == (*HOLDER, "uid", "user_unit")  # holders.find, render.listing
    assert model.Listener._fields == ("holder", "range", "service", "user", "project")  # api.listing, render.listing
    assert model.Socket._fields == ("protocol", "address", "port", "state", "v6only", "uid", "inode", "pids")
    assert model.TableRow._fields == ("socket", "remote_address", "remote_port")
