"""The house's directions: who may import whom, and what no one may load at once."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Mapping, Set
from pathlib import Path

import pytest

import portguard

PACKAGE = Path(portguard.__file__).parent  # of what is installed, with or without a source tree beside the tests
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = {
    ".".join(("portguard", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in MODULES
}

# Room by room: the rooms of the package it may import besides itself. `model` and `errors` are everyone's.
EVERYBODY = {"model", "errors", "_contexts", "_namedtuple"}
ALLOWED: dict[str, set[str]] = {
    "model": {"_namedtuple"},
    "errors": set(),
    "_contexts": set(),
    "_namedtuple": set(),
    "rules": set(),
    "config": {"rules"},
    "sources": {"rules"},
    "system": {"rules"},
    "leases": {"rules"},
    "engines": {"rules"},
    "render": {"rules"},
    "project": {"__init__", "config", "sources", "system", "leases", "engines", "rules"},
    "holders": {"project", "system", "leases", "engines", "rules"},
    "api": {"__init__", "holders", "project", "config", "sources", "system", "leases", "engines", "rules"},
    "cli": {"api", "render", "rules", "__init__"},
    "pytest_plugin": {"api"},
    "__main__": {"cli"},
    "__init__": {"api"},
}
TOUCHES_THE_SYSTEM = {
    "_socket", "fcntl", "glob", "http", "io", "multiprocessing", "os", "pathlib", "psutil", "select", "shutil",
    "signal", "socket", "subprocess", "sys", "tempfile", "threading", "urllib",
}  # fmt: skip
PURE = {"rules": TOUCHES_THE_SYSTEM | {"time"}, "render": TOUCHES_THE_SYSTEM}
EVERYWHERE_BUT_CLI = {"typer", "rich"}


def room_of(path: Path) -> str:
    """Return the room a module belongs to: its folder, or its own name at the top."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path: Path) -> set[str]:
    """Return the full names of all modules a file imports anywhere, also inside functions and for type checkers."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def rooms_imported(path: Path) -> set[str]:
    """Return the package's rooms that a file imports."""
    rooms = set()
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "portguard":
            is_room = len(parts) > 1 and (parts[1] in ALLOWED)
            rooms.add(parts[1] if is_room else "__init__")
    return rooms


def run_time_imports(path: Path) -> set[str]:
    """Return the package's modules that a file imports when it runs, at once or inside a function."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from a import b` runs the package `a` as well; where `b` is a module, that is what is meant.
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in NAMES else str(node.module) for name in full]
        else:
            continue
        found.update(name for name in names if name in NAMES)
    return found


def circles(graph: Mapping[str, Set[str]]) -> list[list[str]]:
    """Return the groups of modules that can reach each other (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            place = stack.index(name)
            group = stack[place:]
            del stack[place:]
            if len(group) > 1 or name in graph[name]:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return found


def test_no_circle_of_imports() -> None:
    """No modules import each other in a circle at run time, not inside a room and not inside functions either."""
    assert circles({name: run_time_imports(path) for name, path in NAMES.items()}) == []


def test_circles_are_found() -> None:
    """The search for circles sees one of two, one of three, and a module that imports itself."""
    graph = {"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"e"}, "e": {"c", "a"}, "f": {"f"}, "g": {"a"}}

    assert sorted(circles(graph)) == [["a", "b"], ["c", "d", "e"], ["f"]]


def test_every_room_is_known() -> None:
    """A new room must be given its directions here."""
    assert {room_of(path) for path in MODULES} <= set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_the_rooms_its_own_room_may(path: Path) -> None:
    """A module imports only the rooms its own room may."""
    room = room_of(path)

    assert rooms_imported(path) - {room} - EVERYBODY <= ALLOWED[room]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rules_and_render_import_nothing_that_touches_the_system(path: Path) -> None:
    """`rules` and `render` import nothing that touches the system; Typer lives in `cli` alone."""
    room = room_of(path)
    roots = {name.split(".")[0] for name in imports_of(path)}

    assert not roots & PURE.get(room, set())
    assert room == "cli" or not roots & EVERYWHERE_BUT_CLI


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_prints_and_exits(path: Path) -> None:
    """`print`, `sys.exit` and writing to the standard streams happen in `cli` and `__main__` alone."""
    if room_of(path) in ("cli", "__main__"):
        return
    names = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}

    allowed = {"os._exit"} if path.name in ("hold.py", "forked.py") else set()  # a forked process must not return
    assert (
        not names & {"print", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"} - allowed
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_size_and_purpose(path: Path) -> None:
    """No module is longer than 600 lines, and each says what it is for."""
    text = path.read_text()

    assert len(text.splitlines()) <= 600
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_group_is_possessive(path: Path) -> None:
    """A pattern's repeated group is atomic, `(?>(…)*)`: `(…)*+` loses matches in Python before 3.11.5."""
    texts = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))

    assert [
        text for text in texts if isinstance(text, str) and re.search(r"(?<!\\)\)(?:[*+?]|\{[\d,]+\})\+", text)
    ] == []


def test_the_library_s_face_is_light() -> None:
    """`import portguard` loads no module outside the package that a bare interpreter has not loaded."""
    program = "import sys; before = set(sys.modules); import portguard; print(*sorted(set(sys.modules) - before))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["__future__", "portguard"]


def test_all_names_of_the_face_exist() -> None:
    """Every public name can be imported, and `dir` shows it."""
    import portguard

    for name in portguard.__all__:
        assert getattr(portguard, name) is not None
        assert name in dir(portguard)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = portguard.nonsense


ENGINE_NAMES = ("docker", "podman")


def engine_comparisons(text: str) -> list[int]:
    """Return the lines of a module that compare something with an engine's name."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        for part in ast.walk(side)
        if isinstance(part, ast.Constant) and part.value in ENGINE_NAMES
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_compares_the_name_of_an_engine(path: Path) -> None:
    """What differs between engines is data of their records, so that a new engine is one more record."""
    assert engine_comparisons(path.read_text()) == []


@pytest.mark.parametrize(
    "code",
    ['kind = 1 if container.engine == "docker" else 2', 'if name in ("podman", "docker"): pass', '"docker" != x'],
)
def test_comparisons_with_engines_are_found(code: str) -> None:
    """The test above notices what there was before."""
    assert set(engine_comparisons(code)) == {1}
