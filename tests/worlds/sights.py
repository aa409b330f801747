"""How much of a host a process can see, profile by profile: the world, the ways into each profile, what it shows.

Data, and asking: inside a profile one Python holds a socket of its own, makes real binds, and runs the command. What
must be true of the answers is judged elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.worlds import capabilities, file_systems, netns, sandbox, users
from tests.worlds.capabilities import NOBODY

ROOT, OTHER = 0, 65533
ADDRESSES = ("0.0.0.0", "::", "127.0.0.1", "::1")

KNOWN, HIDDEN, NONE, FAILED = "known", "hidden", "none-found", "lookup-failed"

# ---------------------------------------------------------------- the world outside

# What each user holds; TCP that is only bound shows in netlink's tables alone.
_SOCKETS = {
    ROOT: (
        ("tcp", "127.0.0.1", 0, "listen"),
        ("tcp", "0.0.0.0", 0, "listen"),
        ("tcp", "::1", 0, "listen"),
        ("tcp", "::", 0, "listen"),
        ("udp", "127.0.0.1", 0, "bound"),
        ("udp", "::", 0, "bound"),
        ("tcp", "127.0.0.1", 0, "bound"),
    ),
    NOBODY: (("tcp", "127.0.0.1", 0, "listen"), ("tcp", "::1", 0, "listen"), ("udp", "0.0.0.0", 0, "bound")),
    OTHER: (("tcp", "0.0.0.0", 0, "listen"), ("udp", "::1", 0, "bound")),
}


class Outside(NamedTuple):
    """A socket of the world outside."""

    uid: int
    pid: int
    protocol: str
    port: int
    state: str

    @property
    def is_listening(self) -> bool:
        """Whether it shows in every socket table."""
        return self.protocol == "udp" or self.state == "listen"


class World(NamedTuple):
    """Networks by name, the sockets that three users hold in each but `elsewhere`, and ports that no one holds."""

    networks: Mapping[str, netns.PrivateNetns]
    sockets: Mapping[str, tuple[Outside, ...]]
    free: tuple[int, ...]
    directory: Path

    def asked_about(self, profile: Profile) -> tuple[Outside, ...]:
        """Return the sockets that are asked about in a profile: its network's, or where that has none, others'."""
        return self.sockets[profile.network] or self.sockets["here"]


@contextlib.contextmanager
def hold_sockets(ns: netns.PrivateNetns, low: int) -> Iterator[tuple[Outside, ...]]:
    """Let root, no one and another user hold sockets there, root also the privileged port `low`."""
    found: list[Outside] = []
    with contextlib.ExitStack() as stack:
        for uid, own in _SOCKETS.items():
            wanted = [*own, *([("tcp", "0.0.0.0", low, "listen")] if uid == ROOT else [])]
            held = stack.enter_context(users.holding(wanted, uid, ns))
            for (protocol, _, _, state), port in zip(wanted, held.ports, strict=True):
                found.append(Outside(uid, held.pid, protocol, port, state))
        yield tuple(found)


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """Make a directory that every user can reach, with homes for the two who ask."""
    directory = Path(tempfile.mkdtemp(prefix="portguard-sight-"))
    try:
        directory.chmod(0o755)
        for uid in (ROOT, NOBODY):
            home = directory / f"home-{uid}"
            home.mkdir()
            os.chown(home, uid, uid)
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def build() -> Iterator[World]:
    """Build the world."""
    low = random.sample(range(200, 1000), 2)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(place())
        networks = {name: stack.enter_context(netns.private_netns()) for name in ("here", "elsewhere", "no-ipv6")}
        sockets = {name: stack.enter_context(hold_sockets(networks[name], low[0])) for name in ("here", "no-ipv6")}
        # Taken away under the servers that have it.
        networks["no-ipv6"].call(netns.write_sysctls, {"net.ipv6.conf.all.disable_ipv6": "1"})
        with users.holding([("tcp", "::", 0, "listen")], ROOT, networks["here"]) as gone:
            pass
        (directory / "portguard.toml").write_text(f"[ports]\nfree = {gone.ports[0]}\n")
        yield World(networks, {**sockets, "elsewhere": ()}, (gone.ports[0], low[1]), directory)


# ---------------------------------------------------------------- the profiles


class Profile(NamedTuple):
    """A way to run a Python with less to see, and what can be seen from there.

    `enter` runs a command inside, started as root; `denied` are families of sockets, and the errno that asking for one
    gets (None: anyone who asks is killed). `owners` are the statuses of the owners of root's, no one's and the other
    user's sockets, `sibling` that of a server inside, and `is_killable` whether it provably is this user's.
    `is_whole`: every process can be looked into. `has_table`: listening sockets can be listed; `has_netlink`: also
    those that are only bound. `unleased` is why a port is not leased, a part of the note. `is_daily`: looked at every
    day.
    """

    name: str
    uid: int
    enter: tuple[str, ...]
    owners: tuple[str, str, str] = (HIDDEN, HIDDEN, HIDDEN)
    sibling: str = KNOWN
    is_killable: bool = True
    is_whole: bool = False
    denied: tuple[tuple[int, int | None], ...] = ()
    network: str = "here"
    is_read_only: bool = False
    has_table: bool = True
    has_netlink: bool = True
    unleased: str | None = None
    needs: tuple[str, ...] = ()
    is_daily: bool = True

    def __str__(self) -> str:
        return f"{self.name}, {'root' if self.uid == ROOT else 'nobody'}"

    def require(self) -> None:
        """Skip the running test, by name, where this machine has no such profile."""
        capabilities.require(*self.needs)
        if self.denied and not sandbox.can_forbid:
            pytest.skip("no seccomp filter for this processor")

    def status(self, owner: int) -> str:
        """Return what is known of the owner of that user's sockets."""
        return self.owners[(ROOT, NOBODY, OTHER).index(owner)]


_NOBODY = tuple(users.becoming(NOBODY))
_CAPLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
_NO_NETLINK = ((sandbox.AF_NETLINK, errno.EAFNOSUPPORT),)
_NO_IPV6 = ((sandbox.AF_INET6, errno.EAFNOSUPPORT),)
_WHICH = "could not determine"  # which boot and network namespace this is

_AS_ROOT = (KNOWN, KNOWN, KNOWN)
_AS_NOBODY = (HIDDEN, KNOWN, HIDDEN)
_BLIND = (FAILED, FAILED, FAILED)
_ALONE = (NONE, NONE, NONE)


def _both(
    name: str, root: tuple[str, str, str], nobody: tuple[str, str, str], daily: Sequence[int], **options: Any
) -> list[Profile]:
    """Return a profile for each of the two users, by what is in the way of both; those in `daily` are daily."""
    enter = users.WITHOUT[options.pop("without", "nothing")]
    whole = {"is_whole": True} | options
    return [
        Profile(name, ROOT, enter, root, is_daily=ROOT in daily, **whole),
        Profile(name, NOBODY, (*enter, *_NOBODY), nobody, is_daily=NOBODY in daily, **options),
    ]


_UNKEYED: dict[str, Any] = {"unleased": _WHICH}
_NO_PROC: dict[str, Any] = {"without": "proc", "sibling": FAILED, "unleased": _WHICH}
_NO_TABLE: dict[str, Any] = {"has_table": False, "has_netlink": False}
_USERNS: dict[str, Any] = {"needs": ("userns",)}
_KILLS = ((sandbox.AF_NETLINK, None),)
PROFILES: tuple[Profile, ...] = (
    *_both("everything", _AS_ROOT, _AS_NOBODY, (ROOT, NOBODY)),
    *_both("another network namespace", _ALONE, _ALONE, (ROOT,), network="elsewhere"),
    Profile("user namespace", ROOT, ("unshare", "-U", "-r"), is_daily=False, **_USERNS),
    Profile("user namespace", NOBODY, (*_NOBODY, "unshare", "-U", "-r"), **_USERNS),
    Profile("user namespace without numbers", NOBODY, (*_NOBODY, "unshare", "-U"), is_killable=False, **_USERNS),
    *_both("PID namespace", _ALONE, _ALONE, (NOBODY,), without="other-processes", is_whole=True, needs=("pidns",)),
    *_both(
        "outer /proc in a PID namespace", _BLIND, _BLIND, (ROOT,), without="own-proc", sibling=FAILED,
        needs=("pidns",),
    ),
    *_both("hidepid=2", _AS_ROOT, _AS_NOBODY, (NOBODY,), without="other-users", needs=("hidepid",)),
    *_both("subset=pid", _AS_ROOT, _AS_NOBODY, (ROOT,), without="proc-net", needs=("hidepid",), **_UNKEYED),
    *_both("no /proc", _BLIND, _BLIND, (NOBODY,), **_NO_PROC),
    *_both("no netlink", _AS_ROOT, _AS_NOBODY, (NOBODY,), denied=_NO_NETLINK, has_netlink=False),
    *_both(
        "no netlink (ENOSYS)", _AS_ROOT, _AS_NOBODY, (), has_netlink=False,
        denied=((sandbox.AF_NETLINK, errno.ENOSYS),),
    ),
    *_both("netlink kills", _AS_ROOT, _AS_NOBODY, (NOBODY,), denied=_KILLS, has_netlink=False),
    *_both("netlink kills, no /proc", _BLIND, _BLIND, (ROOT,), denied=_KILLS, **_NO_TABLE, **_NO_PROC),
    *_both(
        "no netlink, subset=pid", _AS_ROOT, _AS_NOBODY, (), without="proc-net", denied=_NO_NETLINK,
        needs=("hidepid",), sibling=FAILED, **_NO_TABLE, **_UNKEYED,
    ),
    *_both("no netlink, no /proc", _BLIND, _BLIND, (NOBODY,), denied=_NO_NETLINK, **_NO_TABLE, **_NO_PROC),
    *_both("no IPv6 (sysctl)", _AS_ROOT, _AS_NOBODY, (ROOT,), network="no-ipv6"),
    *_both("no IPv6 (seccomp)", _AS_ROOT, _AS_NOBODY, (NOBODY,), denied=_NO_IPV6),
    Profile("root without capabilities", ROOT, _CAPLESS),
    Profile(
        "container without capabilities", ROOT, (*users.WITHOUT["other-processes"], *_CAPLESS), _ALONE, is_whole=True,
        needs=("pidns",),
    ),
    *_both("read-only", _AS_ROOT, _AS_NOBODY, (NOBODY,), is_read_only=True, unleased="Read-only file system"),
)  # fmt: skip


# ---------------------------------------------------------------- asking inside

_ASK = """
import errno, json, socket, subprocess, sys
asked = json.loads(sys.argv[1])

SERVER = '''
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
'''

def bind(protocol, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM) as sock:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if protocol == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            if protocol == "tcp":
                sock.listen()
    except OSError as error:
        return errno.errorcode[error.errno]
    return None

# One after the other: of a process that is ending right now nobody but root can tell what it holds.
def run(words):
    done = subprocess.run(
        [*asked["command"], *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr

with subprocess.Popen(
    [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
) as sibling:
    port = sibling.stdout.readline().strip()
    try:
        answers = {
            name: run([word.replace("SIBLING", port) for word in words]) for name, words in asked["questions"].items()
        }
        given = json.loads(answers["free"][1] or "{}").get("data", {}).get("ports", ())
        binds = [[*endpoint, bind(*endpoint)] for endpoint in asked["endpoints"]]
        regained = [
            bind(protocol, address, item["port"])
            for item in given for protocol in ("tcp", "udp") for address in asked["addresses"]
        ]
        is_alive = sibling.poll() is None
    finally:
        sibling.stdin.close()
print(json.dumps({
    "answers": answers, "binds": binds, "regained": regained, "port": int(port), "pid": sibling.pid, "alive": is_alive,
}))
"""


class Said(NamedTuple):
    """What the command answered: exit code, standard output and standard error."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Seen(NamedTuple):
    """What was answered in a profile, and what was so.

    `binds` are the errnos' names of real servers' attempts by protocol, address and port, None for success; `regained`
    those on the port that `free` gave.
    """

    answers: dict[str, Said]
    binds: dict[tuple[str, str, int], str | None]
    regained: tuple[str | None, ...]
    sibling_port: int
    sibling_pid: int
    is_sibling_alive: bool


def interpreter(uid: int, world: World) -> users.Interpreter:
    """Return a Python that the user can run, and an environment with a home in this world."""
    program, base = users.interpreter(uid)
    home = str(world.directory / f"home-{uid}")
    return users.Interpreter(
        program, {name: value for name, value in base.items() if not name.startswith("XDG_")} | {"HOME": home}
    )


def ask(
    profile: Profile, world: World, questions: Mapping[str, Sequence[str]], endpoints: Sequence[tuple[str, str, int]]
) -> Seen:
    """Ask the command these questions (arguments by name) in a profile; SIBLING stands for the port of a server there.

    `free` must be among them, and in JSON.
    """
    program, environ = interpreter(profile.uid, world)
    asked = {
        "command": [program, "-m", "portguard"],
        "questions": questions,
        "endpoints": endpoints,
        "addresses": ADDRESSES,
    }
    done = world.networks[profile.network].run(
        [*profile.enter, program, "-c", _ASK, json.dumps(asked)],
        env=environ,
        cwd=world.directory,
        capture_output=True,
        text=True,
        preexec_fn=functools.partial(_narrow, profile),
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return Seen(
        {name: Said(*answer) for name, answer in said["answers"].items()},
        {(protocol, address, port): error for protocol, address, port, error in said["binds"]},
        tuple(said["regained"]),
        said["port"],
        said["pid"],
        said["alive"],
    )


def _narrow(profile: Profile) -> None:
    if profile.is_read_only:
        netns.unshare(netns.CLONE_NEWNS)
        file_systems.make_everything_read_only()
    for family, error in profile.denied:
        sandbox.forbid(family, error)
