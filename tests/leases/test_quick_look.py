"""A glance says "nothing there" only where a whole look would find no lease."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from portguard.leases import quick_look, table

_KEY = "boot-1"
_LEASE = table.Lease(table.FOR_LIFE, 1, 3)


def put(path: Path, *ports: int) -> None:
    """Lease these ports for good."""
    with table.locked(str(path), _KEY) as found:
        for port in ports:
            found.write(port, _LEASE)


def test_where_nothing_is_there_is_nothing(tmp_path: Path) -> None:
    """Neither without a directory, nor without a table, nor for another boot or namespace."""
    missing = str(tmp_path / "missing")
    assert not quick_look.may_have(missing, _KEY, [1])
    assert not quick_look.may_have(str(tmp_path), _KEY, [1])
    put(tmp_path / "store", 1)
    assert quick_look.may_have(str(tmp_path / "store"), _KEY, [1])
    assert not quick_look.may_have(str(tmp_path / "store"), "boot-2", [1])


def test_every_lease_is_seen_and_nothing_else(tmp_path: Path) -> None:
    """Of random tables: the ports that are leased, the first and the last among them, and no others."""
    leased = {1, 65_535, *random.Random(3).sample(range(1, 65_536), 200)}
    put(tmp_path, *leased)
    seen = {port for port in range(1, 65_536) if quick_look.may_have(str(tmp_path), _KEY, [port])}
    assert seen == leased
    with table.locked(str(tmp_path), _KEY) as found:
        for port in leased:
            found.clear(port)
    assert not quick_look.may_have(str(tmp_path), _KEY, range(1, 65_536))


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "a lone end"])
def test_what_cannot_be_read_may_have_it(tmp_path: Path, kind: str) -> None:
    """A link, something that is not a file, an end that is there in part: judged by who knows how."""
    path = tmp_path / quick_look.name_of(_KEY)
    if kind == "link":
        path.symlink_to("elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(bytes(quick_look.ENDS_AT + 8 * 80) + b"\1")
    assert quick_look.may_have(str(tmp_path), _KEY, [80])


def test_one_of_several(tmp_path: Path) -> None:
    """Something about one of the ports is something; whatever bytes it is made of, and with nothing left open."""
    put(tmp_path, 80)
    before = len(os.listdir("/proc/self/fd"))
    assert quick_look.may_have(str(tmp_path), _KEY, [79, 80, 81]) is True
    assert quick_look.may_have(str(tmp_path), _KEY, [79, 81]) is False
    assert quick_look.may_have(str(tmp_path), "boot-2", [80]) is False
    with (tmp_path / quick_look.name_of(_KEY)).open("r+b") as file:
        file.seek(quick_look.ENDS_AT + 8 * 81)
        file.write(b"X" * 8)
    assert quick_look.may_have(str(tmp_path), _KEY, [81]) is True
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_reading_at_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot be read at a place, anything may be in it."""
    monkeypatch.delattr(os, "pread")
    assert quick_look.may_have(str(tmp_path), _KEY, [80]) is True


def test_where_the_ends_are() -> None:
    """The place of the ends is part of the file's format, which older and newer versions share."""
    assert (quick_look.ENDS_AT, quick_look.END_SIZE) == (4096, 8)
