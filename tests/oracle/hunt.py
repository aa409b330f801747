"""Runs one random world after the other, several at once, until the time is up or something is wrong."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import NamedTuple

from tests.oracle import generate
from tests.oracle.judge import Judged, Wrong, load_everything, run_world
from tests.oracle.reality import rivals
from tests.oracle.worlds import World

# Most of a busy port's time portguard sleeps between two looks: several worlds fit on a processor.
WORKERS = 5 * (os.cpu_count() or 1)


class Find(NamedTuple):
    """A world in which something is wrong, and the seed it came from."""

    seed: str
    world: World
    wrong: tuple[Wrong, ...]


class Result(NamedTuple):
    """What a hunt saw: how often what occurred, what was wrong, and how long it took."""

    counts: Counter[str]
    finds: tuple[Find, ...]
    seconds: float

    def __str__(self) -> str:
        verdicts, worlds = self.counts["verdicts"], self.counts["worlds"]
        lines = [
            f"{worlds} worlds, {verdicts} verdicts in {self.seconds:.1f} s: {verdicts / self.seconds:.0f} a second",
            f"{sum(len(find.wrong) for find in self.finds)} wrong in {len(self.finds)} worlds",
        ]
        return "\n".join([*lines, *(f"  {name}: {count}" for name, count in sorted(self.counts.items()))])


def hunt(
    seed: str,
    seconds: float,
    *,
    sabotage: Callable[[], None] | None = None,
    workers: int = WORKERS,
    most_finds: int = 1,
) -> Result:
    """Run worlds of `seed` for that long; stop early after `most_finds` with something wrong."""
    load_everything()
    rivals(frozenset(generate.HOSTS))  # once, for all workers
    begin = time.monotonic()
    counts: Counter[str] = Counter()
    finds: list[Find] = []
    number = 0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        running: dict[Future[Judged], str] = {}
        while True:
            is_over = time.monotonic() - begin >= seconds or len(finds) >= most_finds
            while not is_over and len(running) < workers:
                number += 1
                name = f"{seed}/{number}"
                running[pool.submit(_run, name, sabotage)] = name
            if not running:
                break
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(done)
                judged = done.result()
                counts += judged.counts
                counts["worlds"] += 1
                if judged.wrong:
                    finds.append(Find(name, generate.world(name), tuple(judged.wrong)))
    return Result(counts, tuple(finds), time.monotonic() - begin)


def _run(name: str, sabotage: Callable[[], None] | None) -> Judged:
    return run_world(generate.world(name), sabotage)
