"""Leases of processes that cannot be looked for here, and callers who cannot tell where they are: who excludes whom."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import portguard
from tests.conftest import PORTGUARD
from tests.worlds.users import WITHOUT

_TIMEOUT = 60.0
_RANGE = (20_000, 32_000)
_HOLD = """
import sys
import portguard
with portguard.hold(within=(int(sys.argv[1]),) * 2, bound=False) as held:
    print(held.port, flush=True)
    sys.stdin.read()
    sys.stdout.flush()
    import os
    os._exit(0)  # as if killed: the lease stays written
"""

pytestmark = pytest.mark.needs("netns", "pidns")


def run(*words: str | int, inside: Sequence[str] = (), cwd: Path | str = "/") -> subprocess.CompletedProcess[str]:
    """Run the command, where there is less to see."""
    return subprocess.run(
        [*inside, *PORTGUARD, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False, timeout=_TIMEOUT
    )


def is_given(port: int, inside: Sequence[str] = ()) -> bool:
    """Whether `free`, asked for this port, gives it."""
    done = run("free", "--range", f"{port}-{port}", "--no-lease", inside=inside)
    assert done.returncode in (0, 1), done
    return done.returncode == 0


@contextlib.contextmanager
def held_for_life(port: int, inside: Sequence[str]) -> Iterator[None]:
    """Have a process lease the port for its life, and end without releasing it."""
    with subprocess.Popen(
        [*inside, sys.executable, "-c", _HOLD, str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"{port}\n"
            yield
        finally:
            process.stdin.close()
            process.wait(_TIMEOUT)


@pytest.mark.parametrize("world", ["other-processes", "own-proc"])
def test_what_is_held_outside_is_not_given_inside(world: str) -> None:
    """A lease for the life of a process that has another number in this PID namespace, or none, is a lease here."""
    with portguard.hold(within=_RANGE, bound=False) as held:
        port = held.port
        assert not is_given(port, WITHOUT[world])
    assert is_given(port, WITHOUT[world])


@pytest.mark.parametrize("world", ["other-processes", "own-proc"])
def test_what_is_held_inside_is_not_given_outside(world: str, tmp_path: Path) -> None:
    """Nor the other way round; that its process has ended cannot be seen, and that it lives is held against no check.

    It can be released.
    """
    (port,) = portguard.free_ports(1, within=_RANGE, lease=False)
    with held_for_life(port, WITHOUT[world]):
        assert not is_given(port)
        assert not is_given(port, WITHOUT["other-processes"])
    assert not is_given(port)
    (listed,) = json.loads(run("leases", "--json").stdout)["data"]["leases"]
    assert (listed["port"], listed["process"]) == (port, None)
    (tmp_path / "portguard.toml").write_text(f"[ports]\nweb = {port}\n")
    assert run("check", cwd=tmp_path).returncode == 0
    assert run("leases", "release", port).returncode == 0
    assert is_given(port)


def test_one_who_has_ended_here_keeps_nothing() -> None:
    """In one and the same PID namespace a lease ends with its process."""
    (port,) = portguard.free_ports(1, within=_RANGE, lease=False)
    with held_for_life(port, ()):
        assert not is_given(port)
    assert is_given(port)


@pytest.mark.needs("hidepid")
@pytest.mark.parametrize("world", ["proc", "proc-net"])
def test_who_cannot_tell_where_they_are_have_no_lease(world: str) -> None:
    """Without the boot and the network namespace no table is the right one: unleased, and kept from equals alone."""
    (port,) = portguard.free_ports(1, within=_RANGE, lease=False)
    first, second = (run("free", "--json", "--range", f"{port}-{port}", inside=WITHOUT[world]) for _ in range(2))
    (given,) = json.loads(first.stdout)["data"]["ports"]
    assert (given["port"], given["leased"], given["expires_at"]) == (port, False, None)
    assert "not leased" in first.stderr
    assert "without /proc" in first.stderr
    assert second.returncode == 1
