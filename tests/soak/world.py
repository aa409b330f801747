"""The world of a soak: what callers share, and what has to be left of it when all have ended: nothing."""

from __future__ import annotations

import functools
import os
import pickle
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from portguard.system import kernel
from portguard.system.alive import is_alive
from tests.soak.caller import Caller, Place
from tests.soak.commands import Commander
from tests.soak.ledger import Result, Story, assigned, contradictions, duplicates, needless_refusals, unexplained
from tests.soak.library import Reader
from tests.worlds.netns import descendants
from tests.worlds.processes import fork
from tests.worlds.repositories import declare_two, git
from tests.worlds.store import leases, state_directory

_SHARED = 3  # worktrees
_STEP = 0.02  # seconds
_FINISH = 180.0  # seconds that callers may take for what they have begun when the time is up
_PATIENCE = 30.0  # seconds after which everything is gone: the longest time that a lease is left behind for, and more


def soak(commanders: int, readers: int, seconds: float, place: Path) -> Result:
    """Let so many callers work for so long in `place`. Runs in a network namespace of its own."""
    used = sockets()
    own, shared = _worktrees(place, commanders + readers)
    began = time.monotonic()
    end = began + seconds
    callers: list[Caller] = []
    for kind, count in ((Commander, commanders), (Reader, readers)):
        for turn in range(count):
            number = len(callers)
            scratch = place / f"caller-{number}"
            scratch.mkdir()
            callers.append(kind(number, Place(own[number], shared, scratch, end, turn, count)))
    pids = {fork(functools.partial(_act, caller)): caller for caller in callers}
    wrong = _wait_for(pids, end + _FINISH)
    stories = [_read(caller) for caller in callers]
    commands = [command for story in stories for command in story.commands]
    unknown, waiting = unexplained(leases(is_alive), commands)
    took = time.monotonic() - began
    ports = {port for command in commands for port in command.told}
    wrong += [*unknown, *left_over(used, ports, _PATIENCE), *damaged()]
    return _judge(stories, wrong, waiting, took)


def _worktrees(place: Path, callers: int) -> tuple[list[Path], tuple[Path, ...]]:
    """Make a repository and worktrees of it, one for every caller; others are everyone's, and the main one is."""
    main = place / "main"
    git("init", "--quiet", main)
    declare_two(main)
    git("-C", main, "add", "--all")
    git("-C", main, "commit", "--quiet", "--message", "all")
    own = [place / f"own-{number}" for number in range(callers)]
    shared = [place / f"shared-{number}" for number in range(_SHARED)]
    for path in (*own, *shared):
        git("-C", main, "worktree", "add", "--quiet", "--detach", path)
    return own, (main, *shared)


def _act(caller: Caller) -> None:
    (caller.place.scratch / "story").write_bytes(pickle.dumps(caller.live()))


def _read(caller: Caller) -> Story:
    path = caller.place.scratch / "story"
    return pickle.loads(path.read_bytes()) if path.exists() else Story(wrong=(f"caller {caller.number} tells nothing",))


def _wait_for(callers: Mapping[int, Caller], end: float) -> list[str]:
    """Wait until all callers have ended, reap what is left to this process, and return what was wrong."""
    wrong = []
    left = dict(callers)
    while left:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in left:
            caller = left.pop(pid)
            if status:
                wrong.append(f"caller {caller.number} ended with {os.waitstatus_to_exitcode(status)}")
        elif not pid:
            if time.monotonic() > end:
                return [*wrong, f"callers that hang: {sorted(caller.number for caller in left.values())}"]
            time.sleep(_STEP)
    return wrong


def _judge(stories: Sequence[Story], wrong: list[str], waiting: int, seconds: float) -> Result:
    numbers = [item for story in stories for item in story.numbers]
    grants = [*(grant for story in stories for grant in story.grants), *assigned(numbers)]
    twice = duplicates(grants)
    wrong += [what for story in stories for what in story.wrong]
    wrong += [f"two had a port at the same time: {pair}" for pair in twice]
    runs = [run for story in stories for run in story.runs]
    wrong += [f"refused, and nobody else ran: {run}" for run in needless_refusals(runs)]
    wrong += contradictions(numbers)
    calls = tuple(call for story in stories for call in story.calls)
    return Result(calls, tuple(grants), tuple(twice), waiting, tuple(wrong), seconds, len(stories))


def left_over(used: int, ports: Collection[int], patience: float) -> list[str]:
    """Return what is left below this process and in its namespace, which had `used` sockets, after so many seconds."""
    end = time.monotonic() + patience
    while (found := _left(used)) and time.monotonic() < end:
        time.sleep(_STEP)
    return found + [f"port {port} is still bound: {why}" for port in sorted(ports) if (why := _why_not(port))]


def _left(used: int) -> list[str]:
    found = [f"process {pid} is left: {name}" for pid, name in _running().items()]
    found += [f"port {port} is still leased: {lease}" for port, lease in leases(is_alive).items()]
    return found + ([] if sockets() == used else [f"there were {used} sockets, and there are {sockets()}"])


def _running() -> dict[int, str]:
    """Return the processes below this one, by name, having reaped those that have ended."""
    reaped = 1
    while reaped:
        try:
            reaped = os.waitpid(-1, os.WNOHANG)[0]
        except ChildProcessError:
            return {}
    return {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in descendants(os.getpid())}


def sockets() -> int:
    """Return how many sockets of all kinds this network namespace has, whether bound or not (proc_pid_net(5))."""
    words = Path("/proc/self/net/sockstat").read_text().split()
    assert words[:2] == ["sockets:", "used"]
    return int(words[2])


def _why_not(port: int) -> str | None:
    """Return why a port cannot be bound on all addresses, for TCP and UDP, by one who wants it alone."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET6, kind) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                sock.bind(("::", port))
            except OSError as error:
                return str(error)
    return None


def damaged() -> list[str]:
    """Return what is wrong with the files of the store and of the cache, and what is there beside them."""
    table, host = f"leases-{kernel.host_key()}.table", kernel.machine_key()
    tsv = f"assignments-{host}.tsv"
    # Anyone who is killed while saving leaves one file, which the next one replaces.
    found = set(os.listdir(state_directory())) - {f"{tsv}.new"}
    wrong = [] if found == {table, tsv, f"assignments-{host}.lock"} else [f"the store consists of {sorted(found)}"]
    if not (state_directory() / table).read_bytes().startswith(b"PORTGRD\0\2\0\0\0"):
        wrong.append("the table has no header")
    header, *lines, end = (state_directory() / tsv).read_text().split("\n")
    rows = [line.split("\t") for line in lines]
    is_whole = header == "portguard-assignments 1" and end == "" and all(len(row) == 7 for row in rows)
    if not is_whole or len({row[0] for row in rows}) != len(rows):
        wrong.append(f"the assignments are damaged: {lines}")
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "portguard"
    return wrong + [f"the cache keeps {name}" for name in os.listdir(cache) if not name.partition("-")[2].isdigit()]
