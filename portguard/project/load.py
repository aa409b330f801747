"""Load the project a question is about: its declarations, with the numbers in force."""

from __future__ import annotations

import os

from portguard.errors import ConfigError, UsageError
from portguard.project.records import LOOK, NumberPolicy, Project, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from portguard.config.find import ConfigText
    from portguard.model import Config, Note
    from portguard.sources.compose import ComposeFiles


def load(
    cwd: str,
    config: str | None,
    environ: Mapping[str, str],
    *,
    is_required: bool,
    by_compose: bool = False,
    policy: NumberPolicy = LOOK,
) -> Project:
    """Read the config named, or the nearest one, or else the compose files that compose would use here.

    With a config, the `.env` beside it where a variable may move a port, and the compose files it names; `by_compose`
    lets the compose plugin resolve those. `policy` tells how far to go for this checkout's own numbers. Raises
    ConfigError for anything wrong in them, UsageError when there is nothing and `is_required`, and for numbers that are
    to be taken what `numbers.find_numbers` raises.
    """
    from portguard.config import find  # ports given by argument need no config

    found = find.find_config(cwd, environ) if config is None else find.read(os.path.join(cwd, config))
    files = _compose_files(cwd, environ) if found is None else None
    try:
        if found is not None:
            return _configured(cwd, found, environ, by_compose=by_compose, policy=policy)
        if files is not None:
            from portguard.project import compose  # and no YAML where there is no compose file

            return compose.published(Project(cwd), files, environ, by_compose=by_compose, policy=policy)
    except ConfigError as error:
        from portguard.project import redact  # only on the way to an error

        own = files.directory if files is not None else os.path.dirname(found.path if found is not None else cwd)
        named = () if config is None else (os.path.dirname(os.path.realpath(os.path.join(cwd, config))),)
        raise redact.redacted(error, cwd, redact.own_directories(cwd, own, *named)) from error
    if not is_required:
        return Project(cwd)
    places = find.directories(cwd, find.checkout_root(cwd), find.home_of(environ))
    span = places[0] if len(places) == 1 else f"{places[0]} up to {places[-1]}"
    raise UsageError(
        f"no {find.FILE_NAME}, no [tool.portguard] in a {find.PYPROJECT}, and no compose file: looked in {span}",
        "write one, name one with --config, or name ports: portguard check 3000 53/udp",
    )


def _compose_files(cwd: str, environ: Mapping[str, str]) -> ComposeFiles | None:
    """Return the files compose would use in `cwd`, None if there are none; cheap, because most have none."""
    from portguard.sources import compose_files  # opens nothing but `.env`

    files = compose_files.find_files(cwd, environ)
    for path in files.paths if files is not None else ():
        _require_trusted(path, cwd, "if you trust it, name it in a portguard.toml: [compose] files = [...]")
    return files


# --- portguard.toml -------------------------------------------------------------------------------------------------


def _configured(
    cwd: str, found: ConfigText, environ: Mapping[str, str], *, by_compose: bool, policy: NumberPolicy
) -> Project:
    from portguard.project import cache  # only where there is a config

    config = cache.parsed(found, shown(found.path, cwd), environ)
    project = Project(cwd, found.path, (found.path,), config.declarations)
    if any(item.env for item in config.declarations):
        project = _resolved(project, environ, policy)
    if config.compose_files:
        from portguard.project import compose  # and no YAML where no compose file is named

        files = compose_files_of(config, found, shown(found.path, cwd))
        project = compose.published(project, files._replace(cwd=cwd), environ, by_compose=by_compose, policy=policy)
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


def _resolved(project: Project, environ: Mapping[str, str], policy: NumberPolicy) -> Project:
    from portguard.project import numbers as own  # only where a variable can move a port
    from portguard.project.checkout import checkout_of
    from portguard.rules import numbers

    directory = os.path.dirname(project.config or "")
    path = os.path.join(directory, ".env")
    text = _dotenv_text(path, project.cwd)
    where = shown(path, project.cwd)
    checkout = checkout_of(directory)
    dotenv: dict[str, tuple[str, int]] | None = None
    notes: tuple[Note, ...] = ()
    preferred: dict[str, int] = {}
    if text is not None:
        from portguard.project import env_file  # only where there is a .env

        dotenv = _dotenv(text, path, project.cwd, environ, policy)
        block = env_file.block_in(text)
        notes = env_file.block_notes(block, path, checkout, project, policy)
        preferred = env_file.preferred_in(block, project.declarations, checkout)
    explicit = {
        item.name
        for item in project.declarations
        if numbers.is_explicit(item, environ, {} if item.name in preferred else dotenv or {})
    }
    taken = {item.declared_port for item in project.declarations}
    found = own.find_numbers(
        project.declarations, checkout, environ, policy, taken=taken, explicit=explicit, preferred=preferred
    )
    project = project._replace(checkout=checkout, isolated=found.isolated, notes=(*project.notes, *notes, *found.notes))
    answers = [numbers.resolve(item, environ, dotenv or {}, where, found.ports) for item in project.declarations]
    problems = tuple(answer for answer in answers if isinstance(answer, str))
    if problems:
        raise ConfigError(problems, "give the variable a number, or unset it")
    sources = project.sources if dotenv is None else (*project.sources, path)
    declarations = tuple(item for item in answers if not isinstance(item, str))
    overlay = {
        item.env: str(item.port) for item in declarations if item.env and (policy.is_exported or item.origin == "lease")
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


def _dotenv(
    text: str, path: str, cwd: str, environ: Mapping[str, str], policy: NumberPolicy
) -> dict[str, tuple[str, int]]:
    from portguard.project import env_file  # as above
    from portguard.sources import dotenv

    if env_file.is_same(policy.unread, path):
        from portguard.rules import env_block  # only where it is about to be written

        text = env_block.blanked(text)
    try:
        found = dotenv.assignments(text, environ)
    except dotenv.DotenvError as error:
        raise ConfigError((f"{shown(path, cwd)}:{error.line}: {error.what}",)) from error
    _require_trusted(path, cwd, "set the variables in the environment instead")
    return {name: (assignment.value, assignment.line) for name, assignment in found.items()}


def _require_trusted(path: str, cwd: str, hint: str) -> None:
    """Raise ConfigError when `path`, which was found by walking, may have been planted by another user."""
    from portguard.config import find  # as above

    distrusted = find.distrust(path, cwd=cwd, root=find.checkout_root(cwd))
    if distrusted is not None:
        raise ConfigError((f"{path}: refused: {distrusted}",), hint)
