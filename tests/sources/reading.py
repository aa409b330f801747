"""How the tests write a compose project and read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from portguard.errors import ConfigError
from portguard.sources import compose
from portguard.sources.compose import ComposeProject, PublishedPort

Files = Mapping[str, str]


def write(root: Path, files: Files) -> None:
    """Write files below `root`; a name without a dot and slash is a compose file's text."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def project(root: Path, files: Files, environ: Mapping[str, str] | None = None, **options: Any) -> ComposeProject:
    """Write the files and read the project found in `root`."""
    write(root, files)
    found = compose.find_files(str(root), environ or {})
    assert found is not None
    return compose.read(found, environ or {}, **options)


def one(root: Path, text: str, environ: Mapping[str, str] | None = None, **options: Any) -> ComposeProject:
    """Read a project of a single file."""
    return project(root, {"compose.yaml": text}, environ, **options)


def published(found: ComposeProject) -> set[str]:
    """Return the ports as texts: service host:first[-last]->target/protocol."""
    return {short(port) for port in found.ports}


def short(port: PublishedPort) -> str:
    """Return one port as a text; the replicas are told where there are several."""
    span = str(port.first) if port.first == port.last else f"{port.first}-{port.last}"
    many = f" x{port.replicas}" if port.replicas != 1 else ""
    return f"{port.service} {port.host_ip}:{span}->{port.target}/{port.protocol}{many}"


def refusal(root: Path, files: Files, environ: Mapping[str, str] | None = None, **options: Any) -> tuple[str, ...]:
    """Return why a project is refused."""
    with pytest.raises(ConfigError) as caught:
        project(root, files, environ, **options)
    return caught.value.messages


def service(*ports: str, more: str = "") -> str:
    """Return a file with one service `web` that has these ports."""
    items = "".join(f"      - {port}\n" for port in ports)
    return f"services:\n  web:\n    image: x\n{more}    ports:\n{items}"
