"""Claims about time: whatever the clocks do, leases end when they should, and numbers of checkouts stay.

Four things happen to clocks (the wall clock goes ten years back, ten years on, the machine sleeps, it starts anew), to
leases that expire and to those that last as long as a process or a checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import portguard
from portguard.leases.table import FOR_LIFE, MAX_TTL, Lease, locked, now, readable
from portguard.system import alive, kernel
from tests.conftest import PORTGUARD

_TIMEOUT = 60.0
_TEN_YEARS = 10 * 365 * 24 * 60 * 60  # seconds
_RANGE = (20_000, 32_000)

# Replaces the wall clock before anything of portguard is imported.
_SHIFTED = """
import sys, time
shift = int(sys.argv[1])
seconds, nanoseconds = time.time, time.time_ns
time.time = lambda: seconds() + shift
time.time_ns = lambda: nanoseconds() + shift * 10**9
from portguard.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def run(
    *words: str | int, before: Sequence[str] = (), program: Sequence[str] = PORTGUARD, cwd: Path | str = "/"
) -> subprocess.CompletedProcess[str]:
    """Run portguard, `before` it a command that changes the world."""
    return subprocess.run(
        [*before, *program, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False, timeout=_TIMEOUT
    )


def shifted(seconds: int) -> list[str]:
    """Return portguard with a wall clock that is wrong by so many seconds."""
    return [sys.executable, "-c", _SHIFTED, str(seconds)]


def asleep(seconds: int) -> list[str]:
    """Return what runs a command in a world that slept for so long: CLOCK_BOOTTIME is ahead, nothing else."""
    return ["unshare", "--time", "--boottime", str(seconds), "--"]


def restarted(tmp_path: Path) -> list[str]:
    """Return what runs a command in a world with another boot id."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("11111111-2222-4333-8444-555555555555\n")
    return [
        "unshare", "--mount", "sh", "-c",
        f'mount --bind {boot_id} /proc/sys/kernel/random/boot_id && exec "$@"', "sh",
    ]  # fmt: skip


@pytest.fixture
def can_sleep() -> None:
    """Skip where there are no time namespaces."""
    from tests.worlds.capabilities import REQUIRE_ALL

    done = subprocess.run([*asleep(100), "true"], capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    if done.returncode != 0:
        message = f"no time namespaces: {done.stderr.strip()}"
        if os.environ.get(REQUIRE_ALL) == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a checkout with numbers of its own for `web`."""
    (tmp_path / "project" / ".git").mkdir(parents=True)
    port = portguard.free_port(within=_RANGE, lease=False)
    (tmp_path / "project" / "portguard.toml").write_text(f'[ports.web]\nport = {port}\nenv = "WEB_PORT"\n')
    done = run("env", "--isolated", cwd=tmp_path / "project")
    assert done.returncode == 0, done
    return tmp_path / "project"


def is_leased(port: int, *, before: Sequence[str] = (), program: Sequence[str] = PORTGUARD) -> bool:
    """Whether `free` refuses exactly this port because it is leased."""
    done = run("free", "--range", f"{port}-{port}", "--ttl", 1, before=before, program=program)
    if done.returncode == 0:
        assert done.stdout == f"{port}\n"
        return False
    assert (done.returncode, done.stdout) == (1, "")
    assert "1 leased" in done.stderr
    return True


def listed(*, before: Sequence[str] = (), program: Sequence[str] = PORTGUARD) -> dict[int, Mapping[str, Any]]:
    """Return what `leases` lists, by port."""
    done = run("leases", "--json", before=before, program=program)
    assert done.returncode == 0, done
    return {item["port"]: item for item in json.loads(done.stdout)["data"]["leases"]}


def own_number(project: Path, *, before: Sequence[str] = (), program: Sequence[str] = PORTGUARD) -> int:
    """Return the checkout's number for `web`."""
    done = run("env", cwd=project, before=before, program=program)
    assert (done.returncode, done.stderr) == (0, ""), done
    return int(done.stdout.removeprefix("WEB_PORT="))


# --- the wall clock is set ------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-_TEN_YEARS, _TEN_YEARS], ids=["ten years back", "ten years on"])
def test_setting_the_wall_clock_ends_no_lease_and_lengthens_none(shift: int) -> None:
    """What was leased before is leased after it, and what is leased after it ends in its time."""
    before = portguard.free_port(within=_RANGE, ttl=600)
    assert is_leased(before, program=shifted(shift))
    during = int(run("free", "--range", "20000-32000", "--ttl", 600, program=shifted(shift)).stdout)
    assert during != before
    assert is_leased(before)
    assert is_leased(during)
    # By the clock that runs whatever is set: both are over at the same moment as ever.
    with locked(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key(), clock=lambda: now() + 601_000) as table:
        assert table.leases() == {}
    lease = listed(program=shifted(shift))[before]
    assert abs(float(_seconds(lease["expires_at"])) - time.time() - shift - 600) < 60


@pytest.mark.parametrize("shift", [-_TEN_YEARS, _TEN_YEARS], ids=["ten years back", "ten years on"])
def test_setting_the_wall_clock_changes_no_lifelong_lease(shift: int, project: Path) -> None:
    """A living process's hold stays leased, seen from before and after; a checkout's number is the same."""
    own = own_number(project)
    with portguard.hold(within=_RANGE) as held:
        assert is_leased(held.port, program=shifted(shift))
        there = listed(program=shifted(shift))
        assert there[held.port]["process"]["pid"] == os.getpid()
        assert there[own]["kind"] == "assignment"
        port = held.port
    assert not is_leased(port, program=shifted(shift))
    assert own_number(project, program=shifted(shift)) == own
    assert run("leases", "prune", program=shifted(shift)).stdout == ""
    # One that was assigned while the clock was wrong stays as well.
    assert run("leases", "release", own).returncode == 0
    again = run("env", "--isolated", cwd=project, program=shifted(shift))
    assert own_number(project) == int(again.stdout.removeprefix("WEB_PORT="))


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


# --- the machine sleeps ---------------------------------------------------------------------------


@pytest.mark.needs("users")
def test_a_lease_runs_out_while_the_machine_sleeps(can_sleep: None) -> None:
    """Sleep counts: after 1,000 seconds of it a lease of 600 is over, one of 3,600 is not."""
    short, long = (portguard.free_port(within=_RANGE, ttl=ttl) for ttl in (600, 3_600))
    assert is_leased(short, before=asleep(500))
    assert set(listed(before=asleep(500))) == {short, long}
    assert not is_leased(short, before=asleep(1_000))
    assert is_leased(long, before=asleep(1_000))


def test_a_lifelong_lease_outlasts_any_sleep() -> None:
    """A process that slept with the machine for a week still has its port, and its expiring leases are over."""
    expiring = portguard.free_port(within=_RANGE, ttl=MAX_TTL)
    with (
        portguard.hold(within=_RANGE) as held,
        locked(
            os.environ["PORTGUARD_STATE_DIR"], kernel.host_key(),
            clock=lambda: now() + 7 * MAX_TTL * 1000, is_alive=alive.is_alive,
        ) as table,
    ):  # fmt: skip
        assert set(table.leases()) == {held.port}
        assert list(table.unleased([held.port, expiring])) == [expiring]


@pytest.mark.needs("users")
def test_a_checkout_s_number_outlasts_any_sleep(can_sleep: None, project: Path) -> None:
    """A month of sleep, and it is the same."""
    own = own_number(project)
    assert own_number(project, before=asleep(30 * MAX_TTL)) == own
    assert run("free", "--range", f"{own}-{own}", before=asleep(30 * MAX_TTL)).returncode == 1


# --- the machine starts anew ----------------------------------------------------------------------


@pytest.mark.needs("netns")
def test_a_lease_ends_with_the_boot(tmp_path: Path) -> None:
    """What was leased for an hour is free after a restart; a table of before is in no one's way."""
    port = portguard.free_port(within=_RANGE, ttl=3_600)
    before = restarted(tmp_path)
    assert listed(before=before) == {}
    assert not is_leased(port, before=before)
    assert is_leased(port), "in the boot that goes on it is leased all the same"


@pytest.mark.needs("netns")
def test_what_lasts_for_life_ends_with_the_boot_and_a_checkout_s_number_stays(tmp_path: Path, project: Path) -> None:
    """No process outlives a restart, so nor does its lease, anyone who has its pid then; a checkout's number does."""
    own = own_number(project)
    before = restarted(tmp_path)
    with portguard.hold(within=_RANGE, bound=False) as held:
        assert is_leased(held.port)
        assert not is_leased(held.port, before=before)
        assert set(listed(before=before)) - {held.port} == {own}
    assert own_number(project, before=before) == own
    assert run("free", "--range", f"{own}-{own}", before=before).returncode == 1


# --- a pid is given to someone else --------------------------------------------------------------


def test_a_pid_that_somebody_else_has_keeps_no_lease(tmp_path: Path) -> None:
    """A lease for life of a process whose pid is another's by now, who started at another time, is over."""
    state, key = os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()
    pid, started = os.getpid(), alive.start_of(os.getpid())
    assert started
    mine, theirs, nobody = portguard.free_ports(3, within=_RANGE, lease=False)
    with locked(state, key) as table:
        table.write(mine, Lease(FOR_LIFE, pid, 3, started, kind="run"))
        table.write(theirs, Lease(FOR_LIFE, pid, 3, started - 1, kind="run"))
        table.write(nobody, Lease(FOR_LIFE, pid, 3, 0, kind="run"))
    with readable(state, key, is_alive=alive.is_alive) as found:
        assert found is not None
        assert set(found.leases()) == {mine}
    assert set(listed()) == {mine}
    assert [is_leased(port) for port in (mine, theirs, nobody)] == [True, False, False]
    # Its number is declared elsewhere: no one's rival, and no one is told to end the wrong process.
    (tmp_path / ".git").mkdir()
    (tmp_path / "portguard.toml").write_text(f"[ports]\nmine = {mine}\ntheirs = {theirs}\n")
    done = run("check", "--json", cwd=tmp_path)
    verdicts = {port["name"]: (port["verdict"], port["cause"]) for port in json.loads(done.stdout)["data"]["ports"]}
    assert verdicts == {"mine": ("conflict", "lease"), "theirs": ("free", "none")}


def test_a_zombie_keeps_no_lease() -> None:
    """Who has ended but was not waited for yet lives no more."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    (port,) = portguard.free_ports(1, within=_RANGE, lease=False)
    with locked(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()) as table:
        table.write(port, Lease(FOR_LIFE, pid, 3, alive.start_of(pid), kind="run"))
    assert set(listed()) == {port}
    os.close(writer)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        assert listed() == {}
        assert not is_leased(port)
    finally:
        os.waitpid(pid, 0)


@pytest.mark.needs("pidns")
def test_a_pid_that_was_really_given_away_keeps_no_lease() -> None:
    """In a world where the kernel is made to give the same pid again: the second process has none of the first's."""
    program = """
import os, sys
import portguard
from portguard.leases.table import FOR_LIFE, Lease, locked
from portguard.system import alive, kernel
from portguard.api.leases import list_leases

def start(pid=None):
    if pid is not None:
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(pid - 1))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    return child, writer

(port,) = portguard.free_ports(1, within=(20000, 32000), lease=False)
first, writer = start()
started = alive.start_of(first)
with locked(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()) as table:
    table.write(port, Lease(FOR_LIFE, first, 3, started, kind="run"))
assert [item.port for item in list_leases()] == [port]
os.close(writer)
os.waitpid(first, 0)
while True:  # another tick of the clock that processes are dated by
    second, writer = start(first)
    if second == first and alive.start_of(second) != started:
        break
    os.close(writer)
    os.waitpid(second, 0)
assert list_leases() == ()
assert portguard.free_port(within=(port, port)) == port
os.close(writer)
os.waitpid(second, 0)
print("given away")
"""
    done = subprocess.run(
        ["unshare", "-p", "-f", "--mount-proc", sys.executable, "-c", program],
        capture_output=True, text=True, check=False, timeout=_TIMEOUT, cwd="/",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "given away\n"), done.stderr
