"""`kill` from the library, on real processes: the plan, what is refused, what is done, and what is said of it."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portguard.api import kill
from portguard.errors import LookupFailedError, UsageError
from portguard.holders import ending
from portguard.holders import stop_plan as plans
from portguard.holders.containers import Engines
from portguard.holders.stop_plan import Planner, StopPlan, StopStep
from portguard.model import Compose, Container, Holder, KillAction, KillPort, KillReport, Process, ProcessStat, Socket
from portguard.rules.attribution import Running
from portguard.rules.guard import Refusal, Suspect
from portguard.rules.targets import parse_port
from portguard.system import origin, proc_stat, processes, signals, sockets
from tests.worlds.families import server
from tests.worlds.repositories import git

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched by pidfds, and found in /proc")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return an empty checkout."""
    path = tmp_path / "shop"
    git("init", "--quiet", path)
    return path


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch freed ports for no longer than a moment, and give servers no more to end."""
    monkeypatch.setattr(kill, "_SETTLE", 0.05)
    monkeypatch.setattr(kill, "_SETTLE_WATCHED", 0.1)
    monkeypatch.setattr(ending, "_FOLLOW", 0.05)
    defaults: dict[str, Any] = ending.end.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "grace", 0.3)


def plan(target: str, **options: Any) -> KillPort:
    """Return what would be done about one port."""
    (port,) = kill.kill(target, dry_run=True, **options).ports
    return port


# ---------------------------------------------------------------- plans


def test_a_plan(tmp_path: Path) -> None:
    """A plan names who would be ended and who has the port, and ends no one."""
    with server(tmp_path, name="shop") as mine:
        report = kill.kill(mine.target, dry_run=True)
        user = processes.describe(mine.pid).user
        (port,) = report.ports
        assert (report.exit_code, report.notes) == (0, ())
        assert (port.target, port.port, port.protocol, port.hosts) == (mine.target, mine.port, "tcp", ("127.0.0.1",))
        assert (port.status, port.hint) == ("planned", None)
        assert port.message == f"shop (pid {mine.pid}, user {user}) listens on {mine.target}/tcp"
        assert port.actions == (KillAction("process", "shop", f"shop (pid {mine.pid}, user {user})", (mine.pid,)),)
        assert [process.pid for holder in port.holders for process in holder.processes] == [mine.pid]
        assert port.successors == ()
        assert mine.is_running()


def test_a_plan_for_udp(tmp_path: Path) -> None:
    """A bound UDP socket counts, for who asks for it; for TCP it is named as what may have been meant."""
    with server(tmp_path, protocol="udp") as mine:
        assert plan(f"{mine.target}/udp").status == "planned"
        other = plan(mine.target)
        assert (other.status, other.message) == ("nobody", f"nothing listens on {mine.target}/tcp")
        assert other.hint == f"another process has the UDP port: portguard kill {mine.target}/udp"
        assert plan(f"{mine.target}/tcp").hint is None
    with server(tmp_path) as mine:
        assert plan(f"{mine.target}/udp").hint is None


def test_each_port_once(tmp_path: Path) -> None:
    """What is named twice is one entry; the order is that of the asking."""
    with server(tmp_path) as one, server(tmp_path) as other:
        report = kill.kill(other.target, one.target, other.target, dry_run=True)
        assert [port.target for port in report.ports] == [other.target, one.target]


def test_who_asks_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No port, what is not a port, and a tree where no processes can be seen are refused at once."""
    with pytest.raises(UsageError) as raised:
        kill.kill()
    assert (raised.value.message, raised.value.hint) == ("no port given", "name one, for instance: portguard kill 3000")
    with pytest.raises(UsageError):
        kill.kill("web")
    monkeypatch.setattr(proc_stat, "read_all", dict)
    with pytest.raises(LookupFailedError) as failed:
        kill.kill(3000, tree=True)
    assert failed.value.message == "no table of processes can be read here"
    assert failed.value.hint == "omit --tree"


def test_nothing_stays_open(tmp_path: Path) -> None:
    """No handle outlives the call, whatever came of it."""
    with server(tmp_path) as mine:
        before = len(os.listdir("/proc/self/fd"))
        plan(mine.target)
        kill.kill(mine.target, ask=lambda _: None)
        assert len(os.listdir("/proc/self/fd")) == before


# ---------------------------------------------------------------- refusals


def test_the_process_that_asks_is_never_ended(busy: int) -> None:
    """The process that asks is never ended."""
    report = kill.kill(f"127.0.0.1:{busy}")
    (port,) = report.ports
    name = processes.describe(os.getpid()).name
    assert (port.status, report.exit_code, port.actions) == ("refused", 1, ())
    assert port.message.startswith(f"{name} (pid {os.getpid()}, user ")
    assert port.message.endswith(f"listens on 127.0.0.1:{busy}/tcp: this process itself holds it")
    assert port.hint == "close the socket where it was opened"
    assert len(port.holders) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("docker-proxy", "it forwards the port for a container, and the container would keep running without it"),
        ("dockerd", "it forwards the port for a container, and the container would keep running without it"),
        ("systemd", "it starts other programs, and holds ports for them"),
        ("containerd", "it runs containers"),
        ("firefox", "it is a browser; close what listens there"),
        ("code", "an editor forwards ports; close this one in its list of ports"),
    ],
)
def test_by_name(tmp_path: Path, name: str, reason: str) -> None:
    """What must not be ended by its name is not, for real."""
    with server(tmp_path, name=name) as mine:
        found = plan(mine.target, environ={})
        assert (found.status, found.message.rpartition(": ")[2]) == ("refused", reason)


def test_what_does_not_listen(tmp_path: Path) -> None:
    """A socket that is bound and no more is left alone; one that is a hold of ours is released by name."""
    with server(tmp_path, is_listening=False) as mine:
        found = plan(mine.target)
        assert (found.status, found.hint) == ("refused", f"see what it is: portguard who {mine.port}")
        assert found.message.endswith("does not listen: it does not listen")
    with server(tmp_path, is_listening=False, name="portguard-hold") as mine:
        found = plan(mine.target)
        assert found.message.endswith(": it holds a portguard lease")
        assert found.hint == f"release it: portguard leases release {mine.port}"


def test_a_connection_is_in_the_way(busy: int) -> None:
    """A port that an outgoing connection has as its local port is no one's to be ended for, and that is said."""
    with socket.create_connection(("127.0.0.1", busy)) as client:
        port = client.getsockname()[1]
        found = plan(f"127.0.0.1:{port}")
    assert found.status == "refused"
    assert found.message.startswith(f"nothing listens on 127.0.0.1:{port}/tcp; a connection from ")
    assert found.hint == "try again when the connection has ended"
    assert len(found.holders) == 1


def test_busy_by_nobody_that_is_told(idle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a bind fails and no table says why, there is no one to end, and nothing is made up."""
    monkeypatch.setattr(plans, "probe_hosts", lambda *_: ("busy", {}, {}))
    (port,) = kill.kill(f"127.0.0.1:{idle}").ports
    assert (port.status, port.message, port.hint) == ("nobody", f"nothing listens on 127.0.0.1:{idle}/tcp", None)


def test_where_no_one_listens_there_is_nothing_to_do(idle: int) -> None:
    """Where no one listens there is nothing to do, which is no success."""
    report = kill.kill(f"127.0.0.1:{idle}")
    (port,) = report.ports
    assert (report.exit_code, port.status, port.message, port.hint) == (
        1,
        "nobody",
        f"nothing listens on 127.0.0.1:{idle}/tcp",
        None,
    )


def test_one_refusal_spares_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port on which anything must not be ended is refused whole."""
    with server(tmp_path) as mine:
        real = sockets.find_sockets

        def with_another(protocol: Any, port: int, **more: Any) -> list[Socket]:
            rows = list(real(protocol, port, **more))
            return [*rows, *(row._replace(address="127.0.0.1", state="bound", inode=0) for row in rows[:1])]

        monkeypatch.setattr(sockets, "find_sockets", with_another)
        assert plan(mine.target).status == "refused"


def test_a_stranger_s_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's process is refused; workers that gave up their server's rights are its own."""
    with server(tmp_path) as mine:
        monkeypatch.setattr(processes, "uids_of", lambda pid: (12345,) * 3 if pid == mine.pid else (os.geteuid(),) * 3)
        found = plan(mine.target)
        assert (found.status, found.message.rpartition(": ")[2]) == ("refused", "it is another user's process")
        monkeypatch.setattr(processes, "uids_of", lambda _: None)
        assert plan(mine.target).message.endswith(": its owner is unknown")


def holder_of(*people: Process, **changes: Any) -> Holder:
    """Return a holder of these processes."""
    return Holder("tcp", "127.0.0.1", 80, "listen", "known", people)._replace(**changes)


LISTENS = Socket("tcp", "127.0.0.1", 80, "listen", None, 0, 7)


def decided(found: Planner, holder: Holder) -> StopStep | Refusal:
    """Return what is decided about the holder of a listening socket on port 80."""
    return found._decide(parse_port("80"), LISTENS, holder)


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Planner]:
    """Return a run that asks from an empty directory, and of no engine."""
    found = Planner(str(tmp_path), {"PATH": str(tmp_path)}, tree=False)
    yield found
    found.close()


def test_workers_of_a_server_are_its_own(asked: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first process of a server has to be this user's; a worker of another user without it is refused."""
    with server(tmp_path) as mine:
        first, worker = Process(mine.parent, "nginx"), Process(mine.pid, "nginx", parent_pid=mine.parent)
        monkeypatch.setattr(processes, "uids_of", lambda pid: (12345,) * 3 if pid == mine.pid else (os.geteuid(),) * 3)
        assert isinstance(decided(asked, holder_of(first, worker)), StopStep)
        assert isinstance(decided(asked, holder_of(worker)), Refusal)
        monkeypatch.setattr(
            processes, "uids_of", lambda pid: (12345,) * 3 if pid == mine.parent else (os.geteuid(),) * 3
        )
        assert isinstance(decided(asked, holder_of(first, worker)), Refusal)


@pytest.mark.parametrize("status", ["hidden", "none-found", "lookup-failed"])
def test_owners_that_are_not_known(asked: Planner, status: Any) -> None:
    """Without a process there is no one to end."""
    found = decided(asked, holder_of(owner_status=status))
    assert isinstance(found, Refusal)
    assert found.reason.startswith(("its owner", "no process here"))


def test_pid_1_is_described_and_refused(asked: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What PID 1 holds is said to be its own, and no handle of it is ever taken."""
    monkeypatch.setattr(signals, "take", lambda pid: pytest.fail(f"took {pid}"))
    asked.caller = asked.caller._replace(ancestors=())
    proven = asked._proven(LISTENS, holder_of(Process(1), Process(0)))
    assert [process.pid for process in proven.processes] == [1]
    found = decided(asked, proven)
    assert isinstance(found, Refusal)
    assert found.reason == "it starts other programs, and holds ports for them"


def test_only_who_provably_holds_it_is_meant(asked: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those who were seen, one that has ended, or release the socket, is no one any more."""
    with server(tmp_path) as mine, server(tmp_path) as other:
        (row,) = plans.rows_of(parse_port(mine.target))
        holder = holder_of(Process(mine.pid), Process(other.pid), Process(2**22 + 1))
        assert [process.pid for process in asked._proven(row, holder).processes] == [mine.pid]
        monkeypatch.setattr(signals, "is_running", lambda _: False)
        assert asked._proven(row, holder).processes == ()


def test_a_holder_that_changes_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When everyone who was seen is gone at the second look, the port is looked at anew, a few times."""
    looked: list[int] = []
    enough = 0
    real = Planner._proven

    def first_gone(self: Planner, row: Socket, holder: Holder) -> Holder:
        looked.append(1)
        return holder._replace(processes=()) if len(looked) < enough else real(self, row, holder)

    monkeypatch.setattr(Planner, "_proven", first_gone)
    with server(tmp_path) as mine:
        for looks_until, status, looks in ((2, "planned", 2), (3, "planned", 3), (99, "refused", 3)):
            enough = looks_until
            looked.clear()
            assert plan(mine.target).status == status
            assert len(looked) == looks


# ---------------------------------------------------------------- containers and units

ID = "ab" * 32


def test_a_container_is_stopped_by_its_engine(asked: Planner, tmp_path: Path) -> None:
    """A container is stopped by its engine: this project's own at once, others by name, our own and swarms' never."""
    plain = Container("docker", ID, "db", "postgres:16")
    mine = plain._replace(compose=Compose(tmp_path.name.replace("_", "_"), "db", str(tmp_path)))
    found = decided(asked, holder_of(container=plain))
    assert isinstance(found, StopStep)
    assert found == StopStep(
        KillAction("container", "db", "container db (image postgres:16)", (), ID, needs_name=True), container=plain
    )
    nameless = decided(asked, holder_of(container=plain._replace(name="")))
    assert isinstance(nameless, StopStep)
    assert nameless.action.name == ID[:12]
    ours = decided(asked, holder_of(container=mine))
    assert isinstance(ours, StopStep)
    assert ours.action.needs_name is (asked._here[0].name != tmp_path.name)
    elsewhere = decided(asked, holder_of(container=mine._replace(compose=Compose(tmp_path.name, "db", "/elsewhere"))))
    assert isinstance(elsewhere, StopStep)
    assert elsewhere.action.needs_name
    assert decided(asked, holder_of(container=plain._replace(id=""))) == Refusal(
        "only its engine knows which container it is", "find it: docker ps --filter publish=80"
    )
    asked.caller = asked.caller._replace(container_id=ID)
    assert decided(asked, holder_of(container=plain)) == Refusal(
        "portguard itself runs in it", "docker stop db, from elsewhere"
    )
    asked.caller = asked.caller._replace(container_id="cd" * 32)
    assert isinstance(decided(asked, holder_of(container=plain)), StopStep)
    asked.engines._commanded["docker"] = (Running(plain, ()),)
    assert isinstance(decided(asked, holder_of(container=plain)), StopStep)
    asked.engines._commanded["docker"] = (Running(plain, (), is_service=True),)
    assert decided(asked, holder_of(container=plain)) == Refusal(
        "it is a service of a swarm", "unpublish its port: docker service update --publish-rm 80"
    )


@pytest.mark.parametrize(
    "relation", ["ours", "oneoff", "other-service", "orphan", "other-checkout", "other-project", "plain"]
)
def test_whose_name_is_asked_for(asked: Planner, monkeypatch: pytest.MonkeyPatch, relation: str) -> None:
    """This project's containers in this directory need no name, whatever their service; all others do."""
    monkeypatch.setattr(plans, "relation_of", lambda *_: relation)
    found = decided(asked, holder_of(container=Container("docker", ID, "db")))
    assert isinstance(found, StopStep)
    assert found.action.needs_name is (relation in ("other-checkout", "other-project", "plain"))


def systemctl(directory: Path, said: str = "") -> None:
    """Put a stand-in for systemctl in a directory: it says this, and writes down what it was asked."""
    program = directory / "systemctl"
    program.write_text(f"#!/bin/sh\necho \"$@\" >> {directory}/asked\nprintf '{said}'\n")
    program.chmod(0o755)


def test_a_unit_that_a_socket_starts_again_is_refused(asked: Planner, tmp_path: Path) -> None:
    """A unit that a socket starts again is refused, with the socket; another is stopped, by anyone who may."""
    holder = holder_of(Process(os.getpid()), unit="web.service")
    users = holder._replace(user_unit=True)
    systemctl(tmp_path, "TriggeredBy=web.socket other.socket\\n")
    for euid, one, scope in ((0, holder, ""), (1000, holder, "sudo "), (0, users, ""), (1000, users, "")):
        asked.caller = asked.caller._replace(euid=euid)
        kind = "systemctl --user" if one.user_unit else "systemctl"
        assert asked.decide_unit(one, "web.service", []) == Refusal(
            "systemd starts it through web.socket on every connection",
            f"stop it: {scope}{kind} stop web.socket",
        )
    systemctl(tmp_path)
    asked.caller = asked.caller._replace(euid=1000)
    assert asked.decide_unit(holder, "web.service", []) == Refusal(
        "systemd runs it as web.service", "stop it: sudo systemctl stop web.service"
    )
    asked.caller = asked.caller._replace(euid=0)
    assert asked.decide_unit(holder, "web.service", []) == StopStep(
        KillAction("unit", "web.service", "the systemd unit web.service", needs_name=True), unit=("web.service", False)
    )
    asked.caller = asked.caller._replace(euid=1000, uids={1000})
    stranger = Suspect(Process(77), (7,))
    mine = Suspect(Process(77), (1000,))
    refused = asked.decide_unit(users, "web.service", [mine, stranger])
    assert isinstance(refused, Refusal)
    assert refused.reason == "it is another user's process"
    assert asked.decide_unit(users, "web.service", [mine]) == StopStep(
        KillAction("unit", "web.service", "the systemd user unit web.service", needs_name=True),
        unit=("web.service", True),
    )
    assert "--user" in (tmp_path / "asked").read_text()


def test_a_unit_of_this_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's unit whose every process works in this checkout needs no name; another's, or a system's, does."""
    cgroup = "0::/user.slice/user@0.service/app.slice/web.service"
    with server(checkout) as mine, server(checkout.parent) as other:
        members = {mine.pid}
        monkeypatch.setattr(origin, "cgroup_of", lambda pid: cgroup if pid in members else "0::/")
        (checkout / "portguard.toml").write_text("[ports]\nweb = 80\n")
        found = Planner(str(checkout), {}, tree=False)
        assert found._is_own_unit("web.service", is_user_unit=True)
        assert not found._is_own_unit("web.service", is_user_unit=False)
        assert not found._is_own_unit("other.service", is_user_unit=True)
        members.add(other.pid)
        assert not found._is_own_unit("web.service", is_user_unit=True)


def test_who_runs_in_a_unit(asked: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what systemd itself started is its unit's; what someone started within a unit is a process like others."""
    systemctl(tmp_path)
    asked.caller = asked.caller._replace(euid=0)
    with server(tmp_path, parent="other") as mine:
        holder = holder_of(Process(mine.pid, "server"), unit="web.service")
        chains = {
            "unit": [(mine.pid, "server"), (1, "systemd")],
            "process": [(mine.pid, "server"), (mine.parent, "bash"), (7, "tmux: server"), (1, "systemd")],
        }
        for kind, chain in chains.items():
            monkeypatch.setattr(origin, "ancestry", lambda _, chain=chain: chain)
            found = decided(asked, holder)
            assert isinstance(found, StopStep)
            assert found.action.kind == kind


# ---------------------------------------------------------------- trees


def test_a_tree(checkout: Path) -> None:
    """With --tree the supervisor in the same checkout is ended too, first; without it, and for a shell, it is not."""
    with server(checkout, parent="nodemon") as mine:
        assert plan(mine.target).actions[0].pids == (mine.pid,)
        (action,) = plan(mine.target, tree=True).actions
        assert sorted(action.pids) == sorted((mine.pid, mine.parent))
        assert action.text.endswith(" and 1 more of its tree")
    with server(checkout, parent="sh") as mine:
        (action,) = plan(mine.target, tree=True).actions
        assert action.pids == (mine.pid,)
        assert "more" not in action.text
    with server(checkout, parent="npm run dev", job="shared") as mine:
        assert set(plan(mine.target, tree=True).actions[0].pids) == {mine.pid, mine.parent}


def test_a_tree_with_a_stranger_in_it(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tree no one is ended when one of it must not be."""
    with server(checkout, parent="nodemon") as mine:
        real = processes.uids_of
        monkeypatch.setattr(processes, "uids_of", lambda pid: (12345,) if pid == mine.parent else real(pid))
        found = plan(mine.target, tree=True)
        assert found.status == "refused"
        assert found.message.endswith(f"nodemon (pid {mine.parent}) belongs to its tree: it is another user's process")
        assert found.hint is not None
        assert f"kill {mine.parent}" in found.hint
        assert plan(mine.target).status == "planned"
    with server(checkout, parent="node", job="shared") as mine:
        monkeypatch.setattr(processes, "uids_of", real)
        rows = proc_stat.read_all()
        planner = Planner(str(checkout), {}, tree=True)
        planner._all_stats = rows | {mine.parent: rows[mine.parent]._replace(is_kernel=True)}
        refused = planner.plan(mine.target)
        assert refused.port.message.endswith(
            f"node (pid {mine.parent}) belongs to its tree: it is a thread of the kernel"
        )
        planner.close()


def test_what_has_changed_in_a_tree_is_left_out(checkout: Path) -> None:
    """A number that someone else has by now, or whose parent is another, is no part of the tree any more."""
    with server(checkout, parent="nodemon") as mine:
        rows = proc_stat.read_all()
        row = rows[mine.parent]
        for changed in (row._replace(started=row.started + 1), row._replace(parent=1_000_000)):
            found = Planner(str(checkout), {}, tree=True)
            found._all_stats = rows | {mine.parent: changed}
            plan = found.plan(mine.target)
            assert [member.handle.pid for step in plan.steps for member in step.members] == [mine.pid], changed
            found.close()


def test_members_know_what_they_hold(checkout: Path) -> None:
    """Who holds the socket must still hold it when it is signalled; the rest of the tree need not hold anything."""
    with server(checkout, parent="nodemon") as mine:
        found = Planner(str(checkout), {}, tree=True)
        plan = found.plan(mine.target)
        (row,) = plan.old
        held = {member.handle.pid: (member.socket, member.parent) for step in plan.steps for member in step.members}
        assert held == {mine.pid: (row, mine.parent), mine.parent: (None, os.getpid())}
        found.close()


def test_where_a_checkout_is(checkout: Path, tmp_path: Path) -> None:
    """A process's tree is its checkout, without git its directory; the root, and what is not shared, are none."""
    inside = checkout / "a"
    inside.mkdir()
    alone = tmp_path / "alone"
    alone.mkdir()
    one = Process(7, cwd=str(inside), cwd_is_shared=True)
    assert plans._checkout_of(one) == str(checkout)
    assert plans._checkout_of(one._replace(cwd=str(alone))) == str(alone)
    assert plans._checkout_of(one._replace(cwd_is_shared=False)) is None
    assert plans._checkout_of(one._replace(cwd=None)) is None
    assert plans._checkout_of(one._replace(cwd="/")) is None


def test_who_works_beside(checkout: Path, tmp_path: Path) -> None:
    """Beside a process is who is of its user and works in its tree, or a directory below; not one that begins alike."""
    inside, alike = checkout / "a", tmp_path / "shop2"
    inside.mkdir()
    alike.mkdir()
    with server(inside) as mine, server(alike) as other:
        process = processes.describe(mine.pid)
        assert plans._is_beside(mine.pid, process, str(checkout))
        assert plans._is_beside(mine.pid, process, str(inside))
        assert not plans._is_beside(other.pid, process, str(checkout))
        assert not plans._is_beside(mine.pid, process, None)
        assert not plans._is_beside(mine.pid, process._replace(uid=12345), str(checkout))
        assert not plans._is_beside(2**22 + 1, process._replace(uid=None), str(checkout))


def test_who_is_watched(asked: Planner, tmp_path: Path, checkout: Path) -> None:
    """A freed port is watched longer where something stands above its holder that might start it again."""
    for parent, is_watched in (
        ("sh", False),
        ("tmux: server", False),
        ("cron", False),
        ("node", True),
        ("nodemon", True),
    ):
        with server(tmp_path, parent=parent) as mine:
            holder = holder_of(processes.describe(mine.pid))
            fresh = Planner(str(tmp_path), {}, tree=False)
            assert fresh._is_watched(holder) is is_watched, parent
            assert not fresh._is_watched(holder._replace(container=Container("docker", ID, "db")))
            assert fresh.plan(mine.target).is_watched is is_watched
            fresh.close()
    with server(tmp_path, parent="sh") as mine:
        holder = holder_of(processes.describe(mine.pid))
        fresh = Planner(str(tmp_path), {}, tree=False)
        fresh.top = lambda process: process.pid + 1  # type: ignore[method-assign]  # one above it, in this checkout
        assert fresh._is_watched(holder)
        fresh.close()
    orphan = holder_of(Process(2**22 + 1, parent_pid=1))
    assert not asked._is_watched(orphan)
    assert not asked._is_watched(orphan._replace(processes=()))
    assert asked._is_watched(orphan._replace(unit="web.service"))


# ---------------------------------------------------------------- doing it


def test_what_came_of_it_may_not_be_told(tmp_path: Path, idle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no bind can be tried, or no table read, a port is not called freed: 3, and how to look."""
    target = f"127.0.0.1:{idle}"
    found = Planner(str(tmp_path), {}, tree=False)
    plan = StopPlan(KillPort(target, idle, "tcp", ("127.0.0.1",), "planned", "", None), parse_port(target))
    failed: dict[str, str] = {"127.0.0.1": "EMFILE"}
    monkeypatch.setattr(kill, "probe_hosts", lambda *_: ("failed", {}, failed))
    said = outcome(found, plan)
    assert said.status == "unknown"
    assert said.message == "stopped, but could not check the port afterwards: no bind could be tried: EMFILE"
    assert said.hint == f"see: portguard check {target}"
    assert kill._report([said], (), dry_run=False).exit_code == 3
    assert kill._report([said, said._replace(status="refused")], (), dry_run=False).exit_code == 1
    assert kill._report([said._replace(status="freed")], (), dry_run=False).exit_code == 0
    assert kill._report([said._replace(status="still-held")], (), dry_run=False).exit_code == 1
    assert kill._unknown(plan.port, "no table", ["x could not be stopped"]).message == (
        "stopped, but could not check the port afterwards: no table; x could not be stopped"
    )
    found.close()


@pytest.mark.usefixtures("quiet")
def test_a_table_that_cannot_be_read_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was to end is ended, and waited for by itself alone; then nothing is claimed."""

    def unreadable(_target: object) -> list[Socket]:
        raise LookupFailedError("netlink: no more")

    with server(tmp_path) as mine:

        def agree(_plan: object) -> tuple[str, ...]:
            monkeypatch.setattr(kill, "rows_of", unreadable)
            return ()

        report = kill.kill(mine.target, ask=agree)
        (port,) = report.ports
        assert (report.exit_code, port.status) == (3, "unknown")
        assert port.message == "stopped, but could not check the port afterwards: netlink: no more"
        assert not mine.is_running()


@pytest.mark.usefixtures("quiet")
def test_what_listens_is_ended_no_one_else_is(tmp_path: Path) -> None:
    """What listens is ended, no one else is, and the port is free."""
    with server(tmp_path, name="shop") as mine, server(tmp_path) as other:
        report = kill.kill(mine.target)
        (port,) = report.ports
        assert (report.exit_code, port.status, port.hint) == (0, "freed", None)
        assert port.message.startswith(f"ended shop (pid {mine.pid}, user ")
        assert not mine.is_running()
        assert other.is_running()
        with socket.create_server(("127.0.0.1", mine.port)):
            pass


@pytest.mark.usefixtures("quiet")
def test_a_tree_is_ended(checkout: Path) -> None:
    """A tree is ended as a whole, whatever becomes of the port on the way."""
    with server(checkout, parent="nodemon") as mine:
        (port,) = kill.kill(mine.target, tree=True).ports
        assert port.status == "freed"
        assert not signals.is_running(signals.Handle(mine.parent, 0, mine.parent_watch))
        assert not mine.is_running()


@pytest.mark.usefixtures("quiet")
def test_still_held(tmp_path: Path) -> None:
    """What does not end is said to hold the port still, with the way to end it; by force it does end."""
    with server(tmp_path, name="shop", on_term="ignore") as mine:
        report = kill.kill(mine.target)
        (port,) = report.ports
        assert (report.exit_code, port.status) == (1, "still-held")
        assert port.message == plan(mine.target).message
        assert port.hint == f"it did not end within 5 s; force it: portguard kill --force {mine.target}"
        assert [process.pid for holder in port.successors for process in holder.processes] == [mine.pid]
        assert mine.is_running()
        (port,) = kill.kill(mine.target, force=True).ports
        assert port.status == "freed"
        assert not mine.is_running()


def test_who_asks_is_asked(tmp_path: Path, idle: int) -> None:
    """The plan is shown before anything is done; with no for an answer nothing is, nor where there is no plan."""
    seen: list[KillReport] = []

    def no(report: KillReport) -> None:
        seen.append(report)

    with server(tmp_path) as mine:
        report = kill.kill(mine.target, f"127.0.0.1:{idle}", ask=no)
        assert [port.status for port in seen[0].ports] == ["planned", "nobody"]
        assert [port.status for port in report.ports] == ["declined", "nobody"]
        assert report.ports[0].message == "nothing was stopped"
        assert report.exit_code == 1
        assert mine.is_running()
        assert kill.kill(f"127.0.0.1:{idle}", ask=lambda _: pytest.fail("asked")).exit_code == 1


@pytest.mark.usefixtures("quiet")
def test_one_of_several(tmp_path: Path, idle: int) -> None:
    """Of several ports each has its own outcome, and all must be free for a success."""
    with server(tmp_path) as one, server(tmp_path) as other:
        report = kill.kill(one.target, f"127.0.0.1:{idle}", other.target, ask=lambda _: ())
        assert [port.status for port in report.ports] == ["freed", "nobody", "freed"]
        assert report.exit_code == 1


class Stopped:
    """Deeds on a container that no one has, and what was asked of whom."""

    def __init__(self, tmp_path: Path, target: str, *, needs_name: bool, name: str = "shop-db-1") -> None:
        self.found = Planner(str(tmp_path), {"PATH": str(tmp_path)}, tree=False)
        action = KillAction("container", name, f"container {name}", id=ID, needs_name=needs_name)
        declared = parse_port(target)
        port = KillPort(target, declared.port, "tcp", ("127.0.0.1",), "planned", "it listens", None, actions=(action,))
        self.plan = StopPlan(port, declared, (StopStep(action, container=Container("docker", ID, name)),))

    def carry_out(self, *names: str, **options: bool) -> KillPort:
        """Do it with these names confirmed."""
        options = {"tree": False, "force": False} | options
        acting = kill._Executor(self.found, {"PATH": self.found._cwd}, **options)
        (port,) = acting.carry_out([self.plan], names)
        return port


@pytest.mark.usefixtures("quiet")
def test_names(tmp_path: Path, idle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's container is stopped only for its whole name, its identifier, or the short one."""
    asked: list[tuple[object, ...]] = []

    def stop(*words: object) -> None:
        asked.append(words)

    monkeypatch.setattr("portguard.engines.stop.stop", stop)
    one = Stopped(tmp_path, f"127.0.0.1:{idle}", needs_name=True)
    for wrong in ((), ("shop-db",), ("",), (ID[:11],)):
        port = one.carry_out(*wrong)
        assert port.status == "refused"
        assert port.message == "it listens: this container is not this project's; repeat its full name to stop it"
        assert port.hint == f"to stop it anyway: portguard kill --confirm shop-db-1 127.0.0.1:{idle}"
    assert asked == []
    for right in ("shop-db-1", ID, ID[:12]):
        port = one.carry_out("x", right)
        assert (port.status, port.message, port.hint) == ("freed", "stopped container shop-db-1", None)
    assert [words[:3] for words in asked] == [("docker", ID, None)] * 3
    assert Stopped(tmp_path, f"127.0.0.1:{idle}", needs_name=False).carry_out().status == "freed"
    hostile = Stopped(tmp_path, f"127.0.0.1:{idle}", needs_name=True, name="a\x1b b").carry_out(force=True)
    assert hostile.hint == f"to stop it anyway: portguard kill --force --confirm {ID[:12]} 127.0.0.1:{idle}"
    tree = Stopped(tmp_path, f"127.0.0.1:{idle}", needs_name=True, name="a b").carry_out(tree=True)
    assert tree.hint == f"to stop it anyway: portguard kill --tree --confirm 'a b' 127.0.0.1:{idle}"


@pytest.mark.usefixtures("quiet")
def test_what_could_not_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is said behind who has the port still, and how to see who it is."""
    monkeypatch.setattr("portguard.engines.stop.stop", lambda *_: "no")
    with server(tmp_path) as mine:
        one = Stopped(tmp_path, mine.target, needs_name=False)
        one.plan = one.plan._replace(old=tuple(plans.rows_of(parse_port(mine.target))))
        port = one.carry_out()
        assert port.status == "still-held"
        assert port.message.endswith(f"listens on {mine.target}/tcp; shop-db-1 could not be stopped: no")
        assert port.hint == f"see what it is: portguard who {mine.target}"
        systemctl(tmp_path)
        unit = StopStep(KillAction("unit", "web.service", "the unit"), unit=("web.service", True))
        acting = kill._Executor(one.found, {"PATH": str(tmp_path)}, tree=False, force=False)
        assert acting._perform(unit, []) == []
        assert (tmp_path / "asked").read_text().split()[0] == "--user"
        (tmp_path / "systemctl").unlink()
        assert acting._perform(unit, []) == [
            "web.service could not be stopped: systemctl could not be run, or timed out"
        ]


def outcome(
    found: Planner, plan: StopPlan, *, tree: bool = False, force: bool = False, seconds: float = 0.0
) -> KillPort:
    """Return what is said of a port that was acted upon."""
    acting = kill._Executor(found, {}, tree=tree, force=force)
    return acting._outcome(plan, time.monotonic() + seconds, [])


def test_respawned(checkout: Path) -> None:
    """A port that others have by now is said to have been taken anew, with who started them where that is known."""
    with server(checkout, parent="nodemon") as old, server(checkout, parent="nodemon", name="shop") as new:
        found = Planner(str(checkout), {}, tree=False)
        before = found.plan(old.target)
        there = found.plan(new.target)
        plan = there._replace(old=before.old, port=there.port._replace(holders=before.port.holders))
        said = outcome(found, plan, seconds=60)
        assert said.status == "respawned"
        assert said.message == there.port.message
        assert [process.pid for holder in said.successors for process in holder.processes] == [new.pid]
        assert said.hint == (
            f"nodemon (pid {new.parent}) starts it again; stop both: portguard kill --tree {new.target}"
        )
        forced = outcome(found, plan, force=True)
        assert forced.hint is not None
        assert forced.hint.endswith(f"portguard kill --force --tree {new.target}")
        alone = outcome(found, plan, tree=True)
        assert alone.hint == f"nodemon (pid {new.parent}) starts it again; stop that first: kill {new.parent}"
        found.close()


def test_respawned_by_nobody_that_may_be_ended(tmp_path: Path) -> None:
    """What must not be ended is not named as what to end first."""
    with server(tmp_path) as old, server(tmp_path, parent="containerd") as new:
        found = Planner(str(tmp_path), {}, tree=False)
        there = found.plan(new.target)
        plan = there._replace(old=found.plan(old.target).old, port=there.port._replace(holders=()))
        assert outcome(found, plan).hint == f"see what starts it: portguard who {new.target}"
        found.close()


def test_the_same_socket_is_still_held(tmp_path: Path) -> None:
    """A socket that was there before is held still, by whomever; one of the same process is no other's."""
    with server(tmp_path) as mine, server(tmp_path) as other:
        found = Planner(str(tmp_path), {}, tree=False)
        plan = found.plan(mine.target)
        assert outcome(found, plan).status == "still-held"
        assert outcome(found, plan, force=True).hint == f"see what it is: portguard who {mine.target}"
        same_process = plan._replace(old=found.plan(other.target).old)
        assert outcome(found, same_process).status == "still-held"
        found.close()


def test_the_one_that_has_ended_left_it_to_another(tmp_path: Path) -> None:
    """Where those that were to end have ended, and the socket lives on, someone else has it from them."""
    with server(tmp_path) as mine, server(tmp_path) as gone:
        found = Planner(str(tmp_path), {}, tree=False)
        plan = found.plan(mine.target)
        steps = found.plan(gone.target).steps
        handle = signals.take(gone.pid)
        assert handle is not None
        signals.send(handle, signals.KILL)
        assert signals.wait([handle], 10)
        signals.close([handle])
        said = outcome(found, plan._replace(steps=steps), force=True, tree=True)
        assert said.hint == (f"a new process inherited it: portguard kill --force --tree {mine.target}")
        found.close()


def test_a_connection_is_left(busy: int, tmp_path: Path) -> None:
    """Where no one listens any more and a connection has the number, that is said, with when to try again."""
    with socket.create_connection(("127.0.0.1", busy)) as client:
        target = f"127.0.0.1:{client.getsockname()[1]}"
        found = Planner(str(tmp_path), {}, tree=False)
        port = KillPort(target, client.getsockname()[1], "tcp", ("127.0.0.1",), "planned", "", None)
        said = outcome(found, StopPlan(port, parse_port(target)))
        assert said.status == "still-held"
        assert said.message.startswith("a connection from ")
        assert said.hint == "try again when the connection has ended"


def test_a_container_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that has the port still, or anew, is stopped by its own command."""
    with server(tmp_path) as mine:
        found = Planner(str(tmp_path), {}, tree=False)
        plan = found.plan(mine.target)
        container = Container("docker", ID, "db")
        real = Engines.attribute
        monkeypatch.setattr(
            Engines,
            "attribute",
            lambda self, holders: tuple(one._replace(container=container) for one in real(self, holders)),
        )
        said = outcome(found, plan)
        assert said.message == f"container db publishes {mine.target}/tcp"
        assert said.hint == "stop it: docker stop db"
        found.close()


# ---------------------------------------------------------------- small facts


def test_who_is_confirmed() -> None:
    """What needs a name is confirmed by that very name or the container's id, and by nothing else."""
    unit = KillAction("unit", "web.service", "the unit", needs_name=True)
    assert [kill._is_confirmed(unit, names) for names in ((), ("",), ("X",), ("web",), ("web.service",))] == [
        *(False, False, False, False),
        True,
    ]
    container = KillAction("container", "db", "the container", id=ID, needs_name=True)
    assert [kill._is_confirmed(container, names) for names in ((ID[:11],), (ID[:12],), (ID,), ("db",))] == [
        False,
        *(True, True, True),
    ]


def test_commands() -> None:
    """A command that is shown can be typed as it is shown."""
    assert kill.again(["3000"], force=False, tree=False) == "portguard kill 3000"
    assert kill.again(["3000", "[::1]:80"], force=True, tree=True, confirm=["a b", "c"], yes=True) == (
        "portguard kill --yes --force --tree --confirm 'a b' --confirm c 3000 '[::1]:80'"
    )
    assert [plans.typed(text) for text in ("3000", "*:80", "[::1]:80")] == ["3000", "'*:80'", "'[::1]:80'"]


def test_what_tells_sockets_apart() -> None:
    """The kernel's number does; where there is none, the address and who holds it do."""
    row = Socket("tcp", "127.0.0.1", 80, "listen", None, 0, 7)
    named = row._replace(inode=0, pids=(5,))
    assert plans.keys_of([row, row._replace(address="::1"), row._replace(inode=8)]) == {(7,), (8,)}
    assert plans.keys_of([named, named._replace(address="::1"), named._replace(pids=(6,))]) == {
        ("127.0.0.1", (5,)),
        ("::1", (5,)),
        ("127.0.0.1", (6,)),
    }


def test_the_same_process() -> None:
    """A number is the same process's where it started then, below the same parent."""
    one = ProcessStat("x", 10, 1, 1, 0, is_kernel=False, started=5, is_ended=False)
    assert plans._is_same(one, one._replace(name="y"))
    assert not plans._is_same(one, one._replace(started=6))
    assert not plans._is_same(one, one._replace(parent=11))
    assert not plans._is_same(one, None)


def test_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks is this process, what it runs in, its user and, under sudo, who called that."""
    caller = plans._caller({})
    assert (caller.pid, caller.euid, caller.user) == (os.getpid(), os.geteuid(), None)
    assert caller.uids == {os.geteuid()}
    assert os.getppid() in caller.ancestors or os.getppid() == 0
    assert os.getpid() not in caller.ancestors
    if os.geteuid() == 0:
        assert plans._caller({"SUDO_UID": "1000"}).uids == {0, 1000}
    monkeypatch.setattr(origin, "cgroup_of", lambda _: f"0::/docker/{ID}")
    assert plans._caller({}).container_id == ID
    monkeypatch.delattr(os, "geteuid")
    elsewhere = plans._caller({"SUDO_UID": "1000"})
    assert (elsewhere.uids, elsewhere.euid, elsewhere.user) == (None, None, processes.describe(os.getpid()).user)


def test_what_is_known_of_a_process(asked: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a process: its description, its users, its container, and whether it is the kernel's."""
    with server(tmp_path) as mine:
        found = asked.suspect(mine.pid)
        assert found.process == processes.describe(mine.pid)
        assert found.uids == processes.uids_of(mine.pid)
        assert (found.is_kernel, found.container_id) == (False, None)
        rows = proc_stat.read_all()
        asked._all_stats = rows | {mine.pid: rows[mine.pid]._replace(is_kernel=True, name="k")}
        monkeypatch.setattr(origin, "cgroup_of", lambda _: f"0::/docker/{ID}")
        assert asked.suspect(mine.pid).is_kernel
        assert asked.suspect(mine.pid).container_id == ID
        asked._all_stats = {}
        assert not asked.suspect(mine.pid).is_kernel
        assert asked.name_of(mine.pid) == "server"
        assert asked.name_of(2**22 + 1) == "a process"
        engines = asked.engines
        asked.forget()
        assert mine.pid in asked._all_stats
        assert asked.engines is not engines


def test_which_rows_are_meant(tmp_path: Path) -> None:
    """Of a port's sockets those count that listen, or are bound, where the port is meant; a client's do not."""
    with server(tmp_path) as mine, socket.create_connection(("127.0.0.1", mine.port)):
        assert [row.state for row in plans.rows_of(parse_port(mine.target))] == ["listen"]
        assert [row.state for row in plans.rows_of(parse_port(str(mine.port)))] == ["listen"]
        assert plans.rows_of(parse_port(f"127.0.0.2:{mine.port}")) == []
        assert plans.rows_of(parse_port(f"{mine.target}/udp")) == []
    with server(tmp_path, is_listening=False) as mine:
        assert [row.state for row in plans.rows_of(parse_port(mine.target))] == ["bound"]


def test_one_deed_for_two_ports(tmp_path: Path, idle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has several of the ports is stopped once, for all of them."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(kill, "_SETTLE", 0.05)
    monkeypatch.setattr("portguard.engines.stop.stop", lambda *words: asked.append(words))
    one = Stopped(tmp_path, f"127.0.0.1:{idle}", needs_name=False)
    other = Stopped(tmp_path, f"127.0.0.2:{idle}", needs_name=False)
    acting = kill._Executor(one.found, {}, tree=False, force=False)
    assert [port.status for port in acting.carry_out([one.plan, other.plan], ())] == ["freed", "freed"]
    assert len(asked) == 1


def test_who_has_ended_before_the_plan_was_made(asked: Planner, tmp_path: Path) -> None:
    """A process that has ended since it was seen is no one's to signal; the others are."""
    with server(tmp_path) as mine:
        gone = Process(2**22 + 1, "gone")
        found = asked._decide_processes(80, LISTENS, holder_of(gone, Process(mine.pid, "server")))
        assert isinstance(found, StopStep)
        assert found.action.pids == (mine.pid,)
        assert found.members[0].socket == LISTENS


def test_what_lives_on_without_the_port_is_spared(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single process that gave up the port is left alone, also with --tree and --force: it was about the port."""
    monkeypatch.setattr(kill, "_SETTLE", 0.05)
    with server(checkout, on_term="close") as mine:
        (port,) = kill.kill(mine.target, tree=True, force=True).ports
        assert port.status == "freed"
        assert mine.is_running()


def test_how_long_a_port_is_watched(tmp_path: Path, idle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A freed port is watched for two seconds where something might start its holder again, and 0.3 otherwise."""
    seconds: list[float] = []

    def outcome_at(self: object, plan: StopPlan, end: float, failures: object) -> KillPort:
        seconds.append(end - time.monotonic())
        return plan.port

    monkeypatch.setattr(kill._Executor, "_outcome", outcome_at)
    monkeypatch.setattr("portguard.engines.stop.stop", lambda *_: None)
    one = Stopped(tmp_path, f"127.0.0.1:{idle}", needs_name=False)
    one.carry_out()
    one.plan = one.plan._replace(is_watched=True)
    one.carry_out()
    assert seconds[0] <= 0.3 < seconds[1] <= 2


def test_what_was_known_before_is_forgotten(checkout: Path) -> None:
    """Who has the port anew, and what started that, is looked up anew: it was not there when the plan was made."""
    with server(checkout, parent="nodemon") as old:
        found = Planner(str(checkout), {}, tree=False)
        before = found.plan(old.target)
        with server(checkout, parent="nodemon") as new:
            target = parse_port(new.target)
            plan = before._replace(target=target, port=before.port._replace(target=new.target, port=new.port))
            said = outcome(found, plan)
        assert said.status == "respawned"
        assert said.hint == (
            f"nodemon (pid {new.parent}) starts it again; stop both: portguard kill --tree {new.target}"
        )
        found.close()


def test_who_came_anew_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several that have the port now, one that was not there before is named as the one that took it."""
    with server(tmp_path) as mine, server(tmp_path) as other:
        found = Planner(str(tmp_path), {}, tree=False)
        plan = found.plan(mine.target)
        stranger = holder_of(processes.describe(other.pid), address="127.0.0.3")
        taken = plan._replace(old=found.plan(other.target).old)
        monkeypatch.setattr(Engines, "attribute", lambda _self, holders: (*holders, stranger))
        said = outcome(found, taken)
        assert said.status == "respawned"
        assert " listens on 127.0.0.3:80/tcp" in said.message
        found.close()
