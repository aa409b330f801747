"""check says "conflict" exactly when the server fails and "free" exactly when it starts: real servers and holders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest

import portguard
from portguard.rules.binding import Options
from tests.worlds import holders, servers
from tests.worlds.holders import ADDRESSES, ALL_OPTIONS, Address, Held
from tests.worlds.netns import run_in_netns

if TYPE_CHECKING:
    from portguard.model import Cause

PLAIN, REUSE = Options(), Options(reuse_address=True)
# What is declared, and which of the real servers mean exactly that by the same word. Java's 0.0.0.0 is a dual-stack ::,
# and it has no IPv6-only ::.
DECLARED = {
    "127.0.0.1": ("python", "node", "java"),
    "127.0.0.2": ("python", "node", "java"),
    "0.0.0.0": ("python", "node"),
    "::1": ("python", "node", "java"),
    "::": ("python", "node"),
    "*": ("python", "node", "java"),
}
# What check names as the cause where a holder in such a state is in the way of a TCP server.
CAUSES: dict[str | None, Cause] = {
    "listen": "listener",
    "bound": "bound",
    "established": "connection",
    "time-wait": "time-wait",
}
NewHolder = Callable[[], AbstractContextManager[Held]]


class Result(NamedTuple):
    """How often servers started (True) and failed (False), and where check had said otherwise."""

    cases: Counter[bool]
    wrong: list[str]


def every_holder() -> Iterator[NewHolder]:
    """Yield a way into every state that a server can find its port in."""
    yield holders.nobody
    for address in ADDRESSES:
        for options in ALL_OPTIONS:
            yield partial(holders.listening, address, options)
            yield partial(holders.bound, "tcp", address, options)
        for options in (PLAIN, REUSE):
            for dead in (False, True):
                yield partial(holders.abandoned, address, options, dead=dead)
        yield partial(holders.bound, "udp", address, PLAIN)
    for local in (Address(host, v6only=False) for host in ("127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1")):
        for options in (PLAIN, REUSE):
            for dead in (False, True):
                yield partial(holders.outgoing, local, options, dead=dead)


def endpoint(declared: str, port: int) -> str:
    """Return what is asked on the command line."""
    return f"[{declared}]:{port}" if ":" in declared else f"{declared}:{port}"


def run_cases(language: str) -> Result:
    """Hold, check, start a server; runs in a private namespace."""
    cases: Counter[bool] = Counter()
    wrong = []
    with servers.batch_server(language) as server:
        for new_holder in every_holder():
            with new_holder() as held:
                for declared in (name for name, meant_by in DECLARED.items() if language in meant_by):
                    report = portguard.check(endpoint(declared, held.port)).ports[0]
                    started, error = server.try_listen(declared, held.port, v6only=declared == "::")
                    cases[started] += 1
                    if (report.verdict, report.cause) != (
                        ("free", "none") if started else ("conflict", CAUSES.get(held.state))
                    ):
                        answer = "starts" if started else f"fails with {error}"
                        wrong.append(f"{held}: {declared} is {report.verdict} ({report.cause}), {language} {answer}")
    return Result(cases, wrong)


@pytest.mark.needs("netns", "ipv6")
@pytest.mark.parametrize(
    "language",
    ["python", *(pytest.param(language, marks=pytest.mark.needs(language)) for language in ("node", "java"))],
)
def test_verdict_is_what_the_server_meets(language: str) -> None:
    """In every case the verdict is free if, and only if, the server starts; a conflict names its cause."""
    if language == "java":
        servers.prepare_java()
    result = run_in_netns(run_cases, language)
    assert not result.wrong, f"{len(result.wrong)} of {result.cases.total()}:\n" + "\n".join(result.wrong)
    assert result.cases.total() >= 300
    assert min(result.cases[True], result.cases[False]) >= 80, result.cases
