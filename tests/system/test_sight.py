"""Partial sight: whatever a process cannot see of its host, what it is told is true. Verdicts stay, owners shrink.

The real command runs in each profile of `tests/worlds/sights.py`; what it says is held against real servers' attempts
and against what the profile shows by its nature.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import sandbox, sights, users
from tests.worlds.capabilities import NOBODY, require
from tests.worlds.sights import FAILED, KNOWN, NONE, PROFILES, ROOT, Outside, Profile, Seen, World

pytestmark = pytest.mark.needs("netns", "users", "ipv6")

_MISSING = ("EADDRNOTAVAIL", "EAFNOSUPPORT")
_COMMANDS = ("check", "who", "list", "free", "kill")

Target = tuple[str, str | None, int]  # protocol, address (None: every one), port


class Tally:
    """What was judged, for the figures."""

    def __init__(self) -> None:
        self.profiles = self.cells = self.wrong = 0


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    """Count, and print the figures at the end (with -s)."""
    counted = Tally()
    yield counted
    print(f"\nsight: {counted.profiles} profiles, {counted.cells} cells, wrong: {counted.wrong}")  # noqa: T201 - the figures


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Build the world once: the questions change nothing in it."""
    directory = Path(tempfile.mkdtemp(prefix="portguard-sight-"))
    directory.chmod(0o755)
    for uid in (ROOT, NOBODY):
        home = directory / f"home-{uid}"
        home.mkdir()
        os.chown(home, uid, uid)
    try:
        with sights.build(directory) as built:
            (directory / "portguard.toml").write_text(f"[ports]\nfree = {built.free[0]}\n")
            yield built
    finally:
        shutil.rmtree(directory)


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


def is_endable(profile: Profile, held: Outside) -> bool:
    """Whether a socket's holder is provably a process of the user who asks."""
    return profile.status(held.uid) == KNOWN and held.uid == profile.uid


def questions(profile: Profile, sockets: tuple[Outside, ...], free: tuple[int, ...]) -> dict[str, list[str]]:
    """Return the commands; `kill` is asked for real about what it must leave alone."""
    listening = [held for held in sockets if held.is_listening]
    spared = [f"{held.port}/{held.protocol}" for held in listening if not is_endable(profile, held)]
    spared += [] if profile.sibling == KNOWN and profile.is_killable else ["SIBLING"]
    return {
        "check": ["check", "--json", *map(spelled, targets(sockets, free))],
        "who": ["who", "--json", *(f"{held.port}/{held.protocol}" for held in listening), "SIBLING/tcp"],
        "list": ["list", "--json"],
        "free": ["free", "--json"],
        "kill": ["kill", "--json", "--yes", "--force", *(spared or ["SIBLING", "--dry-run"])],
    }


# ---------------------------------------------------------------- what must be so


class Judge:
    """Holds one profile's answers against what is so."""

    def __init__(self, profile: Profile, world: World, seen: Seen) -> None:
        self.profile = profile
        self.here = world.sockets[profile.network]
        self.asked = self.here or world.sockets["here"]
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
                is_inside = port["port"] == self.seen.sibling_port
                expected = "refused" if self.here or is_inside else "nobody"
                if is_inside and self.profile.sibling == KNOWN and self.profile.is_killable:
                    expected = "planned"
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
        judges = (self.check, self.who, self.listing, self.free_port, self.kill)
        found = []
        for name, judge in zip(_COMMANDS, judges, strict=True):
            said = self.seen.answers[name]
            if "Traceback" in said.err or not said.out:
                found.append(f"{name}: exit code {said.exit_code}, {said.err}")
                continue
            if said.document["exit_code"] != said.exit_code:
                found.append(f"{name}: exit code {said.exit_code}")
            found += [f"{name}: {sentence}" for sentence in judge(said.document)]
        return found


@pytest.mark.parametrize(
    "profile", [pytest.param(one, marks=() if one.is_daily else pytest.mark.slow, id=str(one)) for one in PROFILES]
)
def test_every_answer(profile: Profile, world: World, tally: Tally) -> None:
    """In every profile each command says what is so, as far as it can be seen, and admits the rest."""
    require(*profile.needs)
    if profile.denied and not sandbox.can_forbid:
        pytest.skip("no seccomp filter for this processor")
    sockets = world.sockets[profile.network] or world.sockets["here"]
    endpoints = [
        (protocol, address, port)
        for protocol, port in dict.fromkeys((protocol, port) for protocol, _, port in targets(sockets, world.free))
        for address in sights.ADDRESSES
    ]
    seen = sights.ask(profile, world, questions(profile, sockets, world.free), endpoints)
    wrong = Judge(profile, world, seen).wrong()
    tally.profiles += 1
    tally.cells += len(_COMMANDS)
    tally.wrong += len({sentence.partition(":")[0] for sentence in wrong})
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_for_people_and_for_real(profile: Profile, world: World) -> None:
    """In text nothing breaks either; and the server inside is ended where it is provably this user's, else it lives."""
    require(*profile.needs)
    sockets = world.sockets[profile.network] or world.sockets["here"]
    listening = [f"{held.port}/{held.protocol}" for held in sockets if held.is_listening]
    seen = sights.ask(
        profile,
        world,
        {
            "check": ["check", *map(spelled, targets(sockets, world.free))],
            "who": ["who", "SIBLING", *listening],
            "list": ["list", "--all", "--by-project"],
            "free": ["free", "--json"],
            "kill": ["kill", "--dry-run", "SIBLING", *listening],
            "end": ["kill", "--yes", "--force", "SIBLING"],
        },
        [],
    )
    for name, said in seen.answers.items():
        assert "Traceback" not in said.err, name
        assert said.exit_code in (0, 1, 3), name
        assert said.out if said.exit_code != 3 else "next: " in said.err, name
    is_provable = profile.has_table and profile.sibling == KNOWN and profile.is_killable
    assert seen.answers["end"].exit_code == (0 if is_provable else 1 if profile.has_table else 3)
    assert seen.is_sibling_alive is not is_provable
    if profile.has_table and world.sockets[profile.network]:
        assert all(f"{held.port}/{held.protocol}" in seen.answers["list"].out for held in sockets if held.is_listening)


# ---------------------------------------------------------------- the tools themselves


def test_the_other_user_has_no_privileges(world: World) -> None:
    """The command really runs without capabilities, groups and root's files; else nothing above proves anything."""
    code = "import os; print(os.getresuid(), os.getgroups(), open('/proc/self/status').read())"
    said = users.as_user(["-c", code], NOBODY, world.networks["here"]).stdout
    assert said.startswith(f"({NOBODY}, {NOBODY}, {NOBODY}) [] ")
    assert "CapEff:\t0000000000000000" in said
    assert "CapPrm:\t0000000000000000" in said


def test_the_worlds_lack_what_they_should() -> None:
    """Each narrower world lacks what its name says, and sockets are refused, or deadly, where they should be."""
    code = "import os; print(sorted(os.listdir('/proc'))[:1], os.path.exists('/proc/net'), os.path.exists('/proc/1'))"

    def ask(without: str, uid: int, code: str = code) -> str:
        return users.as_user(["-c", code], uid, inside=users.WITHOUT[without]).stdout.strip()

    assert ask("nothing", NOBODY) == "['1'] True True"
    assert ask("proc", ROOT) == "[] False False"
    assert ask("proc-net", ROOT) == "['1'] False True"
    assert ask("other-users", NOBODY).endswith("True False")
    assert ask("other-processes", NOBODY, "import os; print(os.getpid())") == "1"
    assert ask("own-proc", ROOT, "import os; print(os.getpid(), os.readlink('/proc/self') != '1')") == "1 True"
    if not sandbox.can_forbid:
        return
    code = "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)"
    assert users.as_user(["-c", code], ROOT).returncode == 0
    denied = users.as_user(["-c", code], ROOT, preexec_fn=users.deny_netlink)
    assert "not supported" in denied.stderr
    deadly = users.as_user(["-c", code], ROOT, preexec_fn=lambda: sandbox.forbid(sandbox.AF_NETLINK, None))
    assert -deadly.returncode == signal.SIGSYS


# ---------------------------------------------------------------- in words


def held_by(world: World, uid: int) -> Outside:
    """Return a listener of that user."""
    return next(held for held in world.sockets["here"] if held.uid == uid and held.is_listening)


def run(world: World, uid: int, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as that user where the sockets are."""
    done = users.as_user(["-m", "portguard", *words], uid, world.networks["here"], **options)
    assert "Traceback" not in done.stderr
    return done


def test_a_hidden_owner(world: World) -> None:
    """For root's listener an ordinary user is told whose it is, and to use sudo; for their own, how to end it."""
    done = run(world, NOBODY, "check", str(held_by(world, ROOT).port))
    assert done.returncode == 1
    assert "(uid 0)" in done.stdout
    assert "next: run with sudo" in done.stdout
    own = held_by(world, NOBODY)
    assert f"stop it: kill {own.pid}" in run(world, NOBODY, "check", str(own.port)).stdout


@pytest.mark.needs("userns")
def test_users_without_a_number_have_no_name(world: World) -> None:
    """In a user namespace one number stands for all the users that have none there: none is called by its name."""
    port = held_by(world, ROOT).port
    profile = next(one for one in PROFILES if (one.name, one.uid) == ("user namespace", NOBODY))
    questions = {"list": ["list"], "who": ["who", str(port)], "free": ["free", "--json"]}
    answers = sights.ask(profile, world, questions, []).answers
    listed = answers["list"].out
    line = next(line for line in listed.splitlines() if line.startswith(f"{port}/tcp"))
    assert line.split()[2:5] == ["(hidden)", "-", "-"]
    assert "nobody" not in listed
    assert "uid" not in answers["who"].out


@pytest.mark.needs("pidns")
def test_numbers_of_another_namespace_are_not_told(world: World) -> None:
    """Where /proc numbers processes as we do not, nobody is told to end a number that is another process here."""
    held = held_by(world, ROOT)
    said = run(world, ROOT, "check", str(held.port), inside=users.WITHOUT["own-proc"]).stdout
    assert str(held.pid) not in said.replace(str(held.port), "")
    assert "kill" not in said


@pytest.mark.skipif(not sandbox.can_forbid, reason="no seccomp filter for this processor")
def test_a_forbidden_family_is_not_a_missing_address(world: World) -> None:
    """Where a sandbox forbids IPv6, ::1 is not said to be missing on this host."""
    done = run(world, NOBODY, "check", f"[::1]:{world.free[0]}", preexec_fn=lambda: sandbox.forbid(sandbox.AF_INET6))
    assert done.returncode == 1
    assert "unavailable" in done.stdout
    assert "a sandbox forbids" in done.stdout
    assert "no address" not in done.stdout


@pytest.mark.skipif(not sandbox.can_forbid, reason="no seccomp filter for this processor")
def test_bound_and_in_no_table(world: World) -> None:
    """Where tables leave out sockets that are only bound, it is not said that no process has it."""
    bound = next(held for held in world.sockets["here"] if not held.is_listening)
    done = run(world, ROOT, "check", str(bound.port), preexec_fn=users.deny_netlink)
    assert done.returncode == 1
    assert "no table here shows who has it" in done.stdout
    assert "no process here" not in done.stdout


@pytest.mark.needs("pidns")
@pytest.mark.skipif(not sandbox.can_forbid, reason="no seccomp filter for this processor")
@pytest.mark.parametrize(
    ("name", "options", "exit_code"),
    [("free", [], 0), ("root's", [], 1), ("privileged", [], 0), ("privileged", ["--strict"], 3)],
)
def test_exit_codes_of_the_blind(world: World, name: str, options: list[str], exit_code: int) -> None:
    """With no table at all, free is 0, busy is 1, and what could not be told fails only under --strict."""
    low = next(held.port for held in world.sockets["here"] if held.port < 1024)
    port = {"free": world.free[0], "root's": held_by(world, ROOT).port, "privileged": low}[name]
    blind: dict[str, Any] = {"inside": users.WITHOUT["proc"], "preexec_fn": users.deny_netlink}
    done = run(world, NOBODY, "check", str(port), *options, **blind)
    assert done.returncode == exit_code, done
    assert done.stderr == "" or done.stderr.startswith("note: ")
    if name == "root's":
        assert "outside the sandbox" in done.stdout


def test_shared_socket_seen_in_part(world: World) -> None:
    """Where a worker shares root's socket, its user is shown the worker, and told that this may not be all.

    This is a web server on port 80: the master is root's, its workers are not.
    """
    code = """
import os, signal, socket, sys
sock = socket.create_server(("127.0.0.1", 0))
sock.set_inheritable(True)
if os.fork() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    os.execv(sys.argv[1], [sys.argv[1], "-c",
        "import sys; print(sys.argv[1], flush=True); sys.stdin.read()", str(sock.getsockname()[1])])
sys.stdin.read()
"""
    program, environ = users.interpreter(NOBODY)
    with subprocess.Popen(
        world.networks["here"].argv([program, "-c", code, program]),
        env=dict(environ), cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as master:  # fmt: skip
        assert master.stdin is not None
        assert master.stdout is not None
        try:
            port = master.stdout.readline().strip()
            by_user: dict[int, Any] = {}
            for uid in (ROOT, NOBODY):
                done = run(world, uid, "check", "--json", f"127.0.0.1:{port}")
                assert done.returncode == 1
                by_user[uid] = json.loads(done.stdout)["data"]["ports"][0]["holders"][0]
        finally:
            master.stdin.close()
            master.wait(60)
    pids = {uid: {process["pid"] for process in holder["processes"]} for uid, holder in by_user.items()}
    assert len(pids[ROOT]) == 2
    assert master.pid in pids[ROOT]
    assert pids[NOBODY] == pids[ROOT] - {master.pid}
    assert by_user[NOBODY]["processes_complete"] is False
