"""The mistakes are what they claim to be, they reach running code, and a test that is blind lets them live."""

from __future__ import annotations

import ast
import resource
import signal
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import portguard
from portguard.rules import guard
from tests.mutation import __main__ as command
from tests.mutation.__main__ import Made
from tests.mutation.mutate import Mutant, mutants, mutated
from tests.mutation.run import in_child, replace


def changes(source: str) -> list[str]:
    """Return every change that can be made to a text."""
    return [mutant.change for mutant in mutants(textwrap.dedent(source))]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", ["x = a < b -> x = a <= b"]),
        ("x = a is not b", ["x = a is not b -> x = a is b"]),
        ("x = not a", ["x = not a -> x = a"]),
        ("x = a + b", ["x = a + b -> x = a - b"]),
        ("x = f(a, b)", ["x = f(a, b) -> x = f(b, a)"]),
        ("x = f(a, k=b)", ["x = f(a, k=b) -> x = f(a)"]),
        ("x = a[1:]", ["x = a[1:] -> x = a[:]", "x = a[1:] -> x = a[2:]", "x = a[1:] -> x = a[0:]"]),
        ("x = 0", ["x = 0 -> x = 1"]),
        ("x = True", ["x = True -> x = False"]),
        ("x = b if a else c", ["x = b if a else c -> x = c if a else b", "x = b if a else c -> x = b if not a else c"]),
        ("x = min(a)", ["x = min(a) -> x = max(a)"]),
        ("x = [a for a in b if a]", ["x = [a for a in b if a] -> x = [a for a in b]"]),
        ("x = (1, 2, 3)", [f"x = (1, 2, 3) -> x = ({rest})" for rest in ("2, 3", "1, 3", "1, 2")]),
        ("x = 'word'", ["x = 'word' -> x = 'wordX'", "x = 'word' -> x = ''"]),
        ("x = 'two words'", []),
        ("x: int = y", []),
        ("f()", ["f() -> nothing"]),
        ('"""A docstring."""', []),
        ("TYPE_CHECKING = False\nif TYPE_CHECKING:\n    x = 1", []),
        ("if sys.platform == 'win32':\n    x = 1", []),
    ],
)  # fmt: skip
def test_each_kind_of_mistake_is_made_once(source: str, expected: list[str]) -> None:
    """Each kind of mistake is made, once, and what is to be left alone is."""
    assert changes(source) == expected


def test_a_mistake_is_named_by_its_line_and_its_function() -> None:
    """A mistake is named by its line and its function; those that read alike are counted."""
    source = "class A:\n    def f(self, n=0):\n        return g(n, 1) + g(n, 1)\n"

    assert Mutant(2, "A.f", "def f(self, n=0): pass -> def f(self, n=1): pass") in mutants(source)
    assert len({(item.function, item.change) for item in mutants(source)}) == len(mutants(source))
    assert {item.line for item in mutants(source)} == {2, 3}


def test_each_mistake_is_one() -> None:
    """Every mistaken text is a module, and differs from the right one; no two are the same."""
    source = Path(guard.__file__).read_text(encoding="utf-8")
    right = ast.unparse(ast.parse(source))
    texts = [mutated(source, number) for number in range(0, len(mutants(source)), 7)]

    assert right not in texts
    assert len(set(texts)) == len(texts)
    for text in texts:
        compile(text, "guard.py", "exec")


RIGHT = """
from portguard._contexts import contextmanager
LIMIT = 3
class Box:
    @property
    def size(self): return LIMIT
def default(n=1, *, m=LIMIT): return n, m
@contextmanager
def section():
    yield 'right'
def outer(): return default()
"""


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """Return a module that is in use."""
    made = types.ModuleType("portguard_tests_mutated")
    made.__file__ = "mutated.py"
    exec(RIGHT, made.__dict__)
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def test_mistakes_reach_what_is_in_use(module: types.ModuleType) -> None:
    """Functions that others took over, properties, managers, defaults and values are all replaced where they are."""
    box, taken, section = module.Box(), module.default, module.section
    other = types.ModuleType("portguard_tests_other")
    other.__dict__["LIMIT"] = module.LIMIT
    sys.modules[other.__name__] = other

    replace(module, RIGHT.replace("LIMIT = 3", "LIMIT = 4").replace("n=1", "n=2").replace("'right'", "'wrong'"))

    assert box.size == 4
    assert taken() == (2, 4)
    assert module.outer() == (2, 4)
    with section() as found:
        assert found == "wrong"
    assert sys.modules.pop(other.__name__).__dict__["LIMIT"] == 4


def test_what_does_not_end_or_fails_is_no_answer() -> None:
    """A child that raises, loops or waits for ever gives none; one that ends well gives its own, however long."""

    def loop(report: Callable[[bytes], object]) -> bytes:
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
        while True:
            pass

    def wait(report: Callable[[bytes], object]) -> bytes:
        report(b".")
        signal.pause()
        return b"x"

    def talk(report: Callable[[bytes], object]) -> bytes:
        for _ in range(3):
            report(b".")
        return b"x" * 200_000

    assert in_child(talk, 30.0) == b"..." + b"x" * 200_000
    assert in_child(lambda _: bytes(1 // 0), 30.0) == b""
    assert in_child(loop, 60.0) == b""
    assert in_child(wait, 0.1) == b""


def test_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake that no one notices fails unless it is accepted; so does a share of less than nine in ten."""
    noticed = [Made("a.py", Mutant(1, "f", str(number)), True) for number in range(20)]
    lived = Made("a.py", Mutant(2, "f", "lived"), False)
    known = {("a.py", "f", "lived"): "because"}

    assert command.report(noticed, {}) == 0
    assert command.report([*noticed, lived], {}) == 1
    assert "21 mistakes, 95.2% noticed; 0 accepted, 1 are not" in capsys.readouterr().out
    assert command.report([*noticed, lived], known) == 0
    assert command.report([*noticed, lived], {("a.py", "g", "lived"): "because"}) == 1
    assert command.report([*noticed[:8], lived], known) == 1
    capsys.readouterr()
    command.report(noticed, {("a.py", "f", "3"): "because"})
    assert "accepted, but noticed" in capsys.readouterr().out


@pytest.mark.slow  # most of a minute, for all files
def test_what_is_accepted_has_a_reason() -> None:
    """Every accepted mistake is one that can still be made, and says why it is none."""
    accepted = command.accepted()
    possible = {
        (file, item.function, item.change)
        for file in {file for file, _, _ in accepted}
        for item in mutants((Path(portguard.__file__).parents[1] / file).read_text(encoding="utf-8"))
    }
    assert accepted.keys() - possible == set()
    assert all(len(why) > 10 for why in accepted.values())


def test_defaults_of_records(module: types.ModuleType) -> None:
    """The defaults of a record's fields are what the mistake makes them, for anyone who has its class."""
    source = "from portguard._namedtuple import NamedTuple\nclass Pair(NamedTuple):\n    a: int\n    b: bool = False\n"
    exec(source, module.__dict__)
    pair = module.Pair

    replace(module, source.replace("False", "True"))

    assert pair(1) == (1, True)
