"""Claims about the two front doors: what the small one understands, Typer understands the same; and it is not shy."""

from __future__ import annotations

import contextlib
import inspect
import io
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from portguard.cli import app as typer_door
from portguard.cli.command import COMMANDS, module_of, parse
from tests.amount import examples

Call = tuple[str, dict[str, Any]]

_CALLS: list[Call] = []


def _record(name: str, **arguments: Any) -> int:
    _CALLS.append((name, arguments))
    return 0


_APP = typer_door.build({name: module_of(name).COMMAND for name in COMMANDS}, _record)
_USAGE_ERROR: Any = typer.BadParameter.__bases__[0]


def call_typer(words: list[str]) -> Call | None:
    """Return what Typer calls for these arguments; None if it refuses, or answers by itself (--help)."""
    _CALLS.clear()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(_USAGE_ERROR):
        _APP(args=list(words), prog_name="portguard", standalone_mode=False)
    assert len(_CALLS) <= 1
    return _CALLS[0] if _CALLS else None


# --- argument lists -------------------------------------------------------------------------------

FLAGS = {
    "check": ["--json", "--quiet", "-q", "--strict", "--compose-config"],
    "env": ["--isolated", "--move", "--json"],
    "free": ["--tcp", "--udp", "--both", "--no-lease", "--json"],
    "info": ["--json"],
    "init": ["--force", "--json"],
    "kill": ["--yes", "-y", "--dry-run", "--force", "--tree", "--json"],
    "leases": ["--all", "--dry-run", "--json"],
    "lint": ["--strict", "--json"],
    "schema": ["--json"],
    "list": ["--all", "--tcp", "--udp", "-4", "-6", "--mine", "--by-project", "--json"],
    "run": ["--isolated", "--move", "--no-hold", "--pass-fd", "--json"],
    "wait": ["--free", "--json"],
    "who": ["--all-holders", "--json"],
}
TEXT_OPTIONS: dict[str, list[str]] = {name: [] for name in COMMANDS} | {
    "check": ["--config", "--format"],
    "env": ["--config", "--format", "--write"],
    "lint": ["--config", "--format"],
    "free": ["--range"],
    "kill": ["--confirm"],
    "run": ["--config"],
}
NUMBER_OPTIONS: dict[str, list[str]] = {name: [] for name in COMMANDS} | {
    "free": ["--count", "-n", "--ttl", "--hold"],
    "wait": ["--timeout"],
}
TAKES_TARGETS = ("check", "env", "info", "kill", "leases", "lint", "run", "wait", "who")

TARGETS = st.sampled_from(["web", "3000", "53/udp", "127.0.0.1:5432", "[::1]:80", "a.b-c_d", "db", "8080/tcp", "*:80"])
TEXTS = st.sampled_from(["portguard.toml", "50000-50999", "1-65535", "a=b", "../x/pyproject.toml", "9-1", "x y"])
NUMBERS = st.one_of(st.integers(0, 70_000).map(str), st.sampled_from(["1", "007", "0", "65536", "86400"]))
DECIMALS = st.sampled_from(["0.5", "2.50", "00.125", "60.0", "0.0", "123456789.987654321"])

# What people mistype, paste, or try.
# fmt: off
ODD_NUMBERS = st.sampled_from((
    "", " ", "-1", "-5", "+5", " 5", "5 ", "1_000", "1.5", "1e3", "0x10", "٣", "５", "²", "9" * 9, "9" * 10, "9" * 40,
    "many", "--json", "-n", "--", "\n", "5\n", "０", "00000000000005", "-0", "inf", "None",
    ".5", "5.", ".", "1.5.5", "1._5", "1.5e1", "nan", "NaN", "-1.5", "+1.5", "1,5", "1. 5", "٣.5", "1.٥", "9" * 400,
))
ODD_SPELLINGS = st.sampled_from((
    "", "-", "--", "---", "-x", "--jso", "--js", "--jsonx", "--json=", "--json=1", "--no-json", "--quiet=yes", "-qq",
    "-qn5", "-n5", "-n=5", "-n=", "-n", "--count", "--count=", "--coun=5", "--COUNT=5", "--ttl=-1", "--ttl", "--range",
    "--range=", "--range=-5", "--config", "--config=", "--config=a=b", "--config=-", "--rang=1-2", "-h", "--help",
    "--version", "--strict=", "-q5", "-jq", "--no-strict", "--no-leas", "--lease", "--is-tcp", "check", "free", "who",
    "-46", "-64", "-44", "-4=1", "-7", "-6-4", "--al", "--min", "-a", "list", "info",
    "--install-completion", "@file", "$HOME", "*", "é", "\ud800", "\x00", "a\nb", "-é", "-1", "-3000", "3000-", "٣٠٠٠",
    "--n", "--n=5", "-c", "-t5", "--both=1", "=", "=5", "--=5", "-=5", "–json",
))
# fmt: on
ODD_WORDS = st.one_of(ODD_SPELLINGS, st.text(max_size=6), st.text(alphabet="-=nqjcount0159", max_size=7))


def plain_words(command: str) -> st.SearchStrategy[list[str]]:
    """Return one option, with its value in one of the plain spellings, or one target."""
    flags = st.sampled_from(FLAGS[command]).map(lambda flag: [flag])
    spellings = [flags]
    if TEXT_OPTIONS[command]:
        texts = st.tuples(st.sampled_from(TEXT_OPTIONS[command]), TEXTS)
        spellings += [texts.map(list), texts.map(lambda pair: ["=".join(pair)])]
    if command in TAKES_TARGETS:
        spellings.append(TARGETS.map(lambda target: [target]))
    if not NUMBER_OPTIONS[command]:
        return st.one_of(*spellings)
    values = st.one_of(NUMBERS, DECIMALS) if command == "wait" else NUMBERS
    numbers = st.tuples(st.sampled_from(NUMBER_OPTIONS[command]), values)
    long = [option for option in NUMBER_OPTIONS[command] if option.startswith("--")]
    joined = st.tuples(st.sampled_from(long), values).map(lambda pair: ["=".join(pair)])
    return st.one_of(*spellings, numbers.map(list), joined)


def odd_words(command: str) -> st.SearchStrategy[list[str]]:
    """Return one option with an odd value in any spelling, or one odd word."""
    options = st.sampled_from(TEXT_OPTIONS[command] + NUMBER_OPTIONS[command] + FLAGS[command])
    pairs = st.tuples(options, st.one_of(ODD_NUMBERS, NUMBERS, DECIMALS, TEXTS, ODD_WORDS))
    return st.one_of(
        ODD_WORDS.map(lambda word: [word]),
        pairs.map(list),
        pairs.map(lambda pair: ["=".join(pair)]),
        pairs.map(lambda pair: ["".join(pair)]),
    )


def argument_lists() -> st.SearchStrategy[list[str]]:
    """Return argument lists: plain ones with one odd part, odd ones, and such that begin with something else."""

    def of(command: str) -> st.SearchStrategy[list[str]]:
        plain_parts = st.lists(plain_words(command), max_size=2)
        nearly = st.tuples(plain_parts, odd_words(command), plain_parts).map(
            lambda found: [*found[0], found[1], *found[2]]
        )
        odd = st.lists(st.one_of(plain_words(command), odd_words(command)), max_size=5)
        return st.one_of(nearly, nearly, odd).map(lambda found: [command, *(word for part in found for word in part)])

    anything = st.lists(ODD_WORDS, max_size=3)
    return st.one_of(
        *map(of, COMMANDS),
        plain_lists(),
        plain_lists(),
        st.tuples(anything, of("free")).map(lambda pair: pair[0] + pair[1]),
    )


def plain_lists() -> st.SearchStrategy[list[str]]:
    """Return argument lists in which everything is plainly spelled."""
    return st.sampled_from(list(COMMANDS)).flatmap(
        lambda command: st.lists(plain_words(command), max_size=4).map(
            lambda found: [command, *(word for part in found for word in part)]
        )
    )


# --- the claims -----------------------------------------------------------------------------------


@pytest.mark.scaled
@settings(max_examples=examples(4_000), deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(argument_lists())
@example(["free", "--range", "--json"])
@example(["free", "-n", "-n", "5"])
@example(["free", "--count=1", "-n", "2"])
@example(["check", "--", "--json"])
@example(["check", "-", "3000"])
@example(["check", "3000", "--config", "a", "53/udp"])
@example(["free", "--ttl=007"])
@example(["free", "--range=a=b"])
@example(["check", ""])
@example(["check", "-q=1"])
@example(["free", "--json=1"])
@example(["free", "-n=5"])
@example(["list", "-4", "-6"])
@example(["list", "-4", "-4"])
@example(["list", "-46"])
@example(["list", "-4=1"])
@example(["list", "80"])
@example(["info"])
@example(["info", "--json"])
@example(["info", "-4"])
@example(["run", "--", "ls", "-l", "--json"])
@example(["run", "--json", "web", "--", "--", "--help"])
@example(["run", "web", "--no-hold"])
@example(["run", "--config", "--", "x"])
@example(["run", "--config=a", "--"])
@example(["run", "-x", "--", "y"])
@example(["leases", "release", "--all"])
@example(["wait", "80", "--timeout", "1.5"])
@example(["wait", "80", "--timeout=.5"])
@example(["wait", "80", "--timeout=5."])
@example(["wait", "80", "--timeout", "1e3"])
@example(["wait", "--free"])
@example(["env", "--format=json", "--write", "--json"])
@example(["info", "80", "--json", "53/udp"])
@example([])
def test_what_the_small_door_understands_typer_understands_the_same(words: list[str]) -> None:
    """For 4,000 argument lists: it declines, or it calls the function that Typer calls, with the same arguments."""
    understood = parse(words)
    if understood is not None:
        assert understood == call_typer(words)


def test_the_small_door_takes_most_of_what_is_plainly_spelled() -> None:
    """Of the plain lists that Typer accepts, it takes at least a third: it does not decline everything."""
    counts = {"accepted": 0, "taken": 0}

    @settings(max_examples=100, deadline=None, database=None, derandomize=True)
    @given(plain_lists())
    def count(words: list[str]) -> None:
        if call_typer(words) is not None:
            counts["accepted"] += 1
            counts["taken"] += parse(words) is not None

    count()
    assert counts["accepted"] >= 75
    assert counts["taken"] >= counts["accepted"] / 3


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("check", ("check", {})),
        ("check --json 3000 53/udp", ("check", {"as_json": True, "targets": ["3000", "53/udp"]})),
        ("check --config=a.toml -q", ("check", {"config": "a.toml", "quiet": True})),
        ("check --strict web", ("check", {"strict": True, "targets": ["web"]})),
        ("check --format github", ("check", {"output_format": "github"})),
        ("check --format=sarif 3000", ("check", {"output_format": "sarif", "targets": ["3000"]})),
        ("free", ("free", {})),
        ("free -n 5 --json", ("free", {"count": 5, "as_json": True})),
        ("free --count=2 --ttl 5 --tcp --udp", ("free", {"count": 2, "ttl": 5, "tcp": True, "udp": True})),
        ("free --range 1-2 --both --no-lease", ("free", {"within": "1-2", "both": True, "no_lease": True})),
        ("info 5432", ("info", {"ports": ["5432"]})),
        ("info 53/udp --json 80", ("info", {"ports": ["53/udp", "80"], "as_json": True})),
        ("wait 5432", ("wait", {"ports": ["5432"]})),
        ("wait --free 53/udp --timeout 0", ("wait", {"ports": ["53/udp"], "free": True, "timeout": 0.0})),
        ("wait 80 443 --timeout=2.5 --json", ("wait", {"ports": ["80", "443"], "timeout": 2.5, "as_json": True})),
        ("who 5432 53/udp", ("who", {"ports": ["5432", "53/udp"]})),
        ("who 80 --all-holders", ("who", {"ports": ["80"], "all_holders": True})),
        ("env", ("env", {})),
        (
            "env web --format shell --isolated",
            ("env", {"names": ["web"], "output_format": "shell", "isolated": True}),
        ),
        ("env --write .env --move", ("env", {"write": ".env", "move": True})),
        ("run -- npm start -- --port 3", ("run", {"command": ["npm", "start", "--", "--port", "3"]})),
        ("run web --no-hold -- x -q", ("run", {"names": ["web"], "no_hold": True, "command": ["x", "-q"]})),
        ("run --pass-fd --config a -- x", ("run", {"pass_fd": True, "config": "a", "command": ["x"]})),
        ("kill 5173 --yes --force", ("kill", {"ports": ["5173"], "yes": True, "force": True})),
        ("leases", ("leases", {})),
        ("lint", ("lint", {})),
        ("lint --strict portguard.toml", ("lint", {"strict": True, "paths": ["portguard.toml"]})),
        ("lint --format sarif", ("lint", {"output_format": "sarif"})),
        ("leases release 3000 web", ("leases", {"words": ["release", "3000", "web"]})),
        ("leases prune --dry-run", ("leases", {"words": ["prune"], "dry_run": True})),
        ("list", ("list", {})),
        ("list --all --mine", ("list", {"all_": True, "mine": True})),
        ("list -4 --tcp --json", ("list", {"v4": True, "tcp": True, "as_json": True})),
        ("list -6 --udp", ("list", {"v6": True, "udp": True})),
    ],
)
def test_the_usual_spellings_go_through_the_small_door(words: str, call: Call) -> None:
    """What scripts and hooks write is taken, with just the arguments that differ from the defaults."""
    command, changed = call
    defaults: dict[str, dict[str, Any]] = {
        "check": {
            "targets": [],
            "config": None,
            "output_format": "text",
            "as_json": False,
            "quiet": False,
            "strict": False,
            "compose_config": False,
        },
        "free": {
            "count": 1,
            "tcp": False,
            "udp": False,
            "both": False,
            "within": None,
            "ttl": 60,
            "no_lease": False,
            "hold": None,
            "as_json": False,
        },
        "env": {
            "names": [],
            "config": None,
            "output_format": "dotenv",
            "write": None,
            "isolated": False,
            "move": False,
            "as_json": False,
        },
        "lint": {"paths": [], "config": None, "output_format": "text", "strict": False, "as_json": False},
        "leases": {"words": [], "all_": False, "dry_run": False, "as_json": False},
        "run": {
            "names": [],
            "command": [],
            "config": None,
            "isolated": False,
            "move": False,
            "no_hold": False,
            "pass_fd": False,
            "as_json": False,
        },
        "info": {"as_json": False},
        "kill": {"yes": False, "dry_run": False, "force": False, "tree": False, "confirm": [], "as_json": False},
        "wait": {"free": False, "timeout": 60.0, "as_json": False},
        "who": {"all_holders": False, "as_json": False},
        "list": {
            "all_": False,
            "tcp": False,
            "udp": False,
            "v4": False,
            "v6": False,
            "mine": False,
            "by_project": False,
            "as_json": False,
        },
    }
    expected = (command, {**defaults[command], **changed})
    assert parse(words.split()) == expected
    assert call_typer(words.split()) == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_both_doors_pass_what_the_command_takes(name: str) -> None:
    """The arguments are those of the function itself, by name, none more and none fewer."""
    words = [name, "80"] if name in TAKES_TARGETS else [name]
    call = call_typer(words)
    assert call is not None
    assert set(call[1]) == set(inspect.signature(module_of(name).run).parameters)
