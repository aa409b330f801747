"""The state directory and the cache: a damaged file costs what was in it, never a port twice, never a wrong answer.

The first byte chooses: the table of leases as it is, the table made of records, the assignments, a remembered config.
"""

from __future__ import annotations

import functools
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from portguard.api import leases as api
from portguard.config.find import ConfigText
from portguard.errors import StateError
from portguard.leases import assignments, directory, quick_look, table, take
from portguard.leases.table import Lease
from portguard.model import Config, LeasesReport
from portguard.project import cache as configs
from portguard.render import documents, leases
from portguard.system import kernel
from tests.fuzz.oracles import assert_port, assert_printable, assert_told, assert_unique, emptied, scratch

_SOON = 60_000  # milliseconds; no lease may end between two looks
# Where what stands in a table (leases/table.py).
_ENDS_AT, _RECORDS_AT, _RECORD_SIZE = 4096, 4096 + 65536 * 8, 512
_ENTRY = struct.Struct("<HBQ")  # port, what its end counts from, the end; a record's bytes follow
_ENTRY_SIZE = 64
_HEADER = b"PORTGRD\0" + struct.pack("<II", 2, 0)
_LIMIT = 1 << 20  # bytes


def fuzz(data: bytes) -> None:
    """Store the bytes where the first one says, and use what is stored."""
    kinds = (_raw_table, _made_table, _made_table, _book, _remembered)
    kinds[data[0] % len(kinds) if data else 0](data[1:_LIMIT])


# ---------------------------------------------------------------- the table of leases


def _raw_table(content: bytes) -> None:
    state = emptied("state")
    _stored(state, quick_look.name_of("k")).write_bytes(content)
    _use_table(state, "k")


def _made_table(content: bytes) -> None:
    state = emptied("state")
    key = kernel.host_key()
    with _stored(state, quick_look.name_of(key)).open("wb") as file:
        file.write(_HEADER)
        for start in range(0, min(len(content), 64 * _ENTRY_SIZE), _ENTRY_SIZE):
            entry = content[start : start + _ENTRY_SIZE].ljust(_ENTRY_SIZE, b"\0")
            port, base, value = _ENTRY.unpack_from(entry)
            end = (value, table.now() + _SOON + value % (1 << 28), table.FOR_LIFE)[base % 3]
            file.seek(_ENDS_AT + port * 8)
            file.write(struct.pack("<Q", end))
            file.seek(_RECORDS_AT + port * _RECORD_SIZE)
            file.write(entry[_ENTRY.size :])
    _list(state)
    _use_table(state, key)


def _use_table(state: Path, key: str) -> None:
    """Read the table, take ports beside what it has, and read it again."""
    before = _leased(state, key)
    wanted = [*sorted(before)[:2], *range(50_000, 50_200)]
    try:
        first, second = (
            take.take(str(state), key, 3, wanted, lambda _: None, ttl=60, protocols=3, is_alive=_is_alive)
            for _ in range(2)
        )
    except StateError as error:
        assert_told(error, 3)
        return
    assert len(first.ports) == len(second.ports) == 3
    assert_unique((*first.ports, *second.ports, *before))
    expected = before | dict.fromkeys(first.ports, first.lease) | dict.fromkeys(second.ports, second.lease)
    assert _leased(state, key) == expected


def _leased(state: Path, key: str) -> dict[int, Lease]:
    with table.readable(str(state), key, is_alive=_is_alive) as found:
        if found is None:
            return {}
        all_of_them = found.leases()
        for port, lease in all_of_them.items():
            assert_port(port)
            assert lease == found.lease(port)
            assert lease.kind in table.KINDS
            assert quick_look.may_have(str(state), key, (port,))
        near = sorted({min(port + step, 65535) for port in all_of_them for step in (0, 1, 2)} | {1, 2})
        assert list(found.unleased(near)) == [port for port in near if port not in all_of_them]
    return all_of_them


def _is_alive(_pid: int, started: int) -> bool:
    return started % 2 == 1


def _list(state: Path) -> None:
    """List the store as the command does."""
    try:
        found = api.list_leases(environ={"PORTGUARD_STATE_DIR": str(state)})
    except StateError as error:
        assert_told(error, 3)
        return
    for item in found:
        assert_port(item.port)
    assert_printable(leases.leases(found, "/root", now=time.time(), colour=False, width=120))
    json.loads(documents.document("leases", 0, documents.data(LeasesReport(tuple(found)))))


def _stored(state: Path, name: str) -> Path:
    path = state / name
    path.touch(mode=0o600)
    return path


# ---------------------------------------------------------------- the assignments


def _book(content: bytes) -> None:
    state = emptied("state")
    host = kernel.machine_key()
    _stored(state, directory.assignments_name(host)).write_bytes(content)
    try:
        found = assignments.read(str(state), host)
        with assignments.locked(str(state), host) as book:
            assert book.all == found
            book.save(book.all)
    except StateError as error:
        assert_told(error, 3)
        return
    assert_unique(item.port for item in found)
    assert_unique((item.name, *item[4:]) for item in found)
    for item in found:
        assert_port(item.port)
    assert assignments.read(str(state), host) == tuple(sorted(found))
    _list(state)


# ---------------------------------------------------------------- a remembered config

_CONFIG = ConfigText(
    "/p/portguard.toml",
    b'[ports.web]\nport = 8080\nhost = ["127.0.0.1", "::1"]\nowner = ["node"]\n[lint.ignore]\nwell-known = "why not"\n',
    (),
)


@functools.cache
def _remembering() -> tuple[Config, Path, bytes]:
    """Remember a config; return it, and the file it is in with its content."""
    found = configs.parsed(_CONFIG, "portguard.toml", _environ())
    path = next(Path(_environ()["XDG_CACHE_HOME"]).glob("portguard/config-*"))
    return found, path, path.read_bytes()


def _environ() -> dict[str, str]:
    return {"HOME": str(scratch()), "XDG_CACHE_HOME": str(scratch())}


def _remembered(content: bytes) -> None:
    """Damage the file; the config is what it was."""
    expected, path, whole = _remembering()
    for damaged in _damages(content, whole):
        path.write_bytes(damaged)
        assert configs.parsed(_CONFIG, "portguard.toml", _environ()) == expected


def _damages(content: bytes, whole: bytes) -> Iterator[bytes]:
    """Yield the bytes themselves, and the file with a piece of it overwritten, put in between, or missing."""
    yield content
    at = int.from_bytes(content[:2], "big") % len(whole)
    piece = content[2:]
    yield whole[:at] + piece + whole[at + len(piece) :]
    yield whole[:at] + piece + whole[at:]
    yield whole[:at] + whole[at + len(piece) :]
