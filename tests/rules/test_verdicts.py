"""Facts in, verdict out: every row of the decision, without a socket."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portguard.model import Declaration, Holder, PortReport, Process, Socket, Source
from portguard.rules import binding, explain, verdicts
from portguard.rules.engines import FORWARDERS
from portguard.rules.verdicts import Decision, OwnTree

if TYPE_CHECKING:
    from portguard.model import Outcome, Verdict

OUTCOMES: tuple[Outcome, ...] = ("free", "busy", "no-permission", "excluded", "not-local", "no-family", "failed")


def declaration(**fields: Any) -> Declaration:
    """Return a declaration called web of port 8080."""
    base = Declaration("web", 8080, 8080, Source("/p/portguard.toml", 2))
    return base._replace(**fields)


def row(address: str, state: str, *, protocol: str = "tcp", v6only: bool | None = None) -> Socket:
    """Return a socket table's row on port 8080."""
    return Socket(protocol, address, 8080, state, v6only, 0, 7)  # type: ignore[arg-type]  # a parameter of the tests


@pytest.mark.parametrize(
    ("outcome", "cause", "is_table_read", "is_ours", "strict", "expected"),
    [
        ("free", "none", True, False, False, ("free", "none")),
        ("busy", "listener", True, False, False, ("conflict", "listener")),
        ("busy", "listener", True, True, False, ("ours", "listener")),
        ("busy", "listener", True, True, True, ("conflict", "listener")),
        ("busy", "bound", True, True, False, ("conflict", "bound")),
        ("busy", "connection", True, True, False, ("conflict", "connection")),
        ("busy", "time-wait", True, False, False, ("conflict", "time-wait")),
        ("busy", "none", True, False, False, ("conflict", "none")),
        ("busy", "none", False, False, False, ("conflict", "none")),
        ("no-permission", "listener", True, False, False, ("conflict", "listener")),
        ("no-permission", "listener", True, True, False, ("ours", "listener")),
        ("no-permission", "none", True, False, False, ("unavailable", "permission")),
        ("no-permission", "time-wait", True, False, False, ("unavailable", "permission")),
        ("no-permission", "none", False, False, False, ("unknown", "permission")),
        ("excluded", "none", True, False, False, ("unavailable", "excluded")),
        ("not-local", "none", True, False, False, ("unavailable", "address-not-local")),
        ("no-family", "none", True, False, False, ("unavailable", "address-not-local")),
        ("failed", "none", True, False, False, ("unknown", "none")),
    ],
)
def test_decide(  # noqa: PLR0917 - pytest passes the table's columns by name
    outcome: Outcome, cause: str, is_table_read: bool, is_ours: bool, strict: bool, expected: tuple[str, str]
) -> None:
    """Each combination of probe, cause and ownership has its documented verdict."""
    decision = verdicts.decide(
        outcome,
        cause,  # type: ignore[arg-type]  # a parameter of the test
        is_table_read=is_table_read,
        is_ours=is_ours,
        strict=strict,
    )

    assert decision == expected


@given(
    st.sampled_from(["listener", "bound", "connection", "time-wait", "none"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_busy_is_never_free(cause: str, is_table_read: bool, is_ours: bool, strict: bool) -> None:
    """No look-up, however it ends, turns a busy port into a free one."""
    decision = verdicts.decide(
        "busy",
        cause,  # type: ignore[arg-type]  # a parameter of the test
        is_table_read=is_table_read,
        is_ours=is_ours,
        strict=strict,
    )

    assert decision.verdict in ("conflict", "ours")


@pytest.mark.parametrize(
    ("hosts", "outcomes", "expected"),
    [
        (("*",), {"0.0.0.0": "free", "::": "no-family"}, "free"),
        (("*",), {"0.0.0.0": "busy", "::": "no-family"}, "busy"),
        (("localhost",), {"127.0.0.1": "free", "::1": "not-local"}, "free"),
        (("localhost",), {"127.0.0.1": "no-family", "::1": "no-family"}, "not-local"),
        (("::1",), {"::1": "not-local"}, "not-local"),
        (("localhost", "10.0.0.1"), {"127.0.0.1": "free", "::1": "no-family", "10.0.0.1": "not-local"}, "not-local"),
        (("127.0.0.1", "::1"), {"127.0.0.1": "free", "::1": "no-family"}, "no-family"),
        (("127.0.0.1", "::1"), {"127.0.0.1": "free", "::1": "free"}, "free"),
        (("*",), {"0.0.0.0": "free", "::": "busy"}, "busy"),
        (("*",), {"0.0.0.0": "failed", "::": "busy"}, "busy"),
        (("*",), {"0.0.0.0": "free", "::": "failed"}, "failed"),
        (("*",), {"0.0.0.0": "no-permission", "::": "no-permission"}, "no-permission"),
    ],
)
def test_one_busy_address_makes_the_declaration_busy(
    hosts: tuple[str, ...], outcomes: dict[str, Outcome], expected: Outcome
) -> None:
    """One busy address makes the declaration busy; a missing family excuses only "*" and "localhost"."""
    assert verdicts.combine(hosts, outcomes) == expected


def test_combine_prefers_the_worst() -> None:
    """Of two addresses' outcomes the worse one counts, in either order; only two free ones are free."""
    for first, second in itertools.product(OUTCOMES, repeat=2):
        one = verdicts.combine(("127.0.0.1", "127.0.0.2"), {"127.0.0.1": first, "127.0.0.2": second})
        other = verdicts.combine(("127.0.0.1", "127.0.0.2"), {"127.0.0.1": second, "127.0.0.2": first})

        assert one == other
        assert (one == "free") == (first == second == "free")


def test_occupants_prefers_what_lasts() -> None:
    """A listener is the answer before a bound socket, a connection and TIME_WAIT; other addresses are not named."""
    rows = [
        row("127.0.0.1", "time-wait"),
        row("127.0.0.1", "established"),
        row("127.0.0.1", "bound"),
        row("127.0.0.2", "listen"),
        row("::", "listen", v6only=True),
    ]

    assert verdicts.occupants(["127.0.0.1"], rows) == ("bound", [rows[2]])
    assert verdicts.occupants(["127.0.0.1"], rows[:2]) == ("connection", [rows[1]])
    assert verdicts.occupants(["127.0.0.1"], rows[:1]) == ("time-wait", [rows[0]])
    assert verdicts.occupants(["0.0.0.0"], rows) == ("listener", [rows[3]])
    assert verdicts.occupants(["10.0.0.1"], rows) == ("none", [])


def test_occupants_of_unknown_width() -> None:
    """A wildcard of which the table does not say whether it is dual-stack may be the IPv4 holder."""
    dual, only, unknown = (row("::", "listen", v6only=flag) for flag in (False, True, None))

    assert verdicts.occupants(["127.0.0.1"], [dual])[0] == "listener"
    assert verdicts.occupants(["127.0.0.1"], [only])[0] == "none"
    assert verdicts.occupants(["127.0.0.1"], [unknown])[0] == "listener"


def test_ours_needs_everyone() -> None:
    """Every process behind the holders must be ours: by directory and user, or by name; and there must be one."""
    checkout = OwnTree("/home/a/shop", 1000, ("/home/a/shop/.worktrees/fix",))
    inside = Process(1, name="node", cwd="/home/a/shop/src", uid=1000, cwd_is_shared=True)
    cases = {
        "inside": ([inside], True),
        "the root itself": ([inside._replace(cwd="/home/a/shop")], True),
        "nobody known": ([], False),
        "one stranger": ([inside, inside._replace(cwd="/srv")], False),
        "begins alike": ([inside._replace(cwd="/home/a/shop2")], False),
        "another checkout inside": ([inside._replace(cwd="/home/a/shop/.worktrees/fix/src")], False),
        "beside that checkout": ([inside._replace(cwd="/home/a/shop/.worktrees/fix2")], True),
        "another user": ([inside._replace(uid=0)], False),
        "a container's path": ([inside._replace(cwd_is_shared=False)], False),
        "unknown directory": ([inside._replace(cwd=None)], False),
        "by name": ([inside._replace(cwd="/srv", name="postgres")], True),
    }
    item = declaration(owner=("postgres",))

    for name, (processes, expected) in cases.items():
        assert verdicts.is_ours(item, processes, checkout) is expected, name
    assert not verdicts.is_ours(item, [inside], None)
    assert not verdicts.is_ours(item._replace(service="web"), [inside], checkout)
    assert not verdicts.is_ours(item._replace(is_ad_hoc=True), [inside], checkout)
    assert not verdicts.is_ours(item, [inside], OwnTree("/home/a/shop", None))


def report(verdict: Verdict, *, optional: bool = False) -> PortReport:
    """Return an entry with this verdict."""
    source = Source(None, None)
    return PortReport(
        "web", 80, 80, "tcp", ("*",), None, None, source, verdict, "none", "", None, None, (), (), optional
    )


@pytest.mark.parametrize(
    ("found", "strict", "code"),
    [
        ([], False, 0),
        ([report("free"), report("ours")], True, 0),
        ([report("unknown")], False, 0),
        ([report("unknown")], True, 3),
        ([report("unknown"), report("conflict")], True, 1),
        ([report("unavailable")], False, 1),
        ([report("conflict", optional=True), report("unavailable", optional=True)], True, 0),
        ([report("unknown", optional=True)], True, 0),
    ],
)
def test_no_beats_unknown_unknown_fails_only_under_strict(found: list[PortReport], strict: bool, code: int) -> None:
    """No beats unknown, unknown fails only under --strict, and optional never fails."""
    assert verdicts.exit_code(found, strict=strict) == code


@pytest.mark.parametrize("name", sorted(FORWARDERS))
def test_forwarders_are_never_to_be_killed(name: str) -> None:
    """A hint never names a command that ends what holds a port for a container, or PID 1."""
    for process in (Process(77, name=name), Process(1, name="systemd")):
        holder = Holder("tcp", "0.0.0.0", 8080, "listen", "known", (process,))
        text = explain.hint(
            declaration(),
            "tcp",
            explain.Finding(Decision("conflict", "listener"), holders=[holder]),
            platform="linux",
            euid=0,
        )

        assert text is not None
        assert "kill" not in text


def test_hints_for_the_owner_s_user() -> None:
    """What this user may end is ended plainly, what another user runs with sudo; hidden owners ask for sudo to look."""

    def hint(holder: Holder, euid: int) -> str | None:
        decision = Decision("conflict", "listener")
        return explain.hint(
            declaration(), "tcp", explain.Finding(decision, holders=[holder]), platform="linux", euid=euid
        )

    known = Holder("tcp", "0.0.0.0", 8080, "listen", "known", (Process(77, name="node", uid=1000),))
    hidden = known._replace(owner_status="hidden", processes=())

    assert hint(known, 1000) == "stop it: kill 77"
    assert hint(known, 0) == "stop it: kill 77"
    assert hint(known, 1001) == "stop it: sudo kill 77"
    assert hint(hidden, 1001) == "run with sudo to see the owner"


@pytest.mark.parametrize(
    ("first", "step"),
    [
        (9000, "use a port from 9000 on, or allow it: sudo sysctl net.ipv4.ip_unprivileged_port_start=8080"),
        (1024, "run it outside the sandbox or container: a security module or filter forbids it here"),
    ],
)
def test_hint_without_permission(first: int, step: str) -> None:
    """It names the numbers that need no privileges on this system; where those do not matter, no number helps."""
    hint = explain.hint(
        declaration(), "tcp", explain.Finding(Decision("unavailable", "permission"), unprivileged_start=first),
        platform="linux", euid=1000,
    )  # fmt: skip

    assert hint == step


def test_every_errno_has_an_outcome() -> None:
    """What a bind may say is an outcome; what no one foresaw is unknown."""
    assert binding.outcome_of(None) == "free"
    assert binding.outcome_of("EADDRINUSE") == "busy"
    assert binding.outcome_of("EACCES") == "no-permission"
    assert binding.outcome_of("EPERM") == "no-permission"
    assert binding.outcome_of("EADDRNOTAVAIL") == "not-local"
    assert binding.outcome_of("EAFNOSUPPORT") == "no-family"
    assert binding.outcome_of("WSAEACCES") == "excluded"
    assert {binding.outcome_of(name) for name in ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "12345")} == {"failed"}


def test_the_worst_code_wins() -> None:
    """4 beats 2 beats 1 beats 3 beats 0, in any order; without any code it is 0."""
    for count in range(1, 6):
        for codes in itertools.permutations(range(5), count):
            assert verdicts.worst(codes) == next(code for code in (4, 2, 1, 3, 0) if code in codes)
    assert verdicts.worst([]) == 0


@pytest.mark.parametrize(
    ("protocol", "state", "cause"),
    [
        ("tcp", "listen", "listener"),
        ("tcp", "bound", "bound"),
        ("tcp", "time-wait", "time-wait"),
        ("tcp", "established", "connection"),
        ("tcp", "", "connection"),
        ("udp", "bound", "listener"),
        ("udp", "established", "connection"),
        ("udp", "listen", "connection"),
    ],
)
def test_a_sockets_state_is_the_cause(protocol: Any, state: str, cause: str) -> None:
    """A socket's state is the cause; a UDP socket without a peer is what a listener is for TCP."""
    assert verdicts.cause_of(protocol, state) == cause


def test_connections_that_are_not_ipv6_only() -> None:
    """A connection over IPv6 takes the IPv4 wildcard too, unless its socket was IPv6-only."""
    for v6only, cause in ((None, "connection"), (False, "connection"), (True, "none")):
        assert verdicts.occupants(["0.0.0.0"], [row("::1", "established", v6only=v6only)])[0] == cause
    assert verdicts.occupants(["::1"], [row("::1", "established", v6only=True)])[0] == "connection"
    assert verdicts.occupants(["0.0.0.0"], [row("::1", "listen")])[0] == "none"
    assert verdicts.occupants(["0.0.0.0"], [row("127.0.0.1", "established", v6only=True)])[0] == "connection"


def test_duplicates_are_told_to_both() -> None:
    """A declaration that overlaps others lists them by name and protocol; one that does not lists none."""
    one = declaration(name="one")
    two = declaration(name="two", hosts=("127.0.0.1",), protocols=("udp", "tcp"))
    three = declaration(name="three", hosts=("127.0.0.2",))
    udp = declaration(name="udp", protocols=("udp",), hosts=("127.0.0.3",))
    other = declaration(name="other", port=8081)

    assert verdicts.duplicates([one, two, three, udp, other]) == {
        ("one", "tcp"): (two, three),
        ("two", "tcp"): (one,),
        ("three", "tcp"): (one,),
    }
    assert verdicts.duplicates([]) == {}
    assert verdicts.hosts_overlap(("127.0.0.1", "localhost"), ("::1",))
    assert not verdicts.hosts_overlap(("127.0.0.1",), ("127.0.0.2", "::1"))


@pytest.mark.parametrize(
    ("root", "cwd", "expected"),
    [
        ("/shop", "/shop", True),
        ("/shop", "/shop/a", True),
        ("/shop/", "/shop/a", True),
        ("/shop", "/shopping", False),
        ("/shop", "/", False),
        ("C:\\shop", "C:\\shop\\a", True),
        ("C:\\shop\\", "C:\\shop", True),
        ("C:\\shop", "C:\\shopX", False),
        ("/shopX", "/shop", False),
        ("/shopX", "/shop/a", False),
    ],
)
def test_directories(root: str, cwd: str, expected: bool) -> None:
    """A process runs in a tree where its directory is the root or below it, as its system writes paths."""
    process = Process(7, cwd=cwd, uid=1000, cwd_is_shared=True)

    assert verdicts.runs_in(process, OwnTree(root, 1000)) is expected
    assert verdicts.runs_in(process._replace(uid=None), OwnTree(root, None)) is False
