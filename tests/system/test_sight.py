"""Partial sight: whatever a process cannot see of its host, what it is told is true. Verdicts stay, owners shrink.

The real command runs in each profile of `tests/worlds/sights.py`; what it says is held against real servers' attempts
and against what the profile shows by its nature.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.sight_judge import commands, spared, spelled, targets, wrongs
from tests.tally import Tally, counted
from tests.worlds import sandbox, sights, users
from tests.worlds.capabilities import NOBODY
from tests.worlds.sights import KNOWN, PROFILES, ROOT, Outside, Profile, World

pytestmark = pytest.mark.needs("netns", "users", "ipv6")


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    """Count, and print the figures at the end (with -s)."""
    with counted("sight", "profiles") as tally:
        yield tally


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Build the world once: the questions change nothing in it."""
    with sights.build() as built:
        yield built


@pytest.mark.parametrize(
    "profile", [pytest.param(one, marks=() if one.is_daily else pytest.mark.slow, id=str(one)) for one in PROFILES]
)
def test_in_every_profile_each_command_says_what_is_so(profile: Profile, world: World, tally: Tally) -> None:
    """In every profile each command says what is so, as far as it can be seen, and admits the rest."""
    profile.require()
    wrong = wrongs(profile, world)
    tally.rows.add(str(profile))
    tally.cells += len(commands(profile))
    tally.wrong += len({sentence.partition(":")[0] for sentence in wrong})
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_for_people_and_for_real(profile: Profile, world: World) -> None:
    """In text nothing breaks either; and the server inside is ended where it is provably this user's, else it lives."""
    profile.require()
    sockets = world.asked_about(profile)
    listening = [f"{held.port}/{held.protocol}" for held in sockets if held.is_listening]
    seen = sights.ask(
        profile,
        world,
        {
            "check": ["check", *map(spelled, targets(sockets, world.free))],
            "who": ["who", "SIBLING", *listening],
            "list": ["list", "--all", "--by-project"],
            "free": ["free", "--json"],
            "plan": ["kill", "--dry-run", "SIBLING", *listening],
            "kill": ["kill", "--yes", "--force", *spared(profile, sockets)],
            "end": ["kill", "--yes", "--force", "SIBLING"],
        },
        [],
    )
    for name, said in seen.answers.items():
        assert "Traceback" not in said.err, name
        assert said.exit_code in (0, 1, 3), name
        assert said.out if said.exit_code != 3 else "next: " in said.err, name
    assert all(users.is_running(held.pid) for held in sockets)
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
    """Where /proc numbers processes as we do not, no one is told to end a number that is another process here."""
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
    assert "no socket table here shows who holds it" in done.stdout
    assert "no process here" not in done.stdout


@pytest.mark.needs("pidns")
@pytest.mark.skipif(not sandbox.can_forbid, reason="no seccomp filter for this processor")
@pytest.mark.parametrize(
    ("name", "options", "exit_code"),
    [("free", [], 0), ("root's", [], 1), ("privileged", [], 0), ("privileged", ["--strict"], 3)],
)
def test_exit_codes_of_the_blind(world: World, name: str, options: list[str], exit_code: int) -> None:
    """With no table at all, free is 0, busy is 1, and what is unknown fails only under --strict."""
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
