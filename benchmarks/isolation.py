"""A private network, processes that end with the benchmark, a directory that goes with it. Linux alone.

Whatever is started here ends when the process that started it does, also by SIGKILL: nothing stays behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pickle
import shutil
import signal
import socket
import struct
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_CAPABILITY_HEADER = struct.pack("=Ii", 0x20080522, 0)  # linux/capability.h: version 3, this process
_NO_CAPABILITIES = bytes(24)
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_INTERFACE = struct.Struct("16sH22x")  # struct ifreq: name, flags

libc = ctypes.CDLL(None, use_errno=True)


class FailedInChildError(Exception):
    """What went wrong in a forked process, in its own words."""


def enter_private_network() -> None:
    """Give this process a network namespace of its own, whose loopback is up. Raises OSError.

    Without the rights for it, in a user namespace of its own; ids stay what they are.
    """
    uid, gid = os.geteuid(), os.getegid()
    is_mapped = libc.unshare(_CLONE_NEWNET) != 0
    if is_mapped:
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as setting:
                setting.write(line)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, _INTERFACE.pack(b"lo", 0))
        flags: int = _INTERFACE.unpack(answer)[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, _INTERFACE.pack(b"lo", flags | _IFF_UP))
    if is_mapped:
        # Be an ordinary process again, one that others of this user may look at (ptrace(2), access mode checking).
        libc.capset(_CAPABILITY_HEADER, _NO_CAPABILITIES)
        libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which has forked it, ends."""
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it was faster
        os._exit(1)


def keep_only(*descriptors: int) -> None:
    """Close everything else that is open above standard error."""
    first = 3
    for descriptor in sorted(descriptors):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, max(first, os.sysconf("SC_OPEN_MAX")))


def call(function: Callable[[], T]) -> T:
    """Return what `function` returns in a forked process with a private network. Raises FailedInChildError.

    The process leads a session of its own, so that Ctrl-C reaches the caller alone, who then ends it and all below.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            os.setsid()
            try:
                enter_private_network()
            except OSError as error:
                raise FailedInChildError(
                    f"no private network ({error}): run it as root, or allow user namespaces "
                    "(user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
                ) from error
            end_with(parent)  # forgotten when a process enters a user namespace, hence after it
            answer = pickle.dumps((True, function()))
        except FailedInChildError as error:
            answer = pickle.dumps((False, str(error)))
        except BaseException:  # noqa: BLE001 - told to the caller
            answer = pickle.dumps((False, traceback.format_exc()))
        with os.fdopen(writer, "wb") as pipe, contextlib.suppress(OSError):
            pipe.write(answer)
        os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            is_done, result = pickle.load(pipe)  # noqa: S301 - our own process wrote it
    except EOFError:
        raise FailedInChildError("the measuring process was killed") from None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # not reaped yet, so the group is still its own
        os.kill(pid, signal.SIGKILL)  # it may not have had a group yet
        os.waitpid(pid, 0)
    if not is_done:
        raise FailedInChildError(result)
    value: T = result
    return value


@contextlib.contextmanager
def temporary_directory() -> Iterator[str]:
    """Yield a new directory. A process of its own removes it when this one is through with it, or has ended."""
    directory = tempfile.mkdtemp(prefix="portguard-benchmarks-")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            keep_only(reader)
            os.read(reader, 1)  # ends if no one has the other end any more
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os._exit(0)
    os.close(reader)
    try:
        yield directory
    finally:
        os.close(writer)
        os.waitpid(pid, 0)
