"""The port syntaxes against go-connections: every row of the table that its `nat.ParsePortSpec` gave."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard.sources.port_spec import PortError, PortMapping, bounds, long_form, parse, variable
from tests.amount import examples

# text: the mappings as (host_ip, published, target, protocol).
GOLDEN: dict[str, list[tuple[str, str, int, str]]] = {
    "80": [("", "", 80, "tcp")],
    "3000-3002": [("", "", port, "tcp") for port in (3000, 3001, 3002)],
    "8080:80": [("", "8080", 80, "tcp")],
    "08080:80": [("", "8080", 80, "tcp")],
    "0:80": [("", "0", 80, "tcp")],
    ":80": [("", "", 80, "tcp")],
    "127.0.0.1::80": [("127.0.0.1", "", 80, "tcp")],
    "[::1]::80": [("::1", "", 80, "tcp")],
    "127.0.0.1:8080:80": [("127.0.0.1", "8080", 80, "tcp")],
    "0.0.0.0:8080:80": [("0.0.0.0", "8080", 80, "tcp")],
    "[::]:8080:80": [("::", "8080", 80, "tcp")],
    "::1:6000:6000": [("::1", "6000", 6000, "tcp")],
    "[::1]:6001:6001": [("::1", "6001", 6001, "tcp")],
    "9090-9091:8080-8081": [("", "9090", 8080, "tcp"), ("", "9091", 8081, "tcp")],
    "8000-8002:80": [("", "8000-8002", 80, "tcp")],
    "53:53/UDP": [("", "53", 53, "udp")],
    "53:53/sctp": [("", "53", 53, "sctp")],
    "53:53/": [("", "53", 53, "tcp")],
    "8080:80/tcp/udp": [("", "8080", 80, "tcp")],
}
REFUSED = [
    "127.0.0.1:80", "8000-8002:80-81", "80:8000-8002", "53:53/foo", "53/udp:53/udp", "localhost:8080:80", "*:80:80",
    "fe80::1%eth0:80:80", "65536:1", "-1:80", "8002-8000:80", " 8080:80", "8080 : 80", "8080:", "",
]  # fmt: skip


@pytest.mark.parametrize("text", GOLDEN)
def test_what_docker_accepts(text: str) -> None:
    """A specification that go-connections accepts is read to the very mappings it gives."""
    assert parse(text) == tuple(PortMapping(*row) for row in GOLDEN[text])


@pytest.mark.parametrize("text", REFUSED)
def test_what_docker_refuses(text: str) -> None:
    """A specification that go-connections refuses is refused, with a sentence."""
    with pytest.raises(PortError, match=r"\w+ \w+"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("127.0.0.1:80", "write 127.0.0.1:PORT:PORT"),
        ("[::1:80:80", "bracket"),
        ("8000-8002:80-81", "differ in length"),
        ("0-5:80", "any free port"),
        ("1.2.3.4/8:80:80", "not an IP address"),
        ("٣٠٠٠:80", "is not a host port"),
        ("80:+80", "is not a container port"),
        ("1_0:80", "is not a host port"),
        ("8000-8001-8002:80", "is not a host port"),
        ("99999999999999999999:80", "is not a host port"),
    ],
)
def test_a_refusal_says_what_is_wrong(text: str, says: str) -> None:
    """The common mistakes, and numbers that only Python would take, are named."""
    with pytest.raises(PortError) as caught:
        parse(text)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("published", "span"),
    [("", None), ("0", None), ("8080", (8080, 8080)), ("8000-8002", (8000, 8002)), ("1-1", (1, 1))],
)
def test_nothing_and_0_are_any_free_port(published: str, span: tuple[int, int] | None) -> None:
    """Nothing and 0 are any free port; everything else is a range, perhaps of one."""
    assert bounds(published) == span


@pytest.mark.parametrize(
    ("parts", "mapping"),
    [
        ((80, "", "", ""), ("", "", 80, "tcp")),
        ((80, "8080", "", "TCP"), ("", "8080", 80, "tcp")),
        ((80, "08080", "0:0::1", "udp"), ("::1", "8080", 80, "udp")),
        ((80, "8000-8010", "127.0.0.1", "tcp"), ("127.0.0.1", "8000-8010", 80, "tcp")),
        ((80, "7-7", "", ""), ("", "7", 80, "tcp")),
    ],
)
def test_the_long_forms_parts_are_normalised_like_the_short_ones(
    parts: tuple[int, str, str, str], mapping: tuple[str, str, int, str]
) -> None:
    """The long form's parts are normalised like the short one's."""
    assert long_form(*parts) == PortMapping(*mapping)


@pytest.mark.parametrize(
    "parts",
    [
        (0, "80", "", ""), (65536, "", "", ""), (80, "http", "", ""), (80, "70000", "", ""), (80, "9-8", "", ""),
        (80, "80", "localhost", ""), (80, "80", "[::1]", ""), (80, "80", "fe80::1%lo", ""), (80, "80", "", "icmp"),
    ],
)  # fmt: skip
def test_long_form_refused(parts: tuple[int, str, str, str]) -> None:
    """A long form that the engine would refuse is refused."""
    with pytest.raises(PortError):
        long_form(*parts)


@pytest.mark.scaled
@settings(max_examples=examples(2_000), deadline=None)
@given(st.text(alphabet=string.digits + ":-/[].%abtcpu \n٣", max_size=24))
def test_any_text_is_read_to_ports_between_0_and_65535(text: str) -> None:
    """Any text is read to ports between 0 and 65535, or refused with our own error."""
    try:
        mappings = parse(text)
    except PortError:
        return
    for mapping in mappings:
        first, last = bounds(mapping.published) or (0, 0)
        assert 0 <= first <= last <= 65535
        assert 0 <= mapping.target <= 65535


@pytest.mark.parametrize(
    ("template", "is_short", "name"),
    [
        ("${WEB_PORT:-8080}:80", True, "WEB_PORT"),
        ("${WEB_PORT-8080}:80/tcp", True, "WEB_PORT"),
        ("$WEB_PORT:80", True, "WEB_PORT"),
        ("127.0.0.1:${WEB_PORT:?set it: now}:80", True, "WEB_PORT"),
        ("[::1]:${P}:80/udp", True, "P"),
        ("${P:-8080}", False, "P"),
        ("$P", False, "P"),
        ("8080:80", True, None),
        ("${P}", True, None),
        ("${P}0:80", True, None),
        ("1${P}:80", True, None),
        ("${A}-${B}:80", True, None),
        ("${P:-8000-8010}:8000-8010", True, None),
        ("${IP}:8080:80", True, None),
        ("8080:${P}", True, None),
        ("${web}:80", True, None),
        ("$$P:80", True, None),
        ("${P:-${Q}}:80", True, None),
        ("", False, None),
    ],
)
def test_the_variable_that_alone_decides(template: str, is_short: bool, name: str | None) -> None:
    """One reference in the place of the published port, and nothing else there."""
    assert variable(template, is_short=is_short) == name
