"""Which container is behind a holder, and what the engine itself says about its ports.

The engines are asked at most once a question, and only when a holder could be theirs. What they do not say costs a
note, never the answer.
"""

from __future__ import annotations

import os
import sys

from portguard._namedtuple import once
from portguard.errors import LookupFailedError
from portguard.model import Container, Note
from portguard.rules import addresses, attribution, ownership
from portguard.rules.engines import DEFAULT, ENGINES, is_forwarder
from portguard.rules.ownership import Claim
from portguard.system import origin
from portguard.system.probe import probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portguard.engines.endpoint import EngineEndpoint
    from portguard.engines.query import Answer
    from portguard.model import Declaration, Holder, Process, Protocol
    from portguard.rules.attribution import Running
    from portguard.rules.engines import Engine
    from portguard.rules.ownership import OwnStack, Relation
    from portguard.system.origin import Forward

    Group = tuple[tuple[str, bool] | None, str | None]  # unit, and whether a user's; container's identifier

# What engines put into the containers they make (moby, daemon/initlayer; podman-run(1)).
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
_PROXIES = [name for engine in ENGINES.values() for name in engine.proxies]
_PROBED_AT_MOST = 8


class Engines:
    """The engines of one question: asked on first need, remembered after."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._answer: Answer | None = None
        self._told: dict[int, Note] = {}
        self._groups: dict[int, Group] = {}
        self._parsed: dict[str, Group] = {}
        self._forwarders: dict[str | None, bool] = {}
        # Processes behind which there is nothing more, by the id of their record, which sockets share.
        self._plain: dict[int, tuple[Process, ...]] = {}
        self._commanded: dict[str, tuple[Running, ...]] = {}  # by engine
        self._ungrouped: set[int] = set()

    def answer(self) -> Answer:
        """Return what runs; never raises."""
        if self._answer is None:
            from portguard.engines import query  # only when a holder could be a container

            self._answer = query.ask(self._environ)
        return self._answer

    def remote(self) -> EngineEndpoint | None:
        """Return the endpoint docker would use when its ports are not those of this network namespace, else None."""
        return self._elsewhere

    @once
    def _elsewhere(self) -> EngineEndpoint | None:
        from portguard.engines import endpoint  # only for ports an engine will publish

        try:
            found = endpoint.find_endpoint(self._environ)
        except LookupFailedError:
            return None
        return found if found.is_remote or self._is_mounted(found) else None

    def is_rootful(self) -> bool:
        """Whether the engine that compose would use is here, answers, and is root's: it may bind every port."""
        answer = self.answer()
        socket = answer.primary.socket if answer.primary is not None else None
        if socket is None or not answer.has_answered or self.remote() is not None:
            return False
        try:
            return os.stat(socket).st_uid == 0
        except OSError:
            return False

    def _is_mounted(self, found: EngineEndpoint) -> bool:
        """Whether the socket was lent to this container: then what the engine publishes is not bound in here."""
        if found.socket is None or not any(map(os.path.exists, _CONTAINER_MARKS)) or not os.path.exists(found.socket):
            return False
        published = [
            port.port
            for running in self.answer().containers
            for port in running.ports
            if port.protocol == "tcp" and port.is_wildcard
        ]
        return any(probe("tcp", addresses.ANY_V4, port) is None for port in published[:_PROBED_AT_MOST])

    def notes(self, port: int) -> tuple[Note, ...]:
        """Return what is known of the container on `port` beside its name, and which engines did not answer."""
        failures = self._answer.failures if self._answer is not None else ()
        if not failures and port not in self._told:
            return ()
        from portguard.rules import notes  # only when there is something to note

        told = (self._told[port],) if port in self._told else ()
        return (*told, *(notes.engine_failed(failure) for failure in failures))

    def attribute(self, holders: Sequence[Holder]) -> tuple[Holder, ...]:
        """Return the holders with the containers and systemd units behind them, as far as they are known."""
        return tuple(map(self.attributed, holders))

    def attributed(self, holder: Holder) -> Holder:
        """Do as `attribute` for one."""
        if id(holder.processes) in self._plain:
            return holder
        forwarder = None
        for item in holder.processes:
            if item.name not in self._forwarders:
                self._forwarders[item.name] = is_forwarder(item.name, platform=sys.platform)
            if self._forwarders[item.name]:
                forwarder = item
                break
        is_unseen = holder.owner_status in ("hidden", "none-found", "lookup-failed")
        if forwarder is not None or (is_unseen and holder.state in ("listen", "bound", None)):
            return self._published(holder, forwarder)
        if not holder.processes:
            return holder
        unit, identifier = self._group(holder.processes[0].pid)
        if unit is not None:
            holder = holder._replace(unit=unit[0], user_unit=unit[1])
        if identifier is None:
            if unit is None:
                self._plain[id(holder.processes)] = holder.processes
            return holder
        running = attribution.by_id(identifier, self.answer().containers)
        return holder if running is None else holder._replace(container=running.identity)

    def _group(self, pid: int) -> Group:
        """Return the unit and the container that the process's control group tells; read and understood once."""
        if pid not in self._groups:
            text = origin.cgroup_of(pid)
            if not text:
                self._ungrouped.add(pid)
            if text not in self._parsed:
                self._parsed[text] = attribution.unit_of(text), attribution.container_id_of(text)
            self._groups[pid] = self._parsed[text]
        return self._groups[pid]

    def is_group_unreadable(self, pid: int) -> bool:
        """Whether the process's control group could not be read when it was first looked at."""
        self._group(pid)
        return pid in self._ungrouped

    def _published(self, holder: Holder, forwarder: Process | None) -> Holder:
        """Return the holder with the container that an engine publishes there, or that its forwarder tells of."""
        running = attribution.match(
            holder.protocol,
            holder.address,
            holder.port,
            self.answer().containers,
            forwarder=forwarder.name if forwarder is not None else None,
        )
        if running is None and forwarder is not None and forwarder.name in DEFAULT.publishers:
            running = attribution.match(holder.protocol, holder.address, holder.port, self._services())
        if running is not None:
            return holder._replace(container=running.identity)
        for engine in ENGINES.values():
            if forwarder is None or engine.monitor is None:
                continue
            identifier = origin.served_by(forwarder.pid, engine.monitor)
            if identifier is not None:
                running = attribution.by_id(identifier, self._by_command(engine))
                unnamed = Container(engine.name, identifier, "")
                return holder._replace(container=unnamed if running is None else running.identity)
        forward = self._forward(holder, forwarder)
        if forward is None:
            return holder
        from portguard.rules import notes  # only when there is something to note

        self._told[holder.port] = notes.container_unknown(
            forward.pid, forward.container_address, forward.container_port
        )
        return holder._replace(container=Container(DEFAULT.name, "", ""))

    def _forward(self, holder: Holder, forwarder: Process | None) -> Forward | None:
        candidates = self._forwards if forwarder is None else (origin.forwarded_by(forwarder.pid, _PROXIES),)
        for forward in candidates:
            if (
                forward is not None
                and (forward.protocol, forward.host_port) == (holder.protocol, holder.port)
                and addresses.overlaps(forward.host_address, holder.address)
                and (holder.uid is None or forward.uid == holder.uid)
            ):
                return forward
        return None

    @once
    def _forwards(self) -> tuple[Forward, ...]:
        return origin.forwards(_PROXIES)

    def _services(self) -> tuple[Running, ...]:
        """Return what a swarm publishes: dockerd holds those ports itself, and lists them nowhere else."""
        from portguard.engines import query  # only where dockerd holds a port

        primary = self.answer().primary
        return query.services(primary) if primary is not None else ()

    def silent(self, stack: OwnStack) -> tuple[Note, ...]:
        """Return a warning for each container of ours that runs and publishes nothing, if the engines were asked."""
        if self._answer is None:
            return ()
        from portguard.engines import query  # as above
        from portguard.rules import notes

        return tuple(
            notes.not_published(running.identity.name) for running in query.publishing_nothing(self._answer, stack.name)
        )

    def running(self, identifier: str) -> Running | None:
        """Return what is known of a container, from every engine that has one; asks them if no one has yet."""
        asked = (self.answer().containers, *self._commanded.values())
        return next((found for containers in asked for found in containers if found.identity.id == identifier), None)

    def _by_command(self, engine: Engine) -> tuple[Running, ...]:
        """Return what an engine runs by its command, which needs no socket; asked once. Nothing if that fails."""
        if engine.name not in self._commanded:
            from portguard.engines import query  # only where its monitor holds a port

            try:
                self._commanded[engine.name] = query.ask_command(engine, self._environ)
            except LookupFailedError:
                self._commanded[engine.name] = ()
        return self._commanded[engine.name]


def claims(item: Declaration, holders: Sequence[Holder], stack: OwnStack, engines: Engines) -> list[Claim]:
    """Return what each holder's container is to the project `stack`, for those that are containers."""
    return [
        Claim(relation_of(holder.container, item.service, stack, engines), holder)
        for holder in holders
        if holder.container is not None
    ]


def relation_of(container: Container, service: str | None, stack: OwnStack, engines: Engines) -> Relation:
    """Return what a container is to the project `stack`, for a port of `service`, or of none in particular."""
    running = engines.running(container.id)
    is_oneoff = running is not None and running.is_oneoff
    directory = container.compose.working_dir if container.compose is not None else None
    return ownership.relate(service, stack, container, _real(directory), is_oneoff=is_oneoff)


def _real(directory: str | None) -> str | None:
    """Return the real path of the directory a label names, None for what cannot be one."""
    try:
        return os.path.realpath(directory) if directory and os.path.isabs(directory) else None
    except ValueError:  # with a NUL in it, or half of a surrogate pair
        return None


def published_by(protocol: Protocol, wanted: Sequence[str], port: int, engines: Engines) -> tuple[Holder, ...]:
    """Return, as holders, the containers whose published ports overlap, by the engine's own word alone."""
    from portguard.model import Holder  # at run time, only for remote engines

    found = []
    for running in engines.answer().containers:
        for published in running.ports:
            taken = [published.address] if published.address else [addresses.ANY_V4, addresses.ANY_V6]
            is_it = published.port == port and published.protocol == protocol
            if is_it and any(addresses.overlaps(one, other) for one in wanted for other in taken):
                found.append(Holder(protocol, taken[0], port, "listen", "known", container=running.identity))
                break
    return tuple(found)
