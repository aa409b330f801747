"""How much of a long test is run: a tenth every day, all of it with `pytest -m slow`."""

from __future__ import annotations

import os

WHOLE = "PORTGUARD_TEST_WHOLE"
MINUTES = "PORTGUARD_TEST_MINUTES"


def is_whole() -> bool:
    """Whether long tests are to be run whole."""
    return os.environ.get(WHOLE) == "1"


def examples(whole: int) -> int:
    """Return how many of `whole` examples to run now. The test carries the marker `scaled`."""
    return whole if is_whole() else whole // 10


def minutes(daily: float, whole: float) -> float:
    """Return for how long to go on: as long as is asked for, else `daily` or `whole`."""
    return float(os.environ.get(MINUTES) or (whole if is_whole() else daily))
