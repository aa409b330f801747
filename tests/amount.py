"""How much of a long test is run: a fifth every day, all of it with `pytest -m slow`."""

from __future__ import annotations

import os

WHOLE = "PORTGUARD_TEST_WHOLE"


def examples(whole: int) -> int:
    """Return how many of `whole` examples to run now. The test carries the marker `scaled`."""
    return whole if os.environ.get(WHOLE) == "1" else whole // 5
