"""Callers that use the command, and cut some of theirs off, with SIGINT or SIGKILL at any moment of its life."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from portguard.leases.table import now
from tests.conftest import PORTGUARD
from tests.soak.caller import LONG, POOL, SHORT, WAIT, Caller
from tests.soak.ledger import LOCKED, Call, Command, Grant, Numbers, Run
from tests.worlds.processes import is_of_main

DEADLINE = 60.0  # seconds; a command that has not ended then has at least been at work, or it hangs
_LONGEST_RECORDED = 1 / 6  # of the commands
_RUN_CODE = 7  # of the command that is run
_REFUSED = 125
_SERVER = f"""
import os, socket, sys
with socket.socket() as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", int(os.environ["WEB_PORT"])))
    sock.listen()
sys.exit({_RUN_CODE})
"""
# What a command that did its work may say besides. Where root cannot read every process, it cannot tell a socket whose
# owner has just ended from one whose owner is hidden.
_MESSAGES = re.compile(
    r"(note: \w+: \d+ is this checkout's own number; declared is \d+\n)*|nothing to release\n|"
    r"note: the owner of \d+ of \d+ sockets is hidden .*\n"
)
_RUN = ("run", "--", sys.executable, "-S", "-E", "-c", _SERVER)


class Done(NamedTuple):
    """A command that has ended. `is_whole` unless it was cut off, or did not get the store's lock in time."""

    pid: int
    code: int
    out: str
    err: str
    first: int
    last: int
    is_whole: bool


class Commander(Caller):
    """One of them."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # as they are there
        self._typical: dict[str, float] = {}

    def things(self) -> Sequence[Callable[[], None]]:
        """Return what this caller does."""
        return (
            *(self.free, self.free, self.free, self.free_held, self.served, self.served, self.idle),
            *(self.own_numbers, self.own_run, self.shared, self.shared_run, self.gone, self.listing, self.release),
        )

    def command(
        self, kind: str, *words: object, allowed: Sequence[int] = (0,), cwd: Path | str = "/", may_cut: bool = True
    ) -> Done:
        """Run a command; note how it went, and any exit code and message that should not be."""
        sent = (
            self.random.choice((signal.SIGINT, signal.SIGKILL))
            if may_cut and self.random.random() < _LONGEST_RECORDED
            else 0
        )
        first, began = now(), time.monotonic()
        with subprocess.Popen(
            [*PORTGUARD, *map(str, words)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
        ) as process:  # fmt: skip
            if sent and not _cut(process, sent, self.random.uniform(0, self._typical.get(kind, 0.3))):
                sent = 0
            out, err, hangs_at = _finish(process)
        seconds, code = time.monotonic() - began, process.returncode
        self.expect(not hangs_at, f"{kind} {words} has done nothing for {DEADLINE:g} s; it is at\n{hangs_at}")
        is_locked = "is locked by" in err
        self.calls.append(Call(kind, LOCKED if is_locked else str(code), seconds, sent))
        if not sent:
            self._typical[kind] = seconds
        done = Done(process.pid, code, out, err, first, now(), not sent and not is_locked)
        is_right = is_locked or code in allowed or _ends_cut(code, err, sent)
        if not is_right or (code == 0 and done.is_whole and not _MESSAGES.fullmatch(err)):
            self.fault(f"{kind} {words} in {cwd}, sent {sent}: {done}")
        return done

    # ------------------------------------------------------------ ports

    def _given(self, ports: Sequence[int], done: Done, ttl: int, count: int) -> None:
        told = Command(done.pid, done.first, done.last, done.code, tuple(ports))
        self.commands.append(told)
        if done.is_whole:
            self.expect(len(ports) == count, f"{count} ports were asked for: {done}")
            self.given(ports, told, ttl)

    def free(self) -> None:
        """Ask for ports, for a short or a long time; a lease that may be left behind is short."""
        if self.has_enough():
            self.release()
        count = self.random.randint(1, 3)
        ttl = self.random.choice((*SHORT, LONG))
        words: list[object] = ["--count", count, "--ttl", ttl]
        words += self.random.choice(([], ["--tcp"], ["--udp"], ["--both"]))
        words += self.random.choice(([], ["--range", f"{POOL[0]}-{POOL[1]}"]))
        done = self.command("free", "free", *words, may_cut=ttl != LONG)
        self._given([int(line) for line in done.out.split()], done, ttl, count)

    def free_held(self) -> None:
        """Ask for a port that is kept bound; it comes back by itself, or, if it is for long, is released at once."""
        ttl = self.random.choice((*SHORT, LONG))
        done = self.command("free --hold", "free", "--hold", ttl, "--json", may_cut=ttl != LONG)
        ports = [port["port"] for port in json.loads(done.out)["data"]["ports"]] if done.out else []
        self._given(ports, done, ttl, 1)
        self._give_back([port for port in ports if port in self.kept])

    def keep(self) -> int | None:
        """Return a port that is this caller's for long, None if it got none."""
        if not self.kept:
            done = self.command("free", "free", "--ttl", LONG, may_cut=False)
            self._given([int(line) for line in done.out.split()], done, LONG, 1)
        return self.random.choice(tuple(self.kept)) if self.kept else None

    def release(self) -> None:
        """Give back some of what is kept."""
        self._give_back(self.random.sample(tuple(self.kept), self.random.randint(0, len(self.kept))))

    def give_back(self) -> None:
        """Give back all of it."""
        self._give_back(tuple(self.kept))

    def _give_back(self, ports: Sequence[int]) -> None:
        self.let_go(ports)
        while ports:
            done = self.command("leases release", "leases", "release", *ports, allowed=(0, 1))
            if done.is_whole:
                self.expect(done.code == 0, f"what is leased could not be given back: {done}")
                return
            # What was released before it was cut off may belong to someone else by now.
            ports = [port for port in ports if self.is_mine(port)]

    # ------------------------------------------------------------ servers

    def served(self) -> None:
        """Ask about a port where a server of this caller listens, and end that."""
        port = self.keep()
        if port is None:
            return
        with self.serving(port) as pid:
            self.command("check served", "check", port, allowed=(1,))
            self.command("wait served", "wait", f"127.0.0.1:{port}", "--timeout", WAIT)
            done = self.command("who served", "who", port, "--json")
            if done.code == 0:
                holders = json.loads(done.out)["data"]["ports"][0]["holders"]
                pids = [process["pid"] for holder in holders for process in holder["processes"]]
                self.expect(pids == [pid], f"{pid} has port {port}: {done}")
            self.expect(not os.waitpid(pid, os.WNOHANG)[0], f"the server on port {port} was ended by somebody else")
            done = self.command("kill", "kill", "--yes", port, allowed=(0, 1))
            if done.is_whole:
                # On a machine that is late a process can take longer to end than is waited for.
                self.expect(done.code == 0 or "has not ended within" in done.out, f"port {port} is to be freed: {done}")
                self.expect_ended(pid, port, is_freed=done.code == 0)

    def idle(self) -> None:
        """Ask about a port of this caller if no one listens."""
        port = self.keep()
        if port is None:
            return
        self.command("check idle", "check", port)
        self.command("who idle", "who", port, allowed=(1,))
        self.command("wait --free", "wait", "--free", port, "--timeout", WAIT)
        self.command("wait in vain", "wait", port, "--timeout", "0.1", allowed=(1,))

    # ------------------------------------------------------------ checkouts

    def own_numbers(self) -> None:
        """Ask for the numbers of this caller's own worktree, where nothing runs: they would bind."""
        self._env(self.place.own)
        self.command("check own", "check", cwd=self.place.own)

    def own_run(self) -> None:
        """Run a server in this caller's own worktree: nothing is in its way, not even what ran there just before."""
        self.command("run own", *_RUN, allowed=(_RUN_CODE,), cwd=self.place.own)

    def shared(self) -> None:
        """Ask for the numbers of a worktree that is everyone's, where something may run."""
        checkout = self.random.choice(self.place.shared)
        self._env(checkout)
        self.command("check shared", "check", allowed=(0, 1), cwd=checkout)

    def _env(self, checkout: Path) -> None:
        done = self.command("env", "env", cwd=checkout)
        if done.code == 0:
            self.numbers.append(Numbers(str(checkout), _numbers(done), done.first, done.last))

    def shared_run(self) -> None:
        """Run a server in a worktree that is everyone's: refused only when someone else runs one."""
        checkout = self.random.choice(self.place.shared)
        done = self.command("run shared", *_RUN, allowed=(_RUN_CODE, _REFUSED), cwd=checkout)
        is_refused = done.code == _REFUSED and done.is_whole
        self.runs.append(Run(str(checkout), done.first, done.last, is_refused))

    def gone(self) -> None:
        """Get numbers for a checkout, remove it, and clear up behind it."""
        checkout = self.place.scratch / str(len(self.calls))
        checkout.mkdir()
        shutil.copy(self.place.own / "portguard.toml", checkout)
        done = self.command("env --isolated", "env", "--isolated", cwd=checkout)
        if done.code == 0:
            self.grants += [Grant(port, done.first, done.last, now()) for port in _numbers(done)]
        shutil.rmtree(checkout)
        if self.command("leases prune", "leases", "prune").is_whole:
            done = self.command("leases", "leases", "--json", may_cut=False)
            self.expect(f'"{checkout}"' not in done.out, f"{checkout} is gone, and still has numbers: {done}")

    def listing(self) -> None:
        """Ask what there is: at least what is this caller's own."""
        done = self.command("leases", "leases", "--json")
        if done.code == 0:
            found = {lease["port"] for lease in json.loads(done.out)["data"]["leases"]}
            self.expect(set(self.kept) <= found, f"all of {sorted(self.kept)} are leased: {done}")
        self.command("list", "list", "--json")
        self.command("info", "info", self.random.randint(1, 65_535))


def _numbers(done: Done) -> tuple[int, ...]:
    return tuple(int(line.partition("=")[2]) for line in done.out.splitlines())


def _cut(process: subprocess.Popen[str], number: int, after: float) -> bool:
    """Send the signal so many seconds later; whether the process still ran."""
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        return True
    return False


def _finish(process: subprocess.Popen[str]) -> tuple[str, str, str]:
    """Wait for the end; return what was written, and where a process was that had to be ended because it did nothing.

    A machine with more to do than it can makes commands late. Those that wait for something have no processor time.
    """
    spent = -1
    while True:
        try:
            return *process.communicate(timeout=DEADLINE), ""
        except subprocess.TimeoutExpired:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            before, spent = spent, int(fields[11]) + int(fields[12])  # in user and in kernel mode, proc_pid_stat(5)
            if spent == before:
                where = Path(f"/proc/{process.pid}/stack").read_text()
                process.kill()
                return *process.communicate(), where


def _ends_cut(code: int, err: str, sent: int) -> bool:
    """Whether a command that was sent this signal may end so. Interrupted before our first line, Python dies of it."""
    if sent == signal.SIGINT:
        return code == 130 or (code in (1, -signal.SIGINT) and not is_of_main(err))
    return sent == signal.SIGKILL and code == -signal.SIGKILL
