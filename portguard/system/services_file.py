"""The system's own list of service names, services(5): a fall-back for numbers that our tables do not have."""

from __future__ import annotations

import sys

from portguard.rules.ranges import decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SIZE_LIMIT = 4 << 20  # the whole IANA registry in this format is 1 MiB


def path_of(environ: Mapping[str, str], platform: str = sys.platform) -> str:
    """Return where the file is on this kind of system."""
    if platform == "win32":
        return environ.get("SystemRoot", r"C:\Windows") + r"\System32\drivers\etc\services"
    return "/etc/services"


def read(path: str) -> dict[tuple[int, str], str]:
    """Return names by (port, protocol); the first line of a number wins. Empty if there is no readable file.

    Lines that are none are left out. Names are foreign strings.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_SIZE_LIMIT)
    except OSError:
        return {}
    names: dict[tuple[int, str], str] = {}
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        fields = line.partition("#")[0].split()
        if len(fields) < 2:
            continue
        text, _, protocol = fields[1].partition("/")
        number = decimal(text)
        if number is not None:
            names.setdefault((number, protocol), fields[0])
    return names
