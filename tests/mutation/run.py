"""A mistake at a time into running code: the collected tests are measured once, and a child is forked for each mistake.

This is a pytest plugin in the place of its loop over the tests. What is decided about mistakes is not decided here.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import sys
import time
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hypothesis
import pytest

QUICK = 0.5  # seconds of the processor; tests that take more see no mistake, the suite has them
# What a test may take until a mistake counts as an endless loop, or as waiting for ever: ten times what the slowest one
# took without it, and so many seconds.
_LOOP, _WAIT = 2, 10.0
_SLICE = 0.25
_EXAMPLES = 40  # of each property


class Loop:
    """The plugin: `work` is given the trial instead of the tests being run."""

    def __init__(self, files: Sequence[str], work: Callable[[Trial], None]) -> None:
        self._files = files
        self._work = work

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Give every property the same few examples each time."""
        for item in items:
            test: Any = getattr(item, "obj", None)
            if hypothesis.is_hypothesis_test(test):
                own = test._hypothesis_internal_use_settings
                fewer = min(_EXAMPLES, own.max_examples)
                test._hypothesis_internal_use_settings = hypothesis.settings(  # no public way after the decorator
                    own, max_examples=fewer, derandomize=True, database=None, deadline=None
                )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Measure, and go to work."""
        plugins = session.config.pluginmanager
        plugins.unregister(plugins.get_plugin("terminalreporter"))
        self._work(Trial(session.items, self._files))
        return True


class Trial:
    """The tests: `seconds` each takes, which `failed` without any mistake, and which of them see one."""

    def __init__(self, items: Iterable[pytest.Item], files: Sequence[str]) -> None:
        self._items = {item.nodeid: item for item in items}
        answer = in_child(lambda _: _measure(self._items, files), 3600.0)
        if not answer:
            raise RuntimeError("the tests could not be measured")
        self.seconds: dict[str, float]
        self.failed: list[str]
        self.seconds, self._elapsed, self.failed, self._visitors = pickle.loads(answer)

    def tests_at(self, file: str, line: int) -> list[str]:
        """Return the quick tests that run a line, the quickest first.

        For what is run elsewhere, on import or in processes that tests fork, all tests that stand beside one which
        runs anything of the file.
        """
        lines = self._visitors[file]
        found = set(lines.get(line, ()))
        if found <= {""}:
            beside = {test.partition("::")[0] for tests in lines.values() for test in tests}
            found = {test for test in self.seconds if test.partition("::")[0] in beside}
        found = {test for test in found if test in self.seconds and self.seconds[test] <= QUICK}
        return sorted(found, key=lambda test: (self.seconds[test], test))

    def is_noticed(self, module: str, text: str, tests: Sequence[str]) -> bool:
        """Whether one of these tests fails, or does not end, with this text in the place of the module's."""
        busy = _LOOP + int(10 * max(self.seconds[test] for test in tests))
        deadline = _WAIT + 10 * max(self._elapsed[test] for test in tests)

        def attempt(report: Callable[[bytes], object]) -> bytes:
            def before(_: str) -> None:
                report(b".")
                used = resource.getrusage(resource.RUSAGE_SELF)
                limit = int(used.ru_utime + used.ru_stime) + busy
                resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))

            replace(sys.modules[module], text)
            items = [self._items[test] for test in tests]
            return b"" if _failures(items, is_first_enough=True, before=before) else b"!"

        return in_child(attempt, deadline) != b"." * len(tests) + b"!"


def in_child(work: Callable[[Callable[[bytes], object]], bytes], deadline: float) -> bytes:
    """Return what `work` reports and returns in a forked process, which is ended then with all that it started.

    It is ended, too, when it has said nothing for `deadline` seconds; then, and when it fails, the answer is b"".
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            with open(writer, "wb", buffering=0) as told, open(os.dup(writer), "wb") as rest:
                rest.write(work(told.write))
        finally:
            os._exit(0)
    os.close(writer)
    watch = os.pidfd_open(pid)  # what the tests leave behind may keep the pipe open
    answer = b""
    while True:
        # Slice by slice: when this machine is stopped for a while, that is not a time in which the child was silent.
        slices = (select.select([reader, watch], [], [], _SLICE)[0] for _ in range(int(deadline / _SLICE) + 1))
        ready = next(filter(None, slices), [])
        part = os.read(reader, 1 << 16) if reader in ready else b""
        answer += part
        if not part:
            answer = answer if ready else b""
            break
    os.close(watch)
    os.close(reader)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return answer


def _failures(
    items: Sequence[pytest.Item], *, is_first_enough: bool, before: Any = None, after: Any = None
) -> list[str]:
    """Run the tests, and return those that fail."""
    failed: list[str] = []

    class Listener:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid)

    if items:
        items[0].config.pluginmanager.register(Listener())
    for item in items:
        if before is not None:
            before(item.nodeid)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        if after is not None:
            after(item.nodeid)
        if failed and is_first_enough:
            break
    return failed


def _measure(items: dict[str, pytest.Item], files: Sequence[str]) -> bytes:
    import coverage  # of the extra `mutation`, and only here

    started: dict[str, tuple[float, float]] = {}
    seconds: dict[str, float] = {}
    elapsed: dict[str, float] = {}
    watch = coverage.Coverage(data_file=None, include=list(files), config_file=False)

    def before(test: str) -> None:
        watch.switch_context(test)
        started[test] = time.process_time(), time.monotonic()

    def after(test: str) -> None:
        busy, clock = started[test]
        seconds[test], elapsed[test] = time.process_time() - busy, time.monotonic() - clock

    watch.start()
    failed = _failures(list(items.values()), is_first_enough=False, before=before, after=after)
    watch.stop()
    data = watch.get_data()
    visitors = {file: data.contexts_by_lineno(file) for file in files}
    return pickle.dumps((seconds, elapsed, failed, visitors))


# ---------------------------------------------------------------- the same module with a mistake


def replace(module: types.ModuleType, text: str) -> None:
    """Make a module that is in use everywhere behave as if `text` were its source.

    Functions get the code of the new ones, so it does not matter who has them by which name; other values are put in
    the place of those that differ, in every module that took them over by their name.
    """
    fresh = types.ModuleType(module.__name__)
    fresh.__file__ = module.__file__
    exec(compile(text, str(module.__file__), "exec"), fresh.__dict__)  # the mistakes are this project's own
    for name, new in vars(fresh).items():
        old = vars(module).get(name)
        if not _adopt(old, new) and not name.startswith("__") and old is not new and old != new:
            for other in list(sys.modules.values()):
                if getattr(other, "__dict__", {}).get(name) is old:
                    setattr(other, name, new)


def _adopt(old: object, new: object) -> bool:
    """Give the functions in `old` the code of those in `new`; whether these are such as have code."""
    if isinstance(old, types.FunctionType) and isinstance(new, types.FunctionType):
        for mine, other in zip(old.__closure__ or (), new.__closure__ or (), strict=True):
            if not isinstance(mine.cell_contents, type):  # super() has the very class that is being dealt with
                _adopt(mine.cell_contents, other.cell_contents)
        old.__code__ = new.__code__
        if old.__defaults__ is not None or new.__defaults__ is not None:
            old.__defaults__ = _defaults(old.__defaults__ or (), new.__defaults__ or ())
        if old.__kwdefaults__ and new.__kwdefaults__:
            values = _defaults(tuple(old.__kwdefaults__.values()), tuple(new.__kwdefaults__.values()))
            old.__kwdefaults__ = dict(zip(new.__kwdefaults__, values, strict=True))
        return True
    if isinstance(old, property) and isinstance(new, property):
        return _adopt(old.fget, new.fget)
    if isinstance(old, type) and isinstance(new, type):
        for name, value in vars(new).items():
            _adopt(vars(old).get(name), value)
        if "_defaults" in vars(new):  # of a record's fields
            type.__setattr__(old, "_defaults", vars(new)["_defaults"])
        return True
    return False


def _defaults(old: tuple[object, ...], new: tuple[object, ...]) -> tuple[object, ...]:
    """Return the new defaults, and the old ones where those are functions, which have the new code."""
    return tuple(mine if callable(mine) else other for mine, other in zip(old, new, strict=True))
