"""Children of a test: forked, started at one moment, stopped inside a section; and waiting for what they come to."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import portguard

_TIMEOUT = 30.0


def eventually(is_true: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fail, saying `what`, when it does not come."""
    deadline = time.monotonic() + _TIMEOUT
    while not is_true():
        assert time.monotonic() < deadline, what
        select.select([], [], [], 0.01)


def fork(run: Callable[[], object]) -> int:
    """Call `run` in a forked child, which exits with 0 or, having shown the error, with 1; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        run()
        code = 0
    except BaseException:  # noqa: BLE001 - the child must end here, not inside the test runner
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def reports_of(works: Sequence[Callable[[Callable[[bytes], None]], None]]) -> bytes:
    """Run every one in a forked child, all from the same moment; return what they reported, one after the other.

    Each is given the function to report with. A report far below PIPE_BUF is written at once or not at all. All must
    end well.
    """
    start_read, start_write = os.pipe()
    report_read, report_write = os.pipe()

    def report(record: bytes) -> None:
        os.write(report_write, record)

    def begin(work: Callable[[Callable[[bytes], None]], None]) -> None:
        os.close(start_write)
        os.close(report_read)
        os.read(start_read, 1)  # ends for all of them at the same moment
        work(report)

    children = [fork(functools.partial(begin, work)) for work in works]
    for end in (start_read, start_write, report_write):
        os.close(end)
    with open(report_read, "rb") as reports:
        told = reports.read()
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(works)
    return told


@contextlib.contextmanager
def stopped_inside(section: contextlib.AbstractContextManager[object]) -> Iterator[int]:
    """Keep a process that was stopped inside this section, which has a lock; yield its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            with section:
                signal.raise_signal(signal.SIGSTOP)
        finally:
            os._exit(70)
    try:
        assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def is_at_the_table(pid: int) -> bool:
    """Whether the process has a lease table open for writing: it has the lock, or waits for it."""
    try:
        return any(
            os.readlink(entry).endswith(".table") and _is_writable(pid, entry.name)
            for entry in Path(f"/proc/{pid}/fd").iterdir()
        )
    except OSError:
        return False  # it has ended, or closed what was looked at


def _is_writable(pid: int, descriptor: str) -> bool:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().splitlines())
    return int(fields["flags"], 8) & os.O_ACCMODE == os.O_RDWR


def is_of_main(err: str) -> bool:
    """Whether a traceback went through the command's `main`, where the edge is; before it, Python still imports."""
    start = f'File "{os.path.join(os.path.dirname(portguard.__file__), "cli", "main.py")}", line '
    return any(start in line and line.endswith(", in main") for line in err.splitlines())
