"""The text of `list`: lines of 80 columns that lose nothing, and foreign words that stay words."""

from __future__ import annotations

import unicodedata
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard.model import Compose, Connection, Container, Holder, Listener, Listing, Process
from portguard.render import listing as text
from tests.amount import examples

Protocol = Literal["tcp", "udp"]

# ---------------------------------------------------------------- 80 columns

NAMES = st.sampled_from(
    ["node", "postgres", "systemd-resolve", "docker-proxy", "python3.11", "java", "com.docker.back"]
)
USERS = st.sampled_from(["root", "alice", "postgres", "systemd-resolve", "nobody", "www-data", "_mdnsresponder"])
ADDRESSES = st.sampled_from(
    ["0.0.0.0", "127.0.0.1", "192.168.178.123", "::", "::1", "fe80::1234:56ff:fe78:9abc", "::ffff:192.168.178.123",
     "2001:db8:1234:5678:9abc:def0:1234:5678"]
)  # fmt: skip
PORTS = st.sampled_from([1, 53, 5432, 65535])
SERVICES = st.sampled_from([None, "http", "postgresql", "afs3-fileserver"])
COMPOSE = st.builds(Compose, st.sampled_from(["shop", "x" * 30]), st.sampled_from([None, "db"]), st.none())
CONTAINERS = st.one_of(
    st.none(),
    st.builds(
        Container, st.just("docker"), st.just("0" * 64), st.sampled_from(["shop-db-1", "y" * 30]), st.none(),
        st.one_of(st.none(), COMPOSE),
    ),
)  # fmt: skip
UNITS = st.sampled_from([None, "ssh.service", "postgresql@15-main.service"])
PROCESSES = st.lists(
    st.builds(Process, st.integers(1, 4_194_304), NAMES, USERS, started_at=st.floats(0, 1e9)), max_size=12
).map(tuple)


def holders(protocol: Protocol, state: str) -> st.SearchStrategy[Holder]:
    """Return holders with ordinary names, of every length they come in."""
    return st.builds(
        Holder, st.just(protocol), ADDRESSES, PORTS, st.just(state), st.sampled_from(["known", "hidden", "kernel"]),
        PROCESSES, st.booleans(), CONTAINERS, UNITS, st.none(),
    )  # fmt: skip


def listings(holder: st.SearchStrategy[Holder]) -> st.SearchStrategy[Listing]:
    """Return lists of such holders."""
    listeners = st.builds(Listener, holder, st.sampled_from(["well-known", "registered", "dynamic"]), SERVICES, USERS)
    connections = st.builds(Connection, holder, ADDRESSES, PORTS, USERS)
    return st.builds(
        Listing,
        st.lists(listeners, max_size=6).map(tuple),
        st.one_of(st.none(), st.lists(connections, max_size=6).map(tuple)),
    )


@pytest.mark.scaled
@settings(max_examples=examples(500), deadline=None, database=None)
@given(listings(st.one_of(holders("tcp", "listen"), holders("udp", "bound"), holders("tcp", "established"))))
def test_no_line_is_longer_than_80(found: Listing) -> None:
    """With ordinary names every line keeps its end; ports, addresses, pids, users and names are all there, uncut."""
    told = text.listing(found, colour=False)
    assert all(len(line) <= 80 for line in told.splitlines())
    assert all(line == line.rstrip() for line in told.splitlines())
    words = set(told.split())
    items: list[Listener | Connection] = [*found.listeners, *(found.connections or ())]
    for item in items:
        holder = item.holder
        assert {f"{holder.port}/{holder.protocol}", holder.address} <= words
        if holder.processes:
            first = min(holder.processes, key=lambda process: (process.started_at or 0.0, process.pid))
            assert {str(first.pid), first.name, first.user} <= words
        if holder.container is not None:
            assert holder.container.name in words
            compose = holder.container.compose
            if compose is not None:
                assert "/".join(part for part in (compose.project, compose.service) if part) in words
        elif holder.unit is not None:
            assert holder.unit in words
        if isinstance(item, Listener):
            assert (item.service or f"({item.range})") in words


def test_columns_are_aligned() -> None:
    """Cells stand under their heads; a group of sockets with the same owner is one line; several owners are counted."""
    server = Process(4711, "node", "alice", started_at=2.0)
    pair = (Process(900, "nginx", "root", started_at=1.0), Process(17, "nginx", "www-data", started_at=3.0))
    web = Holder("tcp", "0.0.0.0", 80, "listen", "known", pair)
    group = Holder("tcp", "127.0.0.1", 3000, "listen", "known", (server,))
    lost = Holder("udp", "::1", 5353, "bound", "hidden", uid=0)
    told = text.listing(
        Listing(
            (
                Listener(web, "well-known", "http"),
                *(Listener(group, "registered", None) for _ in range(4)),
                Listener(lost, "registered", "mdns", "root"),
            ),
            None,
        ),
        colour=False,
    )
    assert told == (
        "PORT      ADDRESS    PROCESS   PID     USER   SERVICE\n"
        "80/tcp    0.0.0.0    nginx     900 +1  root   http\n"
        "3000/tcp  127.0.0.1  node      4711    alice  (registered)\n"
        "5353/udp  ::1        (hidden)  -       root   mdns\n"
    )


# ---------------------------------------------------------------- hostile names


@pytest.mark.scaled
@settings(max_examples=examples(1_000), deadline=None, database=None)
@given(
    st.lists(
        st.one_of(st.text(max_size=40), st.text("\x1b\x9b[]2Jm\n\r\t\\\u202e\ud800\u2028", max_size=40)),
        min_size=7,
        max_size=7,
    )
)
def test_hostile_words_stay_words(words: list[str]) -> None:
    """Whatever processes, users, units, containers, projects and services are called: tame rows of 80 columns."""
    process = Process(7, words[0], words[1])
    container = Container("docker", "0" * 64, words[2], None, Compose(words[3], words[4], None))
    for holder in (
        Holder("tcp", "127.0.0.1", 80, "listen", "known", (process,), container=container),
        Holder("tcp", "127.0.0.1", 80, "listen", "known", (process,), unit=words[5]),
    ):
        found = Listing((Listener(holder, "well-known", words[6], words[1]),), (Connection(holder, "::1", 1, None),))
        told = text.listing(found, colour=False)
        strange = {each for each in told if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert strange <= {"\n"}
        assert all(
            line.startswith(("listeners", "connections", "PORT", "80/tcp", " ")) for line in told.splitlines() if line
        )
        assert all(len(line) <= 80 for line in told.splitlines())


def test_containers_and_units_are_shown() -> None:
    """Container, compose project and service, or the unit: on the line where there is room, else on the next."""
    proxy = (Process(4242, "docker-proxy", "root"),)
    container = Container("docker", "0" * 64, "shop-db-1", None, Compose("shop", "db", None))
    database = Listener(
        Holder("tcp", "0.0.0.0", 5432, "listen", "known", proxy, container=container), "registered", "db"
    )
    shell = Holder("tcp", "2001:db8:1234:5678:9abc:def0:1234:5678", 22, "listen", "known", proxy, unit="ssh.service")
    found = Listing((database, Listener(shell, "well-known", "ssh")), None)
    assert text.listing(found, colour=False) == (
        "PORT      ADDRESS  PROCESS       PID   USER  SERVICE  PART OF      PROJECT\n"
        "5432/tcp  0.0.0.0  docker-proxy  4242  root  db       shop-db-1    shop/db\n"
        "22/tcp    2001:db8:1234:5678:9abc:def0:1234:5678  docker-proxy  4242  root  ssh\n"
        "          ssh.service\n"
    )
    long = Compose("a-project-with-a-long-name", "its-service", None)
    moved = database.holder._replace(container=container._replace(compose=long))
    told = text.listing(Listing((database._replace(holder=moved),), None), colour=False)
    assert told == (
        "PORT      ADDRESS  PROCESS       PID   USER  SERVICE  PART OF    PROJECT\n"
        "5432/tcp  0.0.0.0  docker-proxy  4242  root  db       shop-db-1\n"
        "          a-project-with-a-long-name/its-service\n"
    )


def test_colour_is_for_heads_alone() -> None:
    """On a terminal the line of heads stands out; without its two escapes the text is the same."""
    holder = Holder("tcp", "127.0.0.1", 80, "listen", "known", (Process(7, "\x1b[31mred", "root"),))
    found = Listing((Listener(holder, "well-known", "http"),), None)
    plain, coloured = (text.listing(found, colour=colour) for colour in (False, True))
    assert coloured.count("\x1b") == 2
    assert coloured.splitlines()[0].startswith("\x1b[1mPORT")
    assert coloured.replace("\x1b[1m", "").replace("\x1b[0m", "") == plain
    assert "\x1b" not in plain
