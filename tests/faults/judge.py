"""What must hold in every cell: the code, one sentence and one document, the store whole, and nothing said untrue.

Returns what is wrong, a sentence each. Knows no rows; only what a command promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portguard.leases.table import Lease
from tests.faults import world as worlds
from tests.faults.cells import Cell, Outcome
from tests.faults.table import COMMANDS

_FAILURES = (2, 3, 125, 126, 127)
_OWN = ("web", "db")
_VARIABLES = {"web": "WEB_PORT", "db": "DB_PORT"}
# Whose text says the reason where standard error does not: in the document, of what the answer is about.
_ANSWERING = ("check", "kill", "lint", "wait")


def wrong(cell: Cell, outcome: Outcome) -> list[str]:
    """Return what is wrong with an outcome."""
    return [*_wrong_form(cell, outcome), *_wrong_store(cell, outcome), *_wrong_answer(cell, outcome)]


# --- code, sentence, document ---------------------------------------------------------------------


def _wrong_form(cell: Cell, outcome: Outcome) -> Iterator[str]:
    code = cell.row.codes[cell.command]
    if cell.row.may_fail and outcome.code == (125 if COMMANDS[cell.command].words[0] == "run" else 3):
        code = outcome.code
    if outcome.hits < 1:
        yield "nothing was refused"
    if outcome.code != code:
        yield f"exit code {outcome.code}, not {code}"
    if any(word in outcome.stderr for word in ("Traceback", "bug in portguard", "Exception ignored")):
        yield "a traceback, or a bug"
    lines = outcome.stderr.splitlines()
    notes = [line for line in lines if line.startswith("note: ")]
    sentences = [line for line in lines if line.startswith("portguard: ")]
    hints = [line for line in lines if line.startswith("  next: ")]
    if len(notes) + len(sentences) + len(hints) != len(lines):
        yield "messages of another form"
    is_answer = COMMANDS[cell.command].words[0] in _ANSWERING and code in (0, 1, 3) and _data(outcome) is not None
    is_answer |= cell.command == "run" and bool((worlds.document(outcome.stdout) or {"data": {}})["data"].get("ports"))
    if code in _FAILURES and not is_answer and len(sentences) != 1:
        yield f"{len(sentences)} sentences"
    if code == 0 and sentences:
        yield "a failure is told, and the code is 0"
    if len(hints) > len(sentences):
        yield "hints without a sentence"
    told = "\n".join(notes if code == 0 else lines)
    if cell.command in cell.row.noted:
        if cell.reason not in told:
            yield f"no note says {cell.reason!r}"
    elif code == 0 and cell.reason and any(cell.reason in note for note in notes):
        yield "a note that is not expected"
    is_other = code not in (0, COMMANDS[cell.command].code) or cell.command == "free, taken"
    if is_other and cell.reason not in outcome.stderr + outcome.stdout:
        yield f"nothing says {cell.reason!r}"
    yield from _wrong_document(cell, outcome, sentences)


def _wrong_document(cell: Cell, outcome: Outcome, sentences: list[str]) -> Iterator[str]:
    if COMMANDS[cell.command].words[0] == "run" and outcome.code in (0, 126, 127):
        return  # the command's own, or what `env` would say
    if "out" in cell.row.places and outcome.code == 3:
        return  # it is unknown
    if cell.row.boundary == "memory" and sentences:
        return  # there may be none left for a document
    found = worlds.document(outcome.stdout)
    if found is None:
        yield "no document"
        return
    if (found["exit_code"], found["ok"]) != (outcome.code, outcome.code == 0):
        yield "the document has another exit code"
    messages = [error["message"] for error in found["errors"]]
    is_told = bool(sentences) or cell.command != "run"  # which ports cannot be had is in the document alone
    if is_told and [f"portguard: {message}" for message in messages] != sentences:
        yield "the document tells other errors than the messages"


def _data(outcome: Outcome) -> dict[str, Any] | None:
    """Return the answer, None if there is none, or none but errors."""
    found = worlds.document(outcome.stdout)
    if found is None or (found["errors"] and found["command"] != "wait"):
        return None
    data: dict[str, Any] = found["data"]
    return data


# --- the store ------------------------------------------------------------------------------------


def _wrong_store(cell: Cell, outcome: Outcome) -> Iterator[str]:
    before, after = outcome.before, outcome.after
    words = COMMANDS[cell.command].words
    checkout = COMMANDS[cell.command].place
    mine = {key for key in {*before.assigned, *after.assigned} if key[0] == checkout}
    is_saving = cell.command in ("env, has none", "run, linked", "leases release, own")
    if {key: port for key, port in before.assigned.items() if key not in mine} != {
        key: port for key, port in after.assigned.items() if key not in mine
    }:
        yield "another checkout's numbers have changed"
    if not is_saving and before.book != after.book:
        yield "the assignments have changed"
    if is_saving and after.book != before.book:
        own = {name for place, name in after.assigned if place == checkout}
        if own != ({"db"} if words[0] == "leases" else set(_OWN)):
            yield "the assignments are neither the old nor the new ones"
    is_damaged = cell.row.world == "damaged table" and after.leases is None
    if is_damaged and outcome.world.files.table.read_bytes() != b"garbage " * 1000:
        yield "the damaged table has changed"
    # What was handed out for a while is released, or taken over by a command that runs.
    is_taken = cell.command == "leases release" or (words[0] == "run" and outcome.code == 0)
    kept = {port: lease for port, lease in (before.leases or {}).items() if not (is_taken and port == outcome.world.db)}
    lost = [port for port, lease in kept.items() if (after.leases or {}).get(port) != lease]
    if lost:
        yield f"leases have changed: {lost}"
    strays = [name for name in after.names - before.names if ".portguard-" in name or name.endswith(".new")]
    if ".corrupt-" in "".join(after.names - before.names) and cell.row.places[0].endswith("corrupt-1"):
        strays.append("a copy that is not whole")
    if strays and not cell.row.calls.startswith("/^unlink"):
        yield f"left behind: {strays}"


# --- the answer -----------------------------------------------------------------------------------


def _wrong_answer(cell: Cell, outcome: Outcome) -> Iterator[str]:
    judges = {
        "check": _wrong_check, "free": _wrong_free, "env": _wrong_env, "run": _wrong_run, "leases": _wrong_leases,
        "list": _wrong_sight, "who": _wrong_sight, "kill": _wrong_kill, "wait": _wrong_wait, "lint": _wrong_lint,
        "init": _wrong_init, "info": _wrong_info,
    }  # fmt: skip
    yield from judges[COMMANDS[cell.command].words[0]](cell, outcome)


def _new(outcome: Outcome) -> dict[int, Lease]:
    """Return the leases that were not there before."""
    return {
        port: lease for port, lease in (outcome.after.leases or {}).items() if port not in (outcome.before.leases or {})
    }


def _wrong_check(cell: Cell, outcome: Outcome) -> Iterator[str]:
    for port in (_data(outcome) or {"ports": []})["ports"]:
        if port["verdict"] == "free" and not worlds.bindable(port["port"]):
            yield f"{port['port']} is called free, and a bind fails"
        if "engine" in cell.command:
            if port["verdict"] != "conflict" or "kill" in (port["hint"] or ""):
                yield f"what an engine may hold is told as {port['verdict']}, {port['hint']}"
            if not any(note["id"] == "engine" for note in port["notes"]):
                yield "no note about the engine"


def _wrong_free(cell: Cell, outcome: Outcome) -> Iterator[str]:
    data = _data(outcome)
    new = _new(outcome)
    given = {port["port"]: port["leased"] for port in (data or {"ports": []})["ports"]}
    if outcome.code == 0 and len(given) != 1:
        yield "no port, and exit code 0"
    if {port for port, is_leased in given.items() if is_leased} != set(new):
        yield f"told: {given}, stored: {sorted(new)}"
    for port in given:
        if port in (outcome.before.leases or {}) or port in outcome.before.assigned.values():
            yield f"{port} is somebody else's"
        if "--hold" not in COMMANDS[cell.command].words and not worlds.bindable(port):
            yield f"{port} is given, and a bind fails"


def _wrong_env(cell: Cell, outcome: Outcome) -> Iterator[str]:
    data = _data(outcome)
    if outcome.code == 0:
        told = {} if data is None else data["variables"]
        if told != {_VARIABLES[name]: port for name, port in _numbers(cell, outcome).items()}:
            yield f"told: {told}, stored: {_numbers(cell, outcome)}"
    if cell.command == "env --write":
        content = outcome.after.files[".env"].decode()
        is_written = f"WEB_PORT={outcome.world.web}\n" in content
        if is_written != (outcome.code == 0) or not content.startswith("# mine\nOTHER=1\n"):
            yield f"the file says {content!r}"
        if outcome.code != 0 and outcome.after.files[".env"] != outcome.before.files[".env"]:
            yield "the file has changed"


def _numbers(cell: Cell, outcome: Outcome) -> dict[str, int]:
    """Return the numbers of the checkout that was asked in: its own where it is linked, else the declared ones."""
    place = COMMANDS[cell.command].place
    declared = {"web": outcome.world.web, "db": outcome.world.db}
    return declared if place == "main" else {name: outcome.after.assigned.get((place, name), 0) for name in _OWN}


def _wrong_run(cell: Cell, outcome: Outcome) -> Iterator[str]:
    if outcome.code != 0:
        return
    number = _numbers(cell, outcome)["web"]
    if outcome.stdout != f"{number}\n":
        yield f"the command was told {outcome.stdout!r}, not {number}"
    lease = ((outcome.during.leases if outcome.during is not None else None) or {}).get(number)
    is_leased = lease is not None and lease.kind == "run"
    is_unsure = cell.row.calls == "close"  # it is written, and no one can be sure that it stays
    if is_leased == ("not leased" in outcome.stderr) and not (is_leased and is_unsure):
        yield f"leased: {is_leased}, told: {outcome.stderr!r}"


def _wrong_leases(cell: Cell, outcome: Outcome) -> Iterator[str]:
    data = _data(outcome)
    if data is None:
        return
    told = {item["port"] for item in data["leases"]}
    there = {*(outcome.before.leases or {}), *outcome.before.assigned.values()}
    action = COMMANDS[cell.command].words[1:2]
    if not action and told != there:
        yield f"told: {sorted(told)}, stored: {sorted(there)}"
    if action == ("release",):
        now = {*(outcome.after.leases or {}), *outcome.after.assigned.values()}
        if told != there - now or len(told) != 1:
            yield f"given back: {sorted(told)}, gone: {sorted(there - now)}"


def _wrong_sight(cell: Cell, outcome: Outcome) -> Iterator[str]:
    data = _data(outcome)
    if outcome.code != 0 or data is None:
        return
    holders = data["listeners"] if "listeners" in data else data["ports"][0]["holders"]
    if not any(holder["port"] == outcome.world.busy for holder in holders):
        yield "who listens is not told of"


def _wrong_kill(cell: Cell, outcome: Outcome) -> Iterator[str]:
    data = _data(outcome)
    status = None if data is None else data["ports"][0]["status"]
    is_free = worlds.bindable(outcome.world.busy)
    if (status == "freed") != (outcome.code == 0) or (status == "freed" and not is_free):
        yield f"status {status}, code {outcome.code}, a bind works: {is_free}"
    if outcome.is_alive == (status in ("freed", "unknown")):
        yield f"status {status}, and the process {'lives' if outcome.is_alive else 'has ended'}"


def _wrong_wait(cell: Cell, outcome: Outcome) -> Iterator[str]:
    data = _data(outcome)
    if data is None:
        return
    for port in data["ports"]:
        if port["reached"] != (outcome.code == 0):
            yield f"reached: {port['reached']}, code {outcome.code}"
        if port["reached"] and cell.command == "wait --free" and not worlds.bindable(port["port"]):
            yield f"{port['port']} is called free, and a bind fails"


def _wrong_lint(cell: Cell, outcome: Outcome) -> Iterator[str]:
    data = _data(outcome)
    if outcome.code == 0 and data is not None:
        named = {Path(source).name for source in data["sources"]}
        wanted = {"portguard.toml", ".env"} if COMMANDS[cell.command].place == "main" else {"compose.yaml"}
        if not named >= wanted - {Path(place).name for place in cell.row.places}:
            yield f"judged: {named}"


def _wrong_init(cell: Cell, outcome: Outcome) -> Iterator[str]:
    data = _data(outcome)
    written = outcome.after.files.get("portguard.toml")
    if outcome.code == 0 and (data is None or written != data["text"].encode()):
        yield "what is told is not what is written"
    if outcome.code != 0 and written is not None and "out" not in cell.row.places:
        yield "a file is written, and it failed"


def _wrong_info(cell: Cell, outcome: Outcome) -> Iterator[str]:
    data = _data(outcome)
    if outcome.code == 0 and (data is None or [port["port"] for port in data["ports"]] != [3000, 9]):
        yield "not the ports that were asked about"
