"""What makes a holder ours: the processes of this checkout, and the containers of its compose project."""

from __future__ import annotations

import os

from portguard.errors import PortguardError
from portguard.project.checkout import checkout_of, hash_of, is_in
from portguard.project.records import directory_of
from portguard.system import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from portguard.model import Process
    from portguard.project.records import Project
    from portguard.rules.ownership import OwnStack
    from portguard.rules.verdicts import OwnTree


def sudo_caller(environ: Mapping[str, str]) -> int | None:
    """Return the user who called us through sudo, None for no one."""
    from portguard.rules.attribution import sudo_uid  # not for `env`

    return sudo_uid(environ, is_root=kernel.euid() == 0)


def find_own_tree(project: Project, environ: Mapping[str, str]) -> OwnTree | None:
    """Return the tree whose processes are this project's own; None if it would be everything or a whole home.

    Its user is the directory's owner; under sudo the one who called it.
    """
    from portguard.config import find  # only when a port is busy
    from portguard.rules.verdicts import OwnTree

    directory = directory_of(project)
    root = os.path.realpath(find.checkout_root(directory) or directory)
    if os.path.dirname(root) == root or root in {os.path.realpath(home) for home in _homes(environ)}:
        return None
    uid = sudo_caller(environ)
    if uid is None:
        try:
            uid = os.stat(root).st_uid
        except OSError:
            return None
    return OwnTree(root, uid)


def without_others(tree: OwnTree | None, processes: Iterable[Process]) -> OwnTree | None:
    """Return the tree without the checkouts inside it that these processes run in: a linked worktree, a clone.

    A submodule is a part of the checkout: its repository is kept in this one's (gitsubmodules(7)).
    """
    from portguard.rules import verdicts

    places = {process.cwd for process in processes if verdicts.runs_in(process, tree)}
    if tree is None or not places:
        return tree
    modules = os.path.join(checkout_of(tree.root).common, "modules", "")
    inside = [checkout_of(place) for place in places if place and not is_in(place, tree.root)]
    others = {checkout.root for checkout in inside if not checkout.common.startswith(modules)}
    return tree._replace(others=tuple(sorted(others)))


def _homes(environ: Mapping[str, str]) -> Iterator[str]:
    if os.path.isabs(environ.get("HOME", "")):
        yield environ["HOME"]
    if not hasattr(os, "geteuid"):
        yield os.path.expanduser("~")
        return
    import pwd  # POSIX only, and only when a port is busy

    for uid in {os.geteuid(), sudo_caller(environ) or 0}:
        try:
            yield pwd.getpwuid(uid).pw_dir
        except (KeyError, OverflowError):
            continue


def own_stack(project: Project, environ: Mapping[str, str]) -> OwnStack:
    """Return which containers would be ours: those of this project's name and directory.

    Without readable compose files the name is what compose would make of the environment and the directory.
    """
    from portguard.rules.ownership import OwnStack  # not for `env`
    from portguard.sources import compose  # only when a container holds a port

    found = project.compose
    directory = directory_of(project)
    if found is not None:
        return OwnStack(found.name, os.path.realpath(found.working_dir), found.services)
    environ = {**environ, **project.overlay}
    try:
        files = compose.find_files(directory, environ)
        found = None if files is None else compose.read(files, environ)
    except PortguardError:
        found = None
    name = environ.get("COMPOSE_PROJECT_NAME", "") or os.path.basename(directory)
    name = own_name(project, compose.normalize_name(name) if found is None else found.name, environ)
    if found is not None:
        return OwnStack(name, os.path.realpath(found.working_dir), found.services)
    return OwnStack(name, os.path.realpath(directory), None)


def name_of(project: Project, environ: Mapping[str, str]) -> str | None:
    """Return the compose project name that keeps an isolated checkout's stack apart; None if it needs none."""
    if not project.isolated:
        return None
    from portguard.sources import compose_files  # only where numbers are given out

    try:
        has_stack = project.compose is not None or compose_files.find_files(directory_of(project), environ) is not None
    except PortguardError:
        has_stack = True
    has_stack = has_stack or any(item.service for item in project.declarations)
    return own_stack(project, environ).name if has_stack else None


def own_name(project: Project, base: str, environ: Mapping[str, str]) -> str:
    """Return `base`, for an isolated checkout with what tells it from the others unless the environment names it.

    It is the same however often it is asked for.
    """
    if not project.isolated or project.checkout is None or environ.get("COMPOSE_PROJECT_NAME"):
        return base
    base = base or "project"  # a directory's name may have no letter that compose takes
    suffix = f"-{hash_of(project.checkout, 'compose') & 0xFFFFFF:06x}"
    return base if base.endswith(suffix) else base + suffix
