"""What the probe answers: real sockets on this system, recorded answers for the systems that are not here."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest

import portguard
from portguard.rules.binding import Options, outcome_of
from portguard.system import kernel
from portguard.system.probe import probe, probe_addresses, socket_address, strict_probe
from tests.worlds import holders
from tests.worlds.capabilities import NOBODY
from tests.worlds.holders import ADDRESSES, ALL_OPTIONS, fresh_port
from tests.worlds.netns import private_netns, run_in_netns

if TYPE_CHECKING:
    from portguard.model import Protocol

NO_IPV6_ADDRESSES = {"net.ipv6.conf.all.disable_ipv6": "1"}
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp")


class Answer(NamedTuple):
    """What check says of one endpoint."""

    verdict: str
    cause: str


def ask(endpoint: str) -> Answer:
    """Check one endpoint."""
    report = portguard.check(endpoint).ports[0]
    return Answer(report.verdict, report.cause)


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.needs("netns")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "fe80::1%lo"])
def test_address_of_another_host(protocol: Protocol, address: str) -> None:
    """An address that this host does not have is told apart from a busy port, anyone who has the port."""

    def answers() -> tuple[str | None, Answer]:
        port = fresh_port()
        bare = f"[{address}]" if ":" in address else address
        return probe(protocol, address, port), ask(f"{bare}:{port}/{protocol}")

    assert run_in_netns(answers) == ("EADDRNOTAVAIL", ("unavailable", "address-not-local"))


@pytest.mark.needs("netns", "ipv6")
@pytest.mark.parametrize("address", ["fe80::1", "fe80::1%no-such-device"])
def test_link_local_address_without_device(address: str) -> None:
    """A link-local address without an existing device is no address here: no server could bind it."""

    def answers() -> tuple[str | None, Answer]:
        port = fresh_port()
        return probe("tcp", address, port), ask(f"[{address}]:{port}")

    assert run_in_netns(answers) == ("EINVAL", ("unavailable", "address-not-local"))


@pytest.mark.needs("netns")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("is_busy", [False, True], ids=["free", "busy"])
def test_without_ipv6_addresses_localhost_and_mean_their_ipv4_half(protocol: Protocol, is_busy: bool) -> None:
    """Without IPv6 addresses "localhost" and "*" mean their IPv4 half, and a literal ::1 is not there."""

    def answers() -> dict[str, Answer]:
        with contextlib.ExitStack() as stack:
            port = fresh_port()
            if is_busy:
                sock = stack.enter_context(holders.open_socket(protocol, holders.ADDRESSES[1], Options()))
                sock.bind(("127.0.0.1", port))
                if protocol == "tcp":
                    sock.listen()
            return {host: ask(f"{host}:{port}/{protocol}") for host in ("localhost", "*", "[::1]")}

    found = Answer("conflict", "listener") if is_busy else Answer("free", "none")
    assert run_in_netns(answers, sysctls=NO_IPV6_ADDRESSES) == {
        "localhost": found,
        "*": found,
        "[::1]": Answer("unavailable", "address-not-local"),
    }


@pytest.mark.needs("netns", "ipv6")
def test_scope_becomes_an_index() -> None:
    """The device behind the percent sign is resolved, a number taken as it is, an unknown one is nothing."""

    def answers() -> list[object]:
        scopes = ("%lo", f"%{socket.if_nametoindex('lo')}", "%no-such-device", "")
        return [socket_address(f"fe80::1{scope}", 1) for scope in scopes]

    known, numbered, unknown, none = run_in_netns(answers)
    assert known == numbered == ("fe80::1", 1, 0, run_in_netns(socket.if_nametoindex, "lo"))
    assert unknown == none == ("fe80::1", 1, 0, 0)


# --- permission ----------------------------------------------------------------------------------


@pytest.mark.needs("netns", "users")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_privileged_port_of_an_ordinary_user(protocol: Protocol) -> None:
    """Below ip_unprivileged_port_start the bind says EACCES, free or busy; only the socket table can tell which."""
    with private_netns() as ns:
        port = ns.call(kernel.unprivileged_port_start) - 1
        assert port > 0

        def answers() -> tuple[str | None, Answer]:
            return probe(protocol, "127.0.0.1", port), ask(f"127.0.0.1:{port}/{protocol}")

        assert ns.call(answers, uid=NOBODY) == ("EACCES", ("unavailable", "permission"))
        assert ns.call(answers) == (None, ("free", "none"))

        def answers_when_held() -> tuple[tuple[str | None, Answer], tuple[str | None, Answer]]:
            with holders.open_socket(protocol, holders.ADDRESSES[1], Options()) as sock:
                sock.bind(("127.0.0.1", port))
                if protocol == "tcp":
                    sock.listen()
                mine = answers()
                os.seteuid(NOBODY)
                return answers(), mine

        theirs, mine = ns.call(answers_when_held)
        assert theirs == ("EACCES", ("conflict", "listener"))
        assert mine == ("EADDRINUSE", ("conflict", "listener"))


# --- strictly free -------------------------------------------------------------------------------


@pytest.mark.needs("netns", "ipv6")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_strict_probe_sees_every_holder(protocol: Protocol) -> None:
    """A port to hand out is free of holders on every address, whatever their options, and free again after them."""

    def misjudged() -> list[str]:
        found = []
        for address in ADDRESSES:
            for options in ALL_OPTIONS:
                with holders.bound(protocol, address, options) as held:
                    if strict_probe(protocol, held.port) != "EADDRINUSE":
                        found.append(f"{held}: handed out")
                if strict_probe(protocol, held.port) is not None:
                    found.append(f"{held}: still not handed out when gone")
        return found

    assert run_in_netns(misjudged) == []


@pytest.mark.needs("netns")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_strict_probe_without_ipv6_addresses(protocol: Protocol) -> None:
    """IPv6 being disabled hides no IPv4 holder and makes no port unusable."""

    def answers() -> tuple[str | None, str | None]:
        with holders.bound(protocol, holders.ADDRESSES[1], Options()) as held:
            return strict_probe(protocol, held.port), strict_probe(protocol, fresh_port())

    assert run_in_netns(answers, sysctls=NO_IPV6_ADDRESSES) == ("EADDRINUSE", None)


# --- other systems: documented answers, recorded here --------------------------------------------
#
# Windows: "Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE", "Windows Sockets Error Codes" (Microsoft). macOS: in_pcbbind in
# bsd/netinet/in_pcb.c (xnu).

WSAEACCES, WSAEAFNOSUPPORT, WSAEADDRINUSE, WSAEADDRNOTAVAIL = 10013, 10047, 10048, 10049
SO_EXCLUSIVEADDRUSE = ~4


def windows_error(code: int) -> OSError:
    """Return what Python raises there: only WSAEACCES is given the number of the C library."""
    error = OSError(errno.EACCES if code == WSAEACCES else code, "recorded")
    vars(error)["winerror"] = code
    return error


class System:
    """A system whose answers to bind are recorded: an error or None for each try, the last one for all that follow."""

    def __init__(self, *answers: OSError | None) -> None:
        self.answers = list(answers)
        self.options: list[tuple[int, int, object]] = []
        self.bound: list[object] = []
        self.closed = 0

    def new_socket(self, family: int, kind: int) -> _socket.socket:
        """Stand in for `_socket.socket`."""
        system = self

        class Recorded(_socket.socket):
            def setsockopt(self, level: int, name: int, value: object, *_: object) -> None:
                system.options.append((level, name, value))

            def bind(self, address: object, /) -> None:
                system.bound.append(address)
                answer = system.answers.pop(0) if len(system.answers) > 1 else system.answers[0]
                if answer is not None:
                    raise answer

            def close(self) -> None:
                system.closed += 1
                super().close()

        return Recorded(family, kind)

    @property
    def socket_options(self) -> set[tuple[int, object]]:
        """The options of level SOL_SOCKET, with their values."""
        return {(name, value) for level, name, value in self.options if level == socket.SOL_SOCKET}


def no_pause() -> None:
    """Stand in for the pause between tries."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_windows_asks_exclusively(protocol: Protocol, address: str) -> None:
    """On Windows SO_EXCLUSIVEADDRUSE is set and SO_REUSEADDR never, which would take the port from its owner."""
    system = System(None)
    assert probe(protocol, address, 1, platform="win32", new_socket=system.new_socket) is None
    assert system.socket_options == {(SO_EXCLUSIVEADDRUSE, 1)}
    assert system.closed == len(system.bound) == 1


@pytest.mark.parametrize(
    ("code", "name", "outcome"),
    [
        (WSAEADDRINUSE, "EADDRINUSE", "busy"),
        (WSAEACCES, "WSAEACCES", "excluded"),
        (WSAEADDRNOTAVAIL, "EADDRNOTAVAIL", "not-local"),
        (WSAEAFNOSUPPORT, "EAFNOSUPPORT", "no-family"),
    ],
)
def test_winsocks_numbers_mean_what_the_errno_names_mean(code: int, name: str, outcome: str) -> None:
    """Winsock's numbers mean what the errno names mean, but 10013: an excluded range or an exclusive owner."""
    system = System(windows_error(code))
    error = probe("tcp", "127.0.0.1", 1, platform="win32", new_socket=system.new_socket, between=no_pause)
    assert error == name
    assert outcome_of(error) == outcome


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("address", ["0.0.0.0", "::1"])
def test_macos_asks_without_sharing(protocol: Protocol, address: str) -> None:
    """On macOS SO_REUSEADDR is never set: with it a wildcard binds beside a specific address."""
    system = System(None)
    assert probe(protocol, address, 1, platform="darwin", new_socket=system.new_socket) is None
    assert system.socket_options == set()
    assert system.closed == len(system.bound) == 1


def test_macos_wildcard_is_two_questions() -> None:
    """On macOS a wildcard is asked together with the loopback address of its family; nothing else is, anywhere."""
    assert probe_addresses("0.0.0.0", "darwin") == ("0.0.0.0", "127.0.0.1")
    assert probe_addresses("::", "darwin") == ("::", "::1")
    assert probe_addresses("127.0.0.1", "darwin") == ("127.0.0.1",)
    for platform in ("linux", "win32"):
        assert probe_addresses("0.0.0.0", platform) == ("0.0.0.0",)
        assert probe_addresses("::", platform) == ("::",)


def in_use(platform: str) -> OSError:
    """Return what a busy port answers."""
    return windows_error(WSAEADDRINUSE) if platform == "win32" else OSError(errno.EADDRINUSE, "recorded")


SELF_BLIND: list[tuple[str, Protocol]] = [(system, kind) for system in ("darwin", "win32") for kind in PROTOCOLS]
SELF_BLIND.append(("linux", "udp"))


@pytest.mark.parametrize(("platform", "protocol"), SELF_BLIND)
def test_busy_is_asked_again(platform: str, protocol: Protocol) -> None:
    """Where two probes can meet, "busy" is believed only when it stays; between tries there is a pause."""
    system = System(in_use(platform), in_use(platform), in_use(platform), None)
    pauses: list[None] = []
    error = probe(
        protocol,
        "127.0.0.1",
        1,
        platform=platform,
        new_socket=system.new_socket,
        between=lambda: pauses.append(None),
    )
    assert error is None
    assert len(system.bound) == system.closed == 4
    assert len(pauses) == 3


@pytest.mark.parametrize(("platform", "protocol"), SELF_BLIND)
def test_busy_is_believed_in_the_end(platform: str, protocol: Protocol) -> None:
    """A port that stays busy is busy, after a bounded number of tries."""
    system = System(in_use(platform))
    error = probe(protocol, "127.0.0.1", 1, platform=platform, new_socket=system.new_socket, between=no_pause)
    assert error == "EADDRINUSE"
    assert 4 <= len(system.bound) <= 16


def test_linux_tcp_asks_once() -> None:
    """On Linux probes of TCP ports share the port with each other, so the first answer stands; it sets SO_REUSEADDR."""
    system = System(in_use("linux"), None)
    assert probe("tcp", "127.0.0.1", 1, platform="linux", new_socket=system.new_socket) == "EADDRINUSE"
    assert len(system.bound) == 1
    assert system.socket_options == {(socket.SO_REUSEADDR, 1)}


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_other_errors_are_final(platform: str) -> None:
    """Only "busy" is asked again."""
    error = windows_error(WSAEACCES) if platform == "win32" else OSError(errno.EACCES, "recorded")
    system = System(error, None)
    answer = probe("udp", "127.0.0.1", 1, platform=platform, new_socket=system.new_socket, between=no_pause)
    assert answer == ("WSAEACCES" if platform == "win32" else "EACCES")
    assert len(system.bound) == 1


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize(("address", "v6only"), [("::", 1), ("::1", 1), ("::ffff:127.0.0.1", 0)])
def test_ipv6_only_is_explicit(platform: str, address: str, v6only: int) -> None:
    """IPV6_V6ONLY is set on every system, whose defaults differ; not for mapped addresses, which it forbids."""
    system = System(None)
    probe("tcp", address, 1, platform=platform, new_socket=system.new_socket)
    assert (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only) in system.options
    assert system.bound == [(address, 1, 0, 0)]


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_no_such_family(platform: str) -> None:
    """A system without IPv6 refuses the socket already; that is an answer, too."""

    def refuse(family: int, kind: int) -> _socket.socket:
        raise windows_error(WSAEAFNOSUPPORT) if platform == "win32" else OSError(errno.EAFNOSUPPORT, "recorded")

    assert probe("tcp", "::1", 1, platform=platform, new_socket=refuse) == "EAFNOSUPPORT"
