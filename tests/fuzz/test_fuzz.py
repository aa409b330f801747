"""Every reader holds against every stored input, and against some new ones each day."""

from __future__ import annotations

import collections
import os
import sys
from types import ModuleType
from typing import Any

import pytest

from portguard.cli import command
from portguard.config import parse
from portguard.errors import ConfigError
from portguard.holders import containers
from portguard.leases import table
from portguard.rules import draft, env_block
from portguard.sources import port_spec
from portguard.system import proc_net, sock_diag
from tests import amount
from tests.amount import MINUTES
from tests.fuzz import HERE, TARGETS, harness, inputs, mutate
from tests.fuzz.measure import MEGABYTES, SECONDS, Watch
from tests.fuzz.minimize import name_of
from tests.oracle.test_oracle import new_seed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="netlink, /proc and memory's peak are Linux's")

_DAILY, _WHOLE = 1.0, 60.0  # seconds for each target
_CORPUS_LIMIT = 500 * 1024  # bytes, of all targets


def seconds() -> float:
    """Return how long to try new inputs of one target."""
    minutes = os.environ.get(MINUTES)
    return float(minutes) * 60 if minutes else _WHOLE if amount.is_whole() else _DAILY


@pytest.mark.scaled
@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize("target", TARGETS)
def test_every_input_is_answered(target: str) -> None:
    """Stored and new inputs: an answer or our own error, nothing that contradicts itself, under a second, 100 MB."""
    stored = inputs(target)
    fuzz = harness(target)
    for data in stored:  # what is imported, and remembered once, is not the inputs' doing
        fuzz(data)
    watch = Watch(fuzz)
    for data in stored:
        watch(data)
    mutate.run(watch, stored, seconds(), new_seed())
    assert watch.executions > len(stored)
    assert watch.slowest < SECONDS, watch.slowest_input
    assert watch.grown() < MEGABYTES


BROKEN: dict[str, tuple[ModuleType, str, Any]] = {
    "config": (parse, "LAST_PORT", 1 << 20),
    "compose": (port_spec, "variable", lambda *_, **__: "WEB_PORT"),
    "dotenv": (env_block, "_BOM", "A"),
    "editors": (draft, "_string", lambda text: text),
    "netlink": (sock_diag, "parse", lambda payload, _: sock_diag._row(payload, "udp").socket),
    "proc": (proc_net, "_number", lambda text, base, _: int(text, base)),
    "engine": (containers, "_real", lambda path: os.path.realpath(path or "/")),
    "state": (table, "_with_end", lambda _: (0, 1)),
    "argv": (command, "_is_plain", lambda text, kind: not text.startswith("0")),
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_broken_reader_is_noticed(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one rule of a reader broken, a stored input tells."""
    fuzz = harness(target)
    monkeypatch.setattr(*BROKEN[target])
    with pytest.raises((AssertionError, ConfigError, ValueError)):
        collections.deque(map(fuzz, inputs(target)), maxlen=0)


def test_the_corpus_is_small_and_named_by_its_content() -> None:
    """No target is without inputs, all together are small, and none was changed on its way into the repository."""
    paths = [path for library in ("corpus", "regressions") for path in HERE.glob(f"{library}/*/*")]
    assert {path.parent.name for path in HERE.glob("corpus/*/*")} == set(TARGETS)
    assert sum(path.stat().st_size for path in paths) < _CORPUS_LIMIT
    assert [path for path in paths if path.name != name_of(path.read_bytes())] == []
