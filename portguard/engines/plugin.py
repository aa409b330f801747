"""Whether the docker command has its compose plugin: looked up where docker looks (docker/cli, cli-plugins/manager)."""

from __future__ import annotations

import os

from portguard.engines.endpoint import config_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_DIRECTORIES = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)


def has_compose(environ: Mapping[str, str]) -> bool:
    """Whether `docker compose` can be typed here."""
    own = config_directory(environ)
    directories = (*((os.path.join(own, "cli-plugins"),) if own else ()), *_DIRECTORIES)
    return any(
        os.access(os.path.join(directory, name), os.X_OK)
        for directory in directories
        for name in ("docker-compose", "docker-compose.exe")
    )
