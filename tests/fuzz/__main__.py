"""Fuzzing by hand: `python -m tests.fuzz TARGET --minutes 10`. An input that breaks something is kept as a regression.

Guided by coverage where atheris is installed (the extra `fuzz`), else by luck. `--grow` puts what was found beside the
stored corpus, as little of it as reaches as far.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import HERE, TARGETS, harness, inputs, mutate
from tests.fuzz.measure import MEGABYTES, SECONDS, Watch
from tests.fuzz.minimize import minimized, name_of, store
from tests.fuzz.oracles import memory

_LONGEST = 16 * 1024  # bytes
_MERCY = 600  # seconds; what is slow is told by `Watch`, in time of the processor, and not by a busy machine


def main() -> int:
    """Fuzz one target, say how much was tried; 1 when something broke, was too slow or took too much memory."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--grow", action="store_true", help="store what reaches further")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portguard-fuzz-", dir=memory()) as directory:
        place = Path(directory)
        (place / "found").mkdir()
        is_guided = importlib.util.find_spec("atheris") is not None
        is_broken = (_guided if is_guided else _lucky)(asked.target, asked.minutes * 60, place)
        found = [*inputs(asked.target), *(path.read_bytes() for path in (place / "found").iterdir())]
    if is_broken:
        return 1
    watch = Watch(harness(asked.target))
    for data in found:
        watch(data)
    slowest = name_of(watch.slowest_input)
    _say(f"replayed: {watch.executions} inputs, the slowest {watch.slowest:.3f} s ({slowest}), {watch.grown():.0f} MB")
    if watch.slowest >= SECONDS:
        _say(f"that is longer than the {SECONDS:g} s that are allowed")
        _keep(asked.target, watch.slowest_input)
        return 1
    if watch.grown() >= MEGABYTES:
        _say(f"that is more than the {MEGABYTES:.0f} MB that are allowed")
        return 1
    if asked.grow:
        kept = minimized(harness(asked.target), found)
        store(HERE / "corpus" / asked.target, kept)
        _say(f"stored: {len(kept)} inputs, {sum(map(len, kept)) / 1024:.1f} KiB")
    return 0


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def _keep(target: str, data: bytes) -> None:
    path = HERE / "regressions" / target / name_of(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    _say(f"broken by {len(data)} bytes: {path}")


def _guided(target: str, seconds: float, place: Path) -> bool:
    """Run atheris in a child; return whether something broke."""
    seeds, note, words = place / "seeds", place / "note", place / "words"
    store(seeds, inputs(target))
    words.write_text(
        "# what the inputs are made of\n" + "".join(f'"{word.decode()}"\n' for word in mutate.words(inputs(target)))
    )
    arguments = (
        *(place / "found", seeds, f"-max_total_time={seconds:.0f}", f"-max_len={_LONGEST}", f"-timeout={_MERCY}"),
        "-report_slow_units=1000000000",
        *(f"-dict={words}", f"-artifact_prefix={place}/broken-", "-print_final_stats=1", "-verbosity=1"),
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", target, note, *arguments],
        stderr=subprocess.PIPE, text=True, errors="replace", check=False, env={**os.environ, "TMPDIR": str(place)},
    )  # fmt: skip
    broken = sorted(place.glob("broken-*"))
    for path in broken:
        _keep(target, path.read_bytes())
    if broken or done.returncode:
        _say(done.stderr[-4000:])
        return True
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = used.ru_utime + used.ru_stime
    figures = json.loads(note.read_text())
    (place / "found" / "slowest").write_bytes(bytes.fromhex(figures["input"]))  # to be judged without instruments
    statistics = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
    edges, features = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)[-1]
    _say(
        f"{target}: {statistics['number_of_executed_units']} executions in {seconds:.0f} s, {spent:.0f} s of the "
        f"processor, {statistics['average_exec_per_sec']} a second; {edges} edges, {features} features; "
        f"{figures['grown']:.0f} MB above the start, the slowest input {figures['slowest']:.3f} s, instrumented"
    )
    return False


def _lucky(target: str, seconds: float, _place: Path) -> bool:
    """Try mutations; return whether something broke."""
    watch = Watch(harness(target))
    tried: list[bytes] = []

    def fuzz(data: bytes) -> None:
        tried[:] = [data]
        watch(data)

    start = time.monotonic()
    try:
        mutate.run(fuzz, inputs(target), seconds, secrets.token_hex(4))
    except AssertionError as error:
        _keep(target, tried[0])
        _say(f"{error}: {error.__cause__!r}")
        return True
    rate = watch.executions / (time.monotonic() - start)
    _say(f"{target}: {watch.executions} executions in {seconds:.0f} s, {rate:.0f} a second, without guidance")
    return False


if __name__ == "__main__":
    sys.exit(main())
