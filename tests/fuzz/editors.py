"""What editors and process managers are told: up to five files, parted by NUL. `init` drafts a valid config of all."""

from __future__ import annotations

from portguard.api import init, lint
from portguard.config import find
from portguard.config.parse import parse
from portguard.errors import UsageError
from portguard.render import text
from tests.fuzz.oracles import assert_port, assert_printable, assert_told, emptied

_NAMES = (".devcontainer.json", "package.json", "Procfile", ".env", "compose.yaml")
_LIMIT = 64 * 1024  # bytes


def fuzz(data: bytes) -> None:
    """Draft a config from the files, read it, and judge it beside them."""
    here = emptied("editors")
    (here / ".git").mkdir()  # the search ends here
    for name, part in zip(_NAMES, data[:_LIMIT].split(b"\0", len(_NAMES) - 1), strict=False):
        (here / name).write_bytes(part)
    try:
        report = init.init(cwd=str(here), environ={})
    except UsageError as error:
        assert_told(error, 2)
        return
    assert_printable(text.notes(report.notes))
    assert_printable(report.text)
    config = parse(find.read(report.path), "portguard.toml")
    for item in config.declarations:
        assert_port(item.port)
    judged = lint.lint(cwd=str(here), environ={})
    assert judged.exit_code in (0, 1)
    assert_printable(text.lint(judged, str(here), colour=False))
