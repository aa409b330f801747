"""`kill`: no one is ended without consent, and what is said and written can be relied on, whatever names are in it."""

from __future__ import annotations

import json
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_run import Terminal, ours
from tests.conftest import PORTGUARD
from tests.worlds.holders import fresh_port
from tests.worlds.killing import Endpoint, bystanders, kill, run, victim
from tests.worlds.processes import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched by pidfds")

Answer = Callable[..., dict[str, Any]]

_PORT_KEYS = {
    "target", "port", "protocol", "hosts", "status", "message", "hint", "actions", "holders", "successors",
}  # fmt: skip
_ACTION_KEYS = {"kind", "name", "text", "pids", "id", "needs_name"}
# An escape sequence, the ends of lines, C1 in UTF-8, a change of direction, C1 alone: 12 of at most 15 bytes.
_NAME = b"\x1b]0;\n\r\xc2\x9b\xe2\x80\xae\x9d"


@pytest.fixture
def here() -> Endpoint:
    """Return an endpoint that no one has, on a number that no one has."""
    return Endpoint("127.0.0.1", fresh_port())


# ---------------------------------------------------------------- without a terminal


def test_nobody_to_ask(tmp_path: Path, here: Endpoint) -> None:
    """Without --yes and a terminal: 2, no one is asked to end; plan and next step on stderr, whatever stdin says."""
    with victim(tmp_path, here, on_term="ignore") as server, bystanders([here]):
        for options in ({}, {"stdin": None, "input": b"y\n"}):
            done = run(here.target, cwd=tmp_path, **options)

            assert (done.returncode, done.stdout) == (2, b"")
            said = done.stderr.decode()
            assert f"would end victim (pid {server.pids[0]}" in said
            assert f"next: portguard kill --yes {here.target}\n" in said
        assert (server.running, server.signals()) == (server.pids, 0)


@pytest.mark.parametrize("options", [["--force"], ["--tree"], ["--force", "--tree"]], ids=" ".join)
def test_the_next_step_is_what_was_asked(tmp_path: Path, here: Endpoint, options: list[str]) -> None:
    """The command that is named does what was asked for: with the same options."""
    with victim(tmp_path, here, supervises=True):
        said = run(*options, here.target, cwd=tmp_path).stderr.decode()

    (named,) = re.findall("next: (.*)", said)
    assert {*options, "--yes", here.target} <= set(shlex.split(named))


def test_the_next_step_is_for_a_shell(tmp_path: Path, here: Endpoint) -> None:
    """Brackets, which are patterns to a shell, are quoted in the command that is named."""
    there = Endpoint("::1", here.port)
    with victim(tmp_path, there):
        said = run(there.target, cwd=tmp_path).stderr.decode()

    assert f"portguard kill --yes '{there.target}'" in said


@pytest.mark.parametrize("is_json", [False, True], ids=["text", "json"])
def test_with_dry_run_the_plan_is_the_answer_0(tmp_path: Path, here: Endpoint, is_json: bool) -> None:
    """With --dry-run the plan is the answer, 0, and no one is asked to end, --yes and --force or not."""
    options = ["--dry-run", "--yes", "--force", *(["--json"] if is_json else [])]
    with victim(tmp_path, here, on_term="ignore") as server, bystanders([here]):
        done = run(*options, here.target, cwd=tmp_path)

        assert (done.returncode, done.stderr) == (0, b"")
        assert (server.running, server.signals()) == (server.pids, 0)
    if not is_json:
        assert f"would end victim (pid {server.pids[0]}" in done.stdout.decode()
        return
    data = json.loads(done.stdout)["data"]
    assert (data["dry_run"], [entry["status"] for entry in data["ports"]]) == (True, ["planned"])
    assert data["ports"][0]["actions"][0]["pids"] == server.pids
    assert data["ports"][0]["successors"] == []


def test_dry_run_of_nobody(portguard: Callable[..., Any], idle: int) -> None:
    """A plan that would not free the port is 1."""
    done = portguard("kill", "--dry-run", idle)

    assert (done.returncode, done.stderr) == (1, "")
    assert "not in use" in done.stdout


def test_keys(tmp_path: Path, here: Endpoint, answer: Answer) -> None:
    """The documented keys and no others, of those that were ended and of no one, on failures as well."""
    with victim(tmp_path, here) as server:
        documents = {name: answer("kill", option, here.target) for name, option in
                     (("plan", "--dry-run"), ("done", "--yes"), ("nobody", "--yes"))}  # fmt: skip
    failed = answer("kill", "web")

    for document in (*documents.values(), failed):
        assert set(document) == {"schema_version", "command", "ok", "exit_code", "data", "errors"}
        assert (document["schema_version"], document["command"]) == (1, "kill")
        assert document["ok"] == (document["exit_code"] == 0)
        assert set(document["data"]) == {"dry_run", "ports", "notes"}
        for entry in document["data"]["ports"]:
            assert set(entry) == _PORT_KEYS
            assert all(set(action) == _ACTION_KEYS for action in entry["actions"])
    entries = {name: document["data"]["ports"][0] for name, document in documents.items()}
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "plan": "planned", "done": "freed", "nobody": "nobody",
    }  # fmt: skip
    assert [documents[name]["data"]["dry_run"] for name in entries] == [True, False, False]
    (action,) = entries["done"].pop("actions")
    assert action["text"].startswith(f"victim (pid {server.pids[0]}")
    assert {key: value for key, value in action.items() if key != "text"} == {
        "kind": "process", "name": "victim", "pids": server.pids, "id": None, "needs_name": False,
    }  # fmt: skip
    done = entries["done"]
    assert (done["target"], done["port"], done["protocol"], done["hosts"]) == (
        here.target, here.port, "tcp", [here.address],
    )  # fmt: skip
    assert [process["pid"] for holder in done["holders"] for process in holder["processes"]] == server.pids
    assert (failed["exit_code"], failed["data"]["ports"], failed["errors"][0]["code"]) == (2, [], "usage")


# ---------------------------------------------------------------- hostile names


def assert_tame(output: bytes) -> None:
    """Assert that it is text and the ends of lines: no control byte, no format character."""
    kinds = {character: unicodedata.category(character) for character in output.decode()}
    assert {character for character, kind in kinds.items() if kind in ("Cc", "Cf", "Cs", "Zl", "Zp")} <= {"\n"}


def test_hostile_names(tmp_path: Path, here: Endpoint) -> None:
    """Plan, refusal, outcome, a supervisor in a hint and JSON are tame; JSON gives the very bytes back."""
    with victim(tmp_path, here, supervises=True, name=_NAME.hex()) as server:
        assert Path(f"/proc/{server.pids[0]}/comm").read_bytes() == _NAME + b"\n"
        said = [
            run("--dry-run", "--tree", "--json", here.target, cwd=tmp_path),
            run(here.target, cwd=tmp_path),
            run("--yes", here.target, cwd=tmp_path),
            run("--yes", "--tree", here.target, cwd=tmp_path),
        ]

    assert [done.returncode for done in said] == [0, 2, 1, 0]
    for done in said:
        assert_tame(done.stdout + done.stderr)
    assert [len(done.stdout.splitlines()) for done in said] == [1, 0, 3, 1]
    assert f"(pid {server.pids[0]}) starts it again".encode() in said[2].stdout
    (action,) = json.loads(said[0].stdout)["data"]["ports"][0]["actions"]
    assert action["name"].encode(errors="surrogateescape") == _NAME
    assert said[0].stdout.isascii()


def test_no_colour_off_a_terminal(tmp_path: Path, here: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Piped output has no escape sequence, whatever the environment asks for."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with victim(tmp_path, here):
        said = [run(*options, here.target, cwd=tmp_path) for options in (["--dry-run"], [], ["--yes"])]

    assert [done.returncode for done in said] == [0, 2, 0]
    assert b"\x1b" not in b"".join(done.stdout + done.stderr for done in said)


# ---------------------------------------------------------------- at a terminal


QUESTION = r"Go ahead\? \[y/N\]"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Open a terminal of 80 columns in the test's directory."""
    found = Terminal(tmp_path)
    try:
        found._tmux("resize-window", "-x", "80", "-y", "50")
        found.type("stty size")
        found.shows("50 80")
        yield found
    finally:
        found.close()


def ask(terminal: Terminal, *arguments: str) -> None:
    """Type the command, and wait for its question."""
    terminal.type(shlex.join([*PORTGUARD, "kill", *arguments]))
    terminal.shows(QUESTION)


def code_of(terminal: Terminal) -> int:
    """Return what the last command exited with, when the shell is back."""
    eventually(lambda: not ours("portguard"), "it still runs")
    terminal.type("echo code=$?")
    return int(terminal.shows(r"code=\d+").partition("=")[2])


@pytest.mark.needs("tmux")
def test_the_plan_is_shown_before_the_question(terminal: Terminal, tmp_path: Path, here: Endpoint) -> None:
    """The plan is shown before the question; y frees the port, and clients live on."""
    with victim(tmp_path, here) as server, bystanders([here]):
        ask(terminal, here.target)
        assert re.search(rf"would end victim \(pid {server.pids[0]}.*\n(.*\n)*{QUESTION}", terminal.screen())
        assert server.running == server.pids
        terminal.type("y")
        terminal.shows(rf"{here.target}/tcp +freed: .*")

        assert (code_of(terminal), server.running) == (0, [])
        assert here.can_bind()


@pytest.mark.needs("tmux")
def test_anything_else_is_no(terminal: Terminal, tmp_path: Path, here: Endpoint) -> None:
    """n, nothing, what only begins like a yes, and Ctrl-D: 1, and no one is asked to end."""
    with victim(tmp_path, here, on_term="ignore") as server, bystanders([here]):
        for answer in ("n", "", "yep", "C-d"):
            terminal.type("clear")
            eventually(lambda: not re.search("code=", terminal.screen()), "it is not cleared")
            ask(terminal, here.target)
            if answer == "C-d":
                terminal.press(answer)
            else:
                terminal.type(answer)
            assert code_of(terminal) == 1, answer
            assert "nothing was stopped" in terminal.screen()
        assert (server.running, server.signals()) == (server.pids, 0)
        assert not here.can_bind()


@pytest.mark.needs("tmux")
def test_interrupted_at_the_question(terminal: Terminal, tmp_path: Path, here: Endpoint) -> None:
    """Ctrl-C at the question: 130, and no one is asked to end; the terminal echoes again."""
    with victim(tmp_path, here, on_term="ignore") as server, bystanders([here]):
        ask(terminal, "--force", here.target)
        terminal.press("C-c")

        assert code_of(terminal) == 130
        assert (server.running, server.signals()) == (server.pids, 0)
        assert "Traceback" not in terminal.screen()


@pytest.mark.needs("tmux")
def test_window_closed_at_the_question(terminal: Terminal, tmp_path: Path, here: Endpoint) -> None:
    """The window closed while it asks: it ends, and no one is asked to."""
    with victim(tmp_path, here, on_term="ignore") as server, bystanders([here]):
        ask(terminal, "--force", here.target)
        assert ours("portguard")
        terminal.close()
        eventually(lambda: not ours("portguard"), "it still runs")

        assert (server.running, server.signals()) == (server.pids, 0)
        assert not here.can_bind()


@pytest.mark.needs("tmux")
def test_json_is_asked_for_on_stderr(terminal: Terminal, tmp_path: Path, here: Endpoint) -> None:
    """With --json the question is on stderr, and stdout one document: no is `declined`."""
    with victim(tmp_path, here, on_term="ignore") as server:
        terminal.type(f"{shlex.join([*PORTGUARD, 'kill', '--json', here.target])} > told")
        terminal.shows(QUESTION)
        terminal.type("n")

        assert code_of(terminal) == 1
        document = json.loads((tmp_path / "told").read_text())
        assert [entry["status"] for entry in document["data"]["ports"]] == ["declined"]
        assert (document["exit_code"], server.signals()) == (1, 0)


def test_yes_is_enough_without_a_terminal(tmp_path: Path, here: Endpoint) -> None:
    """With --yes no one is asked."""
    with victim(tmp_path, here) as server:
        assert kill(tmp_path, {here.target: [here]})[here.target]["status"] == "freed"
        assert server.running == []
