"""What inputs cost: time of the processor, and memory. Knows no target."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 1.0  # of the processor, for one input
MEGABYTES = 100.0  # above the start, for any number of inputs
_EVERY = 1.0  # seconds between two notes


class Watch:
    """A harness that remembers its slowest input, and notes its figures where it may be ended at any time."""

    def __init__(self, fuzz: Callable[[bytes], None], note: Path | None = None) -> None:
        self.executions = 0
        self.slowest = 0.0
        self.slowest_input = b""
        self._fuzz = fuzz
        self._note = note
        self._noted = 0.0
        reset_peak()
        self._start = peak()

    def __call__(self, data: bytes) -> None:
        """Hand one input to the harness."""
        start = time.process_time()
        self._fuzz(data)
        taken = time.process_time() - start
        self.executions += 1
        if taken > self.slowest:
            self.slowest, self.slowest_input = taken, data
        now = time.monotonic()
        if self._note is not None and now - self._noted > _EVERY:
            self._noted = now
            figures = {"slowest": self.slowest, "input": self.slowest_input.hex(), "grown": self.grown()}
            self._note.write_text(json.dumps(figures))

    def grown(self) -> float:
        """Return how many megabytes the memory has grown at its highest."""
        return peak() - self._start


def reset_peak() -> None:
    """Forget how much memory was used before (proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Return the most memory that was used, in megabytes (proc_pid_status(5), VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    return int(status.partition("VmHWM:")[2].split(None, 1)[0]) / 1024
