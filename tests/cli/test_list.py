"""`portguard list`: it names what ss and lsof name, as root and as another user, in lines of 80 columns."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

import portguard as library
from portguard.errors import LookupFailedError, UsageError
from portguard.system import proc_net, sock_diag, sockets
from tests.cli.test_exit_codes import HOLDER_KEYS
from tests.conftest import PORTGUARD, Run
from tests.worlds import netns, users
from tests.worlds.capabilities import NOBODY, find_program
from tests.worlds.servers import plain_server

Protocol = Literal["tcp", "udp"]
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp")
_TIMEOUT = 60.0
_MAPPED = "::ffff:"


class Named(NamedTuple):
    """A socket as all tools name it, once for each process that has it; pid None if none is known."""

    protocol: str
    address: str
    port: int
    pid: int | None


class End(NamedTuple):
    """A connection as all tools name it."""

    protocol: str
    address: str
    port: int
    remote_address: str
    remote_port: int
    pid: int | None


# ---------------------------------------------------------------- random worlds


class _World:
    """Sockets of every kind in a tree of processes: forked sharers, SO_REUSEPORT groups, many descriptors."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._open: list[socket.socket] = []
        self._groups: list[tuple[Protocol, str, bool, int]] = []

    def build(self) -> None:
        """Open what this process holds, then fork the others; return when all of them are ready."""
        for _ in range(self._random.randint(15, 30)):
            self._open_one()
        for _ in range(self._random.randint(1, 3)):
            self._open_group()
        for _ in range(self._random.randint(1, 4)):
            self._connect()
        ready, done = os.pipe()
        workers = self._random.randint(2, 6)
        for _ in range(workers):
            seed = self._random.random()
            if os.fork() == 0:
                self._work(seed, done)
        heard = b""
        while len(heard) < workers:
            assert select.select([ready], [], [], _TIMEOUT)[0], "a worker says nothing"
            heard += os.read(ready, workers)
        assert heard == b"." * workers

    def _work(self, seed: float, done: int) -> None:
        """Be a worker: keep some of the sockets, open others, fill the descriptor table, and wait for the end."""
        said = b"!"
        try:
            self._random = random.Random(seed)
            for sock in self._open:
                if self._random.random() < 0.5:
                    sock.close()
            for group in self._groups:
                if self._random.random() < 0.7:
                    self._bind(*group, shared=True)
            for _ in range(self._random.randint(0, 5)):
                self._open_one()
            for _ in range(self._random.choice((0, 10, 300, 900))):
                os.open(os.devnull, os.O_RDONLY)
            if self._random.random() < 0.4 and os.fork() == 0:
                signal.pause()  # a grandchild that shares everything
            said = b"."
        finally:
            os.write(done, said)
            while True:
                signal.pause()

    def _pick(self) -> tuple[Protocol, str, bool]:
        protocol: Protocol = self._random.choice(("tcp", "udp"))
        address, v6only = self._random.choice(
            (
                ("127.0.0.1", False),
                (f"127.0.{self._random.randrange(256)}.{self._random.randrange(1, 255)}", False),
                ("0.0.0.0", False),
                ("::1", True),
                ("::", False),
                ("::", True),
                (_MAPPED + "127.0.0.1", False),
            )
        )
        return protocol, address, v6only

    def _bind(
        self, protocol: Protocol, address: str, v6only: bool, port: int, *, shared: bool = False
    ) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        self._open.append(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
        if shared and protocol == "tcp":
            sock.listen()
        return sock

    def _open_one(self) -> None:
        protocol, address, v6only = self._pick()
        sock = self._bind(protocol, address, v6only, 0)
        if protocol == "tcp" and self._random.random() < 0.8:  # the others are bound and no more
            sock.listen()
        if protocol == "udp" and self._random.random() < 0.2 and address == "127.0.0.1":
            sock.connect(("127.0.0.1", 9))

    def _open_group(self) -> None:
        protocol, address, v6only = self._pick()
        port = self._bind(protocol, address, v6only, 0, shared=True).getsockname()[1]
        self._groups.append((protocol, address, v6only, port))

    def _connect(self) -> None:
        address = self._random.choice(("127.0.0.1", "::1"))
        with self._bind("tcp", address, True, 0) as server:
            server.listen()
            client = socket.create_connection(server.getsockname()[:2])
            served, _ = server.accept()
            self._open.remove(server)
        ending = self._random.choice(("established", "half-closed", "time-wait"))
        if ending != "established":
            client.shutdown(socket.SHUT_WR)
            assert served.recv(1) == b""
        if ending == "time-wait":
            served.close()
            assert client.recv(1) == b""
            client.close()
        else:
            self._open += [client, served]


def _run(*argv: str, **options: Any) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_TIMEOUT, **options)
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    return str(done.stdout)


def _split(endpoint: str) -> tuple[str, str]:
    address, _, port = endpoint.rpartition(":")
    address = address.strip("[]")
    return "::" if address == "*" else address, port


def _pids(line: str) -> list[int | None]:
    """Return all pids of a line of ss; one None if it names no process."""
    return [int(pid) for pid in re.findall(r"\bpid=(\d+)", line)] or [None]


def ask_ss() -> set[Named]:
    """Return what ss names as listening, with every pid."""
    found = set()
    for line in _run("ss", "-ltnupH").splitlines():
        protocol, _, _, _, local = line.split()[:5]
        address, port = _split(local)
        pids = _pids(line)
        found |= {Named(protocol, address, int(port), pid) for pid in pids}
    return found


def ask_ss_for_connections() -> set[End]:
    """Return what ss names as having another end."""
    found = set()
    for line in _run("ss", "-tuanpH").splitlines():
        protocol, _, _, _, local, remote = line.split()[:6]
        if remote.endswith(":*"):
            continue
        (address, port), (peer, peer_port) = _split(local), _split(remote)
        pids = _pids(line)
        found |= {End(protocol, address, int(port), peer, int(peer_port), pid) for pid in pids}
    return found


def ask_lsof() -> set[Named]:
    """Return what lsof names as listening; it shows IPv4-mapped addresses as IPv4."""
    done = subprocess.run(
        ["lsof", "-nP", "-i", "-F", "pftPTn"], capture_output=True, text=True, check=False, timeout=_TIMEOUT
    )
    found = set()
    pid, file = 0, dict[str, str]()
    for line in [*done.stdout.splitlines(), "f"]:
        kind, value = line[0], line[1:]
        if kind in "pf":
            is_listener = file.get("P") == "UDP" or file.get("state") == "LISTEN"
            if is_listener and "->" not in file["n"]:
                address, _, port = file["n"].rpartition(":")
                wildcard = "::" if file["t"] == "IPv6" else "0.0.0.0"
                address = wildcard if address == "*" else address.strip("[]")
                found.add(Named(file["P"].lower(), address, int(port), pid))
            file = {}
        if kind == "p":
            pid = int(value)
        elif kind == "T":
            if value.startswith("ST="):
                file["state"] = value[3:]
        else:
            file[kind] = value
    return found


def _named(holder: dict[str, Any]) -> set[Named]:
    pids = [process["pid"] for process in holder["processes"]] or [None]
    return {Named(holder["protocol"], holder["address"], holder["port"], pid) for pid in pids}


def ask_portguard(*arguments: str, **options: Any) -> tuple[set[Named], set[End]]:
    """Return what `list` names as listening and, with --all, as having another end."""
    data = json.loads(_run(*PORTGUARD, "list", "--json", *arguments, **options))["data"]
    listeners = {named for holder in data["listeners"] for named in _named(holder)}
    ends = {
        End(*named[:3], holder["remote_address"], holder["remote_port"], named.pid)
        for holder in data.get("connections", ())
        if holder["remote_address"] is not None
        for named in _named(holder)
    }
    return listeners, ends


def _difference(one: set[Any], other: set[Any], names: str) -> list[str]:
    found = [f"{names}: missing {sorted(other - one)}"] if other - one else []
    return [*found, f"{names}: extra {sorted(one - other)}"] if one - other else found


def _unmapped(found: set[Named]) -> set[Named]:
    return {named._replace(address=named.address.removeprefix(_MAPPED)) for named in found}


def _without_pids(found: set[Named]) -> set[tuple[str, str, int]]:
    return {named[:3] for named in found}


def _compare(seed: int) -> list[str]:
    """Build a world; return what is told differently, and first of all whether the world is worth it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    _World(seed).build()
    ours, _ = ask_portguard()
    by_ss = ask_ss()
    wrong = _difference(ours, by_ss, "ss")
    if find_program("lsof") is not None:
        wrong += _difference(_unmapped(ours), ask_lsof(), "lsof")
    again, ends = ask_portguard("--all")
    wrong += _difference(again, by_ss, "ss, beside connections")
    wrong += _difference(ends, ask_ss_for_connections(), "ss, connections")
    if users.can_deny_netlink:
        denied, denied_ends = ask_portguard("--all", preexec_fn=users.deny_netlink)
        wrong += _difference(denied, by_ss, "/proc/net")
        wrong += _difference(denied_ends, ends, "/proc/net, connections")
    for find_all in (sock_diag.find_all, proc_net.find_all):
        for protocol in PROTOCOLS:
            state = "listen" if protocol == "tcp" else "bound"
            everything = set(find_all(protocol, listeners_only=False))
            chosen = {row for row in everything if row.socket.state == state}
            wrong += _difference(set(find_all(protocol, listeners_only=True)), chosen, f"{find_all.__module__}")
    by_psutil = {
        (row.socket.protocol, row.socket.address, row.socket.port)
        for protocol in PROTOCOLS
        for row in sockets.find_all(protocol, listeners_only=True, platform="darwin")
    }
    wrong += _difference(by_psutil, _without_pids(by_ss), "psutil")
    is_poor = (
        len(by_ss) < 10
        or {named.protocol for named in by_ss} != {"tcp", "udp"}
        or None in {named.pid for named in by_ss}
    )
    return [*wrong, f"a poor world: {by_ss}"] if is_poor else wrong


@pytest.mark.needs("netns", "ss", "ipv6")
@pytest.mark.parametrize("number", range(20))
def test_list_names_what_ss_and_lsof_name(number: int) -> None:
    """In a random world: the same (protocol, address, port, pid), none missing, none extra; connections likewise.

    The same through netlink and through /proc/net; psutil, which elsewhere is all there is, finds the same endpoints.
    """
    seed = random.randrange(1 << 32)
    wrong = netns.run_in_netns(_compare, seed, timeout=100)
    assert wrong == [], f"world {number}, seed {seed}"


@pytest.mark.needs("netns", "ipv6")
def test_options_narrow_the_list() -> None:
    """Protocols and families choose from the whole; both of a pair are as good as none."""

    def ask() -> list[str]:
        _World(1).build()
        everything, _ = ask_portguard()
        chosen: list[tuple[list[str], Callable[[Named], bool]]] = [
            (["--tcp"], lambda named: named.protocol == "tcp"),
            (["--udp"], lambda named: named.protocol == "udp"),
            (["-4"], lambda named: ":" not in named.address),
            (["-6"], lambda named: ":" in named.address),
            (["--udp", "-6"], lambda named: named.protocol == "udp" and ":" in named.address),
            (["--tcp", "--udp", "-4", "-6"], lambda named: True),
            (["--mine"], lambda named: True),
        ]
        wrong = []
        for options, is_wanted in chosen:
            found, _ = ask_portguard(*options)
            wanted = set(filter(is_wanted, everything))
            wrong += _difference(found, wanted, " ".join(options))
            wrong += [] if wanted else [f"nothing to choose by {options}"]
        return wrong

    assert netns.run_in_netns(ask, timeout=100) == []


# ---------------------------------------------------------------- as another user


@pytest.fixture(scope="module")
def shared_host() -> Iterator[tuple[netns.PrivateNetns, users.Held, users.Held]]:
    """Hold sockets of root and of another user in one network."""
    roots = [("tcp", "127.0.0.1", 0, "listen"), ("udp", "0.0.0.0", 0, "bound"), ("tcp", "127.0.0.1", 0, "bound")]
    mine = [("tcp", "::1", 0, "listen"), ("udp", "127.0.0.1", 0, "bound")]
    with netns.private_netns() as ns, users.holding(roots, 0, ns) as root, users.holding(mine, NOBODY, ns) as nobody:
        yield ns, root, nobody


@pytest.mark.needs("netns", "users", "ipv6")
@pytest.mark.parametrize("missing", users.WITHOUT)
def test_another_user_sees_every_socket_and_their_own_processes(
    shared_host: tuple[netns.PrivateNetns, users.Held, users.Held], missing: str
) -> None:
    """Whatever of /proc is missing, every socket is listed; strangers' owners are unknown, our own are named."""
    ns, root, nobody = shared_host
    done = users.as_user(["-m", "portguard", "list", "--json"], NOBODY, ns, inside=users.WITHOUT[missing])
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    found = {(holder["protocol"], holder["port"]): holder for holder in json.loads(done.stdout)["data"]["listeners"]}
    hidden = {("tcp", root.ports[0]), ("udp", root.ports[1])}
    ours = set(zip(("tcp", "udp"), nobody.ports, strict=True))
    assert set(found) == hidden | ours
    unseen = {"proc": "lookup-failed", "own-proc": "lookup-failed", "other-processes": "none-found"}
    is_blind = missing in unseen
    for key in hidden:
        assert found[key]["owner_status"] == unseen.get(missing, "hidden")
        assert found[key]["processes"] == []
    for key in ours if not is_blind else ():
        assert found[key]["owner_status"] == "known"
        assert [process["pid"] for process in found[key]["processes"]] == [nobody.pid]
    assert ("note: " in done.stderr) is (missing != "other-processes")


@pytest.mark.needs("netns", "users", "ipv6")
def test_text_and_mine_for_another_user(shared_host: tuple[netns.PrivateNetns, users.Held, users.Held]) -> None:
    """The text names the socket's user where the process is hidden; --mine leaves strangers' sockets out."""
    ns, root, nobody = shared_host
    done = users.as_user(["-m", "portguard", "list"], NOBODY, ns)
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()[1:]}
    assert lines[f"{root.ports[0]}/tcp"][1:5] == ["127.0.0.1", "(hidden)", "-", "root"]
    assert lines[f"{nobody.ports[0]}/tcp"][1] == "::1"
    assert lines[f"{nobody.ports[0]}/tcp"][3:5] == [str(nobody.pid), "nobody"]
    assert re.search("the owner of 2 of 4 sockets is hidden from this user", done.stderr)

    done = users.as_user(["-m", "portguard", "list", "--mine"], NOBODY, ns)
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == {
        f"{nobody.ports[0]}/tcp",
        f"{nobody.ports[1]}/udp",
    }
    assert done.stderr == ""


# ---------------------------------------------------------------- what the document holds


@pytest.mark.needs("netns", "ipv6")
def test_listeners_have_a_holders_keys_range_and_service() -> None:
    """Listeners have a holder's keys, range and service; connections a holder's and the other end's."""

    def ask() -> tuple[dict[str, Any], dict[str, Any], list[int]]:
        with (
            socket.create_server(("127.0.0.1", 5432)) as known,
            socket.create_server(("127.0.0.1", 50_123)) as dynamic,
            socket.create_connection(known.getsockname()) as client,
            socket.socket() as bound,
        ):
            bound.bind(("127.0.0.1", 0))
            told = [json.loads(_run(*PORTGUARD, "list", "--json", *more)) for more in ((), ("--all",))]
            assert dynamic.fileno() > 0
            return told[0], told[1], [client.getsockname()[1], bound.getsockname()[1], os.getpid()]

    plain, everything, (client, bound, pid) = netns.run_in_netns(ask)
    assert (plain["command"], plain["ok"], plain["exit_code"], plain["errors"]) == ("list", True, 0, [])
    assert set(plain["data"]) == {"listeners", "notes"}
    assert set(everything["data"]) == {"listeners", "connections", "notes"}
    assert everything["data"]["listeners"] == plain["data"]["listeners"]
    first, second = plain["data"]["listeners"]
    assert set(first) == HOLDER_KEYS | {"range", "service", "user", "project"}
    assert (first["port"], first["range"], first["service"]) == (5432, "registered", "postgresql")
    assert (second["port"], second["range"], second["service"]) == (50_123, "dynamic", None)
    assert (first["state"], first["owner_status"], first["processes"][0]["pid"]) == ("listen", "known", pid)
    assert (first["container"], first["unit"]) == (None, None)
    connections = {each["port"]: each for each in everything["data"]["connections"] if each["port"] != 5432}
    assert set(connections[client]) == HOLDER_KEYS | {"remote_address", "remote_port", "user"}
    assert (connections[client]["remote_address"], connections[client]["remote_port"]) == ("127.0.0.1", 5432)
    assert (connections[client]["state"], connections[client]["processes"][0]["pid"]) == ("established", pid)
    if bound in connections:  # Linux 6.8 and later
        assert (connections[bound]["state"], connections[bound]["remote_address"]) == ("bound", None)


@pytest.mark.needs("netns")
def test_where_nothing_listens() -> None:
    """An empty list is an answer: exit 0, nothing on standard output, a word on standard error."""

    def ask() -> tuple[int, str, str, str]:
        done = subprocess.run([*PORTGUARD, "list"], capture_output=True, text=True, check=False, timeout=_TIMEOUT)
        return done.returncode, done.stdout, done.stderr, _run(*PORTGUARD, "list", "--json")

    code, out, err, document = netns.run_in_netns(ask)
    assert (code, out, err) == (0, "", "nothing listens\n")
    assert json.loads(document)["data"] == {"listeners": [], "notes": []}


def test_no_table_at_all(tmp_path: Any) -> None:
    """Where netlink is refused and /proc/net is missing the tables say so; nothing is taken for an empty list."""

    def refuse() -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    with pytest.raises(LookupFailedError, match="netlink sock_diag"):
        sock_diag.find_all("tcp", listeners_only=True, connect=refuse)
    with pytest.raises(LookupFailedError, match="net/udp: "):
        proc_net.find_all("udp", listeners_only=True, proc=str(tmp_path))


def test_the_library_refuses_what_is_no_question() -> None:
    """Protocols and families that do not exist, and none at all, are usage errors."""
    wrong: list[dict[str, Any]] = [{"protocols": ()}, {"protocols": ("sctp",)}, {"families": ()}, {"families": (5,)}]
    for arguments in wrong:
        with pytest.raises(UsageError):
            library.list_ports(**arguments)


@pytest.mark.needs("netns", "ipv6")
def test_order_is_stable() -> None:
    """By protocol, port, address with IPv4 first; twice the same."""

    def ask() -> tuple[str, str, list[tuple[Any, ...]]]:
        _World(2).build()
        once, twice = (_run(*PORTGUARD, "list", "--all") for _ in range(2))
        data = json.loads(_run(*PORTGUARD, "list", "--json"))["data"]
        return (
            once,
            twice,
            [(row["protocol"], row["port"], ":" in row["address"], row["address"]) for row in data["listeners"]],
        )

    once, twice, keys = netns.run_in_netns(ask)
    assert once == twice
    assert keys == sorted(keys)
    assert len(keys) > 10


# ---------------------------------------------------------------- what is printed


@pytest.mark.needs("netns", "ipv6")
def test_real_lines_fit_too() -> None:
    """The real command's lines in a random world, --all, piped: at most 80 columns, and no escape among them."""

    def ask() -> str:
        _World(3).build()
        return _run(*PORTGUARD, "list", "--all", env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"})

    told = netns.run_in_netns(ask)
    assert max(map(len, told.splitlines())) <= 80
    assert "\x1b" not in told
    assert told.startswith("listeners\nPORT ")
    assert "\nconnections\nPORT " in told


_SERVE = """
import ctypes, socket, sys
sock = socket.create_server(("127.0.0.1", 0))
ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]), 0, 0, 0)
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""
HOSTILE = [
    b"\x1b[2J\x1b[H", b"\x1b]0;owned\x07", b"a\nb/tcp  ::", b"evil\rnginx", b"a\x08\x08b", "a\u202eb".encode(),
    b"\x9b31m\x9c", b"\xff\xfe", b"[red]x[/red]", b"\\x1b[31m", b"   ", b"$(id);`id`", "\u200b".encode(), b"--help",
]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="names are set with prctl")
def test_hostile_processes_are_listed_and_harmless() -> None:
    """Real processes with such names: a line each, no control byte, and the very bytes back out of the JSON."""
    with contextlib.ExitStack() as stack:
        started = {}
        for name in HOSTILE:
            command = [sys.executable, "-c", _SERVE, name.hex()]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert process.stdin is not None
            assert process.stdout is not None
            stack.callback(process.stdin.close)
            assert select.select([process.stdout], [], [], _TIMEOUT)[0], "the server says nothing"
            started[int(process.stdout.readline())] = (process.pid, name)
        told = subprocess.run([*PORTGUARD, "list"], capture_output=True, check=True, timeout=_TIMEOUT).stdout
        document = _run(*PORTGUARD, "list", "--json")
    lines = {line.split()[0]: line.split() for line in told.decode().splitlines() if not line.startswith(" ")}
    for port, (pid, _) in started.items():
        assert str(pid) in lines[f"{port}/tcp"]
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", told)
    assert {unicodedata.category(each) for each in told.decode()}.isdisjoint({"Cf", "Cs", "Zl", "Zp"})
    assert document.isascii()
    by_port = {holder["port"]: holder for holder in json.loads(document)["data"]["listeners"]}
    for port, (_, name) in started.items():
        assert os.fsencode(by_port[port]["processes"][0]["name"]) == name[:15]


@pytest.mark.needs("git")
def test_grouped_by_project(tmp_path: Path, portguard: Run) -> None:
    """--by-project makes a table for each checkout, those of no project last; JSON does not change."""
    (tmp_path / "shop" / ".git").mkdir(parents=True)
    with plain_server(tmp_path / "shop") as port:
        text = portguard("list", "--by-project").stdout

    lines = text.splitlines()
    head = lines.index(str(tmp_path / "shop"))
    assert lines[head + 1].startswith("PORT")
    assert any(line.startswith(f"{port}/tcp") for line in lines[head:])
