"""YAML as a tree that knows its places: every node has its line, column and tag; aliases stay shared, never copied.

Built from PyYAML's events, not by its loader: that one reads `2222:22` as a number to base 60 and `no` as false, fails
on `!reset`, and recurses. Plain scalars resolve as in go-yaml v3, which compose uses (YAML 1.2 core, and 0777 octal).
PyYAML is imported when a text is read. Bounded in size, depth and number; raises only ConfigError.
"""

from __future__ import annotations

from portguard.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    Kind = Literal["scalar", "sequence", "mapping"]

SIZE_LIMIT = 1024 * 1024  # bytes
NODE_LIMIT = 30_000  # compose-go visits 100,000, those behind aliases counted each time
DEPTH_LIMIT = 100
_MERGED_LIMIT = 100_000  # keys that `<<` brings in, in one file
_STRING = "tag:yaml.org,2002:str"
_NULL = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class Node:
    """A scalar, sequence or mapping of one text.

    `tag` is "" where none is written. A scalar has its `value` (text as YAML defines it) and `is_plain`; a sequence has
    its `items`; a mapping its `pairs` as written. `line` and `column` count from 1.
    """

    __slots__ = ("column", "is_plain", "items", "kind", "line", "pairs", "tag", "value")

    def __init__(
        self, kind: Kind, tag: str, line: int, column: int, value: str = "", *, is_plain: bool = False
    ) -> None:
        self.kind = kind
        self.tag = tag
        self.line = line
        self.column = column
        self.value = value
        self.is_plain = is_plain
        self.items: list[Node] = []
        self.pairs: list[tuple[Node, Node]] = []


class Document:
    """One YAML document: its `root` (None if empty) and how its mappings read. `shown` is the file in messages."""

    def __init__(self, root: Node | None, shown: str) -> None:
        self.root = root
        self.shown = shown
        self._mappings: dict[int, dict[str, tuple[Node, Node]]] = {}
        self._merged = 0

    def error(self, node: Node, what: str) -> ConfigError:
        """Return the error that says `what` is wrong with `node`."""
        return ConfigError((f"{self.shown}:{node.line}:{node.column}: {what}",))

    def mapping(self, node: Node, what: str, depth: int = 0) -> dict[str, tuple[Node, Node]]:
        """Return a mapping's key and value nodes by key, `<<` resolved: own keys first, then the earliest merged.

        Raises ConfigError if it is none, a key is no string, or is there twice. `what` names the place; `depth` is
        how many `<<` led here.
        """
        if node.kind != "mapping":
            raise self.error(node, f"{what} must be a mapping, not {describe(node)}")
        known = self._mappings.get(id(node))
        if known is not None:
            return known
        own: dict[str, tuple[Node, Node]] = {}
        merged: list[Node] = []
        for key, value in node.pairs:
            if key.kind == "scalar" and key.is_plain and key.value == "<<" and not key.tag:
                merged.extend(value.items if value.kind == "sequence" else (value,))
                continue
            if key.kind != "scalar" or not isinstance(scalar(key), str):
                raise self.error(key, f"{what} has a key that is not a string: {describe(key)}")
            if key.value in own:
                line = own[key.value][0].line
                raise self.error(key, f"{key.value!r} is a duplicate of line {line}")
            own[key.value] = (key, value)
        for source in merged:
            if source.kind != "mapping":
                raise self.error(source, f"<< takes a mapping or a list of them, not {describe(source)}")
            if depth >= DEPTH_LIMIT:
                raise self.error(source, f"<< is nested more than {DEPTH_LIMIT} levels deep")
            pairs = self.mapping(source, what, depth + 1)
            self._merged += len(pairs) + 1
            if self._merged > _MERGED_LIMIT:
                raise self.error(source, f"<< brings in more than {_MERGED_LIMIT} keys")
            for name, pair in pairs.items():
                own.setdefault(name, pair)
        self._mappings[id(node)] = own
        return own

    def sequence(self, node: Node, what: str) -> list[Node]:
        """Return a sequence's items. Raises ConfigError if it is none."""
        if node.kind != "sequence":
            raise self.error(node, f"{what} must be a list, not {describe(node)}")
        return node.items


def parse(data: bytes, shown: str) -> list[Document]:
    """Return the documents of a YAML text. Raises ConfigError with the place; `shown` is the path in messages."""
    if len(data) > SIZE_LIMIT:
        raise ConfigError((f"{shown}: is larger than {SIZE_LIMIT // 1024} KiB",), "split the file, or name another")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError((f"{shown}:{line}:1: is not UTF-8",)) from error
    import yaml  # 6 x the interpreter's start; only for those who have a compose file

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(shown, yaml)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark is not None else "1:1"
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise ConfigError((f"{shown}:{place}: is not valid YAML: {what}",)) from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # Control characters and numbers of characters that there are not; these do not say where.
        raise ConfigError((f"{shown}:1:1: is not valid YAML: {' '.join(str(error).split())[:200]}",)) from error
    return builder.documents


class _Builder:
    """Makes nodes of events. No recursion: the open collections are a list."""

    def __init__(self, shown: str, yaml: Any) -> None:
        self.documents: list[Document] = []
        self._shown = shown
        self._open: list[Node] = []
        self._keys: list[Node | None] = []  # for each open collection: the key that waits for its value
        self._anchors: dict[str, Node] = {}
        self._root: Node | None = None
        self._count = 0
        self._takers: dict[Any, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceEndEvent: self._end,
            yaml.MappingEndEvent: self._end,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document_start,
            yaml.DocumentEndEvent: self._document_end,
        }
        self._mapping_start = yaml.MappingStartEvent

    def take(self, event: Any) -> None:
        taker = self._takers.get(type(event))
        if taker is not None:
            taker(event)

    def _document_start(self, _event: Any) -> None:
        self._root = None
        self._anchors = {}

    def _document_end(self, _event: Any) -> None:
        root = self._root
        is_empty = root is not None and root.kind == "scalar" and not root.tag and scalar(root) is None
        self.documents.append(Document(None if is_empty else root, self._shown))

    def _scalar(self, event: Any) -> None:
        mark = event.start_mark
        is_plain = not event.style
        node = Node("scalar", _tag(event.tag), mark.line + 1, mark.column + 1, event.value, is_plain=is_plain)
        self._add(node, event)

    def _start(self, event: Any) -> None:
        mark = event.start_mark
        kind: Kind = "mapping" if isinstance(event, self._mapping_start) else "sequence"
        node = Node(kind, _tag(event.tag), mark.line + 1, mark.column + 1)
        if len(self._open) >= DEPTH_LIMIT:
            raise self._error(event, f"is nested more than {DEPTH_LIMIT} levels deep")
        self._add(node, event)
        self._open.append(node)
        self._keys.append(None)

    def _end(self, _event: Any) -> None:
        self._open.pop()
        self._keys.pop()

    def _alias(self, event: Any) -> None:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._error(event, f"the alias *{event.anchor[:60]} has no anchor before it")
        if any(node is parent for parent in self._open):
            raise self._error(event, f"the anchor &{event.anchor[:60]} contains itself")
        self._attach(node)

    def _add(self, node: Node, event: Any) -> None:
        if event.anchor:
            self._anchors[event.anchor] = node
        self._count += 1
        if self._count > NODE_LIMIT:
            raise self._error(event, f"has more than {NODE_LIMIT} nodes")
        self._attach(node)

    def _attach(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if parent.kind == "sequence":
            parent.items.append(node)
            return
        key = self._keys[-1]
        if key is None:
            self._keys[-1] = node
        else:
            parent.pairs.append((key, node))
            self._keys[-1] = None

    def _error(self, event: Any, what: str) -> ConfigError:
        mark = event.start_mark
        return ConfigError((f"{self._shown}:{mark.line + 1}:{mark.column + 1}: {what}",))


def _tag(tag: str | None) -> str:
    """Return a written tag; "!" only says that the scalar is no plain one."""
    return "" if tag in (None, "!") else str(tag)


def scalar(node: Node) -> str | int | float | bool | None:
    """Return what a scalar means: None, a boolean, a number or a string. An unknown tag makes a string."""
    if node.tag:
        suffix = node.tag.removeprefix("tag:yaml.org,2002:")
        return node.value if suffix in ("str", node.tag) else _resolve(node.value)
    return _resolve(node.value) if node.is_plain else node.value


def _resolve(text: str) -> str | int | float | bool | None:
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "+-.0123456789" or ":" in text or len(text) > 64:
        return text
    digits = text.replace("_", "")
    number: int | float | None = _integer(digits)
    if number is None:
        number = _float(digits)
    return text if number is None else number


def _integer(text: str) -> int | None:
    """Return an integer as Go's strconv.ParseInt with base 0 does: 0x, 0o, 0b, and a leading zero is octal."""
    sign, digits = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    if not digits.isalnum() or not digits.isascii() or not digits[0].isdigit():
        return None
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2].lower(), 8 if digits[0] == "0" and len(digits) > 1 else 10)
    try:
        value = int(digits[2:] if base != 10 and not digits[1].isdigit() else digits, base)
    except ValueError:
        return None
    return -value if sign == "-" else value


def _float(text: str) -> float | None:
    """Return a float of the core schema; `.inf` and `.nan` are not needed and stay strings."""
    if text.strip("0123456789.eE+-"):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def describe(node: Node) -> str:
    """Return what a node is, for a message."""
    if node.kind != "scalar":
        return {"sequence": "a list", "mapping": "a mapping"}[node.kind]
    value = scalar(node)
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"the boolean {node.value}"
    if isinstance(value, str):
        return f"the string {value!r}" if len(value) <= 40 else "a string"
    return f"the number {node.value[:40]}"
