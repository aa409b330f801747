"""Whose container it is: ours, a leftover of ours, another checkout's, another project's; and what to type. Pure.

The rule follows what `compose up` does: it leaves the very service's own container alone, fails on any other holder,
and takes over containers of another directory that goes by the same project name. Labels are anyone's to write: a
command is built from them only when they look like what compose itself would write.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.rules import engines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Literal

    from portguard.model import Container, Holder

    Relation = Literal["ours", "oneoff", "other-service", "orphan", "other-checkout", "other-project", "plain"]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Claim(NamedTuple):
    """A holder that is a container, and what that is to us."""

    relation: Relation
    holder: Holder


class OwnStack(NamedTuple):
    """The compose project we are: its name, its real directory, and its services (None: not known)."""

    name: str
    directory: str
    services: Collection[str] | None


def relate(
    service: str | None, stack: OwnStack, container: Container, directory: str | None, *, is_oneoff: bool
) -> Relation:
    """Return what a container that holds a port declared for `service` (None: for no one's in particular) is to us.

    `directory` is the real path of the container's compose directory, None if it has none or it is unknown.
    """
    compose = container.compose
    if compose is None:
        return "plain"
    if compose.project != stack.name:
        return "other-project"
    if directory != stack.directory:
        return "other-checkout"
    if is_oneoff:
        return "oneoff"
    if service is not None and compose.service == service:
        return "ours"
    if stack.services is None or compose.service in stack.services:
        return "ours" if service is None else "other-service"
    return "orphan"


def describe(container: Container) -> str:
    """Return the container as the subject of a sentence; foreign strings raw."""
    kind = engines.known(container.engine).kind
    text = f"{kind} {container.name or container.id[:12]}" if container.id else f"a {kind}"
    if container.compose is not None:
        text += f" (service {container.compose.service or '?'} of compose project {container.compose.project})"
    elif container.image:
        text += f" (image {container.image})"
    return text


def why(relation: Relation, container: Container) -> str:
    """Return what is the matter with this holder, as the rest of a sentence; "" where nothing more is to be said."""
    compose = container.compose
    place = compose.working_dir if compose is not None else None
    if relation == "other-checkout":
        where = f"in {place}" if place else "of an unknown directory"
        return f", of another checkout {where} with our project's name: `up` here would take it over"
    if relation == "other-project" and place:
        return f" in {place}"
    return {
        "oneoff": ", left over from a `compose run`",
        "other-service": ", another service of this project",
        "orphan": ", a service that this project no longer has",
    }.get(relation, "")


def command(relation: Relation, container: Container, port: int, *, has_compose: bool) -> str:
    """Return the command that frees `port`, or finds the container where the engine could not be asked.

    It is made of checked words; `has_compose` tells that the compose plugin is there to run it.
    """
    engine = engines.known(container.engine)
    compose = container.compose
    if not container.id:
        return engine.find.format(port=port)
    stop = f"{engine.name} stop {_word(container.name) or container.id[:12]}"
    if compose is None or not has_compose or not engine.has_compose:
        return stop
    project, service = _word(compose.project), _word(compose.service or "")
    if relation == "orphan":
        return "docker compose up -d --remove-orphans"
    if relation == "other-service" and service:
        return f"docker compose stop {service}"
    if relation in ("other-project", "other-checkout") and project and service:
        return f"docker compose -p {project} stop {service}"
    return stop


def _word(text: str) -> str:
    """Return `text` if it is what engines and compose accept as a name, and so harmless to any shell; else ""."""
    is_name = bool(text) and len(text) <= 128 and text[0] in _LETTERS and not text.strip(_LETTERS + "_.-")
    return text if is_name else ""
