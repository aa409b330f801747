"""The port syntaxes of compose: the short one as go-connections' `nat.ParsePortSpec` reads it, the long form's parts.

Pure text in, records out. The sentences are ours, what is accepted is theirs (compose-go types/types.go).
"""

from __future__ import annotations

import re

from portguard._namedtuple import NamedTuple
from portguard.rules.addresses import canonical, is_alias
from portguard.rules.ranges import LAST_PORT, decimal

PROTOCOLS = ("tcp", "udp", "sctp")
# Names as portguard.toml takes them; a default without further references; the rest of a short form without any.
_REFERENCE = re.compile(r"\$(?:\{([A-Z][A-Z0-9_]{0,63})(?::?[-?][^${}]*)?\}|([A-Z][A-Z0-9_]{0,63}))")
_AROUND = re.compile(r"(?:[^$]*:)?(\$.+):[0-9]+(?:/[a-z]+)?")


class PortError(ValueError):
    """A port specification that compose or the engine refuses; the text says why."""


class PortMapping(NamedTuple):
    """One container port and where it is published.

    `published` is "" (any free port), a number ("8080"; "0" is any free port, too), or a range ("8000-8002": one of
    them). `host_ip` is canonical, "" when unspecified.
    """

    host_ip: str
    published: str
    target: int
    protocol: str


def parse(text: str) -> tuple[PortMapping, ...]:
    """Return the mappings of a short specification, in order; a range onto an equally long range is taken pairwise.

    Raises PortError.
    """
    *address, host, container = ("", "", *text.split(":"))
    host_ip = ":".join(address[2:]) if len(address) > 2 else ""
    container, _, protocol = container.partition("/")
    if not container:
        raise PortError("no container port given")
    # "80/tcp/udp" is tcp to the versions of go-connections that shipped until 2025.
    kind = _protocol(protocol.partition("/")[0] or "tcp")
    ip = _short_address(host_ip)
    first, last = _span(container, "container port", text)
    if not host:
        return tuple(PortMapping(ip, "", target, kind) for target in range(first, last + 1))
    host_first, host_last = _span(host, "host port", text)
    if last == first:
        return (PortMapping(ip, _shown(host_first, host_last), first, kind),)
    if last - first != host_last - host_first:
        raise PortError(f"the ranges differ in length: {host} on the host, {container} in the container")
    return tuple(PortMapping(ip, str(host_first + offset), first + offset, kind) for offset in range(last - first + 1))


def long_form(target: int, published: str, host_ip: str, protocol: str) -> PortMapping:
    """Return the mapping of a long form's parts; `published` and `host_ip` are "" where they are not given.

    Raises PortError.
    """
    if not 0 < target <= LAST_PORT:
        raise PortError(f"target {target} is not a port: ports are 1 to {LAST_PORT}")
    if published:
        published = _shown(*_span(published, "published port", published))
    ip = "" if not host_ip else _address(host_ip)
    return PortMapping(ip, published, target, _protocol(protocol or "tcp"))


def variable(template: str, *, is_short: bool) -> str | None:
    """Return the variable that alone decides the published port: WEB_PORT for "127.0.0.1:${WEB_PORT:-8080}:80".

    `template` is a short specification before interpolation, or the long form's `published`. None if it is decided
    otherwise: by a number, a range, several variables.
    """
    if is_short:
        around = _AROUND.fullmatch(template)
        template = "" if around is None else around[1]
    found = _REFERENCE.fullmatch(template)
    return None if found is None else found[1] or found[2]


def bounds(published: str) -> tuple[int, int] | None:
    """Return first and last of a mapping's `published`, or None if the engine takes any free port."""
    first, _, last = published.partition("-")
    if published in ("", "0"):
        return None
    return int(first), int(last or first)


def _span(text: str, what: str, whole: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    start = _number(first)
    end = _number(last) if dash else start
    if start is None or end is None:
        if what == "host port" and _is_address(text):
            raise PortError(f"{text!r} is an address, and the host port is missing (write {text}:PORT:PORT)")
        raise PortError(f"{text[:40]!r} is not a {what} in {whole[:60]!r}: ports are 0 to {LAST_PORT}, or FIRST-LAST")
    if end < start:
        raise PortError(f"the range {text!r} ends before it begins")
    if start == 0 and end:
        raise PortError(f"the range {text!r} begins with port 0, which means any free port")
    return start, end


def _number(text: str) -> int | None:
    """Return a decimal number of up to 16 bits; leading zeros are fine, signs and spaces are not."""
    number = decimal((text.lstrip("0") or "0") if text else "")
    return number if number is not None and number <= LAST_PORT else None


def _shown(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _protocol(text: str) -> str:
    if text.lower() not in PROTOCOLS:
        raise PortError(f"unknown protocol {text[:40]!r}: tcp, udp or sctp")
    return text.lower()


def _short_address(text: str) -> str:
    if text.startswith("["):
        if not text.endswith("]"):
            raise PortError(f"{text[:60]!r} is not an address: the bracket is not closed")
        text = text[1:-1]
    return _address(text) if text else ""


def _is_address(text: str) -> bool:
    return not is_alias(text) and "%" not in text and canonical(text) is not None


def _address(text: str) -> str:
    """Return the canonical address. Names and zones are none to the engine (net.ParseIP)."""
    if not _is_address(text):
        raise PortError(f"{text[:60]!r} is not an IP address")
    return canonical(text) or text
