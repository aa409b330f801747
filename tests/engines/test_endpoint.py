"""The engine's endpoint, against what `docker context` itself says in the same environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portguard.engines import endpoint
from portguard.errors import LookupFailedError
from tests.worlds.capabilities import find_program

CONTEXTS = {
    "box": "ssh://me@box.example",
    "vm": "tcp://192.0.2.7:2375",
    "local": "unix:///tmp/some%20where.sock",
    "odd.name+1": "tcp://127.0.0.1:9",
}
VARIABLES = {"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS", "HOME", "XDG_RUNTIME_DIR", "SUDO_UID"}

# Name: the text of config.json (None for no file) and the variables.
SET_UPS: dict[str, tuple[str | None, dict[str, str]]] = {
    "nothing": (None, {}),
    "current context": ('{"currentContext": "vm"}', {}),
    "current context, odd name": ('{"currentContext": "odd.name+1"}', {}),
    "current context default": ('{"currentContext": "default"}', {}),
    "current context empty": ('{"currentContext": ""}', {}),
    "current context null": ('{"currentContext": null}', {}),
    "current context of another type": ('{"currentContext": 5}', {}),
    "current context unknown": ('{"currentContext": "nope"}', {}),
    "current context not ASCII": ('{"currentContext": "caf\\u00e9"}', {}),
    "current context a lone surrogate": ('{"currentContext": "\\ud800"}', {}),
    "current context in other case": ('{"CurrentContext": "box"}', {}),
    "current context twice": ('{"currentContext": "box", "CURRENTCONTEXT": "vm"}', {}),
    "config cut off": ('{"currentContext": "vm"', {}),
    "config with more behind": ('{"currentContext": "vm"} and more', {}),
    "config a list": ('["currentContext"]', {}),
    "config empty": ("", {}),
    "config with another mistake": ('{"currentContext": "vm", "auths": 7}', {}),
    "config nested deeply": ('{"currentContext": "vm", "x": ' + "[" * 100_000, {}),
    "context variable": (None, {"DOCKER_CONTEXT": "box"}),
    "context variable beats config": ('{"currentContext": "vm"}', {"DOCKER_CONTEXT": "local"}),
    "context variable default beats config": ('{"currentContext": "vm"}', {"DOCKER_CONTEXT": "default"}),
    "context variable empty": ('{"currentContext": "vm"}', {"DOCKER_CONTEXT": ""}),
    "context variable unknown": ('{"currentContext": "vm"}', {"DOCKER_CONTEXT": "nope"}),
    "context variable leaves the directory": (None, {"DOCKER_CONTEXT": "../../meta"}),
    "host": (None, {"DOCKER_HOST": "unix:///run/other.sock"}),
    "host beats context variable": (None, {"DOCKER_HOST": "unix:///run/other.sock", "DOCKER_CONTEXT": "box"}),
    "host beats an unknown context": ('{"currentContext": "nope"}', {"DOCKER_HOST": "ssh://h"}),
    "host empty": ('{"currentContext": "vm"}', {"DOCKER_HOST": ""}),
    "host empty, context variable": (None, {"DOCKER_HOST": "", "DOCKER_CONTEXT": "box"}),
    "host blank": ('{"currentContext": "vm"}', {"DOCKER_HOST": "  "}),
    "host with blanks": (None, {"DOCKER_HOST": " tcp://192.0.2.1:80 "}),
    "host bare": (None, {"DOCKER_HOST": "192.0.2.1:80"}),
    "host bare name": (None, {"DOCKER_HOST": "vm"}),
    "host bare port": (None, {"DOCKER_HOST": ":2375"}),
    "host a path": (None, {"DOCKER_HOST": "/run/docker.sock"}),
    "host tcp alone": (None, {"DOCKER_HOST": "tcp://"}),
    "host tcp without port": (None, {"DOCKER_HOST": "tcp://vm"}),
    "host tcp with a path": (None, {"DOCKER_HOST": "tcp://vm:1/prefix"}),
    "host tcp with a user": (None, {"DOCKER_HOST": "tcp://me@vm:1"}),
    "host tcp IPv6": (None, {"DOCKER_HOST": "tcp://[::1]:2375"}),
    "host tcp IPv6 with a zone": (None, {"DOCKER_HOST": "tcp://[fe80::1%25eth0]:1"}),
    "host tcp IPv6 without port": (None, {"DOCKER_HOST": "tcp://[::1]"}),
    "host bare IPv6": (None, {"DOCKER_HOST": "::1"}),
    "host unix alone": (None, {"DOCKER_HOST": "unix://"}),
    "host fd": (None, {"DOCKER_HOST": "fd://"}),
    "host npipe alone": (None, {"DOCKER_HOST": "npipe://"}),
    "host of an unknown kind": (None, {"DOCKER_HOST": "gopher://vm"}),
    "host with a blank inside": (None, {"DOCKER_HOST": "a b"}),
    "TLS not asked for": (None, {"DOCKER_TLS_VERIFY": ""}),
}


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a configuration directory whose contexts docker itself has created."""
    directory = tmp_path_factory.mktemp("docker")
    for name, host in CONTEXTS.items():
        docker({"DOCKER_CONFIG": str(directory)}, "context", "create", "--docker", f"host={host}", name)
    return directory


def docker(environ: Mapping[str, str], *arguments: str) -> str | None:
    """Return what docker prints, without its line's end; None if it refuses."""
    program = find_program("docker")
    assert program is not None
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run([program, *arguments], env={**base, **environ}, capture_output=True, text=True, check=False)
    return done.stdout.removesuffix("\n") if done.returncode == 0 else None


def ours(environ: Mapping[str, str]) -> str | None:
    """Return the address we find; None if we refuse."""
    try:
        return endpoint.find_endpoint({"HOME": "/nonexistent", **environ}, platform="posix").host
    except LookupFailedError:
        return None


@pytest.mark.needs("docker")
@pytest.mark.parametrize("name", SET_UPS)
def test_as_docker_does(contexts: Path, name: str) -> None:
    """We find the address that `docker context inspect` shows, refuse where it refuses, and name the same context."""
    config, variables = SET_UPS[name]
    if config is None:
        (contexts / "config.json").unlink(missing_ok=True)
    else:
        (contexts / "config.json").write_text(config)
    environ = {"DOCKER_CONFIG": str(contexts), **variables}

    theirs = docker(environ, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    shown = docker(environ, "context", "show")

    assert ours(environ) == theirs
    if theirs is not None:
        origin = endpoint.find_endpoint(environ).origin
        assert origin == f"docker context {shown!r}" or (shown == "default" and "context" not in origin)


@pytest.mark.needs("docker")
def test_config_below_home(contexts: Path, tmp_path: Path) -> None:
    """Without DOCKER_CONFIG, or with an empty one, `~/.docker` is read."""
    (contexts / "config.json").write_text('{"currentContext": "vm"}')
    (tmp_path / ".docker").symlink_to(contexts)

    for environ in ({"HOME": str(tmp_path)}, {"HOME": str(tmp_path), "DOCKER_CONFIG": ""}):
        theirs = docker(environ, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")

        assert ours(environ) == theirs == CONTEXTS["vm"]


@pytest.mark.needs("docker")
def test_a_relative_docker_config_is_below_the_working_directory(
    contexts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative DOCKER_CONFIG is below the working directory."""
    (contexts / "config.json").write_text('{"currentContext": "box"}')
    (tmp_path / "here").symlink_to(contexts)
    monkeypatch.chdir(tmp_path)

    theirs = docker({"DOCKER_CONFIG": "here"}, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")

    assert ours({"DOCKER_CONFIG": "here"}) == theirs == CONTEXTS["box"]


@pytest.mark.parametrize("verify", ["DOCKER_TLS", "DOCKER_TLS_VERIFY"])
def test_tls_default(tmp_path: Path, verify: str) -> None:
    """With TLS asked for, docker's default is the local TLS port, as its client shows once it has certificates."""
    assert ours({"DOCKER_CONFIG": str(tmp_path), verify: "1"}) == "tcp://localhost:2376"
    assert ours({"DOCKER_CONFIG": str(tmp_path), verify: "1", "DOCKER_HOST": "tcp://"}) == "tcp://localhost:2375"


@pytest.mark.parametrize(
    "metadata",
    [
        "", "[]", "null", "{", '{"Endpoints": 5}', '{"Endpoints": {}}', '{"Endpoints": {"docker": 7}}', "\x00\xff",
        '{"Endpoints": {"docker": {"Host": 7}}}', '{"Endpoints": {"docker": {"Host": "unix:///a\\u0000b"}}}',
        '{"Endpoints": {"docker": {"Host": "unix:///\\ud800"}}}', '{"Endpoints": {"docker": {"Host": "\\u001b[2J"}}}',
        "[" * 100_000, "1" * 3_000_000,
    ],
    ids=lambda text: repr(text[:40]),
)  # fmt: skip
def test_broken_metadata(tmp_path: Path, metadata: str) -> None:
    """A context whose metadata is nonsense is refused with a sentence, and with nothing else."""
    import hashlib

    directory = tmp_path / "contexts" / "meta" / hashlib.sha256(b"own").hexdigest()
    directory.mkdir(parents=True)
    (directory / "meta.json").write_text(metadata, encoding="latin-1")

    with pytest.raises(LookupFailedError, match="docker context 'own'"):
        endpoint.find_endpoint({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "own"})


@given(st.dictionaries(st.sampled_from(sorted(VARIABLES)), st.text(alphabet=st.characters(codec=None), max_size=40)))
def test_any_environment(environ: dict[str, str]) -> None:
    """Whatever the variables hold, there is an endpoint or a sentence."""
    try:
        found = endpoint.find_endpoint(environ)
    except LookupFailedError:
        return
    assert "://" in found.host
    assert isinstance(found.is_remote, bool)
    endpoint.others(environ)


def test_on_windows_the_default_is_dockers_named_pipe(tmp_path: Path) -> None:
    """On Windows the default is docker's named pipe, which only the docker command can use."""
    for environ in ({}, {"DOCKER_HOST": "npipe://"}):
        found = endpoint.find_endpoint({"DOCKER_CONFIG": str(tmp_path), **environ}, platform="nt")

        assert (found.host, found.socket, found.is_remote) == ("npipe:////./pipe/docker_engine", None, False)


def test_files_that_are_none(tmp_path: Path) -> None:
    """A pipe, a directory or a huge file in place of config.json neither blocks nor ends the search."""
    (tmp_path / "directory" / "config.json").mkdir(parents=True)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "config.json")
    (tmp_path / "huge").mkdir()
    (tmp_path / "huge" / "config.json").write_text('{"currentContext": "vm"}' + " " * 2_000_000)

    for name in ("directory", "pipe", "huge", "missing"):
        assert (
            endpoint.find_endpoint({"DOCKER_CONFIG": str(tmp_path / name)}, platform="posix").origin
            == "docker's default"
        )


@pytest.mark.parametrize(
    ("host", "is_remote"),
    [
        ("unix:///run/docker.sock", False), ("npipe:////./pipe/docker_engine", False), ("fd://", False),
        ("tcp://127.0.0.1:2375", False), ("tcp://127.8.8.8:1", False), ("tcp://localhost:2375", False),
        ("tcp://[::1]:2375", False), ("tcp://LOCALHOST:1/prefix", False),
        ("ssh://me@box", True), ("ssh://localhost", True), ("tcp://192.0.2.1:2375", True),
        ("tcp://[2001:db8::1]:1", True),
        ("tcp://127.example.com:1", True), ("tcp://localhost.example:1", True),
        ("tcp://localhost@evil.example:1", True),
        ("tcp://127.0.0.1.example.com:1", True), ("http://vm", True), ("", True), ("tcp://", True),
    ],
)  # fmt: skip
def test_only_pipes_sockets_and_this_hosts_loopback_addresses_are_here(host: str, is_remote: bool) -> None:
    """Only pipes, sockets and this host's loopback addresses are here."""
    assert endpoint.EngineEndpoint(host, "test").is_remote is is_remote


def test_other_sockets(tmp_path: Path) -> None:
    """Rootless docker, Docker Desktop and Podman are found where their sockets exist, sudo's caller's included."""
    paths = (
        "/run/user/7/docker.sock", "/run/user/7/podman/podman.sock", "/run/user/1000/podman/podman.sock",
        "/run/podman/podman.sock", "/home/me/.docker/run/docker.sock",
    )  # fmt: skip
    for path in paths:
        file = Path(f"{tmp_path}{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    environ = {"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/home/me", "SUDO_UID": "1000"}

    found = endpoint.others(environ, root=str(tmp_path))

    assert {engine.host.removeprefix(f"unix://{tmp_path}") for engine in found} == set(paths)
    assert {engine.engine for engine in found if "podman" in engine.host} == {"podman"}
    hostile = {"XDG_RUNTIME_DIR": "../..", "HOME": "home", "SUDO_UID": "../7"}
    assert {e.host for e in endpoint.others(hostile, root=str(tmp_path))} <= {
        f"unix://{tmp_path}/run/podman/podman.sock",
        f"unix://{tmp_path}/run/user/{os.getuid()}/docker.sock",
    }
