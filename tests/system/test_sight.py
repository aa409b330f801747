"""Partial sight: other users, hidden processes, no /proc, no netlink. The verdict stays right, only the owner is lost.

The real command runs in each world; what it says about a port is held against a real server's attempt to get it.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.worlds import netns, users
from tests.worlds.capabilities import NOBODY

pytestmark = pytest.mark.needs("netns", "users", "ipv6")

ROOT = 0

# A server that binds and listens on all addresses, as servers do: IPv4 and an IPv6-only socket.
_TRY = """
import json, socket, sys
answers = {}
for port in map(int, sys.argv[1:]):
    answers[port] = True
    opened = []
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.append(sock)
        try:
            sock.bind((address, port))
            sock.listen()
        except OSError:
            answers[port] = False
    for sock in opened:
        sock.close()
print(json.dumps(answers))
"""


class World(NamedTuple):
    """A private network with a port of every kind, by what it is; root's and the other user's sockets."""

    ns: netns.PrivateNetns
    ports: dict[str, int]
    pids: dict[str, int]

    def real(self, uid: int) -> dict[str, bool]:
        """Tell for each port whether a real server of that user gets it now."""
        done = users.as_user(["-c", _TRY, *map(str, self.ports.values())], uid, self.ns)
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout)
        return {name: answers[str(port)] for name, port in self.ports.items()}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Build the world once: the checks change nothing in it."""
    low = random.sample(range(200, 1000), 2)
    with netns.private_netns() as ns:
        roots = [
            ("tcp", "0.0.0.0", 0, "listen"),
            ("tcp", "0.0.0.0", low[0], "listen"),
            ("tcp", "127.0.0.1", 0, "bound"),
        ]
        mine = [("tcp", "127.0.0.1", 0, "listen"), ("tcp", "::1", 0, "listen")]
        free = [("tcp", "0.0.0.0", 0, "listen")]
        with users.holding(roots, ROOT, ns) as root, users.holding(mine, NOBODY, ns) as nobody:
            with users.holding(free, ROOT, ns) as gone:
                pass
            ports = {
                "root's": root.ports[0],
                "privileged busy": root.ports[1],
                "bound": root.ports[2],
                "nobody's": nobody.ports[0],
                "nobody's v6": nobody.ports[1],
                "free": gone.ports[0],
                "privileged free": low[1],
            }
            yield World(ns, ports, {"root": root.pid, "nobody": nobody.pid})


class Answer(NamedTuple):
    """What the command said: its exit code, and by the name of the port what it reports."""

    exit_code: int
    reports: dict[str, dict[str, Any]]

    def table(self) -> dict[str, tuple[str, str, str | None]]:
        """Return verdict, cause and owner status of each port."""
        return {
            name: (report["verdict"], report["cause"], next((h["owner_status"] for h in report["holders"]), None))
            for name, report in self.reports.items()
        }


def check(world: World, uid: int, *names: str, without: str = "nothing", netlink: bool = True) -> Answer:
    """Run the command on these ports (default: all) as that user, where something is missing."""
    chosen = {name: world.ports[name] for name in names or world.ports}
    done = users.as_user(
        ["-m", "portguard", "check", "--json", *map(str, chosen.values())],
        uid,
        world.ns,
        inside=users.WITHOUT[without],
        preexec_fn=None if netlink else users.deny_netlink,
    )
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode
    assert document["ok"] == (done.returncode == 0)
    assert document["errors"] == []
    return Answer(done.returncode, dict(zip(chosen, document["data"]["ports"], strict=True)))


# ---------------------------------------------------------------- the tools themselves


def test_the_other_user_has_no_privileges(world: World) -> None:
    """The command really runs without capabilities, groups and root's files; else nothing below proves anything."""
    code = "import os; print(os.getresuid(), os.getgroups(), open('/proc/self/status').read())"
    said = users.as_user(["-c", code], NOBODY, world.ns).stdout
    assert said.startswith(f"({NOBODY}, {NOBODY}, {NOBODY}) [] ")
    assert "CapEff:\t0000000000000000" in said
    assert "CapPrm:\t0000000000000000" in said


def test_the_worlds_lack_what_they_should(world: World) -> None:
    """Each narrower world lacks what its name says, and netlink is refused where it should be."""
    code = "import os; print(sorted(os.listdir('/proc'))[:1], os.path.exists('/proc/net'), os.path.exists('/proc/1'))"

    def ask(without: str, uid: int, code: str = code) -> str:
        return users.as_user(["-c", code], uid, world.ns, inside=users.WITHOUT[without]).stdout.strip()

    assert ask("nothing", NOBODY) == "['1'] True True"
    assert ask("proc", ROOT) == "[] False False"
    assert ask("proc-net", ROOT) == "['1'] False True"
    assert ask("other-users", NOBODY).endswith("True False")
    assert ask("other-processes", NOBODY, "import os; print(os.getpid())") == "1"
    if users.can_deny_netlink:
        code = "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)"
        assert users.as_user(["-c", code], ROOT).returncode == 0
        denied = users.as_user(["-c", code], ROOT, preexec_fn=users.deny_netlink)
        assert "not supported" in denied.stderr


# ---------------------------------------------------------------- one port at a time, as an ordinary user


@pytest.mark.parametrize(
    ("name", "exit_code", "expected"),
    [
        ("free", 0, ("free", "none", None)),
        ("root's", 1, ("conflict", "listener", "hidden")),
        ("bound", 1, ("conflict", "bound", "hidden")),
        ("nobody's", 1, ("conflict", "listener", "known")),
        ("nobody's v6", 1, ("conflict", "listener", "known")),
        ("privileged free", 1, ("unavailable", "permission", None)),
        ("privileged busy", 1, ("conflict", "listener", "hidden")),
    ],
)
def test_ordinary_user(world: World, name: str, exit_code: int, expected: tuple[str, str, str | None]) -> None:
    """An ordinary user gets the right verdict and exit code for every kind of port; only strangers are hidden."""
    answer = check(world, NOBODY, name)
    assert answer.table() == {name: expected}
    assert answer.exit_code == exit_code
    assert world.real(NOBODY)[name] == (exit_code == 0)


def test_hidden_owner_hint(world: World) -> None:
    """For root's listener an ordinary user is told to use sudo, and whose it is, and not that all was seen."""
    report = check(world, NOBODY, "root's").reports["root's"]
    assert "run with sudo" in report["hint"]
    assert "uid 0" in report["message"]
    assert report["holders"][0]["processes"] == []
    assert report["holders"][0]["processes_complete"] is False
    done = users.as_user(["-m", "portguard", "check", str(world.ports["root's"])], NOBODY, world.ns)
    assert done.returncode == 1
    assert "next: run with sudo" in done.stdout


def test_own_listener_is_named(world: World) -> None:
    """An ordinary user's own server is named, with a command that needs no sudo."""
    report = check(world, NOBODY, "nobody's").reports["nobody's"]
    process = report["holders"][0]["processes"][0]
    assert process["pid"] == world.pids["nobody"]
    assert process["cwd"] == "/"
    assert f"stop it: kill {world.pids['nobody']}" in report["hint"]


def test_root_sees_every_owner(world: World) -> None:
    """Root sees who has each port, and may bind the privileged one."""
    answer = check(world, ROOT)
    for name, (verdict, _, status) in answer.table().items():
        assert (verdict, status) == (("free", None) if name.endswith("free") else ("conflict", "known")), name
    assert answer.reports["root's"]["holders"][0]["processes"][0]["pid"] == world.pids["root"]
    assert answer.reports["nobody's"]["holders"][0]["processes"][0]["pid"] == world.pids["nobody"]


# ---------------------------------------------------------------- with less to see

_KNOWN, _HIDDEN, _NONE, _FAILED = "known", "hidden", "none-found", "lookup-failed"

# By world: what root learns of an owner, what an ordinary user learns of root's and of their own, and whether the
# tables can be read at all (netlink is missing, and so is /proc/net or all of /proc).
_WORLDS = {
    ("nothing", True): (_KNOWN, _HIDDEN, _KNOWN, True),
    ("other-users", True): (_KNOWN, _HIDDEN, _KNOWN, True),
    ("proc-net", True): (_KNOWN, _HIDDEN, _KNOWN, True),
    ("proc", True): (_FAILED, _FAILED, _FAILED, True),
    ("other-processes", True): (_NONE, _HIDDEN, _NONE, True),
    ("nothing", False): (_KNOWN, _HIDDEN, _KNOWN, True),
    ("other-users", False): (_KNOWN, _HIDDEN, _KNOWN, True),
    ("other-processes", False): (_NONE, _HIDDEN, _NONE, True),
    ("proc-net", False): (_FAILED, _FAILED, _FAILED, False),
    ("proc", False): (_FAILED, _FAILED, _FAILED, False),
}


@pytest.mark.needs("hidepid", "pidns")
@pytest.mark.parametrize("uid", [ROOT, NOBODY], ids=["root", "nobody"])
@pytest.mark.parametrize(("without", "netlink"), _WORLDS, ids=str)
def test_verdicts_survive(world: World, uid: int, without: str, netlink: bool) -> None:
    """Whatever cannot be seen, busy is never called free nor free busy; only what is known of the owner shrinks."""
    if not netlink and not users.can_deny_netlink:
        pytest.skip("no seccomp filter for this processor")
    of_root, of_stranger, of_own, is_readable = _WORLDS[without, netlink]
    strangers = of_root if uid == ROOT else of_stranger
    own = of_root if uid == ROOT else of_own
    cause = "listener" if is_readable else "none"
    bound = "bound" if netlink else "none"
    expected: dict[str, tuple[str, str, str | None]] = {
        "root's": ("conflict", cause, strangers),
        "privileged busy": ("conflict", cause, strangers),
        "bound": ("conflict", bound, strangers if netlink else _NONE if is_readable else _FAILED),
        "nobody's": ("conflict", cause, own),
        "nobody's v6": ("conflict", cause, own),
        "free": ("free", "none", None),
        "privileged free": ("free", "none", None) if uid == ROOT else ("unavailable", "permission", None),
    }
    if uid == NOBODY and not is_readable:  # the one case that the table decides, and there is none
        expected["privileged busy"] = expected["privileged free"] = ("unknown", "permission", None)
    answer = check(world, uid, without=without, netlink=netlink)
    assert answer.table() == expected
    assert answer.exit_code == 1
    real = world.real(uid)
    for name, (verdict, _, _) in expected.items():
        if verdict != "unknown":
            assert real[name] == (verdict == "free"), name


@pytest.mark.needs("pidns")
@pytest.mark.skipif(not users.can_deny_netlink, reason="no seccomp filter for this processor")
@pytest.mark.parametrize(
    ("name", "options", "exit_code"),
    [
        ("free", [], 0),
        ("root's", [], 1),
        ("privileged busy", [], 0),
        ("privileged busy", ["--strict"], 3),
    ],
)
def test_exit_codes_of_the_blind(world: World, name: str, options: list[str], exit_code: int) -> None:
    """With no table at all, free is 0, busy is 1, and what could not be told fails only under --strict."""
    done = users.as_user(
        ["-m", "portguard", "check", str(world.ports[name]), *options],
        NOBODY,
        world.ns,
        inside=users.WITHOUT["proc"],
        preexec_fn=users.deny_netlink,
    )
    assert done.returncode == exit_code, done
    assert "Traceback" not in done.stderr
    assert done.stderr == "" or done.stderr.startswith("note: ")
    if name == "root's":
        assert "outside the sandbox" in done.stdout


@pytest.mark.needs("hidepid")
@pytest.mark.parametrize("without", ["nothing", "other-users", "other-processes", "proc-net"])
def test_unseen_processes_are_admitted(world: World, without: str) -> None:
    """A server known to its user is not called the only holder while other processes cannot be looked into."""
    holder = check(world, NOBODY, "nobody's", without=without).reports["nobody's"]["holders"][0]
    if without == "other-processes":  # in a PID namespace of its own the user sees every process there is
        assert (holder["owner_status"], holder["processes_complete"]) == ("none-found", True)
    else:
        assert (holder["owner_status"], holder["processes_complete"]) == ("known", False)


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
        world.ns.argv([program, "-c", code, program]),
        env=dict(environ), cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as master:  # fmt: skip
        assert master.stdin is not None
        assert master.stdout is not None
        try:
            port = master.stdout.readline().strip()
            by_user: dict[int, Any] = {}
            for uid in (ROOT, NOBODY):
                done = users.as_user(["-m", "portguard", "check", "--json", f"127.0.0.1:{port}"], uid, world.ns)
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
