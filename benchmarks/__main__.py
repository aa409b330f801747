"""`python -m benchmarks`: make an environment, build each world, run the contenders, write the tables.

Exit code 0: measured, whatever came of it. 1: not conclusive, or a contender failed. 2: something it needs is missing.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import re
import shutil
import sys

from benchmarks import environment, isolation, machine, measure, report, targets
from benchmarks.contenders import BARE, BARE_AGAIN, CONTENDERS, Contender
from benchmarks.worlds import PLANS


def main() -> int:
    """Measure and report; return the exit code."""
    options = _options()
    if sys.platform != "linux":
        return _missing("network namespaces are needed: this runs on Linux alone")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    sys.stderr.write(f"seed {seed}\n")
    try:
        isolation.call(int)  # before anything takes long: whether there can be a private network
        with isolation.temporary_directory() as directory:
            return _measure(options, seed, directory)
    except (isolation.FailedInChildError, environment.UnusableError) as error:
        return _missing(str(error))
    except KeyboardInterrupt:
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast portguard is, and its peers.")
    parser.add_argument("--rounds", type=_count, default=21, metavar="N", help="of each world (%(default)s)")
    names = [plan.name for plan in PLANS]
    parser.add_argument("--world", action="append", choices=names, help="these alone; may be repeated")
    parser.add_argument(
        "--only",
        type=re.compile,
        metavar="PATTERN",
        help="contenders whose name matches, and what they are compared with",
    )
    parser.add_argument("--out", metavar="FILE", help="write the tables there, too")
    parser.add_argument("--seed", type=int, metavar="N", help="of the order and of what is asked for")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--env", metavar="DIR", help="keep the environment there, and use it again")
    place.add_argument("--python", metavar="PATH", help="measure the environment of this interpreter as it is")
    return parser.parse_args()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _measure(options: argparse.Namespace, seed: int, directory: str) -> int:
    place = _environment(options, directory)
    described = machine.describe(place)
    chosen, skipped = _chosen(options, place)
    results = []
    for plan in PLANS:
        if options.world and plan.name not in options.world:
            continue
        scratch = os.path.join(directory, plan.name)
        os.mkdir(scratch)
        work = functools.partial(measure.in_world, plan, chosen, place, scratch, rounds=options.rounds, seed=seed)
        try:
            results.append(isolation.call(work))
        except isolation.FailedInChildError as error:
            skipped.append(f"world {plan.name}: {error}")
            sys.stderr.write(f"{skipped[-1]}\n")
    order = [contender.name for contender in chosen]
    text = report.markdown(results, described, skipped, order=order, rounds=options.rounds, seed=seed)
    sys.stdout.write(text)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text)
    has_failed = not results or any(one.failures for one in results)
    return 1 if has_failed or not all(map(targets.is_conclusive, results)) else 0


def _environment(options: argparse.Namespace, directory: str) -> environment.Environment:
    if options.python:
        return environment.existing(shutil.which(options.python) or options.python)
    sys.stderr.write("making the environment\n")
    return environment.fresh(os.path.abspath(options.env) if options.env else os.path.join(directory, "environment"))


def _chosen(options: argparse.Namespace, place: environment.Environment) -> tuple[list[Contender], list[str]]:
    """Return the contenders that were asked for and can run, and why others of them cannot."""
    names = {one.name for one in CONTENDERS if not options.only or options.only.search(one.name)}
    names |= targets.references(names) | {BARE, BARE_AGAIN}
    wanted = [one for one in CONTENDERS if one.name in names]
    skipped = [
        f"{one.name}: {one.needs.removeprefix('module:')} is missing" for one in wanted if not place.has(one.needs)
    ]
    return [one for one in wanted if place.has(one.needs)], skipped


def _missing(reason: str) -> int:
    sys.stderr.write(f"python -m benchmarks: {reason}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
