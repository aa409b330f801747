"""Port numbers: how they are written, RFC 6335, the ephemeral range, the ports browsers refuse. Pure."""

from __future__ import annotations

from portguard.model import Note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Range = tuple[int, int]

LAST_PORT = 65535
WELL_KNOWN: Range = (0, 1023)
DYNAMIC: Range = (49152, LAST_PORT)  # RFC 6335 section 6

PORT_DIGITS = len(str(LAST_PORT))

# The kernel's default of net.ipv4.ip_local_port_range, assumed when the setting cannot be read (ip-sysctl.rst).
LINUX_EPHEMERAL: Range = (32768, 60999)

# WHATWG Fetch, "bad port": the list of the web platform tests (fetch/api/request/request-bad-port.any.js) of 2026-11.
# fmt: off
BROWSER_BLOCKED = frozenset((
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
    110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530,
    531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190,
    5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
))
# fmt: on


def decimal(text: str, digits: int = PORT_DIGITS) -> int | None:
    """Return the number that up to `digits` decimal digits write, None for any other text.

    `int` alone takes signs, spaces, underscores and the digits of other scripts, and reads long rows of digits slowly.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


# AirPlay Receiver listens on these since macOS 12.
AIRPLAY = (5000, 7000)


def contains(ranges: Iterable[Range], port: int) -> bool:
    """Whether `port` lies in one of the inclusive `ranges`."""
    return any(first <= port <= last for first, last in ranges)


def port_notes(port: int, protocol: str, *, ephemeral: Range | None, platform: str) -> tuple[Note, ...]:
    """Return what is worth knowing about the number itself on this kind of system.

    `ephemeral` is this kernel's own range, None if it could not be read (then nothing is said about it).
    """
    notes = []
    if ephemeral is not None and ephemeral[0] <= port <= ephemeral[1]:
        reserve = f"; net.ipv4.ip_local_reserved_ports={port} prevents it" if platform == "linux" else ""
        notes.append(
            Note(
                "ephemeral",
                f"port {port} is in this kernel's ephemeral range {ephemeral[0]}-{ephemeral[1]}: "
                f"an outgoing connection can take it at any time{reserve}",
            )
        )
    if port <= WELL_KNOWN[1]:
        notes.append(
            Note("well-known", f"port {port} is well-known (0-1023): most systems ask for privileges to bind it")
        )
    if protocol == "tcp" and port in BROWSER_BLOCKED:
        notes.append(Note("browser-blocked", f"browsers refuse to open http://…:{port} (WHATWG Fetch, bad port)"))
    if platform == "darwin" and protocol == "tcp" and port in AIRPLAY:
        notes.append(
            Note("airplay", f"macOS' AirPlay Receiver listens on {port}; it can be switched off in System Settings")
        )
    return tuple(notes)
