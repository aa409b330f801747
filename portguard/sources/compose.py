"""A compose project's published ports and its name, as `docker compose` would resolve them; nothing else of it.

Our own reader, after compose-go (`loader/`: loader.go, extends.go, include.go; `cli/options.go`). What it cannot
resolve it refuses by file, line and name through ConfigError; it never guesses. Nothing is executed or fetched, and
only regular files are opened. `find` says which files, `read` what they mean.
"""

from __future__ import annotations

import os

from portguard.errors import ConfigError
from portguard.sources import compose_files, compose_layers, yaml_nodes
from portguard.sources.compose_files import ComposeFiles, Environment, find_files
from portguard.sources.compose_layers import Source
from portguard.sources.compose_merge import Service, merge
from portguard.sources.compose_result import PORTS_LIMIT, ComposeProject, PublishedPort, Result, is_active

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portguard.sources.compose_layers import Extends
    from portguard.sources.yaml_nodes import Document, Node

__all__ = [
    "ComposeFiles",
    "ComposeProject",
    "PublishedPort",
    "find_files",
    "from_config_json",
    "normalize_name",
    "read",
]

FILES_LIMIT = 200  # readings of a file; includes can name each other's files again and again
PROBLEMS_LIMIT = 100
_CHAIN_LIMIT = 50  # extends of extends, and includes of includes


def read(
    files: ComposeFiles | Sequence[str],
    environ: Mapping[str, str],
    *,
    project_name: str | None = None,
    profiles: Sequence[str] = (),
    cwd: str | None = None,
    parsed: dict[str, list[Document]] | None = None,
) -> ComposeProject:
    """Return the project of these files: what `find` found, or paths as with `-f` (relative to `cwd`).

    `project_name` is `-p`, `profiles` are `--profile`; without them the environment and `.env` decide. `parsed` keeps
    the documents by path: a second call with the same one opens no compose file again, and only replaces variables
    anew, with the numbers of its own `environ`. Raises ConfigError with all problems that were found.
    """
    if not isinstance(files, ComposeFiles):
        base = os.path.abspath(cwd or os.curdir)
        files = compose_files.named(files, base)
        directories = [files.directory]
    else:
        directories = [files.cwd, files.directory]
    environment = compose_files.environment(environ, directories, files.cwd)
    reader = _Reader(files, environment, {} if parsed is None else parsed)
    try:
        return reader.project(project_name, profiles)
    except ConfigError as error:
        error.env_files += tuple(reader.env_files)
        raise


def from_config_json(text: str, *, source: str = "docker compose config", working_dir: str = "") -> ComposeProject:
    """Return the project of a model that `docker compose config --format json` resolved. Raises ConfigError.

    `source` is what `file` says of its ports; the model does not tell its directory.
    """
    from portguard.sources import compose_json  # and json, which no one else here needs

    return compose_json.read(text, source, working_dir)


def normalize_name(text: str) -> str:
    """Return the project name that compose makes of a directory's name (loader.NormalizeProjectName)."""
    kept = "".join(char for char in text.lower() if char in "abcdefghijklmnopqrstuvwxyz0123456789_-")
    return kept.lstrip("_-")


def _place(problem: str, order: Mapping[str, int]) -> tuple[int, int, int]:
    """Return where a problem sorts: its file's index, line and column."""
    for shown, index in order.items():
        if problem.startswith(f"{shown}:"):
            line, _, column = problem[len(shown) + 1 :].partition(":")
            column = column.partition(":")[0]
            return index, int(line) if line.isdigit() else 0, int(column) if column.isdigit() else 0
    return len(order), 0, 0


class _Reader:
    """Reads one project. `problems` collects what is wrong, so that all of it is said at once.

    `env_files` are those whose variables were read.
    """

    def __init__(self, files: ComposeFiles, environment: Environment, parsed: dict[str, list[Document]]) -> None:
        self._main = files
        self._environment = environment
        self._parsed_before = parsed
        self._documents: dict[str, list[Document]] = {}  # those that this reading needs, in its order
        self.env_files = list(environment.files)
        self._readings = 0
        self._ports = 0
        self.problems: list[str] = []

    def project(self, project_name: str | None, profiles: Sequence[str]) -> ComposeProject:
        """Return the project. Raises ConfigError."""
        main = self._main
        values = dict(self._environment.values)
        for path in main.paths:
            self._parsed(path)
        name = self._name(project_name, values)
        values["COMPOSE_PROJECT_NAME"] = name
        services = self._load(main.paths, main.directory, values, ())
        if not any(document.root for path in main.paths for document in self._parsed(path)):
            self.problems.append(f"{self._shown(main.paths[0])}: is empty")
        if not profiles:
            profiles = [profile.strip() for profile in values.get("COMPOSE_PROFILES", "").split(",")]
        if self._ports > PORTS_LIMIT:
            raise ConfigError(self._told())
        active = [service for service in services.values() if is_active(service, profiles)]
        result = Result(main.cwd)
        for service in active:
            result.add(service, self.problems)
        if self.problems:
            raise ConfigError(self._told())
        return ComposeProject(
            name=name,
            working_dir=main.directory,
            files=tuple(self._documents),
            env_files=tuple(dict.fromkeys(self.env_files)),
            services=tuple(service.name for service in active),
            ports=tuple(result.ports),
            notes=(*main.notes, *result.notes),
            host_network=tuple(result.host_network),
        )

    def _told(self) -> tuple[str, ...]:
        """Return the problems in the order of the files, without repetitions, and not more than anyone reads."""
        order = {self._shown(path): index for index, path in enumerate(self._documents)}
        problems = sorted(dict.fromkeys(self.problems), key=lambda problem: _place(problem, order))
        more = len(problems) - PROBLEMS_LIMIT
        return tuple(problems) if more <= 0 else (*problems[:PROBLEMS_LIMIT], f"and {more} more problems")

    def spend(self, ports: int) -> None:
        self._ports += ports
        if self._ports > PORTS_LIMIT:
            raise ConfigError((f"{self._shown(self._main.paths[0])}: the project names more than {PORTS_LIMIT} ports",))

    def _shown(self, path: str) -> str:
        return compose_files.shown(path, self._main.cwd)

    def _parsed(self, path: str) -> list[Document]:
        if path not in self._documents:
            if path not in self._parsed_before:
                data = compose_files.content(path, self._main.cwd)
                self._parsed_before[path] = yaml_nodes.parse(data, self._shown(path))
            self._documents[path] = self._parsed_before[path]
        return self._documents[path]

    def _name(self, project_name: str | None, values: Mapping[str, str]) -> str:
        """Return the project's name: `-p`, COMPOSE_PROJECT_NAME, the last `name:`, the directory's name."""
        for origin, given in (("-p", project_name), ("COMPOSE_PROJECT_NAME", values.get("COMPOSE_PROJECT_NAME"))):
            if given:
                if normalize_name(given) != given:
                    rule = "use a-z 0-9 _ -, and begin with a letter or digit"
                    raise ConfigError((f"{origin}: {given[:80]!r} cannot be the name of a project: {rule}",))
                return given
        name = ""
        for path in self._main.paths:
            for document in self._parsed(path):
                source = Source(document, path, self._main.directory, values, self.problems, self.spend)
                keys = {} if document.root is None else document.mapping(document.root, "the top level")
                if "name" in keys and compose_layers.mode_of(keys["name"][1]) != "reset":
                    name = source.text(keys["name"][1], "name") or name
        directory = os.path.basename(self._main.directory)
        result = normalize_name(name or directory)
        if not result:
            said = f"name: {name[:80]!r}" if name else f"the directory {directory[:80]!r}"
            raise ConfigError(
                (f"{self._shown(self._main.paths[0])}: the project has no name: none of {said} is valid as one",),
                "give it a top-level `name:`",
            )
        return result

    def _load(
        self, paths: Sequence[str], directory: str, values: Mapping[str, str], including: tuple[str, ...]
    ) -> dict[str, Service]:
        """Return the services of files that override each other, what they extend and include with them."""
        services: dict[str, Service] = {}
        for path in paths:
            for document in self._parsed(path):
                self._count(path)
                source = Source(document, path, directory, values, self.problems, self.spend)
                try:
                    keys = compose_layers.top_level(source)
                    layer = _Layer(self, source, keys).services()
                    if "include" in keys:
                        self._include(source, keys["include"][1], layer, (*including, path))
                except ConfigError as error:
                    self.problems.extend(error.messages)
                    continue
                mode = compose_layers.mode_of(keys["services"][1]) if "services" in keys else "merge"
                if mode != "merge":
                    services = {}
                for name, service in layer.items():
                    services[name] = merge(services[name], service) if name in services else service
                    if services[name].mode == "reset":
                        del services[name]
        return services

    def _count(self, path: str) -> None:
        self._readings += 1
        if self._readings > FILES_LIMIT:
            raise ConfigError((f"{self._shown(path)}: the project reads files more than {FILES_LIMIT} times",))

    def _include(self, source: Source, node: Node, layer: dict[str, Service], including: tuple[str, ...]) -> None:
        """Add the services of included projects; where a name is taken, what includes it overrides."""
        for entry in source.document.sequence(node, "include"):
            paths, directory, values = self._included(source, entry, including)
            for name, service in self._load(paths, directory, values, including).items():
                layer[name] = merge(service, layer[name]) if name in layer else service

    def _included(
        self, source: Source, entry: Node, including: tuple[str, ...]
    ) -> tuple[list[str], str, Mapping[str, str]]:
        """Return the files, the directory and the variables of one entry of `include`."""
        if entry.kind == "scalar":
            pairs = {}
            names = [source.text(entry, "include")]
        else:
            pairs = source.document.mapping(entry, "include")
            names = self._texts(source, pairs["path"][1], "include.path") if "path" in pairs else []
        if not names:
            raise source.document.error(entry, "include names no path")
        paths = [self._local(source, entry, name, "include") for name in names]
        if len(including) > _CHAIN_LIMIT or paths[0] in including:
            chain = " includes ".join(self._shown(path) for path in (*including, paths[0])[-5:])
            raise source.document.error(entry, f"circular include: {chain}")
        directory = os.path.dirname(paths[0])
        if "project_directory" in pairs:
            text = source.text(pairs["project_directory"][1], "include.project_directory")
            directory = os.path.normpath(os.path.join(source.directory, text)) if text else directory
        if "env_file" in pairs:
            texts = self._texts(source, pairs["env_file"][1], "include.env_file")
            env_files = [
                os.path.normpath(os.path.join(source.directory, text)) for text in texts if text != "/dev/null"
            ]
        else:
            default = os.path.join(directory, ".env")
            env_files = [default] if os.path.isfile(default) else []
        origin = f"included in {source.document.shown}:{entry.line}"
        environment = compose_files.extended(source.values, env_files, self._main.cwd, origin)
        self.env_files.extend(environment.files)
        return paths, directory, environment.values

    def _texts(self, source: Source, node: Node, what: str) -> list[str]:
        if node.kind == "scalar":
            return [source.text(node, what)]
        return [source.text(item, what) for item in source.document.sequence(node, what)]

    def _local(self, source: Source, node: Node, name: str, what: str) -> str:
        """Return the absolute path of a file that is named in another. Raises ConfigError."""
        if compose_files.is_remote(name):
            raise source.document.error(node, f"{what}: {name[:200]!r} is not a local file, and nothing is fetched")
        path = os.path.normpath(os.path.join(source.directory, name))
        if not name or "\0" in name or not os.path.exists(path):
            raise source.document.error(node, f"{what}: no file {name[:200]!r}")
        return path

    def other(self, source: Source, extends: Extends) -> _Layer:
        """Return the services of the file that `extends` names. Raises ConfigError."""
        path = self._local(source, extends.node, extends.file, "extends.file")
        documents = [document for document in self._parsed(path) if document.root is not None]
        self._count(path)
        if len(documents) != 1:
            raise source.document.error(extends.node, f"extends.file: {extends.file!r} has {len(documents)} documents")
        other = Source(documents[0], path, os.path.dirname(path), source.values, self.problems, self.spend)
        return _Layer(self, other, compose_layers.top_level(other))


class _Layer:
    """The services of one document, each with what it extends."""

    def __init__(self, reader: _Reader, source: Source, keys: Mapping[str, tuple[Node, Node]]) -> None:
        self._reader = reader
        self._source = source
        self._nodes = compose_layers.service_nodes(source, keys)
        self._done: dict[str, Service] = {}
        self._failed: dict[str, ConfigError] = {}
        self._others: dict[str, _Layer] = {}

    def services(self) -> dict[str, Service]:
        """Return them by name, in order; one with a problem is left out."""
        for name in self._nodes:
            try:
                self.service(name, ())
            except ConfigError as error:
                self._reader.problems.extend(error.messages)
        return {name: self._done[name] for name in self._nodes if name in self._done}

    def service(self, name: str, extending: tuple[tuple[str, str], ...]) -> Service:
        """Return one service, its base merged in; `extending` is who led here. Raises ConfigError."""
        if name in self._failed:
            raise self._failed[name]
        if name not in self._done:
            try:
                self._done[name] = self._read(name, extending)
            except ConfigError as error:
                self._failed[name] = error  # or every service of a long chain would walk it again
                raise
        return self._done[name]

    def _read(self, name: str, extending: tuple[tuple[str, str], ...]) -> Service:
        self._reader.spend(0)
        source = self._source
        key, node = self._nodes[name]
        service, extends = compose_layers.service(source, key, node)
        if extends is not None:
            chain = (*extending, (source.file, name))
            if (source.file, name) in extending:
                names = " extends ".join(step[1] for step in chain[-5:])
                raise source.document.error(extends.node, f"circular extends: {names}")
            if len(chain) > _CHAIN_LIMIT:
                raise source.document.error(extends.node, f"extends leads further than {_CHAIN_LIMIT} services")
            other = self._other(extends)
            if extends.service not in other._nodes:
                place = extends.file or "this file"
                what = f"services.{name} extends {extends.service[:60]!r}, which is not in {place}"
                raise source.document.error(extends.node, what)
            base = other.service(extends.service, chain)
            self._reader.spend(len(base.get("ports") or ()))
            service = merge(base._replace(mode="merge"), service._replace(mode="merge"))._replace(mode=service.mode)
        return service

    def _other(self, extends: Extends) -> _Layer:
        if not extends.file:
            return self
        if extends.file not in self._others:
            self._others[extends.file] = self._reader.other(self._source, extends)
        return self._others[extends.file]
