"""The Python environment that is measured: a fresh one with portguard, not editable, and its Python peers.

Made by uv or by pip 26 and newer, which write console scripts without `import re`; an older pip's are slower to start.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from typing import NamedTuple

from benchmarks import isolation

PEERS = ("psutil", "portpicker", "ephemeral-port-reserve", "port-for")
_CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PIP = 26
_LIMIT = 600  # seconds an installation may take
_ASK = """
import importlib.metadata, importlib.util, json, os, platform, sys, sysconfig
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({
    "python": platform.python_implementation() + " " + platform.python_version(),
    "purelib": sysconfig.get_path("purelib"),
    "scripts": sysconfig.get_path("scripts"),
    "package": os.path.dirname(getattr(importlib.util.find_spec("portguard"), "origin", None) or "") or None,
    "versions": {name: version(name) for name in sys.argv[1:]},
    "has_bytecode": os.path.exists(importlib.util.cache_from_source(os.__file__)),
}))
"""


class UnusableError(Exception):
    """No environment to measure in; the message says why."""


class Environment(NamedTuple):
    """Paths of the interpreter and its scripts; `python_version` in words; versions by distribution, None: missing."""

    python: str
    bin: str
    python_version: str
    versions: dict[str, str | None]
    notes: tuple[str, ...]

    def has(self, needed: str) -> bool:
        """Whether a program, or a `module:` of this environment, is there."""
        if needed.startswith("module:"):
            return self.versions.get(needed.removeprefix("module:").replace("_", "-")) is not None
        return not needed or shutil.which(needed) is not None


def fresh(directory: str) -> Environment:
    """Make an environment in `directory`, or bring the one that is there up to date. Raises UnusableError."""
    python = os.path.join(directory, "bin", "python")
    for install in (_with_uv, _with_pip):
        notes = install(python, directory)
        if notes is not None:
            return existing(python, notes)
    return existing(sys.executable, ("no fresh environment could be made; the running one was measured",))


def existing(python: str, notes: tuple[str, ...] = ()) -> Environment:
    """Look at an environment that is there, and compile it. Raises UnusableError."""
    try:
        asked = subprocess.run(  # noqa: S603 - the interpreter that is measured
            [python, "-I", "-c", _ASK, "portguard", *PEERS], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnusableError(f"{python}: {error}") from None
    told = json.loads(asked.stdout)
    script = os.path.join(told["scripts"], "portguard")
    if told["package"] is None or not os.path.exists(script):
        raise UnusableError(f"{python} has no portguard with its console script; install it, or leave out --python")
    for tree in {told["purelib"], told["package"]}:
        if not _succeeds([python, "-m", "compileall", "-qq", "-j", "0", tree]):
            notes += ("not everything could be compiled",)
    with open(script, encoding="utf-8") as lines:
        if "import re\n" in lines.read():
            notes += ("the console script imports `re`, as pip before 26 writes it: its start costs more",)
    if not told["package"].startswith(told["purelib"]):
        notes += ("portguard is installed editable: its start costs more",)
    if not told["has_bytecode"]:
        notes += ("the standard library has no bytecode, unless the warm-up could write it",)
    return Environment(os.path.abspath(python), told["scripts"], told["python"], told["versions"], notes)


def _with_uv(python: str, directory: str) -> tuple[str, ...] | None:
    """Install with uv; return what is to be noted, or None if it cannot be done."""
    uv = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
    if uv is None:
        return None
    if not os.path.exists(python) and not _succeeds([uv, "venv", "--quiet", "--python", sys.executable, directory]):
        return None
    install = [uv, "pip", "install", "--quiet", "--python", python]
    if not _succeeds([*install, "--reinstall-package", "portguard", _CHECKOUT]):
        return None
    return _install_peers(install)


def _with_pip(python: str, directory: str) -> tuple[str, ...] | None:
    """Install with pip, the newest there is; return what is to be noted, or None if it cannot be done."""
    if not os.path.exists(python) and not _succeeds([sys.executable, "-m", "venv", directory]):
        return None
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _succeeds([*install, "--upgrade", f"pip>={_PIP}"])
    if not _succeeds([*install, _CHECKOUT]):
        return None
    return _install_peers(install)


def _install_peers(install: list[str]) -> tuple[str, ...]:
    if _succeeds([*install, *PEERS]):
        return ()
    missing = [peer for peer in PEERS if not _succeeds([*install, peer])]
    return (f"could not be installed: {', '.join(missing)}",) if missing else ()


def _succeeds(command: list[str]) -> bool:
    """Run a command; what it says is shown when it fails."""
    end_with_us = functools.partial(isolation.end_with, os.getpid())
    try:
        done = subprocess.run(  # noqa: S603 - our own command lines
            command, capture_output=True, text=True, check=False, timeout=_LIMIT, preexec_fn=end_with_us
        )
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{error}\n")
        return False
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
    return done.returncode == 0
