"""`portguard who`: everyone on a port, where they come from, and what is not known."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import portguard as library
from portguard.system import git
from tests.conftest import Run
from tests.worlds import netns
from tests.worlds.servers import plain_server

Answer = Callable[..., dict[str, Any]]


def test_keys_and_exit_codes(answer: Answer, portguard: Run) -> None:
    """Holders and connections apart, the documented keys; 0 if someone is there, 1 if no one, 2 for no port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            document = answer("who", port)
    nobody = answer("who", port)

    (entry,) = document["data"]["ports"]
    assert set(entry) == {"port", "holders", "connections", "notes", "asked"}
    assert (document["command"], document["exit_code"], entry["port"]) == ("who", 0, port)
    assert [holder["state"] for holder in entry["holders"]] == ["listen"]
    assert entry["holders"][0]["processes"][0]["pid"] == os.getpid()
    assert "established" in [connection["state"] for connection in entry["connections"]]
    assert (nobody["exit_code"], nobody["data"]["ports"][0]["holders"]) == (1, [])
    assert portguard("who").returncode == 2
    assert portguard("who", "web").returncode == 2


def test_protocols_and_addresses(answer: Answer) -> None:
    """A bare port asks for TCP and UDP, /udp for one, ADDRESS:PORT for that address alone."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.2", port))

        found = {
            target: sorted((holder["protocol"], holder["address"]) for holder in entry["holders"])
            for target in (str(port), f"{port}/udp", f"{port}/tcp", f"127.0.0.1:{port}", f"127.0.0.2:{port}/tcp")
            for entry in answer("who", target)["data"]["ports"]
        }

    assert found == {
        str(port): [("tcp", "127.0.0.1"), ("udp", "127.0.0.2")],
        f"{port}/udp": [("udp", "127.0.0.2")],
        f"{port}/tcp": [("tcp", "127.0.0.1")],
        f"127.0.0.1:{port}": [("tcp", "127.0.0.1")],
        f"127.0.0.2:{port}/tcp": [],
    }


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Return an empty directory with a path that no line has to cut."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.needs("git")
@pytest.mark.parametrize("linked", [False, True], ids=["main", "worktree"])
def test_checkout_and_branch(short_path: Path, portguard: Run, linked: bool) -> None:
    """The git root and branch of the owner's directory are told, in the main checkout and in a linked worktree."""
    root = short_path / "shop"
    git_run("init", "--quiet", "--initial-branch", "trunk", str(root))
    git_run("-C", str(root), "commit", "--quiet", "--allow-empty", "--message", "first")
    branch = "trunk"
    if linked:
        git_run("-C", str(root), "worktree", "add", "--quiet", "-b", "side/branch", str(short_path / "side"))
        root, branch = short_path / "side", "side/branch"
    (root / "src").mkdir()
    with plain_server(root / "src") as port:
        text = portguard("who", port).stdout

    assert f"git checkout {root}, branch {branch}" in text
    found = git.worktree_of(str(root / "src"))
    assert found is not None
    assert (found.root, found.branch, found.is_linked) == (str(root), branch, linked)
    assert found.common == str((short_path / "shop" / ".git").resolve())


def git_run(*arguments: str) -> None:
    """Run git without the user's settings."""
    identity = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **identity}
    subprocess.run(["git", *arguments], check=True, env=environ, capture_output=True, timeout=30)


def test_no_checkout_is_no_error(tmp_path: Path) -> None:
    """Outside any checkout, and with a broken `.git`, nothing is claimed."""
    assert git.worktree_of("/") is None
    (tmp_path / ".git").write_text("gitdir: /nonexistent\n")
    found = git.worktree_of(str(tmp_path))
    assert found is not None
    assert (found.root, found.branch, found.is_linked) == (str(tmp_path), None, False)


def test_the_library_answers_alike() -> None:
    """`portguard.who` returns what the document says."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        report = library.who(server.getsockname()[1])

    assert report.exit_code == 0
    assert report.ports[0].holders[0].processes[0].pid == os.getpid()


def test_all_holders_names_no_fewer_processes(answer: Answer) -> None:
    """`--all-holders` names no fewer processes, and says that there are no others where all could be seen."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (soon,) = answer("who", port)["data"]["ports"][0]["holders"]
        (everyone,) = answer("who", "--all-holders", port)["data"]["ports"][0]["holders"]
        (by_library,) = library.who(port, all_holders=True).ports[0].holders

    assert [process["pid"] for process in soon["processes"]] == [os.getpid()]
    assert everyone["processes"] == soon["processes"]
    assert everyone["processes_complete"] == by_library.processes_complete == (os.geteuid() == 0)


def test_nobody_there_is_said_of_what_was_asked(portguard: Run, busy: int) -> None:
    """That no one is at one address, or of one protocol, is not said of the whole port."""
    for asked in (f"127.0.0.2:{busy}", f"{busy}/udp"):
        done = portguard("who", asked)
        expected = f"nothing listens on {asked}\n  next: see the whole port: portguard who {busy}\n"
        assert (done.returncode, done.stdout) == (1, expected)


def _link_local() -> tuple[str, list[str], list[list[int]], int]:
    """Listen on a link-local address of lo; return the holder's address, the verdict, who is where, and our pid."""
    address = ["ip", "address", "add", "fe80::9/64", "dev", "lo", "nodad"]
    subprocess.run(address, check=True, timeout=10)
    with socket.socket(socket.AF_INET6) as server:
        server.bind(("fe80::9", 0, 0, socket.if_nametoindex("lo")))
        server.listen()
        port = server.getsockname()[1]
        targets = [f"[fe80::9%lo]:{port}", f"[fe80::9%eth9]:{port}"]
        (checked,) = library.check(targets[0]).ports
        found = [
            [process.pid for holder in entry.holders for process in holder.processes]
            for entry in library.who(str(port), *targets).ports
        ]
        assert library.wait(targets[0], timeout=0.1).exit_code == 0
        assert library.wait(targets[1], timeout=0.1).exit_code == 1
        return checked.holders[0].address, [checked.verdict, checked.cause], found, os.getpid()


@pytest.mark.needs("netns", "ipv6")
def test_link_local_address() -> None:
    """Its interface belongs to it: the holder is named with it, found by it, and not by another interface's name."""
    address, verdict, (by_port, by_name, elsewhere), pid = netns.run_in_netns(_link_local)

    assert (address, verdict) == ("fe80::9%lo", ["conflict", "listener"])
    assert (by_port, by_name, elsewhere) == ([pid], [pid], [])
