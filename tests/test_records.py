"""The records are what `typing.NamedTuple` would make of the same classes, and sections what `contextlib` would."""

from __future__ import annotations

import contextlib
import copy
import inspect
import pickle
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portguard import _contexts
from portguard._namedtuple import NamedTuple


class Ours(NamedTuple):
    """A record."""

    first: int
    second: str = "b"
    third: tuple[int, ...] = ()

    @property
    def doubled(self) -> int:
        """Twice the first."""
        return self.first * 2


class Theirs(typing.NamedTuple):
    """A record."""

    first: int
    second: str = "b"
    third: tuple[int, ...] = ()


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}), ((1, "x"), {}), ((1, "x", (2,)), {}), ((), {"first": 1}), ((1,), {"third": (3,)}),
    ((), {"third": (3,), "first": 2}), ((), {}), ((1, 2, 3, 4), {}), ((1,), {"first": 2}), ((1,), {"fourth": 2}),
    ((1, "x", (2,)), {"third": ()}), ((1, 2, 3, 4), {"first": 1}), ((), {"second": "x"}),
]  # fmt: skip


def outcome(make: Callable[..., Any], values: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Return what a call gives, or the kind of error."""
    try:
        return tuple(make(*values, **named))
    except (TypeError, ValueError):
        return "refused"


@pytest.mark.parametrize(("values", "named"), CALLS)
def test_records_are_made_alike(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Positional, named and left-out fields give the same tuple; too many, too few and unknown ones are refused."""
    assert outcome(Ours, values, named) == outcome(Theirs, values, named)


def test_records_behave_alike() -> None:
    """Fields, defaults, comparison, hash, replacing, unpacking, matching, copying and pickling."""
    ours: Any = Ours(1, third=(5,))
    theirs: Any = Theirs(1, third=(5,))
    assert (ours.first, ours.second, ours.third, ours.doubled) == (1, "b", (5,), 2)
    assert ours == theirs == (1, "b", (5,))
    assert hash(ours) == hash(theirs)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert ours._fields == theirs._fields
    assert ours._replace(second="z") == (1, "z", (5,))
    assert type(ours._replace(second="z")) is Ours
    with pytest.raises(TypeError):
        ours._replace(fourth=1)
    for again in (pickle.loads(pickle.dumps(ours)), copy.copy(ours), copy.deepcopy(ours)):
        assert again == ours
        assert type(again) is Ours
    with pytest.raises(AttributeError):
        ours.first = 2
    with pytest.raises(AttributeError):
        ours.fourth = 2
    match ours:
        case Ours(first, second):
            assert (first, second) == (1, "b")
    signature, expected = inspect.signature(Ours), inspect.signature(Theirs)
    assert [(item.name, item.kind, item.default) for item in signature.parameters.values()] == [
        (item.name, item.kind, item.default) for item in expected.parameters.values()
    ]
    assert Ours.__doc__ == "A record."
    assert Ours.__module__ == __name__


@pytest.mark.parametrize("manager", [_contexts.contextmanager, contextlib.contextmanager], ids=["ours", "theirs"])
@pytest.mark.parametrize("raised", [None, ValueError("x"), KeyboardInterrupt(), StopIteration()], ids=repr)
def test_sections_end_alike(manager: Any, raised: BaseException | None) -> None:
    """What is raised inside goes through the section and out again, the same object; the end is always run."""
    events = []

    @manager  # type: ignore[untyped-decorator]  # either of two
    def section(name: str) -> Iterator[str]:
        events.append("in")
        try:
            yield name
        finally:
            events.append("out")

    seen = None
    try:
        with section("x") as got:
            events.append(got)
            if raised is not None:
                raise raised  # noqa: TRY301 - here, inside, is where it has to come from
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is compared
        seen = error
    assert seen is raised
    assert events == ["in", "x", "out"]


def test_a_section_may_turn_one_error_into_another() -> None:
    """What a section raises in place of what it was thrown is what comes out."""

    @_contexts.contextmanager
    def section() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LookupError from error

    with pytest.raises(LookupError), section():
        raise OSError


@pytest.mark.parametrize("manager", [_contexts.contextmanager, contextlib.contextmanager], ids=["ours", "theirs"])
def test_a_section_that_would_go_on_is_refused(manager: Any) -> None:
    """It has one end: a second one is a mistake in the section, and said."""

    @manager  # type: ignore[untyped-decorator]  # either of two
    def section() -> Iterator[None]:
        yield
        yield

    with pytest.raises(RuntimeError), section():
        pass


def test_only_the_kinds_named_are_held_back() -> None:
    """Only the kinds named are held back, and their children."""
    with _contexts.suppress(OSError):
        raise FileNotFoundError
    with pytest.raises(ValueError, match="x"), _contexts.suppress(OSError):
        raise ValueError("x")
    with _contexts.suppress(OSError):
        pass
