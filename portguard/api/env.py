"""`env`: a checkout's ports as variables. The main checkout has the declared numbers, a linked worktree its own."""

from __future__ import annotations

import os

from portguard.errors import ConflictError, UsageError
from portguard.model import EnvPort, EnvReport, Note
from portguard.project import load as loading
from portguard.project import ours
from portguard.project.checkout import checkout_of
from portguard.project.records import NumberPolicy, directory_of, shown, working_directory
from portguard.rules import targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portguard.model import Declaration, PortReport
    from portguard.project.records import Project


def env(
    *names: str,
    config: str | None = None,
    isolated: bool = False,
    move: bool = False,
    cwd: str | None = None,
    environ: Mapping[str, str] | None = None,
    unread: str | None = None,
) -> EnvReport:
    """Return the numbers of all declarations that have a variable, or of those with these names.

    A variable that is set already wins, then the one in `.env`. A linked worktree, or any checkout if `isolated`, gets
    numbers of its own for the others and keeps them. In the main checkout a declared port that a stranger holds is a
    ConflictError, unless `move` gives it another number; that stays, too. `unread` is a path whose block of ours is
    about to be written again. Raises UsageError, ConfigError, ConflictError, NoFreePortError and StateError.
    """
    environ = os.environ if environ is None else environ
    policy = NumberPolicy("take", isolated, unread=unread)
    project = load(config, cwd, environ, policy)
    chosen = movable(project, names)
    if move or not project.isolated:
        busy = strangers(project, chosen, environ)
        if busy and move:
            moved = {port.name: port.port for port in busy}
            project = load(config, cwd, environ, policy._replace(moved=moved))
            chosen = movable(project, names)
        elif busy:
            raise conflict(busy, "portguard env --move")
    return report(project, chosen, environ)


def load(config: str | None, cwd: str | None, environ: Mapping[str, str], policy: NumberPolicy) -> Project:
    """Return the project with the numbers it has or is given. Raises what `project.load` raises."""
    return loading.load(working_directory(cwd), config, environ, is_required=True, policy=policy)


def movable(project: Project, names: Sequence[str]) -> list[Declaration]:
    """Return the declarations with a variable, all or those of these names. Raises UsageError."""
    if not names:
        return [item for item in project.declarations if item.env is not None]
    where = shown((*project.sources, "")[0], project.cwd)
    chosen = targets.select(project.declarations, [(name, None) for name in names], where)
    for item in chosen:
        if item.env is None:
            raise UsageError(f"{item.name!r} has no variable", f'give it one in {where}: env = "..."')
    return chosen


def report(project: Project, chosen: Sequence[Declaration], environ: Mapping[str, str]) -> EnvReport:
    """Return what is to be exported for `chosen`, and what should be said about it."""
    ports = tuple(
        EnvPort(item.name, item.env or "", item.port, item.declared_port, item.protocols, item.origin)
        for item in chosen
    )
    variables = {port.env: str(port.port) for port in ports}
    name = ours.name_of(project, environ)
    if name is not None:
        variables["COMPOSE_PROJECT_NAME"] = name
    checkout = project.checkout or checkout_of(directory_of(project))
    notes = project.notes if project.isolated else (*project.notes, *map(_moved, _drifted(ports)))
    return EnvReport(project.config, checkout, project.isolated, ports, variables, notes)


def conflict(busy: Sequence[PortReport], command: str) -> ConflictError:
    """Return the error for ports that strangers hold; `command` is what moves those that can be moved."""
    hints = list(dict.fromkeys(port.hint for port in busy if port.hint))
    if any(port.env is not None for port in busy):
        hints.append(f"or move it: {command}")
    return ConflictError(tuple(f"{port.name}: {port.message}" for port in busy), ", ".join(hints) or None)


def strangers(project: Project, chosen: Sequence[Declaration], environ: Mapping[str, str]) -> list[PortReport]:
    """Return the conflicts with strangers among those whose number no one chose on purpose: what may be moved."""
    mine = [(item.name, None) for item in chosen if item.env is not None and item.origin in ("declared", "lease")]
    if not mine:
        return []
    from portguard.api import check  # only where something has to be checked

    found = check.check_project(project, mine, environ, strict=False).ports
    return [port for port in found if port.verdict == "conflict" and port.cause != "duplicate" and not port.optional]


def _drifted(ports: Sequence[EnvPort]) -> list[EnvPort]:
    return [port for port in ports if port.origin == "lease" and port.port != port.declared_port]


def _moved(port: EnvPort) -> Note:
    from portguard.rules import notes  # only when there is something to note

    return notes.moved_from(port.name, port.declared_port, port.port, f"portguard leases release {port.name}")


def write(path: str, found: EnvReport) -> bool:
    """Put the variables into the marked block of the file at `path`; whether that changed it.

    What the file sets outside of the block stays the user's. Raises UsageError for a file that is not to be written,
    OutputError when it cannot be.
    """
    from portguard.rules import env_block  # only for --write
    from portguard.sources import dotenv
    from portguard.system import replace

    def change(content: bytes) -> bytes:
        try:
            text = env_block.blanked(content.decode("utf-8", "surrogateescape"))
            theirs = dotenv.assignments(text)
            variables = {
                name: value
                for name, value in found.variables.items()
                if name not in theirs or name == "COMPOSE_PROJECT_NAME"
            }
            changed = env_block.replaced(content, variables, found.checkout.root)
            there = dotenv.assignments(changed.decode("utf-8", "surrogateescape"))
        except (dotenv.DotenvError, env_block.BlockError) as error:
            raise UsageError(f"{path}:{error.line}: {error.what}", "fix that line; nothing was written") from error
        for name, value in variables.items():
            if name in theirs and there[name].value != value:
                what = f"{path}:{theirs[name].line}: {name} is set again after portguard's block"
                raise UsageError(what, "move the block to the end; nothing was written")
            if name not in there or there[name].value != value:
                what = f"{path}: the last line has an unterminated value"
                raise UsageError(what, "terminate the value; nothing was written")
        return changed

    return replace.replace(path, found.checkout.root, change)
