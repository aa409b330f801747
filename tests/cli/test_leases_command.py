"""`portguard leases`: what is handed out, to whom, and releasing it; nothing else, and no one else's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import portguard as library
from portguard.leases.table import locked
from portguard.render.safe import safe
from portguard.system import kernel
from tests.conftest import PORTGUARD, Run
from tests.worlds.processes import eventually, is_at_the_table
from tests.worlds.repositories import declare_two
from tests.worlds.store import leases

Answer = Callable[..., dict[str, Any]]

_TIMEOUT = 60.0
_KEYS = {
    "port", "protocols", "kind", "name", "directory", "checkout", "process", "since", "expires_at", "listening", "gone",
}  # fmt: skip


def checkout(path: Path) -> Path:
    """Make a checkout without any commit that declares `web` and `db`, both movable."""
    (path / ".git").mkdir(parents=True)
    declare_two(path)
    return path


def isolated(portguard: Run, path: Path) -> dict[str, int]:
    """Give the checkout numbers of its own."""
    done = portguard("env", "--isolated", cwd=path)
    assert done.returncode == 0, done
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {name: int(value) for name, _, value in pairs}


def listed(answer: Answer) -> list[dict[str, Any]]:
    """Return what `leases` lists."""
    found: list[dict[str, Any]] = answer("leases")["data"]["leases"]
    return found


def listed_ports(answer: Answer) -> list[int]:
    """Return the ports that `leases` lists."""
    return [item["port"] for item in listed(answer)]


@contextlib.contextmanager
def running(place: Path, answer: Answer) -> Iterator[subprocess.Popen[bytes]]:
    """Keep `portguard run` of a command that does nothing; it has its leases when this begins."""
    with subprocess.Popen(
        [*PORTGUARD, "run", "--", "sh", "-c", "echo; read line"],
        cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as command:  # fmt: skip
        try:
            assert command.stdout is not None
            assert command.stdout.readline() == b"\n"
            yield command
        finally:
            command.kill()


# --- list -----------------------------------------------------------------------------------------


def test_nothing_is_no_failure(portguard: Run, answer: Answer) -> None:
    """Exit 0, an empty answer and a word on standard error; no store is made for it."""
    for words in ((), ("list",), ("prune",), ("prune", "--dry-run")):
        said = "nothing to release\n" if "prune" in words else "nothing is handed out\n"
        done = portguard("leases", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", said), words
    assert answer("leases")["data"] == {"leases": [], "notes": []}
    assert not os.path.lexists(os.environ["PORTGUARD_STATE_DIR"])


def test_every_kind_is_listed_with_the_documented_keys(portguard: Run, answer: Answer, tmp_path: Path) -> None:
    """A lease of `free`, a hold, a running command's and a checkout's own number: who, since, until, where."""
    place = checkout(tmp_path / "shop")
    own = isolated(portguard, place)
    before = time.time()
    leased = int(portguard("free", "--ttl", "600", "--udp", cwd=place).stdout)
    held = int(portguard("free", "--hold", "60").stdout)
    with running(place, answer) as command:
        document = answer("leases")
        items = {(item["port"], item["kind"]): item for item in document["data"]["leases"]}
        pid = command.pid
    portguard("leases", "release", held)

    assert (document["command"], document["exit_code"]) == ("leases", 0)
    assert all(set(item) == _KEYS for item in items.values())
    assert set(items) == {
        (leased, "free"), (held, "hold"),
        *((port, kind) for port in own.values() for kind in ("assignment", "run")),
    }  # fmt: skip
    assert [item["port"] for item in document["data"]["leases"]] == sorted(port for port, _ in items)
    lease = items[leased, "free"]
    assert (lease["protocols"], lease["directory"], lease["name"]) == (["udp"], str(place), None)
    expires = datetime.fromisoformat(lease["expires_at"]).timestamp()
    assert before + 598 <= expires <= time.time() + 601
    hold = items[held, "hold"]
    assert hold["process"]["name"] == "portguard-hold"
    assert hold["directory"] == str(tmp_path)
    run = items[own["WEB_PORT"], "run"]
    assert (run["name"], run["process"]["pid"], run["directory"], run["expires_at"]) == ("web", pid, str(place), None)
    assert before - 1 <= datetime.fromisoformat(run["since"]).timestamp() <= time.time() + 1
    number = items[own["WEB_PORT"], "assignment"]
    assert (number["name"], number["directory"], number["checkout"]) == ("web", str(place), str(place))
    assert (number["process"], number["expires_at"], number["gone"]) == (None, None, False)


def test_listening_is_what_the_socket_table_says(portguard: Run, answer: Answer, tmp_path: Path) -> None:
    """True with a real server on the number, false for the others, false again after its end."""
    own = isolated(portguard, checkout(tmp_path / "shop"))

    def listening() -> dict[int, bool]:
        return {item["port"]: item["listening"] for item in listed(answer)}

    with socket.create_server(("127.0.0.1", own["WEB_PORT"])):
        assert listening() == {own["WEB_PORT"]: True, own["DB_PORT"]: False}
        line = next(line for line in portguard("leases").stdout.splitlines() if line.startswith(str(own["WEB_PORT"])))
        assert "yes" in line.split()
    assert listening() == {own["WEB_PORT"]: False, own["DB_PORT"]: False}


def test_text_keeps_to_80_columns(portguard: Run, tmp_path: Path, answer: Answer) -> None:
    """A line each, heads above, no line wider than 80 but for a path that is longer by itself."""
    home = tmp_path / "h"
    place = checkout(home / "shop")
    own = isolated(portguard, place)
    with running(place, answer):
        done = portguard("leases", env={**os.environ, "HOME": str(home)})

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0].split()[:3] == ["PORT", "KIND", "NAME"]
    assert all(len(line) <= 80 for line in lines), lines
    for port in own.values():
        assert sum(line.startswith(str(port)) for line in lines) == 2
    assert sum("~/shop" in line for line in lines) == 4


@pytest.mark.parametrize(
    "name",
    [
        "red\x1b[31m", "two\nlines", "\u202eevil", "tab\tand\\backslash", "\udcff\udcfe", "a" * 120, "\x9b2J", "b\rc",
    ],
    ids=["escape", "newline", "bidi", "tab", "bytes", "long", "c1", "return"],
)  # fmt: skip
def test_hostile_directories_are_printable(portguard: Run, answer: Answer, tmp_path: Path, name: str) -> None:
    """What a directory is called reaches a terminal through safe(), in the list and when it is released."""
    place = checkout(tmp_path / name)
    own = isolated(portguard, place)
    done = portguard("leases")
    shown = done.stdout
    assert done.returncode == 0
    assert {item["directory"] for item in listed(answer)} == {str(place)}
    assert all(char == "\n" or char.isprintable() for char in shown)
    assert safe(name, 400) in shown
    shutil.rmtree(place)
    pruned = portguard("leases", "prune")
    assert all(char == "\n" or char.isprintable() for char in pruned.stdout)
    assert sorted(int(line.split()[0]) for line in pruned.stdout.splitlines()) == sorted(own.values())


# --- release --------------------------------------------------------------------------------------


def test_release_by_port_by_name_and_all(portguard: Run, answer: Answer, tmp_path: Path) -> None:
    """A port of any checkout, a name of this one, --all of this one; what was released is told."""
    shop, other = checkout(tmp_path / "shop"), checkout(tmp_path / "other")
    (shop / "src").mkdir()
    own, theirs = isolated(portguard, shop), isolated(portguard, other)

    done = portguard("leases", "release", theirs["DB_PORT"], cwd=shop)
    assert (done.returncode, done.stdout) == (0, f"{theirs['DB_PORT']}  db  {other}\n")
    done = portguard("leases", "release", "web", cwd=shop / "src")
    assert (done.returncode, done.stdout) == (0, f"{own['WEB_PORT']}  web  {shop}\n")
    assert sorted(listed_ports(answer)) == sorted([own["DB_PORT"], theirs["WEB_PORT"]])
    leased = int(portguard("free", "--ttl", "600", cwd=shop / "src").stdout)
    elsewhere = int(portguard("free", "--ttl", "600").stdout)
    document = answer("leases", "release", "--all", cwd=shop)
    assert sorted(item["port"] for item in document["data"]["leases"]) == sorted([own["DB_PORT"], leased])
    assert sorted(listed_ports(answer)) == sorted([theirs["WEB_PORT"], elsewhere])


def test_release_needs_no_usable_compose_file(portguard: Run, answer: Answer, tmp_path: Path) -> None:
    """What compose would refuse is no reason to keep what is leased."""
    held = int(portguard("free", "--hold", "600", cwd=tmp_path).stdout)
    environ = {**os.environ, "COMPOSE_FILE": "gone.yaml"}

    assert listed_ports(answer) == [held]
    assert portguard("leases", "release", "--all", cwd=tmp_path, env=environ).returncode == 0
    assert listed_ports(answer) == []


def test_release_of_all_where_nothing_is_handed_out(portguard: Run, tmp_path: Path) -> None:
    """Nothing to give back is not a failure."""
    done = portguard("leases", "release", "--all", cwd=checkout(tmp_path / "shop"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing to release\n")


def test_what_was_released_is_given_to_others(portguard: Run, answer: Answer) -> None:
    """A leased port can be had at once after its release, and a released hold's process has ended."""
    port = int(portguard("free", "--ttl", "600").stdout)
    assert portguard("free", "--range", f"{port}-{port}").returncode == 1
    assert portguard("leases", "release", port).returncode == 0
    assert portguard("free", "--range", f"{port}-{port}").stdout == f"{port}\n"
    held = int(portguard("free", "--hold", "60").stdout)
    holder = next(item["process"]["pid"] for item in listed(answer) if item["port"] == held)
    assert portguard("leases", "release", held).returncode == 0
    deadline = time.monotonic() + _TIMEOUT
    while os.path.exists(f"/proc/{holder}"):
        assert time.monotonic() < deadline, "the holder still runs"
    with socket.create_server(("127.0.0.1", held)):
        pass


def test_who_was_given_a_port_meanwhile_keeps_it(portguard: Run, answer: Answer, tmp_path: Path) -> None:
    """What was listed is released, and not another lease of `free` that is on the same port by then."""
    port = int(portguard("free", "--ttl", "600").stdout)
    with locked(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()) as table:
        command = subprocess.Popen(
            [*PORTGUARD, "leases", "release", str(port)],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # It has listed the leases when it comes for the lock.
        eventually(lambda: is_at_the_table(command.pid), "it does not wait for the lock")
        listed_lease = table.lease(port)
        assert listed_lease is not None
        another = listed_lease._replace(pid=listed_lease.pid + 1, since=listed_lease.since + 1)
        table.write(port, another)
    out, err = command.communicate(timeout=_TIMEOUT)

    assert (command.returncode, out, err) == (0, "", "nothing to release\n")
    assert listed_ports(answer) == [port]
    assert leases() == {port: another}
    assert portguard("leases", "release", port).returncode == 0
    assert listed(answer) == []


def test_who_lives_with_a_number_keeps_it(portguard: Run, answer: Answer, tmp_path: Path) -> None:
    """Releasing what a running command has is exit 1 with `kill PID`; after it has ended, it is done."""
    place = checkout(tmp_path / "shop")
    own = isolated(portguard, place)
    with running(place, answer) as command:
        for words in ((own["WEB_PORT"],), ("web",), ("--all",)):
            done = portguard("leases", "release", *words, cwd=place)
            assert (done.returncode, done.stdout) == (1, ""), words
            assert f"kill {command.pid}\n" in done.stderr
        assert len(listed(answer)) == 4
        command.send_signal(signal.SIGTERM)
        command.wait(_TIMEOUT)
        assert sorted(listed_ports(answer)) == sorted(own.values())
        assert portguard("leases", "release", "--all", cwd=place).returncode == 0
    assert listed(answer) == []


def test_a_hold_of_a_living_program_is_released_without_ending_it(portguard: Run, answer: Answer) -> None:
    """Giving back what `portguard.hold()` has ends its lease, not the program that asked for it."""
    with library.hold() as held:
        assert listed_ports(answer) == [held.port]
        assert portguard("leases", "release", held.port).returncode == 0
        assert listed(answer) == []


def test_unknown_and_wrong(portguard: Run, answer: Answer, tmp_path: Path) -> None:
    """What has nothing is exit 1; no target, an impossible one and words that do not fit are exit 2."""
    shop = checkout(tmp_path / "shop")
    own = isolated(portguard, shop)
    absent = next(port for port in range(20_000, 20_010) if port not in own.values())
    for word in (absent, "nosuch"):
        done = portguard("leases", "release", word, cwd=shop)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"nothing is handed out for the {'port' if word == absent else 'declaration'} {word}" in done.stderr
    assert portguard("leases", "release", "web", absent, cwd=shop).returncode == 1
    assert portguard("leases", "release", "web", cwd=tmp_path).returncode == 1, "another directory's name"
    for words in (
        ("release",), ("release", "web", "--all"), ("release", "0"), ("release", "65536"), ("release", "9" * 5000),
        ("nosuch",), ("list", "web"), ("prune", "web"), ("--all",), ("prune", "--all"), ("--dry-run",),
        ("release", "web", "--dry-run"), ("--nosuch",),
    ):  # fmt: skip
        done = portguard("leases", *words, cwd=shop)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert done.stderr, words
    assert portguard("leases", "nosuch").stderr.splitlines() == [
        "portguard: unknown action 'nosuch'", "  next: portguard leases, or with one of: release, prune",
    ]  # fmt: skip
    assert portguard("leases", "--all", cwd=shop).stderr.splitlines()[1] == "  next: portguard leases", "it gives back"
    document = answer("leases", "nosuch")
    assert (document["data"], [error["code"] for error in document["errors"]]) == (
        {"leases": [], "notes": []},
        ["usage"],
    )
    assert sorted(listed_ports(answer)) == sorted(own.values())


# --- prune ----------------------------------------------------------------------------------------


def test_prune_frees_what_is_gone_and_nothing_else(portguard: Run, answer: Answer, tmp_path: Path) -> None:
    """--dry-run tells and keeps; then the same are freed; a checkout that is there keeps its numbers."""
    shop, gone = checkout(tmp_path / "shop"), checkout(tmp_path / "gone")
    own, theirs = isolated(portguard, shop), isolated(portguard, gone)
    shutil.rmtree(gone)
    assert {item["port"]: item["gone"] for item in listed(answer)} == {
        **dict.fromkeys(own.values(), False), **dict.fromkeys(theirs.values(), True),
    }  # fmt: skip
    assert portguard("leases").stdout.count("(gone)") == 2
    dry = portguard("leases", "prune", "--dry-run")
    assert len(listed(answer)) == 4
    done = portguard("leases", "prune")
    assert (done.returncode, done.stdout) == (dry.returncode, dry.stdout)
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{port}  {name.removesuffix('_PORT').lower()}  {gone}" for name, port in theirs.items()
    )
    assert sorted(listed_ports(answer)) == sorted(own.values())


@pytest.mark.needs("git")
def test_a_checkout_is_gone_when_something_else_is_there(answer: Answer, portguard: Run, tmp_path: Path) -> None:
    """A file or an empty directory in its place: gone. A new repository at the same path takes its numbers over."""
    for name in ("file", "other", "empty"):
        isolated(portguard, checkout(tmp_path / name))
        shutil.rmtree(tmp_path / name)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    subprocess.run(["git", "init", "--quiet", tmp_path / "other"], check=True, capture_output=True)

    gone = {Path(item["directory"]).name: item["gone"] for item in listed(answer)}
    # The same path and the same `.git`: nothing tells that it is another repository.
    assert gone == {"file": True, "other": False, "empty": True}


def test_a_place_that_cannot_be_looked_at_may_hold_a_checkout(answer: Answer, portguard: Run, tmp_path: Path) -> None:
    """A disk that is away, a link that leads to itself: not known to be gone, so `prune` leaves its numbers."""
    isolated(portguard, checkout(tmp_path / "shop"))
    shutil.rmtree(tmp_path / "shop")
    (tmp_path / "shop").symlink_to(tmp_path / "shop")

    assert [item["gone"] for item in listed(answer)] == [False, False]
    assert portguard("leases", "prune").returncode == 0
    assert len(listed(answer)) == 2


def test_a_lease_that_has_ended_is_not_listed(answer: Answer, portguard: Run) -> None:
    """After its second, `free --ttl 1` is not handed out any more."""
    portguard("free", "--ttl", "1")
    deadline = time.monotonic() + _TIMEOUT
    while listed(answer):
        assert time.monotonic() < deadline


def test_the_library_lists_what_the_command_lists(portguard: Run, answer: Answer, tmp_path: Path) -> None:
    """`portguard.api.leases.list_leases` returns what the document says."""
    from portguard.api import leases

    own = isolated(portguard, checkout(tmp_path / "shop"))
    assert [(item.port, item.name) for item in leases.list_leases()] == [
        (item["port"], item["name"]) for item in json.loads(portguard("leases", "--json").stdout)["data"]["leases"]
    ]
    assert {item.port for item in leases.list_leases()} == set(own.values())
