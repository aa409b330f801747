"""`who`: who holds a port, why, and what started it. Explains; probes nothing."""

from __future__ import annotations

import os
import sys

from portguard.errors import NO, OK, LookupFailedError, UsageError
from portguard.holders import find
from portguard.holders.containers import Engines
from portguard.model import PROTOCOLS, Background, Note, WhoPort, WhoReport
from portguard.rules import addresses, targets, verdicts
from portguard.rules.origin import classify, will_come_back
from portguard.system import git, kernel, origin, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portguard.model import Holder, Protocol

_CONNECTIONS_SHOWN = 64


def who(*ports: str | int, all_holders: bool = False, environ: Mapping[str, str] | None = None) -> WhoReport:
    """Tell who has these ports: 8080 (TCP and UDP), "53/udp", "127.0.0.1:5432".

    The search for processes stops when further ones are unlikely, and says so: `processes_complete` is false. It
    misses a process that was passed the socket by one that is not a relative of it, at another descriptor number.
    `all_holders` looks through every process that may be seen.

    Exit code 0 if each has a holder, 1 when one has none. Raises UsageError for what is not a port, LookupFailedError
    where no socket table can be read.
    """
    if not ports:
        raise UsageError("no port given", "name one, for instance: portguard who 8080")
    environ = os.environ if environ is None else environ
    engines = Engines(environ)
    found = tuple(_who(str(port), engines, environ, all_holders=all_holders) for port in ports)
    return WhoReport(found, verdicts.worst(OK if port.holders else NO for port in found))


def _who(text: str, engines: Engines, environ: Mapping[str, str], *, all_holders: bool) -> WhoPort:
    target = targets.parse_port(text)
    protocols: Sequence[Protocol] = target.protocols if "/" in text else PROTOCOLS
    wanted = addresses.expand(target.hosts)
    rows = [
        row
        for protocol in protocols
        for row in sockets.find_sockets(protocol, target.port)
        if find.is_meant(row, wanted)
    ]
    are_bound = [verdicts.cause_of(row.protocol, row.state) in ("listener", "bound") for row in rows]
    bound = find.distinct([row for row, is_bound in zip(rows, are_bound, strict=True) if is_bound])
    others = find.distinct([row for row, is_bound in zip(rows, are_bound, strict=True) if not is_bound])
    found = find.holders_of([*bound, *others[:_CONNECTIONS_SHOWN]], all_holders=all_holders)
    holders = engines.attribute(found[: len(bound)])
    return WhoPort(
        target.port,
        holders,
        found[len(bound) :],
        tuple(_background(holder, engines, environ) for holder in holders),
        (*engines.notes(target.port), *_hidden(holders)),
        None if text.isdigit() else text,
    )


def _hidden(holders: Sequence[Holder]) -> tuple[Note, ...]:
    if all(holder.owner_status != "hidden" or holder.container is not None for holder in holders):
        return ()
    from portguard.rules import notes  # only when there is something to note

    return (notes.hidden(kernel.euid()),)


def _background(holder: Holder, engines: Engines, environ: Mapping[str, str]) -> Background:
    if holder.container is not None:
        return Background(comeback=_container_comeback(holder, engines, environ))
    if not holder.processes:
        return Background()
    process = min(holder.processes, key=lambda item: (item.started_at or 0.0, item.pid))
    worktree = git.worktree_of(process.cwd) if process.cwd and process.cwd_is_shared else None
    started = classify(origin.ancestry(process.pid), is_service=holder.unit is not None, platform=sys.platform)
    comeback = _by_whom(started.by if started is not None and started.comes_back else None)
    if holder.unit is not None:
        from portguard.system import units  # only where systemd runs a holder

        unit = units.ask(holder.unit, environ, is_user_unit=holder.user_unit)
        comeback = _by_whom("systemd" if will_come_back(unit.restart) else None)
    return Background(
        checkout=worktree.root if worktree is not None else None,
        branch=worktree.branch if worktree is not None else None,
        started_by=started.text if started is not None else None,
        comeback=comeback,
    )


def _container_comeback(holder: Holder, engines: Engines, environ: Mapping[str, str]) -> str | None:
    from portguard.engines import query  # only when a container holds the port

    identifier = holder.container.id if holder.container is not None else ""
    endpoint = engines.answer().endpoints.get(identifier)
    if endpoint is None:
        return None
    try:
        running = query.inspect(endpoint, identifier, environ=environ)
    except LookupFailedError:
        return None
    if running is None or not will_come_back(running.restart_policy):
        return None
    return _by_whom(running.identity.engine)


def _by_whom(name: str | None) -> str | None:
    return None if name is None else f"{name} starts it again when it ends"
