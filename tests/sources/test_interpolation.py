"""compose-go's template language, row by row."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard.sources.interpolation import VALUE_LIMIT, TemplateError, substitute
from tests.amount import examples

# A and FOO are set, E and EMPTY are set to nothing, U and V are unset.
VALUES = {"A": "1", "E": "", "FOO": "first", "EMPTY": "", "B": "2", "_x9": "under"}

RESULTS = {
    # The measured table.
    "$U:80": ":80",
    "${U:-${V:-9}}": "9",
    "${A:+yes}": "yes",
    "${E+yes}": "yes",
    "$$A": "$A",
    "$1": "$1",
    "a$": "a$",
    # Each operator with set, empty and unset.
    "${A}": "1", "${E}": "", "${U}": "", "$A": "1", "$E": "", "$U": "",
    "${A:-d}": "1", "${E:-d}": "d", "${U:-d}": "d",
    "${A-d}": "1", "${E-d}": "", "${U-d}": "d",
    "${A:?m}": "1", "${A?m}": "1", "${E?m}": "",
    "${A:+r}": "r", "${E:+r}": "", "${U:+r}": "", "${A+r}": "r", "${U+r}": "",
    "${U:-}": "", "${U-}": "", "${A:+}": "",
    # Where a reference ends.
    "$FOO-bar": "first-bar", "$FOO.bar": "first.bar", "${FOO}bar": "firstbar", "$A$B": "12", "${A}:${B}": "1:2",
    "$_x9": "under", "$$": "$", "$$$$": "$$", "$$$A": "$1", "$$${A}": "$1", "$}": "$}", "$ A": "$ A", "$é": "$é",
    "no reference": "no reference", "": "",
    # Defaults are templates.
    "${U:-$A}": "1", "${U:-${A} ${B}}": "1 2", "${U-${E:-${B}}}x": "2x", "${U:-$$A}": "$A",
    "${E:-/non:-alnum}": "/non:-alnum", "${U-a?b}": "a?b", "${U:-a:+b}": "a:+b", "${A:+${U:-x}}y": "xy",
    "${U:-a}${U:-b}": "ab", "${U:-a} } ${A}": "a } 1",
    # Braces in defaults.
    '${U:-{"json":1}}': '{"json":1}', '${A:-{"json":1}}': "1", "${A:-{x}": "1", "${U:-{x}": "{x",
    "a\n${U:-b}\nc": "a\nb\nc",
}  # fmt: skip
REFUSED = {
    "${U:?msg}": "required variable U is missing a value: msg",
    "${E:?msg}": "required variable E is missing a value: msg",
    "${U?msg}": "required variable U is missing a value: msg",
    "${U:?}": "required variable U is missing a value",
    "${U:?no ${A}}": "missing a value: no 1",
    "${U?a-b}": "missing a value: a-b",
    "${A:-${U:?inner}}": "required variable U",
    "${1}": "invalid template",
    "${A/x/y}": "invalid template",
    "${a.b}": "invalid template",
    "${": "invalid template",
    "${}": "invalid template",
    "${ }": "invalid template",
    "${ A}": "invalid template",
    "${A }": "invalid template",
    "${A!}": "invalid template",
    "${A": "invalid template",
    "${A:b}": "invalid template",
    "${U:-never closed": "invalid template",
    "${U:-a\nb}": "invalid template",
}


@pytest.mark.parametrize("template", RESULTS)
def test_a_template_gives_what_compose_gos_gives(template: str) -> None:
    """A template gives what compose-go's gives."""
    assert substitute(template, VALUES.get) == RESULTS[template]


@pytest.mark.parametrize("template", REFUSED)
def test_refused(template: str) -> None:
    """A template that compose-go refuses is refused for the same reason."""
    with pytest.raises(TemplateError) as caught:
        substitute(template, VALUES.get)

    assert REFUSED[template] in str(caught.value)


@pytest.mark.parametrize(
    ("template", "names"),
    [("$U:80", ["U"]), ("${E}:$U", ["E", "U"]), ("${U:-8}", []), ("$A", []), ("${U:-$E}", ["E", "U"]), ("$$U", [])],
)
def test_names_of_what_was_missing(template: str, names: list[str]) -> None:
    """The variables that left nothing behind are told, so that a random port can be explained."""
    missing: list[str] = []
    substitute(template, VALUES.get, missing)

    assert missing == names


@pytest.mark.parametrize(
    "template",
    [
        "${U:-" * 5000 + "}" * 5000, "${U:-{" * 20000 + "}", "$BIG" * 10000, "$BIG" * 5, "${BIG}${BIG}${BIG}",
        "${U:-x}" * (VALUE_LIMIT // 7) + "y" * 7, "$" * VALUE_LIMIT + "{",
    ],
)  # fmt: skip
def test_nesting_growth_and_long_lines_cost_less_than_a_second(template: str) -> None:
    """Nesting, growth and long lines cost less than a second; what is too much is refused."""
    values = {"BIG": "x" * (VALUE_LIMIT // 2)}
    started = time.thread_time()
    with contextlib.suppress(TemplateError):
        assert len(substitute(template, values.get)) <= 2 * VALUE_LIMIT
    assert time.thread_time() - started < 1


@pytest.mark.scaled
@settings(max_examples=examples(3_000), deadline=None)
@given(st.text(alphabet="$${}:-+?AUE1a_ \n", max_size=40))
def test_any_text_is_expanded_or_refused_with_our_own_error(template: str) -> None:
    """Any text is expanded or refused with our own error; without a dollar sign it stays as it is."""
    try:
        result = substitute(template, VALUES.get)
    except TemplateError:
        return
    assert "$" in template or result == template
