"""A bug as data, and a copy of the package that has it, in which tests run: the installed command there is broken too.

Nothing here knows what is promised; nothing here changes the checkout it is started from.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import portguard
from tests.amount import WHOLE

ROOT = Path(__file__).parents[2]
PACKAGE = Path(portguard.__file__).parent  # in the checkout, or installed without one
_COPIED = (PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "pyproject.toml")
_COMMAND = "#!{python}\nimport sys\nfrom portguard.cli.main import main\nsys.exit(main())\n"


class Breaking(NamedTuple):
    """A bug that someone could write: in `file` of the package, `new` stands in the place of `old`.

    `tests` are those of the page that must fail then, as pytest names them, without the `tests/` before them.
    """

    bug: str
    file: str
    old: str
    new: str
    tests: Sequence[str]

    @property
    def path(self) -> Path:
        """The file, as it is."""
        return PACKAGE / self.file


class Run(NamedTuple):
    """What became of some tests: `passed` and `skipped` by name, `failed` by name with the exception's own words."""

    passed: list[str]
    skipped: dict[str, str]
    failed: dict[str, str]
    output: str


class Copy:
    """A copy of the package and its tests in `place`, with an interpreter and a command of its own.

    It has the packages of the interpreter that made it, but for portguard itself.
    """

    def __init__(self, place: Path) -> None:
        self._times = int(time.time())
        self.root = place / "checkout"
        self.root.mkdir()
        for source in _COPIED:
            if source.is_dir():
                shutil.copytree(source, self.root / source.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, self.root)
        programs = place / "venv" / "bin"
        packages = place / "venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        programs.mkdir(parents=True)
        packages.mkdir(parents=True)
        base = Path(os.path.realpath(sys.executable))
        (place / "venv" / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
        self.python = programs / "python"
        self.python.symlink_to(base)
        # Links, not paths to be added: other users' Pythons find them by the directory alone.
        for other in dict.fromkeys(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")):
            for package in other.iterdir():
                if package.name not in ("__pycache__", "portguard") and package.suffix != ".pth":
                    (packages / package.name).symlink_to(package)
        (packages / "copy.pth").write_text(f"{self.root}\n")
        command = programs / "portguard"
        command.write_text(_COMMAND.format(python=self.python))
        command.chmod(0o755)

    @contextmanager
    def broken(self, breaking: Breaking) -> Iterator[None]:
        """Have the bug in the copy in the meantime."""
        path = self.root / PACKAGE.name / breaking.file
        text, status = path.read_text(), path.stat()
        assert text.count(breaking.old) == 1, f"{breaking.file}: {breaking.old!r} is there {text.count(breaking.old)}x"
        path.write_text(text.replace(breaking.old, breaking.new))
        self._times += 1  # of its own for each bug, by whole seconds: what Python compares with what it has compiled
        os.utime(path, (self._times, self._times))
        try:
            yield
        finally:
            path.write_text(text)
            os.utime(path, (status.st_atime, status.st_mtime))

    def run(self, tests: Sequence[str], deadline: float, *, is_stopping: bool) -> Run:
        """Run tests in the copy, to the first failure if `is_stopping`; without an answer where they are late."""
        report = self.root / "report.xml"
        report.unlink(missing_ok=True)
        words = ["-n", "0", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *(["-x"] if is_stopping else [])]
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "PYTHON", "VIRTUAL_ENV")) and name != WHOLE
        }
        with subprocess.Popen(
            [self.python, "-m", "pytest", *words, *(f"tests/{test}" for test in tests)],
            cwd=self.root,
            env=environ | {"PATH": f"{self.python.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=deadline)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGINT)
                try:
                    output, _ = process.communicate(timeout=20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    output, _ = process.communicate()
        return _read(report, output) if report.exists() else Run([], {}, {}, output)


def _read(report: Path, output: str) -> Run:
    found = Run([], {}, {}, output)
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        failure, skipped = case.find("failure"), case.find("skipped")
        if failure is not None:
            found.failed[name] = failure.get("message") or ""
        elif skipped is not None:
            found.skipped[name] = skipped.get("message") or ""
        elif case.find("error") is None:
            found.passed.append(name)
    return found


def is_caught(run: Run) -> bool:
    """Whether a test noticed by what it asserts: not by an error on its way there, and not by being late."""
    return any(
        words.startswith(("AssertionError", "assert ", "Failed: ")) and not words.startswith("Failed: Timeout")
        for words in run.failed.values()
    )
