"""Claims about portguard.rules.addresses: what a host means, and which two addresses meet."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portguard.rules.addresses import (
    ANY_V4,
    ANY_V6,
    canonical,
    connection_overlaps,
    expand,
    is_alias,
    is_mapped,
    is_v6,
    overlaps,
    target,
)

# Measured in the kernel: rows are holders, columns binders; X where the two exclude each other.
NAMES = ("0.0.0.0", "127.0.0.1", "127.0.0.2", "::dual", "::v6only", "::1", "::ffff:127.0.0.1")
TABLE = """
0.0.0.0             X X X X . . X
127.0.0.1           X X . X . . X
127.0.0.2           X . X X . . .
::dual              X X X X X X X
::v6only            . . . X X X .
::1                 . . . X X X .
::ffff:127.0.0.1    X X . X . . X
"""

v4 = st.ip_addresses(v=4).map(str)
v6 = st.ip_addresses(v=6).map(lambda address: canonical(str(address)) or "")
mapped = v4.map("::ffff:{}".format)
# Few enough values for two draws to be the same address now and then.
few = st.sampled_from([name for name in NAMES if name not in ("::dual", "::v6only")] + ["::", "2001:db8::1"])
addresses = st.one_of(few, v4, v6, mapped)


def split(name: str) -> tuple[str, bool]:
    """Return the address and the IPV6_V6ONLY flag that a name of the table stands for."""
    return ("::", name == "::v6only") if name in ("::dual", "::v6only") else (name, True)


@pytest.mark.parametrize("row", TABLE.strip().splitlines(), ids=lambda row: row.split()[0])
def test_the_measured_table_of_overlaps_verbatim(row: str) -> None:
    """The measured table of overlaps, verbatim."""
    name, *expected = row.split()
    holder, holder_v6only = split(name)
    found = [
        "X" if overlaps(holder, binder, first_v6only=holder_v6only, second_v6only=binder_v6only) else "."
        for binder, binder_v6only in map(split, NAMES)
    ]
    assert dict(zip(NAMES, found, strict=True)) == dict(zip(NAMES, expected, strict=True))


def test_an_interface_makes_another_address() -> None:
    """Link-local addresses are told apart by their interfaces; where one is not told, it may be the other's."""
    assert overlaps("fe80::1%eth0", "fe80::1%eth0")
    assert not overlaps("fe80::1%eth0", "fe80::1%eth1")
    assert not overlaps("fe80::1%eth0", "fe80::2%eth0")
    assert overlaps("fe80::1%eth0", "fe80::1")
    assert not overlaps("fe80::1%eth0", "fe80::2")
    assert overlaps("fe80::1%eth0", "::")


@given(addresses, st.booleans(), addresses, st.booleans())
def test_overlap_is_symmetric(first: str, first_v6only: bool, second: str, second_v6only: bool) -> None:
    """Who came first makes no difference."""
    assert overlaps(first, second, first_v6only=first_v6only, second_v6only=second_v6only) == overlaps(
        second, first, first_v6only=second_v6only, second_v6only=first_v6only
    )


@given(addresses, st.booleans())
def test_the_same_address_twice_is_a_conflict(address: str, v6only: bool) -> None:
    """The same address twice is a conflict."""
    assert overlaps(address, address, first_v6only=v6only, second_v6only=v6only)


@given(addresses)
def test_wildcard_covers_its_family(address: str) -> None:
    """0.0.0.0 covers all IPv4, mapped too; an IPv6-only :: all other IPv6; a dual-stack :: everything."""
    in_v4 = not is_v6(address) or is_mapped(address)
    assert overlaps(ANY_V4, address) == in_v4
    assert overlaps(ANY_V6, address) != in_v4
    assert overlaps(ANY_V6, address, first_v6only=False)


@given(v4, v4)
def test_mapped_is_its_ipv4_address(first: str, second: str) -> None:
    """An IPv4-mapped address meets exactly what the IPv4 address meets, whichever side it is on."""
    expected = overlaps(first, second)
    assert overlaps(f"::ffff:{first}", second) == expected
    assert overlaps(f"::ffff:{first}", f"::ffff:{second}") == expected


@given(addresses, addresses)
def test_specific_addresses_meet_only_themselves(first: str, second: str) -> None:
    """Without a wildcard two addresses meet when they are one, a mapped one being its IPv4 address."""
    plain = [address.removeprefix("::ffff:") if is_mapped(address) else address for address in (first, second)]
    if not {ANY_V4, ANY_V6} & set(plain):
        assert overlaps(first, second) == (plain[0] == plain[1])


@given(addresses, addresses)
def test_connection_takes_no_less_than_its_address(declared: str, local: str) -> None:
    """A connection is in the way wherever its address is, and an IPv6 one of the IPv4 wildcard besides."""
    extra = is_v6(local) and not is_mapped(local) and declared == ANY_V4
    assert connection_overlaps(declared, local) == (overlaps(declared, local) or extra)


@given(st.one_of(addresses, st.ip_addresses().map(str), st.ip_addresses(v=6).map(lambda address: address.exploded)))
def test_canonical_is_idempotent(host: str) -> None:
    """A canonical address is its own canonical form, and still the same address."""
    once = canonical(host)
    assert once is not None
    assert canonical(once) == once
    assert ipaddress.ip_address(once) == ipaddress.ip_address(host)


@given(st.ip_addresses(v=6))
def test_canonical_ignores_spelling(address: ipaddress.IPv6Address) -> None:
    """Every spelling of an address has the same canonical form."""
    spellings = {str(address), address.exploded, str(address).upper(), address.exploded.upper()}
    assert len({canonical(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("*", "*"),
        ("localhost", "localhost"),
        ("0.0.0.0", "0.0.0.0"),
        ("::0", "::"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:7f00:1", "::ffff:127.0.0.1"),
        ("::FFFF:127.0.0.1", "::ffff:127.0.0.1"),
        ("fe80::1%lo", "fe80::1%lo"),
    ],
)
def test_the_form_is_the_one_the_kernel_prints(host: str, expected: str) -> None:
    """The form is the one the kernel prints; mapped addresses are dotted."""
    assert canonical(host) == expected


@given(st.text(max_size=12))
def test_canonical_of_anything(text: str) -> None:
    """What is neither an alias nor an address has no canonical form, and no text is an error."""
    try:
        is_address = bool(ipaddress.ip_address(text))
    except ValueError:
        is_address = False
    assert (canonical(text) is not None) == (is_address or is_alias(text))


@pytest.mark.parametrize("text", ["", "127.1", "0127.0.0.1", "127.0.0.1/8", "[::1]", "example.com", "Localhost", "0"])
def test_no_addresses(text: str) -> None:
    """Names, prefixes, brackets and the resolver's short forms are not addresses here."""
    assert canonical(text) is None


@given(st.lists(st.one_of(addresses, st.sampled_from(["*", "localhost"]))))
def test_expand(hosts: list[str]) -> None:
    """Aliases become one address of each family, the others stay, in order, none twice and none an alias."""
    meaning = {"*": [ANY_V4, ANY_V6], "localhost": ["127.0.0.1", "::1"]}
    expected = [address for host in hosts for address in meaning.get(host, [host])]
    found = expand(hosts)
    assert list(found) == sorted(set(expected), key=expected.index)


@pytest.mark.parametrize(
    ("hosts", "last", "expected"),
    [
        (["127.0.0.1"], None, "127.0.0.1:80/tcp"),
        (["::1"], None, "[::1]:80/tcp"),
        (["*"], 82, "*:80-82/tcp"),
        (["127.0.0.1", "::1"], None, "127.0.0.1,::1:80/tcp"),
        (["127.0.0.1", "::1"], 80, "127.0.0.1,::1:80-80/tcp"),
    ],
)
def test_an_endpoint_in_a_word(hosts: list[str], last: int | None, expected: str) -> None:
    """An endpoint in a word; brackets where the address alone could be read otherwise (RFC 3986)."""
    assert target(hosts, 80, "tcp", last) == expected


@pytest.mark.parametrize(
    ("declared", "local", "expected"),
    [
        ("0.0.0.0", "::1", True),
        ("0.0.0.0", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "::1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("::", "127.0.0.1", False),
        ("::1", "::2", False),
        ("::ffff:1.2.3.4", "::1", False),
    ],
)
def test_connections(declared: str, local: str, expected: bool) -> None:
    """What was never bound is not IPv6-only, so its family's wildcard is taken, and IPv4's (measured)."""
    assert connection_overlaps(declared, local) is expected


def test_mapped_addresses_are_dotted() -> None:
    """A mapped address has the prefix and dots; what only looks like one half of that is none."""
    assert is_mapped("::ffff:127.0.0.1")
    assert not is_mapped("::ffff:7f00:1")
    assert not is_mapped("127.0.0.1")
    assert not is_mapped("64:ff9b::127.0.0.1")


def test_sockets_are_ipv6_only_unless_it_is_said() -> None:
    """What is not said of a socket is what servers do for both families: IPV6_V6ONLY."""
    assert not overlaps("::", "127.0.0.1")
    assert not overlaps("127.0.0.1", "::")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("fe80::1%eth0", "fe80::1%eth0", True),
        ("fe80::1%eth0", "fe80::1%eth1", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("fe80::1", "fe80::1%eth0", True),
        ("fe80::1%eth0", "fe80::2", False),
    ],
)
def test_the_same_address_on_two_interfaces_is_two(first: str, second: str, expected: bool) -> None:
    """The same address on two interfaces is two; one whose interface is not told may be on any."""
    assert overlaps(first, second) is expected
