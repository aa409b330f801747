"""Settings and identity of the running kernel. Reads /proc; a setting that cannot be read is None, never a guess."""

from __future__ import annotations

import os
import sys

from portguard.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from portguard.rules.ranges import Range


def read(path: str) -> str | None:
    """Return what a file says, without white space around it; None if it cannot be read."""
    try:
        return _text_of(path)
    except OSError:
        return None


def _text_of(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        return os.read(fd, 65536).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


def _is_number(text: str) -> bool:
    """Whether this is a number that may be about ports; Python takes no thousands of digits for one."""
    return text.isdigit() and len(text) <= len("65536")


def _read_key(path: str) -> str:
    """Return a word that names a file of the lease store, "" where this system does not tell it.

    What is told to others, and could not be read just now, is no answer: with another name we would be alone with our
    leases. Raises StateError.
    """
    try:
        return _text_of(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ""
    except OSError as error:
        raise _unkeyed(path, error) from error


def _unkeyed(path: str, error: OSError) -> StateError:
    return StateError(f"could not determine which leases are this host's: {path}: {error.strerror}", "try again")


def euid() -> int | None:
    """Return our effective user, None if the system has no such numbers (Windows)."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def ephemeral_range(proc: str = "/proc", platform: str = sys.platform) -> Range | None:
    """Return the inclusive range this kernel assigns by itself, None if unknown (ip-sysctl.rst, ip_local_port_range).

    Outside Linux the documented default, which is the whole dynamic range.
    """
    if platform != "linux":
        return (49152, 65535)
    parts = (read(f"{proc}/sys/net/ipv4/ip_local_port_range") or "").split()
    if len(parts) != 2 or not all(map(_is_number, parts)):
        return None
    return int(parts[0]), int(parts[1])


def reserved_ports(proc: str = "/proc") -> tuple[Range, ...]:
    """Return net.ipv4.ip_local_reserved_ports as inclusive ranges; empty where there are none or it is unreadable."""
    ranges = []
    for part in (read(f"{proc}/sys/net/ipv4/ip_local_reserved_ports") or "").split(","):
        first, dash, last = part.strip().partition("-")
        if _is_number(first) and (not dash or _is_number(last)):
            ranges.append((int(first), int(last) if dash else int(first)))
    return tuple(ranges)


def unprivileged_port_start(proc: str = "/proc", platform: str = sys.platform) -> int:
    """Return the first port that needs no privileges (ip-sysctl.rst, ip_unprivileged_port_start); 1024 if unknown."""
    if platform != "linux":
        return 0 if platform == "win32" else 1024
    text = read(f"{proc}/sys/net/ipv4/ip_unprivileged_port_start") or ""
    return int(text) if _is_number(text) else 1024


def host_key(proc: str = "/proc", platform: str = sys.platform) -> str:
    """Return what ports belong to: this boot's id and this network namespace, as one file-name-safe word.

    Outside Linux, or without /proc, the parts that are not told are left out. Raises StateError if one of them
    could not be read.
    """
    if platform != "linux":
        return "host"
    boot = _read_key(f"{proc}/sys/kernel/random/boot_id").replace("-", "")
    link = f"{proc}/self/ns/net"
    try:
        namespace = os.readlink(link)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        namespace = ""
    except OSError as error:
        raise _unkeyed(link, error) from error
    namespace = namespace.removeprefix("net:[").removesuffix("]")
    return f"{boot if boot.isalnum() else 'boot'}-{namespace if namespace.isdigit() else 'net'}"


def is_whole(key: str) -> bool:
    """Whether a key of `host_key` tells the boot and the network namespace: else it is shared with others."""
    return not key.startswith("boot-") and not key.endswith("-net")


def machine_key(etc: str = "/etc") -> str:
    """Return what tells this host from others that share a home with it, as one file-name-safe word.

    The machine id (machine-id(5)), which survives reboots; else the host's name. Raises StateError if there is one
    that could not be read.
    """
    text = _read_key(f"{etc}/machine-id")
    if not (text.isalnum() and text.isascii()):
        node = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
        text = "".join(char if char.isascii() and char.isalnum() else "_" for char in node)
    return text[:64] or "host"
