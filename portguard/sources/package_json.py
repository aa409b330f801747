"""Ports that the scripts of a `package.json` name: `--port N`, `-p N` of tools known to mean one, `PORT=N`.

What a tool does without being told is not guessed, and nothing is executed.
"""

from __future__ import annotations

from portguard.model import Source, Suggestion
from portguard.rules.draft import name_of
from portguard.sources import jsonc, text
from portguard.sources.text import SourceError

_SCRIPTS_LIMIT = 1000
_SHORT_FOR = frozenset(("next", "vite", "http-server", "serve", "ng", "nuxt", "nuxi", "astro", "webpack"))


def read(path: str) -> tuple[Suggestion, ...] | None:
    """Return the ports of the package.json at `path`, in the order of its scripts; None if it is not a regular file.

    Raises OSError if it cannot be read, SourceError when it is larger than the limit or malformed.
    """
    content = text.read(path)
    if content is None:
        return None
    document = jsonc.parse(content)
    if not isinstance(document.value, dict):
        raise SourceError(1, "package.json is a JSON object")
    scripts = document.value.get("scripts", {})
    if not isinstance(scripts, dict):
        raise SourceError(document.lines.get(("scripts",)), '"scripts" is an object of commands')
    found = []
    for name, command in [*scripts.items()][:_SCRIPTS_LIMIT]:
        if not isinstance(command, str):
            continue
        source = Source(path, document.lines.get(("scripts", name)))
        for item in text.command_ports(command, short_for=_SHORT_FOR):
            if item.port is not None:
                title = name_of(name, item.port)
                description = f"script {name}"
                found.append(
                    Suggestion(title, item.port, source, host=item.host, env=item.env, description=description)
                )
    return tuple(found)
