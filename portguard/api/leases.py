"""`leases`: list the ports handed out on this host, and release them."""

from __future__ import annotations

import os
import time

from portguard._namedtuple import NamedTuple
from portguard.errors import ConfigError, ConflictError, LookupFailedError, NotFoundError, UsageError
from portguard.leases import assignments, directory, table
from portguard.leases.assignments import Assignment
from portguard.leases.table import Lease
from portguard.model import PROTOCOLS, LeaseInfo
from portguard.project import numbers
from portguard.project.checkout import checkout_of, is_in, is_own
from portguard.project.records import working_directory
from portguard.rules.ranges import LAST_PORT, decimal
from portguard.system import alive, kernel, processes, signals, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from portguard.model import Protocol


class _Listed(NamedTuple):
    """What is told about a port, and the record it was told from, as it was stored."""

    info: LeaseInfo
    record: Lease | Assignment


def list_leases(*, environ: Mapping[str, str] | None = None) -> tuple[LeaseInfo, ...]:
    """Return everything this user's callers were handed on this host and have not released, by port.

    Leases are those of this network namespace, the numbers of checkouts those of all. Raises StateError if the store
    cannot be read.
    """
    return tuple(item.info for item in _list(os.environ if environ is None else environ))


def release(
    *targets: str, everything: bool = False, cwd: str | None = None, environ: Mapping[str, str] | None = None
) -> tuple[LeaseInfo, ...]:
    """Give back what these targets have, ports or names of this checkout; with `everything` all of this checkout's.

    A hold ends; what a command still runs with is a ConflictError. Returns what was released: not what someone
    else took in the meantime. Raises NotFoundError for a target that has nothing, UsageError without any.
    """
    environ = os.environ if environ is None else environ
    if everything == bool(targets):
        problem = "--all and names exclude each other" if targets else "name what to release"
        raise UsageError(problem, "portguard leases release PORT|NAME..., or --all of this checkout")
    here = checkout_of(_project_directory(cwd, environ))
    wanted = _everything(here.root, environ) if everything else _named(targets, here.directory, environ)
    running = [item.info for item in wanted if item.info.kind == "run" and item.info.process is not None]
    if running:
        pids = " ".join(sorted({str(item.process.pid) for item in running if item.process}))
        what = tuple(f"port {item.port} belongs to a running command" for item in running)
        raise ConflictError(what, f"stop it: kill {pids}")
    return _give_back(wanted, environ)


def prune(*, dry: bool = False, environ: Mapping[str, str] | None = None) -> tuple[LeaseInfo, ...]:
    """Give back the numbers of checkouts that are gone, and return them; if `dry`, only return them."""
    environ = os.environ if environ is None else environ
    gone = [item for item in _list(environ) if item.info.gone]
    return tuple(item.info for item in gone) if dry else _give_back(gone, environ)


def is_gone(item: Assignment) -> bool:
    """Whether there is no such checkout any more: no directory, or another repository's in its place."""
    try:
        os.stat(item.directory)
        return bool(item.common) and not is_own(item, checkout_of(item.directory))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, LookupFailedError):
        return False  # there may be something that cannot be seen


def _list(environ: Mapping[str, str]) -> list[_Listed]:
    found = _leases(environ)
    known = numbers.known(environ)
    listening = _listening() if found or known else None
    items = [_Listed(_lease_info(port, lease, listening), lease) for port, lease in found.items()]
    items += [_Listed(_assignment_info(item, listening), item) for item in known]
    return sorted(items, key=lambda item: (item.info.port, item.info.kind))


def _leases(environ: Mapping[str, str]) -> dict[int, Lease]:
    path = directory.path_of(environ)
    with table.readable(path, kernel.host_key(), is_alive=alive.may_live, is_required=True) as found:
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
        expires_at=None if lease.expires == table.FOR_LIFE else boot + lease.expires / 1000,
        listening=_is_listening(port, _protocols(lease.protocols), listening),
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
        expires_at=None,
        listening=_is_listening(item.port, PROTOCOLS, listening),
        gone=is_gone(item),
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

    here = working_directory(cwd)
    found = find.find_config(here, environ)
    if found is not None:
        return os.path.dirname(found.path)
    try:
        files = compose_files.find_files(here, environ)
    except ConfigError:
        files = None
    return here if files is None else files.directory


def _everything(root: str, environ: Mapping[str, str]) -> list[_Listed]:
    return [
        item
        for item in _list(environ)
        if item.info.checkout == root or (item.info.checkout is None and is_in(item.info.directory or "", root))
    ]


def _named(targets: Sequence[str], here: str, environ: Mapping[str, str]) -> list[_Listed]:
    found = _list(environ)
    wanted: dict[_Listed, None] = {}
    for target in targets:
        if target.isascii() and target.isdigit():
            port = decimal(target)
            if port is None or not 0 < port <= LAST_PORT:
                raise UsageError(f"{target!r}: ports are 1 to {LAST_PORT}")
            fitting = [item for item in found if item.info.port == port]
        else:
            fitting = [item for item in found if item.info.name == target and item.info.directory == here]
        if not fitting:
            what = "port" if target.isdigit() else "declaration"
            raise NotFoundError(
                f"nothing is handed out for the {what} {target}" + ("" if target.isdigit() else " of this checkout"),
                "see what is handed out: portguard leases",
            )
        wanted |= dict.fromkeys(fitting)
    return list(wanted)


def _give_back(items: Sequence[_Listed], environ: Mapping[str, str]) -> tuple[LeaseInfo, ...]:
    """Give back what is still stored as it was listed, and return it; anyone who else has a port by now keeps it."""
    path = directory.path_of(environ)
    given: set[_Listed] = set()
    assigned = {item.record: item for item in items if isinstance(item.record, Assignment)}
    if assigned:
        with assignments.locked(path, kernel.machine_key()) as book:
            given.update(assigned[item] for item in book.all if item in assigned)
            book.save(item for item in book.all if item not in assigned)
    leased = [(item, item.record) for item in items if isinstance(item.record, Lease)]
    if leased:
        with table.locked(path, kernel.host_key(), is_alive=alive.may_live) as found:
            for item, lease in leased:
                if not found.carries(item.info.port, lease):
                    continue
                found.clear(item.info.port)
                given.add(item)
                if lease.kind == "hold" and lease.pid != os.getpid() and lease.expires != table.FOR_LIFE:
                    signals.terminate(lease.pid, lease.started)
    return tuple(item.info for item in items if item in given)
