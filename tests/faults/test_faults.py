"""Every cell of the table: the right exit code, one sentence, one document, the store whole, nothing said untrue."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.amount import is_whole
from tests.conftest import PORTGUARD
from tests.faults import cells, judge, table, world
from tests.faults.cells import Cell
from tests.faults.table import Row
from tests.tally import Tally, counted
from tests.worlds import sandbox
from tests.worlds.processes import eventually

_AT_ONCE = 3
_ROOMS = {
    "store": table.STORE,
    "identity": table.IDENTITY,
    "files": table.FILES,
    "sockets": table.SOCKETS,
    "limits": table.LIMITS,
}


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    """Count, and print the figures at the end (with -s)."""
    with counted("faults", "boundaries") as tally:
        yield tally


@pytest.fixture(scope="module")
def server() -> Iterator[socket.socket]:
    """Return a server that stays."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def chosen(rows: Sequence[Row]) -> list[Cell]:
    """Return all cells of these rows; every day one of each, another command for each row."""
    possible = [row for row in rows if row.how != "seccomp" or sandbox.can_forbid]
    if is_whole():
        return [Cell(row, error, command) for row in possible for error in row.errors for command in row.codes]
    return [Cell(row, row.errors[0], [*row.codes][index % len(row.codes)]) for index, row in enumerate(possible)]


@pytest.mark.needs("strace", "git")
@pytest.mark.scaled
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("room", _ROOMS)
def test_every_cell(room: str, server: socket.socket, tally: Tally, tmp_path: Path) -> None:
    """What the kernel refuses is told for what it is, changes nothing by halves, and makes nothing else untrue."""
    wanted = chosen(_ROOMS[room])
    made = world.template(tmp_path)

    def look(numbered: tuple[int, Cell]) -> list[str]:
        number, cell = numbered
        outcome = cells.run(cell, made, tmp_path / str(number), server)
        said = f"{outcome.stderr!r}\n  {outcome.stdout[:300]!r}"
        return [f"{cell}: {what}\n  {said}" for what in judge.wrong(cell, outcome)]

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(look, enumerate(wanted)))
    tally.cells += len(wanted)
    tally.rows.update(cell.row.boundary for cell in wanted)
    tally.wrong += sum(map(bool, found))
    assert not any(found), "\n".join(line for lines in found for line in lines)


@pytest.mark.parametrize("environ", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def test_a_pipe_that_does_not_wait(environ: dict[str, str]) -> None:
    """Anyone who made the pipe non-blocking (node does) and reads late gets all of it, and the code is true."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filler = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filler += os.write(writer, b"x" * 65_536)
    ports = [str(port) for port in range(1, 400)]
    with subprocess.Popen(
        [*PORTGUARD, "info", "--json", *ports], stdout=writer, stderr=subprocess.PIPE, env=os.environ | environ, cwd="/"
    ) as asking:
        os.close(writer)
        # With the whole answer in memory there is nothing to sleep in but the pipe.
        eventually(lambda: state_of(asking.pid) == "S" or asking.poll() is not None, "it does not come to its answer")
        with open(reader, "rb") as pipe:
            text = pipe.read()[filler:]
        assert text.endswith(b"}\n"), text[-80:]
        told: dict[str, Any] = json.loads(text)
        assert asking.stderr is not None
        assert asking.stderr.read() == b""
        assert asking.wait() == 0
    assert [port["port"] for port in told["data"]["ports"]] == list(range(1, 400))


def state_of(pid: int) -> str:
    """Return what the process is doing, as proc_pid_stat(5) has it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
