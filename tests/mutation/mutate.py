"""Small mistakes, made on purpose: a module's text in, every version of it with one mistake out. Pure.

The mistakes are those that people make: a comparison off by one, `and` for `or`, a forgotten `not`, a wrong constant,
an empty text, a lost statement, swapped arguments or branches, a filter left out. Left alone are annotations,
docstrings, prose in tables, and what only type checkers or other systems run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

_CONTEXT = 40  # characters on both sides of a change that say where it is
_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "startswith": "endswith",
    "endswith": "startswith",
    "partition": "rpartition",
    "rpartition": "partition",
    "removeprefix": "removesuffix",
    "removesuffix": "removeprefix",
    "strip": "lstrip",
    "rstrip": "strip",
}
# What is lost without a trace; a lost binding is a NameError, which any test notices.
_LOSABLE = (ast.Expr, ast.AugAssign, ast.Raise, ast.Delete, ast.Break, ast.Continue)
_BLOCKS = ("body", "orelse", "finalbody", "handlers")
_ELSEWHERE = ("'win32'", "'nt'", "TYPE_CHECKING")  # in what is not run here


class Mutant(NamedTuple):
    """One mistake: its `line`, the `function` it is in, and the `change`; with the file, the latter two name it."""

    line: int
    function: str
    change: str


class _Site(NamedTuple):
    """One mistake that can be made: `wrong` in the place of what `owner` has in `field`, there `at` of a list."""

    statement: ast.stmt
    line: int
    function: str
    owner: ast.AST
    field: str
    at: int | None
    wrong: Any


def mutants(source: str) -> list[Mutant]:
    """Return every mistake that can be made in a module of this text, in the order in which `mutated` counts them."""
    found: list[Mutant] = []
    seen: dict[tuple[str, str], int] = {}
    for site in list(_in_blocks(ast.parse(source), "")):
        before = _header(site.statement)
        right = _put(site, site.wrong)
        after = "nothing" if right is site.statement else _header(site.statement)
        _put(site, right)
        change = _difference(before, after)
        seen[site.function, change] = count = seen.get((site.function, change), 0) + 1
        found.append(Mutant(site.line, site.function, change if count == 1 else f"{change} #{count}"))
    return found


def mutated(source: str, number: int) -> str:
    """Return the module's text with the mistake of that number."""
    tree = ast.parse(source)
    site = list(_in_blocks(tree, ""))[number]
    _put(site, site.wrong)
    return ast.unparse(ast.fix_missing_locations(tree))


def _put(site: _Site, new: Any) -> Any:
    """Put something in the site's place, and return what was there."""
    held = getattr(site.owner, site.field)
    if site.at is None:
        setattr(site.owner, site.field, new)
        return held
    old = held[site.at]
    held[site.at] = new
    return old


def _header(statement: ast.stmt) -> str:
    """Return the statement's text without what is in its blocks."""
    blocks = {name: getattr(statement, name) for name in _BLOCKS if hasattr(statement, name)}
    for name in blocks:
        setattr(statement, name, [ast.Pass()] if name in ("body", "finalbody") else [])
    try:
        return " ".join(ast.unparse(ast.fix_missing_locations(statement)).split())
    finally:
        for name, block in blocks.items():
            setattr(statement, name, block)


def _difference(before: str, after: str) -> str:
    """Return both texts, without what they begin and end with alike."""
    if after == "nothing":
        return f"{before[: 2 * _CONTEXT]} -> nothing"
    shorter = min(len(before), len(after))
    start = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    rest = shorter - start
    end = next((i for i in range(rest) if before[-1 - i] != after[-1 - i]), rest)
    first = max(0, start - _CONTEXT)
    return " -> ".join(text[first : len(text) - max(0, end - _CONTEXT)] for text in (before, after))


# ---------------------------------------------------------------- where


def _in_blocks(owner: ast.AST, function: str) -> Iterator[_Site]:
    for field in _BLOCKS:
        for index, item in enumerate(getattr(owner, field, ())):
            if isinstance(item, ast.ExceptHandler):
                yield from _in_blocks(item, function)
            elif _is_left_alone(item):
                if isinstance(item, ast.If):  # what is run elsewhere is not run here, and the other way round
                    yield from _in_blocks(ast.If(item.test, [], item.orelse), function)
            else:
                if isinstance(item, (ast.FunctionDef, ast.ClassDef)):
                    yield from _in_definition(item, f"{function}.{item.name}" if function else item.name)
                    continue
                stored = item.targets[0] if isinstance(item, ast.Assign) else None
                if isinstance(item, _LOSABLE) or isinstance(stored, (ast.Attribute, ast.Subscript)):
                    yield _Site(item, item.lineno, function, owner, field, index, ast.Pass())
                yield from _in_fields(item, item, function)
                yield from _in_blocks(item, function)


def _is_left_alone(item: ast.stmt) -> bool:
    if isinstance(item, (ast.Import, ast.ImportFrom)):
        return True
    if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
        return True  # a docstring
    if isinstance(item, ast.Assign):
        return ast.unparse(item.targets[0]) in _ELSEWHERE
    return isinstance(item, ast.If) and any(word in ast.unparse(item.test) for word in _ELSEWHERE)


def _in_definition(item: ast.FunctionDef | ast.ClassDef, function: str) -> Iterator[_Site]:
    if isinstance(item, ast.FunctionDef):
        for field in ("defaults", "kw_defaults"):
            for index, default in enumerate(getattr(item.args, field)):
                if default is not None:
                    yield from _of(default, item, function, item.args, field, index)
    yield from _in_blocks(item, function)


def _in_fields(node: ast.AST, statement: ast.stmt, function: str) -> Iterator[_Site]:
    """Yield the mistakes in what a node is made of; blocks and annotations are none of it."""
    for field, value in ast.iter_fields(node):
        if field in (*_BLOCKS, "annotation", "targets", "target") and isinstance(node, ast.stmt):
            continue
        for index, item in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(item, ast.AST):
                yield from _of(item, statement, function, node, field, index)


def _of(item: ast.AST, statement: ast.stmt, function: str, owner: ast.AST, *where: Any) -> Iterator[_Site]:
    """Yield the mistakes in one part of a statement, which is `where` in its owner: a field, and a place in it."""
    field, at = where
    line = getattr(item, "lineno", statement.lineno)
    for wrong in _wrongs(item, owner, field, is_at_top=not function):
        yield _Site(statement, line, function, owner, field, at, wrong)
    if type(item) in _SWAPPED:
        yield _Site(statement, line, function, owner, field, at, _SWAPPED[type(item)]())
    for lacking, parts in _losses(item):
        yield _Site(statement, line, function, item, lacking, None, parts)
    yield from _in_fields(item, statement, function)


# ---------------------------------------------------------------- what


def _wrongs(item: Any, owner: ast.AST, field: str, *, is_at_top: bool) -> Iterator[ast.AST]:
    """Yield what may stand in the place of an expression by mistake."""
    if isinstance(owner, ast.Return) and not (isinstance(item, ast.Constant) and item.value is None):
        yield ast.Constant(None)
    if isinstance(owner, (ast.If, ast.IfExp)) and field == "test" and not isinstance(item, ast.UnaryOp):
        yield ast.UnaryOp(ast.Not(), item)
    if not isinstance(item, ast.Constant):
        yield from _OTHERS.get(type(item), lambda _: ())(item)
    elif not (is_at_top and isinstance(owner, (ast.Tuple, ast.List, ast.Set))):
        # Of a table an element is lost, which is mistake enough.
        yield from _wrong_constants(item.value, is_at_top=is_at_top, is_spec=isinstance(owner, ast.FormattedValue))


def _with_one_operand_less(item: ast.BoolOp) -> Iterator[ast.AST]:
    for index in range(len(item.values)):
        rest = [*item.values[:index], *item.values[index + 1 :]]
        yield rest[0] if len(rest) == 1 else ast.BoolOp(item.op, rest)


def _without_an_end(item: ast.Slice) -> Iterator[ast.AST]:
    if item.lower is not None:
        yield ast.Slice(None, item.upper, item.step)
    if item.upper is not None:
        yield ast.Slice(item.lower, None, item.step)


def _called_otherwise(item: ast.Call) -> Iterator[ast.AST]:
    if len(item.args) > 1 and not isinstance(item.args[1], ast.Starred):
        yield ast.Call(item.func, [item.args[1], item.args[0], *item.args[2:]], item.keywords)
    elif isinstance(item.func, ast.Name) and item.func.id in ("sorted", "bool", "set"):
        yield from item.args[:1]


_OTHERS: dict[type[ast.AST], Callable[[Any], Iterable[ast.AST]]] = {
    ast.BoolOp: _with_one_operand_less,
    ast.UnaryOp: lambda item: (item.operand,),
    ast.IfExp: lambda item: (ast.IfExp(item.test, item.orelse, item.body),),
    ast.Slice: _without_an_end,
    ast.Call: _called_otherwise,
    ast.Name: lambda item: (ast.Name(_NAMES[item.id]),) if item.id in _NAMES else (),
    ast.Attribute: lambda item: (ast.Attribute(item.value, _NAMES[item.attr]),) if item.attr in _NAMES else (),
}


def _wrong_constants(value: object, *, is_at_top: bool, is_spec: bool) -> Iterator[ast.Constant]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
        if value > 0:
            yield ast.Constant(value - 1)
    elif isinstance(value, float):
        yield ast.Constant(value * 10)
    elif isinstance(value, bytes):
        yield ast.Constant(value + b"X")
    elif isinstance(value, str) and not is_spec and not (is_at_top and (" " in value or "://" in value)):
        yield ast.Constant(f"{value}X")
        if value:
            yield ast.Constant("")


def _losses(item: Any) -> Iterator[tuple[str, list[ast.AST]]]:
    """Yield the fields of an expression with a part less: filters, keyword arguments, elements of what is listed."""
    if isinstance(item, ast.comprehension):
        field = "ifs"
    elif isinstance(item, ast.Call):
        field = "keywords"
    elif isinstance(item, (ast.Tuple, ast.List)) and len(item.elts) > 2 and isinstance(item.ctx, ast.Load):
        field = "elts" if all(isinstance(element, ast.Constant) for element in item.elts) else ""
    else:
        return
    parts = getattr(item, field, [])
    for index in range(len(parts)):
        yield field, [*parts[:index], *parts[index + 1 :]]
