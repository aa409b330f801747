"""Where processes come from, asked of real ones: tmux, a supervisor, a shell, docker-proxy, systemctl's answers."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from portguard.rules.engines import DOCKER
from portguard.rules.origin import classify
from portguard.system import origin, units
from tests.worlds.capabilities import NOBODY, find_program
from tests.worlds.netns import private_netns, run_in_netns

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TIMEOUT = 20.0
ID = "0123456789abcdef" * 4
# Takes the name given first (prctl(2), PR_SET_NAME), starts the command behind it, and prints that one's number.
NAMED = """
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode("utf-8", "surrogateescape"), 0, 0, 0)
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""


@contextlib.contextmanager
def named(name: str | bytes, *command: str) -> Iterator[tuple[int, int]]:
    """Run a process of this name that runs a command; yield the numbers of both."""
    argv: Sequence[str | bytes] = [sys.executable, "-c", NAMED, name, *command]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert select.select([process.stdout], [], [], TIMEOUT)[0], "the process says nothing"
            yield process.pid, int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(TIMEOUT)


def number_in(file: Path) -> int:
    """Wait for a number in a file, and return it."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if file.exists() and file.read_text().endswith("\n"):
            return int(file.read_text())
        select.select([], [], [], 0.01)
    raise TimeoutError(file)


def test_ancestry_of_this_process() -> None:
    """The row begins with the process and its parent, and ends with PID 1."""
    found = origin.ancestry(os.getpid())

    assert [pid for pid, _ in found[:2]] == [os.getpid(), os.getppid()]
    assert found[0][1] == Path("/proc/self/comm").read_text().removesuffix("\n")
    assert found[-1][0] == 1
    assert origin.ancestry(2**30) == ()


def test_as_psutil_tells() -> None:
    """Both ways of finding ancestors give the same numbers."""
    by_psutil = origin._ancestry_by_psutil(os.getpid())

    assert [pid for pid, _ in by_psutil] == [pid for pid, _ in origin.ancestry(os.getpid())]


@pytest.mark.needs("tmux")
def test_tmux(tmp_path: Path) -> None:
    """A server that a shell started in a real tmux is said to come from there."""
    file = tmp_path / "pid"
    environ = {name: value for name, value in os.environ.items() if name != "TMUX"} | {"TMUX_TMPDIR": str(tmp_path)}
    tmux = ["tmux", "-L", "t", "-f", "/dev/null"]
    script = f"sleep 300 & echo $! > {file}; wait"
    subprocess.run([*tmux, "new-session", "-d", "sh", "-c", script], env=environ, check=True, timeout=TIMEOUT)
    try:
        pid = number_in(file)
        found = classify(origin.ancestry(pid))
        os.kill(pid, 9)
    finally:
        # With its last command the server may have ended by itself.
        subprocess.run([*tmux, "kill-server"], env=environ, check=False, capture_output=True, timeout=TIMEOUT)

    assert found is not None
    assert (found.kind, found.text, found.comes_back) == ("multiplexer", "started from sh in tmux", False)


def test_supervisor() -> None:
    """The child of a real process named supervisord was started by it."""
    with named("supervisord", "sleep", "300") as (supervisor, child):
        found = classify(origin.ancestry(child))

    assert found is not None
    assert (found.kind, found.pid, found.text) == ("supervisor", supervisor, "started by supervisord")


def test_shell_below_a_supervisor(tmp_path: Path) -> None:
    """A script between a supervisor and the server does not hide the supervisor."""
    file = tmp_path / "pid"
    with named("supervisord", "sh", "-c", f"sleep 300 & echo $! > {file}; trap 'kill $!' EXIT; wait"):
        pid = number_in(file)
        found = classify(origin.ancestry(pid))
        os.kill(pid, 9)

    assert found is not None
    assert found.text == "started by supervisord"


def test_shell(tmp_path: Path) -> None:
    """A process of a real shell, below nothing that is known, comes from that shell."""
    with named("unheard-of", "sh", "-c", "sleep 300; true") as (above, shell):
        deadline = time.monotonic() + TIMEOUT
        pid = None
        while pid is None and time.monotonic() < deadline:
            children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
            pid = int(children[0]) if children else None
        assert pid is not None
        ancestors = origin.ancestry(pid)
        os.kill(pid, 9)
        found = classify(ancestors[: [number for number, _ in ancestors].index(above) + 1])

    assert found is not None
    assert found.text == "started from sh"


@pytest.mark.parametrize("name", [b"a) R 1 (b", b"(((", b")))", b"\x1b[2J\n", b"\xff\xfe", b") 1 1"])
def test_hostile_names(name: bytes) -> None:
    """A process whose name looks like the fields behind it is read right, with its own name."""
    with named(name, "sleep", "300") as (parent, child):
        found = dict(origin.ancestry(child))

    assert os.fsencode(found[parent]) == name
    assert os.getpid() in found


def test_reused_parent(tmp_path: Path) -> None:
    """A parent that started after its child only got the number: the row ends before it."""
    for pid, name, parent, start in ((9, "node", 8, 500), (8, "late", 1, 900), (1, "init", 0, 1)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent}" + " 0" * 17 + f" {start} 0\n")
    (tmp_path / "self").symlink_to("9")

    assert origin.ancestry(9, proc=str(tmp_path)) == ((9, "node"),)
    assert origin.ancestry(8, proc=str(tmp_path)) == ((8, "late"), (1, "init"))


@pytest.mark.parametrize("text", ["", "9", "9 (x", "9 (x) S", "9 (x) S 8" + " 0" * 17, "9 (x) S -8 " + "0 " * 20])
def test_what_is_no_row_of_numbers_gives_nothing(tmp_path: Path, text: str) -> None:
    """What is no row of numbers gives nothing."""
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "stat").write_text(text)
    (tmp_path / "self").symlink_to("9")

    assert origin.ancestry(9, proc=str(tmp_path)) == ()


def test_a_ring_of_parents(tmp_path: Path) -> None:
    """Processes that name each other as parents are told once each."""
    for pid, parent in ((8, 9), (9, 8)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (x) S {parent}" + " 0" * 17 + " 5 0\n")
    (tmp_path / "self").symlink_to("9")

    assert [pid for pid, _ in origin.ancestry(9, proc=str(tmp_path))] == [9, 8]


def test_the_text_is_the_files() -> None:
    """The text is the file's; of a process that is gone, nothing."""
    assert origin.cgroup_of(os.getpid()) == Path("/proc/self/cgroup").read_text()
    assert origin.cgroup_of(2**30) == ""


# ---------------------------------------------------------------- forwarders


@contextlib.contextmanager
def proxy(*arguments: str) -> Iterator[int]:
    """Run the real docker-proxy, in a network namespace of its own, and yield its number once it serves."""
    program = find_program("docker-proxy")
    assert program is not None
    with private_netns() as ns:
        # It tells on descriptor 3 that it is ready (moby, cmd/docker-proxy).
        process = ns.popen(["sh", "-c", 'exec "$@" 3>&1', "sh", program, *arguments], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            assert select.select([process.stdout], [], [], TIMEOUT)[0], "docker-proxy says nothing"
            assert process.stdout.readline() == b"0\n"
            try:
                yield process.pid
            finally:
                process.kill()
                process.wait(TIMEOUT)


def free_port() -> int:
    """Return a port that no one has; the namespace it is used in is empty anyway."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.needs("docker", "netns", "users")
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_docker_proxy(protocol: str) -> None:
    """What the real docker-proxy forwards is read from its own arguments, by root and by an ordinary user alike."""
    port = free_port()
    arguments = ("-proto", protocol, "-host-ip", "127.0.0.1", "-host-port", str(port))
    with proxy(*arguments, "-container-ip", "127.0.0.2", "-container-port", "80") as pid:
        expected = origin.Forward(pid, 0, "tcp" if protocol == "tcp" else "udp", "127.0.0.1", port, "127.0.0.2", 80)

        assert origin.forwarded_by(pid, DOCKER.proxies) == expected
        assert expected in origin.forwards(DOCKER.proxies)
        assert expected in run_in_netns(lambda: origin.forwards(DOCKER.proxies), uid=NOBODY)


def test_no_other_program_s_arguments() -> None:
    """A process that only calls itself docker-proxy, or conmon, is not believed where its program can be seen."""
    arguments = ("-host-ip", "127.0.0.1", "-host-port", "80", "-container-ip", "127.0.0.2", "-container-port", "80")
    idle = (sys.executable, "-c", "import time; time.sleep(300)")
    with named("docker-proxy", *idle, *arguments) as (parent, child):
        assert origin.forwarded_by(parent, DOCKER.proxies) is None
        assert origin.forwarded_by(child, DOCKER.proxies) is None
    with named("conmon", *idle, "-c", ID) as (parent, child):
        assert origin.served_by(parent, "conmon") is None
        assert origin.served_by(child, "conmon") is None


def recorded(root: Path, program: str, *words: str) -> str:
    """Write a /proc with one process, 9, of this program and arguments; return its path."""
    (root / "9").mkdir()
    (root / "9" / "exe").symlink_to(program)
    (root / "9" / "cmdline").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in (program, *words)))
    return str(root)


GOOD = {"-proto": "tcp", "-host-ip": "::", "-host-port": "80", "-container-ip": "fd00:0::2", "-container-port": "81"}


def flat(values: dict[str, str]) -> list[str]:
    """Return names and values in a row."""
    return [word for pair in values.items() for word in pair]


def test_recorded_docker_proxy(tmp_path: Path) -> None:
    """Arguments of engine 28 and later, IPv6, and a program that has been replaced on disk are read."""
    proc = recorded(tmp_path, "/usr/bin/docker-proxy (deleted)", *flat(GOOD), "-use-listen-fd")

    found = origin.forwarded_by(9, DOCKER.proxies, proc=proc)

    assert found == origin.Forward(9, os.getuid(), "tcp", "::", 80, "fd00::2", 81)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("-proto", "sctp"), ("-proto", "\x1b[2J"), ("-host-ip", "*"), ("-host-ip", "localhost"), ("-host-ip", "evil"),
        ("-host-port", "0"), ("-host-port", "65536"), ("-host-port", "²"), ("-host-port", "9" * 5000),
        ("-host-port", "-1"), ("-container-ip", "$(reboot)"), ("-container-ip", ""), ("-container-port", "http"),
    ],
)  # fmt: skip
def test_hostile_docker_proxy(tmp_path: Path, name: str, value: str) -> None:
    """A docker-proxy whose arguments are not addresses and ports is not believed at all."""
    assert (
        origin.forwarded_by(9, DOCKER.proxies, proc=recorded(tmp_path, "/x/docker-proxy", *flat({**GOOD, name: value})))
        is None
    )


@pytest.mark.parametrize(
    ("program", "words", "expected"),
    [
        ("/usr/bin/conmon", ["--api-version", "1", "-c", ID, "-u", ID], ID),
        ("/usr/bin/conmon", ["--cid", ID], ID),
        ("/usr/bin/conmon", ["-c", ID[1:]], None),
        ("/usr/bin/conmon", ["-c"], None),
        ("/usr/bin/conmon", ["-c", "../../etc"], None),
        ("/usr/bin/other", ["-c", ID], None),
    ],
)
def test_conmons_container_is_read_from_its_arguments(
    tmp_path: Path, program: str, words: list[str], expected: str | None
) -> None:
    """Conmon's container is read from its arguments, and only a full identifier is one."""
    assert origin.served_by(9, "conmon", proc=recorded(tmp_path, program, *words)) == expected


# ---------------------------------------------------------------- systemd


def systemctl(directory: Path, body: str) -> dict[str, str]:
    """Write a systemctl that does this, and return the environment in which it is found."""
    program = directory / "systemctl"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("printf 'Restart=always\\nFragmentPath=/etc/systemd/system/x.service\\n'",
         units.Unit("always", "/etc/systemd/system/x.service")),
        ("printf 'FragmentPath=/x\\nTriggeredBy=x.socket x.timer y.socket\\n'",
         units.Unit(None, "/x", ("x.socket", "y.socket"))),
        ("printf 'FragmentPath=/a=b\\nRestart=no\\n'", units.Unit("no", "/a=b")),
        ("printf 'Restart=no\\nFragmentPath=\\n'", units.Unit(None, None)),
        ("exit 1", units.Unit(None, None)),
        ("exec sleep 60", units.Unit(None, None)),
        ("head -c 1000000 /dev/urandom", None),
        ("true", units.Unit(None, None)),
    ],
    ids=str,
)  # fmt: skip
def test_what_systemctl_says_is_read(tmp_path: Path, body: str, expected: units.Unit | None) -> None:
    """What systemctl says is read; failing, hanging or babbling it costs a second at most and tells nothing."""
    begin = time.monotonic()

    found = units.ask("x.service", systemctl(tmp_path, body))

    assert expected is None or found == expected
    assert time.monotonic() - begin <= 1.2


def test_what_systemctl_is_asked(tmp_path: Path) -> None:
    """The unit is an operand behind `--`, the user's manager is asked for a user's unit, and bad names never."""
    environ = systemctl(tmp_path, f'printf "%s\\n" "$@" > {tmp_path}/arguments')
    arguments = tmp_path / "arguments"

    units.ask("-x@a\\x2db.service", environ, is_user_unit=True)
    assert arguments.read_text().split("\n")[:-1] == [
        "--user", "--no-pager", "show", "-p", "Restart,FragmentPath,TriggeredBy", "--", "-x@a\\x2db.service",
    ]  # fmt: skip
    arguments.unlink()
    for name in ("", "x", "x.scope", "--help", "a b.service", "x;reboot.service", "\x1b[2J.service", "é.service"):
        assert units.ask(name, environ) == units.Unit(None, None)
    assert not arguments.exists()
    assert units.ask("x.service", {"PATH": "/nonexistent"}) == units.Unit(None, None)


@pytest.mark.skipif(not Path("/run/systemd/system").is_dir(), reason="needs systemd: it does not run here")
def test_real_systemd() -> None:
    """A service that runs under the real systemd has a restart policy and a file."""
    found = units.ask("dbus.service", os.environ)

    assert found.path is not None
    assert found.restart is not None
