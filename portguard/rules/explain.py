"""Verdicts in sentences: what is wrong, and what to type next. Pure: words out, foreign strings raw inside.

Anyone who shows a sentence makes it printable (`portguard.render.safe`). A hint never names a command that would end a
forwarder, an engine, PID 1 or a process no one could identify.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.rules import ownership
from portguard.rules.addresses import endpoint, target
from portguard.rules.verdicts import cause_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portguard.model import Declaration, Holder, Process, Protocol, Rival
    from portguard.rules.ownership import Claim
    from portguard.rules.verdicts import Decision

_UNIT_PUNCTUATION = str.maketrans("", "", ":-_.")
_NO_FAMILY = {"EAFNOSUPPORT", "EPROTONOSUPPORT"}
_SHOWN_PIDS = 4
_NAME_LENGTH = 32


def owner_of(holder: Holder) -> str:
    """Return the owner as the subject of a sentence."""
    processes = holder.processes
    if processes:
        first = min(processes, key=lambda process: (process.started_at or 0.0, process.pid))
        pids = [first.pid, *sorted(process.pid for process in processes if process.pid != first.pid)]
        listed = ", ".join(map(str, pids[:_SHOWN_PIDS])) + (", ..." if len(pids) > _SHOWN_PIDS else "")
        user = f", user {first.user}" if first.user else ""
        return f"{(first.name or 'a process')[:_NAME_LENGTH]} ({'pid' if len(pids) == 1 else 'pids'} {listed}{user})"
    if holder.owner_status == "hidden":
        return "a process this user cannot see" + ("" if holder.uid is None else f" (uid {holder.uid})")
    if holder.owner_status == "kernel":
        return "the kernel"
    return "an unknown process"


def occupied(holder: Holder) -> str:
    """Return who has which endpoint, and how, as a sentence without its full stop."""
    place = endpoint(holder.address, holder.port)
    if holder.container is not None:
        return f"{ownership.describe(holder.container)} publishes {place}/{holder.protocol}"
    owner = owner_of(holder)
    cause = cause_of(holder.protocol, holder.state or "")
    if cause == "listener":
        return f"{owner} {'listens on' if holder.protocol == 'tcp' else 'has bound'} {place}/{holder.protocol}"
    if cause == "bound":
        return f"{owner} has bound {place}/{holder.protocol} and does not listen"
    if cause == "connection":
        return f"a connection from {owner} uses {place}/{holder.protocol} as its local port"
    return f"a closed connection on {place} lingers in TIME_WAIT"


def _place(declaration: Declaration) -> str:
    source = declaration.source
    return declaration.name if source.file is None else f"{declaration.name} ({source.file}:{source.line})"


def _leased(rival: Rival) -> str:
    if rival.kind == "assignment":
        return f"it belongs to the checkout {rival.directory}"
    how = "runs with it" if rival.kind == "run" else "holds it"
    return f"process {rival.pid} in {rival.directory} {how}"


class Finding(NamedTuple):
    """What was found out about a port that is not simply free.

    `duplicates` are the declarations that overlap this one, `errors` the bind's errno name by address, `claim` the
    container that matters most and what it is to us, `rival` who has it leased. `suggestion` is a free port nearby.
    `has_compose` tells that `docker compose` can be typed here.
    """

    decision: Decision
    holders: Sequence[Holder] = ()
    duplicates: Sequence[Declaration] = ()
    errors: Mapping[str, str] = {}
    unprivileged_start: int = 0
    claim: Claim | None = None
    rival: Rival | None = None
    suggestion: int | None = None
    has_compose: bool = False


def message(declaration: Declaration, protocol: Protocol, finding: Finding) -> str:
    """Return one sentence that says what the verdict rests on."""
    decision, holders, duplicates, errors, unprivileged_start, claim, rival, _, _ = finding
    wanted = target(declaration.hosts, declaration.port, protocol, declaration.last_port)
    verdict, cause = decision
    if cause == "duplicate" and not duplicates:
        return f"{declaration.replicas} replicas of {declaration.service} cannot share {wanted}"
    if cause == "duplicate":
        others = " and ".join(_place(duplicate) for duplicate in duplicates)
        text = f"{wanted} is declared twice: {_place(declaration)} and {others}"
        return f"{text}; also, {occupied(holders[0])}" if holders else text
    if rival is not None:
        return f"nothing listens on {wanted}, but {_leased(rival)}"
    if verdict == "ours":
        return f"{occupied(holders[0])}, which is this project's own"
    if cause == "address-not-local":
        missing = ", ".join(errors) or ", ".join(declaration.hosts)
        if errors and set(errors.values()) <= _NO_FAMILY:
            return f"{missing} cannot be bound: sockets of its family are switched off here, or a sandbox forbids them"
        bare = next((address for address, error in errors.items() if error == "EINVAL" and "%" not in address), None)
        return f"this host has no address {missing}" + (f": it needs its interface, as in {bare}%eth0" if bare else "")
    if cause == "excluded":
        what = f"the system has excluded port {declaration.port} or reserved it exclusively"
        return f"{what}, so nothing needs to listen on it"
    if cause == "permission":
        low = declaration.port < unprivileged_start
        why = f"ports below {unprivileged_start} need privileges here" if low else "the system forbids this bind"
        return f"permission denied to bind {wanted}: {why}" + (
            "" if verdict == "unavailable" else "; could not tell whether it is free"
        )
    if verdict == "unknown" and not errors:
        return f"could not tell whether {wanted} is free on the engine's host"
    if verdict == "unknown":
        failed = ", ".join(f"{address}: {error}" for address, error in errors.items())
        return f"{wanted} could not be probed ({failed})"
    if claim is not None and claim.holder.container is not None:
        text = occupied(claim.holder) + ownership.why(claim.relation, claim.holder.container)
        beside = _beside_containers(holders)
        return f"{text}; also, {occupied(beside[0])}" if beside else text
    if holders and holders[0].state is not None:
        more = f", and {len(holders) - 1} more" if len(holders) > 1 else ""
        return occupied(holders[0]) + more
    return f"{wanted} cannot be bound (EADDRINUSE), and no socket table shows who holds it"


def hint(
    declaration: Declaration, protocol: Protocol, finding: Finding, *, platform: str, euid: int | None
) -> str | None:
    """Return the next step, or None if there is nothing to do. Commands in it are made of checked words only."""
    decision, holders, _, _, unprivileged_start, claim, rival, suggestion, has_compose = finding
    if decision.verdict == "ours":
        return None
    if decision.cause == "duplicate":
        return "give one of them another port" + (f", {suggestion} for instance" if suggestion else "")
    if decision.verdict != "conflict":
        return _hint_without_holder(declaration, protocol, decision, platform, unprivileged_start)
    if rival is not None:
        steps = [_way_around(declaration, rival)]
    elif claim is not None and claim.holder.container is not None:
        container = claim.holder.container
        verb = "stop it: " if container.id else "find it: "
        steps = [verb + ownership.command(claim.relation, container, declaration.port, has_compose=has_compose)]
        beside = _beside_containers(holders)
        if beside:
            other = freeing_step(decision.cause, beside, declaration.port, platform=platform, euid=euid)
            steps.append(f"then {other.replace('stop it', 'stop the other', 1)}")
    else:
        steps = [freeing_step(decision.cause, holders, declaration.port, platform=platform, euid=euid)]
    if suggestion is not None and (rival is None or rival.kind != "assignment"):
        if declaration.env is not None:
            steps.append(f"or move it: {declaration.env}={suggestion}")
        elif declaration.is_ad_hoc:
            steps.append(f"or use port {suggestion}, which is free")
        else:
            steps.append(f"or declare port {suggestion}, which is free")
    return ", ".join(step for step in steps if step)


def _beside_containers(holders: Sequence[Holder]) -> list[Holder]:
    """Return those that no container has: where one is named, they hold another address of the port."""
    return [holder for holder in holders if holder.container is None]


def _way_around(declaration: Declaration, rival: Rival) -> str:
    if rival.kind != "assignment":
        return f"see what it is: ps -fp {rival.pid}"
    if declaration.origin == "environment":
        return f"unset {declaration.env}: it seems to be left over from there"
    if declaration.origin == "dotenv":
        return "write this checkout's own numbers: portguard env --write .env"
    return f"if that checkout no longer needs it: portguard leases release {declaration.port}"


def _hint_without_holder(
    declaration: Declaration, protocol: Protocol, decision: Decision, platform: str, unprivileged_start: int
) -> str:
    if decision.cause == "address-not-local":
        return "see which addresses there are: " + ("ip address" if platform == "linux" else "ifconfig -a")
    if decision.cause == "excluded":
        return f"netsh interface ipv4 show excludedportrange protocol={protocol}"
    if decision.cause == "permission" and declaration.port >= unprivileged_start:
        return "run it outside the sandbox or container: a security module or filter forbids it here"
    if decision.cause == "permission":
        allowing = f"sudo sysctl net.ipv4.ip_unprivileged_port_start={declaration.port}"
        return f"use a port from {unprivileged_start} on" + (
            f", or allow it: {allowing}" if platform == "linux" else ""
        )
    if declaration.is_published:
        return "ask the engine: docker ps"
    return "try again; if it stays, this system's limits are exhausted (ulimit -n)"


def freeing_step(cause: str, holders: Sequence[Holder], port: int, *, platform: str, euid: int | None) -> str:
    """Return the next step towards a free port, as a command wherever there is one."""
    if cause == "time-wait":
        return "try again: the kernel releases it within 60 s"
    if cause == "connection":
        return "try again when the connection has ended"
    processes = [process for holder in holders for process in holder.processes]
    from portguard.rules import engines  # only when a port is busy

    if any(engines.is_forwarder(process.name, platform=platform) for process in processes):
        find = engines.DEFAULT.find.format(port=port)
        return f"a container engine forwards it; find the container: {find}"
    if any(process.pid == 1 for process in processes):
        return "PID 1 holds it for a unit; find the unit: systemctl list-sockets"
    unit = next((holder for holder in holders if unit_word(holder.unit)), None)
    if unit is not None:
        scope = "systemctl --user" if unit.user_unit else "systemctl" if euid == 0 else "sudo systemctl"
        return f"stop it: {scope} stop {unit_word(unit.unit)}"
    if processes:
        return _kill_command(processes, euid)
    if any(holder.owner_status == "hidden" for holder in holders):
        return sight(euid)
    if any(holder.owner_status == "lookup-failed" for holder in holders):
        return "the owner could not be looked up here; run outside the sandbox or container to see it"
    if any(holder.state is None for holder in holders):
        return "no socket table here shows who holds it; some tables leave out sockets that are bound but do not listen"
    return "no process here holds it; it may belong to the kernel, another PID namespace or another container"


def unit_word(unit: str | None) -> str:
    """Return a unit's name as a shell and systemctl take it, "" for what is not a name.

    An escaped character (systemd.unit(5)) has a backslash, which a shell would read; as a pattern systemctl finds it.
    """
    pattern = (unit or "").replace("\\", "?")
    is_name = bool(pattern) and pattern[0].isalnum() and pattern.isascii()
    if not is_name or not pattern.replace("?", "").replace("@", "").translate(_UNIT_PUNCTUATION).isalnum():
        return ""
    return f"'{pattern}'" if "?" in pattern else pattern


def sight(euid: int | None) -> str:
    """Return what would make a hidden owner visible."""
    if euid == 0:
        return "the owner is hidden even from root, by a container, a sandbox or a security module"
    return "run with sudo to see the owner"


def _kill_command(processes: Sequence[Process], euid: int | None) -> str:
    pids = " ".join(str(pid) for pid in sorted({process.pid for process in processes}))
    is_mine = euid in (None, 0) or all(process.uid == euid for process in processes)
    return f"stop it: {'' if is_mine else 'sudo '}kill {pids}"
