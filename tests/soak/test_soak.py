"""Claims about everything at once, for minutes; and that this would notice what it is there to notice."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

import portguard
from portguard.leases import table
from tests.amount import WHOLE, minutes
from tests.soak import library
from tests.soak.ledger import FOR_EVER, Command, Grant, Run, duplicates, needless_refusals, unexplained
from tests.soak.world import left_over, soak, sockets
from tests.worlds.netns import run_in_netns
from tests.worlds.processes import fork
from tests.worlds.store import leases

pytestmark = pytest.mark.needs("netns", "git", "ipv6")

_DAILY, _WHOLE = 0.15, 10.0  # minutes
_FEW, _MANY = (6, 2), (48, 16)  # callers: so many use the command, so many the library
_TIMEOUT = 2 * 3_600

EXPECTED = {
    *("free", "free --hold", "leases release", "leases prune", "leases", "env", "env --isolated", "list", "info"),
    *("check served", "check idle", "check own", "check shared", "who served", "who idle", "kill"),
    *("wait served", "wait --free", "wait in vain", "run own", "run shared"),
    *(f"library {name}" for name in ("free", "hold", "hold, async", "hold, served", "hold, idle", "check", "who")),
    *(f"library {name}" for name in ("wait", "kill", "env", "list", "leases", "info")),
}


@pytest.mark.scaled
@pytest.mark.timeout(_TIMEOUT)
def test_everything_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All commands and the library at once, some cut off: each ends in time, and rightly; no port is given to two.

    Nothing is left: no process, socket, descriptor or thread, no lease but those whose time is not up.
    """
    is_whole = os.environ.get(WHOLE) == "1"
    seconds = minutes(_DAILY, _WHOLE) * 60
    result = run_in_netns(soak, *(_MANY if is_whole else _FEW), seconds, tmp_path, timeout=_TIMEOUT)
    with capsys.disabled():
        sys.stdout.write(f"\n{result}\n")
    assert result.wrong == (), "\n".join(result.wrong)
    assert {call.kind for call in result.calls} == EXPECTED
    assert not is_whole or {call.sent for call in result.calls} == {0, signal.SIGINT, signal.SIGKILL}


def test_port_of_two_is_noticed() -> None:
    """Anyone who was first: two that have a port at a time are found, one after the other are not."""
    first = Grant(61_000, 10, 20, 100)
    apart = [first, Grant(61_000, 100, 100, 200), Grant(61_000, 0, 0, 10), Grant(61_001, 50, 50, 60)]
    assert duplicates(apart) == []
    for second in (Grant(61_000, 99, 99, 200), Grant(61_000, 0, 5, 60), Grant(61_000, 15, 15, FOR_EVER)):
        assert duplicates([first, second]) == [(first, second)]
        assert duplicates([second, first]) == [(second, first)]


def test_needless_refusal_is_noticed() -> None:
    """A command that was refused while no one else ran one in that very checkout."""
    alone = Run("/shop", 10, 20, is_refused=True)
    others = [Run("/blog", 10, 20, is_refused=False), Run("/shop", 0, 9, is_refused=False)]
    assert needless_refusals([alone, *others]) == [alone]
    assert needless_refusals([alone, *others, Run("/shop", 20, 30, is_refused=False)]) == []


def test_forgotten_leases_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When leases are not looked at, callers are given ports that others have, and the soak says so."""
    monkeypatch.setattr(table.Table, "unleased", lambda _, ports: iter(ports))
    monkeypatch.setattr(library, "POOL", (61_000, 61_002))
    monkeypatch.setattr(library.Reader, "things", lambda reader: (reader.free, reader.own_numbers))
    result = run_in_netns(soak, 0, 8, 1.0, tmp_path)
    assert result.duplicates, result


def leave_behind() -> tuple[list[str], list[str], int]:
    """Leave a lease that no one was told about, a process, and with it a socket; return what is said, and the port."""
    used = sockets()
    port = portguard.free_port()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))
        fork(signal.pause)
    told = Command(os.getpid(), 0, table.now(), 0, (port,))
    assert unexplained(leases(), [told]) == ([], 0)
    assert unexplained(leases(), [told._replace(told=(), code=-signal.SIGKILL)]) == ([], 1)
    return unexplained(leases(), [told._replace(told=())])[0], left_over(used, [port], 0), port


def test_what_is_left_is_noticed() -> None:
    """A lease that no one was told about, a process, a socket that is bound and does not listen."""
    leased, left, port = run_in_netns(leave_behind)
    assert [what.partition(" is ")[0] for what in leased] == [f"port {port}"]
    assert [what.split()[0] for what in left] == ["process", "port", "there", "port"]
