"""Plan how to free a port: gather here, decide in `rules.guard`. Ends nothing.

A port on which anything must not be ended is refused whole: ending the rest would harm and free nothing. Processes
are taken hold of before they are looked at, so that everything known of one is true of the one that is signalled.
"""

from __future__ import annotations

import contextlib
import os
import sys

from portguard._namedtuple import NamedTuple, once
from portguard.errors import PortguardError
from portguard.holders import ending, find
from portguard.holders.containers import Engines, relation_of
from portguard.holders.ending import Member
from portguard.model import KillAction, KillPort
from portguard.project import ours
from portguard.rules import addresses, attribution, explain, guard, ownership, targets, verdicts
from portguard.rules.guard import Refusal, Suspect
from portguard.rules.origin import classify, kind_of
from portguard.system import kernel, origin, proc_stat, processes, signals, sockets
from portguard.system.probe import probe_hosts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portguard.model import Container, Declaration, Holder, KillStatus, Process, ProcessStat, Protocol, Socket
    from portguard.rules.ownership import OwnStack
    from portguard.rules.verdicts import OwnTree
    from portguard.system.signals import Handle

_OURS = ("ours", "oneoff", "other-service", "orphan")  # relations of a container of this project in this directory
_ATTEMPTS = 3  # to see a port whose holder changes while it is looked at
_QUIET = ("shell", "terminal", "multiplexer", "editor", "ssh", "timer")  # parents that start nothing by themselves


class StopStep(NamedTuple):
    """One thing to do for a port: members to signal, or a container or a unit (and whether a user's) to stop."""

    action: KillAction
    members: tuple[Member, ...] = ()
    container: Container | None = None
    unit: tuple[str, bool] | None = None


class StopPlan(NamedTuple):
    """One port, what is to be done about it, and the sockets it was about."""

    port: KillPort
    target: Declaration
    steps: tuple[StopStep, ...] = ()
    old: tuple[Socket, ...] = ()
    is_watched: bool = False


class Planner:
    """One run: what its ports share, each fact asked once."""

    def __init__(self, cwd: str, environ: Mapping[str, str], *, tree: bool) -> None:
        self._cwd = cwd
        self._environ = environ
        self._tree = tree
        self.engines = Engines(environ)
        self.caller = _caller(environ)
        self._handles: dict[int, Handle | None] = {}

    def close(self) -> None:
        """Let go of the processes."""
        signals.close(handle for handle in self._handles.values() if handle is not None)

    def plan(self, text: str) -> StopPlan:
        """Return what is to be done about one port, as it is typed."""
        target = targets.parse_port(text)
        for _ in range(_ATTEMPTS):
            rows = find.distinct(rows_of(target))
            if not rows:
                return self._nobody(target)
            found = list(zip(rows, find.with_owners(rows, None), strict=True))
            proven = [(row, self._proven(row, holder)) for row, holder in found]
            if all(
                bool(holder.processes) == bool(before.processes)
                for (_, before), (_, holder) in zip(found, proven, strict=True)
            ):
                break
        holders = self.engines.attribute([holder for _, holder in proven])
        steps: dict[KillAction, StopStep] = {}
        for (row, _), holder in zip(proven, holders, strict=True):
            decided = self._decide(target, row, holder)
            if isinstance(decided, Refusal):
                message = f"{explain.occupied(holder)}: {decided.reason}"
                return StopPlan(_port(target, "refused", message, decided.hint, holders), target)
            steps[decided.action] = decided
        message = "; ".join(explain.occupied(holder) for holder in holders)
        port = _port(target, "planned", message, None, holders)._replace(actions=tuple(steps))
        is_watched = any(self._is_watched(holder) for holder in holders)
        return StopPlan(port, target, tuple(steps.values()), tuple(rows), is_watched)

    def _nobody(self, target: Declaration) -> StopPlan:
        """Return what is known of a port on which no one listens: free, or taken by what no one is ended for."""
        wanted = addresses.expand(target.hosts)
        protocol = target.protocols[0]
        place = addresses.target(target.hosts, target.port, protocol)
        message, hint = f"nothing listens on {place}", None
        if probe_hosts(target.hosts, protocol, target.port)[0] == "busy":
            found = find.find_holders(protocol, wanted, target.port)
            if found.cause != "none":
                message = f"{message}; {explain.occupied(found.holders[0])}"
                hint = explain.freeing_step(
                    found.cause, found.holders, target.port, platform=sys.platform, euid=self.caller.euid
                )
                return StopPlan(_port(target, "refused", message, hint, found.holders), target)
        other: Protocol = "udp" if protocol == "tcp" else "tcp"
        if "/" not in target.name and rows_of(target._replace(protocols=(other,))):
            hint = f"another process has the {other.upper()} port: portguard kill {typed(target.name)}/{other}"
        return StopPlan(_port(target, "nobody", message, hint), target)

    def _proven(self, row: Socket, holder: Holder) -> Holder:
        """Return the holder with those processes alone that provably hold the socket now, described anew.

        A handle first, then all the facts: as long as it runs, its pid is no one else's.
        """
        still_there = []
        for pid in (process.pid for process in holder.processes):
            if pid not in self._handles:
                self._handles[pid] = signals.take(pid) if pid > 1 else None
            handle = self._handles[pid]
            if pid == 1:
                still_there.append(processes.describe(pid))
            elif handle is not None and ending.is_held(pid, row):
                process = processes.describe(pid)
                still_there += [process] if signals.is_running(handle) else []
        return holder._replace(processes=tuple(still_there))

    def _decide(self, target: Declaration, row: Socket, holder: Holder) -> StopStep | Refusal:
        port = target.port
        if verdicts.cause_of(row.protocol, row.state) != "listener":
            return guard.not_listening([process.name for process in holder.processes], port)
        if holder.container is not None:
            return self._decide_container(port, holder.container)
        if not holder.processes:
            return guard.owner_is_unknown(holder.owner_status, self.caller.euid)
        suspects = [self.suspect(process.pid) for process in holder.processes]
        for suspect in suspects:
            refusal = guard.refuse(suspect, self.caller, port, platform=sys.platform)
            if refusal is not None:
                return refusal
        if holder.unit is not None:
            ancestry = origin.ancestry(holder.processes[0].pid)
            started = classify(ancestry, is_service=True, platform=sys.platform)
            if started is not None and started.kind in ("systemd", "user-systemd"):
                return self.decide_unit(holder, holder.unit, suspects)
        # A server's workers may have given up its user's rights; they are still its own.
        parents = {process.pid: process.parent_pid or 0 for process in holder.processes}
        first = guard.roots(tuple(parents), parents)
        refusals = [guard.refuse_user(suspect, self.caller) for suspect in suspects if suspect.process.pid in first]
        refusal = next(filter(None, refusals), None)
        return refusal or self._decide_processes(port, row, holder)

    def _decide_container(self, port: int, container: Container) -> StopStep | Refusal:
        by_hand = ownership.command("plain", container, port, has_compose=False)
        if not container.id:
            return guard.container_is_unknown(by_hand)
        if container.id == self.caller.container_id:
            return guard.container_is_ours(by_hand)
        running = self.engines.running(container.id)
        if running is not None and running.is_service:
            return guard.container_is_a_service(port)
        relation = relation_of(container, None, self._here[0], self.engines)
        name = container.name or container.id[:12]
        action = KillAction(
            kind="container",
            name=name,
            text=ownership.describe(container),
            id=container.id,
            needs_name=relation not in _OURS,
        )
        return StopStep(action, container=container)

    def decide_unit(self, holder: Holder, unit: str, suspects: Sequence[Suspect]) -> StopStep | Refusal:
        """Return what is to be done about a unit of systemd's, which `suspects` run in."""
        from portguard.system import units  # only where systemd runs a holder

        scope = "systemctl --user" if holder.user_unit else "systemctl" if self.caller.euid == 0 else "sudo systemctl"
        triggers = units.ask(unit, self._environ, is_user_unit=holder.user_unit).sockets
        if triggers:
            return guard.unit_is_triggered(triggers[0], scope)
        if holder.user_unit:
            refusal = next((found for item in suspects if (found := guard.refuse_user(item, self.caller))), None)
            if refusal is not None:
                return refusal
        elif self.caller.euid != 0:
            return guard.unit_is_the_system_s(unit)
        action = KillAction(
            kind="unit",
            name=unit,
            text=f"the systemd {'user ' if holder.user_unit else ''}unit {unit}",
            needs_name=not self._is_own_unit(unit, is_user_unit=holder.user_unit),
        )
        return StopStep(action, unit=(unit, holder.user_unit))

    def _is_own_unit(self, unit: str, *, is_user_unit: bool) -> bool:
        """Whether everything that runs in a user's unit runs in this checkout."""
        _, own_tree = self._here
        members = [
            processes.describe(pid)
            for pid in self._all_stats
            if attribution.unit_of(origin.cgroup_of(pid)) == (unit, is_user_unit)
        ]
        tree = ours.without_others(own_tree, members)
        return is_user_unit and bool(members) and all(verdicts.runs_in(process, tree) for process in members)

    def _decide_processes(self, port: int, row: Socket, holder: Holder) -> StopStep | Refusal:
        rows = self._all_stats
        members = {process.pid: row for process in holder.processes}
        tops = dict.fromkeys(self.top(process) for process in holder.processes)
        wanted: dict[int, Socket | None] = dict.fromkeys(members, row)
        if self._tree:
            wanted = {pid: members.get(pid) for top in tops for pid in guard.tree_of(top, rows)} | wanted
        found = []
        for pid, socket in wanted.items():
            if pid not in self._handles:
                self._handles[pid] = signals.take(pid)
            handle = self._handles[pid]
            if handle is None or (socket is None and not _is_same(rows[pid], proc_stat.read(pid))):
                continue  # it has ended in the meantime
            if socket is None:
                suspect = self.suspect(pid)
                refusal = guard.refuse(suspect, self.caller, port, platform=sys.platform)
                refusal = refusal or guard.refuse_user(suspect, self.caller)
                if refusal is not None:
                    return guard.part_of_a_tree(suspect.process, refusal)
            stat = rows.get(pid)
            found.append(Member(handle, stat.parent if stat is not None else 0, socket))
        pids = tuple(member.handle.pid for member in found)
        more = len(pids) - len(members)
        text = explain.owner_of(holder) + (f" and {more} more of its tree" if more > 0 else "")
        action = KillAction("process", holder.processes[0].name or "a process", text, pids)
        return StopStep(action, tuple(found))

    def top(self, process: Process) -> int:
        """Return the supervisor in the same checkout that would start the process again; itself without one."""
        tree = _checkout_of(process)
        return guard.top_of(
            process.pid,
            self._all_stats,
            lambda pid: _is_beside(pid, process, tree),
            (*self.caller.ancestors, self.caller.pid),
        )

    def _is_watched(self, holder: Holder) -> bool:
        """Whether something stands above the holder that might start it again; an engine starts nothing it stopped."""
        if holder.container is not None:
            return False
        for process in holder.processes:
            stat = self._all_stats.get(process.parent_pid or 0)
            if stat is not None and (process.parent_pid or 0) > 1 and kind_of(stat.name) not in _QUIET:
                return True
            if self.top(process) != process.pid:
                return True
        return holder.unit is not None

    def suspect(self, pid: int) -> Suspect:
        """Return what is known about a process that might be ended."""
        stat = self._all_stats.get(pid)
        cgroup = origin.cgroup_of(pid)
        is_unread = not cgroup or self.engines.is_group_unreadable(pid)
        return Suspect(
            processes.describe(pid),
            processes.uids_of(pid),
            is_kernel=stat is not None and stat.is_kernel,
            container_id=attribution.container_id_of(cgroup),
            # Where there are control groups, every process has one.
            is_group_unreadable=is_unread and origin.cgroup_of(self.caller.pid) != "",
        )

    def name_of(self, pid: int) -> str:
        """Return a process's name."""
        return processes.describe(pid).name or "a process"

    def forget(self) -> None:
        """Forget what may have changed since something was ended."""
        Planner._all_stats.forget(self)
        self.engines = Engines(self._environ)

    @once
    def _all_stats(self) -> dict[int, ProcessStat]:
        return proc_stat.read_all()

    @once
    def _here(self) -> tuple[OwnStack, OwnTree | None]:
        from portguard.project import load  # only where a container or a unit holds a port
        from portguard.project.records import Project

        project = Project(self._cwd)
        # What cannot be read makes nothing this project's, and names have to be confirmed.
        with contextlib.suppress(PortguardError):
            project = load.load(self._cwd, None, self._environ, is_required=False)
        return ours.own_stack(project, self._environ), ours.find_own_tree(project, self._environ)


# ---------------------------------------------------------------- small facts


def _is_same(before: ProcessStat, now: ProcessStat | None) -> bool:
    """Whether the process that has a number now is the one that had it, in the same place of its tree."""
    return now is not None and (now.started, now.parent) == (before.started, before.parent)


def rows_of(target: Declaration) -> list[Socket]:
    """Return the sockets that listen, or are bound, where the port is meant."""
    wanted = addresses.expand(target.hosts)
    return [
        row
        for row in sockets.find_sockets(target.protocols[0], target.port)
        if verdicts.cause_of(row.protocol, row.state) in ("listener", "bound") and find.is_meant(row, wanted)
    ]


def keys_of(rows: Sequence[Socket]) -> set[tuple[object, ...]]:
    """Return what tells sockets apart: the kernel's number, elsewhere the address and who holds it."""
    return {(row.inode,) if row.inode else (row.address, row.pids) for row in rows}


def _port(
    target: Declaration, status: KillStatus, message: str, hint: str | None, holders: Sequence[Holder] = ()
) -> KillPort:
    return KillPort(
        target.name, target.port, target.protocols[0], target.hosts, status, message, hint, holders=tuple(holders)
    )


def typed(text: str) -> str:
    """Return a target as a shell takes it: brackets are patterns there."""
    return f"'{text}'" if "[" in text or "*" in text else text


def _caller(environ: Mapping[str, str]) -> guard.Caller:
    pid = os.getpid()
    euid = kernel.euid()
    uids = None if euid is None else {euid}
    caller = ours.sudo_caller(environ)
    if uids is not None and caller is not None:
        uids.add(caller)
    return guard.Caller(
        pid=pid,
        ancestors=frozenset(number for number, _ in origin.ancestry(pid)[1:]),
        uids=uids,
        euid=euid,
        user=processes.describe(pid).user if uids is None else None,
        container_id=attribution.container_id_of(origin.cgroup_of(pid)),
    )


def _checkout_of(process: Process) -> str | None:
    """Return the directory tree that the process works in: its checkout, without git its own directory."""
    if not process.cwd or not process.cwd_is_shared:
        return None
    from portguard.system import git  # only where processes are ended

    worktree = git.worktree_of(process.cwd)
    root = worktree.root if worktree is not None else process.cwd
    return None if os.path.dirname(root) == root else root


def _is_beside(pid: int, process: Process, root: str | None) -> bool:
    """Whether another process is of the same user, and works in the same tree."""
    if root is None:
        return False
    other = processes.describe(pid)
    cwd = other.cwd if other.cwd_is_shared else None
    return other.uid == process.uid and cwd is not None and (cwd == root or cwd.startswith(root.rstrip("/") + "/"))
