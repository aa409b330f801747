"""List what runs on the engines here: one answer from all that respond within a second.

An engine that is absent, slow or speaks nonsense costs a sentence, never the caller's answer.
"""

from __future__ import annotations

import os
import time

from portguard._namedtuple import NamedTuple
from portguard.engines import command, containers, endpoint, http
from portguard.errors import LookupFailedError
from portguard.rules.attribution import publishes_nothing
from portguard.rules.engines import DEFAULT, ENGINES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from portguard.engines.endpoint import EngineEndpoint
    from portguard.rules.attribution import Running
    from portguard.rules.engines import Engine

DEADLINE = 1.0  # seconds, for all local engines together
_COMMAND_DEADLINE = 5.0  # seconds, for an engine on another machine
_LEAST = 0.1  # seconds, for the sockets here after a command that took all of it
_MOST_INSPECTED = 32  # containers of one project without any port; more says nothing new


class Answer(NamedTuple):
    """`containers` that run; `failures` says in a sentence each which engine did not answer, and why.

    `primary` is the endpoint `docker` itself would use, None if its configuration is broken; `has_answered` tells
    whether that one did. `endpoints` has the engine each container was found on, by its identifier.
    """

    containers: tuple[Running, ...]
    failures: tuple[str, ...]
    primary: EngineEndpoint | None
    has_answered: bool
    endpoints: Mapping[str, EngineEndpoint]


def ask(environ: Mapping[str, str], *, deadline: float = DEADLINE) -> Answer:
    """Return what runs on docker's own engine and on further local ones. Never raises.

    An engine whose socket does not exist is not a failure: most machines have not got both.
    """
    end = time.monotonic() + deadline
    failures: list[str] = []
    found: dict[str, Running] = {}
    endpoints: dict[str, EngineEndpoint] = {}
    has_answered = False
    primary: EngineEndpoint | None = None
    try:
        primary = endpoint.find_endpoint(environ)
    except LookupFailedError as error:
        failures.append(error.message)
    if primary is not None and primary.socket is None:
        try:
            commanded = command.running(DEFAULT, environ, deadline=_COMMAND_DEADLINE if primary.is_remote else deadline)
            has_answered = True
        except LookupFailedError as error:
            commanded = ()
            failures.append(f"{primary.origin}: {error.message}")
        found.update({running.identity.id: running for running in commanded})
        endpoints.update(dict.fromkeys(found, primary))
    here = _with_socket(primary, environ)
    questions = [(engine.socket or "", "/containers/json") for engine in here]
    for engine, reply in zip(here, http.ask_all(questions, deadline=max(_LEAST, end - time.monotonic())), strict=True):
        try:
            answer = http.parse(reply, engine.socket or "")
        except LookupFailedError as error:
            failures.append(f"{engine.origin}: {error.message}")
            continue
        if not isinstance(answer, list):
            failures.append(f"{engine.origin}: {engine.socket}: the engine's answer is not a list of containers")
            continue
        has_answered |= engine is primary
        name = _who_answered(reply, engine.engine)
        listed = containers.from_list(answer, name)
        own_list = ENGINES[name].own_list
        if own_list is not None:
            left = max(_LEAST, end - time.monotonic())
            listed = _with_own_ports(listed, name, engine.socket or "", own_list, left)
        for running in listed:
            found.setdefault(running.identity.id, running)
            endpoints.setdefault(running.identity.id, engine._replace(engine=name))
    return Answer(tuple(found.values()), tuple(failures), primary, has_answered, endpoints)


def _who_answered(reply: http.Reply | LookupFailedError, expected: str) -> str:
    """Return the name of the engine that its own headers tell, else that of the one expected at the socket."""
    if isinstance(reply, http.Reply):
        return next((engine.name for engine in ENGINES.values() if reply.is_from(engine)), expected)
    return expected


def _with_own_ports(
    listed: tuple[Running, ...], engine: str, socket: str, resource: str, deadline: float
) -> tuple[Running, ...]:
    """Return the containers with the ports that the engine's own list has, if it answers.

    In Docker's list, Podman 4.3.1 leaves out all of a range but the first.
    """
    if not any(running.ports for running in listed):
        return listed
    try:
        own = containers.from_ps(http.get(socket, resource, deadline=deadline), engine)
    except LookupFailedError:
        return listed
    ports = {running.identity.id: running.ports for running in own}
    return tuple(running._replace(ports=ports.get(running.identity.id) or running.ports) for running in listed)


def _with_socket(primary: EngineEndpoint | None, environ: Mapping[str, str]) -> list[EngineEndpoint]:
    """Return the engines here that have a socket, each once however many names it has, docker's own first."""
    found: dict[str, EngineEndpoint] = {}
    if primary is not None and primary.socket is not None and os.path.exists(primary.socket):
        found[os.path.realpath(primary.socket)] = primary
    for other in [] if primary is not None and primary.is_remote else endpoint.others(environ):
        found.setdefault(os.path.realpath(other.socket or ""), other)
    return list(found.values())


def ask_command(engine: Engine, environ: Mapping[str, str], *, deadline: float = DEADLINE) -> tuple[Running, ...]:
    """Return what an engine runs, by its command; nothing if it is not installed. Raises LookupFailedError."""
    import shutil  # not for engines that have a socket

    if shutil.which(engine.name, path=environ.get("PATH")) is None:
        return ()
    return command.running(engine, environ, deadline=deadline)


def services(engine: EngineEndpoint, *, deadline: float = DEADLINE) -> tuple[Running, ...]:
    """Return the swarm services whose ports this engine publishes itself; none if it is not a manager of a swarm.

    For a holder that is dockerd, and no container's. Never raises.
    """
    if engine.socket is None:
        return ()
    try:
        return containers.from_services(http.get(engine.socket, "/services", deadline=deadline))
    except LookupFailedError:  # 503: "This node is not a swarm manager"
        return ()


def inspect(
    engine: EngineEndpoint, identifier: str, *, environ: Mapping[str, str] | None = None, deadline: float = DEADLINE
) -> Running | None:
    """Return one running container in full, None if the engine does not know it (any more).

    Only here its restart policy and what it asked for are known. An engine without a socket is asked by the docker
    command, with `environ`; without that, None. Raises LookupFailedError.
    """
    if not (identifier.isascii() and identifier.isalnum()):
        return None
    if engine.socket is not None:
        reply = http.ask_all([(engine.socket, f"/containers/{identifier}/json")], deadline=deadline)[0]
        if isinstance(reply, http.Reply) and reply.status == 404:
            return None
        found = containers.from_inspect([http.parse(reply, engine.socket)], engine.engine)
    else:
        found = () if environ is None else command.inspected(DEFAULT, [identifier], environ, deadline=_COMMAND_DEADLINE)
    return found[0] if found else None


def publishing_nothing(answer: Answer, project: str, *, deadline: float = DEADLINE) -> tuple[Running, ...]:
    """Return the containers of a compose project that run and publish nothing, though they ask for ports (moby#51758).

    Costs one request for each of its containers that has no published port, all at once. Never raises; what cannot be
    asked is left out.
    """
    mine = [
        running
        for running in answer.containers
        if running.identity.compose is not None
        and running.identity.compose.project == project
        and not running.ports
        and not running.is_host_network
    ][:_MOST_INSPECTED]
    end = time.monotonic() + deadline
    known = [running for running in mine if running.asked]
    questions = [
        (engine, running.identity.id)
        for running in mine
        if not running.asked and (engine := answer.endpoints.get(running.identity.id)) is not None
        if engine.socket is not None and running.identity.id.isascii() and running.identity.id.isalnum()
    ]
    paths = [(engine.socket or "", f"/containers/{identifier}/json") for engine, identifier in questions]
    for (engine, _), reply in zip(questions, http.ask_all(paths, deadline=end - time.monotonic()), strict=True):
        try:
            known += containers.from_inspect([http.parse(reply, engine.socket or "")], engine.engine)
        except LookupFailedError:
            continue
    return tuple(running for running in known if publishes_nothing(running))
