"""Who holds a socket: all its processes, whatever way they came to it, and no one else."""

from __future__ import annotations

import array
import errno
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from benchmarks.worlds import Plan, inhabited
from portguard.errors import LookupFailedError
from portguard.holders import find as holders
from portguard.rules.verdicts import occupants
from portguard.system import descriptors, owners, processes, sockets
from tests.worlds import netns, users
from tests.worlds.capabilities import NOBODY

SEED = int(os.environ.get("PORTGUARD_TEST_SEED", "20240229"))
LISTENERS = 220  # at least
_READY_TIMEOUT = 20.0

KINDS = ("alone", "prefork", "orphaned", "reuseport", "neighbours", "crowded", "passed", "renumbered", "threads")

Protocol = Literal["tcp", "udp"]
TCP: Protocol = "tcp"
UDP: Protocol = "udp"
V4 = ("0.0.0.0", "127.0.0.1", "127.0.0.7")
V6 = ("::", "::1")


class Listener(NamedTuple):
    """One socket of the world: where it is, its inode, and the processes that hold it."""

    kind: str
    protocol: Protocol
    address: str
    v6only: bool
    port: int
    inode: int
    pids: frozenset[int]


# ---------------------------------------------------------------- the world


Opened = tuple[socket.socket, Protocol, str, bool]


def _open_any(rng: random.Random, *, reuse_port: bool = False) -> Opened:
    """Open a socket of a random kind, on a port that the kernel chooses."""
    protocol = rng.choice((TCP, TCP, UDP))
    return _open(protocol, rng.choice((*V4, *V6, "::")), rng.random() < 0.5, 0, reuse_port=reuse_port)


def _open(kind: Protocol, address: str, v6only: bool, port: int, *, reuse_port: bool = False) -> Opened:
    """Open a listening socket; a bound one for UDP."""
    is_v6 = ":" in address
    sock = socket.socket(
        socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    )
    if is_v6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    if kind == "tcp":
        sock.listen()
    return sock, kind, address, is_v6 and v6only


class World:
    """Processes that hold sockets in many ways; they end with the forked child that built them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.listeners: list[Listener] = []

    def spawn(self, *setup: Callable[[], object], keep: Sequence[socket.socket] = ()) -> int:
        """Fork a process that closes all sockets but `keep`, runs `setup`, and stays; return when it is ready."""
        ready_read, ready_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                kept = {sock.fileno() for sock in keep} | {ready_write}
                for name in os.listdir("/proc/self/fd"):
                    if int(name) not in kept and int(name) > 2:
                        _close(int(name))
                results = [step() for step in setup]
                os.write(ready_write, b".")
                while results is not None:
                    signal.pause()
            finally:
                os._exit(70)
        os.close(ready_write)
        try:
            assert select.select([ready_read], [], [], _READY_TIMEOUT)[0], "a process of the world says nothing"
            assert os.read(ready_read, 1) == b".", "a process of the world died"
        finally:
            os.close(ready_read)
        return pid

    def note(self, kind: str, opened: Opened, pids: set[int]) -> Listener:
        """Remember a socket and who holds it; our own copy is closed."""
        sock, protocol, address, v6only = opened
        inode = os.fstat(sock.fileno()).st_ino
        listener = Listener(kind, protocol, address, v6only, sock.getsockname()[1], inode, frozenset(pids))
        self.listeners.append(listener)
        sock.close()
        return listener

    # Every way in which a socket comes to its processes.

    def alone(self) -> None:
        """Start one process with one socket."""
        opened = _open_any(self.rng)
        self.note("alone", opened, {self.spawn(keep=(opened[0],))})

    def prefork(self) -> None:
        """Start a master that listens and forks workers; sometimes it goes away and leaves them alone."""
        opened = _open_any(self.rng)
        keep = (opened[0],)
        size = self.rng.randint(1, 4)
        master = self.spawn(lambda: [self.spawn(keep=keep) for _ in range(size)], keep=keep)
        workers = set(netns.descendants(master))
        if self.rng.random() < 0.3:
            os.kill(master, signal.SIGKILL)
            os.waitpid(master, 0)
            self.note("orphaned", opened, workers)
        else:
            self.note("prefork", opened, {master, *workers})

    def reuse_port(self, size: int | None = None) -> None:
        """Start a SO_REUSEPORT group: each process has a socket of its own on the one port."""
        opened = _open_any(self.rng, reuse_port=True)
        first = self.note("reuseport", opened, {self.spawn(keep=(opened[0],))})
        for _ in range((size or self.rng.randint(2, 5)) - 1):
            opened = _open(first.protocol, first.address, first.v6only, first.port, reuse_port=True)
            self.note("reuseport", opened, {self.spawn(keep=(opened[0],))})

    def neighbours(self) -> None:
        """Start processes that have the same port number, on other addresses or with the other protocol."""
        opened = _open(TCP, "127.0.0.1", False, 0)
        first = self.note("neighbours", opened, {self.spawn(keep=(opened[0],))})
        for protocol, address in ((TCP, "127.0.0.7"), (TCP, "::1"), (UDP, "::1"), (UDP, "0.0.0.0")):
            opened = _open(protocol, address, True, first.port)
            self.note("neighbours", opened, {self.spawn(keep=(opened[0],))})

    def crowded(self) -> None:
        """Start one process with many sockets, some twice, and hundreds of other descriptors."""
        opened = [_open_any(self.rng) for _ in range(40)]
        socks = tuple(each[0] for each in opened)

        def open_more() -> object:
            return [os.open(os.devnull, os.O_RDONLY) for _ in range(300)], [os.dup(sock.fileno()) for sock in socks[:9]]

        pid = self.spawn(open_more, keep=socks)
        for each in opened:
            self.note("crowded", each, {pid})

    def passed(self) -> None:
        """Pass a socket over SCM_RIGHTS to a process that has nothing to do with its maker."""
        self.pass_on(_open_any(self.rng), stays=self.rng.random() < 0.5, offset=0)

    def pass_on(self, opened: Opened, *, stays: bool, offset: int) -> None:
        """Pass a socket on; the maker keeps it if it `stays`, the receiver has it at a number so much higher."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

        def receive() -> object:
            _, ancillary, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(4))
            (received,) = array.array("i", ancillary[0][2])
            if offset:
                os.dup2(received, received + offset)
                os.close(received)
            return True

        def send() -> object:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [opened[0].fileno()]))]
            ours.sendmsg([b"."], rights)
            if not stays:
                _close(opened[0].fileno())
            return True

        maker = self.spawn(send, keep=(ours, opened[0]))
        receiver = self.spawn(receive, keep=(theirs,))
        ours.close()
        theirs.close()
        self.note("passed", opened, {maker, receiver} if stays else {receiver})

    def renumbered(self) -> None:
        """Start a process and a child of it that keeps the socket at another number alone."""
        opened = _open_any(self.rng)
        keep = (opened[0],)
        parent = self.spawn(lambda: self.spawn(lambda: _move(opened[0]), keep=keep), keep=keep)
        self.note("renumbered", opened, {parent, *netns.descendants(parent)})

    def threads(self) -> None:
        """Start a process with threads, one of which has forked: the child is that thread's, at another number."""
        opened = _open_any(self.rng)
        keep = (opened[0],)

        def start() -> object:
            waiting = [threading.Thread(target=signal.pause, daemon=True) for _ in range(3)]
            forking = threading.Thread(target=lambda: self.spawn(lambda: _move(opened[0]), keep=keep))
            for thread in (*waiting, forking):
                thread.start()
            forking.join()
            return waiting

        parent = self.spawn(start, keep=keep)
        self.note("threads", opened, {parent, *netns.descendants(parent)})

    def build(self) -> None:
        """Start processes until there are enough listeners."""
        self.crowded()
        self.reuse_port(size=70)
        ways = (
            self.alone, self.alone, self.prefork, self.prefork, self.reuse_port, self.passed, self.renumbered,
            self.threads,
        )  # fmt: skip
        for way in (*ways, self.neighbours, self.neighbours):
            way()
        while len(self.listeners) < LISTENERS:
            self.rng.choice(ways)()


def _move(sock: socket.socket) -> bool:
    """Have the socket at another number, and no more at its own."""
    os.dup2(sock.fileno(), sock.fileno() + 100)
    os.close(sock.detach())
    return True


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return  # the descriptor that listed them


# ---------------------------------------------------------------- independent witnesses


def walk() -> tuple[dict[int, set[int]], bool]:
    """Return the pids by socket inode, of all descriptors of all processes, and whether all of them could be read."""
    found: dict[int, set[int]] = {}
    is_whole = True
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            named = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
        except OSError as error:
            is_whole &= error.errno != errno.EACCES or os.geteuid() == 0
            continue
        if named:
            found.setdefault(int(named[1]), set()).add(int(link.parts[2]))
    return found, is_whole


def named_by_ss() -> dict[tuple[str, int], set[int]]:
    """Return the pids by protocol and port that `ss -ltnup` names."""
    said = subprocess.run(["ss", "-Hltnup"], capture_output=True, text=True, check=True).stdout
    found: dict[tuple[str, int], set[int]] = {}
    for line in said.splitlines():
        fields = line.split()
        pids = {int(pid) for pid in re.findall(r"\bpid=(\d+)", line)}
        found.setdefault((fields[0], int(fields[4].rpartition(":")[2])), set()).update(pids)
    return found


def coverage(address: str, v6only: bool) -> set[tuple[int, str]]:
    """Return what a bound address takes: (family, address) pairs, "*" for all of a family."""
    if address == "::":
        return {(6, "*")} if v6only else {(4, "*"), (6, "*")}
    return {(6 if ":" in address else 4, "*" if address == "0.0.0.0" else address)}


def is_in_the_way(listener: Listener, address: str) -> bool:
    """Whether no one else can have this address while the listener has its own."""
    return any(
        family == other and (one == another or "*" in (one, another))
        for family, one in coverage(listener.address, listener.v6only)
        for other, another in coverage(address, v6only=True)
    )


def named_by_portguard(
    protocol: Protocol, addresses: tuple[str, ...], port: int, *, all_holders: bool
) -> tuple[set[int], bool]:
    """Return the pids of all processes of all holders, and whether portguard says that these are all."""
    cause, rows = occupants(addresses, sockets.find_sockets(protocol, port, listeners_only=True))
    found = holders.with_owners(rows, None, all_holders=all_holders)
    assert cause == "listener"
    assert {holder.owner_status for holder in found} == {"known"}
    (is_complete,) = {holder.processes_complete for holder in found}
    return {process.pid for holder in found for process in holder.processes}, is_complete


def _examine(seed: int) -> tuple[list[str], Counter[str]]:
    """Build a world and compare; return what differs, and figures."""
    world = World(seed)
    world.build()
    (by_inode, is_whole), by_ss = walk(), named_by_ss()
    wrong: list[str] = []
    figures: Counter[str] = Counter(listener.kind for listener in world.listeners)
    endpoints: dict[tuple[Protocol, int], list[Listener]] = {}
    for listener in world.listeners:
        endpoints.setdefault((listener.protocol, listener.port), []).append(listener)
        if by_inode.get(listener.inode, set()) != listener.pids:
            wrong.append(f"the world is not what it should be: {listener}: {by_inode.get(listener.inode)}")
    for (protocol, port), there in endpoints.items():
        everywhere, is_sure = named_by_portguard(protocol, ("0.0.0.0", "::"), port, all_holders=True)
        walked = set().union(*(by_inode[listener.inode] for listener in there))
        if (everywhere, is_sure) != (walked, is_whole):
            wrong.append(f"{protocol} {port}: portguard {everywhere}, /proc {walked}: {there}")
        for address in {listener.address for listener in there}:
            exactly, _ = named_by_portguard(protocol, (address,), port, all_holders=True)
            soon, is_sure = named_by_portguard(protocol, (address,), port, all_holders=False)
            walked = set().union(*(by_inode[item.inode] for item in there if is_in_the_way(item, address)))
            if exactly != walked:
                wrong.append(f"{protocol} {address} {port}: portguard {exactly}, /proc {walked}: {there}")
            # What is passed to a stranger at another number is what the quick search may miss.
            is_all = soon == walked or ({item.kind for item in there} == {"passed"} and soon and soon < walked)
            if not is_all or (is_sure and soon != walked):
                wrong.append(f"{protocol} {address} {port}: the quick search {soon}, /proc {walked}: {there}")
            figures["quick"] += 1
            figures["quick and complete"] += soon == walked
        if not by_ss.get((protocol, port), set()) <= everywhere:
            wrong.append(f"{protocol} {port}: portguard {everywhere}, ss {by_ss[protocol, port]}: {there}")
        figures["ports"] += 1
        figures["pids"] += len(everywhere)
        figures["pids named by ss"] += len(by_ss.get((protocol, port), ()))
    return wrong, figures


# ---------------------------------------------------------------- tests


@pytest.mark.needs("netns", "ss", "ipv6")
def test_every_process_of_a_listener_is_found() -> None:
    """The pids for each port are those that hold one of its sockets, by a full walk of /proc; none that ss names lacks.

    Forked workers, orphans of a dead master, SO_REUSEPORT groups (one of 70), hundreds of descriptors, sockets passed
    over SCM_RIGHTS; both families, dual-stack, both protocols.
    """
    wrong, figures = netns.run_in_netns(_examine, SEED, timeout=100)
    assert not wrong, f"PORTGUARD_TEST_SEED={SEED}: " + "\n".join(wrong[:10])
    kinds = [figures[kind] for kind in KINDS]
    assert sum(kinds) >= 200, figures
    assert min(kinds) >= 3, figures
    assert figures["pids named by ss"] >= 200, figures
    assert figures["quick and complete"] >= figures["quick"] - figures["passed"], figures
    print(f"\nseed {SEED}: {dict(figures)}")  # noqa: T201  # figures, shown by pytest -rP


# In small what benchmarks measure in large.
PLANS = (
    Plan("A", "many descriptors in each process", 60, 50),
    Plan("B", "one process with thousands of listeners", 1, 0, listeners=3_000),
    Plan("C", "a few processes with thousands of connections", 4, 0, connections=700),
)


def _compare(plan: Plan, seed: int) -> tuple[list[str], int]:
    """Build a world, and search for the owners of 40 ports in both manners; return what differs, and how many stopped.

    Also for all 40 at a time.
    """
    with inhabited(plan) as world:
        rows = {row.socket.port: row.socket for row in sockets.find_all(TCP, listeners_only=True)}
        pids = dict((*world.owners, world.late))
        ports = [*random.Random(seed).choices([port for port, _ in world.owners], k=39), world.late[0]]
        inodes = {rows[port].inode for port in ports}
        everyone = owners.find_all_owners(inodes)
        wrong = [] if owners.find_owners(inodes).pids == everyone.pids else ["all at a time"]
        stopped = 0
        for port in ports:
            inode = rows[port].inode
            soon = owners.find_owners({inode})
            stopped += not soon.is_complete
            if not soon.pids[inode] == everyone.pids[inode] == (pids[port],):
                wrong.append(f"port {port} of {pids[port]}: {soon.pids[inode]}, everyone {everyone.pids[inode]}")
        return wrong, stopped


@pytest.mark.needs("netns")
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_the_quick_search_finds_the_same(plan: Plan) -> None:
    """In worlds with many processes, listeners and connections: of 40 ports, none is wrong, and the search stops."""
    wrong, stopped = netns.run_in_netns(_compare, plan, SEED, timeout=100)
    assert not wrong, f"PORTGUARD_TEST_SEED={SEED}: " + "\n".join(wrong[:10])
    assert stopped >= 30


def _compare_parts(plan: Plan) -> list[str]:
    """Search for all owners of a world alone and in parts, with children that answer, that die, and without any."""
    wrong = []
    with inhabited(plan):
        inodes = {row.socket.inode for row in sockets.find_all(TCP, listeners_only=True)}
        alone = owners.find_all_owners(inodes)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owners, "_WORTH", 1)
            for name, told in (("answer", None), ("die", lambda *_: os._exit(1)), ("none", None)):
                if told is not None:
                    patch.setattr(descriptors.Tables, "report_on", told)
                if name == "none":
                    patch.setattr(os, "fork", _refuse)
                if owners.find_all_owners(inodes, processors=3) != alone:
                    wrong.append(name)
    return wrong if len(alone.pids) >= 30 else ["too small a world"]


def _refuse() -> int:
    raise OSError(errno.EAGAIN, "no process")


@pytest.mark.needs("netns")
@pytest.mark.parametrize("plan", PLANS[:2], ids=lambda plan: plan.name)
def test_a_search_that_is_shared_finds_the_same(plan: Plan) -> None:
    """Several processes find together what one finds alone; what a child does not tell is looked for again."""
    assert netns.run_in_netns(_compare_parts, plan, timeout=100) == []


@pytest.mark.needs("netns")
def test_a_socket_passed_to_a_stranger_is_the_one_that_may_be_missed() -> None:
    """Passed over SCM_RIGHTS, at another number: the quick search says that it is not complete, the other has it."""

    def ask() -> tuple[list[tuple[set[int], bool]], Listener]:
        world = World(SEED)
        opened = _open(TCP, "127.0.0.1", False, 0)
        world.pass_on(opened, stays=True, offset=150)
        (listener,) = world.listeners
        return [
            named_by_portguard(TCP, ("127.0.0.1",), listener.port, all_holders=everyone) for everyone in (False, True)
        ], listener

    ((soon, is_sure), (everyone, is_surely_all)), listener = netns.run_in_netns(ask)
    assert soon <= listener.pids
    assert soon
    assert not is_sure
    assert everyone == listener.pids
    assert is_surely_all


@pytest.mark.needs("netns", "users")
def test_what_root_opened_for_this_user_is_found_by_this_user() -> None:
    """A server started by socket activation has a socket of root's; its own user sees who holds it all the same."""

    def give_up_root() -> bool:
        netns.become(NOBODY)
        return True

    def ask() -> tuple[list[descriptors.Owners], Listener]:
        world = World(SEED)
        for _ in range(5):
            world.alone()
        opened = _open(TCP, "127.0.0.1", False, 0)
        keep = (opened[0],)
        listener = world.note("alone", opened, {world.spawn(give_up_root, keep=keep)})
        netns.become(NOBODY)
        return [find({listener.inode}) for find in (owners.find_owners, owners.find_all_owners)], listener

    found, listener = netns.run_in_netns(ask)
    for each in found:
        assert set(each.pids[listener.inode]) == listener.pids
        assert each.has_unreadable


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("find", [owners.find_owners, owners.find_all_owners])
def test_absent_proc_is_a_failed_lookup(find: Callable[..., descriptors.Owners], tmp_path: Path) -> None:
    """Without /proc the search says that it failed, instead of that no one holds the socket."""
    with pytest.raises(LookupFailedError, match=re.escape(str(tmp_path))):
        find({1}, proc=str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("find", [owners.find_owners, owners.find_all_owners])
def test_unfinished_search_is_told(find: Callable[..., descriptors.Owners], tmp_path: Path) -> None:
    """A /proc that leaves out PID 1 hides processes: the search says that it has not seen everything."""
    for pid in ("self", "1", "77"):
        (tmp_path / pid / "fd").mkdir(parents=True)
    (tmp_path / "77" / "fd" / "3").symlink_to("socket:[4711]")
    found = find({4711}, proc=str(tmp_path))
    assert (found.pids, found.has_unreadable) == ({4711: (77,)}, False)
    (tmp_path / "1" / "fd").rmdir()
    (tmp_path / "1").rmdir()
    assert find({4711}, proc=str(tmp_path))[:2] == ({4711: (77,)}, True)


# A child that has ended and was not waited for; with "thread", of which one thread still runs.
_ENDED = """
import ctypes, os, sys, threading, time
reader, writer = os.pipe()
if os.fork() == 0:
    if sys.argv[1] == "thread":
        threading.Thread(target=os.read, args=(reader, 1)).start()
        ctypes.CDLL(None).pthread_exit(None)
    os._exit(0)
while open("/proc/2/stat").read().rpartition(")")[2].split()[0] != "Z":
    time.sleep(0.01)
from portguard.system import owners
print(owners.find_all_owners({1 << 40}).has_unreadable)
os.write(writer, b".")
"""


@pytest.mark.needs("pidns", "users")
@pytest.mark.parametrize(("kind", "is_open"), [("whole", True), ("thread", False)])
def test_what_has_ended_hides_nothing(kind: str, is_open: bool) -> None:
    """The remains of a process are closed to its user and hold nothing; with a thread that runs they may hold all."""
    done = users.as_user(["-c", _ENDED, kind], NOBODY, inside=users.WITHOUT["other-processes"])
    assert (done.returncode, done.stdout) == (0, f"{not is_open}\n"), done.stderr


@pytest.mark.needs("hidepid", "pidns")
def test_hidden_processes_are_missed_in_a_container_too() -> None:
    """Where PID 1 is this user's own, a /proc that hides others is known by its mount."""
    code = "from portguard.system import owners; print(owners.find_all_owners({1 << 40}).has_unreadable)"
    for option, has_unreadable in (("hidepid=2", True), ("hidepid=0", False)):
        mounting = f'mount -t proc -o {option} proc /proc && exec "$@"'
        inside = ("unshare", "-m", "-p", "-f", "sh", "-c", mounting, "sh")
        done = users.as_user(["-c", code], NOBODY, inside=inside)
        assert (done.returncode, done.stdout) == (0, f"{has_unreadable}\n"), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_holder_is_told_by_the_whole_number(tmp_path: Path) -> None:
    """Sockets whose numbers begin or end alike are not taken for each other."""
    for pid in ("self", "1", "77"):
        (tmp_path / pid / "fd").mkdir(parents=True)
    (tmp_path / "77" / "fd" / "3").symlink_to("socket:[4711]")
    others = (471, 711, 47110, 14711)
    assert owners.is_held(77, 4711, proc=str(tmp_path))
    assert [inode for inode in others if owners.is_held(77, inode, proc=str(tmp_path))] == []
    for find in (owners.find_owners, owners.find_all_owners):
        assert find({4711, *others}, proc=str(tmp_path)).pids == {4711: (77,)} | dict.fromkeys(others, ())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_socket_without_holder_costs_the_whole_search(tmp_path: Path) -> None:
    """It is given up only when every process was asked, and that is told."""
    for pid in ("self", "1", *map(str, range(100, 160))):
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "fd" / "0").symlink_to("/dev/null")
        (tmp_path / pid / "fd" / "3").symlink_to(f"socket:[{pid if pid.isdigit() else 1}]")
    assert owners.find_owners({99}, proc=str(tmp_path)) == ({99: ()}, False, True)
    found = owners.find_owners({120}, proc=str(tmp_path))
    assert found.pids == {120: (120,)}
    assert not found.is_complete


@pytest.mark.skipif(sys.platform != "linux", reason="names are cut at 15 bytes on Linux")
def test_names_never_carry_arguments(tmp_path: Path) -> None:
    """A long name is shown in full, but not the arguments that a program writes into its own title."""
    program = tmp_path / "a-program-with-a-long-name"
    program.symlink_to("/bin/sleep")
    titles = {
        f"{program}": "a-program-with-a-long-name",
        f"{program.name} --password=hunter2": "a-program-with-a-long-name",
        f"{program.name[:15]} --password=hunter2": program.name[:15],
        "something else --password=hunter2": program.name[:15],
    }
    for title, name in titles.items():
        with subprocess.Popen([title, "60"], executable=program) as process:
            try:
                _wait_for_exec(process.pid, program.name[:15])
                described = processes.describe(process.pid)
            finally:
                process.kill()
        assert described.name == name
        assert "hunter2" not in json.dumps(described)


def _wait_for_exec(pid: int, comm: str) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT
    while Path(f"/proc/{pid}/comm").read_text().rstrip("\n") != comm:
        assert time.monotonic() < deadline, "the program has not started"
        os.sched_yield()
