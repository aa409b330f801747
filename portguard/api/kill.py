"""`kill`: what holds a port is made to stop, and nothing else is; then the port is probed again.

Decide, ask, act, look again. Who may be ended is decided in `api.aims` by `rules.guard`.
"""

from __future__ import annotations

import os
import sys
import time

from portguard import errors
from portguard.errors import LookupFailedError, UsageError
from portguard.holders import ending, find
from portguard.holders.stop_plan import Planner, keys_of, rows_of, typed
from portguard.model import KillReport
from portguard.project.records import cwd_or_root
from portguard.rules import addresses, explain, guard, ownership, verdicts
from portguard.system import proc_stat, signals
from portguard.system.probe import probe_hosts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from portguard.holders.stop_plan import StopPlan, StopStep
    from portguard.model import Cause, Holder, KillAction, KillPort, Note

    Ask = Callable[[KillReport], "Collection[str] | None"]

_SETTLE = 0.3  # seconds in which a freed port must stay free
_SETTLE_WATCHED = 2.0  # the same, where something might start its holder again
_STEP = 0.05  # seconds
_EXIT_CODES = {"planned": errors.OK, "freed": errors.OK, "unknown": errors.FAILED}


def kill(
    *ports: str | int,
    force: bool = False,
    tree: bool = False,
    confirm: Collection[str] = (),
    dry_run: bool = False,
    ask: Ask | None = None,
    cwd: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> KillReport:
    """Stop what listens on these ports (8080 is TCP; "53/udp", "127.0.0.1:5432"), safely, and tell what came of it.

    Plain processes of this user get SIGTERM, and with `force` SIGKILL if they still hold the port after five seconds;
    with `tree` also the supervisor in the same checkout that would start them again, and all below it. Containers and
    systemd units are stopped through what runs them; those of strangers only when `confirm` has their full names.
    Everything else is refused, with the reason. `ask` is given the plan, and returns the names that were confirmed
    also, or None for no. `dry_run` returns the plan.

    Exit code 0 if every port was freed (or, as a plan, could be), 1 when one was not, also if no one was, 3 when
    that is unknown. Raises UsageError for what is not a port, LookupFailedError where no socket table, or for
    `tree` no process table, can be read.
    """
    if not ports:
        raise UsageError("no port given", "name one, for instance: portguard kill 3000")
    environ = os.environ if environ is None else environ
    if tree and not proc_stat.read_all():
        raise LookupFailedError("no table of processes can be read here", "omit --tree")
    found = Planner(cwd_or_root(cwd), environ, tree=tree)
    try:
        plans = [found.plan(text) for text in dict.fromkeys(map(str, ports))]
        notes = tuple(dict.fromkeys(note for plan in plans for note in found.engines.notes(plan.target.port)))
        plan = _report([plan.port for plan in plans], notes, dry_run=dry_run)
        if dry_run or not any(plan.steps for plan in plans):
            return plan
        names = set(confirm)
        if ask is not None:
            more = ask(plan)
            if more is None:
                declined = [
                    plan.port._replace(status="declined", message="nothing was stopped") if plan.steps else plan.port
                    for plan in plans
                ]
                return _report(declined, notes, dry_run=False)
            names.update(more)
        done = _Executor(found, environ, tree=tree, force=force).carry_out(plans, names)
        return _report(done, notes, dry_run=False)
    finally:
        found.close()


def _report(ports: Sequence[KillPort], notes: tuple[Note, ...], *, dry_run: bool) -> KillReport:
    exit_code = verdicts.worst(_EXIT_CODES.get(port.status, errors.NO) for port in ports)
    return KillReport(tuple(ports), exit_code, notes, dry_run)


class _Executor:
    """Doing it: what its ports share is done once."""

    def __init__(self, found: Planner, environ: Mapping[str, str], *, tree: bool, force: bool) -> None:
        self._found = found
        self._environ = environ
        self._tree = tree
        self._force = force

    def carry_out(self, plans: Sequence[StopPlan], names: Collection[str]) -> list[KillPort]:
        """Do what was decided, as far as the names are confirmed, and return what came of it."""
        done: dict[KillAction, list[str]] = {}
        meant = [
            plan for plan in plans if plan.steps and all(_is_confirmed(action, names) for action in plan.port.actions)
        ]
        ends = {}
        for plan in meant:
            for step in plan.steps:
                if step.action not in done:
                    concerned = [other for other in meant if step.action in other.port.actions]
                    done[step.action] = self._perform(step, concerned)
            ends[plan.port.target] = time.monotonic() + (_SETTLE_WATCHED if plan.is_watched else _SETTLE)
        outcomes = []
        for plan in plans:
            if plan.port.target in ends:
                failures = [failure for action in plan.port.actions for failure in done[action]]
                try:
                    outcomes.append(self._outcome(plan, ends[plan.port.target], failures))
                except LookupFailedError as error:
                    outcomes.append(_unknown(plan.port, error.message, failures))
            else:
                stranger = next((action for action in plan.port.actions if not _is_confirmed(action, names)), None)
                outcomes.append(plan.port if stranger is None else self._unconfirmed(plan.port, stranger))
        return outcomes

    def _perform(self, step: StopStep, plans: Sequence[StopPlan]) -> list[str]:
        """Do one thing, for these ports; return what went wrong, a sentence each."""
        if step.container is not None:
            from portguard.engines import stop  # only where a container holds a port

            where = self._found.engines.answer().endpoints.get(step.container.id)
            failure = stop.stop(step.container.engine, step.container.id, where, self._environ)
            return [] if failure is None else [f"{step.action.name} could not be stopped: {failure}"]
        if step.unit is not None:
            from portguard.system import units  # only where systemd runs a holder

            name, is_user_unit = step.unit
            failure = units.stop(name, self._environ, is_user_unit=is_user_unit)
            return [] if failure is None else [f"{name} could not be stopped: {failure}"]
        tree = self._tree and len(step.members) > 1

        def is_done() -> bool:
            try:
                return not tree and not any(keys_of(plan.old) & keys_of(rows_of(plan.target)) for plan in plans)
            except LookupFailedError:
                return False

        return ending.end(step.members, is_done, force=self._force)

    def _outcome(self, plan: StopPlan, end: float, failures: Sequence[str]) -> KillPort:
        """Look at the port until then, so as to see it taken again, and tell what became of it."""
        target, protocol, old = plan.target, plan.target.protocols[0], keys_of(plan.old)
        cause: Cause = "listener"
        rows = find.distinct(rows_of(target))
        while time.monotonic() < end and not keys_of(rows) - old:
            time.sleep(_STEP)
            rows = find.distinct(rows_of(target))
        if rows:
            self._found.forget()
            holders = self._found.engines.attribute(find.with_owners(rows, None))
        else:
            wanted = addresses.expand(target.hosts)
            outcome, _, errors = probe_hosts(target.hosts, protocol, target.port)
            if outcome == "failed":
                return _unknown(plan.port, f"no bind could be tried: {', '.join(errors.values())}", failures)
            if outcome != "busy":
                ended = "; ".join(
                    f"{'ended' if action.pids else 'stopped'} {action.text}" for action in plan.port.actions
                )
                return plan.port._replace(status="freed", message=ended, hint=None)
            cause, holders, _ = find.find_holders(protocol, wanted, target.port)
        before = {process.pid for holder in plan.port.holders for process in holder.processes}
        after = [
            {process.pid for process in holder.processes} <= before and bool(holder.processes) for holder in holders
        ]
        is_new = bool(rows) and not old & keys_of(rows) and not all(after)
        first = next((holder for holder, is_old in zip(holders, after, strict=True) if is_old != is_new), holders[0])
        said = "".join(f"; {failure}" for failure in failures)
        if cause != "listener":
            hint = explain.freeing_step(
                cause, holders, target.port, platform=sys.platform, euid=self._found.caller.euid
            )
        elif first.container is not None:
            hint = f"stop it: {ownership.command('plain', first.container, target.port, has_compose=False)}"
        else:
            hint = self._why_again(plan, first) if is_new else self._why_still(plan)
        return plan.port._replace(
            status="respawned" if is_new else "still-held",
            message=f"{explain.occupied(first)}{said}",
            hint=hint,
            successors=tuple(holders),
        )

    def _why_still(self, plan: StopPlan) -> str:
        """Return the next step for a port that is held by the socket that was there before."""
        members = [member.handle for step in plan.steps for member in step.members]
        if not self._force and any(map(signals.is_running, members)):
            command = again([plan.port.target], force=True, tree=self._tree)
            return f"it did not end within {ending.GRACE:g} s; force it: {command}"
        if members and not any(map(signals.is_running, members)):
            command = again([plan.port.target], force=self._force, tree=self._tree)
            return f"a new process inherited it: {command}"
        return f"see what it is: portguard who {typed(plan.port.target)}"

    def _why_again(self, plan: StopPlan, holder: Holder) -> str:
        """Return the next step for a port that someone has taken anew."""
        for process in holder.processes:
            top = self._found.top(process)
            if top != process.pid and not self._tree:
                command = again([plan.port.target], force=self._force, tree=True)
                return f"{self._found.name_of(top)} (pid {top}) starts it again; stop both: {command}"
            above = process.parent_pid or 0
            suspect = self._found.suspect(above)
            if guard.refuse(suspect, self._found.caller, plan.target.port, platform=sys.platform) is None:
                return f"{suspect.process.name} (pid {above}) starts it again; stop that first: kill {above}"
        return f"see what starts it: portguard who {typed(plan.port.target)}"

    def _unconfirmed(self, port: KillPort, action: KillAction) -> KillPort:
        message = f"{port.message}: this {action.kind} is not this project's; repeat its full name to stop it"
        name = action.name if action.name.isprintable() else (action.id or "")[:12]
        command = again([port.target], force=self._force, tree=self._tree, confirm=[name])
        return port._replace(status="refused", message=message, hint=f"to stop it anyway: {command}")


def _unknown(port: KillPort, reason: str, failures: Sequence[str]) -> KillPort:
    """Return the entry of a port for which everything was done, and whose state nothing could tell."""
    told = "; ".join((f"stopped, but could not check the port afterwards: {reason}", *failures))
    return port._replace(status="unknown", message=told, hint=f"see: portguard check {typed(port.target)}")


def again(targets: Sequence[str], *, force: bool, tree: bool, confirm: Collection[str] = (), yes: bool = False) -> str:
    """Return the command for these targets with these options; `yes`: one that does not ask."""
    import shlex  # only where there is something more to do

    flags = {"--yes": yes, "--force": force, "--tree": tree}
    named = [word for name in confirm for word in ("--confirm", shlex.quote(name))]
    options = [option for option, is_set in flags.items() if is_set]
    return " ".join(["portguard kill", *options, *named, *map(typed, targets)])


def _is_confirmed(action: KillAction, names: Collection[str]) -> bool:
    return not action.needs_name or bool({action.name, action.id, (action.id or "")[:12]} & set(names) - {None, ""})
