"""`init`: read what a repository's files say about ports, and write it down as a `portguard.toml` to be edited.

The process's environment decides no number: the same files give the same text on every machine. Nothing is executed. A
file that cannot be understood costs a note, not the command.
"""

from __future__ import annotations

import os

from portguard.errors import ConfigError, ConflictError
from portguard.model import InitReport, Note, Source
from portguard.project.records import shown, working_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from portguard.model import Declaration, Suggestion
    from portguard.rules.draft import Stack
    from portguard.sources.compose import ComposeFiles, ComposeProject
    from portguard.sources.formats import Reader

# `.env` is read by `_values`, without portguard's own block.
_WITHOUT_DOTENV = {"COMPOSE_DISABLE_ENV_FILE": "1"}


def init(*, cwd: str | None = None, environ: Mapping[str, str] | None = None, force: bool = False) -> InitReport:
    """Write a `portguard.toml` in `cwd` from what its files say of ports; one that says the same is left alone.

    `environ` is asked for the home directory alone, where the search for configs ends. Raises ConflictError for a
    config that is there already, unless `force`; UsageError and OutputError as `system.replace` does.
    """
    from portguard.config import find
    from portguard.rules import draft, notes
    from portguard.system import replace

    environ = os.environ if environ is None else environ
    here = working_directory(cwd)
    path = os.path.join(here, find.FILE_NAME)
    search = _Search(here)
    stack = search.stack()
    text = draft.draft(search.suggestions(), stack)
    other = _other_config(here, environ)
    is_hidden = other is not None and os.path.dirname(other) == here
    if is_hidden and not force:
        raise ConflictError(
            (f"{shown(other, here)} declares this project's ports already, in [tool.portguard]",),
            f"edit it there; {find.FILE_NAME} would be used instead of it: portguard init --force",
        )

    def change(content: bytes) -> bytes:
        if content.replace(b"\r\n", b"\n") == text.encode():
            return content
        if content and not force:
            raise ConflictError(
                (f"{find.FILE_NAME} already exists with different content",),
                "edit it, or overwrite it and lose its contents: portguard init --force",
            )
        return text.encode()

    written = replace.replace(path, here, change)
    if other is not None:
        search.notes.append(notes.config_hidden(shown(other, here), path))
    return InitReport(path, text, written, tuple(search.counts), tuple(search.counts.values()), search.told())


def _other_config(here: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of the config that counts in `here` without a portguard.toml of its own; None without any."""
    from portguard.config import find

    try:
        found = find.find_config(here, environ)
    except ConfigError:  # not ours to judge; `check` says what is wrong with it
        return None
    if found is None or found.path == os.path.join(here, find.FILE_NAME):
        return None
    return found.path


class _Search:
    """One look through a directory. `counts` has the ports of each file that was read, in the order of reading."""

    def __init__(self, here: str) -> None:
        self.counts: dict[str, int] = {}
        self.notes: list[Note] = []
        self._here = here

    def told(self) -> tuple[Note, ...]:
        """Return the notes, each once."""
        return tuple(dict.fromkeys(self.notes))

    # --- files that suggest ---------------------------------------------------------------------------------------

    def suggestions(self) -> list[Suggestion]:
        """Return what all files but the compose files suggest; places are relative to the directory."""
        from portguard.sources import formats

        found: list[Suggestion] = []
        for each in formats.FORMATS:
            base = next((item.port for item in found if item.env == "PORT"), None)
            for path in formats.find_files(each, self._here):
                found += self._read(path, formats.reader(each, base))
        return found

    def _read(self, path: str, reader: Reader) -> list[Suggestion]:
        from portguard.sources.text import SourceError

        where = shown(path, self._here)
        if not os.path.isfile(path) or self._is_distrusted(path):
            return []
        try:
            found = reader(path)
        except SourceError as error:
            place = where if error.line is None else f"{where}:{error.line}"
            self._note_all(ConfigError((f"{place}: {error.what}",)))
            return []
        except OSError as error:
            self._note(f"{where}: cannot be read: {error.strerror}")
            return []
        if found is None:
            return []
        self.counts[path] = len(found)
        return [item._replace(source=item.source._replace(file=where)) for item in found]

    def _is_distrusted(self, path: str) -> bool:
        from portguard.config import find

        reason = find.distrust(path, cwd=self._here, root=find.checkout_root(self._here))
        if reason is not None:
            self._note(f"{shown(path, self._here)}: skipped: {reason}")
        return reason is not None

    def _note(self, message: str) -> None:
        from portguard.rules import notes

        self.notes.append(notes.unread(message))

    # --- compose files --------------------------------------------------------------------------------------------

    def stack(self) -> Stack | None:
        """Return the compose files that compose would use here; None without any, and when they are unknown."""
        from portguard.rules.draft import Stack
        from portguard.sources import compose_files

        try:
            files = compose_files.find_files(self._here, self._values(self._here))
        except ConfigError as error:
            self._note_all(error)
            return None
        if files is None or any(self._is_distrusted(path) for path in files.paths):
            return None
        names = tuple(_relative(path, self._here) for path in files.paths)
        try:
            found, declared = self._published(files)
        except ConfigError as error:
            error.env_files += tuple(os.path.join(directory, ".env") for directory in (self._here, files.directory))
            return Stack(names, problem=self._note_all(error))
        self.counts |= dict.fromkeys(found.files, 0)
        for port in found.ports:
            self.counts[port.file] = self.counts.get(port.file, 0) + 1
        self.notes.extend(found.notes)
        return Stack(names, tuple(self._placed(item) for item in declared))

    def _note_all(self, error: ConfigError) -> str:
        """Note what is wrong, and return the first of it."""
        from portguard.project import redact

        told = redact.redacted(error, self._here, redact.own_directories(self._here)).messages
        for message in told:
            self._note(message)
        return told[0]

    def _published(self, files: ComposeFiles) -> tuple[ComposeProject, list[Declaration]]:
        """Return the project, and its ports: the number in force, and as the declared one that without a `.env`."""
        from portguard.project.compose import declarations
        from portguard.sources import compose  # YAML, only where a compose file is read

        values = self._values(self._here, files.directory)
        found = compose.read(files, values)
        declared = declarations(found)
        try:
            plain = compose.read(files, _WITHOUT_DOTENV)
        except ConfigError as error:  # `${DB_PORT:?}`: what must be set cannot be left out
            told = "\n".join(error.messages)
            needed = {name: value for name, value in values.items() if name in told}
            try:
                plain = compose.read(files, needed | _WITHOUT_DOTENV)
            except ConfigError:
                return found, declared
        if len(plain.ports) != len(declared):
            return found, declared
        pairs = zip(declared, plain.ports, strict=True)
        return found, [item._replace(declared_port=port.first) for item, port in pairs]

    def _values(self, *directories: str) -> dict[str, str]:
        """Return the variables of the `.env` files there, the first one's first; our own block is not the project's.

        Raises ConfigError for a broken file.
        """
        from portguard.rules import env_block
        from portguard.sources import dotenv

        values: dict[str, str] = {}
        for directory in dict.fromkeys(directories):
            path = os.path.join(directory, ".env")
            if not os.path.isfile(path):
                continue
            where = shown(path, self._here)
            try:
                found = dotenv.read(path, values, keep_unresolved=False, prepare=env_block.blanked) or {}
            except dotenv.DotenvError as error:
                raise ConfigError((f"{where}:{error.line}: {error.what}",)) from error
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise ConfigError((f"{where}: cannot be read: {reason}",)) from error
            values = {name: item.value for name, item in found.items()} | values
        values.pop("COMPOSE_ENV_FILES", None)  # of the process's environment only
        return values | _WITHOUT_DOTENV

    def _placed(self, item: Declaration) -> Declaration:
        file = _relative(item.source.file or "", self._here)
        return item._replace(source=Source(file, item.source.line))


def _relative(path: str, here: str) -> str:
    """Return the path as the config names it: from its own directory, with slashes."""
    try:
        return os.path.relpath(path, here).replace(os.sep, "/")
    except ValueError:  # another drive
        return path
