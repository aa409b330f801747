"""What a person types for a port: what it means, and what is said where it means nothing."""

from __future__ import annotations

from typing import Any

import pytest

from portguard.errors import UsageError
from portguard.model import Declaration, Source
from portguard.rules import targets

EXAMPLES = "write for instance 3000, 53/udp, 127.0.0.1:5432, [::1]:5432"


@pytest.mark.parametrize(
    ("text", "port", "protocol", "host"),
    [
        ("3000", 3000, "tcp", "*"),
        ("3000/tcp", 3000, "tcp", "*"),
        ("53/udp", 53, "udp", "*"),
        ("1", 1, "tcp", "*"),
        ("65535", 65535, "tcp", "*"),
        ("00080", 80, "tcp", "*"),
        ("127.0.0.1:5432", 5432, "tcp", "127.0.0.1"),
        ("127.0.0.1:53/udp", 53, "udp", "127.0.0.1"),
        ("*:80", 80, "tcp", "*"),
        ("localhost:80", 80, "tcp", "localhost"),
        ("localhost:80/udp", 80, "udp", "localhost"),
        ("[::1]:5432", 5432, "tcp", "::1"),
        ("[0:0::1]:5432/udp", 5432, "udp", "::1"),
        ("[127.0.0.1]:80", 80, "tcp", "127.0.0.1"),
    ],
)
def test_a_number_an_address_a_protocol(text: str, port: int, protocol: Any, host: str) -> None:
    """A number, an address, a protocol: each means what it says, and the rest is every address and TCP."""
    expected = Declaration(text, port, port, Source(None, None), (protocol,), (host,), is_ad_hoc=True)

    assert targets.parse_target(text) == expected
    assert targets.parse_port(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", ("web", None)),
        ("web/tcp", ("web", "tcp")),
        ("web/udp", ("web", "udp")),
        ("Web_1.x-y", ("Web_1.x-y", None)),
        ("web:80/tcp", ("web:80/tcp", None)),
        ("1st", ("1st", None)),
    ],
)
def test_names(text: str, expected: tuple[str, str | None]) -> None:
    """Names stand for declarations, those that compose files publish among them, and are no ports."""
    assert targets.parse_target(text) == expected
    with pytest.raises(UsageError, match="is not a port") as raised:
        targets.parse_port(text)
    assert (raised.value.message, raised.value.hint) == (f"{text!r} is not a port", EXAMPLES)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("3000/sctp", "'3000/sctp': the protocol after the slash is tcp or udp", EXAMPLES),
        ("3000/", "'3000/': the protocol after the slash is tcp or udp", EXAMPLES),
        ("", "'' is neither a port nor the name of a declaration", EXAMPLES),
        ("a b", "'a b' is neither a port nor the name of a declaration", EXAMPLES),
        ("web:x", "'web:x' is neither a port nor the name of a declaration", EXAMPLES),
        ("-1", "'-1' is neither a port nor the name of a declaration", EXAMPLES),
        ("٣", "'٣' is neither a port nor the name of a declaration", EXAMPLES),
        ("0", "'0': port 0 means any free one", "ask for one: portguard free"),
        ("65536", "'65536': ports are 1 to 65535", None),
        ("000080", "'000080': ports are 1 to 65535", None),
        ("web:80", "'web:80': 'web' is not an address", "write 127.0.0.1:PORT, *:PORT or localhost:PORT"),
        ("::1:80", "'::1:80': '::1' is not an address", "write [::1]:PORT, *:PORT or localhost:PORT"),
        ("[::1:80", "'[::1:80': '[::1' is not an address", "write 127.0.0.1:PORT, *:PORT or localhost:PORT"),
        ("::1]:80", "'::1]:80': '::1]' is not an address", "write 127.0.0.1:PORT, *:PORT or localhost:PORT"),
        ("[x:80", "'[x:80': '[x' is not an address", "write 127.0.0.1:PORT, *:PORT or localhost:PORT"),
        ("[x::]:80", "'[x::]:80': '[x::]' is not an address", "write 127.0.0.1:PORT, *:PORT or localhost:PORT"),
        ("x::y]:80", "'x::y]:80': 'x::y]' is not an address", "write 127.0.0.1:PORT, *:PORT or localhost:PORT"),
        (":80", "':80': '' is not an address", "write 127.0.0.1:PORT, *:PORT or localhost:PORT"),
    ],
)
def test_what_means_nothing_is_said_to_mean_nothing(text: str, message: str, hint: str | None) -> None:
    """What means nothing is said to mean nothing, with how to write what was meant."""
    with pytest.raises(UsageError) as raised:
        targets.parse_target(text)
    assert (raised.value.message, raised.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("text", "name", "service", "variable"),
    [
        ("web", True, True, False),
        ("0web", True, True, False),
        ("web-1_2.x", True, True, False),
        ("80", False, True, False),
        ("Web", False, True, False),
        ("-web", False, False, False),
        (".web", False, False, False),
        ("we b", False, False, False),
        ("", False, False, False),
        ("WEB_PORT", False, True, True),
        ("W2", False, True, True),
        ("_WEB", False, False, False),
        ("2W", False, True, False),
        ("WeB", False, True, False),
        ("W-B", False, True, False),
        ("W" * 64, False, True, True),
        ("W" * 65, False, True, False),
    ],
)
def test_what_may_name_a_declaration_a_compose_service(text: str, name: bool, service: bool, variable: bool) -> None:
    """What may name a declaration, a compose service, or a variable."""
    found = targets.is_name(text), targets.is_service(text), targets.is_variable(text)

    assert found == (name, service, variable)


@pytest.mark.parametrize(
    "variable",
    [
        "PATH",
        "HOME",
        "SHELL",
        "IFS",
        "ENV",
        "BASH_ENV",
        "NODE_OPTIONS",
        "LD_PRELOAD",
        "DYLD_X",
        "PYTHONPATH",
        "GIT_DIR",
        "GITHUB_ENV",
    ],
)
def test_variables_that_change_programs(variable: str) -> None:
    """A port is never put where programs look for something else; a longer name is another variable."""
    assert targets.changes_programs(variable)
    assert not targets.changes_programs(f"MY_{variable}")


ITEMS = [
    Declaration("web", 80, 80, Source("c", 1)),
    Declaration("dns", 53, 53, Source("c", 2), ("tcp", "udp")),
    Declaration("db:5432/tcp", 5432, 5432, Source("d", 1), service="db", is_published=True),
    Declaration("db:53/udp", 53, 53, Source("d", 2), ("udp",), service="db", is_published=True),
    Declaration("cache", 6379, 6379, Source("c", 3), service="redis"),
]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([("dns", None), ("web", None)], [("dns", ("tcp", "udp")), ("web", ("tcp",))]),
        ([("dns", "udp")], [("dns", ("udp",))]),
        ([("db", None)], [("db:5432/tcp", ("tcp",)), ("db:53/udp", ("udp",))]),
        ([("db", "udp")], [("db:53/udp", ("udp",))]),
        ([("db:5432/tcp", None)], [("db:5432/tcp", ("tcp",))]),
        ([], []),
    ],
)
def test_select(names: list[tuple[str, Any]], expected: list[tuple[str, tuple[str, ...]]]) -> None:
    """Names choose declarations in the order asked, narrowed to a protocol; a service chooses all that it publishes."""
    assert [(item.name, item.protocols) for item in targets.select(ITEMS, names, "x.toml")] == expected


@pytest.mark.parametrize(
    ("items", "name", "protocol", "message", "hint"),
    [
        (ITEMS, "wed", None, "x.toml declares no 'wed'", "did you mean 'web'?"),
        (ITEMS[:2], "nothing-like-it", None, "x.toml declares no 'nothing-like-it'", "declared are: dns, web"),
        (ITEMS, "redis", None, "x.toml declares no 'redis'", "declared are: cache, db:53/udp, db:5432/tcp, dns, web"),
        ([], "web", None, "x.toml declares no 'web'", "it declares no ports"),
        (ITEMS, "web", "udp", "'web' is declared for tcp, not udp", None),
    ],
)
def test_a_name_that_is_not_there(
    items: list[Declaration], name: str, protocol: Any, message: str, hint: str | None
) -> None:
    """A name that is not there, or not for that protocol, is an error that names what is there."""
    with pytest.raises(UsageError) as raised:
        targets.select(items, [(name, protocol)], "x.toml")
    assert (raised.value.message, raised.value.hint) == (message, hint)
