"""Where a process comes from: its control group, its ancestors, what a forwarder forwards.

Two programs' arguments are read, and no one else's (arguments carry secrets): docker-proxy's, which are addresses and
ports, and conmon's, for the container's identifier. Everything read is foreign and checked; what cannot be read is
None or empty, and nothing here raises.
"""

from __future__ import annotations

import os
from itertools import pairwise

from portguard._namedtuple import NamedTuple
from portguard.rules.addresses import canonical, is_alias
from portguard.rules.attribution import is_container_id
from portguard.rules.ranges import LAST_PORT, decimal
from portguard.system import proc_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from portguard.model import Protocol

_LIMIT = 65536  # bytes
_DEPTH = 64  # ancestors


class Forward(NamedTuple):
    """What one docker-proxy does: a host endpoint, and where in the container it leads. `uid` is the process's user."""

    pid: int
    uid: int
    protocol: Protocol
    host_address: str
    host_port: int
    container_address: str
    container_port: int


def cgroup_of(pid: int, *, proc: str = "/proc") -> str:
    """Return the text of /proc/PID/cgroup (cgroups(7)), "" where it cannot be read."""
    return os.fsdecode(_read(f"{proc}/{pid}/cgroup"))


def ancestry(pid: int, *, proc: str = "/proc") -> tuple[tuple[int, str], ...]:
    """Return (pid, name) of the process and its ancestors, as far as they can be seen, at best to PID 1.

    A parent that started later than its child has only got its number: the row ends before it.
    """
    if not os.path.exists(f"{proc}/self/stat"):
        return _ancestry_by_psutil(pid)
    found: dict[int, str] = {}
    young = None
    while pid > 0 and pid not in found and len(found) < _DEPTH:
        row = proc_stat.read(pid, proc=proc)
        if row is None or (young is not None and row.started > young):
            break
        found[pid], young = row.name, row.started
        pid = row.parent
    return tuple(found.items())


def _ancestry_by_psutil(pid: int) -> tuple[tuple[int, str], ...]:
    import psutil  # only where there is no /proc

    found: list[tuple[int, str]] = []
    try:
        process: psutil.Process | None = psutil.Process(pid)
        while process is not None and len(found) < _DEPTH and process.pid not in dict(found):
            found.append((process.pid, process.name()))
            process = process.parent()  # by start time, so a reused number is no one's parent
    except (psutil.Error, OSError, ValueError, RuntimeError):
        pass
    return tuple(found)


# ---------------------------------------------------------------- what forwarders forward


def forwards(programs: Sequence[str], *, proc: str = "/proc") -> tuple[Forward, ...]:
    """Return what every docker-proxy that can be seen forwards: readable for all users, unlike who holds a socket.

    A process can call itself docker-proxy and say what it likes; `uid` tells whose word it is.
    """
    try:
        pids = sorted(int(name) for name in os.listdir(proc) if name.isascii() and name.isdigit())
    except OSError:
        return ()
    return tuple(found for pid in pids if (found := forwarded_by(pid, programs, proc=proc)) is not None)


def forwarded_by(pid: int, programs: Sequence[str], *, proc: str = "/proc") -> Forward | None:
    """Return what the process forwards if it is docker-proxy and says so, else None."""
    if not _is_program(pid, programs, proc):
        return None
    words = _arguments(pid, proc)
    # Go's flag package: one dash or two, the value apart or after an equals sign; docker writes the first of each.
    values = {name.lstrip("-"): value for name, value in pairwise(words) if name.startswith("-")}
    protocol = values.get("proto", "tcp")
    host, inner = (canonical(values.get(key, "")) for key in ("host-ip", "container-ip"))
    port, target = (_port(values.get(key, "")) for key in ("host-port", "container-port"))
    try:
        uid = os.stat(f"{proc}/{pid}").st_uid
    except OSError:
        return None
    if host is None or inner is None or is_alias(host) or not port or not target or protocol not in ("tcp", "udp"):
        return None
    return Forward(pid, uid, "tcp" if protocol == "tcp" else "udp", host, port, inner, target)


def served_by(pid: int, program: str, *, proc: str = "/proc") -> str | None:
    """Return the container identifier of a process that runs `program`, as conmon(8) is told it (`-c`); else None."""
    if not _is_program(pid, (program,), proc):
        return None
    words = _arguments(pid, proc)
    return next((value for name, value in pairwise(words) if name in ("-c", "--cid") and is_container_id(value)), None)


def _is_program(pid: int, names: Sequence[str], proc: str) -> bool:
    """Whether the process runs one of these programs: by its file, or by its name where that is closed to us."""
    try:
        return os.path.basename(os.readlink(f"{proc}/{pid}/exe").removesuffix(" (deleted)")) in names
    except PermissionError:
        return os.fsdecode(_read(f"{proc}/{pid}/comm")).removesuffix("\n") in {name[:15] for name in names}
    except OSError:
        return False


def _arguments(pid: int, proc: str) -> list[str]:
    return os.fsdecode(_read(f"{proc}/{pid}/cmdline")).split("\0")


def _port(text: str) -> int:
    """Return a port's number, 0 for anything else."""
    number = decimal(text) or 0
    return number if number <= LAST_PORT else 0


def _read(path: str) -> bytes:
    """Return the first 64 KiB of a file, b"" if it cannot be read. Never waits for one that is not a plain file."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError):
        return b""
    try:
        return os.read(fd, _LIMIT)
    except OSError:
        return b""
    finally:
        os.close(fd)
