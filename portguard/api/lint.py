"""`lint`: read what the files of a project say, and let `rules.lint` judge it. Binds nothing, asks no one.

Neither the process's environment nor a `.env` decides what compose files mean here, so that the answer is the same on
every machine that has the same files.
"""

from __future__ import annotations

import os

from portguard.errors import ConfigError, UsageError
from portguard.model import Finding, LintReport, Source
from portguard.project.records import shown, working_directory
from portguard.rules import lint as rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portguard.config.find import ConfigText
    from portguard.model import Config, Declaration, Suggestion
    from portguard.sources.compose import ComposeFiles, ComposeProject

_DOTENVS = (".env", ".env.example")
_STATIC = {"COMPOSE_DISABLE_ENV_FILE": "1"}


def lint(
    *paths: str,
    config: str | None = None,
    strict: bool = False,
    cwd: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> LintReport:
    """Judge the declarations of the project here, or of those that the files or directories `paths` belong to.

    Errors make the exit code 1; if `strict`, warnings do as well. Raises UsageError for a file that is not there, and
    where there is nothing to lint and no path was given.
    """
    environ = os.environ if environ is None else environ
    here = working_directory(cwd)
    if config is not None and paths:
        raise UsageError("--config and files exclude each other", "use one or the other")
    for path in paths if config is None else (config,):
        if not os.path.lexists(os.path.join(here, path)):
            raise UsageError(f"{path}: no such file", "check its spelling, or leave it out")
    places = [here] if not paths else list(dict.fromkeys(_place(os.path.join(here, path)) for path in paths))
    judged = [_Linted(here, environ).project(place, config) for place in places]
    unique = {item.sources: item for item in judged}
    if not any(unique) and not paths:  # a hook passes whatever was committed
        raise UsageError(
            f"nothing to lint: no portguard.toml and no compose file in {places[0]} or above it",
            "write one: portguard init",
        )
    found = tuple(dict.fromkeys(item for one in unique.values() for item in one.findings))
    return LintReport(
        config=next((one.config for one in unique.values() if one.config), None),
        sources=tuple(dict.fromkeys(source for one in unique.values() for source in one.sources)),
        findings=found,
        ignored=sum(one.ignored for one in unique.values()),
        exit_code=rules.worst(found, strict=strict),
    )


def _place(path: str) -> str:
    return path if os.path.isdir(path) else os.path.dirname(path)


class _Linted:
    """One project being judged: the problems met while reading, and which file is shown how."""

    def __init__(self, cwd: str, environ: Mapping[str, str]) -> None:
        self._cwd = cwd
        self._environ = environ
        self._problems: list[Finding] = []
        self._paths: dict[str, str] = {}
        self._inside: tuple[str, ...] = ()

    def project(self, place: str, config: str | None) -> LintReport:
        """Return the report on the project that the directory `place` belongs to; without sources if there is none."""
        from portguard.config import find
        from portguard.project import redact

        named = () if config is None else (os.path.dirname(os.path.realpath(os.path.join(place, config))),)
        self._inside = redact.own_directories(place, *named)
        try:
            text = find.find_config(place, self._environ) if config is None else find.read(os.path.join(place, config))
        except ConfigError as error:
            self._add(error, None)
            return LintReport(None, (place,), tuple(self._problems), 0, 1)
        parsed = self._parsed(text)
        directory = place if text is None else os.path.dirname(text.path)
        self._inside += (os.path.realpath(directory),)
        stack = self._compose(directory, parsed, text)
        if text is None and stack is not None:
            directory = os.path.dirname(stack.files[0])  # it may lie above; what belongs to it is beside it
        sources = ([text.path] if text else []) + list(stack.files if stack is not None else ())
        if text is None and stack is None and not self._problems:
            return LintReport(None, (), (), 0, 0)
        facts = rules.Facts(
            declared=tuple(self._shown(item) for item in parsed.declarations) if parsed else (),
            published=self._published(stack),
            services=None if stack is None else stack.services,
            dotenv=self._dotenv(directory, sources),
            forwarded=self._forwarded(directory, sources),
            empty=self._empty(stack),
        )
        ignored = parsed.ignored if parsed else {}
        everything = [*self._problems, *self._unknown(ignored, text), *rules.findings(facts)]
        kept = [self._absolute(item) for item in rules.without(everything, ignored)]
        # What could not be read was looked at, too.
        looked = dict.fromkeys([*sources, *(item.source.file for item in kept if item.source.file)])
        return LintReport(text.path if text else None, tuple(looked), tuple(kept), len(everything) - len(kept), 0)

    def _parsed(self, text: ConfigText | None) -> Config | None:
        from portguard.project import cache  # only where there is a config

        if text is None:
            return None
        try:
            return cache.parsed(text, self._show(text.path), self._environ)
        except ConfigError as error:
            self._add(error, text.path)
            return None

    def _compose(self, directory: str, parsed: Config | None, text: ConfigText | None) -> ComposeProject | None:
        """Return what the compose files say that the config names, or that its services are in, or that stand alone."""
        names = parsed.compose_files if parsed else ()
        if text is not None and not names and not any(item.service for item in (parsed.declarations if parsed else ())):
            return None
        from portguard.project import load  # only where there may be some
        from portguard.sources import compose_files

        try:
            files = (
                load.compose_files_of(parsed, text, self._show(text.path)) if parsed and text and names
                else compose_files.find_files(directory, _STATIC)
            )  # fmt: skip
            if files is None or (not names and _is_outside(files.directory, directory)):
                return None
            from portguard.sources import compose  # YAML, only where a compose file is read

            return compose.read(files._replace(cwd=self._cwd), {**_required(files), **_STATIC})
        except ConfigError as error:
            self._add(error, None)
            return None

    def _published(self, stack: ComposeProject | None) -> tuple[Declaration, ...]:
        if stack is None:
            return ()
        from portguard.project import compose  # only where a compose file was read

        return tuple(self._shown(item) for item in compose.declarations(stack))

    def _dotenv(self, directory: str, sources: list[str]) -> dict[str, tuple[tuple[str, str, int], ...]]:
        found: dict[str, tuple[tuple[str, str, int], ...]] = {}
        paths = [os.path.join(directory, name) for name in _DOTENVS]
        for path in filter(os.path.lexists, paths):
            from portguard.project import redact  # only where there is one
            from portguard.rules import env_block
            from portguard.sources import dotenv

            try:
                values = dotenv.read(path, {}, prepare=env_block.blanked)
            except dotenv.DotenvError as error:
                self._add(ConfigError((f"{self._show(path)}:{error.line}: {error.what}",)), path)
                continue
            except (OSError, ValueError) as error:
                self._add_passing(error, path)
                continue
            if values is None:
                continue
            sources.append(path)
            is_told = not redact.is_outside(path, self._inside)
            for variable, item in values.items():
                value = item.value if is_told or item.value.isdigit() or not item.value else "something else"
                found[variable] = (*found.get(variable, ()), (value, self._show(path), item.line))
        return found

    def _forwarded(self, directory: str, sources: list[str]) -> tuple[Suggestion, ...]:
        from portguard.sources import formats

        files = [
            (each, path) for each in formats.FORMATS if each.drifts for path in formats.find_files(each, directory)
        ]
        found: list[Suggestion] = []
        for each, path in files:
            from portguard.sources.text import SourceError  # only where there is one

            try:
                ports = formats.reader(each)(path)
            except SourceError as error:
                place = self._show(path) if error.line is None else f"{self._show(path)}:{error.line}"
                self._add(ConfigError((f"{place}: {error.what}",)), path)
                continue
            except OSError as error:
                self._add_passing(error, path)
                continue
            if ports is not None:
                sources.append(path)
                found += (port._replace(source=port.source._replace(file=self._show(path))) for port in ports)
        return tuple(found)

    def _empty(self, stack: ComposeProject | None) -> tuple[tuple[Source, str], ...]:
        notes = stack.notes if stack is not None else ()
        return tuple(
            self._without_place(note.source, note.message)
            for note in notes
            if note.id == "random-port" and note.source is not None
        )

    def _without_place(self, source: Source, message: str) -> tuple[Source, str]:
        shown = source._replace(file=self._show(source.file or ""))
        return shown, message.removeprefix(f"{shown.file}:{shown.line}: ")

    def _unknown(self, ignored: Mapping[str, str], text: ConfigText | None) -> Iterable[Finding]:
        """Return what is wrong with the list of findings that are turned off."""
        for name in ignored:
            if name not in rules.RULES or name == "schema":
                import difflib  # only on the way to an error

                close = difflib.get_close_matches(name, rules.RULES, n=1)
                why = "cannot be turned off" if name == "schema" else "is not a finding of lint"
                hint = f'did you mean "{close[0]}"?' if close and name != "schema" else None
                source = Source(self._show(text.path if text else ""), None)
                yield rules.finding("schema", source, f'[lint.ignore]: "{name}" {why}', hint)

    # --- places -----------------------------------------------------------------------------------------------------

    def _show(self, path: str) -> str:
        name = shown(path, self._cwd)
        self._paths[name] = path
        return name

    def _shown(self, item: Declaration) -> Declaration:
        if item.source.file is None:
            return item
        return item._replace(source=item.source._replace(file=self._show(item.source.file)))

    def _absolute(self, item: Finding) -> Finding:
        file = item.source.file
        return item._replace(source=item.source._replace(file=self._paths.get(file or "", file)))

    def _add_passing(self, error: Exception, path: str) -> None:
        """Tell what could not be read just now; what is not for us is passed over."""
        from portguard.config import find

        if isinstance(error, OSError) and find.is_passing(error):
            self._add(ConfigError((f"{self._show(path)}: cannot be read: {error.strerror}",)), path)

    def _add(self, error: ConfigError, path: str | None) -> None:
        from portguard.project import redact

        error = redact.redacted(error, self._cwd, self._inside)
        for message in error.messages:
            file, line, column, what = placed(message)
            if file:
                self._paths.setdefault(file, os.path.join(self._cwd, file))
            rule = "port-zero" if "port 0 means" in what else "schema"
            source = Source(file or (self._show(path) if path else None), line)
            found = rules.finding(rule, source, what, error.hint)
            self._problems.append(found._replace(column=column))


def _is_outside(found: str, place: str) -> bool:
    """Whether `found` lies above the checkout `place` is in: compose goes on there, what is committed does not."""
    from portguard.config import find

    root = find.checkout_root(place)
    return root is not None and os.path.commonpath((found, root)) != root


def placed(message: str) -> tuple[str | None, int | None, int | None, str]:
    """Return file, line, column and sentence of `file:line:column: sentence`, as far as it has them.

    A file without a line is one that could not be read, by its whole path.
    """
    head, separator, what = message.partition(": ")
    parts = head.rsplit(":", 2)
    if not separator:
        return None, None, None, message
    if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
        return parts[0], int(parts[1]), int(parts[2]), what
    file, colon, line = head.rpartition(":")
    if colon and line.isdigit():
        return file, int(line), None, what
    return (head, None, None, what) if os.path.isabs(head) else (None, None, None, message)


def _required(files: ComposeFiles) -> dict[str, str]:
    """Return a value for every variable that compose would refuse to go without: 0, which publishes any free port."""
    import re  # YAML has loaded it

    from portguard.sources import compose_files  # as its callers

    names: set[str] = set()
    for path in files.paths:
        try:
            text = compose_files.content(path, files.cwd).decode("utf-8", "replace")
        except ConfigError:
            continue  # anyone who reads it says why
        names.update(re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*):?\?", text))
    return dict.fromkeys(names, "0")
