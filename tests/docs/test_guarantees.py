"""The page of promises: each names what attacks it, and that is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def test_every_promise_names_its_test() -> None:
    """Each paragraph that promises something ends with the tests that attack it, and those files exist."""
    promises = [paragraph for paragraph in PAGE.split("\n\n") if paragraph.startswith("**")]
    assert len(promises) >= 20
    for promise in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)`", promise)
        assert named, promise
        assert promise.rstrip().endswith(f"`{named[-1]}`.")
        assert [name for name in named if not (ROOT / name).is_file()] == []
