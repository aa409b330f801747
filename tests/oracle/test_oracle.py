"""The oracle finds no verdict that a real server contradicts, sees all there is to see, and notices broken rules."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import amount
from tests.oracle import generate, sabotage
from tests.oracle.build import Builder, furnish
from tests.oracle.hunt import WORKERS, Find, Result, hunt
from tests.oracle.judge import load_everything, run_world
from tests.oracle.regressions import REGRESSIONS, Regression
from tests.oracle.shrink import shrink
from tests.oracle.worlds import KINDS, SIGHTS, Kind, Sock, World, code
from tests.worlds import sandbox
from tests.worlds.netns import run_in_netns

if TYPE_CHECKING:
    from portguard.model import Cause, Verdict

pytestmark = [
    pytest.mark.needs("netns", "users", "ipv6"),
    pytest.mark.skipif(not sandbox.can_forbid, reason="the number of socket(2) is not known for this machine"),
]

SEED = "PORTGUARD_TEST_SEED"
_DAILY, _WHOLE = 1 / 3, 60.0  # minutes
_BESIDE_OTHERS = 3  # worlds at once, every day
_CATCHING = 60.0  # seconds in which a broken rule has to be noticed

VERDICTS: tuple[Verdict, ...] = ("free", "ours", "conflict", "unavailable", "unknown")
CAUSES: tuple[Cause, ...] = (
    *("listener", "connection", "time-wait", "bound"),
    *("duplicate", "address-not-local", "permission", "none"),
)
ERRNOS = ("EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EACCES")


# As in /proc/net/tcp (include/net/tcp_states.h), which does not list what is bound and no more.
STATES: dict[Kind, set[str]] = {
    "listening": {"0A"},
    "bound": set(),
    "outgoing": {"01"},
    "chosen": {"01"},
    "syn-sent": {"02"},
    "accepted": {"01"},
    "close-wait": {"08"},
    "half-closed": {"05"},
    "fin-wait-2": {"05"},
    "time-wait": {"06"},
    "outgoing-time-wait": {"06"},
    "udp-bound": {"07"},
    "udp-connected": {"01"},
    "udp-chosen": {"01"},
}


def new_seed() -> str:
    """Return a seed: the one that is asked for, or a fresh one."""
    return os.environ.get(SEED) or secrets.token_hex(4)


def has_fault(world: World, broken: Callable[[], None] | None = None) -> bool:
    """Whether something is wrong in that world."""
    return bool(run_world(world, broken).wrong)


def tell(find: Find) -> str:
    """Say what is wrong in a world, and give the smallest one in which something is, ready for `regressions`."""
    wrong = "\n".join(f"  {wrong}" for wrong in find.wrong)
    if not has_fault(find.world):
        return f"world {find.seed} (not again, when it was run once more):\n{wrong}\n{code(find.world)}"
    small = shrink(find.world, has_fault)
    rest = "\n".join(f"  {wrong}" for wrong in run_world(small).wrong)
    return f"world {find.seed}:\n{wrong}\nsmallest:\n{rest}\n{code(small)}"


def expected_counts() -> set[str]:
    """Return everything that must have occurred for the hunt to have proved anything."""
    return {
        *(f"kind {kind}" for kind in KINDS),
        *(f"sight {sight}" for sight in SIGHTS),
        *(f"verdict {verdict}" for verdict in VERDICTS),
        *(f"cause {cause}" for cause in CAUSES),
        *(f"errno {name}" for name in ERRNOS),
        *(f"sysctl {key}={value}" for key, values in generate.SYSCTLS.items() for value, _ in values),
        *(f"hosts {','.join(hosts)}: {end}" for hosts in generate.HOSTS for end in ("starts", "fails")),
        *("user root", "user other", "asked by argument", "asked by declaration", "protocol tcp", "protocol udp"),
        *("askers with IPv6: True", "askers with IPv6: False", "suggestion", "holders"),
    }


def assert_right(result: Result, seed: str, *, missing: float = 0.0) -> None:
    """Demand no wrong verdict, and that all there is occurred, but for a share of kinds that may be `missing`."""
    found = "\n".join(map(tell, result.finds))
    assert not result.finds, f"{SEED}={seed}\n{found}\n{result}"
    never = sorted(expected_counts() - set(result.counts))
    assert len(never) <= missing * len(expected_counts()), (
        f"{SEED}={seed}\nnever occurred: {', '.join(never)}\n{result}"
    )


@pytest.mark.scaled
@pytest.mark.timeout(2 * 3600)
def test_every_verdict_is_what_a_server_meets(capsys: pytest.CaptureFixture[str]) -> None:
    """In random worlds no verdict, cause, holder or suggestion is wrong, and every kind of everything occurs.

    In the 20 seconds of a daily run a rare kind, such as a sandbox, may not come up: then nine tenths of them must.
    """
    seed = new_seed()
    result = hunt(seed, amount.minutes(_DAILY, _WHOLE) * 60, workers=WORKERS if amount.is_whole() else _BESIDE_OTHERS)
    with capsys.disabled():
        sys.stdout.write(f"\n{SEED}={seed}\n{result}\n")
    assert_right(result, seed, missing=0.0 if amount.is_whole() else 0.1)


@pytest.mark.parametrize(
    "broken",
    [pytest.param(broken, marks=[] if broken in sabotage.DAILY else pytest.mark.slow) for broken in sabotage.ALL],
    ids=lambda broken: broken.__name__,
)
def test_broken_rule_is_noticed(broken: Callable[[], None]) -> None:
    """With any one rule broken, the oracle finds a wrong verdict within a minute."""
    seed = new_seed()
    result = hunt(seed, _CATCHING, sabotage=broken)
    assert result.finds, f"{SEED}={seed}\n{result}"


@pytest.mark.slow
def test_failing_world_is_made_small() -> None:
    """Of a world with a dozen sockets and a hundred questions, at most two sockets and one question are left."""
    seed = new_seed()
    broken = sabotage.servers_do_not_reuse
    find = hunt(seed, _CATCHING, sabotage=broken).finds[0]
    small = shrink(find.world, lambda world: has_fault(world, broken))
    assert has_fault(small, broken), code(small)
    assert len(small.sockets) <= 2, code(small)
    assert len(small.cases) == len(small.cases[0].items) == 1, code(small)
    # Under the real rules there is nothing wrong in it, and its code says what it is.
    assert not has_fault(small), code(small)


def test_world_is_the_same_for_the_same_seed() -> None:
    """A seed names one world, and a world's code makes it again."""
    from tests.oracle import worlds

    seed = new_seed()
    for number in range(50):
        world = generate.world(f"{seed}/{number}")
        assert world == generate.world(f"{seed}/{number}")
        assert eval(code(world), vars(worlds)) == world  # our own text


def states(sock: Sock) -> set[str]:
    """Make that socket alone; return the states that the kernel lists for its port."""
    world = World(sockets=(sock,), cases=())
    builder = Builder()
    furnish(world)
    builder.build(world)
    assert [fact.kind for fact in builder.facts] == [sock.kind]
    found = set()
    for suffix in ("", "6"):
        lines = Path(f"/proc/self/net/{builder.facts[0].protocol}{suffix}").read_text(encoding="ascii").splitlines()[1:]
        rows = [line.split() for line in lines]
        found |= {row[3] for row in rows if int(row[1].rpartition(":")[2], 16) == builder.facts[0].port}
    builder.close()
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"])
def test_each_kind_is_what_its_name_says(host: str) -> None:
    """The kernel has each kind of socket in the state that it stands for, in both families."""
    found = {kind: run_in_netns(states, Sock(kind, host, 40000)) for kind in KINDS}
    assert found == STATES


@pytest.mark.parametrize(
    "regression",
    [pytest.param(item, id=item.name) for item in REGRESSIONS],
)
def test_found_once_is_right_now(regression: Regression) -> None:
    """Where the oracle found something wrong before, it finds nothing any more."""
    load_everything()
    wrong = run_world(regression.world).wrong
    if wrong and regression.fault is not None:
        pytest.xfail(regression.fault)
    assert not wrong, "\n".join(map(str, wrong))
    assert regression.fault is None, "that fault is gone: say so in regressions"
