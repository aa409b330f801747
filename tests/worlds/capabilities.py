"""What this machine can do, so that a test that needs more is skipped with the reason."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worlds import netns

Probe = Callable[[], "str | None"]

NOBODY = 65534
REQUIRE_ALL = "PORTGUARD_TEST_REQUIRE_ALL"
_PROBE_TIMEOUT = 30


def find_program(name: str) -> str | None:
    """Where a program is; daemons live in sbin, which an ordinary PATH may lack."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=f"{path}:/usr/local/sbin:/usr/sbin:/sbin")


def _missing(*names: str) -> str | None:
    absent = [name for name in names if find_program(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def _fails(*argv: str) -> str | None:
    """None if the command succeeds, else what it said."""
    missing = _missing(argv[0])
    if missing is not None:
        return missing
    try:
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PROBE_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{argv[0]}: {error}"
    if done.returncode == 0:
        return None
    said = done.stdout.decode(errors="replace").strip()
    return f"{argv[0]} exited with {done.returncode}: {said[-300:]}"


@functools.cache
def _netns() -> str | None:
    if os.geteuid() != 0:
        return "not root"
    missing = _missing("nsenter")
    if missing is not None:
        return missing
    try:
        netns.run_in_netns(os.getpid, timeout=_PROBE_TIMEOUT)
    except (OSError, RuntimeError) as error:
        return f"no private network namespace: {error}"
    return None


@functools.cache
def _pidns() -> str | None:
    return _fails("unshare", "-p", "-f", "--mount-proc", "true")


@functools.cache
def _userns() -> str | None:
    return _users() or _fails("setpriv", f"--reuid={NOBODY}", "--clear-groups", "--", "unshare", "-U", "-r", "true")


@functools.cache
def _hidepid() -> str | None:
    reason = _netns() or _users()
    if reason is not None:
        return reason
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    if release is None or (int(release[1]), int(release[2])) < (5, 8):
        # Older kernels share the option between all mounts of a pid namespace: it would change the real /proc.
        return f"Linux {platform.release()} has no private hidepid (5.8 is the first)"
    try:
        with netns.private_netns(hidepid=True) as ns:
            argv = ["test", "-e", f"/proc/{ns.pid}"]
            if ns.run(argv).returncode != 0:
                return "root cannot see processes in a /proc mounted with hidepid=2"
            if ns.run(argv, user=NOBODY).returncode == 0:
                return "/proc mounted with hidepid=2 hides nothing"
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return f"cannot mount /proc with hidepid=2: {error}"
    return None


@functools.cache
def _users() -> str | None:
    if os.geteuid() != 0:
        return "not root"
    return _fails("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--", "true")


def static_busybox() -> str | None:
    """Find a busybox that runs in an otherwise empty image."""
    for name in ("busybox", "busybox-static", "busybox.static"):
        path = find_program(name)
        if path is None:
            continue
        with Path(path).open("rb") as program:
            head = program.read(8192)
        # A dynamic program names its loader (ld-linux, ld-musl) right behind the headers.
        if head.startswith(b"\x7fELF") and b"/ld-" not in head:
            return path
    return None


@functools.cache
def _docker() -> str | None:
    reason = (
        _netns()
        or _missing("dockerd", "docker", "docker-compose", "docker-proxy", "containerd", "runc")
        or _fails("docker-compose", "version")
    )
    if reason is not None:
        return reason
    return None if static_busybox() is not None else "no static busybox"


@functools.cache
def _docker_compose() -> str | None:
    return _fails("docker-compose", "version")


@functools.cache
def _podman() -> str | None:
    return _fails("podman", "--version")


@functools.cache
def _node() -> str | None:
    return _fails("node", "--version")


@functools.cache
def _java() -> str | None:
    missing = _missing("java")
    if missing is not None or _missing("javac") is None:
        return missing or _fails("java", "-version")
    # Without javac, a java that has the compiler module launches a source file by itself.
    command = ["java", "--list-modules"]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0 or "jdk.compiler@" not in done.stdout:
        return "neither javac nor a java that launches source files"
    return None


def _listen_on_ipv6() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as server:
        server.bind(("::1", 0))
        server.listen()


@functools.cache
def _ipv6() -> str | None:
    try:
        if _netns() is None:
            netns.run_in_netns(_listen_on_ipv6, timeout=_PROBE_TIMEOUT)
        else:
            _listen_on_ipv6()
    except OSError as error:
        return f"cannot listen on ::1: {error}"
    return None


@functools.cache
def _ss() -> str | None:
    return _fails("ss", "-V")


@functools.cache
def _lsof() -> str | None:
    return _fails("lsof", "-v")


@functools.cache
def _tmux() -> str | None:
    return _fails("tmux", "-V")


@functools.cache
def _git() -> str | None:
    return _fails("git", "--version")


@functools.cache
def _strace() -> str | None:
    true = find_program("true") or "true"
    return _fails("strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=uname", "-e", "inject=uname:error=EIO", true)


CAPABILITIES: dict[str, Probe] = {
    "netns": _netns,
    "pidns": _pidns,
    "userns": _userns,
    "hidepid": _hidepid,
    "users": _users,
    "docker": _docker,
    "docker-compose": _docker_compose,
    "podman": _podman,
    "node": _node,
    "java": _java,
    "ipv6": _ipv6,
    "ss": _ss,
    "lsof": _lsof,
    "tmux": _tmux,
    "git": _git,
    "strace": _strace,
}


def require(*names: str) -> None:
    """Skip the running test unless the machine has every named capability.

    With PORTGUARD_TEST_REQUIRE_ALL=1 a missing capability fails the test: nothing may go unrun.
    """
    for name in names:
        if name not in CAPABILITIES:
            raise ValueError(f"unknown capability {name!r}; known: {', '.join(CAPABILITIES)}")
        reason = CAPABILITIES[name]()
        if reason is None:
            continue
        message = f"needs {name}: {reason}"
        if os.environ.get(REQUIRE_ALL) == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)


def require_marked(item: pytest.Item) -> None:
    """Call require() with what @pytest.mark.needs("netns", "users") on the test asks for."""
    for marker in item.iter_markers("needs"):
        require(*marker.args)
