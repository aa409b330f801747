"""`leases`: what is handed out on this host, and giving it back."""

from __future__ import annotations

import os
import time

from portguard.api import numbers
from portguard.api import project as projects
from portguard.errors import ConfigError, ConflictError, LookupFailedError, NotFoundError, UsageError
from portguard.leases import assignments, directory, table
from portguard.model import LeaseInfo, Process
from portguard.rules.ranges import LAST_PORT
from portguard.rules.targets import PROTOCOLS
from portguard.system import alive, kernel, processes, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from portguard.leases.assignments import Assignment
    from portguard.leases.table import Lease
    from portguard.model import Protocol


def list_leases(*, environ: Mapping[str, str] | None = None) -> tuple[LeaseInfo, ...]:
    """Return everything this user's callers were handed on this host and have not given back, by port.

    Leases are those of this network namespace, the numbers of checkouts those of all. Raises StateError when the store
    cannot be read.
    """
    environ = os.environ if environ is None else environ
    found = _leases(environ)
    known = numbers.known(environ)
    listening = _listening() if found or known else None
    items = [_lease_info(port, lease, listening) for port, lease in found.items()]
    items += [_assignment_info(item, listening) for item in known]
    return tuple(sorted(items, key=lambda item: (item.port, item.kind)))


def release(
    *targets: str, everything: bool = False, cwd: str | None = None, environ: Mapping[str, str] | None = None
) -> tuple[LeaseInfo, ...]:
    """Give back what these targets have, ports or names of this checkout; with `everything` all of this checkout's.

    A hold ends; what a command still runs with is a ConflictError. Returns what was given back. Raises NotFoundError
    for a target that has nothing, UsageError without any.
    """
    environ = os.environ if environ is None else environ
    if everything == bool(targets):
        raise UsageError("name what to give back", "portguard leases release PORT|NAME..., or --all of this checkout")
    here = numbers.checkout_of(_project_directory(cwd, environ))
    wanted = _everything(here.root, environ) if everything else _named(targets, here.directory, environ)
    running = [item for item in wanted if item.kind == "run" and item.process is not None]
    if running:
        pids = " ".join(sorted({str(item.process.pid) for item in running if item.process}))
        what = tuple(f"port {item.port} belongs to the command that runs with it" for item in running)
        raise ConflictError(what, f"end that: kill {pids}")
    _give_back(wanted, environ)
    return tuple(wanted)


def prune(*, dry: bool = False, environ: Mapping[str, str] | None = None) -> tuple[LeaseInfo, ...]:
    """Give back the numbers of checkouts that are gone, and return them; if `dry`, only return them."""
    environ = os.environ if environ is None else environ
    gone = [item for item in list_leases(environ=environ) if item.is_gone]
    if not dry:
        _give_back(gone, environ)
    return tuple(gone)


def is_gone(item: Assignment) -> bool:
    """Whether there is no such checkout any more: no directory, or another repository's in its place."""
    try:
        os.stat(item.directory)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # there may be something that cannot be seen
    return bool(item.common) and not numbers.is_own(item, numbers.checkout_of(item.directory))


def _leases(environ: Mapping[str, str]) -> dict[int, Lease]:
    path = directory.path_of(environ)
    with table.readable(path, kernel.host_key(), is_alive=alive.is_alive, is_required=True) as found:
        return {} if found is None else found.leases()


def _lease_info(port: int, lease: Lease, listening: Collection[tuple[str, int]] | None) -> LeaseInfo:
    is_there = alive.is_alive(lease.pid, lease.started)
    boot = time.time() - table.now() / 1000
    return LeaseInfo(
        port=port,
        protocols=_protocols(lease.protocols),
        kind=lease.kind,
        name=lease.name or None,
        directory=lease.directory or None,
        checkout=None,
        process=processes.describe(lease.pid) if is_there else None,
        since=boot + lease.since / 1000 if lease.since else None,
        until=None if lease.expires == table.FOR_LIFE else boot + lease.expires / 1000,
        is_listening=_is_listening(port, _protocols(lease.protocols), listening),
    )


def _assignment_info(item: Assignment, listening: Collection[tuple[str, int]] | None) -> LeaseInfo:
    return LeaseInfo(
        port=item.port,
        protocols=(),
        kind="assignment",
        name=item.name,
        directory=item.directory,
        checkout=item.root,
        process=None,
        since=float(item.since),
        until=None,
        is_listening=_is_listening(item.port, PROTOCOLS, listening),
        is_gone=is_gone(item),
    )


def _protocols(bits: int) -> tuple[Protocol, ...]:
    return tuple(protocol for protocol in PROTOCOLS if bits & table.PROTOCOL_BITS[protocol])


def _listening() -> set[tuple[str, int]] | None:
    try:
        rows = [row for protocol in PROTOCOLS for row in sockets.find_all(protocol, listeners_only=True)]
    except LookupFailedError:
        return None
    return {(row.socket.protocol, row.socket.port) for row in rows}


def _is_listening(
    port: int, protocols: Iterable[Protocol], listening: Collection[tuple[str, int]] | None
) -> bool | None:
    return None if listening is None else any((protocol, port) in listening for protocol in protocols)


def _project_directory(cwd: str | None, environ: Mapping[str, str]) -> str:
    """Return where the nearest config is, else the nearest compose file, else where we are; neither need be usable."""
    from portguard.config import find
    from portguard.sources import compose_files

    here = projects.working_directory(cwd)
    found = find.find(here, environ)
    if found is not None:
        return os.path.dirname(found.path)
    try:
        files = compose_files.find(here, environ)
    except ConfigError:
        files = None
    return here if files is None else files.directory


def _everything(root: str, environ: Mapping[str, str]) -> list[LeaseInfo]:
    return [
        item
        for item in list_leases(environ=environ)
        if item.checkout == root or (item.checkout is None and numbers.is_in(item.directory or "", root))
    ]


def _named(targets: Sequence[str], here: str, environ: Mapping[str, str]) -> list[LeaseInfo]:
    found = list_leases(environ=environ)
    wanted: dict[LeaseInfo, None] = {}
    for target in targets:
        if target.isascii() and target.isdigit():
            if len(target) > len("65535") or not 0 < int(target) <= LAST_PORT:
                raise UsageError(f"{target!r}: ports are 1 to {LAST_PORT}")
            fitting = [item for item in found if item.port == int(target)]
        else:
            fitting = [item for item in found if item.name == target and item.directory == here]
        if not fitting:
            what = "port" if target.isdigit() else "declaration"
            raise NotFoundError(
                f"nothing is handed out for the {what} {target}" + ("" if target.isdigit() else " of this checkout"),
                "see what is: portguard leases",
            )
        wanted |= dict.fromkeys(fitting)
    return list(wanted)


def _give_back(items: Sequence[LeaseInfo], environ: Mapping[str, str]) -> None:
    path = directory.path_of(environ)
    gone = {(item.port, item.name, item.directory) for item in items if item.kind == "assignment"}
    if gone:
        with assignments.locked(path, kernel.machine_key()) as book:
            book.save(item for item in book.all if (item.port, item.name, item.directory) not in gone)
    leased = [item for item in items if item.kind != "assignment"]
    if not leased:
        return
    with table.locked(path, kernel.host_key(), is_alive=alive.is_alive) as found:
        for item in leased:
            lease = found.lease(item.port)
            # Whoever has it by now, if it was not who was meant, keeps it.
            if lease is not None and lease.kind == item.kind and _is_same(lease, item.process):
                found.clear(item.port)
                if lease.kind == "hold" and lease.pid != os.getpid() and lease.expires != table.FOR_LIFE:
                    alive.terminate(lease.pid, lease.started)


def _is_same(lease: Lease, process: Process | None) -> bool:
    return process is None or process.pid == lease.pid
