"""Signals reach the process that was meant, and never the one that has its number now."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from portguard.holders import ending
from portguard.system import signals, sockets
from tests.amount import examples

# Runs as PID 1 of a PID namespace. Each round: a server, what is known of it, its death, an innocent with its very pid
# (and, in one way, its very port), the signal; then the innocent is asked whether it lives.
_REUSE = r"""
import json, os, signal, socket, sys

import psutil

from portguard.holders import ending, find as holders, stop_plan
from portguard.system import signals

rounds = int(sys.argv[1])


class Child:
    def __init__(self, pid=None, port=None):
        self.port = port
        if pid is not None:
            with open("/proc/sys/kernel/ns_last_pid", "w") as last:
                last.write(str(pid - 1))
        ask, self.asked = os.pipe()
        self.answers, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.asked)
            server = socket.socket()
            if port is not None:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind(("127.0.0.1", port))
                server.listen()
                os.write(answer, b"%05d" % server.getsockname()[1])
            while os.read(ask, 1):
                os.write(answer, b"y")
            os._exit(0)
        os.close(ask)
        os.close(answer)
        if port is not None:
            self.port = int(os.read(self.answers, 5))

    def is_alive(self):
        try:
            os.write(self.asked, b"?")
        except BrokenPipeError:
            return False
        return os.read(self.answers, 1) == b"y"

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.asked)
        os.close(self.answers)


signal.signal(signal.SIGPIPE, signal.SIG_IGN)
wrong = dict.fromkeys(("control", "handle", "plan", "search"), 0)
done = dict.fromkeys(wrong, 0)


def swap(victim, port=None):
    # The same number for somebody else; None where the kernel gave it to no one.
    victim.end()
    innocent = Child(victim.pid, port)
    if innocent.pid == victim.pid:
        return innocent
    innocent.end()
    return None


def settle(kind, innocent):
    if innocent is not None:
        done[kind] += 1
        wrong[kind] += not innocent.is_alive()
        innocent.end()


for _ in range(rounds):
    victim = Child()
    process = psutil.Process(victim.pid)
    innocent = swap(victim)
    try:
        process.terminate()
    except psutil.NoSuchProcess:
        pass
    settle("control", innocent)

    victim = Child()
    handle = signals.take(victim.pid)
    innocent = swap(victim)
    signals.send(handle, signal.SIGTERM)
    signals.close((handle,))
    settle("handle", innocent)

    victim = Child(port=0)
    planner = stop_plan.Planner("/", os.environ, tree=False)
    plan = planner.plan(str(victim.port))
    assert [member.handle.pid for step in plan.steps for member in step.members] == [victim.pid], plan
    innocent = swap(victim, victim.port)
    for step in plan.steps:
        ending.end(step.members, lambda: False, force=True, grace=0.2)
    planner.close()
    settle("plan", innocent)

    victim = Child(port=0)
    innocents = []
    search = holders.with_owners

    def overtaken(rows, limit):
        seen = search(rows, limit)
        if not innocents:
            innocents.append(swap(victim))
        return seen

    holders.with_owners = overtaken
    planner = stop_plan.Planner("/", os.environ, tree=False)
    plan = planner.plan(str(victim.port))
    holders.with_owners = search
    for step in plan.steps:
        ending.end(step.members, lambda: False, force=True, grace=0.2)
    planner.close()
    settle("search", innocents[0])
print(json.dumps({"done": done, "wrong": wrong}))
"""


@pytest.mark.needs("pidns", "netns")
@pytest.mark.scaled
def test_a_reused_pid_is_never_signalled() -> None:
    """1,000 forced reuses of a pid each: by the handle, between plan and signal, between search and handle: 0 wrong.

    psutil's own terminate() hits innocents in the very same harness, which proves that the reuse is real.
    """
    rounds = examples(1000)

    done = subprocess.run(
        ["unshare", "-p", "-f", "-n", "--mount-proc", sys.executable, "-c", _REUSE, str(rounds)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"\n{rounds} rounds: {found}")  # noqa: T201
    assert found["wrong"]["control"] > 0, "the harness does not reuse pids quickly enough to prove anything"
    assert {kind: found["wrong"][kind] for kind in ("handle", "plan", "search")} == {
        "handle": 0,
        "plan": 0,
        "search": 0,
    }
    assert all(count >= rounds * 0.9 for count in found["done"].values()), found


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that sleeps."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        yield process
        process.kill()


def test_nobody_is_taken_for_a_group(sleeper: subprocess.Popen[bytes]) -> None:
    """0, -1, PID 1, numbers no one has, and a zombie's are no process that could be signalled."""
    handle = signals.take(sleeper.pid)
    assert handle is not None
    os.kill(sleeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)

    assert [signals.take(pid) for pid in (0, -1, -sleeper.pid, 1, 2**22 + 1, sleeper.pid)] == [None] * 6
    assert not signals.is_running(handle)
    assert signals.wait([handle], 0)
    signals.close([handle])


def test_waiting_ends_with_the_process(sleeper: subprocess.Popen[bytes]) -> None:
    """Waiting ends when the process does, and not before; a deadline ends it sooner."""
    handle = signals.take(sleeper.pid)
    assert handle is not None
    begin = time.monotonic()
    assert not signals.wait([handle], 0.05)
    assert time.monotonic() - begin >= 0.05
    assert signals.send(handle, signals.TERMINATE)
    assert signals.wait([handle], 10)
    sleeper.wait()
    assert not signals.send(handle, signals.TERMINATE)
    signals.close([handle])


def test_without_pidfds_the_start_time_is_compared_before_each_signal(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pidfds the start time is compared before each signal: a handle of another start hits no one."""
    monkeypatch.delattr(os, "pidfd_open")
    handle = signals.take(sleeper.pid)
    assert handle is not None
    assert handle.fd is None
    assert not signals.send(handle._replace(started=handle.started + 1), signals.KILL)
    assert signals.is_running(handle)
    assert not signals.wait([handle], 0.05)

    assert signals.send(handle, signals.TERMINATE)
    assert sleeper.wait(10) == -signal.SIGTERM
    assert signals.wait([handle], 1)


_LETS_GO = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.readline()
server.close()
print("closed", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sockets have numbers on Linux alone")
def test_who_has_let_go_of_the_socket_is_not_signalled() -> None:
    """Between plan and signal a server gives up its port: neither SIGTERM nor SIGKILL is sent to it any more."""
    with subprocess.Popen(
        [sys.executable, "-c", _LETS_GO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        (row,) = sockets.find_sockets("tcp", int(server.stdout.readline()))
        handle = signals.take(server.pid)
        assert handle is not None
        member = ending.Member(handle, os.getpid(), row)
        assert ending.is_held(server.pid, row)
        server.stdin.write("\n")
        server.stdin.flush()
        assert server.stdout.readline() == "closed\n"

        assert ending.end([member], lambda: False, force=True, grace=0.1) == []

        assert signals.is_running(handle)
        server.communicate("")
        assert server.returncode == 0
        signals.close([handle])
