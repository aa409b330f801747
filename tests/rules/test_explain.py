"""The sentences of `check`, `who` and `kill`: each situation has its own, word for word, and the next step with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from portguard.model import Compose, Container, Declaration, Holder, Process, Rival, Source
from portguard.rules import explain
from portguard.rules.ownership import Claim
from portguard.rules.verdicts import Decision

WEB = Declaration("web", 8080, 8080, Source("portguard.toml", 2))
HELD = Holder("tcp", "0.0.0.0", 8080, "listen", "known")
NODE = Process(77, "node", "ada", uid=1000)
CONTAINER = Container("docker", "ab" * 32, "shop-db-1", compose=Compose("shop", "db", "/home/b/shop"))


def message(verdict: str = "conflict", cause: str = "listener", item: Declaration = WEB, **more: Any) -> str:
    """Return the sentence for a verdict, with these facts besides."""
    decision = Decision(verdict, cause)  # type: ignore[arg-type]  # words of the tests
    return explain.message(item, "tcp", explain.Finding(decision, **{"unprivileged_start": 1024, **more}))


def hint(verdict: str = "conflict", cause: str = "listener", item: Declaration = WEB, **more: Any) -> str | None:
    """Return the next step for a verdict, with these facts besides."""
    place = {"platform": more.pop("platform", "linux"), "euid": more.pop("euid", 1000)}
    decision = Decision(verdict, cause)  # type: ignore[arg-type]  # words of the tests
    return explain.hint(item, "tcp", explain.Finding(decision, **{"unprivileged_start": 1024, **more}), **place)


@pytest.mark.parametrize(
    ("holder", "expected"),
    [
        (HELD._replace(processes=(NODE,)), "node (pid 77, user ada)"),
        (HELD._replace(processes=(NODE._replace(user=None),)), "node (pid 77)"),
        (HELD._replace(processes=(Process(77),)), "a process (pid 77)"),
        (HELD._replace(processes=(Process(77, "n" * 40),)), f"{'n' * 32} (pid 77)"),
        (
            HELD._replace(processes=(Process(80, "late", started_at=9.0), Process(90, "first", started_at=5.0))),
            "first (pids 90, 80)",
        ),
        (HELD._replace(processes=(Process(9, "b"), Process(8, "a", started_at=1.0))), "b (pids 9, 8)"),
        (HELD._replace(processes=tuple(Process(pid, "w") for pid in (4, 2, 3, 1))), "w (pids 1, 2, 3, 4)"),
        (HELD._replace(processes=tuple(Process(pid, "w") for pid in (5, 4, 2, 3, 1))), "w (pids 1, 2, 3, 4, ...)"),
        (HELD._replace(owner_status="hidden"), "a process this user cannot see"),
        (HELD._replace(owner_status="hidden", uid=0), "a process this user cannot see (uid 0)"),
        (HELD._replace(owner_status="kernel"), "the kernel"),
        (HELD._replace(owner_status="none-found"), "an unknown process"),
    ],
)
def test_an_owner_is_the_first_process_that_started(holder: Holder, expected: str) -> None:
    """An owner is the first process that started, with all pids that fit, or the way in which it is not known."""
    assert explain.owner_of(holder) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "node (pid 77, user ada) listens on 0.0.0.0:8080/tcp"),
        ({"protocol": "udp", "state": "bound"}, "node (pid 77, user ada) has bound 0.0.0.0:8080/udp"),
        ({"state": "bound"}, "node (pid 77, user ada) has bound 0.0.0.0:8080/tcp and does not listen"),
        ({"state": "established"}, "a connection from node (pid 77, user ada) uses 0.0.0.0:8080/tcp as its local port"),
        ({"state": "time-wait"}, "a closed connection on 0.0.0.0:8080 lingers in TIME_WAIT"),
        ({"state": None}, "a connection from node (pid 77, user ada) uses 0.0.0.0:8080/tcp as its local port"),
        ({"address": "::1"}, "node (pid 77, user ada) listens on [::1]:8080/tcp"),
        (
            {"container": CONTAINER},
            "container shop-db-1 (service db of compose project shop) publishes 0.0.0.0:8080/tcp",
        ),
    ],
)
def test_who_has_an_endpoint(changes: dict[str, Any], expected: str) -> None:
    """Who has an endpoint, and how, in a sentence; a container before the process that forwards for it."""
    assert explain.occupied(HELD._replace(processes=(NODE,), **changes)) == expected


TWIN = Declaration("api", 8080, 8080, Source("compose.yaml", 7))
LOW = WEB._replace(port=80)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            lambda: message(cause="duplicate", item=WEB._replace(replicas=3, service="web")),
            "3 replicas of web cannot share *:8080/tcp",
        ),
        (
            lambda: message(cause="duplicate", duplicates=[TWIN, Declaration("9", 9, 9, Source(None, None))]),
            "*:8080/tcp is declared twice: web (portguard.toml:2) and api (compose.yaml:7) and 9",
        ),
        (
            lambda: message(cause="duplicate", duplicates=[TWIN], holders=[HELD._replace(processes=(NODE,))]),
            (
                "*:8080/tcp is declared twice: web (portguard.toml:2) and api (compose.yaml:7); "
                "also, node (pid 77, user ada) listens on 0.0.0.0:8080/tcp"
            ),
        ),
        (
            lambda: message(cause="lease", rival=Rival("assignment", "/a", None)),
            "nothing listens on *:8080/tcp, but it belongs to the checkout /a",
        ),
        (
            lambda: message(cause="lease", rival=Rival("run", "/a", 7)),
            "nothing listens on *:8080/tcp, but process 7 in /a runs with it",
        ),
        (
            lambda: message(cause="lease", rival=Rival("hold", "/a", 7)),
            "nothing listens on *:8080/tcp, but process 7 in /a holds it",
        ),
        (
            lambda: message("ours", holders=[HELD._replace(processes=(NODE,))]),
            "node (pid 77, user ada) listens on 0.0.0.0:8080/tcp, which is this project's own",
        ),
        (
            lambda: message("unavailable", "address-not-local", WEB._replace(hosts=("10.0.0.1", "10.0.0.2"))),
            "this host has no address 10.0.0.1, 10.0.0.2",
        ),
        (
            lambda: message(
                "unavailable", "address-not-local", errors={"10.0.0.1": "EADDRNOTAVAIL", "::2": "EADDRNOTAVAIL"}
            ),
            "this host has no address 10.0.0.1, ::2",
        ),
        (
            lambda: message("unavailable", "address-not-local", errors={"fe80::1%x": "EINVAL", "fe80::2": "EINVAL"}),
            "this host has no address fe80::1%x, fe80::2: it needs its interface, as in fe80::2%eth0",
        ),
        (
            lambda: message("unavailable", "address-not-local", errors={"::1": "EAFNOSUPPORT"}),
            "::1 cannot be bound: sockets of its family are switched off here, or a sandbox forbids them",
        ),
        (
            lambda: message(
                "unavailable", "address-not-local", errors={"::1": "EPROTONOSUPPORT", "10.0.0.1": "EADDRNOTAVAIL"}
            ),
            "this host has no address ::1, 10.0.0.1",
        ),
        (
            lambda: message("unavailable", "excluded"),
            "the system has excluded port 8080 or reserved it exclusively, so nothing needs to listen on it",
        ),
        (
            lambda: message("unavailable", "permission", LOW),
            "permission denied to bind *:80/tcp: ports below 1024 need privileges here",
        ),
        (
            lambda: message("unavailable", "permission", LOW, unprivileged_start=80),
            "permission denied to bind *:80/tcp: the system forbids this bind",
        ),
        (
            lambda: message("unknown", "permission", LOW),
            (
                "permission denied to bind *:80/tcp: ports below 1024 need privileges here; "
                "could not tell whether it is free"
            ),
        ),
        (lambda: message("unknown", "none"), "could not tell whether *:8080/tcp is free on the engine's host"),
        (
            lambda: message("unknown", "none", errors={"0.0.0.0": "EMFILE", "::": "EMFILE"}),
            "*:8080/tcp could not be probed (0.0.0.0: EMFILE, ::: EMFILE)",
        ),
        (
            lambda: message(
                claim=Claim("other-service", HELD._replace(container=CONTAINER)),
                holders=[HELD._replace(container=CONTAINER)],
            ),
            (
                "container shop-db-1 (service db of compose project shop) publishes 0.0.0.0:8080/tcp, "
                "another service of this project"
            ),
        ),
        (
            lambda: message(holders=[HELD._replace(processes=(NODE,))], claim=Claim("plain", HELD)),
            "node (pid 77, user ada) listens on 0.0.0.0:8080/tcp",
        ),
        (
            lambda: message(holders=[HELD._replace(processes=(NODE,)), HELD, HELD]),
            "node (pid 77, user ada) listens on 0.0.0.0:8080/tcp, and 2 more",
        ),
        (message, "*:8080/tcp cannot be bound (EADDRINUSE), and no socket table shows who holds it"),
        (
            lambda: message(holders=[HELD._replace(state=None)]),
            "*:8080/tcp cannot be bound (EADDRINUSE), and no socket table shows who holds it",
        ),
        (
            lambda: message(item=WEB._replace(last_port=8090)),
            "*:8080-8090/tcp cannot be bound (EADDRINUSE), and no socket table shows who holds it",
        ),
    ],
)
def test_each_verdict_and_cause_has_its_sentence(found: Callable[[], str], expected: str) -> None:
    """Each verdict and cause has its sentence."""
    assert found() == expected


OTHERS = HELD._replace(container=CONTAINER)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: hint("ours"), None),
        (lambda: hint(cause="duplicate"), "give one of them another port"),
        (lambda: hint(cause="duplicate", suggestion=8081), "give one of them another port, 8081 for instance"),
        (lambda: hint("unavailable", "address-not-local"), "see which addresses there are: ip address"),
        (
            lambda: hint("unavailable", "address-not-local", platform="darwin"),
            "see which addresses there are: ifconfig -a",
        ),
        (lambda: hint("unavailable", "excluded"), "netsh interface ipv4 show excludedportrange protocol=tcp"),
        (
            lambda: hint("unavailable", "permission", LOW, unprivileged_start=1024),
            "use a port from 1024 on, or allow it: sudo sysctl net.ipv4.ip_unprivileged_port_start=80",
        ),
        (
            lambda: hint("unavailable", "permission", LOW, platform="darwin", unprivileged_start=1024),
            "use a port from 1024 on",
        ),
        (
            lambda: hint("unavailable", "permission", LOW, unprivileged_start=80),
            "run it outside the sandbox or container: a security module or filter forbids it here",
        ),
        (
            lambda: hint("unavailable", "permission", LOW, unprivileged_start=81),
            "use a port from 81 on, or allow it: sudo sysctl net.ipv4.ip_unprivileged_port_start=80",
        ),
        (lambda: hint("unknown", "none", WEB._replace(is_published=True)), "ask the engine: docker ps"),
        (lambda: hint("unknown", "none"), "try again; if it stays, this system's limits are exhausted (ulimit -n)"),
        (lambda: hint(cause="lease", rival=Rival("run", "/a", 7)), "see what it is: ps -fp 7"),
        (
            lambda: hint(cause="lease", rival=Rival("run", "/a", 7), suggestion=8081),
            "see what it is: ps -fp 7, or declare port 8081, which is free",
        ),
        (
            lambda: hint(cause="lease", rival=Rival("assignment", "/a", None), suggestion=8081),
            "if that checkout no longer needs it: portguard leases release 8080",
        ),
        (
            lambda: hint(item=WEB._replace(origin="environment", env="WEB"), rival=Rival("assignment", "/a", None)),
            "unset WEB: it seems to be left over from there",
        ),
        (
            lambda: hint(item=WEB._replace(origin="dotenv", env="WEB"), rival=Rival("assignment", "/a", None)),
            "write this checkout's own numbers: portguard env --write .env",
        ),
        (
            lambda: hint(claim=Claim("other-project", OTHERS), has_compose=True, suggestion=8081),
            "stop it: docker compose -p shop stop db, or declare port 8081, which is free",
        ),
        (lambda: hint(claim=Claim("other-project", OTHERS)), "stop it: docker stop shop-db-1"),
        (
            lambda: hint(claim=Claim("plain", HELD._replace(container=Container("docker", "", "")))),
            "find it: docker ps --filter publish=8080",
        ),
        (lambda: hint(claim=Claim("plain", HELD), holders=[HELD._replace(processes=(NODE,))]), "stop it: kill 77"),
        (
            lambda: hint(item=WEB._replace(env="WEB"), holders=[HELD._replace(processes=(NODE,))], suggestion=8081),
            "stop it: kill 77, or move it: WEB=8081",
        ),
        (
            lambda: hint(
                item=WEB._replace(is_ad_hoc=True), holders=[HELD._replace(processes=(NODE,))], suggestion=8081
            ),
            "stop it: kill 77, or use port 8081, which is free",
        ),
    ],
)
def test_each_verdict_and_cause_has_its_next_step(found: Callable[[], str | None], expected: str | None) -> None:
    """Each verdict and cause has its next step; where there is another port, that as well."""
    assert found() == expected


def held_by(*processes: Process, **changes: Any) -> list[Holder]:
    """Return one holder of these processes."""
    return [HELD._replace(processes=processes, **changes)]


@pytest.mark.parametrize(
    ("cause", "holders", "euid", "expected"),
    [
        ("time-wait", held_by(NODE), 1000, "try again: the kernel releases it within 60 s"),
        ("connection", held_by(NODE), 1000, "try again when the connection has ended"),
        (
            "listener",
            held_by(NODE, Process(9, "docker-proxy")),
            0,
            "a container engine forwards it; find the container: docker ps --filter publish=8080",
        ),
        (
            "listener",
            held_by(NODE, Process(1, "systemd")),
            0,
            "PID 1 holds it for a unit; find the unit: systemctl list-sockets",
        ),
        ("listener", held_by(NODE, unit="web.service"), 0, "stop it: systemctl stop web.service"),
        ("listener", held_by(NODE, unit="web.service"), 1000, "stop it: sudo systemctl stop web.service"),
        (
            "listener",
            held_by(NODE, unit="web.service", user_unit=True),
            1000,
            "stop it: systemctl --user stop web.service",
        ),
        ("listener", held_by(NODE, unit=""), 1000, "stop it: kill 77"),
        ("listener", held_by(NODE, NODE._replace(pid=7), NODE), 1000, "stop it: kill 7 77"),
        ("listener", held_by(NODE, NODE._replace(pid=7, uid=0)), 1000, "stop it: sudo kill 7 77"),
        ("listener", held_by(NODE._replace(uid=7)), 0, "stop it: kill 77"),
        ("listener", held_by(NODE._replace(uid=None)), None, "stop it: kill 77"),
        ("listener", held_by(owner_status="hidden"), 1000, "run with sudo to see the owner"),
        (
            "listener",
            held_by(owner_status="hidden"),
            0,
            "the owner is hidden even from root, by a container, a sandbox or a security module",
        ),
        (
            "listener",
            held_by(owner_status="lookup-failed"),
            0,
            "the owner could not be looked up here; run outside the sandbox or container to see it",
        ),
        (
            "listener",
            held_by(owner_status="none-found", state=None),
            0,
            "no socket table here shows who holds it; some tables leave out sockets that are bound but do not listen",
        ),
        (
            "listener",
            [],
            0,
            "no process here holds it; it may belong to the kernel, another PID namespace or another container",
        ),
    ],
)
def test_freeing_step(cause: str, holders: list[Holder], euid: int | None, expected: str) -> None:
    """Each kind of holder has the command that frees its port, or the way to find who holds it."""
    assert explain.freeing_step(cause, holders, 8080, platform="linux", euid=euid) == expected


def test_a_process_beside_a_container() -> None:
    """Stopping the container on one address leaves the port busy on another: both are named, and both steps."""
    holders = (
        HELD._replace(address="127.0.0.1", container=CONTAINER),
        HELD._replace(address="127.0.0.2", processes=(NODE,)),
    )
    claim = Claim("other-project", holders[0])

    told = message(holders=holders, claim=claim)
    assert told.startswith("container shop-db-1 (service db of compose project shop) publishes 127.0.0.1:8080/tcp")
    assert told.endswith("; also, node (pid 77, user ada) listens on 127.0.0.2:8080/tcp")
    assert hint(holders=holders, claim=claim) == "stop it: docker stop shop-db-1, then stop the other: kill 77"


def test_ssh_holds_ports_for_containers_on_macos_alone() -> None:
    """The platform decides whether ssh is a forwarder, which no hint ends."""
    holders = held_by(NODE._replace(name="ssh"))

    assert explain.freeing_step("listener", holders, 8080, platform="linux", euid=1000) == "stop it: kill 77"
    assert "kill" not in explain.freeing_step("listener", holders, 8080, platform="darwin", euid=1000)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("web.service", "web.service"),
        ("getty@tty1.service", "getty@tty1.service"),
        ("a-b_c:d.service", "a-b_c:d.service"),
        ("run-a\\x2db.service", "'run-a?x2db.service'"),
        (None, ""),
        ("", ""),
        ("-rf.service", ""),
        ("\\x2d.service", ""),
        ("a b.service", ""),
        ("a;b.service", ""),
        ("é.service", ""),
        ("aé.service", ""),
    ],
)
def test_unit_word(unit: str | None, expected: str) -> None:
    """A unit's name is typed as it is where that is safe, as a quoted pattern where it is escaped, else not at all."""
    assert explain.unit_word(unit) == expected
