"""What becomes of a small file system of its own: full, or read-only."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from tests.worlds.netns import MS_BIND, MS_PRIVATE, MS_REC, mount

_MS_RDONLY, _MS_REMOUNT = 0x1, 0x20


def fill(place: Path) -> None:
    """Use up what space there is, with a file called `ballast`."""
    with (place / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(b"x" * 4096):
            pass
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (place / "drop").write_bytes(b"x" * 4096)
    (place / "drop").unlink()


def make_read_only(place: Path) -> None:
    """Remount the tmpfs that is mounted there."""
    mount("tmpfs", str(place), None, _MS_REMOUNT | _MS_RDONLY)


def make_everything_read_only() -> None:
    """Make every mounted file system read-only, for this mount namespace alone, which must not be the host's."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    for line in Path("/proc/self/mounts").read_text().splitlines():
        place = line.split()[1].encode().decode("unicode_escape")
        # What lies under another mount, or must stay as it is (/proc/sys of a container), is left.
        with contextlib.suppress(OSError):
            mount("none", place, None, MS_BIND | _MS_REMOUNT | _MS_RDONLY)
