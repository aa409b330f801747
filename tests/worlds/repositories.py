"""Git repositories to be made without the user's settings, and numbers to declare in them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import portguard

_TIMEOUT = 60.0
_SETTINGS = ("-c", "protocol.file.allow=always", "-c", "init.defaultBranch=trunk")


def git(*arguments: str | Path) -> str:
    """Run git without the user's settings, and return what it prints; it must do it."""
    identity = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *_SETTINGS, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **identity},
        capture_output=True, text=True, timeout=_TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def declared_numbers(count: int) -> list[int]:
    """Return free ports outside of the range that own numbers come from; nothing is leased."""
    return portguard.free_ports(count, within=(20_000, 32_000), lease=False)


def declare_two(directory: Path) -> tuple[int, int]:
    """Write a config with `web` and `db`, both movable; return their numbers."""
    web, db = declared_numbers(2)
    (directory / "portguard.toml").write_text(
        f'[ports.web]\nport = {web}\nenv = "WEB_PORT"\n\n[ports.db]\nport = {db}\nenv = "DB_PORT"\n'
    )
    return web, db
