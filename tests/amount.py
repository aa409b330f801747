"""How much of a long test is run: a fifth every day, all of it with `pytest -m slow`."""

from __future__ import annotations

import os

WHOLE = "PORTGUARD_TEST_WHOLE"
MINUTES = "PORTGUARD_TEST_MINUTES"


def examples(whole: int) -> int:
    """Return how many of `whole` examples to run now. The test carries the marker `scaled`."""
    return whole if os.environ.get(WHOLE) == "1" else whole // 5


def minutes(daily: float, whole: float) -> float:
    """Return for how long to go on: as long as is asked for, else `daily` or `whole`."""
    return float(os.environ.get(MINUTES) or (whole if os.environ.get(WHOLE) == "1" else daily))
