"""Addresses: what a declared host means, and which two addresses cannot both be bound.

Pure text in, pure text out. The rule is the Linux kernel's (`inet_rcv_saddr_equal` in net/ipv4/inet_connection_sock.c;
RFC 3493 section 5.3 for IPV6_V6ONLY); other systems are more permissive, there the probe alone decides.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ANY_V4 = "0.0.0.0"  # noqa: S104 - the name of the wildcard, nothing is bound here
ANY_V6 = "::"
_MAPPED = "::ffff:"
_ALIASES = {"*": (ANY_V4, ANY_V6), "localhost": ("127.0.0.1", "::1")}


def canonical(host: str) -> str | None:
    """Return `host` as the kernel prints it, or None if it is neither "*", "localhost" nor an IP address.

    An IPv4-mapped IPv6 address stays one, in its dotted form (RFC 4291 section 2.5.5.2).
    """
    if host in _ALIASES or host in (ANY_V4, ANY_V6, "127.0.0.1", "::1"):
        return host
    import ipaddress  # 0.3 x the interpreter's start, for rare literals only

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return _MAPPED + str(address.ipv4_mapped)
    return str(address)


def expand(hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses that a server for `hosts` binds: "*" and "localhost" are one of each family."""
    addresses: dict[str, None] = {}
    for host in hosts:
        addresses.update(dict.fromkeys(_ALIASES.get(host, (host,))))
    return tuple(addresses)


def is_alias(host: str) -> bool:
    """Whether `host` stands for both families, so that one of them may be missing from the system."""
    return host in _ALIASES


def is_v6(address: str) -> bool:
    """Whether `address` needs an IPv6 socket; IPv4-mapped ones do."""
    return ":" in address


def endpoint(address: str, port: int) -> str:
    """Return `address:port` as people write it; IPv6 in brackets (RFC 3986 section 3.2.2)."""
    return f"[{address}]:{port}" if is_v6(address) else f"{address}:{port}"


def target(hosts: Sequence[str], port: int, protocol: str, last_port: int | None = None) -> str:
    """Return the declared endpoint in one word, such as `*:8080/tcp`, `*:8000-8002/tcp` or `127.0.0.1,::1:53/udp`."""
    host = endpoint(hosts[0], port) if len(hosts) == 1 else f"{','.join(hosts)}:{port}"
    return f"{host}/{protocol}" if last_port is None else f"{host}-{last_port}/{protocol}"


def is_mapped(address: str) -> bool:
    """Whether `address` is an IPv4 address in an IPv6 socket."""
    return address.startswith(_MAPPED) and "." in address


def _coverage(address: str, *, v6only: bool) -> dict[int, str]:
    """Return the address bound in each family (4, 6); "" is that family's wildcard."""
    if is_mapped(address):
        address = address[len(_MAPPED) :]
    if not is_v6(address):
        return {4: "" if address == ANY_V4 else address}
    if address == ANY_V6:
        return {6: ""} if v6only else {4: "", 6: ""}
    return {6: address}


def overlaps(first: str, second: str, *, first_v6only: bool = True, second_v6only: bool = True) -> bool:
    """Whether sockets bound to these two addresses exclude each other: families meet, and the addresses in them.

    Not every table tells the interface of a link-local address: where it is missing, it may be any.
    """
    ours, theirs = _coverage(first, v6only=first_v6only), _coverage(second, v6only=second_v6only)
    return any(
        family in theirs and ("" in (ours[family], theirs[family]) or _is_same(ours[family], theirs[family]))
        for family in ours
    )


def _is_same(one: str, other: str) -> bool:
    if "%" in one and "%" in other:
        return one == other
    return one.partition("%")[0] == other.partition("%")[0]


def connection_overlaps(declared: str, local: str) -> bool:
    """Whether a connection whose local address is `local` occupies `declared`.

    A socket that was never bound explicitly is not IPV6_V6ONLY, so a plain IPv6 connection also excludes the IPv4
    wildcard, though no other IPv4 address (measured; the kernel's stand-in for one, 127.0.0.6, is no one's address).
    """
    return overlaps(declared, local) or (is_v6(local) and not is_mapped(local) and declared == ANY_V4)
