"""The wheel, installed where no source tree and no compiler is: with the oldest allowed packages, on every Python here.

A copy of the tests is run there, without `portguard/` beside it: parts of them on each Python, all on the newest. Which
Pythons there are: those on PATH, pyenv's, and those that PORTGUARD_TEST_PYTHONS names, with colons.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import tomli

from tests.packaging.building import HAS_TREE, ROOT, build, copy_tree, environment, run, tracked

pytestmark = [
    pytest.mark.skipif(not HAS_TREE, reason="there is no source tree beside the tests: nothing can be built"),
    pytest.mark.needs("git"),
    pytest.mark.slow,
    pytest.mark.registries,
    pytest.mark.timeout(1_800),
]

PYTHONS = "PORTGUARD_TEST_PYTHONS"
# What needs no engine and no editor; a minute of a machine that does nothing else.
CONFIG = ("tests/config", "--ignore=tests/config/test_editor.py")
COMMANDS = [
    f"tests/cli/test_{name}.py" for name in ("both_doors", "check", "exit_codes", "free", "info", "list", "start_up")
]
FAST = (
    *(
        "tests/test_architecture.py",
        "tests/test_records.py",
        "tests/test_pytest_plugin.py",
        "tests/leases/test_store.py",
    ),
    *("tests/rules", "tests/sources", "tests/render", *CONFIG, *COMMANDS),
)
_PYTHON = re.compile(r"python3\.\d+t?")
_ABLE = "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3])"


def pythons() -> dict[str, str]:
    """Return the Pythons that are here and that this project allows, oldest first: paths by release ("3.11.2").

    Two releases of one version are two Pythons: what a distribution keeps for years lacks the mends of the later ones.
    """
    found = [Path(path) for path in os.environ.get(PYTHONS, "").split(os.pathsep) if path]
    for directory in filter(os.path.isdir, os.environ.get("PATH", "").split(os.pathsep)):
        found += [path for path in sorted(Path(directory).iterdir()) if _PYTHON.fullmatch(path.name)]
    found += sorted(Path.home().glob(".pyenv/versions/*/bin/python"))
    able: dict[str, str] = {}
    for path in (Path(sys.executable), *found):
        done = subprocess.run([path, "-c", _ABLE], capture_output=True, text=True, check=False, timeout=60)
        version = done.stdout.strip()
        if done.returncode == 0 and _order(version) >= (3, 11):
            able.setdefault(version, str(path))
    return dict(sorted(able.items(), key=lambda item: _order(item[0])))


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of this tree."""
    return build(ROOT, tmp_path_factory.mktemp("dist"), "wheel")["wheel"]


@pytest.fixture(scope="module")
def reachable() -> Iterator[Path]:
    """Return a directory that other users may enter, unlike pytest's own: some of the tests run portguard as they."""
    with tempfile.TemporaryDirectory(prefix="portguard-installed-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def away(reachable: Path) -> Path:
    """Return a copy of everything but the package."""
    names = [name for name in tracked() if not name.startswith("portguard/")]
    return copy_tree(names, reachable / "away")


def passed(python: Path, away: Path, tests: Sequence[str]) -> str:
    """Run these tests there against what is installed; return pytest's last line."""
    where = run([python, "-c", "import portguard; print(portguard.__file__)"], away)
    assert Path(where.strip()).is_relative_to(python.parents[1]), where
    told = run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], away)
    return told.strip().splitlines()[-1]


def test_installs_and_works_without_a_compiler(wheel: Path, tmp_path: Path) -> None:
    """With nothing on PATH but the environment's own programs, pip installs wheels alone, and the command works."""
    python = environment(sys.executable, tmp_path / "venv", str(wheel))
    only = str(python.parent)
    assert shutil.which("cc", path=only) is None
    assert run([python.with_name("portguard"), "--version"], tmp_path, PATH=only).startswith("portguard ")
    port = run(
        [python.with_name("portguard"), "free"], tmp_path, PATH=only, PORTGUARD_STATE_DIR=str(tmp_path / "state")
    )
    assert "1 free" in run([python.with_name("portguard"), "check", port.strip()], tmp_path, PATH=only)


def test_metadata_passes_the_index_s_own_check(wheel: Path, tmp_path: Path) -> None:
    """What the index asks of an upload, warnings included: `twine check --strict`."""
    python = environment(sys.executable, tmp_path / "venv", "twine")
    built = build(ROOT, tmp_path / "dist", "wheel", "sdist")
    assert run([python, "-m", "twine", "check", "--strict", *built.values()], tmp_path).count("PASSED") == 2


def test_oldest_allowed_packages(wheel: Path, away: Path, reachable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command, the config and the sources, with each package as old as the project says it may be."""
    able = [path for version, path in pythons().items() if _order(version) < (3, 13)]
    if not able:
        pytest.skip("needs Python 3.11 or 3.12: for later ones there is no wheel of the oldest PyYAML")
    needed = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    oldest = [re.sub(r">=([\d.]+).*", r"==\1", text) for text in needed]
    assert all("==" in text for text in oldest), oldest
    python = environment(able[0], reachable / "oldest", f"{wheel}[test]", *oldest)
    listed = run([python, "-m", "pip", "list", "--format", "freeze"], away).lower().splitlines()
    assert set(oldest) <= set(listed)
    told = passed(python, away, ["tests/sources", "tests/cli", *CONFIG])
    with capsys.disabled():
        sys.stdout.write(f"\n{', '.join(oldest)}: {told}\n")


def test_every_python_here(wheel: Path, away: Path, reachable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The fast part of the suite passes on each, far from the tree; the project names each that it was tried on."""
    named = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    for version, path in pythons().items():
        python = environment(path, reachable / version, f"{wheel}[test]")
        told = passed(python, away, FAST)
        with capsys.disabled():
            sys.stdout.write(f"\nPython {version}: {told}\n")
        assert f"Programming Language :: Python :: {version.rpartition('.')[0]}" in named


def test_whole_suite_far_from_the_tree(
    wheel: Path, away: Path, reachable: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that runs every day passes on the newest Python here, but for what is about the tree itself."""
    newest, path = list(pythons().items())[-1]
    python = environment(path, reachable / "newest", f"{wheel}[test]")
    told = passed(python, away, [])
    with capsys.disabled():
        sys.stdout.write(f"\nPython {newest}, the whole suite: {told}\n")
