"""The contract for programs: exit codes and documents of the installed command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portguard.cli.command import COMMANDS
from portguard.errors import EXIT_CODES
from portguard.leases.table import locked
from portguard.render import documents
from portguard.rules.verdicts import worst
from portguard.system import kernel
from tests.conftest import PORTGUARD, Run
from tests.worlds.processes import eventually, is_at_the_table

Answer = Callable[..., dict[str, Any]]

ROOT = Path(__file__).parents[2]
PORT_KEYS = {
    "name", "port", "declared_port", "protocol", "hosts", "env", "service", "source", "verdict", "cause", "message",
    "hint", "suggestion", "notes", "holders", "optional",
}  # fmt: skip
HOLDER_KEYS = {
    "protocol", "address", "port", "state", "owner_status", "processes", "processes_complete", "container", "unit",
    "uid", "user_unit",
}  # fmt: skip
PROCESS_KEYS = {"pid", "name", "user", "exe", "cwd", "started_at", "parent_pid", "uid", "cwd_is_shared"}


def test_the_readme_has_the_table_of_exit_codes() -> None:
    """The README's table is the one that `--help` and the reference are made from."""
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert {int(code): meaning for code, meaning in rows} == EXIT_CODES


def test_the_command_these_tests_run_is_the_installed_one() -> None:
    """The command these tests run is the installed one."""
    assert Path(PORTGUARD[0]).is_file()


def test_0_free(portguard: Run, idle: int) -> None:
    """A free port: exit 0, one line, nothing on standard error but notes."""
    done = portguard("check", f"127.0.0.1:{idle}")

    assert (done.returncode, done.stdout) == (0, "1 port: 1 free\n")
    assert all(line.startswith("note: ") for line in done.stderr.splitlines())


def test_1_conflict(portguard: Run, busy: int) -> None:
    """A busy port: exit 1, and the text names endpoint, process, pid, and the next step."""
    done = portguard("check", f"127.0.0.1:{busy}")

    assert done.returncode == 1
    assert f"127.0.0.1:{busy}/tcp" in done.stdout
    assert f"pid {os.getpid()}" in done.stdout
    assert f"kill {os.getpid()}" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 port: 1 conflict"


def test_an_address_this_host_does_not_have(answer: Answer, idle: int) -> None:
    """An address this host does not have: exit 1, unavailable, not a conflict."""
    document = answer("check", f"192.0.2.1:{idle}")

    port = document["data"]["ports"][0]
    assert (document["exit_code"], port["verdict"], port["cause"]) == (1, "unavailable", "address-not-local")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", "--nope"],
        ["check", "web"],
        ["check", "0"],
        ["check", "65536"],
        ["check", "3000/sctp"],
        ["check", "::1:3000"],
        ["check", "example.org:3000"],
        ["check", "--config", "missing.toml"],
        ["free", "--count", "x"],
        ["free", "--count", "0"],
        ["free", "--range", "9-1"],
        ["free", "extra"],
        ["nonsense"],
        [],
    ],
    ids=" ".join,
)
def test_2_asked_wrongly(portguard: Run, arguments: list[str]) -> None:
    """Whatever is asked wrongly exits 2 and says so on standard error; with --json there is a document as well."""
    done = portguard(*arguments)
    with_json = portguard(*arguments, "--json")

    assert done.returncode == 2
    assert done.stderr or not arguments
    assert "Traceback" not in done.stderr
    document = json.loads(with_json.stdout)
    assert (document["exit_code"], document["ok"]) == (2, False)
    assert document["errors"][0]["message"]


def test_a_failure_has_the_keys_of_an_answer(answer: Answer, tmp_path: Path, busy: int, idle: int) -> None:
    """A program that reads `data` finds the same keys in it when it asked wrongly."""
    (tmp_path / "portguard.toml").write_text(f"[ports]\nweb = {idle}\n")
    answers: list[list[str | int]] = [
        ["check"], ["free"], ["list"], ["who", busy], ["kill", "--dry-run", idle], ["wait", busy], ["info", busy],
        ["leases"], ["env"], ["lint"], ["init"], ["schema"],
    ]  # fmt: skip

    for words in answers:
        assert set(documents.empty(COMMANDS[str(words[0])])) == set(answer(*words)["data"]), words
    assert answer("who", "no-port")["data"] == {"ports": [], "notes": []}


@pytest.mark.parametrize("asked", ["free", "--help", "--version"])
def test_3_could_not_do_it(asked: str) -> None:
    """An answer that cannot be written exits 3, says so, and is no traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PORTGUARD, asked], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False
        )

    assert done.returncode == 3
    assert done.stderr.startswith("portguard: could not write the answer")
    assert "Traceback" not in done.stderr


def test_no_masks_could_not_be_written(busy: int) -> None:
    """A conflict whose answer cannot be written still exits 1: no is worse than could not."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PORTGUARD, "check", f"127.0.0.1:{busy}"], stdout=full, timeout=30, check=False)

    assert done.returncode == 1


def test_4_a_bug(tmp_path: Path, portguard: Run) -> None:
    """A bug exits 4 in one line with the way to report it; the traceback only with PORTGUARD_DEBUG=1."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import portguard.api.check\n"
        "def check(*args, **kwargs):\n"
        "    raise ZeroDivisionError('on \\x1b[31mpurpose')\n"
        "portguard.api.check.check = check\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(broken)}

    plain = portguard("check", "3000", env=environ)
    debug = portguard("check", "3000", "--json", env={**environ, "PORTGUARD_DEBUG": "1"})

    assert plain.returncode == debug.returncode == 4
    assert len(plain.stderr.splitlines()) == 2
    assert "this is a bug in portguard: ZeroDivisionError" in plain.stderr
    assert "PORTGUARD_DEBUG=1" in plain.stderr
    assert "\x1b" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert json.loads(debug.stdout)["errors"][0]["code"] == "bug"


def test_130_interrupted(tmp_path: Path) -> None:
    """SIGINT while waiting for the store's lock exits 130 without a traceback."""
    with locked(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()):
        child = subprocess.Popen(
            [*PORTGUARD, "free"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        eventually(lambda: is_at_the_table(child.pid), "it does not wait for the lock")
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=10)

    assert (child.returncode, out) == (130, "")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("codes", "winner"),
    [([], 0), ([0, 3], 3), ([3, 1], 1), ([1, 2], 2), ([2, 4], 4), ([0, 1, 2, 3, 4], 4), ([3, 0, 1], 1), ([1, 3], 1)],
)
def test_4_2_1_3_0_in_every_order(codes: list[int], winner: int) -> None:
    """4 > 2 > 1 > 3 > 0, in every order."""
    assert worst(codes) == worst(reversed(codes)) == winner


def test_several_ports_the_worst_wins(portguard: Run, busy: int, idle: int) -> None:
    """One conflict among free ports exits 1, whichever comes first."""
    both = [f"127.0.0.1:{busy}", f"127.0.0.1:{idle}"]

    assert portguard("check", *both).returncode == portguard("check", *reversed(both)).returncode == 1


def test_document_of_a_check(answer: Answer, busy: int, tmp_path: Path) -> None:
    """The keys of the document, its entries, holders and processes are exactly the documented ones."""
    (tmp_path / "portguard.toml").write_text(
        f'[ports.db]\nport = {busy}\nhost = "127.0.0.1"\nprotocol = ["tcp", "udp"]\n'
    )

    document = answer("check")

    assert set(document) == {"schema_version", "command", "ok", "exit_code", "data", "errors"}
    assert (document["schema_version"], document["command"], document["ok"]) == (1, "check", False)
    data = document["data"]
    assert set(data) == {"config", "sources", "ports", "summary", "notes"}
    assert data["config"] == str(tmp_path / "portguard.toml")
    assert [(port["name"], port["protocol"], port["verdict"]) for port in data["ports"]] == [
        ("db", "tcp", "conflict"),
        ("db", "udp", "free"),
    ]
    assert data["summary"] == {"free": 1, "ours": 0, "conflict": 1, "unavailable": 0, "unknown": 0}
    for port in data["ports"]:
        assert set(port) == PORT_KEYS
        assert port["source"] == {"file": str(tmp_path / "portguard.toml"), "line": 1}
        assert all(set(note) == {"id", "message", "source"} for note in port["notes"])
    holder = data["ports"][0]["holders"][0]
    assert set(holder) == HOLDER_KEYS
    assert (holder["state"], holder["owner_status"], holder["container"], holder["unit"]) == (
        "listen",
        "known",
        None,
        None,
    )
    process = holder["processes"][0]
    assert set(process) == PROCESS_KEYS
    assert (process["pid"], process["parent_pid"]) == (os.getpid(), os.getppid())
    assert process["started_at"].endswith("Z")


def test_text_has_no_escapes_when_piped(portguard: Run, busy: int) -> None:
    """Without a terminal there is no ESC byte, whatever FORCE_COLOR and GITHUB_ACTIONS say; help included."""
    environ = {**os.environ, "FORCE_COLOR": "1", "GITHUB_ACTIONS": "true", "CLICOLOR_FORCE": "1"}

    for arguments in (["check", str(busy)], ["--help"], ["check", "--help"], ["check", "--nope"], ["free"]):
        done = portguard(*arguments, env=environ)
        assert "\x1b" not in done.stdout + done.stderr, arguments


def test_quiet_prints_nothing(portguard: Run, busy: int, idle: int) -> None:
    """--quiet leaves the answer to the exit code."""
    conflict = portguard("check", f"127.0.0.1:{busy}", "--quiet")
    free = portguard("check", f"127.0.0.1:{idle}", "-q")

    assert (conflict.returncode, conflict.stdout, conflict.stderr) == (1, "", "")
    assert (free.returncode, free.stdout, free.stderr) == (0, "", "")


def test_a_reader_that_goes_away(busy: int) -> None:
    """`portguard check | head -0`: no traceback, and the answer stays no."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*PORTGUARD, "check", f"127.0.0.1:{busy}"], stdout=write, stderr=subprocess.PIPE, timeout=30, check=False
        )
    finally:
        os.close(write)

    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.needs("netns")
def test_a_reader_that_goes_away_where_there_is_no_dev(idle: int) -> None:
    """In a root directory without /dev/null, too, the answer that no one reads is one sentence and exit code 3."""
    read, write = os.pipe()
    os.close(read)
    inside = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh"]
    try:
        done = subprocess.run(
            [*inside, *PORTGUARD, "check", f"127.0.0.1:{idle}"],
            stdout=write, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
        )  # fmt: skip
    finally:
        os.close(write)

    assert done.returncode == 3
    assert "the reader closed it" in done.stderr
    assert "ignored" not in done.stderr


@pytest.mark.parametrize(
    ("words", "streams", "exit_code", "out"),
    [
        ("--help", ">/dev/full", 3, ""),
        ("--version", ">&-", 3, ""),
        ("check --nope", "2>/dev/full", 2, ""),
        ("", "2>/dev/full", 2, ""),
        ("check --nope --json", "2>&-", 2, "{"),
        ("check --nope", "<&- >&- 2>&-", 2, ""),
    ],
)
def test_streams_that_take_nothing(words: str, streams: str, exit_code: int, out: str) -> None:
    """Help that no one can read is no yes, and what was asked wrongly stays that; never a bug, nor the other stream."""
    done = subprocess.run(
        ["sh", "-c", f'"$0" {words} {streams}', *PORTGUARD], capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == exit_code, done
    assert done.stdout[:1] == out
    assert "bug" not in done.stderr
    if out:
        assert json.loads(done.stdout)["exit_code"] == exit_code


def test_ascii_locale(tmp_path: Path, portguard: Run) -> None:
    """In a locale without Unicode, messages come out escaped instead of failing."""
    (tmp_path / "portguard.toml").write_text("[ports]\nwebb = 0\nwéb = 0\n")

    done = portguard("check", env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})

    assert done.returncode == 2
    assert done.stderr.isascii()


def test_the_end_comes_at_once_and_loses_nothing(idle: int, tmp_path: Path) -> None:
    """The console's end writes what is still buffered, and waits for threads that someone started."""
    program = f"""
import sys
from portguard.cli import main
sys.argv = ["portguard", "check", "127.0.0.1:{idle}"]
print("before", end="")
THREAD
main.console()
"""
    thread = "import threading as t; t.Thread(target=lambda: (t.main_thread().join(), print('after'))).start()"
    for more, told in (("", "before1 port: 1 free\n"), (thread, "before1 port: 1 free\nafter\n")):
        argv = [sys.executable, "-c", program.replace("THREAD", more)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, told), done


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["check", "busy"], 1), (["check", "99999"], 2)])
def test_the_end_has_the_code_of_the_answer(tmp_path: Path, busy: int, arguments: list[str], code: int) -> None:
    """Through either door, with standard output and error closed or open: the console ends with main's code."""
    words = [f"127.0.0.1:{busy}" if word == "busy" else word for word in arguments]
    for redirection in ("", "2>&-"):
        command = f'"$@" {redirection} >/dev/null'
        done = subprocess.run(["sh", "-c", command, "sh", *PORTGUARD, *words], check=False, cwd=tmp_path)
        assert done.returncode == code


def test_module_and_version() -> None:
    """`python -m portguard --version` prints the package's version."""
    import portguard

    done = subprocess.run(
        [sys.executable, "-m", "portguard", "--version"], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout == f"portguard {portguard.__version__}\n"
