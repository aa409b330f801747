"""Linux: what this process may see of others, and whether what it sees can be trusted.

Root in a container is not root, a /proc may number the processes of another namespace, one number may stand for all the
users that have none here, and a sandbox may end anyone who asks. Told before it is believed; names and finds no one.
"""

from __future__ import annotations

import _socket
import os
import sys

from portguard._contexts import suppress
from portguard.system import kernel

# include/linux/proc_ns.h: the first user namespace's, the same on every system.
_FIRST_USER_NAMESPACE = "user:[4026531837]"
_CAP_SYS_PTRACE = 1 << 19  # linux/capability.h
_OVERFLOW_UID = 65534  # where /proc/sys/kernel/overflowuid cannot be read
_LARGEST_UID = 0xFFFF_FFFF
NETLINK_SOCK_DIAG = 4  # linux/netlink.h
_MOUNT_POINT = 4  # of the fields in proc_pid_mountinfo(5); the last one is the file system's options
_SHOWING = ("hidepid=0", "hidepid=off")
_NO_FILTER = "0"  # of `Seccomp:` in proc_pid_status(5)

_netlink: list[bool] = []


def is_foreign(proc: str = "/proc") -> bool:
    """Whether the processes have other numbers in this /proc than for us: it belongs to another PID namespace."""
    try:
        return os.readlink(f"{proc}/self") != str(os.getpid())
    except OSError:
        return False  # there is none at all, or a recorded one


def hides_processes(proc: str = "/proc") -> bool:
    """Whether this /proc leaves out the processes of others (hidepid, proc(5)), as far as its mount tells."""
    hiding = False
    for line in (kernel.read(f"{proc}/self/mountinfo") or "").splitlines():
        fields = line.split()
        if len(fields) > _MOUNT_POINT and fields[_MOUNT_POINT] == proc:  # the last one lies on top
            options = fields[-1].split(",")
            hiding = any(option.startswith("hidepid=") and option not in _SHOWING for option in options)
    return hiding


def sees_all(proc: str = "/proc") -> bool:
    """Whether no process is hidden for want of rights: root's, all of them, and not those of a container's root."""
    if not hasattr(os, "geteuid"):
        return True  # Windows does not tell
    if os.geteuid() != 0 or sys.platform != "linux":
        return os.geteuid() == 0
    try:
        rights = int(_status(proc).get("CapEff", "0"), 16)
    except ValueError:
        return False
    return bool(rights & _CAP_SYS_PTRACE) and _is_first_user_namespace(proc)


def unknown_uid(proc: str = "/proc") -> int | None:
    """Return the number that stands for every user without one in this user namespace; None if all have theirs."""
    if sys.platform != "linux" or _is_first_user_namespace(proc):
        return None
    text = kernel.read(f"{proc}/sys/kernel/overflowuid") or ""
    return int(text) if text.isdigit() and len(text) <= len(str(_LARGEST_UID)) else _OVERFLOW_UID


def may_ask_netlink() -> bool:
    """Whether asking for a netlink socket is survived: a sandbox's filter can end the process for it (seccomp(2))."""
    if _status("/proc").get("Seccomp") == _NO_FILTER:
        return True
    if not _netlink:  # where there is a filter, or none can be told, a child tries; once, filters are for good
        _netlink.append(_is_survived())
    return _netlink[0]


def _is_first_user_namespace(proc: str) -> bool:
    try:
        return os.readlink(f"{proc}/self/ns/user") == _FIRST_USER_NAMESPACE
    except OSError:
        return False


def _status(proc: str) -> dict[str, str]:
    """Return what /proc/thread-self/status says, by its names; rights and filters are each thread's own."""
    text = kernel.read(f"{proc}/thread-self/status") or ""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def _is_survived() -> bool:
    """Whether a child lives on that asks for a netlink socket; false where there can be no child."""
    from portguard.system import forked  # only in a sandbox

    child = forked.start(_ask)
    return child is not None and forked.result(child) is not None


def _ask() -> bytes:
    import resource  # only in the child

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # refused, and alive
        _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG).close()
    return b""
