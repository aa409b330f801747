"""Where it was measured, in words, for anyone who compares two tables. Names no host, no user and no path."""

from __future__ import annotations

import datetime
import os
import platform
import re
import resource
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.environment import Environment

_VERSIONS = {  # how a program tells its version, and what of it is the version
    "ss": (("ss", "-V"), r"iproute2-\S+"),
    "lsof": (("lsof", "-v"), r"revision: *(\S+)"),
    "fuser": (("fuser", "-V"), r"PSmisc\) *(\S+)"),
}


def describe(environment: Environment) -> list[tuple[str, str]]:
    """Return what is known of the machine and of what was measured, as pairs of name and value."""
    usable = len(os.sched_getaffinity(0))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    peers = [f"{name} {_version(*how)}" for name, how in _VERSIONS.items()]
    peers += [f"{name} {version or 'missing'}" for name, version in environment.versions.items() if name != "portguard"]
    return [
        ("portguard", environment.versions["portguard"] or "unknown"),
        ("date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("processor", f"{_field('/proc/cpuinfo', 'model name') or platform.machine()}, {usable} usable"),
        ("memory", f"{int((_field('/proc/meminfo', 'MemTotal') or '0').split()[0]) / 2**20:.0f} GiB"),
        ("system", f"Linux {platform.release()}, {_distribution()}"),
        ("Python", environment.python_version),
        ("peers", ", ".join(peers)),
        ("user", "root" if os.geteuid() == 0 else "an ordinary one, in a user namespace"),
        ("processes", f"{sum(name.isdigit() for name in os.listdir('/proc'))} before the first world"),
        ("open files", f"{soft:,} (ulimit -n)"),
        ("load", "{:.2f} {:.2f} {:.2f} before the first world".format(*os.getloadavg())),
        *(("note", note) for note in environment.notes),
    ]


def _version(command: tuple[str, ...], pattern: str) -> str:
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603 - fixed
    except (OSError, subprocess.SubprocessError):
        return "missing"
    found = re.search(pattern, told.stdout + told.stderr)
    return found[found.lastindex or 0] if found else "of unknown version"


def _field(path: str, name: str) -> str | None:
    with open(path, encoding="utf-8", errors="replace") as lines:
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown distribution")
    except OSError:
        return "unknown distribution"
