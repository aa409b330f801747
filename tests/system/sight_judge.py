"""What is asked in a profile of `tests/worlds/sights.py`, and whether the answers are what is so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tests.worlds import sights, users
from tests.worlds.sights import FAILED, KNOWN, NONE, ROOT, Outside, Profile, Seen, World

COMMANDS = ("check", "who", "list", "free", "kill")
_MISSING = ("EADDRNOTAVAIL", "EAFNOSUPPORT")

Target = tuple[str, str | None, int]  # protocol, address (None: every one), port


# ---------------------------------------------------------------- what is asked


def spelled(target: Target) -> str:
    """Return a target as it is typed."""
    protocol, address, port = target
    place = "" if address is None else f"[{address}]:" if ":" in address else f"{address}:"
    return f"{place}{port}/{protocol}"


def targets(sockets: Iterable[Outside], free: Iterable[int]) -> list[Target]:
    """Return what is checked: every port, and root's also on one address of each family."""
    found: list[Target] = [(held.protocol, None, held.port) for held in sockets]
    found += [("tcp", None, port) for port in free]
    found += [(held.protocol, one, held.port) for held in sockets if held.uid == ROOT for one in ("127.0.0.1", "::1")]
    return found


def spared(profile: Profile, sockets: Iterable[Outside]) -> list[str]:
    """Return what `kill` must leave alone: whatever is not provably held by a process of the user who asks."""
    found = [
        f"{held.port}/{held.protocol}"
        for held in sockets
        if held.is_listening and not (held.uid == profile.uid and profile.status(held.uid) == KNOWN)
    ]
    return found if profile.sibling == KNOWN and profile.is_killable else [*found, "SIBLING"]


def commands(profile: Profile) -> tuple[str, ...]:
    """Return what is asked every day: `kill`, the slowest, where not even this user's own server outside is proven."""
    return COMMANDS if profile.status(profile.uid) != KNOWN else COMMANDS[:-1]


def questions(profile: Profile, sockets: tuple[Outside, ...], free: tuple[int, ...]) -> dict[str, list[str]]:
    """Return the commands; `kill` is asked for real."""
    listening = [held for held in sockets if held.is_listening]
    asked = {
        "check": ["check", "--json", *map(spelled, targets(sockets, free))],
        "who": ["who", "--json", *(f"{held.port}/{held.protocol}" for held in listening), "SIBLING/tcp"],
        "list": ["list", "--json"],
        "free": ["free", "--json"],
        "kill": ["kill", "--json", "--yes", "--force", *spared(profile, sockets)],
    }
    return {name: asked[name] for name in commands(profile)}


# ---------------------------------------------------------------- what must be so


class Judge:
    """Holds one profile's answers against what is so."""

    def __init__(self, profile: Profile, world: World, seen: Seen) -> None:
        self.profile = profile
        self.here = world.sockets[profile.network]
        self.asked = world.asked_about(profile)
        self.free = world.free
        self.seen = seen

    def status_of(self, held: Outside) -> str:
        """Return what must be known of the owner of a socket that shows in a table."""
        return self.profile.status(held.uid) if self.profile.has_table else FAILED

    def verdict(self, target: Target) -> tuple[str, str, str | None]:
        """Return verdict, cause and the owner's status, by real servers' attempts."""
        protocol, address, port = target
        wanted = ("0.0.0.0", "::") if address is None else (address,)
        errors = {one: self.seen.binds[protocol, one, port] for one in wanted}
        if address is None:
            errors = {one: error for one, error in errors.items() if error not in _MISSING}
        held = next((item for item in self.here if (item.protocol, item.port) == (protocol, port)), None)
        if "EADDRINUSE" in errors.values():
            assert held is not None
            if not held.is_listening and not self.profile.has_netlink:
                return "conflict", "none", NONE if self.profile.has_table else FAILED
            cause = "listener" if held.is_listening else held.state
            return "conflict", cause if self.profile.has_table else "none", self.status_of(held)
        if "EACCES" in errors.values():  # the one case that the table decides
            if not self.profile.has_table:
                return "unknown", "permission", None
            is_busy = (held is not None and "0.0.0.0" in errors) or (held is not None and address == "127.0.0.1")
            if is_busy and held is not None:
                return "conflict", "listener", self.status_of(held)
            return "unavailable", "permission", None
        if not errors or set(errors.values()) & set(_MISSING):
            return "unavailable", "address-not-local", None
        return "free", "none", None

    def check(self, document: dict[str, Any]) -> Iterator[str]:
        """Say where the verdict is not that of a real bind, or the owner a guess."""
        wanted = targets(self.asked, self.free)
        verdicts = [self.verdict(target) for target in wanted]
        for target, verdict, port in zip(wanted, verdicts, document["data"]["ports"], strict=True):
            holder = next(iter(port["holders"]), None)
            told = port["verdict"], port["cause"], holder and holder["owner_status"]
            if told != verdict:
                yield f"{spelled(target)}: {told}, not {verdict}"
            if holder is not None:
                yield from self.owner(holder, spelled(target))
        code = 1 if any(verdict in ("conflict", "unavailable") for verdict, _, _ in verdicts) else 0
        if document["exit_code"] != code:
            yield f"exit code {document['exit_code']}, not {code}"

    def who(self, document: dict[str, Any]) -> Iterator[str]:
        """Say where an owner is neither named nor said to be unknown for the right reason."""
        if not self.profile.has_table:
            yield from self.unreadable(document)
            return
        code = 0 if self.here else 1
        if document["exit_code"] != code:
            yield f"exit code {document['exit_code']}, not {code}"
        *outside, sibling = document["data"]["ports"]
        for held, port in zip([item for item in self.asked if item.is_listening], outside, strict=True):
            told = [holder["owner_status"] for holder in port["holders"]]
            expected = [self.status_of(held)] if self.here else []
            if told != expected:
                yield f"{held}: {told}, not {expected}"
            for holder in port["holders"]:
                yield from self.owner(holder, str(held))
        if [holder["owner_status"] for holder in sibling["holders"]] != [self.profile.sibling]:
            yield f"the server inside: {sibling}"

    def listing(self, document: dict[str, Any]) -> Iterator[str]:
        """Say what is missing of what listens in this network, what does not, and which owners are wrong."""
        if not self.profile.has_table:
            yield from self.unreadable(document)
            return
        found = {(item["protocol"], item["port"]): item for item in document["data"]["listeners"]}
        expected = {(held.protocol, held.port): self.status_of(held) for held in self.here if held.is_listening}
        expected["tcp", self.seen.sibling_port] = self.profile.sibling
        told = {key: item["owner_status"] for key, item in found.items()}
        if told != expected:
            yield f"{told}, not {expected}"
        for key, item in found.items():
            yield from self.owner(item, str(key))
            if item["owner_status"] == KNOWN and item["processes_complete"] is not self.profile.is_whole:
                yield f"{key}: processes_complete is {item['processes_complete']}"

    def free_port(self, document: dict[str, Any]) -> Iterator[str]:
        """Say where the port does not bind on every address that there is, or is not leased without a reason."""
        (port,) = document["data"]["ports"]
        if set(self.seen.regained) - {None, *_MISSING} or None not in self.seen.regained:
            yield f"{port} does not bind: {self.seen.regained}"
        reason, told = self.profile.unleased, self.seen.answers["free"].err
        if port["leased"] is not (reason is None):
            yield f"leased: {port['leased']}"
        if reason is not None and not ("not leased" in told and reason in told):
            yield f"no reason: {told}"

    def kill(self, document: dict[str, Any]) -> Iterator[str]:
        """Say who was not left alone of those who are not provably processes of this user."""
        if not self.profile.has_table:
            yield from self.unreadable(document)
        else:
            for port in document["data"]["ports"]:
                expected = "refused" if self.here or port["port"] == self.seen.sibling_port else "nobody"
                if port["status"] != expected:
                    yield f"{port['target']}: {port['status']}, not {expected}"
        if not all(users.is_running(held.pid) for held in self.here) or not self.seen.is_sibling_alive:
            yield "somebody died"

    def owner(self, holder: dict[str, Any], what: str) -> Iterator[str]:
        """Say where a process is named that is not known, or is not the right one."""
        pids = [process["pid"] for process in holder["processes"]]
        held = next((item for item in self.here if item.port == holder["port"]), None)
        right = [held.pid if held is not None else self.seen.sibling_pid] if holder["owner_status"] == KNOWN else []
        if pids != right:
            yield f"{what}: processes {pids}, not {right}"

    def unreadable(self, document: dict[str, Any]) -> Iterator[str]:
        """Say where it is not the answer that no table can be read, and why."""
        codes = [error["code"] for error in document["errors"]]
        if (document["exit_code"], codes) != (3, ["lookup-failed"]):
            yield f"exit code {document['exit_code']}, {document['errors']}"

    def wrong(self) -> list[str]:
        """Return what is wrong, a sentence each."""
        judges = dict(zip(COMMANDS, (self.check, self.who, self.listing, self.free_port, self.kill), strict=True))
        found = []
        for name in commands(self.profile):
            said = self.seen.answers[name]
            if "Traceback" in said.err or not said.out:
                found.append(f"{name}: exit code {said.exit_code}, {said.err}")
                continue
            if said.document["exit_code"] != said.exit_code:
                found.append(f"{name}: exit code {said.exit_code}")
            found += [f"{name}: {sentence}" for sentence in judges[name](said.document)]
        return found


def wrongs(profile: Profile, world: World) -> list[str]:
    """Ask everything in a profile, and return what is wrong, a sentence each that begins with its command."""
    sockets = world.asked_about(profile)
    endpoints = [
        (protocol, address, port)
        for protocol, port in dict.fromkeys((protocol, port) for protocol, _, port in targets(sockets, world.free))
        for address in sights.ADDRESSES
    ]
    seen = sights.ask(profile, world, questions(profile, sockets, world.free), endpoints)
    return Judge(profile, world, seen).wrong()
