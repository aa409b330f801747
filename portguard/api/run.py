"""`run`: check the ports, take them, keep them, and become the command that is to use them.

The process becomes the command itself, so that nothing stands between it and its signals, terminal and exit code. A
small process beside it keeps the ports bound, and ends with the command. The command's own process has the leases,
which end with it as well.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.api import check, env
from portguard.errors import ConflictError, PortguardError, StateError, UsageError
from portguard.holders import rivals
from portguard.leases import directory, hold, table
from portguard.leases.take import write_all
from portguard.project.checkout import checkout_of
from portguard.project.records import NumberPolicy, directory_of, shown
from portguard.rules import addresses, notes
from portguard.system import alive, execute, kernel, listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Mapping, Sequence

    from portguard.leases.table import Lease, Table
    from portguard.model import CheckReport, Declaration, Note
    from portguard.project.records import Project


class Ready(NamedTuple):
    """All that is needed to begin: the command's environment, the sockets it is handed, and what was noticed.

    `release` gives everything back.
    """

    environ: dict[str, str]
    passed: tuple[_socket.socket, ...]
    notes: tuple[Note, ...]
    release: Callable[[], None]


class RefusedError(ConflictError):
    """Ports cannot be had; `report` tells which, and why."""

    def __init__(self, report: CheckReport, hint: str | None) -> None:
        super().__init__(tuple(f"{port.name}: {port.message}" for port in report.ports), hint)
        self.report = report


def prepare(
    *names: str,
    config: str | None = None,
    isolated: bool = False,
    move: bool = False,
    no_hold: bool = False,
    pass_fd: bool = False,
    cwd: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Ready:
    """Check and take what is declared, or what these names declare, for the command this process is about to become.

    TCP ports stay bound for the command, where a hold does not block its server, unless `no_hold`. `pass_fd` passes
    it listening sockets instead. Raises RefusedError if a port is not available, and what `env.env` raises.
    """
    environ = os.environ if environ is None else environ
    policy = NumberPolicy("take", isolated, is_exported=True)
    project = env.load(config, cwd, environ, policy)
    chosen = _chosen(project, names)
    blocked = _blocked(project, chosen, environ)
    # What is this project's own is in the way, but nothing to move away from.
    movable = {port.name: port.port for port in env.strangers(project, chosen, environ)} if blocked.ports else {}
    if movable and move:
        project = env.load(config, cwd, environ, policy._replace(moved=movable))
        chosen = _chosen(project, names)
        blocked = _blocked(project, chosen, environ)
        movable = {}
    if blocked.ports:
        raise RefusedError(blocked, "move it: portguard run --move" if movable else None)
    told = env.report(project, [item for item in chosen if item.env is not None], environ)
    taker = _PortTaker(project, chosen, {**environ, **told.variables}, told.notes)
    return taker.ready(no_hold=no_hold, pass_fd=pass_fd)


def become(command: Sequence[str], ready: Ready) -> int:
    """Become the command; on Windows return its exit code. Raises OSError, ValueError, with everything released."""
    try:
        return execute.execute(command, ready.environ, [sock.fileno() for sock in ready.passed])
    except BaseException:
        ready.release()
        raise


def _chosen(project: Project, names: Sequence[str]) -> list[Declaration]:
    if not names:
        return list(project.declarations)
    from portguard.rules import targets

    where = shown((*project.sources, "")[0], project.cwd)
    return targets.select(project.declarations, [(name, None) for name in names], where)


def _blocked(project: Project, chosen: Sequence[Declaration], environ: Mapping[str, str]) -> CheckReport:
    """Return the report on those ports that cannot be had. What is this project's own is in the way as well."""
    if not chosen:
        return check.check_project(project, [], environ, strict=True)._replace(ports=())
    found = check.check_project(project, [(name, None) for name in _names(chosen)], environ, strict=True)
    bad = tuple(port for port in found.ports if port.verdict in ("conflict", "unavailable") and not port.optional)
    return found._replace(ports=bad)


def _names(chosen: Sequence[Declaration]) -> list[str]:
    return list(dict.fromkeys(item.name for item in chosen))


class _PortTaker:
    """Takes the ports of one command, and knows how to give everything back."""

    def __init__(
        self, project: Project, chosen: Sequence[Declaration], environ: dict[str, str], notes: Sequence[Note]
    ) -> None:
        self._project = project
        # Of a published range the engine takes what it likes.
        self._items = [item for item in chosen if item.last_port is None]
        self._environ = environ
        self._notes = list(notes)
        self._undo: list[Callable[[], object]] = []
        self._before: dict[int, Lease] = {}  # what someone had for a while
        self._here = project.checkout or checkout_of(directory_of(project))

    def ready(self, *, no_hold: bool, pass_fd: bool) -> Ready:
        """Take everything, or nothing: whatever goes wrong, what was taken is released."""
        try:
            self._lease()
            sockets = self._listen() if pass_fd else ()
            if not no_hold and not pass_fd and hold.IS_POSSIBLE:
                self._hold()
        except BaseException:
            self._release()
            raise
        return Ready(self._environ, sockets, tuple(self._notes), self._release)

    def _release(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _lease(self) -> None:
        try:
            lease = table.Lease(
                table.FOR_LIFE, os.getpid(), 0, alive.own_start(), kind="run", directory=self._here.directory
            )
            place, key = directory.path_of(self._environ), kernel.host_key()
            with table.locked(place, key, is_alive=alive.seems_alive) as leases:
                # Not sooner: it waits for the lock, too.
                self._undo.append(lambda: _forget(place, key, lease, self._before))
                for item in self._items:
                    there = leases.lease(item.port)
                    if there is None or there.kind == "free" or not alive.seems_alive(there.pid, there.started):
                        self._write(leases, item, lease)
                    elif not item.optional and any(
                        rivals.of_lease(there, item, protocol, self._here) for protocol in item.protocols
                    ):
                        # Since the check. A command of this checkout keeps what it has: ours runs inside or beside it.
                        what = f"{item.name}: process {there.pid} in {there.directory} has just taken port {item.port}"
                        raise ConflictError((what,), f"see what it is: ps -fp {there.pid}")
        except StateError as error:
            self._notes.append(notes.unleased(error.message))

    def _write(self, leases: Table, item: Declaration, lease: Lease) -> None:
        bits = sum(table.PROTOCOL_BITS[protocol] for protocol in item.protocols)
        there = leases.lease(item.port)
        if there is not None and there.pid == lease.pid:
            bits |= there.protocols
        elif there is not None:
            self._before[item.port] = there
        hosts = "" if "*" in item.hosts else ",".join(item.hosts)
        now = leases.clock()
        try:
            write_all(leases, [item.port], lease._replace(protocols=bits, since=now, name=item.name, hosts=hosts))
        except OSError:
            if there is not None:
                leases.write(item.port, there)
            raise

    def _hold(self) -> None:
        sockets: list[_socket.socket] = []
        try:
            wanted: dict[int, list[str]] = {}
            for item in self._items:
                if item.is_held and "tcp" in item.protocols:
                    wanted.setdefault(item.port, []).extend(addresses.expand(item.hosts))
            for port, hosts in wanted.items():
                try:
                    sockets += listeners.bind("tcp", port, hosts)
                except OSError as error:
                    # Anyone who may not bind here (an engine will), or was overtaken just now: the command will see.
                    self._notes.append(notes.not_held(f"port {port} is", error.strerror))
            if sockets:
                from portguard.system import signals  # not with --no-hold

                pid = hold.detach(sockets, pid=os.getpid())
                started = alive.start_of(pid)
                self._undo.append(lambda: signals.terminate(pid, started))
        except (OSError, StateError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.message
            self._notes.append(notes.not_held("the ports are", reason))
        finally:
            listeners.close(sockets)

    def _listen(self) -> tuple[_socket.socket, ...]:
        if os.name == "nt":
            raise UsageError("sockets cannot be passed on Windows", "omit --pass-fd")
        sockets: list[_socket.socket] = []
        names: list[str] = []
        self._undo.append(lambda: listeners.close(sockets))
        for item in self._items:
            for protocol in item.protocols:
                try:
                    made = listeners.bind(protocol, item.port, addresses.expand(item.hosts), is_listening=True)
                except OSError as error:
                    what = f"{item.name}: cannot listen on port {item.port}: {error.strerror}"
                    if item.optional:
                        self._notes.append(notes.not_passed(what))
                        continue
                    raise ConflictError((what,), f"see who was faster: portguard who {item.port}") from error
                sockets += made
                names += [item.name] * len(made)
        # sd_listen_fds(3)
        self._environ |= {
            "LISTEN_FDS": str(len(sockets)),
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDNAMES": ":".join(names),
        }
        return tuple(sockets)


def _forget(place: str, key: str, lease: Lease, before: Mapping[int, Lease]) -> None:
    """Give back what was taken, to whom it was handed out before."""
    import contextlib  # only when the command could not be started

    with contextlib.suppress(PortguardError, OSError), table.locked(place, key) as leases:
        for port, there in leases.leases().items():
            if (there.kind, there.pid, there.started) == (lease.kind, lease.pid, lease.started):
                leases.clear(port)
                if port in before:
                    leases.write(port, before[port])
