"""Leases as text: a line per port. Foreign strings go through `safe()`."""

from __future__ import annotations

import time

from portguard.render.listing import WIDTH, table
from portguard.render.safe import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from portguard.model import LeaseInfo

_COLUMNS = (
    ("PORT", 9), ("KIND", 10), ("NAME", 12), ("WHO", 20), ("SINCE", 11), ("UNTIL", 11), ("LISTENS", 7), ("WHERE", 60),
)  # fmt: skip
_NAME_LIMIT = 32
_PATH_LIMIT = 400
_DAY = 24 * 60 * 60


def leases(found: Iterable[LeaseInfo], home: str, *, now: float, colour: bool, width: int = WIDTH) -> str:
    """Return a line each under a line of heads; empty where nothing is handed out."""
    return table(_COLUMNS, [_row(item, home, now) for item in found], colour=colour, width=width)


def given_back(found: Iterable[LeaseInfo], home: str) -> str:
    """Return a line for each number that was released."""
    return "".join(
        f"{item.port}  {safe(item.name or item.kind, _NAME_LIMIT)}  {_where(item, home)}\n" for item in found
    )


def _row(item: LeaseInfo, home: str, now: float) -> tuple[str, ...]:
    who = "" if item.process is None else f"{safe(item.process.name or '?', _NAME_LIMIT)} ({item.process.pid})"
    protocol = f"/{item.protocols[0]}" if len(item.protocols) == 1 else ""
    until = "it ends" if item.expires_at is None and item.kind in ("run", "hold") else _clock(item.expires_at, now)
    listens = {True: "yes", False: "no", None: "?"}[item.listening]
    where = _where(item, home) + (" (gone)" if item.gone else "")
    name = safe(item.name or "", _NAME_LIMIT)
    return f"{item.port}{protocol}", item.kind, name, who, _clock(item.since, now), until, listens, where


def _where(item: LeaseInfo, home: str) -> str:
    path = item.directory or ""
    if home and (path == home or path.startswith(home.rstrip("/") + "/")):
        path = "~" + path[len(home.rstrip("/")) :]
    return safe(path, _PATH_LIMIT)


def _clock(seconds: float | None, now: float) -> str:
    """Return an instant as people say it: the time of today, else the date."""
    if seconds is None:
        return ""
    return time.strftime("%H:%M:%S" if abs(now - seconds) < _DAY else "%Y-%m-%d", time.localtime(seconds))
