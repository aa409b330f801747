"""The compose side of a project: the ports its files publish, with the numbers in force. Judges no container."""

from __future__ import annotations

import os

from portguard.errors import LookupFailedError
from portguard.model import Declaration, Source
from portguard.project import numbers
from portguard.project.checkout import checkout_of
from portguard.project.env_file import block_at, block_notes, is_same, preferred_in
from portguard.project.ours import own_name
from portguard.project.records import Project, directory_of
from portguard.rules.targets import changes_programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portguard.project.records import NumberPolicy
    from portguard.sources.compose import ComposeFiles, ComposeProject, PublishedPort
    from portguard.sources.yaml_nodes import Document

_PLUGIN_DEADLINE = 10.0  # seconds


def published(
    project: Project, files: ComposeFiles, environ: Mapping[str, str], *, by_compose: bool, policy: NumberPolicy
) -> Project:
    """Add what the compose files publish; a declaration with `service` stands for that service's equal port.

    A published port that a variable alone decides can be moved, as if it were declared with `env`. Its own number is
    foreseen for no one: without `env` or `run` compose would not use it.
    """
    parsed: dict[str, list[Document]] = {}
    found = _read(files, {**environ, **project.overlay}, parsed, by_compose=by_compose)
    items = declarations(found)
    if any(item.env for item in items):
        before = project.overlay
        project, items = _with_own_numbers(project, files, environ, policy, items)
        if project.overlay != before:
            again = _read(files, {**environ, **project.overlay}, parsed, by_compose=by_compose)
            items = _with_origins(declarations(again), items)
    found = found._replace(name=own_name(project, found.name, environ))
    known = {(item.service, item.port, protocol) for item in project.declarations for protocol in item.protocols}
    added = [item for item in items if (item.service, item.port, item.protocols[0]) not in known]
    return project._replace(
        sources=(*project.sources, *(path for path in (*found.files, *found.env_files) if path not in project.sources)),
        declarations=(*project.declarations, *added),
        compose=found,
        notes=(*project.notes, *found.notes),
    )


def _with_own_numbers(
    project: Project,
    files: ComposeFiles,
    environ: Mapping[str, str],
    policy: NumberPolicy,
    items: Sequence[Declaration],
) -> tuple[Project, list[Declaration]]:
    """Return the project with the numbers it has for these, and the declarations with where theirs come from."""
    from portguard.sources import compose_files

    theirs = {item.env for item in project.declarations}
    movable = [item for item in items if item.env and item.env not in theirs]
    values = dict(compose_files.environment(environ, (files.cwd, files.directory), files.cwd).values)
    checkout = project.checkout or checkout_of(directory_of(project) if project.config else files.directory)
    path = os.path.join(files.directory, ".env")
    block = block_at(path)
    if block is not None and (block.owner == checkout.root or is_same(policy.unread, path)):
        values = {name: value for name, value in values.items() if name not in block.values or environ.get(name)}
    preferred = preferred_in(block, movable, checkout)
    looked = numbers.find_numbers(
        movable,
        checkout,
        environ,
        policy._replace(mode="look") if policy.mode == "predict" else policy,
        taken={item.port for item in (*project.declarations, *items)} - set(preferred.values()),
        explicit={item.name for item in movable if values.get(item.env or "")},
        preferred=preferred,
    )
    resolved = []
    overlay = dict(project.overlay)
    for item in items:
        env = item.env if item in movable else None
        if env is None:
            resolved.append(item)
        elif values.get(env):
            resolved.append(item._replace(origin="environment" if environ.get(env) else "dotenv"))
        elif item.name in looked.ports:
            overlay[env] = str(looked.ports[item.name])
            resolved.append(item._replace(origin="lease", moved_by="this checkout's lease"))
        else:
            resolved.append(item)
    isolated = project.isolated or (looked.isolated and (bool(looked.ports) or policy.mode == "take"))
    notes = (*project.notes, *block_notes(block, path, checkout, project, policy), *looked.notes)
    return project._replace(checkout=checkout, isolated=isolated, overlay=overlay, notes=notes), resolved


def _read(
    files: ComposeFiles, environ: Mapping[str, str], parsed: dict[str, list[Document]], *, by_compose: bool
) -> ComposeProject:
    """Return what the files publish with these variables; each file is opened once for all calls with one `parsed`."""
    from portguard.sources import compose  # YAML, only where a compose file is read

    if not by_compose:
        return compose.read(files, environ, parsed=parsed)
    from portguard.engines import command  # only where it was asked for

    try:
        text = command.compose_config(files.directory, files.paths, environ, deadline=_PLUGIN_DEADLINE)
    except LookupFailedError as error:
        what = f"docker compose config: {error.message}"
        raise LookupFailedError(what, "omit --compose-config to let portguard read the files") from error
    found = compose.from_config_json(text, working_dir=files.directory)
    return found._replace(files=files.paths)


def declarations(stack: ComposeProject) -> list[Declaration]:
    """Return what a project publishes as declarations of different names, in the order of its ports."""
    names: set[tuple[str, str]] = set()
    items = []
    for port in stack.ports:
        item = _declaration(port)
        if (item.name, port.protocol) in names:  # one target published twice
            item = item._replace(name=f"{item.name}@{port.first}")
        names.add((item.name, port.protocol))
        items.append(item)
    return items


def _with_origins(items: Sequence[Declaration], before: Sequence[Declaration]) -> list[Declaration]:
    """Return `items`, each with the name, the declared number and the origin that it had before it was moved.

    The same documents give the same ports in the same order, unless a variable decides how many there are; then they
    are told apart by name.
    """
    if len(items) == len(before):
        pairs = list(zip(items, before, strict=True))
    else:
        known = {(old.name, old.protocols): old for old in before}
        pairs = [(item, known.get((item.name, item.protocols), item)) for item in items]
    return [
        item._replace(name=old.name, declared_port=old.declared_port, origin=old.origin, moved_by=old.moved_by)
        for item, old in pairs
    ]


def _declaration(port: PublishedPort) -> Declaration:
    is_movable = port.first == port.last and port.replicas == 1 and not changes_programs(port.env or "")
    return Declaration(
        name=f"{port.service}:{port.target}/{port.protocol}",
        port=port.first,
        declared_port=port.first,
        source=Source(port.file, port.line or None),
        protocols=(port.protocol,),
        hosts=(port.host_ip or "*",),
        env=port.env if is_movable else None,
        service=port.service,
        last_port=port.last if port.last != port.first else None,
        replicas=port.replicas,
        is_published=True,
    )
