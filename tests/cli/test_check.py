"""`portguard check` as people use it: declarations, duplicates, ours and strangers, notes, suggestions."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import portguard as library
from tests.conftest import PORTGUARD, Run
from tests.worlds.capabilities import NOBODY
from tests.worlds.repositories import git
from tests.worlds.servers import plain_server as server
from tests.worlds.users import as_user

Answer = Callable[..., dict[str, Any]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return an empty repository with a subdirectory `src`."""
    root = tmp_path / "project"
    (root / ".git").mkdir(parents=True)
    (root / "src").mkdir()
    return root


def declare(project: Path, port: int, more: str = "") -> None:
    """Write a config that declares `db` on 127.0.0.1."""
    (project / "portguard.toml").write_text(f'[ports.db]\nport = {port}\nhost = "127.0.0.1"\n{more}')


def verdict(answer: Answer, project: Path, *arguments: str, **options: Any) -> tuple[str, str, int]:
    """Return verdict, cause and exit code of the one declared port."""
    document = answer("check", *arguments, cwd=options.pop("cwd", project), **options)
    port = document["data"]["ports"][0]
    return port["verdict"], port["cause"], document["exit_code"]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_server_of_this_checkout_is_ours(project: Path, answer: Answer, protocol: str) -> None:
    """A server that runs inside the checkout for its owner is ours, also seen from a subdirectory; --strict says no."""
    with server(project / "src", protocol) as port:
        declare(project, port, f'protocol = "{protocol}"\n')

        assert verdict(answer, project) == ("ours", "listener", 0)
        assert verdict(answer, project, cwd=project / "src") == ("ours", "listener", 0)
        assert verdict(answer, project, "--strict") == ("conflict", "listener", 1)


@pytest.mark.needs("git")
def test_a_checkout_inside_is_another_one(tmp_path: Path, answer: Answer) -> None:
    """What runs in a linked worktree that lies in this checkout is that one's own, not this one's; so in a clone."""
    main = tmp_path / "main"
    git("init", "--quiet", main)
    git("-C", main, "commit", "--quiet", "--allow-empty", "--message", "begin")
    worktree = main / ".worktrees" / "fix"
    git("-C", main, "worktree", "add", "--quiet", worktree)
    clone = main / "vendor" / "clone"
    git("clone", "--quiet", main, clone)
    for inside in (worktree, clone):
        with server(inside) as port:
            declare(main, port)
            declare(inside, port)

            assert verdict(answer, main) == ("conflict", "listener", 1)
            assert verdict(answer, inside) == ("ours", "listener", 0)


@pytest.mark.needs("git")
def test_a_submodule_is_a_part_of_the_checkout(tmp_path: Path, answer: Answer) -> None:
    """What runs in a submodule is the checkout's own, whose config declares its port."""
    backend, main = tmp_path / "backend", tmp_path / "main"
    for place in (backend, main):
        git("init", "--quiet", place)
        git("-C", place, "commit", "--quiet", "--allow-empty", "--message", "begin")
    git("-C", main, "submodule", "--quiet", "add", backend, "parts/backend")
    with server(main / "parts" / "backend") as port:
        declare(main, port)
        assert verdict(answer, main) == ("ours", "listener", 0)


def test_a_server_elsewhere_is_a_stranger(project: Path, tmp_path: Path, answer: Answer) -> None:
    """The same server in another directory, even one whose name begins alike, is a conflict."""
    neighbour = tmp_path / "project-two"
    neighbour.mkdir()
    with server(neighbour) as port:
        declare(project, port)

        assert verdict(answer, project) == ("conflict", "listener", 1)


@pytest.mark.needs("users")
def test_a_user_whom_the_system_does_not_know(everybodys: Path, busy: int) -> None:
    """In a container, numbers without a name and without a home are usual: the same answer, and no name is made up."""
    (everybodys / "portguard.toml").write_text(f'[ports.db]\nport = {busy}\nhost = "127.0.0.1"\n')

    done = as_user(["-m", "portguard", "check"], uid=54321, environ={"HOME": "", "USER": ""}, cwd=everybodys)

    assert done.returncode == 1, done
    assert done.stdout.startswith(f"conflict  db  127.0.0.1:{busy}/tcp")
    assert "Traceback" not in done.stderr


def test_owner_by_name(project: Path, tmp_path: Path, answer: Answer) -> None:
    """A process whose name is in `owner` may hold the port wherever it runs; another name may not."""
    import psutil

    name = psutil.Process().name()
    with server(tmp_path) as port:
        declare(project, port, f'owner = ["postgres", "{name}"]\n')
        by_name = verdict(answer, project)
        declare(project, port, 'owner = ["postgres"]\n')
        other = verdict(answer, project)

    assert by_name == ("ours", "listener", 0)
    assert other == ("conflict", "listener", 1)


def test_a_service_is_never_a_process(project: Path, answer: Answer) -> None:
    """With `service` only that service's container may hold the port, not a process of this checkout or name."""
    with server(project) as port:
        declare(project, port, 'service = "db"\nowner = ["python3"]\n')

        assert verdict(answer, project) == ("conflict", "listener", 1)


def test_a_port_by_argument_is_nobody_s(project: Path, answer: Answer) -> None:
    """A number given by argument was declared by no one, so no one holds it rightly."""
    with server(project) as port:
        declare(project, port)
        document = answer("check", f"127.0.0.1:{port}", cwd=project)

    assert document["data"]["ports"][0]["verdict"] == "conflict"
    assert document["data"]["config"] is None


def test_home_and_root_own_nothing(project: Path, answer: Answer) -> None:
    """A checkout that is the home directory would make every process ours; it makes none."""
    with server(project / "src") as port:
        declare(project, port)

        assert verdict(answer, project, env={**os.environ, "HOME": str(project)}) == ("conflict", "listener", 1)


@pytest.mark.needs("users")
def test_another_user_in_this_checkout_is_a_stranger(project: Path, answer: Answer) -> None:
    """What another user runs inside the checkout is not ours; under sudo the caller's processes are."""
    with server(project) as port:
        declare(project, port)
        os.chown(project, NOBODY, NOBODY)
        as_owner = verdict(answer, project)
        under_sudo = verdict(answer, project, env={**os.environ, "SUDO_UID": str(os.getuid())})

    assert as_owner == ("conflict", "listener", 1)
    assert under_sudo == ("ours", "listener", 0)


def test_optional_does_not_fail(project: Path, tmp_path: Path, answer: Answer) -> None:
    """A conflict on an optional port is reported and exits 0."""
    with server(tmp_path) as port:
        declare(project, port, "optional = true\n")
        document = answer("check", cwd=project)

    entry = document["data"]["ports"][0]
    assert (entry["verdict"], document["exit_code"], document["ok"]) == ("conflict", 0, True)
    assert "optional" in [note["id"] for note in entry["notes"]]


def test_duplicates_name_both_places(project: Path, portguard: Any, answer: Answer) -> None:
    """Two overlapping declarations are conflicts with both places; other protocols and addresses are none."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (project / "portguard.toml").write_text(
        f"[ports]\nweb = {port}\n"
        f'[ports.api]\nport = {port}\nhost = "127.0.0.1"\n'
        f'[ports.dns]\nport = {port}\nprotocol = "udp"\n'
    )

    document = answer("check", cwd=project)
    text = portguard("check", cwd=project).stdout
    alone = answer("check", "api", cwd=project)

    entries = {entry["name"]: entry for entry in document["data"]["ports"]}
    assert [(name, entry["verdict"], entry["cause"]) for name, entry in entries.items()] == [
        ("web", "conflict", "duplicate"),
        ("api", "conflict", "duplicate"),
        ("dns", "free", "none"),
    ]
    assert "portguard.toml:2" in text
    assert "portguard.toml:3" in text
    assert alone["exit_code"] == 1
    assert entries["web"]["suggestion"] not in (None, port)


def test_different_addresses_are_no_duplicates(project: Path, answer: Answer) -> None:
    """The same number on 127.0.0.1 and ::1 is two endpoints."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (project / "portguard.toml").write_text(
        f'[ports.a]\nport = {port}\nhost = "127.0.0.1"\n[ports.b]\nport = {port}\nhost = "::1"\n'
    )

    assert "conflict" not in [entry["verdict"] for entry in answer("check", cwd=project)["data"]["ports"]]


def test_a_duplicate_made_by_a_variable(project: Path, answer: Answer) -> None:
    """What counts is the number in force: a variable can make a duplicate, and resolve one."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        first, second = one.getsockname()[1], two.getsockname()[1]
    (project / "portguard.toml").write_text(f'[ports.a]\nport = {first}\n[ports.b]\nport = {second}\nenv = "B_PORT"\n')

    moved = answer("check", cwd=project, env={**os.environ, "B_PORT": str(first)})

    assert [entry["cause"] for entry in moved["data"]["ports"]] == ["duplicate", "duplicate"]
    assert answer("check", cwd=project)["exit_code"] == 0


def test_names_select(project: Path, answer: Answer, portguard: Any) -> None:
    """Names pick declarations, with a protocol where wanted; unknown ones exit 2 with the likely name."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (project / "portguard.toml").write_text(
        f'[ports]\nweb = {port}\n[ports.dns]\nport = {port}\nhost = "::1"\nprotocol = ["udp", "tcp"]\n'
    )

    chosen = answer("check", "dns/udp", cwd=project)["data"]["ports"]
    again = answer("check", "dns", "web", "dns/tcp", "web", "dns/udp", cwd=project)["data"]["ports"]
    unknown = portguard("check", "wbe", cwd=project)
    wrong = portguard("check", "web/udp", cwd=project)

    assert [(entry["name"], entry["protocol"]) for entry in chosen] == [("dns", "udp")]
    assert [(entry["name"], entry["protocol"]) for entry in again] == [("dns", "udp"), ("dns", "tcp"), ("web", "tcp")]
    assert (unknown.returncode, wrong.returncode) == (2, 2)
    assert "did you mean 'web'?" in unknown.stderr
    assert "not udp" in wrong.stderr


def test_suggestion_is_really_free(project: Path, tmp_path: Path, answer: Answer) -> None:
    """The number suggested instead can be bound, and for a movable port the variable is named."""
    with server(tmp_path) as port:
        declare(project, port, 'env = "DB_PORT"\n')
        entry = answer("check", cwd=project)["data"]["ports"][0]

    with socket.create_server(("127.0.0.1", entry["suggestion"])):
        pass
    assert f"DB_PORT={entry['suggestion']}" in entry["hint"]


def _suggestions() -> tuple[int | None, int | None]:
    """Return what is suggested beside a busy port, before and after the number next to it is handed out."""
    with socket.create_server(("", 20_000)):
        before = library.check(20_000).ports[0].suggestion
        library.free(within=(20_001, 20_001))
        return before, library.check(20_000).ports[0].suggestion


@pytest.mark.needs("netns")
def test_suggestion_is_nobody_s() -> None:
    """A number that was handed out to someone is not suggested to another."""
    from tests.worlds.netns import run_in_netns

    assert run_in_netns(_suggestions) == (20_001, 20_002)


@pytest.mark.parametrize(
    ("number", "note"), [(80, "well-known"), (6000, "browser-blocked"), (40000, "ephemeral"), (8080, None)]
)
@pytest.mark.needs("netns")
def test_notes_about_the_number(number: int, note: str | None) -> None:
    """Well-known, browser-blocked and ephemeral numbers are said to be so; an ordinary one is not."""
    from tests.worlds.netns import run_in_netns

    report = run_in_netns(library.check, number)

    assert [found.id for found in report.ports[0].notes] == ([note] if note else [])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("8000-8010", "'8000-8010' is not a port, and no declaration has that name: no portguard.toml"),
        ("::1", "write [::1]:PORT"),
        ("::1:8080/udp", "write [::1]:PORT"),
        ("127.0.0.1:80:80", "write 127.0.0.1:PORT"),
    ],
)
def test_what_is_no_port_is_named(portguard: Run, typed: str, said: str) -> None:
    """A word that is neither a port nor declared is repeated, and an address without brackets is given some."""
    done = portguard("check", typed)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize("command", [["check"], ["kill", "--dry-run"]], ids=" ".join)
def test_from_a_directory_that_is_gone(tmp_path: Path, busy: int, command: list[str]) -> None:
    """A port that is given by argument needs no directory: its holder is told from a removed one, too."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'rmdir "{gone}" && exec "$@"'
    argv = ["sh", "-c", script, "sh", *PORTGUARD, *command, f"127.0.0.1:{busy}"]
    done = subprocess.run(argv, cwd=gone, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stderr.count("note: ")) == (1, done.stderr.count("\n"))
    assert f"(pid {os.getpid()}" in done.stdout


def test_the_library_answers_alike(project: Path, tmp_path: Path, answer: Answer) -> None:
    """`portguard.check` returns what the document says."""
    with server(tmp_path) as port:
        declare(project, port)
        document = answer("check", cwd=project)
        report = library.check(cwd=str(project))

    entry = document["data"]["ports"][0]
    found = report.ports[0]
    assert (report.exit_code, report.ok, report.config) == (1, False, document["data"]["config"])
    assert report.summary == document["data"]["summary"]
    for key in ("name", "port", "verdict", "cause", "message", "hint"):
        assert getattr(found, key) == entry[key]
    assert found.holders[0].processes[0].pid == entry["holders"][0]["processes"][0]["pid"]


def test_an_empty_table_declares_nothing(project: Path, portguard: Any) -> None:
    """A config with an empty [ports] is valid: nothing declared, nothing wrong."""
    (project / "portguard.toml").write_text("[ports]\n")

    done = portguard("check", cwd=project)

    assert (done.returncode, done.stdout) == (0, "0 ports: none declared (portguard.toml)\n")


def test_the_printed_command_frees_the_port(tmp_path: Path, answer: Answer) -> None:
    """A plain process: the command of the hint, run as printed, ends the holder, and the port is free."""
    with server(tmp_path) as port:
        hint = answer("check", f"127.0.0.1:{port}")["data"]["ports"][0]["hint"]
        command = hint.removeprefix("stop it: ").partition(",")[0]
        assert subprocess.run(shlex.split(command), timeout=10, check=False).returncode == 0
        deadline = time.monotonic() + 10
        while answer("check", f"127.0.0.1:{port}")["exit_code"] != 0:
            assert time.monotonic() < deadline
