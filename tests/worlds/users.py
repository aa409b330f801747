"""What other users and sandboxed processes get: a Python run as someone else, with less of /proc, without netlink."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import portguard
from tests.worlds import sandbox
from tests.worlds.capabilities import NOBODY, REQUIRE_ALL
from tests.worlds.netns import PrivateNetns

_TIMEOUT = 60.0

# ---------------------------------------------------------------- as another user


class Interpreter(NamedTuple):
    """A Python that a user can run, and the variables with which it finds portguard."""

    program: str
    environ: Mapping[str, str]


_VERSION = ".".join(map(str, sys.version_info[:2]))
# Modules that are imported late must be within the user's reach as well.
_TRIAL = f"""
import asyncio, ctypes, json, os, sqlite3, subprocess, sys
import psutil, tomli
import portguard.api.check, portguard.cli.main
assert sys.version.startswith("{_VERSION}."), "another version: " + sys.version
os.stat(sys.executable)  # the exec is still root's: without this, one installation could run on another's library
"""


def becoming(uid: int) -> list[str]:
    """Return a command that runs another one as that user, without groups and capabilities; started as root."""
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]


@functools.cache
def _find_interpreter(uid: int) -> Interpreter | str:
    """Find one, or say why there is none: the tests' own may lie in a directory closed to others, root's home."""
    project = str(Path(portguard.__file__).resolve().parent.parent)
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("PORTGUARD_", "PYTHON", "COV_"))
    }
    environ["HOME"] = "/nonexistent"
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    paths = [project, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    if "COVERAGE_PROCESS_CONFIG" in environ:  # only Pythons of our own site-packages find coverage.py by themselves
        paths.insert(0, str(Path(__file__).with_name("measured")))
    environ["PYTHONPATH"] = os.pathsep.join(paths)
    reasons = []
    for program in (sys.executable, f"/usr/bin/python{_VERSION}", f"/usr/local/bin/python{_VERSION}"):
        done = subprocess.run(
            [*becoming(uid), program, "-c", _TRIAL],
            env=environ, cwd="/", capture_output=True, text=True, check=False, timeout=_TIMEOUT,
        )  # fmt: skip
        if done.returncode == 0:
            return Interpreter(program, environ)
        reasons.append(f"{program}: {done.stderr.strip().rpartition(chr(10))[2]}")
    return "; ".join(reasons)


def interpreter(uid: int) -> Interpreter:
    """Return a Python of our version that this user can run; without one the test is skipped, saying what was tried."""
    found = _find_interpreter(uid)
    if isinstance(found, Interpreter):
        return found
    message = f"user {uid} can run no Python {_VERSION} with portguard: {found}"
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def as_user(
    argv: Sequence[str],
    uid: int = NOBODY,
    ns: PrivateNetns | None = None,
    *,
    inside: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a Python with `argv` as that user, such as ["-m", "portguard", "check", "80"]; needs root.

    `inside` is a command that runs another one in a narrower world, started as root: one of WITHOUT. Other options go
    to `subprocess.run`.
    """
    program, base = interpreter(uid)
    command = [*inside, *becoming(uid), program, *argv]
    options.setdefault("cwd", "/")
    return subprocess.run(
        command if ns is None else ns.argv(command),
        env={**base, **(environ or {})}, capture_output=True, text=True, check=False, timeout=_TIMEOUT, **options,
    )  # fmt: skip


@contextlib.contextmanager
def effective_user(uid: int) -> Iterator[None]:
    """Make sockets as another user for a while."""
    before = os.geteuid()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)


# ---------------------------------------------------------------- with less of /proc


def _mounting(command: str) -> tuple[str, ...]:
    return ("unshare", "-m", "sh", "-c", f'{command} && exec "$@"', "sh")


# By name: commands that run another one where something is missing. The mounts are private to it.
WITHOUT: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "proc": _mounting("mount -t tmpfs none /proc"),
    "proc-net": _mounting("mount -t proc -o subset=pid proc /proc"),
    "other-users": _mounting("mount -t proc -o hidepid=2 proc /proc"),
    "other-processes": ("unshare", "-p", "-f", "--mount-proc"),
    "own-proc": ("unshare", "-p", "-f"),  # numbers of its own, and a /proc with the numbers outside
}

# ---------------------------------------------------------------- without netlink

can_deny_netlink = sandbox.can_forbid


def deny_netlink() -> None:
    """Make netlink sockets unavailable to this process and all its children; meant as `preexec_fn`."""
    sandbox.forbid(sandbox.AF_NETLINK)


# ---------------------------------------------------------------- sockets of another user

_HOLD = """
import json, socket, sys
held = []
for protocol, address, port, state in json.loads(sys.argv[1]):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    sock.bind((address, port))
    if state == "listen":
        sock.listen()
    held.append(sock)
print(json.dumps([sock.getsockname()[1] for sock in held]), flush=True)
sys.stdin.read()
"""


def is_running(pid: int) -> bool:
    """Whether a process exists; for those of anyone who asks, or as root."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Held(NamedTuple):
    """A process that holds sockets, and their ports."""

    pid: int
    ports: list[int]


@contextlib.contextmanager
def holding(sockets: Sequence[tuple[str, str, int, str]], uid: int, ns: PrivateNetns | None = None) -> Iterator[Held]:
    """Let a process of that user hold sockets: (protocol, address, port or 0, "listen" or "bound") each."""
    program, environ = interpreter(uid)
    command = [*becoming(uid), program, "-c", _HOLD, json.dumps(list(sockets))]
    with subprocess.Popen(
        command if ns is None else ns.argv(command),
        env=dict(environ), cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert select.select([process.stdout], [], [], _TIMEOUT)[0], "the holder says nothing"
            yield Held(process.pid, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(_TIMEOUT)
