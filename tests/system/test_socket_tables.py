"""The socket tables: netlink, /proc/net and psutil tell the same story, `ss` agrees, and nonsense is no crash."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portguard.errors import LookupFailedError
from portguard.holders import find as holders
from portguard.model import Socket
from portguard.system import proc_net, sock_diag, sockets
from tests.amount import examples
from tests.worlds import netns, users
from tests.worlds.netlink import kernel, message

Protocol = Literal["tcp", "udp"]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="netlink and /proc/net are Linux's")
_RANDOM = settings(max_examples=examples(5000), deadline=None, database=None)

# How ss spells the states.
_SS_STATES = {
    "LISTEN": "listen",
    "ESTAB": "established",
    "TIME-WAIT": "time-wait",
    "CLOSE-WAIT": "close-wait",
    "FIN-WAIT-2": "fin-wait-2",
    "SYN-SENT": "syn-sent",
    "UNCONN": "bound",
}


class Row(NamedTuple):
    """What all tables tell of a socket; ports are left out because the look-up names one."""

    address: str
    state: str
    inode: int


def rows(found: list[Socket]) -> list[Row]:
    """Return the comparable part of the answer, in order."""
    return sorted(Row(row.address, row.state, row.inode) for row in found)


# ---------------------------------------------------------------- a world with every kind of socket


class World:
    """Open sockets, and the ports they have by what they are there for."""

    def __init__(self) -> None:
        self.ports: dict[str, tuple[Protocol, int]] = {}
        self._open: list[socket.socket] = []

    def _new(self, name: str, address: str, *, kind: int = socket.SOCK_STREAM, v6only: bool = True) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        if ":" in address:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
        sock.bind((address, 0))
        self._open.append(sock)
        port = sock.getsockname()[1]
        if port in {used for _, used in self.ports.values()}:  # the other family's numbers are free for this one
            return self._new(name, address, kind=kind, v6only=v6only)
        self.ports[name] = ("tcp" if kind == socket.SOCK_STREAM else "udp", port)
        return sock

    def _connected(self, name: str, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
        client = self._new(name, listener.getsockname()[0])
        client.connect(listener.getsockname()[:2])
        served, _ = listener.accept()
        self._open.append(served)
        return client, served

    def build(self) -> World:
        """Open them all."""
        for name, address in (("listen v4", "127.0.0.1"), ("listen any v4", "0.0.0.0"), ("listen v6", "::1")):
            self._new(name, address).listen()
        self._new("listen v6only", "::").listen()
        self._new("listen dual", "::", v6only=False).listen()
        for family, address in (("v4", "127.0.0.1"), ("v6", "::1")):
            server = self._new(f"server {family}", address)
            server.listen()
            self._connected(f"established {family}", server)
            client, served = self._connected(f"time-wait {family}", server)
            client.shutdown(socket.SHUT_WR)
            assert served.recv(1) == b""
            served.close()
            assert client.recv(1) == b""
            client.close()
            client, served = self._connected(f"half-closed {family}", server)
            client.shutdown(socket.SHUT_WR)
            assert served.recv(1) == b""
            self._new(f"udp {family}", address, kind=socket.SOCK_DGRAM)
            sock = self._new(f"udp connected {family}", address, kind=socket.SOCK_DGRAM)
            sock.connect((address, server.getsockname()[1]))
        self._new("udp dual", "::", kind=socket.SOCK_DGRAM, v6only=False)
        deaf = self._new("deaf", "127.0.0.1")
        deaf.listen(0)
        for number in range(3):  # one fits the queue, for the others the kernel keeps trying
            client = self._new(f"knocking {number}", "127.0.0.1")
            client.setblocking(False)
            client.connect_ex(deaf.getsockname())
        self._new("bound v4", "127.0.0.1")
        self._new("bound v6", "::1")
        self._settle()
        return self

    def _settle(self) -> None:
        """Wait for the acknowledgements that end the passing states: FIN-WAIT-1, LAST-ACK and CLOSING."""
        deadline = time.monotonic() + 20
        while re.search(r"^ *\d+: \S+ \S+ (04|09|0B) ", _table("tcp") + _table("tcp6"), re.MULTILINE):
            assert time.monotonic() < deadline, "connections do not settle"
            os.sched_yield()


def _table(name: str) -> str:
    return Path(f"/proc/net/{name}").read_text(encoding="ascii")


def ask_ss() -> dict[tuple[str, int], list[Row]]:
    """Return the rows by protocol and port as `ss` names them."""
    said = subprocess.run(["ss", "-Htuane"], capture_output=True, text=True, check=True).stdout
    found: dict[tuple[str, int], list[Row]] = {}
    for line in said.splitlines():
        protocol, state, _, _, local = line.split()[:5]
        address, _, port = local.rpartition(":")
        inode = re.search(r"\bino:(\d+)", line)
        plain = address.strip("[]").replace("*", "::")
        row = Row(plain, _SS_STATES[state], int(inode[1]) if inode else 0)
        found.setdefault((protocol, int(port)), []).append(row)
    return found


def _compare() -> list[str]:
    """Return what the tables tell differently."""
    world = World().build()
    by_ss = ask_ss()
    wrong = []
    states = set()
    for name, (protocol, port) in world.ports.items():
        netlink = rows(sock_diag.find_sockets(protocol, port))
        proc = rows(proc_net.find_sockets(protocol, port))
        other = [row for row in netlink if protocol == "udp" or row.state != "bound"]
        ss = sorted(by_ss.get((protocol, port), []))
        states |= {(protocol, row.state) for row in netlink}
        if not proc == other == ss:
            wrong.append(f"{name}: netlink {netlink}, /proc/net {proc}, ss {ss}")
        listening = rows(sock_diag.find_sockets(protocol, port, listeners_only=True))
        if listening != [row for row in netlink if protocol == "udp" or row.state == "listen"]:
            wrong.append(f"{name}: netlink {netlink}, listeners only {listening}")
    expected = {("tcp", state) for state in _SS_STATES.values() if state != "bound"}
    expected |= {("udp", "bound"), ("udp", "established")}
    if not expected <= states:
        wrong.append(f"the world lacks {expected - states}")
    return wrong


@pytest.mark.needs("netns", "ss", "ipv6")
def test_tables_agree() -> None:
    """Netlink, /proc/net and ss name the same sockets, states and inodes for every kind of socket but the bound."""
    assert netns.run_in_netns(_compare) == []


@pytest.mark.needs("netns", "ipv6")
def test_v6only_is_told_by_netlink() -> None:
    """Netlink tells a dual-stack wildcard from an IPv6-only one; /proc/net cannot, and says so."""

    def ask() -> dict[str, tuple[bool | None, bool | None]]:
        world = World().build()
        return {
            name: (
                sock_diag.find_sockets(*world.ports[name])[0].v6only,
                proc_net.find_sockets(*world.ports[name])[0].v6only,
            )
            for name in ("listen dual", "listen v6only", "listen v6", "listen v4", "udp dual", "udp v6")
        }

    assert netns.run_in_netns(ask) == {
        "listen dual": (False, None),
        "listen v6only": (True, None),
        "listen v6": (True, None),
        "listen v4": (None, None),
        "udp dual": (False, None),
        "udp v6": (True, None),
    }


@pytest.mark.needs("netns", "ipv6")
def test_elsewhere_than_on_linux_psutil_is_asked() -> None:
    """Elsewhere than on Linux psutil is asked: it names the same addresses and states, and the process."""

    def ask() -> list[str]:
        wrong = []
        world = World().build()
        for name, (protocol, port) in world.ports.items():
            found = {
                (row.address, row.state, row.pids) for row in sockets.find_sockets(protocol, port, platform="darwin")
            }
            expected = {
                (row.address, row.state, (os.getpid(),) if row.inode else ())
                for row in sock_diag.find_sockets(protocol, port)
                if protocol == "udp" or row.state != "bound"
            }
            if found != expected:
                wrong.append(f"{name}: psutil {found}, netlink {expected}")
        return wrong

    assert netns.run_in_netns(ask) == []


# ---------------------------------------------------------------- causes


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


Explained = tuple[str, list[tuple[str | None, str, list[int]]]]


def _explain(netlink: bool) -> tuple[int, dict[str, Explained]]:
    """Return our pid, and for each port the cause, and the state, owner status and pids of its holders."""
    world = World().build()
    if not netlink:
        users.deny_netlink()
    explained: dict[str, Explained] = {}
    for name, (protocol, port) in world.ports.items():
        found = holders.find_holders(protocol, ("0.0.0.0", "::"), port)
        explained[name] = (
            found.cause,
            [(each.state, each.owner_status, [process.pid for process in each.processes]) for each in found.holders],
        )
    return os.getpid(), explained


@pytest.mark.needs("netns", "ipv6")
@pytest.mark.parametrize("netlink", [True, False], ids=["netlink", "proc"])
def test_causes_are_named(netlink: bool) -> None:
    """Listeners, connections, TIME_WAIT and bound sockets are named as what they are, with the process or the kernel.

    A listener's own connections are not named beside it. Bound sockets are seen through netlink only.
    """
    if not netlink and not users.can_deny_netlink:
        pytest.skip("no seccomp filter for this processor")
    pid, found = netns.run_in_netns(_explain, netlink)
    ours = ("known", [pid])
    if not netlink or _release() < (6, 8):
        for name in ("bound v4", "bound v6"):
            assert found.pop(name) == ("none", [(None, "none-found", [])])
    for name, (cause, named) in found.items():
        kind = "established" if name.startswith("udp connected") else name.split()[0]
        state = "established" if name == "knocking 0" else "syn-sent"
        expected: dict[str, Explained] = {
            "listen": ("listener", [("listen", *ours)]),
            "server": ("listener", [("listen", *ours)]),
            "deaf": ("listener", [("listen", *ours)]),
            "established": ("connection", [("established", *ours)]),
            "half-closed": ("connection", [("fin-wait-2", *ours)]),
            "time-wait": ("time-wait", [("time-wait", "kernel", [])]),
            "udp": ("listener", [("bound", *ours)]),
            "bound": ("bound", [("bound", *ours)]),
            "knocking": ("connection", [(state, *ours)]),
        }
        assert (cause, named) == expected[kind], name


@pytest.mark.needs("netns", "ipv6")
def test_check_names_connections_and_time_wait() -> None:
    """A source port is a conflict by the connection of its process; in TIME_WAIT by the kernel, with a hint to wait."""

    def ask() -> tuple[int, dict[str, Any]]:
        world = World().build()
        ports = world.ports
        asked = ("established v4", "time-wait v4", "bound v4")
        done = subprocess.run(
            [sys.executable, "-m", "portguard", "check", "--json", *(f"127.0.0.1:{ports[name][1]}" for name in asked)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1, done
        return os.getpid(), dict(zip(asked, json.loads(done.stdout)["data"]["ports"], strict=True))

    pid, reports = netns.run_in_netns(ask)
    connection, lingering, bound = reports.values()
    assert [report["verdict"] for report in reports.values()] == ["conflict"] * 3
    assert (connection["cause"], connection["holders"][0]["owner_status"]) == ("connection", "known")
    assert [process["pid"] for process in connection["holders"][0]["processes"]] == [pid]
    assert (lingering["cause"], lingering["holders"][0]["owner_status"]) == ("time-wait", "kernel")
    assert lingering["holders"][0]["processes"] == []
    assert "60 s" in lingering["hint"]
    assert [process["pid"] for process in bound["holders"][0]["processes"]] == [pid]


@pytest.mark.needs("netns")
def test_crowd_of_connections_is_cut() -> None:
    """Of hundreds of connections from one port at most 64 are named; of a listener's sockets, all (see test_owners)."""

    def ask() -> tuple[str, int]:
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
            peers = [stack.enter_context(socket.create_server((f"127.0.1.{n}", 0))) for n in range(1, 101)]
            port = server.getsockname()[1]
            server.close()
            for peer in peers:
                client = stack.enter_context(socket.socket())
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind(("127.0.0.1", port))
                client.connect(peer.getsockname())
            found = holders.find_holders("tcp", ("127.0.0.1",), port)
            return found.cause, len(found.holders)

    assert netns.run_in_netns(ask) == ("connection", 64)


# ---------------------------------------------------------------- what is missing


def _run_code(code: str, *, denied: bool) -> list[Any]:
    """Run code in a child, with netlink or without; return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, timeout=60, preexec_fn=users.deny_netlink if denied else None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: list[Any] = json.loads(done.stdout)
    return answer


@linux_only
@pytest.mark.needs("netns")
def test_missing_netlink_falls_back_to_proc() -> None:
    """Where netlink is forbidden, /proc/net answers the same; where that is missing as well, psutil does."""
    if not users.can_deny_netlink:
        pytest.skip("no seccomp filter for this processor")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"""
import json
from portguard.errors import LookupFailedError
from portguard.system import proc_net, sock_diag, sockets
def ask(function, *arguments, **options):
    try:
        return [row[:4] for row in function(*arguments, **options)]
    except LookupFailedError as error:
        return error.message
print(json.dumps([
    ask(sock_diag.find_sockets, "tcp", {port}),
    ask(sockets.find_sockets, "tcp", {port}),
    ask(sockets.find_sockets, "tcp", {port}, proc="/nonexistent"),
]))"""
        listening = [["tcp", "127.0.0.1", port, "listen"]]
        assert _run_code(code, denied=False) == [listening] * 3
        refused, proc, psutil = _run_code(code, denied=True)
    assert "netlink" in refused
    assert proc == listening
    assert psutil == listening


@pytest.mark.needs("netns", "users")
@pytest.mark.skipif(not users.can_deny_netlink, reason="no seccomp filter for this processor")
def test_nothing_to_read_is_one_error() -> None:
    """Without netlink and without /proc the error names every table that was tried, and is of our own kind."""
    code = """
from portguard.errors import LookupFailedError
from portguard.system import sockets
try:
    sockets.find_sockets("tcp", 80)
except LookupFailedError as error:
    print(error.message)
"""
    done = users.as_user(["-c", code], inside=users.WITHOUT["proc"], preexec_fn=users.deny_netlink)
    assert done.returncode == 0, done.stderr
    assert re.search(r"netlink.*; /proc/net/tcp: .*; psutil: ", done.stdout)


@linux_only
def test_kernel_without_the_protocols_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that cannot diagnose a protocol ends the dump with an errno: a failed look-up, not an empty table.

    Every kernel at hand knows TCP and UDP, so another protocol takes their place.
    """
    monkeypatch.setitem(sock_diag._PROTOCOLS, "udp", 254)  # RFC 3692: for experiments
    with pytest.raises(LookupFailedError, match="No such file"):
        sock_diag.find_sockets("udp", 9)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert [row.address for row in sockets.find_sockets("udp", port)] == ["127.0.0.1"]


@linux_only
def test_missing_ipv6_table_is_no_failure(tmp_path: Any) -> None:
    """A kernel without IPv6 has no tcp6; one without tcp has no tables at all."""
    (tmp_path / "net").mkdir()
    with pytest.raises(LookupFailedError, match="net/tcp: "):
        proc_net.find_sockets("tcp", 80, proc=str(tmp_path))
    (tmp_path / "net" / "tcp").write_text(f"{_HEAD}\n{_LINE_V4}\n{_LINE_V4[:60]}\n")
    assert proc_net.find_sockets("tcp", 0x1F90, proc=str(tmp_path)) == [
        Socket("tcp", "127.0.0.1", 8080, "listen", None, 1000, 4711)
    ]
    assert proc_net.find_sockets("tcp", 80, proc=str(tmp_path)) == []


# ---------------------------------------------------------------- nonsense

_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
_LOOPBACK = "0100007F" if sys.byteorder == "little" else "7F000001"
_LINE_V4 = (
    f"   0: {_LOOPBACK}:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 10 0"
)


_KINDS = (20, 20, 20, 20, 2, 3, 1, 0)
_STARTS = (b"", b"\x02\x0a", b"\x0a\x0a", b"\x0a\x07", b"\x02\xff", b"\x63\x01")


def _datagram(data: bytes) -> bytes:
    """Make netlink messages of random bytes; sometimes the lengths are right, sometimes it is only noise."""
    if data[:1] < b"\x20":
        return data[1:] or b"."
    parts = []
    while data:
        size = data[0] % 121
        payload, data = data[1 : size + 1], data[size + 1 :]
        start = _STARTS[len(payload) % len(_STARTS)]
        lie = 16 + sum(payload[:3]) if payload[:1] > b"\xe0" else None
        parts.append(message(_KINDS[size % len(_KINDS)], start + payload, lie))
    return b"".join(parts)


@linux_only
@pytest.mark.scaled
@_RANDOM
@given(st.binary(min_size=2, max_size=300), st.sampled_from(["tcp", "udp"]))
def test_nonsense_from_netlink_is_a_failed_lookup(data: bytes, protocol: Protocol) -> None:
    """Whatever netlink sends, the look-up returns sockets on that port or raises LookupFailedError, nothing else."""
    middle = len(data) // 2
    answers = [_datagram(data[:middle]), _datagram(data[middle:])] if data[0] < 0x80 else [data]
    with kernel(answers) as connect, contextlib.suppress(LookupFailedError):
        assert all(row.port == 80 for row in sock_diag.find_sockets(protocol, 80, connect=connect))


@linux_only
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(message(20, b""), id="empty row"),
        pytest.param(message(20, b"\x63" * 72), id="row of an unknown family"),
        pytest.param(message(20, b"\x02\x0a", 15), id="shorter than its header"),
        pytest.param(message(20, b"\x02\x0a", 2**32 - 1), id="longer than the datagram"),
        pytest.param(message(2, b""), id="empty error"),
        pytest.param(message(2, struct.pack("=i", 0)), id="error 0"),
        pytest.param(message(2, struct.pack("=i", -(2**31))), id="no errno"),
        pytest.param(message(2, struct.pack("=i", 5)), id="positive errno"),
        pytest.param(message(3, b""), id="empty end"),
        pytest.param(message(3, struct.pack("=i", -2)), id="end with an errno"),
        pytest.param(b".", id="one byte"),
    ],
)
def test_each_nonsense_from_netlink_is_a_failed_lookup(answer: bytes) -> None:
    """Each kind of wrong answer is the one error of ours, and never an empty table."""
    with kernel([answer]) as connect, pytest.raises(LookupFailedError, match=r"^netlink sock_diag: "):
        sock_diag.find_sockets("tcp", 80, connect=connect)


@linux_only
def test_sense_from_netlink_is_read() -> None:
    """The same stand-in with a real message gives the socket, so that the test above cannot pass on errors alone."""
    source = struct.pack("!HH16s16s", 80, 0, socket.inet_pton(socket.AF_INET, "127.0.0.1"), b"").ljust(48, b"\0")
    payload = struct.pack("=BBBB", socket.AF_INET, 10, 0, 0) + source + struct.pack("=IIIII", 0, 0, 0, 1000, 4711)
    done = message(3, struct.pack("=i", 0))
    with kernel([message(20, payload) + done, done]) as connect:
        assert sock_diag.find_sockets("tcp", 80, connect=connect) == [
            Socket("tcp", "127.0.0.1", 80, "listen", None, 1000, 4711)
        ]
    answers = [message(20, payload) + done, message(3, struct.pack("=i", -2))]
    with kernel(answers) as connect, pytest.raises(LookupFailedError, match="No such file"):
        sock_diag.find_sockets("tcp", 80, connect=connect)


@linux_only
@pytest.mark.scaled
@_RANDOM
@given(st.binary(min_size=1, max_size=240).map(_datagram))
def test_split_and_parse_raise_what_they_say(data: bytes) -> None:
    """`messages` and `parse` raise struct.error or ValueError (an unknown address family: OSError), nothing else."""
    try:
        payloads = [payload for _, payload in sock_diag.messages(data)]
    except (ValueError, struct.error):
        payloads = [data]
    for payload in payloads:
        with contextlib.suppress(ValueError, struct.error, OSError):
            row = sock_diag.parse(payload, "tcp")
            assert 0 <= row.port <= 65535


# Pieces that are nearly what the table has, and pieces that are not.
_PIECES = (
    "0100007F:1F90", "00000000000000000000000001000000:0050", "00000000:0000", "0000:0000:0000", ":", "FFFFFFFFF:0",
    "-1:0050", "0A", "07", "FF", "00:00000000", "1000", "0", "4711", "-1", "0x1", "1_0", "\u0663", "9" * 30, "\x00",
)  # fmt: skip


def _line(data: bytes) -> str:
    """Make a line of pieces, a few of them right where they should be."""
    right = _LINE_V4.split()
    return " ".join(
        right[index] if byte > 0x30 and index < len(right) else _PIECES[byte % len(_PIECES)]
        for index, byte in enumerate(data)
    )


_lines = st.binary(max_size=80).map(lambda data: _line(data[:14]) if data[:1] < b"\xc0" else data.decode("latin-1"))


@linux_only
@pytest.mark.scaled
@_RANDOM
@given(_lines, st.sampled_from(["tcp", "udp"]))
@example(_LINE_V4, "tcp")
@example(_LINE_V4.replace(_LOOPBACK, "-1"), "tcp")
@example(_LINE_V4.replace("4711", "9" * 5000), "tcp")
def test_nonsense_in_proc_is_no_socket(line: str, protocol: Protocol) -> None:
    """Any line gives a socket with a real address, or None; only what has ten fields can be a socket."""
    row = proc_net.parse(line, protocol)
    if row is not None:
        assert len(line.split()) >= 10
        socket.inet_pton(socket.AF_INET6 if ":" in row.address else socket.AF_INET, row.address)
        assert isinstance(row.inode, int)
