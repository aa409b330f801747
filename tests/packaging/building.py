"""Building the wheel and the sdist, installing them, and running tests far from the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
HAS_TREE = (ROOT / "portguard" / "__init__.py").exists()
BUILD = [sys.executable, "-m", "hatchling", "build"]
_TIMEOUT = 1_700.0  # the whole suite, and then some


def run(argv: Sequence[str | Path], cwd: Path, **environ: str) -> str:
    """Run a command that has to succeed, without the settings of who runs it but these; return what it printed."""
    settings = ("PYTHON", "PYTEST_", "PORTGUARD_", "SOURCE_DATE_EPOCH", "VIRTUAL_ENV")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(settings)}
    done = subprocess.run(
        list(map(str, argv)), cwd=cwd, env=inherited | environ,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=_TIMEOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{argv}:\n{done.stdout[-6000:]}"
    return done.stdout


def build(tree: Path, into: Path, *targets: str) -> dict[str, Path]:
    """Build the wheel, the sdist or both of a tree; return the files by their kinds."""
    run([*BUILD, "--directory", into, *(word for target in targets for word in ("--target", target))], tree)
    endings = {"wheel": ".whl", "sdist": ".tar.gz"}
    return {target: next(path for path in into.iterdir() if path.name.endswith(endings[target])) for target in targets}


def tracked(*below: str) -> list[str]:
    """Return the files of this tree that are, or would be, committed."""
    names = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *below], ROOT).split("\0")
    return [name for name in names if name and (ROOT / name).exists()]


def copy_tree(names: Iterable[str], into: Path) -> Path:
    """Copy these files of this tree."""
    for name in names:
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    return into


def environment(python: str | Path, place: Path, *requirements: str) -> Path:
    """Make a virtual environment with these installed, without a compiler; return its Python."""
    run([python, "-m", "venv", place], ROOT)
    own = place / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:", *requirements]
    run([own, *install], place, PATH=str(own.parent))  # nothing else is there
    return own
