"""Claims about `portguard free`: what it prints, which ports it gives, and what it says when asked wrongly."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from portguard.leases.table import readable
from portguard.rules.ranges import BROWSER_BLOCKED
from portguard.system import kernel
from tests.conftest import PORTGUARD, Run
from tests.worlds.netns import PrivateNetns, private_netns, run_in_netns

Answer = Callable[..., dict[str, Any]]


@pytest.fixture
def inside(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `portguard free` in a namespace that is passed in, in a directory where nothing is declared."""

    def run(world: PrivateNetns, *arguments: str) -> subprocess.CompletedProcess[str]:
        return world.run([*PORTGUARD, "free", *arguments], capture_output=True, text=True, cwd=tmp_path)

    return run


def random_range(size: int) -> tuple[int, int]:
    """Return a range of so many ports that the kernel does not assign by itself, for a namespace of one's own."""
    first = random.randrange(61_000, 65_536 - size)
    return first, first + size - 1


def ports_of(done: subprocess.CompletedProcess[str]) -> list[int]:
    """Return the ports that were printed: bare numbers, one a line."""
    assert done.returncode == 0, done
    lines = done.stdout.splitlines(keepends=True)
    assert all(line == f"{int(line)}\n" for line in lines)
    return [int(line) for line in lines]


def lease_bits() -> dict[int, int]:
    """Return which protocols the running test's store has leased, by port."""
    with readable(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()) as table:
        assert table is not None
        found = ((port, table.lease(port)) for port in range(65_536))
        return {port: lease.protocols for port, lease in found if lease is not None}


# --- what is printed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ([], 1),
        (["-n", "3"], 3),
        (["-n3"], 3),
        (["--count", "7"], 7),
        (["--count=7"], 7),
        (["--tcp"], 1),
        (["--udp", "-n", "2"], 2),
        (["--both", "--tcp", "--ttl", "5", "-n", "200"], 200),
    ],
)
def test_standard_output_is_bare_numbers_and_nothing_else(arguments: list[str], count: int, portguard: Run) -> None:
    """As many different ports as asked for, a line each; standard error is silent."""
    done = portguard("free", *arguments)
    found = ports_of(done)
    assert len(found) == len(set(found)) == count
    assert all(49_152 <= port <= 65_535 for port in found)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "protocols"),
    [
        ([], ["tcp", "udp"]),
        (["--tcp"], ["tcp"]),
        (["--udp"], ["udp"]),
        (["--both"], ["tcp", "udp"]),
        (["--tcp", "--udp"], ["tcp", "udp"]),
        (["--udp", "--both"], ["tcp", "udp"]),
    ],
)
def test_the_document_has_these_keys_and_what_was_asked_for(
    arguments: list[str], protocols: list[str], answer: Answer
) -> None:
    """Exactly the contract's keys, the protocols asked for, and the end of the lease in UTC."""
    before = time.time()
    document = answer("free", "-n", "2", "--ttl", "500", *arguments)
    after = time.time()
    assert set(document) == {"schema_version", "command", "ok", "exit_code", "data", "errors"}
    assert (document["command"], document["ok"], document["exit_code"], document["errors"]) == ("free", True, 0, [])
    assert set(document["data"]) == {"ports", "notes"}
    assert len(document["data"]["ports"]) == 2
    for port in document["data"]["ports"]:
        assert set(port) == {"port", "protocols", "leased", "expires_at", "name"}
        assert isinstance(port["port"], int)
        assert (port["protocols"], port["leased"], port["name"]) == (protocols, True, None)
        assert port["expires_at"].endswith("Z")
        assert before + 499 <= datetime.fromisoformat(port["expires_at"]).timestamp() <= after + 500
    bits = {("tcp",): 1, ("udp",): 2, ("tcp", "udp"): 3}[tuple(protocols)]
    assert lease_bits() == {port["port"]: bits for port in document["data"]["ports"]}


def test_without_a_lease_nothing_is_written_and_nothing_is_said(answer: Answer, portguard: Run) -> None:
    """`--no-lease`: leased is false, there is no end, no state directory is made, and no warning for what was asked."""
    (port,) = answer("free", "--no-lease")["data"]["ports"]
    assert (port["leased"], port["expires_at"]) == (False, None)
    done = portguard("free", "--no-lease", "-n", "2")
    assert len(ports_of(done)) == 2
    assert done.stderr == ""
    assert not Path(os.environ["PORTGUARD_STATE_DIR"]).exists()


@pytest.mark.needs("netns")
def test_the_range_is_kept_to_its_ends(inside: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Both ends belong to it, and a range of one port is one."""
    first, last = random_range(5)
    with private_netns() as world:
        assert sorted(ports_of(inside(world, "-n", "5", "--range", f"{first}-{last}"))) == [*range(first, last + 1)]
        single = str(first - 1)
        assert ports_of(inside(world, f"--range={single}-{single}")) == [first - 1]


# --- asked wrongly --------------------------------------------------------------------------------

WRONG = [
    ["-n", "0"],
    ["-n", "-1"],
    ["-n", "65536"],
    ["-n", "999999999"],
    ["-n", "9" * 30],
    ["-n", "many"],
    ["-n", ""],
    ["-n", "1.5"],
    ["-n"],
    ["--count="],
    ["--ttl", "0"],
    ["--ttl", "-5"],
    ["--ttl", "86401"],
    ["--ttl", "1m"],
    ["--range", "50000"],
    ["--range", "50000-"],
    ["--range", "-50000"],
    ["--range", "50000-40000"],
    ["--range", "0-10"],
    ["--range", "65535-65536"],
    ["--range", "50000-50010-50020"],
    ["--range", "50000 - 50010"],
    ["--range", "a-b"],
    ["--range", "٥٠٠٠٠-٥٠٠١٠"],
    ["--range", ""],
    ["--range=1-" + "9" * 5_000],
    ["--range", "\x1b[31m-\n"],
    ["--sctp"],
    ["--rang", "50000-50010"],
    ["3000"],
    [""],
]


@pytest.mark.parametrize("arguments", WRONG, ids=lambda arguments: " ".join(arguments)[:24].encode().hex()[:40] or "-")
def test_what_cannot_be_asked_is_refused_in_one_line(arguments: list[str], portguard: Run) -> None:
    """Exit 2, nothing on standard output, one printable line that says what is wrong, no traceback, no lease."""
    done = portguard("free", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    sentences = [line for line in done.stderr.splitlines() if line.startswith(("portguard: ", "Error: "))]
    assert len(sentences) == 1, done.stderr
    assert len(sentences[0].partition(": ")[2]) > 10
    assert "Traceback" not in done.stderr
    assert all(line.isprintable() for line in done.stderr.split("\n"))
    assert max(map(len, done.stderr.split("\n"))) < 500
    assert not Path(os.environ["PORTGUARD_STATE_DIR"]).exists()


@pytest.mark.parametrize("arguments", [["-n", "0"], ["--ttl", "x"], ["--range", "9"], ["--nonsense"]])
def test_what_cannot_be_asked_has_a_document_too(arguments: list[str], answer: Answer) -> None:
    """With --json: one document with the error, whichever of the two doors refused."""
    document = answer("free", *arguments)
    assert (document["command"], document["ok"], document["exit_code"]) == ("free", False, 2)
    assert document["data"] == {"ports": [], "notes": []}
    assert [error["code"] for error in document["errors"]] == ["usage"]
    assert document["errors"][0]["message"]


# --- which ports ----------------------------------------------------------------------------------


def bind(protocol: str, address: str, port: int) -> None:
    """Bind a socket without any option, and listen if that can be; raise OSError when it cannot be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        if protocol == "tcp":
            sock.listen()


@pytest.mark.needs("ipv6")
def test_a_port_that_was_given_can_be_bound_everywhere(portguard: Run) -> None:
    """TCP and UDP, IPv4 and IPv6, every address and the loopbacks."""
    for port in ports_of(portguard("free", "-n", "20")):
        for protocol in ("tcp", "udp"):
            for address in ("0.0.0.0", "127.0.0.1", "::", "::1"):
                bind(protocol, address, port)


@contextlib.contextmanager
def held(protocol: str, address: str, port: int) -> Iterator[None]:
    """Hold a bound socket that does not listen."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        yield


def ask_for_one_that_is_held(protocol: str, address: str) -> dict[str, int]:
    """Ask for the only port of a range, by every protocol, while someone holds it for one of them."""
    port = random_range(1)[0]
    with held(protocol, address, port):
        return {
            wanted: subprocess.run(
                [*PORTGUARD, "free", "--no-lease", wanted, "--range", f"{port}-{port}"],
                check=False, capture_output=True, cwd="/",
            ).returncode
            for wanted in ("--tcp", "--udp", "--both")
        }  # fmt: skip


@pytest.mark.needs("netns", "ipv6")
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "127.0.0.2", "::1", "::"])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_is_free_for_the_protocols_that_were_asked_for(protocol: str, address: str) -> None:
    """Whatever address someone holds it on, listening or not: not given for that protocol, but for the other."""
    codes = run_in_netns(ask_for_one_that_is_held, protocol, address)
    assert codes == {"--tcp": int(protocol == "tcp"), "--udp": int(protocol == "udp"), "--both": 1}


@pytest.mark.needs("netns")
def test_declared_ports_are_never_given(tmp_path: Path) -> None:
    """What the config here, or above in the checkout, declares is left out; of a moved one, both numbers are."""
    first, last = random_range(6)
    (tmp_path / ".git").mkdir()
    (tmp_path / "below").mkdir()
    config = f'[ports]\nweb = {first}\n[ports.db]\nport = {first + 1}\nprotocol = "udp"\nenv = "DB_PORT"\n'
    (tmp_path / "portguard.toml").write_text(config)
    (tmp_path / ".env").write_text(f"DB_PORT={first + 2}\n")
    with private_netns() as world:
        for directory in (tmp_path, tmp_path / "below"):
            command = [*PORTGUARD, "free", "--no-lease", "--range", f"{first}-{last}", "-n"]
            done = world.run([*command, "3"], capture_output=True, text=True, cwd=directory)
            assert sorted(ports_of(done)) == [first + 3, first + 4, first + 5]
            done = world.run([*command, "4"], capture_output=True, text=True, cwd=directory)
            assert (done.returncode, done.stdout) == (1, "")
            assert f"only 3 of 4 ports are free in {first}-{last}: 3 declared\n" in done.stderr


@pytest.mark.parametrize("config", ["[ports]\nweb = 0\ndb = 70000\n", "nonsense\n"])
def test_a_config_that_cannot_be_used_costs_a_note_and_not_the_port(
    config: str, portguard: Run, tmp_path: Path
) -> None:
    """One line says that could not leave out the declared ports, and where the mistake is."""
    (tmp_path / "portguard.toml").write_text(config)
    done = portguard("free")
    assert len(ports_of(done)) == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("note: could not leave out the declared ports: portguard.toml:")


@pytest.mark.needs("netns")
@pytest.mark.parametrize(
    ("setting", "safe"),
    [
        (None, (61_000, 65_535)),
        ("32768 60999", (61_000, 65_535)),
        ("32768 65000", (65_001, 65_535)),
        ("10000 49251", (49_252, 65_535)),
        ("60000 65535", (49_152, 59_999)),
    ],
)
def test_ports_lie_outside_what_the_kernel_assigns_by_itself(
    setting: str | None, safe: tuple[int, int], inside: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """As long as there are any there: 300 ports by whatever setting, none within it, and nothing to warn of."""
    sysctls = {} if setting is None else {"net.ipv4.ip_local_port_range": setting}
    with private_netns(sysctls=sysctls) as world:
        done = inside(world, "-n", "300")
    assert all(safe[0] <= port <= safe[1] for port in ports_of(done))
    assert done.stderr == ""


@pytest.mark.needs("netns")
def test_where_the_kernel_may_assign_every_port_that_is_said_once(
    inside: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """With ip_local_port_range = 1024 65535 it still answers, in the parity connect() avoids, and says so once."""
    with private_netns(sysctls={"net.ipv4.ip_local_port_range": "1024 65535"}) as world:
        done = inside(world, "-n", "50")
        assert all(port % 2 == 1 for port in ports_of(done))
        assert done.stderr.count("1024-65535") == 1
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("note: no port was left outside this kernel's ephemeral range 1024-65535: ")
        document = inside(world, "--json")
        assert document.stderr == done.stderr
        assert json.loads(document.stdout)["data"]["ports"][0]["leased"] is True


@pytest.mark.needs("netns")
def test_when_the_safe_ports_are_used_up_the_others_come_with_a_note(
    inside: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """A range that begins inside the ephemeral one: the outside is given first and silently, the inside with a note."""
    with private_netns(sysctls={"net.ipv4.ip_local_port_range": "32768 60999"}) as world:
        outside = inside(world, "-n", "4", "--range", "60996-61003")
        within = inside(world, "-n", "4", "--range", "60996-61003")
    assert sorted(ports_of(outside)) == [61_000, 61_001, 61_002, 61_003]
    assert outside.stderr == ""
    assert sorted(ports_of(within)) == [60_996, 60_997, 60_998, 60_999]
    assert ports_of(within)[:2] in ([60_997, 60_999], [60_999, 60_997])
    assert within.stderr.count("\n") == 1
    assert "ephemeral range 32768-60999" in within.stderr


@pytest.mark.needs("netns")
def test_ports_that_are_reserved_from_the_kernel_are_not_given(
    inside: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """net.ipv4.ip_local_reserved_ports: single numbers and ranges are left out and counted."""
    first, last = random_range(10)
    reserved = f"{first},{first + 3}-{first + 5}"
    with private_netns(sysctls={"net.ipv4.ip_local_reserved_ports": reserved}) as world:
        few = inside(world, "--no-lease", "-n", "6", "--range", f"{first}-{last}")
        many = inside(world, "--no-lease", "-n", "7", "--range", f"{first}-{last}")
    assert sorted(ports_of(few)) == [first + 1, first + 2, *range(first + 6, last + 1)]
    assert many.returncode == 1
    assert f"only 6 of 7 ports are free in {first}-{last}: 4 reserved\n" in many.stderr


@pytest.mark.needs("netns")
def test_ports_that_browsers_refuse_are_never_given(inside: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Of all ports up to 11000, exactly those of the list are missing; not one can be had by asking for it alone."""
    wanted = sorted(set(range(1, 11_001)) - BROWSER_BLOCKED)
    with private_netns() as world:
        done = inside(world, "--no-lease", "--range", "1-11000", "-n", str(len(wanted)))
        assert sorted(ports_of(done)) == wanted
        alone = inside(world, "--no-lease", "--range", "6665-6669")
    assert (alone.returncode, alone.stdout) == (1, "")
    assert "no free port in 6665-6669: 5 browser-blocked\n" in alone.stderr


# --- leases ---------------------------------------------------------------------------------------


def draw(world: PrivateNetns, first: int, last: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask for one port of a range."""
    command: Sequence[str] = [*PORTGUARD, "free", "--range", f"{first}-{last}", *arguments]
    return world.run(command, capture_output=True, text=True, cwd="/")


@pytest.mark.needs("netns")
def test_a_leased_port_is_not_given_again_while_its_time_lasts() -> None:
    """By no protocol: a lease for TCP keeps the number altogether. After its time it can be had again."""
    first, _ = random_range(1)
    with private_netns() as world:
        started = time.monotonic()
        assert ports_of(draw(world, first, first, "--tcp", "--ttl", "2")) == [first]
        refusals = 0
        while (done := draw(world, first, first, "--udp")).returncode == 1:
            assert "1 leased" in done.stderr
            assert time.monotonic() - started < 30
            refusals += 1
        assert ports_of(done) == [first]
        assert refusals >= 1
        assert time.monotonic() - started >= 2


@pytest.mark.needs("netns")
def test_an_unleased_port_may_be_given_to_the_next_one() -> None:
    """`--no-lease` keeps no one from it; that is what leases are for."""
    first, _ = random_range(1)
    with private_netns() as world:
        for _ in range(2):
            assert ports_of(draw(world, first, first, "--no-lease")) == [first]
        assert ports_of(draw(world, first, first)) == [first]
        assert draw(world, first, first, "--no-lease").returncode == 1
