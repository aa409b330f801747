"""How long one lease takes while others want one too: `python benchmarks/leases.py [--processes 64] [--rounds 40]`.

One line for callers that do something else for 0 to 300 ms between two leases, as real ones do, and one for callers
that do nothing else. Each call of `portguard.free_port()` is measured on its own; the store is a new one each time.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import random
import sys
import tempfile
import time

import portguard

_TTL = 3_600  # seconds; longer than any run, so that a port that occurs twice is a duplicate


def work(think: float, rounds: int, _worker: int) -> list[tuple[float, int]]:
    """Lease so often, with up to `think` seconds in between; return how long each took and its port."""
    random.seed(os.getpid())
    portguard.free_port(ttl=1)  # what is loaded once is not what is measured
    found = []
    for _ in range(rounds):
        time.sleep(random.uniform(0, think))  # noqa: S311 - a pause, not a secret
        began = time.perf_counter()
        port = portguard.free_port(ttl=_TTL)
        found.append((time.perf_counter() - began, port))
    return found


def measure(think: float, processes: int, rounds: int) -> str:
    """Let so many processes lease at once; return one line of figures."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PORTGUARD_STATE_DIR"] = os.path.join(directory, "state")
        with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
            began = time.perf_counter()
            answers = pool.map(functools.partial(work, think, rounds), range(processes), chunksize=1)
            seconds = time.perf_counter() - began
    found = [item for answer in answers for item in answer]
    times = sorted(1_000 * duration for duration, _ in found)
    duplicates = len(found) - len({port for _, port in found})
    p50, p95 = times[len(times) // 2], times[int(len(times) * 0.95)]
    return (
        f"{processes} processes x {rounds}, 0-{1_000 * think:g} ms between leases: p50 {p50:.2f} ms, p95 {p95:.2f} ms, "
        f"max {times[-1]:.2f} ms, {duplicates} duplicates; {len(found) / seconds:.0f} leases/s"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    for think in (0.3, 0.0):
        sys.stdout.write(measure(think, options.processes, options.rounds) + "\n")


if __name__ == "__main__":
    main()
