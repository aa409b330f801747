"""The project a question is about: its declarations with the numbers in force, and what makes a holder "us"."""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.errors import ConfigError, UsageError
from portguard.model import Note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Literal

    from portguard.config.find import ConfigText
    from portguard.model import Checkout, Config, Declaration, Process
    from portguard.rules.verdicts import OwnTree
    from portguard.sources.compose import ComposeFiles, ComposeProject

    Mode = Literal["look", "foresee", "take"]


class Wish(NamedTuple):
    """How far to go for numbers: `look` at those there are, `foresee` those there would be, or `take` them.

    `is_isolated`: the checkout shall have its own although it is no linked worktree. `moved` are declarations that
    shall have another number than the one given here, which somebody else holds. `is_exported`: compose files are read
    as a command sees them that all the numbers are exported to. `unread` is a `.env` (its path) whose block of ours is
    about to be written: what it says is not read back.
    """

    mode: Mode
    is_isolated: bool = False
    moved: Mapping[str, int] = {}
    is_exported: bool = False
    unread: str | None = None


_LOOK = Wish("look")


class Project(NamedTuple):
    """`config` and `sources` are absolute paths of what was read; without them there are no declarations.

    `compose` is the project that was read from compose files, None where none were asked for. `checkout` is whose
    numbers were asked for, None where nothing can be moved; `is_isolated` tells that it has its own, and `overlay` are
    the variables that bring those about.
    """

    cwd: str
    config: str | None = None
    sources: tuple[str, ...] = ()
    declarations: tuple[Declaration, ...] = ()
    compose: ComposeProject | None = None
    notes: tuple[Note, ...] = ()
    checkout: Checkout | None = None
    is_isolated: bool = False
    overlay: Mapping[str, str] = {}


def directory_of(project: Project) -> str:
    """Return the directory of the project's config, or where it was asked for."""
    return os.path.dirname(project.config) if project.config else project.cwd


def shown(path: str | None, cwd: str) -> str:
    """Return the path as messages show it: relative where it lies below the working directory."""
    return (path or "").removeprefix(cwd.rstrip(os.sep) + os.sep)


def load(
    cwd: str,
    config: str | None,
    environ: Mapping[str, str],
    *,
    is_required: bool,
    by_compose: bool = False,
    wish: Wish = _LOOK,
) -> Project:
    """Read the config named, or the nearest one, or else the compose files that compose would use here.

    With a config, the `.env` beside it where a variable may move a port, and the compose files it names; `by_compose`
    lets the compose plugin resolve those. `wish` tells how far to go for this checkout's own numbers. Raises
    ConfigError for anything wrong in them, UsageError when there is nothing and `is_required`, and for numbers that are
    to be taken what `numbers.find` raises.
    """
    from portguard.config import find  # ports given by argument need no config

    found = find.find(cwd, environ) if config is None else find.read(os.path.join(cwd, config))
    files = _compose_files(cwd, environ) if found is None else None
    try:
        if found is not None:
            return _configured(cwd, found, environ, by_compose=by_compose, wish=wish)
        if files is not None:
            from portguard.api import stacks  # and no YAML where there is no compose file

            return stacks.published(Project(cwd), files, environ, by_compose=by_compose, wish=wish)
    except ConfigError as error:
        from portguard.api import outside  # only on the way to an error

        own = files.directory if files is not None else os.path.dirname(found.path if found is not None else cwd)
        named = () if config is None else (os.path.dirname(os.path.realpath(os.path.join(cwd, config))),)
        raise outside.discreet(error, cwd, outside.own_directories(cwd, own, *named)) from error
    if not is_required:
        return Project(cwd)
    places = find.directories(cwd, find.checkout_root(cwd), find.home_of(environ))
    span = places[0] if len(places) == 1 else f"{places[0]} up to {places[-1]}"
    raise UsageError(
        f"no {find.FILE_NAME}, no [tool.portguard] in a {find.PYPROJECT}, and no compose file: looked in {span}",
        "write one, name one with --config, or name ports: portguard check 3000 53/udp",
    )


def _compose_files(cwd: str, environ: Mapping[str, str]) -> ComposeFiles | None:
    """Return the files compose would use in `cwd`, None where there are none; cheap, because most have none."""
    from portguard.sources import compose_files  # opens nothing but `.env`

    files = compose_files.find(cwd, environ)
    for path in files.paths if files is not None else ():
        _believe(path, cwd, "if you trust it, name it in a portguard.toml: [compose] files = [...]")
    return files


# --- portguard.toml -------------------------------------------------------------------------------------------------


def _configured(cwd: str, found: ConfigText, environ: Mapping[str, str], *, by_compose: bool, wish: Wish) -> Project:
    from portguard.api import configs  # only where there is a config

    config = configs.parsed(found, shown(found.path, cwd), environ)
    project = Project(cwd, found.path, (found.path,), config.declarations)
    if any(item.env for item in config.declarations):
        project = _resolved(project, environ, wish)
    if config.compose_files:
        from portguard.api import stacks  # and no YAML where no compose file is named

        files = compose_files_of(config, found, shown(found.path, cwd))
        project = stacks.published(project, files._replace(cwd=cwd), environ, by_compose=by_compose, wish=wish)
    return project


def compose_files_of(config: Config, found: ConfigText, where: str) -> ComposeFiles:
    """Return the compose files that a config names. Raises ConfigError for those that cannot be, each with its place.

    `where` is the config's path in messages.
    """
    from portguard.sources import compose_files

    directory = os.path.dirname(found.path)
    try:
        return compose_files.named(config.compose_files, directory)
    except ConfigError:
        from portguard.config import parse  # a config that is remembered is not parsed

        problems = []
        for index, path in enumerate(config.compose_files):
            try:
                compose_files.named([path], directory)
            except ConfigError as error:
                problems += [parse.at_compose_file(found, where, index, message) for message in error.messages]
        raise ConfigError(tuple(problems), f"paths are relative to {where}") from None


def _resolved(project: Project, environ: Mapping[str, str], wish: Wish) -> Project:
    from portguard.api import numbers as own  # only where a variable can move a port
    from portguard.rules import numbers

    directory = os.path.dirname(project.config or "")
    path = os.path.join(directory, ".env")
    text = _dotenv_text(path, project.cwd)
    dotenv = None if text is None else _dotenv(text, path, project.cwd, environ, wish)
    where = shown(path, project.cwd)
    checkout = own.checkout_of(directory)
    block = None if text is None else block_in(text)
    notes = block_notes(block, path, checkout, project, wish)
    preferred = preferred_in(block, project.declarations, checkout)
    explicit = {
        item.name
        for item in project.declarations
        if numbers.is_explicit(item, environ, {} if item.name in preferred else dotenv or {})
    }
    taken = {item.declared_port for item in project.declarations}
    found = own.find(project.declarations, checkout, environ, wish, taken=taken, explicit=explicit, preferred=preferred)
    project = project._replace(
        checkout=checkout, is_isolated=found.is_isolated, notes=(*project.notes, *notes, *found.notes)
    )
    answers = [numbers.resolve(item, environ, dotenv or {}, where, found.ports) for item in project.declarations]
    problems = tuple(answer for answer in answers if isinstance(answer, str))
    if problems:
        raise ConfigError(problems, "give the variable a number, or unset it")
    sources = project.sources if dotenv is None else (*project.sources, path)
    declarations = tuple(item for item in answers if not isinstance(item, str))
    overlay = {
        item.env: str(item.port) for item in declarations if item.env and (wish.is_exported or item.origin == "lease")
    }
    return project._replace(sources=sources, declarations=declarations, overlay=overlay)


def _dotenv_text(path: str, cwd: str) -> str | None:
    from portguard.sources import regular  # as above

    try:
        return regular.read(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        hint = "make it readable, or set the variables in the environment instead"
        raise ConfigError((f"{shown(path, cwd)}: cannot be read: {reason}",), hint) from error


def _dotenv(text: str, path: str, cwd: str, environ: Mapping[str, str], wish: Wish) -> dict[str, tuple[str, int]]:
    from portguard.sources import dotenv  # as above

    if is_same(wish.unread, path):
        from portguard.rules import env_block  # only where it is about to be written

        text = env_block.blanked(text)
    try:
        found = dotenv.assignments(text, environ)
    except dotenv.DotenvError as error:
        raise ConfigError((f"{shown(path, cwd)}:{error.line}: {error.what}",)) from error
    _believe(path, cwd, "set the variables in the environment instead")
    return {name: (assignment.value, assignment.line) for name, assignment in found.items()}


class Block(NamedTuple):
    """Our block in a `.env`: the root of the checkout it was written for, and what nothing else there sets."""

    owner: str
    values: dict[str, str]


def block_at(path: str) -> Block | None:
    """Return our block in the `.env` at `path`; None where there is none, or none that can be read."""
    from portguard.sources import regular

    try:
        text = regular.read(path)
    except (OSError, ValueError):
        return None
    return None if text is None else block_in(text)


def block_in(text: str) -> Block | None:
    """Return our block in the text of a `.env`; None where there is none, or none that can be understood."""
    if ">>> portguard env" not in text:
        return None
    from portguard.rules import env_block  # only where there is one
    from portguard.sources import dotenv

    owner = env_block.owner_of(text)
    if owner is None:
        return None
    try:
        found, others = dotenv.assignments(text), dotenv.assignments(env_block.blanked(text))
    except dotenv.DotenvError:
        return None
    return Block(owner, {name: item.value for name, item in found.items() if name not in others})


def is_same(one: str | None, other: str) -> bool:
    """Whether two paths mean one file, which need not be there."""
    return one is not None and os.path.realpath(one) == os.path.realpath(other)


def block_notes(block: Block | None, path: str, checkout: Checkout, project: Project, wish: Wish) -> tuple[Note, ...]:
    """Return a note where the numbers in a `.env` were written for another checkout, from which it was copied."""
    if block is None or block.owner == checkout.root or is_same(wish.unread, path):
        return ()
    where = shown(path, project.cwd)
    note = Note(
        "foreign-block", f"the numbers in {where} were written for {block.owner}: portguard env --write {where}"
    )
    return () if note in project.notes else (note,)


def preferred_in(block: Block | None, items: Iterable[Declaration], checkout: Checkout) -> dict[str, int]:
    """Return the numbers, by declaration, that this checkout had when its block was written."""
    if block is None or block.owner != checkout.root:
        return {}
    values = {item.name: block.values.get(item.env or "", "") for item in items}
    return {
        name: int(value) for name, value in values.items() if value.isascii() and value.isdigit() and len(value) < 6
    }


def _believe(path: str, cwd: str, hint: str) -> None:
    """Raise ConfigError when `path`, which was found by walking, may have been planted by another user."""
    from portguard.config import find  # as above

    distrusted = find.distrust(path, cwd=cwd, root=find.checkout_root(cwd))
    if distrusted is not None:
        raise ConfigError((f"{path}: refused: {distrusted}",), hint)


# --- whose processes are ours -----------------------------------------------------------------------------------------


def find_own_tree(project: Project, environ: Mapping[str, str]) -> OwnTree | None:
    """Return the tree whose processes are this project's own; None where it would be everything or a whole home.

    Its user is the directory's owner; under sudo the one who called it.
    """
    from portguard.config import find  # only when a port is busy
    from portguard.rules.verdicts import OwnTree

    directory = directory_of(project)
    root = os.path.realpath(find.checkout_root(directory) or directory)
    if os.path.dirname(root) == root or root in {os.path.realpath(home) for home in _homes(environ)}:
        return None
    uid = sudo_uid(environ)
    if uid is None:
        try:
            uid = os.stat(root).st_uid
        except OSError:
            return None
    return OwnTree(root, uid)


def without_others(tree: OwnTree | None, people: Iterable[Process]) -> OwnTree | None:
    """Return the tree without the checkouts inside it that these processes run in: a linked worktree, a clone.

    A submodule is a part of the checkout: its repository is kept in this one's (gitsubmodules(7)).
    """
    from portguard.rules import verdicts

    places = {process.cwd for process in people if verdicts.runs_in(process, tree)}
    if tree is None or not places:
        return tree
    from portguard.api import numbers  # only where somebody runs in the tree

    modules = os.path.join(numbers.checkout_of(tree.root).common, "modules", "")
    inside = [numbers.checkout_of(place) for place in places if place and not numbers.is_in(place, tree.root)]
    others = {checkout.root for checkout in inside if not checkout.common.startswith(modules)}
    return tree._replace(others=tuple(sorted(others)))


def sudo_uid(environ: Mapping[str, str]) -> int | None:
    """Return the user who called us through sudo (sudo(8)), None where nobody did."""
    text = environ.get("SUDO_UID", "")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return int(text) if is_root and text.isascii() and text.isdigit() and len(text) <= 10 else None


def _homes(environ: Mapping[str, str]) -> Iterator[str]:
    if os.path.isabs(environ.get("HOME", "")):
        yield environ["HOME"]
    if not hasattr(os, "geteuid"):
        yield os.path.expanduser("~")
        return
    import pwd  # POSIX only, and only when a port is busy

    for uid in {os.geteuid(), sudo_uid(environ) or 0}:
        try:
            yield pwd.getpwuid(uid).pw_dir
        except (KeyError, OverflowError):
            continue
