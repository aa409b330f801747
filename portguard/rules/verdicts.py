"""From facts to verdicts: what the probe's outcomes and the socket table's rows mean for a declaration. Pure."""

from __future__ import annotations

from portguard import errors
from portguard._namedtuple import NamedTuple
from portguard.rules.addresses import connection_overlaps, expand, is_alias, overlaps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from portguard.model import Cause, Declaration, Outcome, PortReport, Process, Protocol, Socket, Verdict


def worst(codes: Iterable[int]) -> int:
    """Return the worst of `codes`, as EXIT_ORDER ranks them; OK if there are none."""
    return min(codes, key=errors.EXIT_ORDER.index, default=errors.OK)


def exit_code(ports: Iterable[PortReport], *, strict: bool) -> int:
    """Return what a check of these ports exits with: optional ones never fail, unknown fails only under `strict`."""
    return worst(_exit_code_of(port, strict=strict) for port in ports if not port.optional)


def _exit_code_of(port: PortReport, *, strict: bool) -> int:
    if port.verdict in ("conflict", "unavailable"):
        return errors.NO
    return errors.FAILED if port.verdict == "unknown" and strict else errors.OK


def combine(hosts: Sequence[str], outcomes: Mapping[str, Outcome]) -> Outcome:
    """Return the one outcome that counts for a declaration of `hosts`, given one outcome per expanded address.

    A family that this system does not have is not an obstacle to "*" and "localhost", unless none is left.
    """
    excusable = {address for host in hosts if is_alias(host) for address in expand((host,))}
    literal = {host for host in hosts if not is_alias(host)}
    missing = ("no-family", "not-local")
    found = [
        outcome
        for address, outcome in outcomes.items()
        if not (outcome in missing and address in excusable and address not in literal)
    ]
    for outcome in ("busy", "no-permission", "excluded", "not-local", "no-family", "failed"):
        if outcome in found:
            return outcome
    return "free" if found else "not-local"


def cause_of(protocol: Protocol, state: str) -> Cause:
    """Return why a socket in `state` occupies its port."""
    if protocol == "udp":
        return "listener" if state == "bound" else "connection"
    causes: dict[str, Cause] = {"listen": "listener", "bound": "bound", "time-wait": "time-wait"}
    return causes.get(state, "connection")


_PRECEDENCE: tuple[Cause, ...] = ("listener", "bound", "connection", "time-wait")


def occupants(addresses: Iterable[str], sockets: Iterable[Socket]) -> tuple[Cause, list[Socket]]:
    """Return the sockets that occupy one of `addresses`, and why.

    Where several causes meet, the most lasting one is the answer: a listener's own connections are not named beside it.
    """
    by_cause: dict[Cause, list[Socket]] = {}
    wanted = tuple(addresses)
    for socket in sockets:
        if any(_occupies(socket, address) for address in wanted):
            by_cause.setdefault(cause_of(socket.protocol, socket.state), []).append(socket)
    for cause in _PRECEDENCE:
        if cause in by_cause:
            return cause, by_cause[cause]
    return "none", []


def _occupies(socket: Socket, address: str) -> bool:
    if cause_of(socket.protocol, socket.state) in ("listener", "bound"):
        # Where the table does not tell, a wildcard counts as dual-stack: the bind has said that something is there.
        return overlaps(address, socket.address, second_v6only=bool(socket.v6only))
    return overlaps(address, socket.address) if socket.v6only else connection_overlaps(address, socket.address)


class Decision(NamedTuple):
    """A verdict and its cause."""

    verdict: Verdict
    cause: Cause


def decide(outcome: Outcome, cause: Cause, *, is_table_read: bool, is_ours: bool, strict: bool) -> Decision:
    """Return the verdict for an endpoint.

    `outcome` is the probe's, `cause` that of the occupants found (none: "none"), `is_table_read` whether the socket
    table could be read, `is_ours` whether every occupant belongs to this project. Only without permission to bind does
    the table decide; everywhere else it explains.
    """
    if outcome == "free":
        return Decision("free", "none")
    if outcome == "excluded":
        return Decision("unavailable", "excluded")
    if outcome in ("not-local", "no-family"):
        return Decision("unavailable", "address-not-local")
    if outcome == "failed":
        return Decision("unknown", "none")
    if outcome == "no-permission" and cause != "listener":
        return Decision("unavailable" if is_table_read else "unknown", "permission")
    if is_ours and cause == "listener" and not strict:
        return Decision("ours", cause)
    return Decision("conflict", cause)


def duplicates(declarations: Sequence[Declaration]) -> dict[tuple[str, Protocol], tuple[Declaration, ...]]:
    """Return, by name and protocol, the other declarations that claim an overlapping endpoint."""
    found: dict[tuple[str, Protocol], list[Declaration]] = {}
    by_port: dict[tuple[int, Protocol], list[Declaration]] = {}
    for declaration in declarations:
        for protocol in declaration.protocols:
            others = by_port.setdefault((declaration.port, protocol), [])
            for other in others:
                if hosts_overlap(declaration.hosts, other.hosts):
                    found.setdefault((declaration.name, protocol), []).append(other)
                    found.setdefault((other.name, protocol), []).append(declaration)
            others.append(declaration)
    return {key: tuple(value) for key, value in found.items()}


def hosts_overlap(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether servers for these two host lists would exclude each other."""
    return any(overlaps(one, other) for one in expand(first) for other in expand(second))


class OwnTree(NamedTuple):
    """The directory tree that is "us": its real path, and the uid whose processes in it are ours (None: no one's).

    `others` are the roots of checkouts that lie in it and are not this one: linked worktrees, clones.
    """

    root: str
    uid: int | None
    others: tuple[str, ...] = ()


def is_ours(declaration: Declaration, processes: Sequence[Process], tree: OwnTree | None) -> bool:
    """Whether every one of `processes` belongs to this project, as the declaration allows it.

    A port given by argument is no one's. With `service` only that service's container may hold it, never a process.
    """
    if declaration.is_ad_hoc or declaration.service is not None or not processes:
        return False
    return all(process.name in declaration.owner or runs_in(process, tree) for process in processes)


def runs_in(process: Process, tree: OwnTree | None) -> bool:
    """Whether a process works in this tree, for the tree's user."""
    if tree is None or process.cwd is None or not process.cwd_is_shared:
        return False
    if tree.uid is None or process.uid != tree.uid:
        return False
    cwd = process.cwd
    return _is_below(cwd, tree.root) and not any(_is_below(cwd, other) for other in tree.others)


def _is_below(path: str, root: str) -> bool:
    root = root.rstrip("/\\")
    return path == root or path.startswith((root + "/", root + "\\"))
