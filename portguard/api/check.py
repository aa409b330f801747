"""`check`: would a server get each declared port, now? The probe decides, look-ups explain, `rules` words it."""

from __future__ import annotations

import os
import sys

from portguard.api import project as projects
from portguard.model import CheckReport, Declaration, Note, PortReport
from portguard.rules import addresses, binding, candidates, explain, ranges, targets, verdicts
from portguard.system import kernel
from portguard.system.probe import pause, probe, probe_addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portguard.api.project import Project
    from portguard.model import Cause, Holder, Outcome, Protocol
    from portguard.rules.ranges import Range
    from portguard.rules.verdicts import Checkout, Decision

_SECOND_LOOKS = 3


def check(
    *wanted: str | int,
    config: str | None = None,
    strict: bool = False,
    cwd: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> CheckReport:
    """Tell for every declared port whether a server would get it, now; with `wanted`, only for these.

    `wanted` are names of declarations or ports (3000, "53/udp", "127.0.0.1:5432", "[::1]:5432"); ports need no config.
    `config` names the file instead of searching for it from `cwd` upwards. `strict`: what is this project's own counts
    as conflict, and what could not be told fails. Raises UsageError, and ConfigError with all problems at once.
    """
    environ = os.environ if environ is None else environ
    asked = [targets.parse_target(str(target)) for target in wanted]
    names = [target for target in asked if not isinstance(target, Declaration)]
    project = projects.Project(projects.working_directory(cwd))
    if names or not asked or config is not None:
        project = projects.load(project.cwd, config, environ, is_required=True)
    named = iter(targets.select(project.declarations, names, projects.shown(project.config, project.cwd)))
    chosen = [target if isinstance(target, Declaration) else next(named) for target in asked]
    ports = _Check(project, environ, strict=strict).ports(chosen if asked else project.declarations)
    return CheckReport(project.config, project.sources, ports, verdicts.exit_code(ports, strict=strict))


class _Check:
    """One run: what its entries share, each fact asked once and only when an entry needs it."""

    def __init__(self, project: Project, environ: Mapping[str, str], *, strict: bool) -> None:
        self._project = project
        self._environ = environ
        self._strict = strict
        self._ephemeral: Range | None = kernel.ephemeral_range()
        self._twins = verdicts.duplicates(project.declarations)
        self._taken = {item.port for item in project.declarations}
        self._checkout: list[Checkout | None] = []

    def ports(self, chosen: Sequence[Declaration]) -> tuple[PortReport, ...]:
        entries = dict.fromkeys((item, protocol) for item in chosen for protocol in item.protocols)
        return tuple(self._entry(item, protocol) for item, protocol in entries)

    def _entry(self, item: Declaration, protocol: Protocol) -> PortReport:
        wanted = addresses.expand(item.hosts)
        outcomes, errors = _probe_all(protocol, wanted, item.port)
        outcome = verdicts.combine(item.hosts, outcomes)
        cause: Cause = "none"
        holders: tuple[Holder, ...] = ()
        is_table_read = True
        if outcome in ("busy", "no-permission"):
            from portguard.api.holders import find  # only when a port is busy

            hit = [address for address in wanted if outcomes[address] == outcome]
            cause, holders, is_table_read = find(protocol, hit, item.port)
            if outcome == "busy" and cause != "listener" and _has_passed(protocol, hit, item.port):
                outcome, cause, holders = "free", "none", ()
            elif outcome == "no-permission" and cause != "listener":
                holders = ()
        decision = verdicts.decide(
            outcome,
            cause,
            is_table_read=is_table_read,
            is_ours=cause == "listener" and self._is_ours(item, holders),
            is_strict=self._strict,
        )
        twins = self._twins.get((item.name, protocol), ())
        if twins and not item.is_ad_hoc:
            decision = verdicts.Decision("conflict", "duplicate")
        failed = {address: error for address, error in errors.items() if outcomes[address] == outcome}
        return self._report(item, protocol, decision, holders, twins, errors=failed)

    def _is_ours(self, item: Declaration, holders: Sequence[Holder]) -> bool:
        if any(holder.owner_status != "known" for holder in holders):
            return False
        if not self._checkout:
            self._checkout.append(projects.find_checkout(self._project, self._environ))
        processes = [process for holder in holders for process in holder.processes]
        return verdicts.is_ours(item, processes, self._checkout[0])

    def _report(
        self,
        item: Declaration,
        protocol: Protocol,
        decision: Decision,
        holders: tuple[Holder, ...],
        twins: Sequence[Declaration],
        *,
        errors: Mapping[str, str],
    ) -> PortReport:
        suggestion = self._suggest(item) if decision.verdict == "conflict" else None
        message = explain.message(
            self._shortened(item),
            protocol,
            decision,
            holders=holders,
            twins=[self._shortened(twin) for twin in twins],
            errors=errors,
            unprivileged_start=kernel.unprivileged_port_start() if decision.cause == "permission" else 0,
        )
        hint = explain.hint(
            item,
            protocol,
            decision,
            holders=holders,
            suggestion=suggestion,
            platform=sys.platform,
            euid=os.geteuid() if hasattr(os, "geteuid") else None,
        )
        return PortReport(
            name=item.name,
            port=item.port,
            declared_port=item.declared_port,
            protocol=protocol,
            hosts=item.hosts,
            env=item.env,
            service=item.service,
            source=item.source,
            verdict=decision.verdict,
            cause=decision.cause,
            message=message,
            hint=hint,
            suggestion=suggestion,
            notes=self._notes(item, protocol, decision),
            holders=holders,
            optional=item.optional,
        )

    def _shortened(self, item: Declaration) -> Declaration:
        if item.source.file is None:
            return item
        return item._replace(source=item.source._replace(file=projects.shown(item.source.file, self._project.cwd)))

    def _notes(self, item: Declaration, protocol: Protocol, decision: Decision) -> tuple[Note, ...]:
        notes = list(ranges.port_notes(item.port, protocol, ephemeral=self._ephemeral, platform=sys.platform))
        if item.moved_by is not None and item.port != item.declared_port:
            notes.insert(0, Note("moved", f"{item.moved_by} says {item.port}; declared is {item.declared_port}"))
        if item.optional and decision.verdict in ("conflict", "unavailable"):
            notes.insert(0, Note("optional", "declared optional: it does not fail the check"))
        return tuple(notes)

    def _suggest(self, item: Declaration) -> int | None:
        """Return a number near the declared one that would bind in its place now, None if there is none near."""
        wanted = addresses.expand(item.hosts)
        for port in candidates.alternatives(item.port):
            if port in self._taken or port in ranges.BROWSER_BLOCKED:
                continue
            if (
                self._ephemeral is not None
                and self._ephemeral[0] <= port <= self._ephemeral[1]
                and not (self._ephemeral[0] <= item.port <= self._ephemeral[1])
            ):
                continue
            if all(
                verdicts.combine(item.hosts, _probe_all(protocol, wanted, port)[0]) == "free"
                for protocol in item.protocols
            ):
                return port
        return None


def _probe_all(protocol: Protocol, wanted: Sequence[str], port: int) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Return the outcome by address, and the errno's name of those that did not bind."""
    outcomes: dict[str, Outcome] = {}
    errors: dict[str, str] = {}
    for address in wanted:
        for probed in probe_addresses(address):
            error = probe(protocol, probed, port)
            outcomes[address] = binding.outcome_of(error)
            if error is not None:
                errors[address] = error
                break
    return outcomes, errors


def _has_passed(protocol: Protocol, hit: Sequence[str], port: int) -> bool:
    """Whether what nobody listens on is free at a second look: other probes and dying sockets pass by themselves."""
    for _ in range(_SECOND_LOOKS):
        pause()
        outcomes, _errors = _probe_all(protocol, hit, port)
        if all(outcome == "free" for outcome in outcomes.values()):
            return True
    return False
