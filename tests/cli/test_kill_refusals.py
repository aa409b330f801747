"""`portguard kill` against whom it must not end: each refused, with the command that would do it, and nothing dies."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import portguard as library
from portguard.holders import stop_plan as plans
from portguard.model import Holder, Process
from portguard.rules.guard import Refusal
from tests.conftest import PORTGUARD, Run
from tests.worlds.capabilities import NOBODY
from tests.worlds.netns import PrivateNetns, private_netns
from tests.worlds.users import WITHOUT, as_user, holding

# Listens (argv[1]: tcp or udp) under a name of its choice (argv[2]), prints its port, lives on whatever it is told.
_SERVER = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(15, sys.argv[2].encode(), 0, 0, 0)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM)
sock.bind(("127.0.0.1", 0))
if sys.argv[1] == "tcp":
    sock.listen()
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def ns() -> Iterator[PrivateNetns]:
    """Return a network of our own."""
    with private_netns() as made:
        yield made


@contextlib.contextmanager
def serving(
    ns: PrivateNetns, name: str, protocol: str = "tcp", program: str = sys.executable
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server of that name; yield it and its port, and see at the end that no one has ended it."""
    process = ns.popen(
        [program, "-c", _SERVER, protocol, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield process, int(process.stdout.readline())
    assert process.poll() is None, f"{name} has died: {process.returncode}"
    process.stdin.close()
    process.stdout.close()
    assert process.wait(10) == 0, "it was signalled"


def kill(ns: PrivateNetns, *arguments: object, prefix: Sequence[str] = ()) -> dict[str, Any]:
    """Ask for it with all consent there is, and return what is said of the one port."""
    (entry,) = kill_all(ns, *arguments, prefix=prefix)
    return entry


def kill_all(ns: PrivateNetns, *arguments: object, prefix: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Ask for them with all consent there is, and return what is said of each port."""
    command = [*prefix, *PORTGUARD, "kill", "--yes", "--force", "--json", *map(str, arguments)]
    return all_refused(ns.run(command, capture_output=True, text=True, cwd="/"))


def refused(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what is said of the one port, which must be a refusal with a next step."""
    (entry,) = all_refused(done)
    return entry


def all_refused(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Return what is said of each port, which must be a refusal with a next step."""
    assert done.returncode == 1, done
    document = json.loads(done.stdout)
    entries: list[dict[str, Any]] = document["data"]["ports"]
    for entry in entries:
        assert (document["exit_code"], entry["status"], entry["actions"]) == (1, "refused", []), entry
        assert entry["message"]
        assert entry["hint"], entry
    return entries


_FIND = "docker ps --filter publish="
_NAMED = [
    ("docker-proxy", _FIND), ("dockerd", _FIND), ("com.docker.backend", _FIND), ("com.docker.vpnki", _FIND),
    ("rootlesskit", _FIND), ("slirp4netns", _FIND), ("vpnkit-bridge", _FIND), ("wslrelay", _FIND), ("pasta", _FIND),
    ("conmon", "podman ps"), ("rootlessport", "podman ps"), ("gvproxy", "podman ps"),
    ("containerd", "docker ps"), ("containerd-shim", "docker ps"), ("systemd", "systemctl list-sockets"),
    ("init", "systemctl list-sockets"), ("sshd", "kill {pid}"), ("sshd-session", "kill {pid}"),
    ("tmux: server", "kill {pid}"), ("gnome-terminal-", "kill {pid}"), ("code", "kill {pid}"),
    ("gnome-shell", "kill {pid}"), ("Xwayland", "kill {pid}"), ("firefox", "kill {pid}"), ("chrome", "kill {pid}"),
    ("portguard-hold", "portguard leases release {port}"),
]  # fmt: skip


@pytest.mark.needs("netns")
def test_by_name(ns: PrivateNetns) -> None:
    """Forwarders, engines, sessions, editors and browsers that listen are left alone, each with its own command."""
    with contextlib.ExitStack() as stack:
        there = [stack.enter_context(serving(ns, name)) for name, _ in _NAMED]
        for options in ((), ("--tree",)):
            entries = kill_all(ns, *options, *(port for _, port in there))
            for (name, command), (process, port), entry in zip(_NAMED, there, entries, strict=True):
                assert command.format(pid=process.pid, port=port) in entry["hint"], name


@pytest.mark.needs("netns")
@pytest.mark.parametrize("name", ["docker-proxy", "firefox"])
def test_by_name_alone(ns: PrivateNetns, name: str) -> None:
    """One that is asked for alone is refused as it is among others."""
    with serving(ns, name) as (_, port):
        assert dict(_NAMED)[name].partition("{")[0] in kill(ns, port)["hint"]


@pytest.mark.needs("netns")
def test_by_program(ns: PrivateNetns, tmp_path: Path) -> None:
    """A forwarder that calls itself otherwise is known by its program."""
    program = tmp_path / "docker-proxy"
    shutil.copy(os.path.realpath(sys.executable), program)
    with serving(ns, "innocent", program=str(program)) as (_, port):
        assert _FIND in kill(ns, port)["hint"]


@pytest.mark.needs("netns")
def test_another_users_server(ns: PrivateNetns) -> None:
    """Root is told whose it is, and ends no one else's; the user themself is told that the owner is hidden."""
    with holding([("tcp", "127.0.0.1", 0, "listen")], NOBODY, ns) as held:
        entry = kill(ns, held.ports[0])
        assert "another user's" in entry["message"]
        assert f"kill {held.pid}" in entry["hint"]
    with serving(ns, "server") as (_, port):
        done = as_user(["-m", "portguard", "kill", "--yes", "--force", "--json", str(port)], NOBODY, ns)
        assert "sudo" in refused(done)["hint"]


@pytest.mark.needs("netns", "users")
def test_a_program_that_changed_its_user(ns: PrivateNetns) -> None:
    """A process with two users is neither's to end."""
    code = f"import os, sys; os.setresuid({NOBODY}, 0, 0); exec({_SERVER!r})"
    with ns.popen(
        [sys.executable, "-c", code, "tcp", "server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        entry = kill(ns, int(process.stdout.readline()))
        assert "another user's" in entry["message"]
        assert process.poll() is None
        process.stdin.close()


@pytest.mark.needs("netns", "pidns")
@pytest.mark.parametrize("world", ["proc", "other-processes"])
def test_owners_that_cannot_be_seen(ns: PrivateNetns, world: str) -> None:
    """Without /proc, or from another PID namespace, the owner is not known, and so no one is ended."""
    with serving(ns, "server") as (_, port):
        command = [*WITHOUT[world], *PORTGUARD, "kill", "--yes", "--force", "--json", str(port)]
        done = ns.run(command, capture_output=True, text=True, cwd="/")
        refused(done)


_FAMILY = """
import os, socket, subprocess, sys
server = socket.create_server(("127.0.0.1", 0))
port = str(server.getsockname()[1])
command = [*sys.argv[2:], "kill", "--yes", "--force", "--json", port]
if sys.argv[1] == "grandparent":
    command = ["sh", "-c", '"$@"; exit $?', "sh", *command]
if sys.argv[1] == "passed":  # PID 1 keeps the socket it has handed to a server
    os.set_inheritable(server.fileno(), True)
    reader = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    child = subprocess.Popen(reader, stdin=subprocess.PIPE, close_fds=False)
done = subprocess.run(command, capture_output=True, text=True)
if sys.argv[1] == "passed":
    assert child.poll() is None
    child.stdin.close()
    assert child.wait() == 0
print(done.stdout, end="")
sys.exit(done.returncode)
"""


@pytest.mark.needs("netns", "pidns")
@pytest.mark.parametrize("who", ["parent", "grandparent", "first", "passed"])
def test_what_portguard_runs_in(ns: PrivateNetns, who: str) -> None:
    """The process that runs portguard, the one above it, PID 1, and a server whose socket PID 1 has passed on."""
    first = ["unshare", "-p", "-f", "--mount-proc"] if who in ("first", "passed") else []
    done = ns.run([*first, sys.executable, "-c", _FAMILY, who, *PORTGUARD], capture_output=True, text=True, cwd="/")
    assert "portguard itself runs in it" in refused(done)["message"]


def test_itself() -> None:
    """A program that asks for its own port is told so, and goes on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        report = library.kill(server.getsockname()[1], force=True)
    assert [(port.status, port.actions) for port in report.ports] == [("refused", ())]
    assert "this process itself" in report.ports[0].message


@pytest.mark.needs("netns")
def test_clients(ns: PrivateNetns) -> None:
    """Connections that use the number as their own end are no one's server: TCP and UDP clients live on."""
    code = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname(), source_address=("127.0.0.2", 0))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(server.getsockname())
print(client.getsockname()[1], sender.getsockname()[1], flush=True)
sys.stdin.read()
"""
    with ns.popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        tcp, udp = process.stdout.readline().split()
        assert "connection" in kill(ns, tcp)["message"]
        assert "connection" in kill(ns, f"{udp}/udp")["message"]
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.needs("netns")
def test_bound_and_not_listening(ns: PrivateNetns) -> None:
    """A socket that was bound and does not listen serves no one: who it is is told, and it is left alone."""
    with holding([("tcp", "127.0.0.1", 0, "bound")], 0, ns) as held:
        assert "does not listen" in kill(ns, held.ports[0])["message"]


def test_a_hold_of_our_own(portguard: Run, answer: Any) -> None:
    """What `free --hold` keeps bound is released as a lease, not ended."""
    port = portguard("free", "--hold", "60").stdout.strip()
    document = answer("kill", "--yes", "--force", port)
    (entry,) = document["data"]["ports"]
    assert (entry["status"], document["exit_code"]) == ("refused", 1)
    assert f"portguard leases release {port}" in entry["hint"]
    assert portguard("leases", "release", port).returncode == 0


@pytest.mark.needs("netns")
def test_the_kernels_own(ns: PrivateNetns) -> None:
    """A port that the kernel itself serves belongs to no process, and no process is ended for it."""
    made = ns.run(["ip", "link", "add", "vx", "type", "vxlan", "id", "7", "dstport", "4789", "dev", "lo"], check=False)
    if made.returncode != 0 or ns.run(["ip", "link", "set", "vx", "up"], check=False).returncode != 0:
        pytest.skip("this kernel has no vxlan")
    kill(ns, "4789/udp")


@pytest.mark.needs("netns")
def test_a_tree_with_portguard_in_it(ns: PrivateNetns, tmp_path: Path) -> None:
    """--tree does not take a tree in which portguard itself runs."""
    code = f"""
import subprocess, sys
server = subprocess.Popen([sys.executable, "-c", {_SERVER!r}, "tcp", "server"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True)
port = server.stdout.readline().strip()
done = subprocess.run([*sys.argv[1:], "kill", "--dry-run", "--tree", "--json", port], capture_output=True, text=True)
print(done.stdout, end="")
server.stdin.close()
sys.exit(server.wait())
"""
    done = ns.run([sys.executable, "-c", code, *PORTGUARD], capture_output=True, text=True, cwd=tmp_path)
    (entry,) = json.loads(done.stdout)["data"]["ports"]
    assert done.returncode == 0
    assert (entry["status"], [len(action["pids"]) for action in entry["actions"]]) == ("planned", [1])


# ---------------------------------------------------------------- systemd, which does not run here: a stand-in's words


def _decide_unit(directory: Path, said: str, unit: str, *, is_user_unit: bool) -> plans.StopStep | Refusal:
    program = directory / "systemctl"
    program.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    program.chmod(0o755)
    found = plans.Planner(str(directory), {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}, tree=False)
    holder = Holder(
        "tcp", "127.0.0.1", 1, "listen", "known", (Process(os.getpid()),), unit=unit, user_unit=is_user_unit
    )
    return found.decide_unit(holder, unit, [])


def test_a_socket_activated_unit(tmp_path: Path) -> None:
    """A unit that its socket starts again is not stopped: its socket has to be."""
    decided = _decide_unit(tmp_path, "TriggeredBy=web.socket\\n", "web.service", is_user_unit=False)
    assert isinstance(decided, Refusal)
    assert "systemctl stop web.socket" in decided.hint


def test_a_strangers_unit_has_to_be_named(tmp_path: Path) -> None:
    """What systemd runs is stopped through it, and only for anyone who repeats the unit's name."""
    decided = _decide_unit(tmp_path, "", "postgresql.service", is_user_unit=os.geteuid() != 0)
    assert isinstance(decided, plans.StopStep)
    assert (decided.action.kind, decided.action.name, decided.action.needs_name) == ("unit", "postgresql.service", True)
