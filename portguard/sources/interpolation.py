"""compose-go's template language: `$VAR`, `${VAR}`, `${VAR:-default}` and its relatives, in compose files and `.env`.

After compose-go `template/template.go` (v2): the defaults and error texts are templates themselves, and are expanded
whether they are used or not. Pure text; nothing is executed.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Lookup = Callable[[str], "str | None"]

VALUE_LIMIT = 256 * 1024  # characters; `B=$A$A$A...` would fill the memory otherwise
NESTING_LIMIT = 50

_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_REST = _FIRST | frozenset("0123456789")
_OPERATORS = (":-", "-", ":?", "?", ":+", "+")


class TemplateError(ValueError):
    """A template that compose refuses: invalid, or a required variable is missing. The text says which."""


class _Scope(NamedTuple):
    lookup: Lookup
    missing: list[str]


def substitute(template: str, lookup: Lookup, missing: list[str] | None = None) -> str:
    """Return `template` with its variables replaced; `lookup` gives a value, or None for an unset one.

    The names of variables that were replaced by nothing (unset or empty, and no default) are appended to `missing`.
    Raises TemplateError.
    """
    if "$" not in template:
        return template
    return _expand(template, _Scope(lookup, [] if missing is None else missing), 0)


def _expand(template: str, scope: _Scope, depth: int) -> str:
    if depth > NESTING_LIMIT:
        raise TemplateError(f"variables are nested more than {NESTING_LIMIT} levels deep")
    if len(template) > VALUE_LIMIT:
        raise TemplateError(f"is longer than {VALUE_LIMIT // 1024} KiB")
    parts: list[str] = []
    length = position = 0
    line_end = last_brace = -1
    while (dollar := template.find("$", position)) >= 0:
        parts.append(template[position:dollar])
        if dollar > line_end:  # once a line: many references on a long one would make this quadratic
            newline = template.find("\n", dollar)
            line_end = len(template) if newline < 0 else newline
            last_brace = template.rfind("}", dollar, line_end)
        replacement, position = _one(template, dollar, last_brace, scope, depth)
        parts.append(replacement)
        length += len(replacement)
        if length > VALUE_LIMIT:
            raise TemplateError(f"expands to more than {VALUE_LIMIT // 1024} KiB")
    parts.append(template[position:])
    return "".join(parts)


def _one(template: str, dollar: int, last_brace: int, scope: _Scope, depth: int) -> tuple[str, int]:
    """Return what stands for the reference at `dollar`, and where the text goes on."""
    following = template[dollar + 1 : dollar + 2]
    if following == "$":
        return "$", dollar + 2
    if following in _FIRST:
        end = _name_end(template, dollar + 1)
        return _plain(template[dollar + 1 : end], scope), end
    if following != "{":
        return "$", dollar + 1  # "$1" and "a$" are literal
    end = _name_end(template, dollar + 2)
    name = template[dollar + 2 : end]
    if not name:
        raise _invalid(template)
    if template[end : end + 1] == "}":
        return _plain(name, scope), end + 1
    operator = next((word for word in _OPERATORS if template.startswith(word, end)), None)
    if operator is None or last_brace < end:
        raise _invalid(template)
    close = _closing_brace(template, dollar, last_brace)
    argument = _expand(template[end + len(operator) : close], scope, depth + 1)
    return _apply(name, operator, argument, scope), close + 1


def _name_end(template: str, start: int) -> int:
    if template[start : start + 1] not in _FIRST:
        return start
    end = start + 1
    while end < len(template) and template[end] in _REST:
        end += 1
    return end


def _plain(name: str, scope: _Scope) -> str:
    value = scope.lookup(name)
    if not value:
        scope.missing.append(name)
    return value or ""


def _apply(name: str, operator: str, argument: str, scope: _Scope) -> str:
    value = scope.lookup(name)
    is_there = value is not None if len(operator) == 1 else bool(value)
    if operator[-1] == "-":
        result = (value or "") if is_there else argument
    elif operator[-1] == "+":
        result = argument if is_there else (value or "")
    elif is_there:
        result = value or ""
    else:
        raise TemplateError(f"required variable {name} is missing a value{argument and f': {argument[:200]}'}")
    if not result:
        scope.missing.append(name)
    return result


def _closing_brace(template: str, dollar: int, last: int) -> int:
    """Return where the `${` at `dollar` is closed; `last` is the last closing brace of its line. Braces are counted.

    compose-go takes all up to the last one where they do not balance, and skips the character after each opening one
    (getFirstBraceClosingIndex).
    """
    opened = 0
    position = dollar
    while position <= last:
        if template[position] == "}":
            opened -= 1
            if opened == 0:
                return position
        elif template[position] == "{":
            opened += 1
            position += 1
        position += 1
    return last


def _invalid(template: str) -> TemplateError:
    shown = template if len(template) <= 80 else template[:79] + "…"
    return TemplateError(f"invalid template {shown!r}: write $$ for a plain dollar sign")
