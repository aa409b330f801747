"""What listens here, and what a number means, for people: aligned lines that keep their end within the width.

Foreign strings go through `safe()`. Ports, addresses and pids are never cut: a cell that would pass the width goes on
the next line, under the second column.
"""

from __future__ import annotations

from portguard.render.safe import safe
from portguard.rules.addresses import endpoint
from portguard.rules.ranges import DYNAMIC, WELL_KNOWN
from portguard.rules.services import EPHEMERAL_DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from portguard.model import Connection, Holder, Listener, Listing, PortInfo

    # What is worded once: cells by what they come from. Sockets of one process share its record, and so its id.
    _Owners = dict[tuple[int, str, str | None], tuple[str, str, str]]
    _Rests = dict[tuple[object, ...], tuple[str, ...]]

WIDTH = 80
_NAME_LIMIT = 32
_UNIT_LIMIT = 60
_GAP = 2
_LABEL = 14
_BOLD, _RESET = "\x1b[1m", "\x1b[0m"
_RANGES = {
    "well-known": f"{WELL_KNOWN[0]}-{WELL_KNOWN[1]}",
    "registered": f"{WELL_KNOWN[1] + 1}-{DYNAMIC[0] - 1}",
    "dynamic": f"{DYNAMIC[0]}-{DYNAMIC[1]}",
}

# By table: the heads of the columns, and how wide a column grows for its cells. Longer ones push those behind them.
_OWNER = (("PROCESS", 15), ("PID", 10), ("USER", 10))
_LAST = (("PART OF", 24), ("PROJECT", 24))
_LISTENERS = (("PORT", 9), ("ADDRESS", 15), *_OWNER, ("SERVICE", 15), *_LAST)
_CONNECTIONS = (("PORT", 9), ("ADDRESS", 15), ("REMOTE", 21), *_OWNER, ("STATE", 12), *_LAST)
# What the lines of `info` say by themselves.
_SHOWN_ELSEWHERE = ("well-known", "browser-blocked", "ephemeral", "ephemeral-range", "reserved")


def listing(found: Listing, *, colour: bool, width: int = WIDTH, by_project: bool = False) -> str:
    """Return a line a listener under a line of heads; connections, where asked for, as a second table.

    Sockets that differ in nothing that is shown share a line. `by_project` makes a table for each project, and one for
    the listeners without a project at the end. Empty if nothing listens.
    """
    owners: _Owners = {}
    if by_project:
        listeners = _by_project(found.listeners, colour=colour, width=width)
    else:
        rests: _Rests = {}
        rows = dict.fromkeys([_listener(item, rests) for item in found.listeners])
        listeners = table(_LISTENERS, rows, colour=colour, width=width)
    if found.connections is None:
        return listeners
    rows = dict.fromkeys([_connection(item, owners) for item in found.connections])
    connections = table(_CONNECTIONS, rows, colour=colour, width=width)
    parts = [f"listeners\n{listeners}" if listeners else "", f"connections\n{connections}" if connections else ""]
    return "\n".join(part for part in parts if part)


def _by_project(found: Sequence[Listener], *, colour: bool, width: int) -> str:
    tables = []
    rests: _Rests = {}
    for project in sorted({item.project for item in found}, key=lambda name: (name is None, name or "")):
        rows = [_listener(item, rests) for item in found if item.project == project]
        head = "(no project)" if project is None else safe(project, width)
        tables.append(f"{head}\n{table(_LISTENERS, dict.fromkeys(rows), colour=colour, width=width)}")
    return "\n".join(tables)


def _listener(item: Listener, rests: _Rests) -> tuple[str, ...]:
    holder, span, service, user, _ = item
    protocol, address, port, _, status, processes, _, container, unit, _, _ = holder
    key = (id(processes), status, user, span, service, id(container), unit)
    rest = rests.get(key)
    if rest is None:
        named = safe(service, _NAME_LIMIT) if service else f"({span})"
        rest = rests[key] = (*_owner_cells(holder, user), named, *_part_of(holder))
    return (f"{port}/{protocol}", safe(address), *rest)


def _connection(item: Connection, owners: _Owners) -> tuple[str, ...]:
    holder = item.holder
    has_peer = item.remote_address is not None and item.remote_port is not None
    remote = safe(endpoint(item.remote_address or "", item.remote_port or 0)) if has_peer else "-"
    owner = _owner(holder, item.user, owners)
    return (_port(holder), safe(holder.address), remote, *owner, safe(holder.state or "-"), *_part_of(holder))


def _port(holder: Holder) -> str:
    return f"{holder.port}/{holder.protocol}"


def _owner(holder: Holder, user: str | None, owners: _Owners) -> tuple[str, str, str]:
    """Return process, pid and user, worded once: `owners` remembers them."""
    key = (id(holder.processes), holder.owner_status, user)
    if key not in owners:
        owners[key] = _owner_cells(holder, user)
    return owners[key]


def _owner_cells(holder: Holder, user: str | None) -> tuple[str, str, str]:
    """Return process, pid and user; of several processes the oldest, and how many more there are."""
    if not holder.processes:
        words = {"hidden": "(hidden)", "kernel": "(kernel)"}
        return words.get(holder.owner_status, "(unknown)"), "-", safe(user or "-", _NAME_LIMIT)
    first = min(holder.processes, key=lambda process: (process.started_at or 0.0, process.pid))
    more = len(holder.processes) - 1
    pid = f"{first.pid} +{more}" if more else str(first.pid)
    name = safe(first.name or "", _NAME_LIMIT).strip() or "-"
    return name, pid, safe(first.user or user or "-", _NAME_LIMIT)


def _part_of(holder: Holder) -> tuple[str, str]:
    """Return the container, else the unit; and the compose project and service that the container is of."""
    if holder.container is None:
        return (safe(holder.unit, _UNIT_LIMIT) if holder.unit else ""), ""
    name, compose = safe(holder.container.name, _NAME_LIMIT), holder.container.compose
    if compose is None:
        return name, ""
    service = "" if compose.service is None else f"/{safe(compose.service, _NAME_LIMIT)}"
    return name, safe(compose.project, _NAME_LIMIT) + service


def table(columns: Sequence[tuple[str, int]], rows: Iterable[tuple[str, ...]], *, colour: bool, width: int) -> str:
    """Return the rows under a line of heads; a column is as wide as its cells need, up to its limit."""
    lines = list(rows)
    if not lines:
        return ""
    starts = [0]
    sizes = []
    heads = []
    for (name, limit), cells in zip(columns, zip(*lines, strict=True), strict=True):
        lengths = set(map(len, cells))
        sizes.append(max([len(name), *(length for length in lengths if length <= limit)]))
        starts.append(starts[-1] + sizes[-1] + _GAP)
        heads.append(name if any(lengths) else "")
    del starts[-1]
    # A column that has no room begins on the next line in every row; a head over it would be in no one's place.
    shown = [name if start + len(name) <= width else "" for name, start in zip(heads, starts, strict=True)]
    head = _line(shown, starts, width)
    # Where all cells fit in their columns, which is the rule, filling them up is all there is to do.
    pattern = (" " * _GAP).join(f"%-{size}s" for size in sizes)
    full = starts[-1] + sizes[-1]
    body = []
    for row in lines:
        line = pattern % row
        is_plain = len(line) == full
        line = line.rstrip()
        body.append(line if is_plain and len(line) <= width else _line(row, starts, width))
    return "\n".join([f"{_BOLD}{head}{_RESET}" if colour else head, *body]) + "\n"


def _line(cells: Sequence[str], starts: Sequence[int], width: int) -> str:
    """Return the cells, each at the start of its column or, pushed, two behind the one before it."""
    finished: list[str] = []
    line = ""
    for cell, start in zip(cells, starts, strict=True):
        if not cell:
            continue
        pushed = len(line) + _GAP if line else 0
        place = pushed if finished else max(start, pushed)
        if line and place + len(cell) > width:
            finished.append(line)
            line, place = "", starts[1]
        line = line.ljust(place) + cell
    return "\n".join([*finished, line])


def info(found: Iterable[PortInfo], *, colour: bool) -> str:
    """Return a paragraph for each port: its names, its class, and what this system does with it."""
    return "\n".join(_paragraph(item, colour=colour) for item in found)


def _paragraph(item: PortInfo, *, colour: bool) -> str:
    head = f"{_BOLD}{item.port}{_RESET}" if colour else str(item.port)
    names = {"tcp": item.tcp, "udp": item.udp}
    facts = [
        ("service", ", ".join(f"{safe(names[each] or 'no name', _NAME_LIMIT)} ({each})" for each in item.protocols)),
        ("default of", ", ".join(item.tools)),
        ("ephemeral", _ephemeral(item)),
        ("browsers", f"refuse http://…:{item.port} (WHATWG Fetch, bad port)" if item.browser_blocked else "open it"),
        ("privileges", "needed to bind it here" if item.privileged else "none needed to bind it here"),
        *(("note", safe(note.message)) for note in item.notes if note.id not in _SHOWN_ELSEWHERE),
    ]
    lines = [f"{head}  {item.range} ({_RANGES[item.range]})"]
    lines.extend(_wrapped(f"  {label}".ljust(_LABEL), text) for label, text in facts if text)
    return "\n".join(lines) + "\n"


def _ephemeral(item: PortInfo) -> str:
    """Return whether the kernel may assign the number by itself, and the range that says so."""
    span = item.ephemeral_range
    if span is None:
        return f"this kernel's range cannot be read; {EPHEMERAL_DEFAULTS}"
    here = f"this kernel assigns {span[0]}-{span[1]}"
    if item.ephemeral:
        here += ", an outgoing connection can take it at any time"
    elif span[0] <= item.port <= span[1]:
        here += " without it (net.ipv4.ip_local_reserved_ports)"
    return f"{'yes' if item.ephemeral else 'no'}: {here}; {EPHEMERAL_DEFAULTS}"


def _wrapped(label: str, text: str) -> str:
    """Return label and text on lines of at most the width, the text in a column; a long word stays whole."""
    lines = [label]
    for word in text.split(" "):
        if len(lines[-1]) > len(label) and len(lines[-1]) + len(word) >= WIDTH:
            lines.append(" " * len(label))
        lines[-1] += word if len(lines[-1]) == len(label) else f" {word}"
    return "\n".join(lines)
