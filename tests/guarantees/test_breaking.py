"""Each promise of the pages, broken on purpose: a test that the page names notices, or it proves nothing."""

from __future__ import annotations

import ast
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.guarantees import check, env, faults, free, kill, output, reading, security
from tests.guarantees.breaking import ROOT, Breaking, Copy, is_caught

PAGE = (ROOT / "docs" / "guarantees.md").read_text()
SECURITY = (ROOT / "SECURITY.md").read_text()
ON_PAGE: Mapping[str, Sequence[Breaking]] = {
    promise: breakings
    for room in (check, free, env, kill, reading, output, faults)
    for promise, breakings in room.BREAKINGS.items()
}
# Each once: some break a promise and what SECURITY.md says.
ALL = [
    *{
        breaking[:4]: (promise, breaking)
        for promise, breakings in (*security.BREAKINGS.items(), *ON_PAGE.items())
        for breaking in breakings
    }.values()
]
DEADLINE = 150.0  # seconds for one breaking; the tests named take a few seconds each
UNBROKEN_DEADLINE = 1800.0

every_breaking = pytest.mark.parametrize(
    "breaking", [pytest.param(item, id=f"{promise}: {item.bug}") for promise, item in ALL]
)


class Promise(NamedTuple):
    """The words in bold, and the files that the paragraph names as its tests."""

    words: str
    tests: list[str]


def promises() -> list[Promise]:
    """Return the promises of docs/guarantees.md."""
    return [
        Promise(" ".join(bold.split()), re.findall(r"`tests/([\w/]+\.py)`", paragraph))
        for paragraph in PAGE.split("\n\n")
        for bold in re.findall(r"^\*\*(.*?)\*\*", paragraph, re.DOTALL)
    ]


def refusals() -> Iterator[str]:
    """Yield what SECURITY.md says that no one gets, and what portguard never does, as the table calls it."""
    for row in re.findall(r"^\| (an? .*?) \|.*?\| (.*?) \|$", SECURITY, re.MULTILINE):
        who = re.split(r"[:,]| of ", row[0])[0]
        yield from (f"{who}: {what}" for what in row[1].split(", "))
    never = " ".join(SECURITY.partition("## What it never does")[2].split())
    yield from (f"never {what}" for what in re.split(r",? (?:and )?never ", never)[1:])


def test_every_promise_has_a_breaking() -> None:
    """Each promise is known to the table by how it begins, each key of the table begins just one promise."""
    words = [promise.words for promise in promises()]
    assert len(words) >= 20
    assert [known for known in words if not any(known.startswith(key) for key in ON_PAGE)] == []
    assert [key for key in ON_PAGE if sum(known.startswith(key) for known in words) != 1] == []
    assert all(ON_PAGE.values())


def test_every_refusal_has_a_breaking() -> None:
    """The same for what SECURITY.md says that no one gets, and for what portguard never does."""
    words = list(refusals())
    assert len(words) >= 20
    assert [known for known in words if not any(known.startswith(key) for key in security.BREAKINGS)] == []
    assert [key for key in security.BREAKINGS if sum(known.startswith(key) for known in words) != 1] == []
    assert all(security.BREAKINGS.values())


@pytest.mark.parametrize("key", ON_PAGE)
def test_the_page_names_what_notices(key: str) -> None:
    """The tests that have to fail are among those that the promise's own paragraph names."""
    (promise,) = [promise for promise in promises() if promise.words.startswith(key)]
    named = {test.partition("::")[0] for breaking in ON_PAGE[key] for test in breaking.tests}
    assert named - set(promise.tests) == set()


def test_every_breaking_still_fits() -> None:
    """What is replaced is there once, what comes out is Python, and the tests that have to fail exist."""
    wrong = [f"{promise}: {breaking.bug}: {what}" for promise, breaking in ALL for what in misfits(breaking)]
    assert wrong == []


def misfits(breaking: Breaking) -> Iterator[str]:
    """Yield why a breaking would prove nothing any more."""
    text = breaking.path.read_text()
    if text.count(breaking.old) != 1:
        yield f"{breaking.file} has it {text.count(breaking.old)} times"
        return
    if ast.dump(ast.parse(text.replace(breaking.old, breaking.new))) == ast.dump(ast.parse(text)):
        yield "it changes nothing"
    for test in breaking.tests:
        file, _, name = test.partition("::")
        path = ROOT / "tests" / file
        if not path.is_file() or f"\ndef {name.partition('[')[0]}(" not in path.read_text():
            yield f"there is no test {test}"


def test_no_bug_is_there_twice() -> None:
    """Each breaking has its own name within its promise."""
    names = [(promise, breaking.bug) for promise, breaking in ALL]
    assert len(set(names)) == len(names)


@pytest.fixture(scope="module")
def copy() -> Iterator[Copy]:
    """Return a copy in which something can be broken; other users can run what is in it."""
    place = Path(tempfile.mkdtemp(prefix="portguard-broken-"))
    place.chmod(0o755)
    yield Copy(place)
    shutil.rmtree(place)


@pytest.mark.slow
@pytest.mark.timeout(UNBROKEN_DEADLINE + 60)
def test_unbroken_they_pass(copy: Copy) -> None:
    """In a copy without any bug every test of the table passes, so that it is the bug that they notice."""
    tests = [*dict.fromkeys(test for _, breaking in ALL for test in breaking.tests)]
    run = copy.run(tests, UNBROKEN_DEADLINE, is_stopping=False)
    assert run.failed == {}, run.output
    assert len(run.passed) + len(run.skipped) >= len(tests), run.output


@pytest.mark.slow
@pytest.mark.timeout(DEADLINE + 60)
@every_breaking
def test_broken_it_is_noticed(breaking: Breaking, copy: Copy) -> None:
    """With the bug in the package, a test that is named for it fails by what it asserts."""
    with copy.broken(breaking):
        run = copy.run(breaking.tests, DEADLINE, is_stopping=True)
    if run.skipped and not run.passed and not run.failed:
        pytest.skip("; ".join(run.skipped.values()))
    assert is_caught(run), f"{breaking.bug}: not noticed; failed otherwise: {run.failed}\n{run.output}"
