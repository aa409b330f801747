"""Anyone who builds this, wherever and whenever, gets the same bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.packaging.building import HAS_TREE, build, copy_tree, run, tracked

pytestmark = [
    pytest.mark.skipif(not HAS_TREE, reason="there is no source tree beside the tests: nothing can be built"),
    pytest.mark.needs("git"),
    pytest.mark.slow,
]


def hashes(tree: Path, into: Path, umask: int) -> dict[str, str]:
    """Return what the files built from that tree are, byte for byte."""
    before = os.umask(umask)
    try:
        built = build(tree, into, "wheel", "sdist")
    finally:
        os.umask(before)
    return {target: hashlib.sha256(path.read_bytes()).hexdigest() for target, path in built.items()}


def test_two_clones_give_the_same_bytes(tmp_path: Path) -> None:
    """At other paths, with files of other times and other permissions: the same wheel and the same sdist."""
    origin = copy_tree(tracked(), tmp_path / "origin")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    run(["git", "init", "--quiet", origin], tmp_path)
    run(["git", "add", "--all"], origin)
    run(["git", *identity, "commit", "--quiet", "--message", "all"], origin)
    found = []
    for number, umask in enumerate((0o022, 0o077)):
        clone = tmp_path / ("clone" * (number + 1)) / "of" / "portguard"
        before = os.umask(umask)
        try:
            run(["git", "clone", "--quiet", origin, clone], tmp_path)
        finally:
            os.umask(before)
        for path in clone.rglob("*"):
            os.utime(path, (number * 1_000_000, number * 1_000_000))
        found.append(hashes(clone, tmp_path / f"dist-{number}", umask))
    assert found[0] == found[1]
    assert len(set(found[0].values())) == 2
