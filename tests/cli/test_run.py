"""`run`, with real commands: exit codes, signals, what is passed on, what is left (nothing), in a real terminal."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import pytest

from portguard import free_port
from portguard.leases.files import LOCK_DEADLINE
from portguard.leases.table import locked
from portguard.system import kernel
from tests.amount import examples
from tests.conftest import PORTGUARD, Run
from tests.worlds.capabilities import NOBODY
from tests.worlds.processes import eventually, is_at_the_table
from tests.worlds.servers import plain_server
from tests.worlds.users import as_user

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are held ports for on Linux")

Answer = Callable[..., dict[str, Any]]

TIMEOUT = 30.0
SIGNALS = [
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGUSR1,
]  # fmt: skip
# Exits 7 at any of three signals. It looks again and again: a handler that is due right before a call runs after it.
TRAPPING = """
import select, signal, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda *_: sys.exit(7))
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.1)[0]:
    pass
"""
# A server without SO_REUSEADDR, which cannot start where anything is bound; prints what came of it.
PLAIN = """
import errno, socketserver, sys
try:
    with socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), socketserver.BaseRequestHandler):
        print("started")
except OSError as error:
    print(errno.errorcode[error.errno])
"""
NODE = """
require("http").createServer((_, response) => response.end("hello\\n"))
  .listen(process.argv[1] === "fd" ? { fd: 3 } : Number(process.argv[1]), () => console.log("ready"));
"""
# Says what sockets it was handed, serves one connection on the first, and ends.
HANDED = """
import json, os, socket, sys
count = int(os.environ["LISTEN_FDS"])
found = []
for fd in range(3, 3 + count):
    sock = socket.socket(fileno=os.dup(fd))
    is_tcp = sock.type == socket.SOCK_STREAM
    found.append([
        sock.family.name, sock.type.name, sock.getsockname()[0], sock.getsockname()[1],
        bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)),
        sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
    ])
    sock.close()
print(json.dumps({
    "pid": os.getpid(), "sockets": found, "fds": sorted(map(int, os.listdir("/proc/self/fd"))),
    "listen_pid": os.environ["LISTEN_PID"], "names": os.environ["LISTEN_FDNAMES"],
}), flush=True)
sys.stdin.readline()
connection, _ = socket.socket(fileno=3).accept()
connection.sendall(b"hello")
"""


def is_running(pid: int) -> bool:
    """Whether there is such a process; who has ended and waits to be reaped is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ours(name: str | None = None) -> list[int]:
    """Return the processes below this test's `portguard`s: its state directory stands in their environment."""
    mark = os.fsencode(f"PORTGUARD_STATE_DIR={os.environ['PORTGUARD_STATE_DIR']}")
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if int(entry) == os.getpid() or mark not in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                continue
            comm = Path(f"/proc/{entry}/comm").read_text().removesuffix("\n")
            if is_running(int(entry)) and name in (None, comm):
                found.append(int(entry))
    return found


def holders() -> list[int]:
    """Return the processes that hold ports for this test."""
    return ours("portguard-hold")


def can_bind(port: int, *, reuse: bool = False, kind: int = socket.SOCK_STREAM) -> bool:
    """Whether the port can be bound on every address."""
    with socket.socket(socket.AF_INET6, kind) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        try:
            sock.bind(("::", port))
        except OSError:
            return False
        return True


def is_held(port: int) -> bool:
    """Whether someone holds the port, and does not listen: the option alone decides who can bind it."""
    return not can_bind(port) and can_bind(port, reuse=True)


def write(directory: Path, port: int, *more: str, name: str = "web") -> None:
    """Write a config with one declaration."""
    directory.mkdir(exist_ok=True)
    (directory / "portguard.toml").write_text("\n".join([f"[ports.{name}]", f"port = {port}", *more, ""]))


@pytest.fixture
def web(tmp_path: Path) -> int:
    """Declare a free port in the test's directory, as `web` with the variable WEB_PORT."""
    port = free_port(lease=False)
    write(tmp_path, port, 'env = "WEB_PORT"')
    return port


@pytest.fixture
def nothing_left(web: int, answer: Answer) -> Iterator[None]:
    """Find, after the test, nothing of what it ran: no process, no lease, no bound port."""
    yield
    eventually(lambda: not ours(), "a process is left")
    assert answer("leases")["data"]["leases"] == []
    assert can_bind(web)


@contextlib.contextmanager
def started(cwd: Path, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run `portguard run` with pipes, in a process group of its own; it is killed when the block ends."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "process_group": 0} | options
    with subprocess.Popen([*PORTGUARD, "run", *arguments], cwd=cwd, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """Wait for a line of its output, and return it."""
    stream = process.stdout
    assert stream is not None
    assert select.select([stream], [], [], TIMEOUT)[0], "it says nothing"
    return stream.readline().removesuffix("\n")


def pipe_of(stream: IO[str] | None) -> IO[str]:
    """Return the stream, which is a pipe."""
    assert stream is not None
    return stream


# ---------------------------------------------------------------- exit codes


@pytest.mark.scaled
def test_every_exit_code(portguard: Run, web: int, nothing_left: None) -> None:
    """What the command exits with, 0 to 127 (and beyond), is what is exited with; nothing is said."""
    codes = [*range(0, 128, 128 // examples(128)), 125, 126, 127, 130, 143, 200, 255]

    def run(code: int) -> tuple[int, str, str]:
        done = portguard("run", "--", "sh", "-c", f"exit {code}")
        return done.returncode, done.stdout, done.stderr

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, codes))

    assert [code for code, _, _ in found] == codes
    assert {(out, err) for _, out, err in found} == {("", "")}


def test_a_stranger_on_the_port(portguard: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A stranger on the port: 125, the command is not run, and who it is and what to do is said."""
    with plain_server(tmp_path_factory.mktemp("elsewhere")) as port:
        write(tmp_path, port)
        done = portguard("run", "--", "touch", "ran")
        told = portguard("run", "--json", "--", "touch", "ran")

    assert (done.returncode, done.stdout, (tmp_path / "ran").exists()) == (125, "", False)
    assert f"127.0.0.1:{port}" in done.stderr
    assert "kill" in done.stderr
    document = json.loads(told.stdout)
    assert (told.returncode, told.stderr) == (125, "")
    assert (document["command"], document["ok"], document["exit_code"]) == ("run", False, 125)
    assert [(entry["name"], entry["verdict"], entry["cause"]) for entry in document["data"]["ports"]] == [
        ("web", "conflict", "listener")
    ]
    assert document["errors"][0]["code"] == "conflict"


def test_125_own_stack(portguard: Run, tmp_path: Path) -> None:
    """This project's own server is in the way as well: the command wants to start, not to hear that it runs."""
    with plain_server(tmp_path) as port:
        write(tmp_path, port)
        checked = portguard("check")
        done = portguard("run", "--", "touch", "ran")

    assert checked.returncode == 0
    assert (done.returncode, (tmp_path / "ran").exists()) == (125, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no command"),
        (["--"], "no command"),
        (["touch", "ran"], "no command"),
        (["--nope", "--", "touch", "ran"], "--nope"),
        (["nope", "--", "touch", "ran"], "'nope'"),
        (["--config", "missing.toml", "--", "touch", "ran"], "missing.toml"),
        (["--config", "broken.toml", "--", "touch", "ran"], "broken.toml:1"),
    ],
    ids=["nothing", "only dashes", "no dashes", "option", "name", "no such config", "broken config"],
)
@pytest.mark.usefixtures("nothing_left")
def test_125_asked_wrongly(portguard: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    """Whatever is wrong before the start exits 125 and is said; with --json there is a document as well."""
    (tmp_path / "broken.toml").write_text("[ports\n")

    done = portguard("run", *arguments)
    told = portguard("run", "--json", *arguments)

    assert (done.returncode, done.stdout, (tmp_path / "ran").exists()) == (125, "", False)
    assert said in done.stderr
    assert "bug" not in done.stderr
    document = json.loads(told.stdout)
    assert (told.returncode, document["exit_code"], document["ok"], document["command"]) == (125, 125, False, "run")
    assert document["errors"][0]["message"]


def test_125_no_config(portguard: Run, tmp_path: Path) -> None:
    """Without a config nothing is run."""
    done = portguard("run", "--", "touch", "ran")

    assert (done.returncode, done.stdout, (tmp_path / "ran").exists()) == (125, "", False)
    assert "portguard.toml" in done.stderr


def test_126_cannot_be_run(portguard: Run, tmp_path: Path, web: int, nothing_left: None) -> None:
    """A file that is not executable, a directory, a text without #! line, a missing interpreter's script."""
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    (tmp_path / "text").write_text("touch ran\n")
    (tmp_path / "text").chmod(0o755)

    for command, step in (("./plain", "chmod +x"), ("/", "not a directory"), ("./text", "#!/bin/sh")):
        done = portguard("run", "--", command)
        assert (done.returncode, done.stdout) == (126, ""), command
        message, hint = done.stderr.splitlines()
        assert message.startswith(f"portguard: {command}: could not be run: ")
        assert hint.startswith("  next: ")
        assert step in hint


def test_127_not_found(portguard: Run, tmp_path: Path, web: int, nothing_left: None) -> None:
    """No such command, on PATH or at a path, whatever bytes are in its name."""
    for command in ("no-such-command", "./no-such-command", "/no/such/command", "a\x1bb"):
        done = portguard("run", "--", command)
        assert (done.returncode, done.stdout) == (127, ""), command
        message, hint = done.stderr.splitlines()
        assert message.endswith(": command not found")
        assert hint.startswith("  next: check the path" if "/" in command else "  next: check its spelling")
        assert "\x1b" not in done.stderr


def test_126_and_127_have_a_document(tmp_path: Path, web: int, nothing_left: None) -> None:
    """--json prints why the command is not run, when it cannot be as well."""
    for command, code, error in (("/", 126, "not-executable"), ("no-such-command", 127, "not-found")):
        done = subprocess.run(
            [*PORTGUARD, "run", "--json", "--", command],
            cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
        document = json.loads(done.stdout)
        assert (done.returncode, document["exit_code"], document["command"]) == (code, code, "run")
        assert [item["code"] for item in document["errors"]] == [error]


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_death_by_signal(tmp_path: Path, web: int, nothing_left: None, number: signal.Signals) -> None:
    """Anyone who started it sees the very signal the command died by, from itself or sent to portguard's number."""
    by_itself = subprocess.run(
        [*PORTGUARD, "run", "--", "sh", "-c", f"ulimit -c 0; kill -{number.name.removeprefix('SIG')} $$; exit 1"],
        cwd=tmp_path, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    with started(tmp_path, "--", "sh", "-c", "ulimit -c 0; echo ready; exec cat") as process:
        assert line_of(process) == "ready"
        process.send_signal(number)
        from_outside = process.wait(TIMEOUT)

    assert by_itself.returncode == -number
    assert from_outside == -number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_trap_is_the_commands(tmp_path: Path, web: int, nothing_left: None, number: signal.Signals) -> None:
    """A signal sent to portguard's number arrives in the command, which decides what to exit with."""
    with started(tmp_path, "--", sys.executable, "-c", TRAPPING) as process:
        assert line_of(process) == "ready"
        process.send_signal(number)

        assert process.wait(TIMEOUT) == 7


def test_stop_and_continue(tmp_path: Path, web: int, nothing_left: None) -> None:
    """SIGTSTP stops it and SIGCONT continues it, seen by anyone who started it; the port stays held in the meantime."""
    with started(tmp_path, "--", "cat") as process:
        pipe_of(process.stdin).write("one\n")
        pipe_of(process.stdin).flush()
        assert line_of(process) == "one"
        process.send_signal(signal.SIGTSTP)
        stopped = os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        held = is_held(web)
        process.send_signal(signal.SIGCONT)
        continued = os.waitid(os.P_PID, process.pid, os.WCONTINUED)
        pipe_of(process.stdin).write("two\n")
        pipe_of(process.stdin).flush()
        assert line_of(process) == "two"
        pipe_of(process.stdin).close()
        assert process.wait(TIMEOUT) == 0

    assert stopped is not None
    assert (stopped.si_code, stopped.si_status) == (os.CLD_STOPPED, signal.SIGTSTP)
    assert continued is not None
    assert continued.si_code == os.CLD_CONTINUED
    assert held


def test_the_command_has_portguards_number_group_and_session(tmp_path: Path, web: int, nothing_left: None) -> None:
    """The command has portguard's number, group and session, and no child it did not start."""
    with started(tmp_path, "--", "sh", "-c", "echo $$ $PPID; exec cat") as process:
        pid, parent = map(int, line_of(process).split())
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        group, session = os.getpgid(pid), os.getsid(pid)

    assert (pid, parent) == (process.pid, os.getpid())
    assert (group, session, children) == (process.pid, os.getsid(0), "")


def test_killed_leaves_nothing(answer: Answer, tmp_path: Path, web: int, nothing_left: None) -> None:
    """While it runs there are one holder and one lease in its name; SIGKILL ends both with it."""
    with started(tmp_path, "--", "sh", "-c", "echo ready; exec cat") as process:
        assert line_of(process) == "ready"
        held_by, held = holders(), is_held(web)
        leases = answer("leases")["data"]["leases"]
        process.kill()
        assert process.wait(TIMEOUT) == -signal.SIGKILL
        eventually(lambda: can_bind(web), "the port stays held")

    assert (len(held_by), held) == (1, True)
    assert [(lease["port"], lease["kind"], lease["process"]["pid"]) for lease in leases] == [(web, "run", process.pid)]


def test_the_holder_has_nothing_but_sockets(tmp_path: Path, web: int, nothing_left: None) -> None:
    """The holder has no stream, group or directory of the command, whose pipes end where it closes them."""
    with started(tmp_path, "--", "sh", "-c", "exec >&-; exec cat >/dev/null", stderr=subprocess.PIPE) as process:
        assert pipe_of(process.stdout).read() == ""  # ends now, while the command runs
        assert process.poll() is None
        eventually(lambda: bool(holders()), "there is no holder")
        (holder,) = holders()
        kinds = sorted(os.readlink(f"/proc/{holder}/fd/{fd}") for fd in os.listdir(f"/proc/{holder}/fd"))
        cwd = os.readlink(f"/proc/{holder}/cwd")
        session, group = os.getsid(holder), os.getpgid(holder)
        parent = int(Path(f"/proc/{holder}/stat").read_text().rpartition(")")[2].split()[1])

    assert [re.sub(r"\d+", "", kind) for kind in kinds] == ["anon_inode:[pidfd]", "socket:[]"]
    assert cwd == "/"
    assert session != os.getsid(0)
    assert group == session
    assert parent not in (process.pid, os.getpid())


def test_interrupted_while_it_waits(portguard: Run, tmp_path: Path, web: int, nothing_left: None) -> None:
    """SIGINT while it waits for the store's lock: 130, no traceback, nothing left; SIGTERM kills it plainly."""
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)):
        with (
            locked(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()),
            started(tmp_path, "--", "touch", "ran", stderr=subprocess.PIPE) as process,
        ):
            eventually(lambda pid=process.pid: is_at_the_table(pid), "it does not wait")  # type: ignore[misc]
            process.send_signal(number)
            out, err = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, out, (tmp_path / "ran").exists()) == (code, "", False)
        assert "Traceback" not in err


def test_interrupted_at_once(tmp_path: Path, web: int, nothing_left: None) -> None:
    """Who waits for the lock of the store and is interrupted ends although someone else still has it."""
    with (
        locked(os.environ["PORTGUARD_STATE_DIR"], kernel.host_key()),
        started(tmp_path, "--", "true", stderr=subprocess.PIPE) as process,
    ):
        eventually(lambda: is_at_the_table(process.pid), "it does not wait")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LOCK_DEADLINE / 2)


# ---------------------------------------------------------------- what the command gets


def both(
    portguard: Run, script: str, *more: str | Path, **options: Any
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """Run a shell's script plainly and under `portguard run`; return what came of both."""
    command = ["sh", "-c", script, "sh", *map(str, more)]
    plainly = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, **options)
    return plainly, portguard("run", "--", *command, **options)


def test_signals_are_as_they_were(portguard: Run, tmp_path: Path, web: int) -> None:
    """Nothing is blocked or ignored that was not before: SIGPIPE kills, as in `yes | head -1`."""
    plainly, under = both(portguard, "grep ^Sig[BIC] /proc/self/status", cwd=tmp_path)
    with started(tmp_path, "--", "yes") as process:
        assert line_of(process) == "y"
        pipe_of(process.stdout).close()
        code = process.wait(TIMEOUT)

    assert plainly.stdout == under.stdout
    assert len(plainly.stdout.splitlines()) == 3
    assert code == -signal.SIGPIPE


def test_an_ignored_hangup_stays_ignored(portguard: Run, tmp_path: Path, web: int) -> None:
    """What `nohup` does for portguard, it does for the command."""
    script = "trap '' HUP INT; exec \"$@\""
    check = ["sh", "-c", "kill -HUP $$; kill -INT $$; echo survived"]
    done = subprocess.run(
        ["sh", "-c", script, "sh", *PORTGUARD, "run", "--", *check],
        cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "survived\n")


def test_input_output_and_errors_are_the_commands_own(
    portguard: Run, tmp_path: Path, web: int, nothing_left: None
) -> None:
    """Input, output and errors are the command's own; a pipeline ends when the command does."""
    done = portguard("run", "--", "sh", "-c", "cat; echo problem >&2", input="hello\n")
    piped = subprocess.run(
        ["sh", "-c", '"$@" | cat', "sh", *PORTGUARD, "run", "--", "echo", "hello"],
        cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "problem\n")
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize("options", [[], ["--no-hold", "--no-hold"]], ids=["front door", "Typer"])
def test_arguments_are_untouched(tmp_path: Path, web: int, options: list[str]) -> None:
    """Spaces, dashes, empty words, our own options and bytes that are no text arrive as they were written."""
    words = [
        b"a b", b"", b"--", b"-h", b"--help", b"--json", b"--config=x", b"-", b"*", b"$HOME", b"'\"\\", b"a\nb\t",
        "wéb".encode(), b"\xff\xfe", b"\x1b[31m", b"--", b"",
    ]  # fmt: skip
    done = subprocess.run(
        [*PORTGUARD, "run", *options, "--", "sh", "-c", "cat /proc/$$/cmdline", "sh", *words],
        cwd=tmp_path, capture_output=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.split(b"\0") == [b"sh", b"-c", b"cat /proc/$$/cmdline", b"sh", *words, b""]


def environment_of(cwd: Path, environ: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the variables of a command that is run with `environ`."""
    done = subprocess.run(
        [*PORTGUARD, "run", "--", "cat", "/proc/self/environ"],
        cwd=cwd, env=environ, capture_output=True, timeout=TIMEOUT, check=True,
    )  # fmt: skip
    pairs = [line.partition(b"=") for line in done.stdout.split(b"\0")[:-1]]
    assert len({name for name, _, _ in pairs}) == len(pairs)
    return {name: value for name, _, value in pairs}


def _little_environment() -> dict[bytes, bytes]:
    kept = ("PATH", "HOME", "PORTGUARD_STATE_DIR", "PYTHONPATH")
    return {name.encode(): os.environb[name.encode()] for name in kept if name in os.environ}


def test_the_declared_variables_are_added(tmp_path: Path, web: int) -> None:
    """The declared variables are added; all others stay as they were, whatever is in them."""
    environ = _little_environment() | {
        b"LC_ALL": b"C.UTF-8", b"EMPTY": b"", b"BYTES": b"\xff\xfe=x\n", b"N\xe9": b"1", b"_": b"x", b"a.b-c": b"$HOME",
    }  # fmt: skip

    assert environment_of(tmp_path, environ) == environ | {b"WEB_PORT": b"%d" % web}


@pytest.mark.parametrize("locale", [{}, {b"LANG": b"C"}, {b"LC_CTYPE": b"POSIX"}], ids=["none", "LANG", "LC_CTYPE"])
def test_environment_in_the_c_locale(tmp_path: Path, web: int, locale: dict[bytes, bytes]) -> None:
    """What Python does to its own environment in the C locale is not done to the command's."""
    environ = _little_environment() | locale

    assert environment_of(tmp_path, environ) == environ | {b"WEB_PORT": b"%d" % web}


def test_nothing_else_changes(portguard: Run, tmp_path: Path, web: int) -> None:
    """Open descriptors (0, 1 and 2), directory, limits, mask and priority are as without portguard."""
    there = tmp_path / "a b"
    there.mkdir()
    (tmp_path / "link").symlink_to(there)
    write(there, web)
    script = "ls /proc/$$/fd; pwd; readlink /proc/$$/cwd; umask; ulimit -a; nice; cat /proc/self/oom_score_adj"
    options = {"cwd": tmp_path / "link", "env": {**os.environ, "PWD": str(tmp_path / "link")}}

    plainly, under = both(portguard, script, **options)

    assert under.stdout == plainly.stdout
    assert under.stdout.splitlines()[:4] == ["0", "1", "2", str(tmp_path / "link")]
    assert under.stderr == ""


# ---------------------------------------------------------------- ports


def test_nested(portguard: Run, web: int, nothing_left: None) -> None:
    """Inside a run, another one of the same checkout runs with the same number."""
    inner = [*PORTGUARD, "run", "--", *PORTGUARD, "run", "--", "sh", "-c", "echo $WEB_PORT; exit 5"]

    done = portguard("run", "--", *inner)

    assert (done.returncode, done.stdout, done.stderr) == (5, f"{web}\n", "")


def test_the_outer_of_nested_keeps_its_hold(portguard: Run, answer: Answer, web: int, nothing_left: None) -> None:
    """When the inner run has ended, lease and hold are still the outer one's."""
    script = f"{shlex.join(PORTGUARD)} run -- true && {shlex.join(PORTGUARD)} leases --json && echo $$"
    done = portguard("run", "--", "sh", "-c", script)

    document, pid = done.stdout.splitlines()
    assert [lease["process"]["pid"] for lease in json.loads(document)["data"]["leases"]] == [int(pid)]


def test_two_clones(portguard: Run, tmp_path: Path) -> None:
    """Of two clones with the same number, the second to run is told who has it, before anything listens there."""
    port = free_port(lease=False)
    for name in ("one", "two"):
        write(tmp_path / name, port)
    with started(tmp_path / "one", "--", "sh", "-c", "echo ready; exec cat") as process:
        assert line_of(process) == "ready"
        done = portguard("run", "--json", "--", "touch", "ran", cwd=tmp_path / "two")
        told = portguard("run", "--", "touch", "ran", cwd=tmp_path / "two")
    after = portguard("run", "--", "true", cwd=tmp_path / "two")

    document = json.loads(done.stdout)
    assert (done.returncode, told.returncode, (tmp_path / "two" / "ran").exists()) == (125, 125, False)
    assert [(entry["verdict"], entry["cause"]) for entry in document["data"]["ports"]] == [("conflict", "lease")]
    assert f"process {process.pid} in {tmp_path / 'one'}" in document["data"]["ports"][0]["message"]
    assert f"process {process.pid} in {tmp_path / 'one'}" in told.stderr
    assert after.returncode == 0


@pytest.mark.parametrize(
    ("config", "options", "came"),
    [
        ([], [], "EADDRINUSE"),
        (["hold = false"], [], "started"),
        ([], ["--no-hold"], "started"),
        (['protocol = "udp"'], [], "started"),
    ],
    ids=["held", "hold = false", "--no-hold", "udp"],
)
def test_a_server_without_so_reuseaddr_cannot_start_beside_the_hold(
    portguard: Run, tmp_path: Path, config: list[str], options: list[str], came: str
) -> None:
    """A server without SO_REUSEADDR cannot start beside the hold, which proves that there is one; without it it can."""
    port = free_port(lease=False)
    write(tmp_path, port, *config)

    done = portguard("run", *options, "--", sys.executable, "-c", PLAIN, port)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{came}\n", "")


@pytest.mark.needs("ipv6")
def test_hold_where_declared(tmp_path: Path) -> None:
    """A port is held on its own addresses alone: the others stay everyone's."""
    port = free_port(lease=False)
    write(tmp_path, port, 'host = "127.0.0.1"')
    with started(tmp_path, "--", "cat"):
        eventually(lambda: bool(holders()), "there is no holder")
        found = {address: _can_bind_at(address, port) for address in ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::1")}

    assert found == {"127.0.0.1": False, "127.0.0.2": True, "0.0.0.0": False, "::1": True}


def _can_bind_at(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        try:
            sock.bind((address, port))
        except OSError:
            return False
        return True


def test_udp_is_never_held(tmp_path: Path) -> None:
    """Of a port for both protocols TCP alone is held; for UDP alone there is no holder at all."""
    port = free_port(lease=False)
    write(tmp_path, port, 'protocol = ["tcp", "udp"]')
    with started(tmp_path, "--", "cat"):
        eventually(lambda: is_held(port), "the port is not held")
        udp = can_bind(port, kind=socket.SOCK_DGRAM)
    eventually(lambda: not holders(), "the holder stays")
    write(tmp_path, port, 'protocol = "udp"')
    with started(tmp_path, "--", "sh", "-c", "echo ready; exec cat") as process:
        assert line_of(process) == "ready"
        found = holders(), can_bind(port), can_bind(port, kind=socket.SOCK_DGRAM)

    assert udp
    assert found == ([], True, True)


def answers(port: int) -> bytes:
    """Return what a web server on the port says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.needs("node")
def test_a_plain_node_server_starts_beside_the_hold(tmp_path: Path, web: int, nothing_left: None) -> None:
    """A plain node server starts beside the hold, and is reached."""
    with started(tmp_path, "--", "sh", "-c", 'exec node -e "$0" "$WEB_PORT"', NODE) as process:
        assert line_of(process) == "ready"
        held_by = holders()
        assert answers(web) == b"hello\n"
        process.terminate()
        assert process.wait(TIMEOUT) == -signal.SIGTERM

    assert len(held_by) == 1


def test_python_m_http_server_starts_beside_the_hold_is_reached(tmp_path: Path, web: int) -> None:
    """`python -m http.server` starts beside the hold, is reached, and starts again at once where it was."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "index.html").write_bytes(b"hello\n")
    script = 'exec "$0" -u -m http.server --directory served "$WEB_PORT"'
    for _ in range(2):
        with started(tmp_path, "--", "sh", "-c", script, sys.executable, stderr=subprocess.DEVNULL) as process:
            assert line_of(process).startswith("Serving HTTP on 0.0.0.0")
            assert len(holders()) == 1
            assert answers(web) == b"hello\n"


def test_move(portguard: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A stranger's number is moved only when asked for; that is said, and the number stays for the next time."""
    with plain_server(tmp_path_factory.mktemp("elsewhere")) as port:
        write(tmp_path, port, 'env = "WEB_PORT"')
        refused = portguard("run", "--", "sh", "-c", "echo $WEB_PORT")
        moved = portguard("run", "--move", "--", "sh", "-c", "echo $WEB_PORT")
        again = portguard("run", "--", "sh", "-c", "echo $WEB_PORT")
        chosen = portguard("run", "--move", "--", "true", env={**os.environ, "WEB_PORT": str(port)})

    assert (refused.returncode, refused.stdout) == (125, "")
    assert "portguard run --move" in refused.stderr
    assert moved.returncode == again.returncode == 0
    assert moved.stdout == again.stdout
    assert int(moved.stdout) != port
    assert f"moved from {port} to {moved.stdout.strip()}" in moved.stderr
    assert chosen.returncode == 125  # set on purpose: that number, or none


def test_optional_does_not_block(portguard: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A conflict on an optional port does not keep the command from running."""
    with plain_server(tmp_path_factory.mktemp("elsewhere")) as port:
        write(tmp_path, port, "optional = true", 'env = "WEB_PORT"')
        done = portguard("run", "--", "sh", "-c", "echo $WEB_PORT")

    assert (done.returncode, done.stdout) == (0, f"{port}\n")


def test_names(portguard: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With names, only what they declare is checked, taken and exported."""
    port = free_port(lease=False)
    with plain_server(tmp_path_factory.mktemp("elsewhere")) as busy:
        (tmp_path / "portguard.toml").write_text(
            f'[ports]\nweb = {{ port = {port}, env = "WEB_PORT" }}\ndb = {{ port = {busy}, env = "DB_PORT" }}\n'
        )
        script = "echo ${WEB_PORT-unset} ${DB_PORT-unset}"
        one = portguard("run", "web", "--", "sh", "-c", script)
        all_of_them = portguard("run", "--", "sh", "-c", script)

    assert (one.returncode, one.stdout) == (0, f"{port} unset\n")
    assert (all_of_them.returncode, all_of_them.stdout) == (125, "")


@pytest.mark.needs("users")
def test_as_another_user(everybodys: Path) -> None:
    """An ordinary user gets the same: variables, a hold, the command's exit code, nothing left."""
    port = free_port(lease=False)
    write(everybodys, port, 'env = "WEB_PORT"')
    for path in (everybodys, everybodys / "portguard.toml"):
        os.chown(path, NOBODY, NOBODY)
    environ = {"PORTGUARD_STATE_DIR": str(everybodys / "state")}
    script = f'echo $WEB_PORT; id -u; {shlex.quote(sys.executable)} -c "$0" $WEB_PORT 2>/dev/null || true; exit 9'
    done = as_user(["-m", "portguard", "run", "--", "sh", "-c", script, PLAIN], environ=environ, cwd=everybodys)
    eventually(lambda: can_bind(port), "the port stays held")
    left = as_user(["-m", "portguard", "leases", "--json"], environ=environ, cwd=everybodys)

    assert (done.returncode, done.stderr) == (9, "")
    assert done.stdout.splitlines()[:2] == [str(port), str(NOBODY)]
    assert json.loads(left.stdout)["data"]["leases"] == []


# ---------------------------------------------------------------- --pass-fd


@pytest.mark.needs("ipv6")
def test_sockets_are_handed_over(tmp_path: Path) -> None:
    """Listening sockets from descriptor 3 on, as sd_listen_fds(3) tells, on the declared addresses and no others."""
    ports = {name: free_port(lease=False) for name in ("every", "loopback", "one", "datagrams", "both")}
    (tmp_path / "portguard.toml").write_text(
        f"""[ports]
every = {ports["every"]}
loopback = {{ port = {ports["loopback"]}, host = "localhost" }}
one = {{ port = {ports["one"]}, host = "127.0.0.1" }}
datagrams = {{ port = {ports["datagrams"]}, host = "127.0.0.1", protocol = "udp" }}
both = {{ port = {ports["both"]}, host = "127.0.0.1", protocol = ["tcp", "udp"] }}
"""
    )
    with started(tmp_path, "--pass-fd", "--", sys.executable, "-c", HANDED) as process:
        told = json.loads(line_of(process))
        taken = {name: can_bind(port, reuse=True) for name, port in ports.items() if name != "datagrams"}
        held_by = holders()
        with socket.create_connection(("127.0.0.1", ports["every"]), timeout=TIMEOUT) as client:
            pipe_of(process.stdin).write("\n")
            pipe_of(process.stdin).flush()
            received = client.recv(100)
        assert process.wait(TIMEOUT) == 0

    stream, datagram = "SOCK_STREAM", "SOCK_DGRAM"
    assert told["sockets"] == [
        ["AF_INET6", stream, "::", ports["every"], True, True],
        ["AF_INET", stream, "127.0.0.1", ports["loopback"], True, False],
        ["AF_INET6", stream, "::1", ports["loopback"], True, False],
        ["AF_INET", stream, "127.0.0.1", ports["one"], True, False],
        ["AF_INET", datagram, "127.0.0.1", ports["datagrams"], False, False],
        ["AF_INET", stream, "127.0.0.1", ports["both"], True, False],
        ["AF_INET", datagram, "127.0.0.1", ports["both"], False, False],
    ]
    assert told["names"] == "every:loopback:loopback:one:datagrams:both:both"
    assert told["listen_pid"] == str(told["pid"]) == str(process.pid)
    assert told["fds"][:-1] == list(range(10))  # the last one lists them
    assert taken == {"every": False, "loopback": False, "one": False, "both": False}
    assert (held_by, received) == ([], b"hello")
    assert all(can_bind(port) for name, port in ports.items() if name != "every")


def test_connections_wait_for_a_slow_command(tmp_path: Path, web: int) -> None:
    """Anyone who connects before the command is up is served when it is: nothing is refused."""
    script = 'read go; exec "$0" -c "import socket; s = socket.socket(fileno=3).accept()[0]; s.sendall(b\'hello\')"'
    with started(tmp_path, "--pass-fd", "--", "sh", "-c", script, sys.executable) as process:
        eventually(lambda: not can_bind(web, reuse=True), "nobody listens")
        with socket.create_connection(("127.0.0.1", web), timeout=TIMEOUT) as client:
            pipe_of(process.stdin).write("go\n")
            pipe_of(process.stdin).flush()
            assert client.recv(100) == b"hello"


@pytest.mark.needs("node")
def test_node_takes_what_it_is_handed(tmp_path: Path, web: int) -> None:
    """With server.listen({fd: 3}) node serves on the socket."""
    with started(tmp_path, "--pass-fd", "--", "node", "-e", NODE, "fd") as process:
        assert line_of(process) == "ready"
        assert answers(web) == b"hello\n"


def test_a_command_without_its_sockets_releases_them(portguard: Run, web: int, nothing_left: None) -> None:
    """126 and 127 give back what would have been handed over."""
    assert portguard("run", "--pass-fd", "--", "no-such-command").returncode == 127
    assert portguard("run", "--pass-fd", "--", "/").returncode == 126


def test_an_optional_socket_is_left_out(
    portguard: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An optional port that a stranger has is not handed over; the others are."""
    port = free_port(lease=False)
    with plain_server(tmp_path_factory.mktemp("elsewhere")) as busy:
        (tmp_path / "portguard.toml").write_text(
            f"[ports]\nextra = {{ port = {busy}, optional = true }}\nweb = {port}\n"
        )
        done = portguard("run", "--pass-fd", "--", "sh", "-c", "echo $LISTEN_FDS $LISTEN_FDNAMES")

    assert (done.returncode, done.stdout) == (0, "1 web\n")


# ---------------------------------------------------------------- in a terminal


class Terminal:
    """An interactive bash in a real tmux."""

    def __init__(self, directory: Path) -> None:
        self._environ = {name: value for name, value in os.environ.items() if name != "TMUX"} | {
            "TMUX_TMPDIR": str(directory), "PS1": "$ ", "HOME": str(directory), "LC_ALL": "C.UTF-8", "HISTFILE": "",
        }  # fmt: skip
        self._tmux("new-session", "-d", "-x", "150", "-y", "50", "-c", str(directory), "bash", "--norc", "--noprofile")

    def _tmux(self, *arguments: str, check: bool = True) -> str:
        command = ["tmux", "-L", "run", "-f", "/dev/null", *arguments]
        done = subprocess.run(command, env=self._environ, check=check, capture_output=True, text=True, timeout=TIMEOUT)
        return done.stdout

    def type(self, text: str) -> None:
        """Type a line."""
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press a key, such as C-c."""
        self._tmux("send-keys", key)

    def screen(self) -> str:
        """Return what is to be seen, without empty lines."""
        text = self._tmux("capture-pane", "-p")
        return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())

    def shows(self, pattern: str) -> str:
        """Wait until a line that the pattern matches whole is to be seen, and return it."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            found = re.search(f"^{pattern}$", self.screen(), re.MULTILINE)
            if found is not None:
                return found[0]
            select.select([], [], [], 0.05)
        raise AssertionError(f"no {pattern!r} in:\n{self.screen()}")

    def close(self) -> None:
        """Close the window, as a user does: what is inside is hung up."""
        self._tmux("kill-server", check=False)


@pytest.fixture
def terminal(tmp_path: Path, nothing_left: None) -> Iterator[Terminal]:
    """Open a terminal in the test's directory."""
    found = Terminal(tmp_path)
    try:
        found.shows(r"\$")
        yield found
    finally:
        found.close()


RUN = shlex.join([*PORTGUARD, "run", "--"])


@pytest.mark.needs("tmux")
def test_interrupted_at_the_terminal(terminal: Terminal, web: int) -> None:
    """Ctrl-C ends the command, which the shell sees as 130; the terminal is the shell's again."""
    terminal.type(f"{RUN} cat; echo code=$?")
    eventually(lambda: bool(ours("cat")), "cat does not run")  # else our note stands between the two lines
    terminal.type("hello")
    terminal.shows("hello\nhello")
    terminal.press("C-c")
    # bash gives up the rest of the line when its command dies by SIGINT.
    terminal.shows(r"\^C")
    terminal.type("echo code=$?")
    terminal.shows("code=130")
    eventually(lambda: can_bind(web), "the port stays held")
    terminal.type("stty -a | grep -o ' echo '; echo after=$?")
    terminal.shows("after=0")


@pytest.mark.needs("tmux")
def test_job_control(terminal: Terminal, web: int, tmp_path: Path) -> None:
    """Ctrl-Z stops it, `jobs` shows it, `fg` and `bg` continue it, `kill %1` ends it."""
    beats = tmp_path / "beats"
    script = tmp_path / "beat"
    script.write_text("#!/bin/sh\necho beating\nwhile :; do echo x >> beats; sleep 0.05; done\n")
    script.chmod(0o755)

    def is_beating() -> bool:
        size = beats.stat().st_size
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            if beats.stat().st_size > size:
                return True
            select.select([], [], [], 0.05)
        return False

    terminal.type(f"{RUN} ./beat")
    terminal.shows("beating")
    terminal.press("C-z")
    terminal.shows(r"\[1\]\+\s+Stopped .*beat")
    assert not is_beating()
    assert is_held(web)
    terminal.type("jobs; echo listed")
    terminal.shows("listed")
    assert len(re.findall(r"Stopped .*beat$", terminal.screen(), re.MULTILINE)) == 2
    terminal.type("bg")
    terminal.shows(r"\[1\]\+ .*beat &")
    assert is_beating()
    terminal.type("jobs -r; echo running")
    terminal.shows(r"\[1\]\+\s+Running .*beat &")
    terminal.type("fg")
    eventually(lambda: terminal.screen().splitlines()[-1].endswith("./beat"), "it is not in front")
    terminal.press("C-z")
    eventually(lambda: terminal.screen().count("Stopped") == 3, "it does not stop again")
    terminal.type("bg; kill %1; wait %1; echo code=$?")
    terminal.shows("code=143")


@pytest.mark.needs("tmux")
def test_typing_after_fg(terminal: Terminal, web: int) -> None:
    """Stopped and brought to the front again, the command reads what is typed; Ctrl-D ends it with 0."""
    terminal.type(f"{RUN} cat; echo code=$?")
    eventually(lambda: bool(ours("cat")), "cat does not run")  # else our note stands between the two lines
    terminal.type("one")
    terminal.shows("one\none")
    terminal.press("C-z")
    terminal.shows(r"\[1\]\+\s+Stopped .*cat")
    terminal.type("fg; echo ended=$?")
    eventually(lambda: terminal.screen().splitlines()[-1].endswith("cat"), "it is not in front")
    terminal.type("two")
    terminal.shows("two\ntwo")
    terminal.press("C-d")
    terminal.shows("ended=0")


@pytest.mark.needs("tmux")
def test_with_its_window_the_command_is_hung_up(terminal: Terminal, web: int) -> None:
    """With its window the command is hung up; no process is left, no lease, no bound port (the fixture looks)."""
    terminal.type(f"{RUN} cat")
    eventually(lambda: bool(ours("cat")), "cat does not run")  # else our note stands between the two lines
    terminal.type("hello")
    terminal.shows("hello\nhello")
    assert len(holders()) == 1
    assert "cat" in [Path(f"/proc/{pid}/comm").read_text().strip() for pid in ours()]
    terminal.close()
    eventually(lambda: not ours(), "a process is left")


@pytest.mark.needs("tmux")
def test_a_trap_for_the_closed_window(terminal: Terminal, web: int, tmp_path: Path) -> None:
    """The command itself gets the SIGHUP, and can end as it likes."""
    script = tmp_path / "trapping"
    script.write_text("#!/bin/sh\ntrap 'echo gone > hup; exit 0' HUP\necho waiting\nwhile :; do sleep 0.05; done\n")
    script.chmod(0o755)
    terminal.type(f"{RUN} ./trapping")
    terminal.shows("waiting")
    terminal.close()
    eventually((tmp_path / "hup").exists, "it was not hung up")
