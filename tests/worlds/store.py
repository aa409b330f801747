"""The store of the running test, of which every test has one of its own; and what the files of any store are called."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from portguard.leases import directory, quick_look
from portguard.leases.table import Lease, nobody_is_known_dead, readable
from portguard.system import kernel


class Files(NamedTuple):
    """The files of the store in `state`, as this host, boot and network namespace has them."""

    state: Path

    @property
    def table(self) -> Path:
        """The table of leases, and its lock."""
        return self.state / quick_look.name_of(kernel.host_key())

    @property
    def book(self) -> Path:
        """The file of the assignments."""
        return self.state / directory.assignments_name(kernel.machine_key())

    @property
    def lock(self) -> Path:
        """The lock of the assignments."""
        return self.state / f"assignments-{kernel.machine_key()}.lock"


def state_directory() -> Path:
    """Return the state directory of the running test."""
    return Path(os.environ["PORTGUARD_STATE_DIR"])


def leases(is_alive: Callable[[int, int], bool] = nobody_is_known_dead) -> dict[int, Lease]:
    """Return all unexpired leases of the running test's store by port, each looked up by itself.

    With `is_alive`, without those that ended with their process.
    """
    with readable(str(state_directory()), kernel.host_key(), is_alive=is_alive) as table:
        if table is None:
            return {}
        found = ((port, table.lease(port)) for port in range(65_536))
        return {port: lease for port, lease in found if lease is not None}
