"""Asks portguard in a world, tries the server, and says where the two disagree."""

from __future__ import annotations

import codecs
import importlib
import os
import pkgutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import portguard
from portguard.api.check import check_project
from portguard.model import Declaration, PortReport, Source
from portguard.project.records import Project
from tests.oracle.build import Builder, Fact, furnish
from tests.oracle.generate import HOSTS
from tests.oracle.reality import NO_ADDRESS, Trial, causes_of, is_in_the_way, rivals, try_server
from tests.oracle.worlds import HOLDER, Case, Item, World, code
from tests.worlds import netns, sandbox

if TYPE_CHECKING:
    from portguard.model import Cause, Protocol, Verdict
    from tests.oracle.reality import Rivals

    Answer = tuple[Verdict, Cause]

ENVIRON = {
    "HOME": "/nonexistent",
    "PATH": "/usr/bin:/bin",
    "PORTGUARD_STATE_DIR": "/nonexistent/state",
    "DOCKER_HOST": "unix:///nonexistent/docker.sock",
}
_TIMEOUT = 120.0
_LIFE = 50.0  # seconds; after sixty the kernel forgets dead connections (TCP_TIMEWAIT_LEN, tcp_fin_timeout)


class Wrong(NamedTuple):
    """Where portguard and reality disagree."""

    case: Case
    item: Item
    protocol: Protocol
    said: str
    met: str

    def __str__(self) -> str:
        return f"{code(self.item)} {self.protocol}, uid {self.case.uid}: {self.said}; {self.met}"


class Judged(NamedTuple):
    """How often what occurred, and what was wrong."""

    counts: Counter[str]
    wrong: list[Wrong]


def load_everything() -> None:
    """Import all that an answer may need: users who are judged later may not be able to read it."""
    for module in pkgutil.walk_packages(portguard.__path__, "portguard."):
        if not module.name.startswith(("portguard.cli", "portguard.pytest_plugin", "portguard.__main__")):
            importlib.import_module(module.name)
    for name in ("ipaddress", "json", "psutil", "pwd", "encodings.ascii", "encodings.idna", "encodings.latin_1"):
        importlib.import_module(name)
    codecs.lookup("ascii")


def run_world(world: World, sabotage: Callable[[], None] | None = None) -> Judged:
    """Make the world in a namespace of its own, and judge all its cases. `sabotage` runs in the asking process."""
    declared = {item.hosts for case in world.cases if len(case.items) > 1 for item in case.items}
    excluded = rivals(frozenset(HOSTS) | declared)
    return netns.run_in_netns(_run_here, world, excluded, sabotage, timeout=_TIMEOUT)


def _run_here(
    world: World,
    excluded: Rivals,
    sabotage: Callable[[], None] | None,
) -> Judged:
    begin = time.monotonic()
    furnish(world)
    builder = Builder()
    builder.build(world)
    counts: Counter[str] = Counter()
    wrong: list[Wrong] = []
    counts.update(f"kind {fact.kind}" for fact in builder.facts)
    counts.update(f"sysctl {key}={value}" for key, value in world.sysctls)
    counts[f"sight {world.sight}"] += 1
    counts[f"askers with IPv6: {world.has_v6}"] += 1
    here = netns.PrivateNetns(os.getpid())
    for uid in dict.fromkeys(case.uid for case in world.cases):
        cases = [case for case in world.cases if case.uid == uid]
        judge = _Judge(world, builder.facts, excluded)
        done = here.call(judge.run, cases, uid, builder.descriptors(), sabotage, timeout=_TIMEOUT)
        counts.update(done.counts)
        wrong += done.wrong
    builder.close()
    if time.monotonic() - begin > _LIFE:
        return Judged(Counter({"worlds that took too long": 1}), [])
    return Judged(counts, wrong)


class _Judge:
    """Runs as the user who asks, in a process of its own."""

    def __init__(
        self,
        world: World,
        facts: Sequence[Fact],
        excluded: Rivals,
    ) -> None:
        self._world = world
        self._facts = facts
        self._excluded = excluded
        self._counts: Counter[str] = Counter()
        self._wrong: list[Wrong] = []

    def run(
        self, cases: Sequence[Case], uid: int, descriptors: Sequence[int], sabotage: Callable[[], None] | None
    ) -> Judged:
        for descriptor in descriptors:
            os.close(descriptor)
        if sabotage is not None:
            sabotage()
        os.chdir("/")
        if self._world.sight == "nothing":
            netns.unshare(netns.CLONE_NEWNS)
            netns.mount("none", "/", None, netns.MS_REC | netns.MS_PRIVATE)
            netns.mount("none", "/proc", "tmpfs")
        if self._world.sight != "whole":
            sandbox.forbid(sandbox.AF_NETLINK)
        if not self._world.has_v6:
            sandbox.forbid(sandbox.AF_INET6)
        if uid:
            netns.become(uid)
        for case in cases:
            self._judge(case)
        return Judged(self._counts, self._wrong)

    def _judge(self, case: Case) -> None:
        for item, report in _ask(case):
            trial = try_server(report.protocol, item.hosts, item.port)
            expected = self._expected(case, item, report.protocol, trial)
            self._count(case, item, report, trial)
            said = f"{report.verdict} ({report.cause})"
            met = "starts" if trial.is_started else f"fails: {trial.errors}"
            if (report.verdict, report.cause) not in expected:
                right = " or ".join(f"{verdict} ({cause})" for verdict, cause in sorted(expected))
                self._wrong.append(Wrong(case, item, report.protocol, said, f"the server {met}, right is {right}"))
            self._judge_suggestion(case, item, report)
            if self._world.sight == "whole" and report.cause in ("listener", "bound"):
                self._judge_holders(case, item, report, trial)

    def _judge_holders(self, case: Case, item: Item, report: PortReport, trial: Trial) -> None:
        """See that exactly the sockets in the way are named, and their process for root: others may not see it."""
        wanted = "EADDRINUSE" if "EADDRINUSE" in trial.errors.values() else "EACCES"
        addresses = [address for address, error in trial.errors.items() if error == wanted]
        met = {
            fact.host for fact in _met(self._facts, addresses, report.protocol, item.port) if fact.cause == report.cause
        }
        owner = ("hidden", ()) if case.uid else ("known", (HOLDER,))
        right = {(host, *owner) for host in met}
        said = {
            (holder.address, holder.owner_status, tuple(process.name for process in holder.processes))
            for holder in report.holders
        }
        self._counts["holders"] += 1
        if said != right:
            self._wrong.append(Wrong(case, item, report.protocol, f"holders {said}", f"right are {right}"))

    def _judge_suggestion(self, case: Case, item: Item, report: PortReport) -> None:
        """See that on a number suggested instead the server starts."""
        if report.suggestion is None:
            return
        self._counts["suggestion"] += 1
        for protocol in item.protocols:
            trial = try_server(protocol, item.hosts, report.suggestion)
            if not trial.is_started:
                met = f"the server fails there: {trial.errors}"
                self._wrong.append(Wrong(case, item, protocol, f"take {report.suggestion}", met))

    def _count(self, case: Case, item: Item, report: PortReport, trial: Trial) -> None:
        self._counts.update(
            (
                "verdicts",
                f"verdict {report.verdict}",
                f"cause {report.cause}",
                f"protocol {report.protocol}",
                f"user {'root' if case.uid == 0 else 'other'}",
                f"hosts {','.join(item.hosts)}: {'starts' if trial.is_started else 'fails'}",
                f"asked by {'argument' if item.is_argument else 'declaration'}",
            )
        )
        self._counts.update(f"errno {error}" for error in set(trial.errors.values()))

    def _expected(self, case: Case, item: Item, protocol: Protocol, trial: Trial) -> set[Answer]:
        """Return the right answers, mostly one."""
        if self._has_twin(case, item, protocol):
            return {("conflict", "duplicate")}
        if trial.is_started:
            return {("free", "none")}
        errors = set(trial.errors.values())
        if "EADDRINUSE" in errors:
            busy = [address for address, error in trial.errors.items() if error == "EADDRINUSE"]
            causes = self._causes(busy, protocol, item.port)
            return {("ours" if self._is_ours(case, item, cause) else "conflict", cause) for cause in causes}
        if "EACCES" in errors:
            refused = [address for address, error in trial.errors.items() if error == "EACCES"]
            causes = self._causes(refused, protocol, item.port)
            verdict: Verdict = "unknown" if self._world.sight == "nothing" else "unavailable"
            return {("conflict", cause) if cause == "listener" else (verdict, "permission") for cause in causes}
        if errors and errors <= set(NO_ADDRESS):
            return {("unavailable", "address-not-local")}
        raise AssertionError(f"a server meets what nobody thought of: {item} {trial}")

    def _has_twin(self, case: Case, item: Item, protocol: Protocol) -> bool:
        return any(
            other is not item
            and other.port == item.port
            and protocol in other.protocols
            and (protocol, item.hosts, other.hosts) in self._excluded
            for other in case.items
        )

    def _is_ours(self, case: Case, item: Item, cause: Cause) -> bool:
        """Whether the holder's name makes it ours: to see that takes root and a listener."""
        return item.is_owned and case.uid == 0 and cause == "listener"

    def _causes(self, addresses: Sequence[str], protocol: Protocol, port: int) -> set[Cause]:
        """Return what may be named as the cause: two where the table does not tell which sockets are IPv6-only.

        /proc/net never does, the kernel's answer only for those without a peer (inet_diag_msg_attrs_fill).
        """
        sight = self._world.sight
        if sight == "nothing":
            return {"none"}
        listed = [fact for fact in self._facts if sight == "whole" or fact.cause != "bound"]
        believed = [fact._replace(v6only=fact.v6only and self._is_known(fact)) for fact in listed]
        return {causes_of(_met(facts, addresses, protocol, port)) for facts in (listed, believed)}

    def _is_known(self, fact: Fact) -> bool:
        """Whether it can be known that this IPv6-only socket is one: what is bound to one address is (__inet6_bind)."""
        return fact.cause in ("listener", "bound") and (self._world.sight == "whole" or fact.host != "::")


def _met(facts: Sequence[Fact], addresses: Sequence[str], protocol: Protocol, port: int) -> list[Fact]:
    return [fact for fact in facts if any(is_in_the_way(fact, protocol, address, port) for address in addresses)]


def _ask(case: Case) -> list[tuple[Item, PortReport]]:
    """Return portguard's answer for each item and protocol."""
    if len(case.items) == 1 and case.items[0].is_argument:
        item = case.items[0]
        host, protocol = item.hosts[0], item.protocols[0]
        text = f"[{host}]:{item.port}/{protocol}" if ":" in host else f"{host}:{item.port}/{protocol}"
        return [(item, report) for report in portguard.check(text, cwd="/", environ=ENVIRON).ports]
    declarations = tuple(
        Declaration(
            f"d{number}",
            item.port,
            item.port,
            Source("/portguard.toml", number + 1),
            item.protocols,
            item.hosts,
            owner=(HOLDER,) if item.is_owned else (),
        )
        for number, item in enumerate(case.items)
    )
    reports = check_project(Project("/", declarations=declarations), (), ENVIRON, strict=False).ports
    assert len(reports) == sum(len(item.protocols) for item in case.items), reports
    return [(case.items[int(report.name[1:])], report) for report in reports]
