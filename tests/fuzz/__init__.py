"""Fuzzing of everything that portguard reads from elsewhere: one module a target, `fuzz(data)` in each.

A harness hands bytes to the real reader, and raises for anything but an answer that holds together or one of
portguard's own errors. Nothing here knows who makes the bytes: `__main__` runs a target, `test_fuzz` replays them all.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

# What each target reads.
TARGETS = {
    "config": "portguard.toml and pyproject.toml",
    "compose": "compose files, their overrides and the `.env` beside them",
    "dotenv": "`.env` files, and portguard's block in them",
    "editors": "devcontainer.json, package.json, Procfile: what `init` drafts a config from",
    "netlink": "the kernel's answers through sock_diag(7)",
    "proc": "/proc/net, /proc/PID and their like",
    "engine": "what docker and podman answer, over HTTP and by their commands",
    "state": "the table of leases, the assignments, remembered configs",
    "argv": "command lines, at both doors",
}
HERE = Path(__file__).parent
_LIBRARIES = ("corpus", "regressions")  # what reaches far, and what once broke something


def harness(target: str) -> Callable[[bytes], None]:
    """Return the function that takes one input."""
    function: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.{target}").fuzz
    return function


def inputs(target: str) -> list[bytes]:
    """Return the stored inputs of a target, the smallest first."""
    paths = [path for library in _LIBRARIES for path in (HERE / library / target).glob("*")]
    return sorted((path.read_bytes() for path in paths), key=lambda data: (len(data), data))
