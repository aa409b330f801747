"""Which number is meant: the environment before `.env` before this checkout's own before the declared one."""

from __future__ import annotations

from typing import Any

import pytest

from portguard.model import Declaration, Source
from portguard.rules import numbers

WEB = Declaration("web", 80, 80, Source("portguard.toml", 2), env="WEB_PORT")


def resolve(
    environ: dict[str, str], dotenv: dict[str, tuple[str, int]], leased: dict[str, int], item: Any = WEB
) -> Any:
    """Return what the declaration means with these around it."""
    return numbers.resolve(item, environ, dotenv, "/p/.env", leased)


@pytest.mark.parametrize(
    ("environ", "dotenv", "leased", "expected"),
    [
        ({}, {}, {}, (80, None, "declared")),
        ({"OTHER": "1"}, {"OTHER": ("1", 1)}, {"other": 1}, (80, None, "declared")),
        ({}, {}, {"web": 50000}, (50000, "this checkout's lease", "lease")),
        ({}, {"WEB_PORT": ("81", 7)}, {"web": 50000}, (81, "WEB_PORT in /p/.env:7", "dotenv")),
        (
            {"WEB_PORT": "82"},
            {"WEB_PORT": ("81", 7)},
            {"web": 50000},
            (82, "WEB_PORT in the environment", "environment"),
        ),
        ({"WEB_PORT": ""}, {"WEB_PORT": ("81", 7)}, {}, (81, "WEB_PORT in /p/.env:7", "dotenv")),
        ({"WEB_PORT": ""}, {"WEB_PORT": ("", 7)}, {"web": 50000}, (50000, "this checkout's lease", "lease")),
        ({"WEB_PORT": ""}, {"WEB_PORT": ("", 7)}, {}, (80, None, "declared")),
        ({"WEB_PORT": " 82 "}, {}, {}, (82, "WEB_PORT in the environment", "environment")),
        ({"WEB_PORT": "1"}, {}, {}, (1, "WEB_PORT in the environment", "environment")),
        ({"WEB_PORT": "65535"}, {}, {}, (65535, "WEB_PORT in the environment", "environment")),
    ],
)
def test_the_first_place_that_has_a_value_decides(
    environ: Any, dotenv: Any, leased: Any, expected: tuple[int, str | None, str]
) -> None:
    """The first place that has a value decides, and is named; empty values count as none."""
    found = resolve(environ, dotenv, leased)

    assert (found.port, found.moved_by, found.origin) == expected
    assert found.declared_port == 80


def test_without_a_variable_nothing_moves() -> None:
    """A declaration without `env` has its number whatever is set."""
    item = WEB._replace(env=None)

    assert resolve({"WEB_PORT": "81"}, {"WEB_PORT": ("82", 1)}, {"web": 50000}, item) is item


@pytest.mark.parametrize("value", ["0", "65536", "000080", "8o", "-1", "1.5", "٣", " "])
def test_a_variable_that_holds_no_port_is_said(value: str) -> None:
    """A variable that holds no port is said, with where it is."""
    said = f"WEB_PORT moves 'web', and {value!r} is not a port (1 to 65535)"

    assert resolve({"WEB_PORT": value}, {}, {}) == f"environment: {said}"
    assert resolve({}, {"WEB_PORT": (value, 7)}, {}) == f"/p/.env:7: {said}"


def test_no_port_that_is_endless() -> None:
    """Of an endless value 80 characters are shown."""
    assert resolve({"WEB_PORT": "x" * 81}, {}, {}) == (
        f"environment: WEB_PORT moves 'web', and {'x' * 80!r} is not a port (1 to 65535)"
    )


@pytest.mark.parametrize(
    ("environ", "dotenv", "expected"),
    [
        ({}, {}, False),
        ({"WEB_PORT": "1"}, {}, True),
        ({}, {"WEB_PORT": ("1", 0)}, True),
        ({"WEB_PORT": ""}, {"WEB_PORT": ("", 9)}, False),
        ({"": "1"}, {}, False),
    ],
)
def test_a_variable_with_a_value_gives_the_number(environ: Any, dotenv: Any, expected: bool) -> None:
    """A variable with a value gives the number."""
    assert numbers.is_explicit(WEB, environ, dotenv) is expected


def test_nothing_is_explicit_without_a_variable() -> None:
    """A declaration that no variable moves is never given by one."""
    assert numbers.is_explicit(WEB._replace(env=None), {"WEB_PORT": "1"}, {"WEB_PORT": ("1", 1)}) is False
