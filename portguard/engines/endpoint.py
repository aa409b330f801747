"""Where the engine is, found as the docker command finds it. Reads files and variables; connects to nothing.

Order (docker/cli, cli/command/cli.go): DOCKER_HOST, DOCKER_CONTEXT, `currentContext` of config.json, default socket. An
empty variable counts as unset. A context's address is in its metadata, named by the SHA-256 of the context's name.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.errors import LookupFailedError
from portguard.rules.attribution import sudo_uid
from portguard.rules.engines import DEFAULT, ENGINES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

DEFAULT_SOCKET = DEFAULT.sockets[0][0]
_DEFAULT_PIPE = "npipe:////./pipe/docker_engine"
_DEFAULT_PORT = "2375"  # IANA: docker, without TLS
_SIZE_LIMIT = 1024 * 1024  # bytes
_SHOWN = 64  # characters of a foreign name in a sentence


class EngineEndpoint(NamedTuple):
    """`host` is a URL such as unix:///var/run/docker.sock; `origin` says in words where that was found."""

    host: str
    origin: str
    engine: str = DEFAULT.name

    @property
    def socket(self) -> str | None:
        """The path of the Unix socket, or None for any other kind of address."""
        return self.host.removeprefix("unix://") if self.host.startswith("unix://") else None

    @property
    def is_remote(self) -> bool:
        """Whether the engine's ports are on another machine, so that a bind here says nothing about them.

        An address of this host's loopback network counts as here, though a tunnel may be behind it.
        """
        scheme, _, rest = self.host.partition("://")
        if scheme in ("unix", "npipe", "fd"):
            return False
        authority = rest.partition("/")[0].rpartition("@")[2]
        name = authority if authority.endswith("]") else authority.rpartition(":")[0] or authority
        is_here = name.lower() == "localhost" or name == "[::1]" or _is_loopback_v4(name)
        return scheme == "ssh" or not is_here


def _is_loopback_v4(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(part.isascii() and part.isdigit() for part in parts)


def find_endpoint(environ: Mapping[str, str], *, platform: str = os.name) -> EngineEndpoint:
    """Return the endpoint `docker` would use.

    Raises LookupFailedError if docker itself would refuse: an unknown context, an address that is none.
    """
    host = environ.get("DOCKER_HOST", "")
    if host:
        return EngineEndpoint(_parse_host(host, environ, platform), "DOCKER_HOST")
    directory = config_directory(environ)
    name, origin = environ.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
    if not name and directory is not None:
        name, origin = _current_context(directory), "currentContext"
    if name and name != "default":
        shown = f"docker context {name[:_SHOWN]!r}"
        if directory is None:
            raise LookupFailedError(f"{shown} ({origin}): no docker configuration found")
        return EngineEndpoint(_host_of_context(directory, name, platform), shown)
    return EngineEndpoint(_default(environ, platform), "docker's default")


def others(environ: Mapping[str, str], *, root: str = "") -> list[EngineEndpoint]:
    """Return further engines that may run here, those whose socket exists: rootless docker, Docker Desktop, Podman.

    Under sudo also those of the user who called it. `root` is put before the paths, for looking into another tree.
    """
    home = environ.get("HOME", "")
    places = {"{runtime}": _runtime_directories(environ), "{home}": [home] if os.path.isabs(home) else []}
    return [
        EngineEndpoint(f"unix://{root}{path}", origin, engine.name)
        for engine in ENGINES.values()
        for pattern, origin in engine.sockets
        for path in _paths(pattern, places)
        if os.path.exists(root + path)
    ]


def _paths(pattern: str, places: Mapping[str, Sequence[str]]) -> list[str]:
    for name, directories in places.items():
        if pattern.startswith(name):
            return [directory + pattern.removeprefix(name) for directory in directories]
    return [pattern]


def _runtime_directories(environ: Mapping[str, str]) -> list[str]:
    """Return where this user's sockets are (XDG Base Directory Specification), and those of sudo's caller."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    caller = sudo_uid(environ, is_root=hasattr(os, "geteuid") and os.geteuid() == 0)
    found = [runtime.rstrip("/")] if os.path.isabs(runtime) else []
    if not found and hasattr(os, "getuid"):
        found.append(f"/run/user/{os.getuid()}")
    if caller is not None and f"/run/user/{caller}" not in found:
        found.append(f"/run/user/{caller}")
    return found


def config_directory(environ: Mapping[str, str]) -> str | None:
    """Return docker's configuration directory: DOCKER_CONFIG, else `~/.docker`; None without a home."""
    own = environ.get("DOCKER_CONFIG", "")
    home = own or environ.get("HOME", "") or environ.get("USERPROFILE", "") or _home_of_user()
    return own or (os.path.join(home, ".docker") if home else None)


def _home_of_user() -> str:
    """Return the home the system knows, for an environment without one; docker asks there as well."""
    try:
        import pwd  # not on Windows
    except ImportError:
        return ""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def _default(environ: Mapping[str, str], platform: str) -> str:
    if environ.get("DOCKER_TLS", "") or environ.get("DOCKER_TLS_VERIFY", ""):
        return "tcp://localhost:2376"
    return _DEFAULT_PIPE if platform == "nt" else f"unix://{DEFAULT_SOCKET}"


def _parse_host(text: str, environ: Mapping[str, str], platform: str) -> str:
    """Return DOCKER_HOST as docker completes it (docker/cli, opts/hosts.go); refuse what docker refuses."""
    host = text.strip()
    if not host:
        return _default(environ, platform)
    scheme, mark, rest = host.partition("://")
    if not mark:
        scheme, rest = "tcp", host
    if scheme in ("fd", "ssh"):
        return host
    if scheme == "unix":
        return host if rest else f"unix://{DEFAULT_SOCKET}"
    if scheme == "npipe":
        return host if rest else _DEFAULT_PIPE
    if scheme != "tcp" or not all("!" <= character <= "~" for character in rest):
        raise LookupFailedError(f"DOCKER_HOST: {text[:_SHOWN]!r} is not an engine's address")
    return f"tcp://{_complete(rest)}"


def _complete(rest: str) -> str:
    authority, slash, path = rest.partition("?")[0].partition("/")
    name = authority.rpartition("@")[2]
    if name.count(":") > 1 and "[" not in name:
        return f"[{name}]:{_DEFAULT_PORT}{slash}{path}"
    if name.endswith("]"):  # net.SplitHostPort: missing port in address
        raise LookupFailedError(f"DOCKER_HOST: {name[:_SHOWN]!r} has no port")
    name, _, port = name.rpartition(":") if ":" in name else (name, "", "")
    # Go writes the name without the escapes that a URL needs; only a zone's percent sign has one in practice.
    return f"{name.replace('%25', '%') or 'localhost'}:{port or _DEFAULT_PORT}{slash}{path}"


def _current_context(directory: str) -> str:
    """Return `currentContext` of config.json; "" where there is none, or no readable file: docker goes on as well."""
    try:
        found = _field(_read_json(os.path.join(directory, "config.json")), "currentContext")
    except (OSError, ValueError):
        return ""
    return found if isinstance(found, str) else ""


def _host_of_context(directory: str, name: str, platform: str) -> str:
    import hashlib  # only where a context is in use

    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
    path = os.path.join(directory, "contexts", "meta", digest, "meta.json")
    shown = f"docker context {name[:_SHOWN]!r}"
    try:
        host = _field(_field(_read_json(path), "Endpoints")["docker"], "Host")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise LookupFailedError(f"{shown}: {path} cannot be used") from error
    if host in ("", None):
        return _DEFAULT_PIPE if platform == "nt" else f"unix://{DEFAULT_SOCKET}"
    if not isinstance(host, str) or not host.isprintable():
        raise LookupFailedError(f"{shown}: {path} names no host")
    return host


def _field(table: dict[str, Any], name: str) -> Any:
    """Return a field as Go's encoding/json finds it: whatever its case, the last one wins. None without it."""
    return next((table[key] for key in reversed(table) if key.lower() == name.lower()), None)


def _read_json(path: str) -> dict[str, Any]:
    """Return the object a JSON file begins with. Raises OSError, or ValueError for anything else, or a huge file."""
    import json  # only where an engine may hold a port

    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with open(fd, "rb") as file:
        data = file.read(_SIZE_LIMIT + 1) or b""
    if len(data) > _SIZE_LIMIT:
        raise ValueError("too large")
    try:
        # Go's decoder reads one value, and leaves what comes after it alone.
        found, _ = json.JSONDecoder().raw_decode(data.decode("utf-8", "replace").lstrip(" \t\r\n"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004 - what a file holds is a value, not an argument
    return found
