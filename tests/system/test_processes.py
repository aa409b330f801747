"""What is read of a process from /proc is just what psutil tells: for all processes of this machine, and odd ones."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from portguard.model import Process
from portguard.system import processes
from tests.worlds import users
from tests.worlds.capabilities import NOBODY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil is asked")

_ATTEMPTS = 5  # to see a process that changes while it is looked at
_COMM_LENGTH = 15


def by_psutil(pid: int) -> Process:
    """Return what psutil tells, its name without the arguments that may stand behind it; that of Node.js' program."""
    told = processes.describe(pid, platform="any other")
    if told.name == "MainThread":
        return told._replace(name=Path(psutil.Process(pid).cmdline()[0]).name, cwd_is_shared=False)
    name = told.name and told.name[:_COMM_LENGTH] + told.name[_COMM_LENGTH:].partition(" ")[0]
    return told._replace(name=name, cwd_is_shared=False)


def differences() -> list[tuple[Process, Process]]:
    """Return both answers for each process for which they differ, and go on differing."""
    found: dict[int, tuple[Process, Process]] = {}
    for _ in range(_ATTEMPTS):
        pids = list(found) or psutil.pids()
        ours = processes.describe_all(pids)
        pairs = {pid: (ours[pid]._replace(cwd_is_shared=False), by_psutil(pid)) for pid in pids}
        found = {pid: pair for pid, pair in pairs.items() if pair[0] != pair[1]}
        if not found:
            break
    return list(found.values())


@contextlib.contextmanager
def odd_processes(directory: Path) -> Iterator[list[int]]:
    """Start processes of which something is unusual, and yield their ids."""
    long = directory / "a-program-with-a-long-name"
    long.symlink_to("/bin/sleep")
    gone = directory / "gone"
    gone.mkdir()
    copied = directory / "copied"
    copied.write_bytes(Path("/bin/sleep").read_bytes())
    copied.chmod(0o755)
    odd = directory / "odd (deleted)"
    odd.write_bytes(copied.read_bytes())
    odd.chmod(0o755)
    titles: list[tuple[str, Path]] = [
        (str(long), long),
        (f"{long.name} --password=hunter2", long),
        (f"{long.name[:15]} --password=hunter2", long),
        ("something else", long),
        ("", long),
        (" ", long),
        ("/bin/sleep", copied),
        ("sleep", odd),
    ]
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen([title, "60"], executable=str(program), cwd=gone))
            for title, program in titles
        ]
        zombie = subprocess.Popen(["true"])
        try:
            deadline = time.monotonic() + 20
            while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE or any(
                psutil.Process(each.pid).exe().endswith(f"/{Path(sys.executable).name}") for each in started
            ):
                assert time.monotonic() < deadline
                os.sched_yield()
            gone.rmdir()
            copied.unlink()
            yield [*(each.pid for each in started), zombie.pid]
        finally:
            for each in started:
                each.kill()
            zombie.wait()


def test_all_processes_of_this_machine_and_odd_ones(tmp_path: Path) -> None:
    """Names that were cut, titles, removed programs and directories, a zombie, a pid that no one has: the same."""
    with odd_processes(tmp_path) as pids:
        assert differences() == []
        described = processes.describe_all(pids)
        assert {described[pid].exe for pid in pids[:5]} == {os.path.realpath("/bin/sleep")}
        assert described[pids[6]].exe == str(tmp_path / "copied")
        assert described[pids[7]].exe == str(tmp_path / "odd (deleted)")
        assert {described[pid].cwd for pid in pids[:-1]} == {str(tmp_path / "gone")}
        assert not any(described[pid].cwd_is_shared for pid in pids)
        assert (described[pids[-1]].name, described[pids[-1]].exe, described[pids[-1]].cwd) == ("true", None, None)
    for pid in (-1, 0, 1 << 30):
        assert processes.describe(pid) == Process(pid) == by_psutil(pid)
    assert processes.describe(os.getpid()).cwd_is_shared


def test_the_first_thread_s_name_is_not_the_program_s() -> None:
    """Node.js calls its first thread MainThread, and the kernel the process by it: it is named node all the same."""
    rename = "import sys; open('/proc/self/comm', 'w').write('MainThread'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        ["/opt/node/bin/node", "-c", rename],
        executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as started:  # fmt: skip
        assert started.stdout is not None
        started.stdout.readline()
        assert Path(f"/proc/{started.pid}/comm").read_text() == "MainThread\n"
        assert processes.describe(started.pid).name == "node"


@pytest.mark.needs("users")
def test_another_user_is_told_the_same() -> None:
    """Without the right to look at most of them, too."""
    program = "from tests.system import test_processes as t; found = t.differences(); print(len(found), found[:3])"
    environ = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = users.as_user(["-c", program], NOBODY, environ=environ)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip("the other user cannot read this checkout's tests or their packages")
    assert done.stdout.startswith("0 "), done


@pytest.mark.parametrize(
    "name", [b"plain", b"a\nb", b"\\", b"\\n", b"\\\n\\\\n", b"x:\tUid:\t1\t\n", b"\xff(\x1b[2J)", b" "]
)
def test_a_brief_description_has_the_same_name_and_user(name: bytes) -> None:
    """Whatever a process calls itself: another file of the kernel's, another way of escaping, the same answer."""
    rename = (
        "import signal, sys; open('/proc/self/comm', 'wb').write(sys.stdin.buffer.read()); "
        "print(flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(name)
        process.stdin.close()
        process.stdout.readline()
        whole = processes.describe(process.pid)
        brief = processes.describe_all([process.pid], brief=True)[process.pid]
        process.kill()
    assert os.fsencode(whole.name or "") == name[:_COMM_LENGTH]
    assert brief == Process(whole.pid, whole.name, whole.user, uid=whole.uid)


def test_brief_descriptions_of_this_machine(tmp_path: Path) -> None:
    """Long names, titles, a zombie, processes that are gone: what is not left out is the same."""
    with odd_processes(tmp_path) as pids:
        asked = [*pids, os.getpid(), 1, 1 << 30]
        whole, brief = processes.describe_all(asked), processes.describe_all(asked, brief=True)
    assert brief == {pid: Process(pid, told.name, told.user, uid=told.uid) for pid, told in whole.items()}


def test_the_real_effective_and_saved_user_of_a_process() -> None:
    """The real, effective and saved user of a process; None for one that is not there."""
    assert processes.uids_of(os.getpid()) == os.getresuid() == tuple(psutil.Process().uids())
    assert processes.uids_of(1 << 30) is None
    assert processes.user_name(0) == "root"
    assert processes.user_name(1 << 31) == str(1 << 31)
