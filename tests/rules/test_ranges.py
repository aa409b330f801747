"""Ranges and lists of numbers, held against where they come from, and the notes they give."""

from __future__ import annotations

import pytest

from portguard.model import Note
from portguard.rules import ranges

# fetch.spec.whatwg.org, "bad port": the table's first column, as it is written there.
BAD = """
0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 135 137
139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720
1723 2049 3659 4045 4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080
"""


def test_bad_ports() -> None:
    """The ports that browsers refuse are the standard's, all of them and no others."""
    assert sorted(ranges.BROWSER_BLOCKED) == [int(word) for word in BAD.split()]


@pytest.mark.parametrize(
    ("port", "expected"), [(9, False), (10, True), (15, True), (20, True), (21, False), (30, True), (31, False)]
)
def test_ranges_include_both_of_their_ends(port: int, expected: bool) -> None:
    """Ranges include both of their ends."""
    assert ranges.contains([(10, 20), (30, 30)], port) is expected
    assert ranges.contains([], port) is False


EPHEMERAL = Note(
    "ephemeral",
    "port 2000 is in this kernel's ephemeral range 2000-3000: an outgoing connection can take it at any time"
    "; net.ipv4.ip_local_reserved_ports=2000 prevents it",
)


@pytest.mark.parametrize(
    ("port", "protocol", "ephemeral", "platform", "ids"),
    [
        (2000, "tcp", (2000, 3000), "linux", ["ephemeral"]),
        (3000, "udp", (2000, 3000), "linux", ["ephemeral"]),
        (1999, "tcp", (2000, 3000), "linux", []),
        (3001, "tcp", (2000, 3000), "linux", []),
        (2000, "tcp", None, "linux", []),
        (1023, "udp", None, "linux", ["well-known"]),
        (1024, "udp", None, "linux", []),
        (6000, "tcp", None, "linux", ["browser-blocked"]),
        (6000, "udp", None, "linux", []),
        (22, "tcp", (1, 100), "linux", ["ephemeral", "well-known", "browser-blocked"]),
        (5000, "tcp", None, "darwin", ["airplay"]),
        (7000, "tcp", None, "darwin", ["airplay"]),
        (5000, "udp", None, "darwin", []),
        (5000, "tcp", None, "linux", []),
        (5001, "tcp", None, "darwin", []),
    ],
)
def test_notes(port: int, protocol: str, ephemeral: tuple[int, int] | None, platform: str, ids: list[str]) -> None:
    """A number has the notes that are true of it on this system, and no others."""
    assert [note.id for note in ranges.port_notes(port, protocol, ephemeral=ephemeral, platform=platform)] == ids


def test_words_of_the_notes() -> None:
    """Each note says what is the matter, with the number, and what prevents it where something does."""
    assert ranges.port_notes(2000, "tcp", ephemeral=(2000, 3000), platform="linux") == (EPHEMERAL,)
    assert ranges.port_notes(2000, "tcp", ephemeral=(2000, 3000), platform="darwin") == (
        Note("ephemeral", EPHEMERAL.message.partition(";")[0]),
    )
    assert ranges.port_notes(21, "tcp", ephemeral=None, platform="linux") == (
        Note("well-known", "port 21 is well-known (0-1023): most systems ask for privileges to bind it"),
        Note("browser-blocked", "browsers refuse to open http://…:21 (WHATWG Fetch, bad port)"),
    )
    assert ranges.port_notes(5000, "tcp", ephemeral=None, platform="darwin") == (
        Note("airplay", "macOS' AirPlay Receiver listens on 5000; it can be switched off in System Settings"),
    )
