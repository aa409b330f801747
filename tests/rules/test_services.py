"""The table of port names: right where it can be checked, cited where it cannot; the services file fills its gaps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard.rules import ranges, services
from portguard.system import services_file

TABLE = services.REGISTERED | services.UNREGISTERED
SYSTEM = Path("/etc/services")

# Where Debian's file, and others made from it, name a program of their own that the registry does not know.
THEIR_OWN = {
    (21, "udp"): "fsp",
    (1313, "tcp"): "xtel",
    (5555, "udp"): "rplay",
    (6006, "tcp"): "x11-6",
    (7000, "tcp"): "bbs",
    (8081, "tcp"): "tproxy",
    (8088, "tcp"): "omniorb",
    (10000, "tcp"): "webmin",
}


@pytest.mark.parametrize(
    ("port", "tcp", "udp"),
    [
        (21, "ftp", "ftp"),
        (22, "ssh", "ssh"),
        (25, "smtp", "smtp"),
        (53, "domain", "domain"),
        (80, "http", "http"),
        (110, "pop3", "pop3"),
        (143, "imap", None),
        (389, "ldap", "ldap"),
        (443, "https", "https"),
        (465, "submissions", "igmpv3lite"),
        (514, "shell", "syslog"),
        (587, "submission", "submission"),
        (636, "ldaps", "ldaps"),
        (993, "imaps", None),
        (995, "pop3s", "pop3s"),
        (3306, "mysql", "mysql"),
        (5432, "postgresql", "postgresql"),
        (5672, "amqp", "amqp"),
        (6379, "redis", None),
        (8080, "http-alt", "http-alt"),
        (27017, "mongodb", None),
        (5173, "vite", None),
        (51820, None, "wireguard"),
        (4, None, None),
    ],
)
def test_names_people_ask_for(port: int, tcp: str | None, udp: str | None) -> None:
    """The numbers that lists get wrong (143 is IMAP, HTTPS is 443) and those that everyone uses are right."""
    found = services.service_of(port)
    assert (found.tcp, found.udp) == (tcp, udp)


def test_every_row_is_sound() -> None:
    """Ports in order and once, names as RFC 6335 section 5.1 spells them, and a reason for each row to be there."""
    for table in (services.REGISTERED, services.UNREGISTERED):
        assert list(table) == sorted(table)
        assert all(1 <= port <= ranges.LAST_PORT for port in table)
    assert not services.REGISTERED.keys() & services.UNREGISTERED.keys()
    assert len(TABLE) >= 80
    for port, found in TABLE.items():
        names = [name for name in (found.tcp, found.udp) if name is not None]
        assert names, port
        for name in names:
            assert re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9]+(-[A-Za-z0-9]+)*", name), name
            assert len(name) <= 15, name
        assert all(tool.isascii() and tool.isprintable() and tool.strip() == tool for tool in found.tools)
        assert len(set(found.tools)) == len(found.tools)


def test_no_row_is_there_twice() -> None:
    """A dictionary display keeps the last of two equal keys without a word; the source has none."""
    source = Path(services.__file__).read_text(encoding="utf-8")
    keys = re.findall(r"^    (\d+): Service\(", source, re.MULTILINE)
    assert len(keys) == len(set(keys)) == len(TABLE)


def test_unregistered_rows_cite_their_tool_and_registered_ones_the_registry() -> None:
    """Where IANA has no name there is a tool, and a page of its documentation; elsewhere the registry is the source."""
    for found in services.UNREGISTERED.values():
        assert found.tools
        assert found.source is not None
        assert found.source.startswith("https://")
    assert all(found.source is None for found in services.REGISTERED.values())
    assert "https://www.iana.org/assignments/service-names-port-numbers" in (services.__doc__ or "")


@pytest.mark.skipif(not SYSTEM.exists(), reason="no /etc/services")
def test_the_system_s_own_file_agrees() -> None:
    """Every registered name that the system's file has too is its name or one of its aliases there."""
    words: dict[tuple[int, str], set[str]] = {}
    for line in SYSTEM.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) >= 2:
            number, _, protocol = fields[1].partition("/")
            words.setdefault((int(number), protocol), set()).update([fields[0], *fields[2:]])
    ours = {
        (port, protocol): name
        for port, found in services.REGISTERED.items()
        for protocol, name in (("tcp", found.tcp), ("udp", found.udp))
        if name is not None and (port, protocol) in words
    }
    disagree = {key: (name, words[key]) for key, name in ours.items() if name not in words[key]}
    assert {key: said for key, said in disagree.items() if THEIR_OWN.get(key) not in said[1]} == {}
    assert len(ours) > len(disagree)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (0, "well-known"),
        (1023, "well-known"),
        (1024, "registered"),
        (49151, "registered"),
        (49152, "dynamic"),
        (65535, "dynamic"),
    ],
)
def test_classes_end_where_rfc_6335_says(port: int, expected: str) -> None:
    """Well-known up to 1023, registered up to 49151, dynamic from 49152 on."""
    assert services.range_of(port) == expected


# ---------------------------------------------------------------- the services file


def test_the_services_file_is_read(tmp_path: Path) -> None:
    """The first name of a number counts; comments, aliases, torn lines and numbers that are no ports are no trouble."""
    path = tmp_path / "services"
    path.write_bytes(
        b"# comment\n\nmine\t4711/tcp alias # what\nother 4711/tcp\nmine 4711/udp\nhalf\nbad x/tcp\nbig 999999/tcp\n"
        b"odd 12\xb2/tcp\n\xff\xfe 4712/tcp\nslashless 4713\r\nlast 4714/tcp"
    )
    assert services_file.read(str(path)) == {
        (4711, "tcp"): "mine",
        (4711, "udp"): "mine",
        (4712, "tcp"): "\udcff\udcfe",
        (4713, ""): "slashless",
        (4714, "tcp"): "last",
    }


def test_no_services_file_is_no_names(tmp_path: Path) -> None:
    """A missing file, and a directory in its place, name nothing."""
    assert services_file.read(str(tmp_path / "none")) == {}
    assert services_file.read(str(tmp_path)) == {}


@settings(max_examples=500, deadline=None, database=None)
@given(data=st.one_of(st.binary(max_size=200), st.text("ab \t\n#/0123456789\x1b\u202e²").map(str.encode)))
def test_any_bytes_are_read_or_left_out(data: bytes, folder: Path) -> None:
    """Whatever the file holds, there are numbers and words, and no error."""
    path = folder / "services"
    path.write_bytes(data)
    for (port, _), name in services_file.read(str(path)).items():
        assert 0 <= port <= 99_999
        assert name


def test_the_place_of_the_file() -> None:
    """Windows keeps it below its own directory, wherever that is."""
    assert services_file.path_of({}, "linux") == "/etc/services"
    assert services_file.path_of({"SystemRoot": r"D:\W"}, "win32") == r"D:\W\System32\drivers\etc\services"
