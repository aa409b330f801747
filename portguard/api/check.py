"""`check`: can each declared port be bound now? The probe decides, look-ups explain, `rules` words it."""

from __future__ import annotations

import os
import sys

from portguard._namedtuple import NamedTuple, once
from portguard.errors import ConfigError, UsageError
from portguard.holders import rivals
from portguard.model import CheckReport, Declaration, Note, PortReport
from portguard.project import load
from portguard.project.records import NumberPolicy, Project, cwd_or_root, directory_of, shown, working_directory
from portguard.rules import addresses, ranges, targets, verdicts
from portguard.system import kernel
from portguard.system.probe import pause, probe_all, probe_hosts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portguard.holders.containers import Engines
    from portguard.holders.rivals import Known
    from portguard.model import Checkout, Holder, Protocol, Rival
    from portguard.rules.ownership import Claim, OwnStack
    from portguard.rules.ranges import Range
    from portguard.rules.verdicts import Decision, OwnTree

_SECOND_LOOKS = 3


def check(
    *wanted: str | int,
    config: str | None = None,
    strict: bool = False,
    compose_config: bool = False,
    cwd: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> CheckReport:
    """Tell for every declared port whether a server would get it, now; with `wanted`, only for these.

    `wanted` are names of declarations or ports (3000, "53/udp", "127.0.0.1:5432", "[::1]:5432"); ports need no config.
    `config` names the file instead of searching for it from `cwd` upwards; without any, the compose files that compose
    would use are the declaration; `compose_config` lets the compose plugin resolve them. `strict`: what is this
    project's own counts as conflict, and what is unknown fails. Raises UsageError, and ConfigError with all
    problems at once.
    """
    environ = os.environ if environ is None else environ
    asked = [targets.parse_target(str(target)) for target in wanted]
    names = [target for target in asked if not isinstance(target, Declaration)]
    project = Project(cwd_or_root(cwd))
    if names or not asked or config is not None:
        policy = NumberPolicy("predict")
        try:
            project = load.load(
                working_directory(cwd), config, environ, is_required=True, by_compose=compose_config, policy=policy
            )
        except UsageError as error:
            if not names or isinstance(error, ConfigError):
                raise
            raise UsageError(
                f"{names[0][0]!r} is not a port, and no declaration has that name: {error.message}", error.hint
            ) from None
    return check_project(project, asked, environ, strict=strict)


def check_project(
    project: Project,
    asked: Sequence[Declaration | tuple[str, Protocol | None]],
    environ: Mapping[str, str],
    *,
    strict: bool,
) -> CheckReport:
    """Do as `check` for a project that is loaded; `asked` are ports and names, none for all that is declared."""
    where = shown((*project.sources, "")[0], project.cwd)
    chosen: list[Declaration] = []
    for target in asked:
        if isinstance(target, Declaration):
            chosen.append(target)
        else:
            chosen += targets.select(project.declarations, [target], where)
    run = _Check(project, environ, strict=strict)
    ports = run.ports(chosen if asked else project.declarations)
    notes = (*project.notes, *run.unread(), *run.silent())
    return CheckReport(project.config, project.sources, ports, verdicts.exit_code(ports, strict=strict), notes)


class _Finding(NamedTuple):
    """What was found out about one number of an entry, before it is put into words."""

    port: int
    decision: Decision
    holders: tuple[Holder, ...] = ()
    claims: tuple[Claim, ...] = ()
    errors: Mapping[str, str] = {}
    notes: tuple[Note, ...] = ()
    rival: Rival | None = None


class _Check:
    """One run: what its entries share, each fact asked once and only when an entry needs it."""

    def __init__(self, project: Project, environ: Mapping[str, str], *, strict: bool) -> None:
        self._project = project
        self._environ = environ
        self._strict = strict
        self._ephemeral: Range | None = kernel.ephemeral_range()
        self._duplicates = verdicts.duplicates(project.declarations)
        self._taken = {item.port for item in project.declarations}
        self._asked: frozenset[int] = frozenset()

    def ports(self, chosen: Sequence[Declaration]) -> tuple[PortReport, ...]:
        self._asked = frozenset(item.port for item in chosen)
        entries: dict[tuple[str, Protocol], Declaration] = {}
        for item in chosen:
            for protocol in item.protocols:
                entries.setdefault((item.name, protocol), item)
        return tuple(self._entry(item, protocol) for (_, protocol), item in entries.items())

    def unread(self) -> tuple[Note, ...]:
        """Return what could not be read of what is handed out, unless the project says so already."""
        is_told = any(note.id == "leases" for note in self._project.notes)
        known = _Check._known.peek(self)
        return known.notes if known is not None and not is_told else ()

    def silent(self) -> tuple[Note, ...]:
        """Return what the engines, where they were asked anyway, say of our containers that publish nothing."""
        engines, stack = _Check._engines.peek(self), _Check._stack.peek(self)
        return engines.silent(stack) if engines is not None and stack is not None else ()

    def _entry(self, item: Declaration, protocol: Protocol) -> PortReport:
        duplicates = () if item.is_ad_hoc else self._duplicates.get((item.name, protocol), ())
        if item.is_published and self._engines.remote() is not None:
            finding = self._ask_remote(item, protocol)
        elif item.last_port is not None:
            finding = self._probe_range(item, protocol)
        else:
            finding = self._probe(item, protocol, item.port)
        if finding.decision.verdict == "free" and item.last_port is None:
            rival = rivals.find_rival(item, protocol, self._known, self._here)
            if rival is not None:
                finding = finding._replace(decision=verdicts.Decision("conflict", "lease"), rival=rival)
        is_crowded = item.replicas > item_span(item) and finding.decision.verdict in ("free", "ours")
        if duplicates or is_crowded:
            finding = finding._replace(decision=verdicts.Decision("conflict", "duplicate"))
        return self._report(item, protocol, finding, duplicates)

    # --- finding out ------------------------------------------------------------------------------------------------

    def _probe(self, item: Declaration, protocol: Protocol, port: int) -> _Finding:
        wanted = addresses.expand(item.hosts)
        outcome, outcomes, errors = probe_hosts(item.hosts, protocol, port)
        failed = {address: error for address, error in errors.items() if outcomes[address] == outcome}
        if outcome not in ("busy", "no-permission"):
            decision = verdicts.decide(outcome, "none", is_table_read=True, is_ours=False, strict=self._strict)
            return _Finding(port, decision, errors=failed)
        from portguard.holders.find import find_holders  # only when a port is busy

        hit = [address for address in wanted if outcomes[address] == outcome]
        cause, holders, is_table_read = find_holders(protocol, hit, port)
        if outcome == "busy" and cause != "listener" and _has_passed(protocol, hit, port):
            return _Finding(port, verdicts.Decision("free", "none"), errors=failed)
        is_unseen = outcome == "no-permission" and cause != "listener"
        is_engine_s = item.is_published or item.service is not None
        if is_unseen and is_engine_s and is_table_read and cause == "none" and self._engines.is_rootful():
            from portguard.rules import notes as words  # only when there is something to note

            return _Finding(port, verdicts.Decision("free", "none"), notes=(words.published_as_root(),))
        # Without permission, sockets that do not listen explain nothing: the bind would fail without them as well.
        named, claims = ((), ()) if is_unseen else self._explain(item, holders)
        is_ours = cause == "listener" and self._is_ours(item, named, claims)
        decision = verdicts.decide(outcome, cause, is_table_read=is_table_read, is_ours=is_ours, strict=self._strict)
        is_no = decision.verdict in ("conflict", "unavailable")
        engines = _Check._engines.peek(self)
        notes = engines.notes(port) if engines is not None and is_no else ()
        return _Finding(port, decision, named, claims, failed, notes)

    def _probe_range(self, item: Declaration, protocol: Protocol) -> _Finding:
        """Find as many ports as there are replicas in a published range; the first busy one explains a failure."""
        missing = item.replicas
        worst: _Finding | None = None
        is_ours = False
        for port in range(item.port, (item.last_port or item.port) + 1):
            finding = self._probe(item, protocol, port)
            if finding.decision.verdict in ("free", "ours"):
                is_ours |= finding.decision.verdict == "ours"
                missing -= 1
                if missing == 0:
                    verdict = verdicts.Decision("ours", "listener") if is_ours else verdicts.Decision("free", "none")
                    return finding._replace(decision=verdict)
            elif worst is None:
                worst = finding
        return worst or _Finding(item.port, verdicts.Decision("free", "none"))

    def _ask_remote(self, item: Declaration, protocol: Protocol) -> _Finding:
        """Answer from the engine's own table: its ports are on another machine, where no bind from here reaches."""
        from portguard.holders import containers  # only with a remote engine
        from portguard.rules import notes as words

        engines = self._engines
        remote = engines.remote()
        host, found_in = (remote.host, remote.origin) if remote else (None, None)
        wanted = addresses.expand(item.hosts)
        first, count = item.port, item_span(item)
        taken: list[Holder] = []
        for port in range(first, first + count):
            holders = containers.published_by(protocol, wanted, port, engines)
            claims = tuple(containers.claims(item, holders, self._stack, engines))
            if holders and all(claim.relation == "ours" for claim in claims):
                note = words.remote_engine(host, found_in, answered=True)
                decision = verdicts.decide("busy", "listener", is_table_read=True, is_ours=True, strict=self._strict)
                return _Finding(port, decision, holders, claims, notes=(note,))
            taken.extend(holders[:1])
        notes = (words.remote_engine(host, found_in, answered=False), *engines.notes(first))
        if not engines.answer().has_answered or len(taken) < count:
            return _Finding(first, verdicts.Decision("unknown", "none"), notes=notes)
        claims = tuple(containers.claims(item, taken[:1], self._stack, engines))
        return _Finding(first, verdicts.Decision("conflict", "listener"), tuple(taken[:1]), claims, notes=notes)

    def _explain(self, item: Declaration, holders: tuple[Holder, ...]) -> tuple[tuple[Holder, ...], tuple[Claim, ...]]:
        from portguard.holders import containers  # only when a port is busy

        engines = self._engines
        holders = engines.attribute(holders)
        if all(holder.container is None for holder in holders):
            return holders, ()
        return holders, tuple(containers.claims(item, holders, self._stack, engines))

    def _is_ours(self, item: Declaration, holders: Sequence[Holder], claims: Sequence[Claim]) -> bool:
        """Whether every holder is this project's own: by container, or by process."""
        if item.is_ad_hoc or not holders:
            return False
        if any(claim.relation != "ours" for claim in claims):
            return False
        processes = [holder for holder in holders if holder.container is None]
        if any(holder.owner_status != "known" for holder in processes):
            return False
        if not processes:
            return True
        from portguard.project import ours  # only when a process of someone's listens

        found = [process for holder in processes for process in holder.processes]
        if verdicts.is_ours(item, found, ours.without_others(self._own_tree, found)):
            return True
        lease = self._known.leases.get(item.port) if item.service is None else None
        return rivals.runs_here(lease, found, self._here)

    @once
    def _engines(self) -> Engines:
        from portguard.holders.containers import Engines  # only when an engine could be concerned

        return Engines(self._environ)

    @once
    def _known(self) -> Known:
        return rivals.look(self._asked, self._environ)

    @once
    def _own_tree(self) -> OwnTree | None:
        from portguard.project import ours  # only when a process of someone's listens

        return ours.find_own_tree(self._project, self._environ)

    @once
    def _stack(self) -> OwnStack:
        from portguard.project import ours  # only when a container holds a port

        return ours.own_stack(self._project, self._environ)

    @once
    def _checkout(self) -> Checkout:
        from portguard.project.checkout import checkout_of  # only when someone else might have a number

        return self._project.checkout or checkout_of(directory_of(self._project))

    def _here(self) -> Checkout:
        return self._checkout

    # --- putting it into words --------------------------------------------------------------------------------------

    def _report(
        self, item: Declaration, protocol: Protocol, finding: _Finding, duplicates: Sequence[Declaration]
    ) -> PortReport:
        decision = finding.decision
        suggestion, hint = None, None
        if decision.verdict == "free":
            message = f"{addresses.target(item.hosts, item.port, protocol, item.last_port)} is free"
        else:
            is_movable = not item.is_published or item.env is not None
            suggestion = self._suggest(item) if decision.verdict == "conflict" and is_movable else None
            message, hint = self._words(item, protocol, finding, duplicates, suggestion)
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
            notes=(*self._notes(item, protocol, decision), *finding.notes),
            holders=finding.holders,
            optional=item.optional,
            last_port=item.last_port,
        )

    def _words(
        self,
        item: Declaration,
        protocol: Protocol,
        finding: _Finding,
        duplicates: Sequence[Declaration],
        suggestion: int | None,
    ) -> tuple[str, str | None]:
        """Return what is the matter, and the next step."""
        from portguard.rules import explain  # only for what is not free

        decision, shown = finding.decision, self._shortened(item)
        unprivileged_start = kernel.unprivileged_port_start() if decision.cause == "permission" else 0
        stranger = next((claim for claim in finding.claims if claim.relation != "ours"), None)
        claim = stranger or next(iter(finding.claims), None)
        words = explain.Finding(
            decision,
            holders=finding.holders,
            duplicates=[self._shortened(duplicate) for duplicate in duplicates],
            errors=finding.errors,
            unprivileged_start=unprivileged_start,
            claim=claim,
            rival=finding.rival,
            suggestion=suggestion,
            has_compose=claim is not None and self._has_compose(),
        )
        message = explain.message(shown, protocol, words)
        hint = explain.hint(shown, protocol, words, platform=sys.platform, euid=kernel.euid())
        return message, hint

    def _has_compose(self) -> bool:
        from portguard.engines import plugin  # only when a container holds a port

        return plugin.has_compose(self._environ)

    def _shortened(self, item: Declaration) -> Declaration:
        if item.source.file is None:
            return item
        return item._replace(source=item.source._replace(file=shown(item.source.file, self._project.cwd)))

    def _notes(self, item: Declaration, protocol: Protocol, decision: Decision) -> tuple[Note, ...]:
        notes = list(ranges.port_notes(item.port, protocol, ephemeral=self._ephemeral, platform=sys.platform))
        is_moved = item.moved_by is not None and item.port != item.declared_port
        is_excused = item.optional and decision.verdict in ("conflict", "unavailable")
        if is_moved or is_excused:
            from portguard.rules import notes as words  # only when there is something to note

            if is_moved:
                moved_by = None if item.origin == "lease" else item.moved_by
                notes.insert(0, words.moved(item.port, moved_by, item.declared_port))
            if is_excused:
                notes.insert(0, words.optional())
        return tuple(notes)

    def _suggest(self, item: Declaration) -> int | None:
        """Return a number near the declared one that would bind in its place now and no one was given; None without."""
        from portguard.rules import candidates  # only for conflicts

        low, high = self._ephemeral or ranges.LINUX_EPHEMERAL
        is_ephemeral = low <= item.port <= high
        for port in candidates.alternatives(item.port):
            if port in self._taken or port in ranges.BROWSER_BLOCKED or (low <= port <= high and not is_ephemeral):
                continue
            is_free = all(probe_hosts(item.hosts, protocol, port)[0] == "free" for protocol in item.protocols)
            if is_free and not rivals.is_handed_out(port, self._environ):
                return port
        return None


def item_span(item: Declaration) -> int:
    """Return how many ports a declaration may use: one, or those of its published range."""
    return (item.last_port or item.port) - item.port + 1


def _has_passed(protocol: Protocol, hit: Sequence[str], port: int) -> bool:
    """Whether what nothing listens on is free at a second look: other probes and dying sockets pass by themselves."""
    for _ in range(_SECOND_LOOKS):
        pause()
        outcomes, _errors = probe_all(protocol, hit, port)
        if all(outcome == "free" for outcome in outcomes.values()):
            return True
    return False
