"""Stopping a container through its engine, as `docker stop` does: its own signal first, its own patience."""

from __future__ import annotations

from portguard.engines import command, http
from portguard.errors import LookupFailedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from portguard.engines.endpoint import EngineEndpoint

_DEADLINE = 60.0  # seconds; a container has ten if no one set it (docker-container-stop(1), --time)
_DONE = (204, 304)  # stopped, and was stopped already (Docker Engine API, ContainerStop)


def stop(
    engine: str,
    identifier: str,
    where: EngineEndpoint | None,
    environ: Mapping[str, str],
    *,
    deadline: float = _DEADLINE,
) -> str | None:
    """Stop a container by its full identifier and wait for that; return None if it is done, else what went wrong.

    `where` is the engine it was found on; without a socket there, or without it, the command of `engine` ("docker" or
    "podman") is asked.
    """
    if not (identifier.isascii() and identifier.isalnum()):
        return "its identifier is invalid"
    try:
        if where is None or where.socket is None:
            command.stop(engine, identifier, environ, deadline=deadline)
            return None
        resource = f"/containers/{identifier}/stop"
        reply = http.ask_all([(where.socket, resource)], method="POST", deadline=deadline)[0]
    except LookupFailedError as error:
        return error.message
    if isinstance(reply, LookupFailedError):
        return reply.message
    return None if reply.status in _DONE else f"the engine answered {reply.status or 'nothing that is HTTP'}"
