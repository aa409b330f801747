"""Run the mutation tests: `python -m tests.mutation`. Exit code 1 where a mistake goes unnoticed that is not accepted.

All tests are imported and measured once; then each mistake is put into the running code of a forked child, which runs
the tests that pass by there, the quickest first. So a mistake costs milliseconds. (mutmut makes none in tables and in
decorated functions; cosmic-ray starts pytest anew for each.)

Some are made in the code that ends processes. So all of it runs in a PID namespace, if no one else is to be hit.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import tomli

from tests.mutation.mutate import Mutant, mutants, mutated
from tests.mutation.run import QUICK, Loop, Trial

ROOT = Path(__file__).parents[2]
ACCEPTED = Path(__file__).with_name("accepted.toml")
SUBJECTS = (
    "portguard/rules",
    "portguard/leases",
    "portguard/render/safe.py",
    "portguard/system/signals.py",
    "portguard/holders/ending.py",
    "portguard/holders/stop_plan.py",
    "portguard/api/kill.py",
)
# Those that run in this process, and quickly: what starts the command sees no mistake that is made here.
TESTS = (
    "tests/rules",
    "tests/render/test_safe.py",
    "tests/leases/test_parts.py",
    "tests/leases/test_quick_look.py",
    "tests/api",
)
# All mistakes are made where one harms others; elsewhere a choice of so many a file, the same each time.
WHOLE = ("portguard/rules/guard.py", "portguard/rules/engines.py", "portguard/render/safe.py")
SAMPLE = 40
ENOUGH = 0.9
_EARLY = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
_INSIDE = "PORTGUARD_TEST_NAMESPACE"


Key = tuple[str, str, str]  # a file, a function in it, and what is changed there


class Made(NamedTuple):
    """A mistake that was made."""

    file: str
    mutant: Mutant
    is_noticed: bool

    @property
    def key(self) -> Key:
        """Return what names it, wherever the line may be."""
        return self.file, self.mutant.function, self.mutant.change


def main() -> int:
    """Make the mistakes, and tell which ones no one noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", help="modules of portguard; all subjects without any")
    parser.add_argument("--all", action="store_true", help="make every mistake, not a choice")
    parser.add_argument("--tests", nargs="*", default=TESTS, help="the tests that are to notice them")
    options = parser.parse_args()
    if os.environ.get(_INSIDE) != "1":
        # sh stays PID 1, and reaps what tests leave behind.
        command = [sys.executable, "-m", "tests.mutation", *sys.argv[1:]]
        apart = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", '"$@"; exit $?', "sh"]
        if os.geteuid() != 0:
            apart[1:1] = ["--user", "--map-root-user"]
        return subprocess.run([*apart, *command], env=os.environ | {_INSIDE: "1"}, cwd=ROOT, check=False).returncode
    files = options.files or [str(path.relative_to(ROOT)) for subject in SUBJECTS for path in _modules(ROOT / subject)]
    known = accepted()
    made: list[Made] = []
    failed: list[str] = []

    def work(trial: Trial) -> None:
        slow = sum(seconds > QUICK for seconds in trial.seconds.values())
        _say(f"{len(trial.seconds)} tests, {sum(trial.seconds.values()):.0f} s; {slow} are too slow to be asked")
        failed.extend(trial.failed)
        for file in [] if failed else files:
            limit = SAMPLE if not options.all and file not in WHOLE else None
            made.extend(_make(trial, file, limit, known))

    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home  # a mistake about where leases are kept writes there
        absolute = [str(ROOT / file) for file in files]
        code = pytest.main(
            ["-n", "0", "-s", "-q", "-W", _EARLY, "-p", "no:cacheprovider", *options.tests], [Loop(absolute, work)]
        )
    if failed or code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        _say(f"the tests fail without any mistake: {', '.join(failed) or code}")
        return 3
    return report(made, known)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _modules(path: Path) -> list[Path]:
    return [path] if path.suffix else sorted(path.glob("*.py"))


def _make(trial: Trial, file: str, limit: int | None, known: Mapping[Key, str]) -> list[Made]:
    """Make the mistakes of one file, at most so many, and tell of each that no one notices and that is not known."""
    source = (ROOT / file).read_text(encoding="utf-8")
    possible = mutants(source)
    numbers = list(range(len(possible)))
    if limit is not None and len(numbers) > limit:
        numbers = sorted(random.Random(file).sample(numbers, limit))
    module = file.removesuffix(".py").replace("/", ".")
    started = time.monotonic()
    made = []
    everybody = trial.tests_at(str(ROOT / file), 0)
    if numbers and everybody and trial.is_noticed(module, source, everybody):
        raise RuntimeError(f"{file}: the tests fail beside each other without any mistake")
    for number in numbers:
        tests = trial.tests_at(str(ROOT / file), possible[number].line)
        is_noticed = bool(tests) and trial.is_noticed(module, mutated(source, number), tests)
        made.append(Made(file, possible[number], is_noticed))
        if not is_noticed and made[-1].key not in known:
            _say(_shown(made[-1]))
    noticed = sum(one.is_noticed for one in made)
    _say(f"{file}: {noticed} of {len(made)} noticed ({len(possible)} possible, {time.monotonic() - started:.0f} s)")
    return made


def _shown(one: Made) -> str:
    return f"{one.file}:{one.mutant.line}: in {one.mutant.function or 'the module'}: {one.mutant.change}"


def accepted() -> dict[Key, str]:
    """Return why each mistake that need not be noticed is none."""
    table = tomli.loads(ACCEPTED.read_text(encoding="utf-8"))
    return {(one["file"], one["in"], one["change"]): one["why"] for one in table.get("accepted", [])}


def report(made: Sequence[Made], known: Mapping[Key, str]) -> int:
    """Print how many were noticed, and which were although they are accepted; return the exit code."""
    left = [one for one in made if not one.is_noticed]
    new = [one for one in left if one.key not in known]
    for file, function, change in sorted({one.key for one in made if one.is_noticed} & set(known)):
        _say(f"{file}: in {function or 'the module'}: {change}: accepted, but noticed: take it out of {ACCEPTED.name}")
    share = 1 - len(left) / len(made) if made else 0.0
    _say(f"{len(made)} mistakes, {share:.1%} noticed; {len(left) - len(new)} accepted, {len(new)} are not")
    return 1 if new or share < ENOUGH else 0


if __name__ == "__main__":
    sys.exit(main())
