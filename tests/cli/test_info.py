"""`portguard info`: what a number means, on this kernel as it is set, and what is not a number."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import portguard as library
from portguard.errors import UsageError
from portguard.rules import ranges, services
from tests.conftest import PORTGUARD, Run
from tests.worlds import netns

Answer = Callable[..., dict[str, Any]]

KEYS = {
    "port", "range", "services", "tools", "ephemeral", "browser_blocked", "privileged", "notes", "protocols",
    "ephemeral_range",
}  # fmt: skip


def test_one_entry_a_port_in_the_order_asked_each_once(answer: Answer) -> None:
    """One entry a port, in the order asked, each once, with the keys of the contract."""
    document = answer("info", "5432", "143/tcp", "51820/udp", "5432")
    assert (document["command"], document["ok"], document["exit_code"]) == ("info", True, 0)
    assert set(document["data"]) == {"ports", "notes"}
    ports = document["data"]["ports"]
    assert [port["port"] for port in ports] == [5432, 143, 51820]
    assert all(set(port) == KEYS for port in ports)
    assert all(set(note) == {"id", "message", "source"} for port in ports for note in port["notes"])
    postgresql, imap, wireguard = ports
    assert (postgresql["range"], postgresql["tools"]) == ("registered", ["PostgreSQL"])
    assert postgresql["services"] == {"tcp": "postgresql", "udp": "postgresql"}
    assert postgresql["browser_blocked"] is False
    assert (imap["range"], imap["services"], imap["browser_blocked"]) == (
        "well-known",
        {"tcp": "imap", "udp": None},
        True,
    )
    assert (wireguard["range"], wireguard["services"]) == ("dynamic", {"tcp": None, "udp": "wireguard"})


def test_every_port_has_an_answer() -> None:
    """All 65,535 in one go: class, names and browsers' list as the tables say, and a note on the ephemeral ranges."""
    found = library.info(*range(1, 65536))
    assert [item.port for item in found] == list(range(1, 65536))
    assert all(item.range == services.range_of(item.port) for item in found)
    assert {item.port for item in found if item.browser_blocked} == ranges.BROWSER_BLOCKED - {0}
    assert all("ephemeral-range" in {note.id for note in item.notes} for item in found)


@pytest.mark.parametrize(
    "word",
    ["0", "65536", "99999999999", "web", "127.0.0.1:80", "localhost:80", "53/sctp", "53/", "/udp", "", " 80", "80-90",
     "٣", "²", "8_0", "+80", "0x50"],
)  # fmt: skip
def test_what_is_no_port_is_refused(portguard: Run, word: str) -> None:
    """Exit code 2, a sentence, and nothing on standard output; with --json the document says the same."""
    done = portguard("info", "80", word)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    told = portguard("info", "80", word, "--json")
    document = json.loads(told.stdout)
    assert (told.returncode, document["exit_code"], document["data"]) == (2, 2, {"ports": [], "notes": []})
    assert document["errors"][0]["code"] == "usage"


@pytest.mark.parametrize("words", [(), ("-1",), ("--udp", "53"), ("--",)])
def test_what_is_no_question_is_refused(portguard: Run, words: tuple[str, ...]) -> None:
    """No port at all, and options that do not exist, are usage errors."""
    done = portguard("info", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_paragraph_a_port(portguard: Run) -> None:
    """A paragraph a port: no line over 80 columns, no escape, and what the document says in words."""
    every = [*services.REGISTERED, *(f"{port}/udp" for port in services.UNREGISTERED), 40_000, 60_001]
    done = portguard("info", *every)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    too_long = [line for line in done.stdout.splitlines() if len(line) > 80]
    assert all(line.split()[0].startswith("https://") for line in too_long), too_long
    assert done.stdout.count("\n\n") == len(every) - 1
    imap = portguard("info", 143).stdout
    assert imap.startswith("143  well-known (0-1023)\n  service     imap (tcp), no name (udp)\n")
    assert "refuse http://…:143" in imap
    assert "32768-60999 on\n              Linux, 49152-65535 on macOS and Windows" in imap
    assert "(tcp)" not in portguard("info", "53/udp").stdout


def test_an_ascii_terminal_is_no_trouble(portguard: Run) -> None:
    """In a locale without UTF-8 the text is printed all the same."""
    done = portguard("info", 143, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0
    assert done.stdout.isascii()


def _ask(*ports: int) -> list[dict[str, Any]]:
    done = subprocess.run(
        [*PORTGUARD, "info", "--json", *map(str, ports)], capture_output=True, text=True, check=True, timeout=60
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)["data"]["ports"]
    return found


@pytest.mark.needs("netns")
def test_this_kernel_s_settings_decide() -> None:
    """Its ephemeral range, its reserved ports and its first unprivileged port are read, not assumed."""
    sysctls = {
        "net.ipv4.ip_local_port_range": "20000 20010",
        "net.ipv4.ip_local_reserved_ports": "20005-20006",
        "net.ipv4.ip_unprivileged_port_start": "80",
    }
    ports = (19_999, 20_000, 20_004, 20_005, 20_006, 20_010, 20_011, 40_000, 79, 80)
    found = netns.run_in_netns(_ask, *ports, sysctls=sysctls)
    assert [item["port"] for item in found if item["ephemeral"]] == [20_000, 20_004, 20_010]
    assert [item["port"] for item in found if item["privileged"]] == [79]
    notes = {item["port"]: {note["id"]: note["message"] for note in item["notes"]} for item in found}
    assert [port for port in ports if "reserved" in notes[port]] == [20_005, 20_006]
    assert all("20000-20010" in notes[port]["ephemeral-range"] for port in ports)
    assert "32768-60999 on Linux, 49152-65535 on macOS and Windows" in notes[80]["ephemeral-range"]


def test_the_services_file_fills_the_gaps(tmp_path: Path) -> None:
    """A number that the table lacks is named by the file; one that it has is not."""
    path = tmp_path / "services"
    path.write_text("mine 4711/tcp\nimap2 143/tcp\nimap2 143/udp\n")
    own, imap, nobody = library.info("4711", 143, 4712, services_path=str(path))
    assert (own.tcp, own.udp) == ("mine", None)
    assert (imap.tcp, imap.udp) == ("imap", None)
    assert (nobody.tcp, nobody.udp, nobody.tools) == (None, None, ())


def test_hostile_names_of_the_services_file_are_harmless(tmp_path: Path) -> None:
    """A name from the file is a foreign string: shown, and not obeyed."""
    from portguard.render import listing

    path = tmp_path / "services"
    path.write_bytes(b"\x1b[2J\x07\xff" + "\u202e".encode() + b"y" * 90 + b" 4711/tcp\n")
    (found,) = library.info(4711, services_path=str(path))
    told = listing.info([found], colour=False)
    assert told.replace("\n", "").isprintable()
    assert r"\x1b[2J\x07\xff\u202e" in told


def test_the_library_raises() -> None:
    """What is no port raises the exception for a wrong question."""
    wrong: tuple[str | int, ...] = (0, -1, 65536, "web", "127.0.0.1:80")
    for port in wrong:
        with pytest.raises(UsageError):
            library.info(port)
    assert library.info() == []
