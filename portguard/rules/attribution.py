"""Whose container a port belongs to, and what a control group tells. Pure: records and text in, an answer out.

A container is believed only where its engine says that it publishes that very endpoint, and where the process that
holds it is known to forward for engines, or cannot be seen. Labels and names are anyone's to write: they are compared
and handed on, never trusted.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.rules import engines
from portguard.rules.addresses import ANY_V4, ANY_V6, canonical, is_mapped, is_v6
from portguard.rules.ranges import decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from portguard.model import Container

_ID_LENGTH = 64
_HEX = frozenset("0123456789abcdef")
# systemd.unit(5): "ASCII letters, digits, ":", "-", "_", ".", and "\\"", "@" for instances; up to 255 characters.
_UNIT_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\@")
_UNIT_LENGTH = 255
_UID_DIGITS = 10  # of 32 bits


class Published(NamedTuple):
    """A port published on the host. `address` is as the engine says it; "" where it says none: then it is every one.

    In what a container's configuration asks for, `port` is 0 for "any", and for a range of which one will do.
    """

    address: str
    port: int
    target: int
    protocol: str

    @property
    def is_wildcard(self) -> bool:
        """Whether it is published on every address, of one family at least."""
        return self.address in ("", ANY_V4, ANY_V6)


class Running(NamedTuple):
    """A container that runs: who it is, what it publishes, and what else decides whose port it is.

    `asked` is what its configuration wants published (empty where the source does not tell: only `inspect` does);
    `is_oneoff` is a leftover of `compose run`; `restart_policy` None for none or not told; `addresses` are its own on
    the engine's networks; `state` the engine's word ("running", "paused", "restarting"); `is_service` marks a swarm
    service, whose identity is the service's.
    """

    identity: Container
    ports: tuple[Published, ...]
    is_host_network: bool = False
    is_oneoff: bool = False
    restart_policy: str | None = None
    addresses: tuple[str, ...] = ()
    asked: tuple[Published, ...] = ()
    state: str = "running"
    is_service: bool = False


def match(
    protocol: str, address: str, port: int, containers: Iterable[Running], *, forwarder: str | None = None
) -> Running | None:
    """Return the container that publishes the endpoint a holder has, None if none does.

    A container published on exactly the holder's address comes before one published on every address; of several that
    fit as well (two engines that both claim it) the one whose engine uses such a `forwarder`.
    """
    best: tuple[tuple[int, bool], Running] | None = None
    engine = engines.engine_of((forwarder,))
    for running in containers:
        fits = [
            _closeness(published.address, address)
            for published in running.ports
            if published.port == port and published.protocol == protocol
        ]
        rank = (max(fits, default=0), engine is not None and engine.name == running.identity.engine)
        if rank[0] and (best is None or rank > best[0]):
            best = (rank, running)
    return None if best is None else best[1]


def _closeness(published: str, held: str) -> int:
    """Return 0 if a socket on `held` cannot be there for `published`; the higher, the likelier it is.

    A forwarder may listen on one address for a wildcard (a virtual machine's on the loopback address alone), or on `::`
    for both families. Nothing listens on the wildcard for what is published on one address.
    """
    published, held = _plain(published), _plain(held)
    if published == held:
        return 4
    if published == "":
        return 3
    if published in (ANY_V4, ANY_V6):
        return 2 if is_v6(published) == is_v6(held) else 1
    return 0


def _plain(address: str) -> str:
    """Return `address` as the kernel prints it, without a scope, IPv4-mapped ones as IPv4; others as they are."""
    bare = address.partition("%")[0]
    known = canonical(bare) if is_v6(bare) else bare
    if known is None:
        return bare
    return known.rpartition(":")[2] if is_mapped(known) else known


def by_id(identifier: str | None, containers: Iterable[Running]) -> Running | None:
    """Return the container of this full identifier, such as `container_id_of` finds; None without one.

    Anyone who owns a control group can give one below it any name: only what an engine lists is a container.
    """
    if identifier is None:
        return None
    return next((running for running in containers if running.identity.id == identifier), None)


def by_address(address: str, containers: Iterable[Running]) -> Running | None:
    """Return the container that has this address on an engine's network, as docker-proxy names its target."""
    wanted = _plain(address)
    return next((running for running in containers if wanted in map(_plain, running.addresses)), None)


def publishes_nothing(running: Running) -> bool:
    """Whether it runs without any published port although its configuration asks for some (moby#51758).

    Engine 29 starts such a container when its first start failed; nothing but recreating it helps. A container that
    is being restarted publishes nothing for a moment, and one on the host's network never does.
    """
    is_up = running.state in ("running", "paused")
    return is_up and bool(running.asked) and not running.ports and not running.is_host_network


# ---------------------------------------------------------------- control groups: /proc/PID/cgroup


def container_id_of(cgroup: str) -> str | None:
    """Return the identifier of the innermost container that the text of /proc/PID/cgroup names, None outside any.

    Known shapes of the last part of a path, in version 1 and 2 alike: `<id>` (docker, containerd, CRI with cgroupfs),
    `docker-<id>.scope`, `libpod-<id>.scope` with anything below it, `libpod-payload-<id>`, `cri-containerd-<id>.scope`,
    `<slice>:cri-containerd:<id>`. A process in conmon's own group is taken for that container's, which it serves.
    """
    for _, _, path in _hierarchies(cgroup):
        for part in reversed(path.split("/")):
            identifier = part.removesuffix(".scope").rpartition(":")[2].rpartition("-")[2]
            if is_container_id(identifier):
                return identifier
    return None


def is_container_id(text: str) -> bool:
    """Whether `text` is a full container identifier: 64 hexadecimal digits in lower case."""
    return len(text) == _ID_LENGTH and _HEX.issuperset(text)


def unit_of(cgroup: str) -> tuple[str, bool] | None:
    """Return the systemd service the text of /proc/PID/cgroup names, and whether it is one of a user's manager.

    As systemd reads it (systemd, src/basic/cgroup-util.c): slices, then the unit; below `user@UID.service` the same
    again. A scope (a login session, a terminal, a container) is not a service, and neither is `user@UID.service`
    itself: anyone who stops that ends everything the user runs. A container's inside is not its engine's service; only
    podman, told to, runs a container within the unit that started it.
    """
    paths = {controllers: path for _, controllers, path in _hierarchies(cgroup)}
    # Mixed set-ups have both; systemd keeps the first.
    parts = [part for part in paths.get("name=systemd", paths.get("", "")).split("/") if part]
    if container_id_of(cgroup) is not None and not any(part.startswith("libpod-payload-") for part in parts):
        return None
    name, below = _first_unit(parts)
    is_user_unit = name.startswith("user@")
    if is_user_unit:
        name, _ = _first_unit(below)
    return (name, is_user_unit) if is_service_name(name) else None


def user_of(cgroup: str) -> int | None:
    """Return the user whose systemd manager runs the process, by the text of /proc/PID/cgroup; None for none."""
    for _, _, path in _hierarchies(cgroup):
        for part in path.split("/"):
            text = part.removeprefix("user@").removesuffix(".service")
            number = decimal(text, _UID_DIGITS)
            if number is not None and part == f"user@{text}.service":
                return number
    return None


def sudo_uid(environ: Mapping[str, str], *, is_root: bool) -> int | None:
    """Return the user who called us through sudo (sudo(8)); None for no one, and for anyone but root who says so."""
    return decimal(environ.get("SUDO_UID", ""), _UID_DIGITS) if is_root else None


def is_service_name(name: str) -> bool:
    """Whether `name` may be the name of a systemd service: safe as an operand, yet to be quoted for a shell."""
    stem = name.removesuffix(".service")
    return stem not in ("", name) and len(name) <= _UNIT_LENGTH and _UNIT_CHARACTERS.issuperset(name)


def _first_unit(parts: list[str]) -> tuple[str, list[str]]:
    """Return the first part that is not a slice, and what is below it.

    A name that would look like one of the kernel's own files has an underscore before it (cg_escape). Escapes within
    a name, as of a dash in an instance's path, are part of the unit's real name: systemctl wants them.
    """
    for index, part in enumerate(parts):
        if not part.endswith(".slice"):
            return part.removeprefix("_"), parts[index + 1 :]
    return "", []


def _hierarchies(cgroup: str) -> Iterator[tuple[str, str, str]]:
    """Yield (number, controllers, path) of each line (cgroups(7)); a path may contain colons."""
    for line in cgroup.split("\n"):
        number, colon, rest = line.partition(":")
        controllers, second, path = rest.partition(":")
        if colon and second:
            yield number, controllers, path.removesuffix(" (deleted)")
