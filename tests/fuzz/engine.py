"""What engines answer. The first byte chooses: over HTTP (four replies, parted by NUL), by commands, in their files."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import threading

from portguard.engines import command, containers, endpoint, query
from portguard.errors import ConfigError, LookupFailedError
from portguard.holders.containers import Engines, relation_of
from portguard.model import Background, Holder, WhoPort, WhoReport
from portguard.render import documents, who
from portguard.render.safe import safe
from portguard.rules import explain, ownership
from portguard.rules.attribution import Running
from portguard.rules.ownership import OwnStack
from portguard.sources import compose
from tests.fuzz.oracles import assert_port, assert_printable, assert_told, emptied, scratch

_RESOURCES = ("/containers/json", "/v4.0.0/libpod/containers/json", "/services", "/containers/")
_HEAD = b"HTTP/1.0 200 OK\r\nServer: libpod/4.3.1\r\n\r\n"
_LIMIT = 256 * 1024  # bytes
_JUDGED = 8  # containers of an answer, and ports of a container, that are looked at closely


def fuzz(data: bytes) -> None:
    """Answer with the bytes, and let everything be made of them that a command would."""
    kinds = (_over_http, _over_http, _by_command, _in_files)
    kinds[data[0] % len(kinds) if data else 0](data[1:_LIMIT])


# ---------------------------------------------------------------- over HTTP

_REPLIES: list[bytes] = []


@functools.cache
def _server() -> str:
    """Start a server that answers each of `_RESOURCES` with its own of `_REPLIES`; return its socket's path."""
    path = str(scratch() / "docker.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    threading.Thread(target=_serve, args=(server,), daemon=True).start()
    return path


def _serve(server: socket.socket) -> None:
    while True:
        client, _ = server.accept()
        with contextlib.suppress(OSError, IndexError), client:
            asked = client.recv(4096).split(b" ", 2)[1].decode()
            index = next(number for number, start in enumerate(_RESOURCES) if asked.startswith(start))
            client.sendall(_REPLIES[index])


def _over_http(content: bytes) -> None:
    parts = [*content.split(b"\0", len(_RESOURCES) - 1), *[b"[]"] * len(_RESOURCES)][: len(_RESOURCES)]
    _REPLIES[:] = [part if part.startswith(b"HTTP") else _HEAD + part for part in parts]
    here = emptied("engine")
    environ = {"DOCKER_HOST": f"unix://{_server()}", "HOME": str(here), "XDG_RUNTIME_DIR": str(here)}
    engines = Engines(environ)
    answer = engines.answer()
    for failure in answer.failures:
        assert_printable(safe(failure))
    _judge(answer.containers, engines)
    for running in answer.containers[:_JUDGED]:
        where = answer.endpoints[running.identity.id]
        with contextlib.suppress(LookupFailedError):
            inspected = query.inspect(where, running.identity.id, environ=environ)
            _judge((inspected,) if inspected is not None else (), engines)
    if answer.primary is not None:
        _judge(query.services(answer.primary), engines)
    engines.silent(OwnStack("shop", str(here), None))


def _judge(found: tuple[Running, ...], engines: Engines) -> None:
    for running in found[:_JUDGED]:
        container = running.identity
        assert container.id
        assert container.engine in ("docker", "podman")
        for published in running.ports:
            assert_port(published.port)
            assert_port(published.target)
            assert published.protocol in ("tcp", "udp")
        for policy in running.asked:
            assert 0 <= policy.port < 65536
        for service in ("web", None):
            us = OwnStack(container.compose.project if container.compose is not None else "shop", "/srv/shop", ("web",))
            relation = relation_of(container, service, us, engines)
            shown = ownership.command(relation, container, 8080, has_compose=True)
            assert_printable(shown)
            assert set(shown) <= set(" -_.=") | set(ownership._LETTERS), shown
            assert_printable(safe(ownership.why(relation, container)))
        for published in running.ports[:_JUDGED]:
            _hold(published.protocol == "udp", published.port, engines)


def _hold(is_udp: bool, port: int, engines: Engines) -> None:
    """Ask who has a port that no one can be seen to hold, and tell it in every way there is."""
    unseen = Holder("udp" if is_udp else "tcp", "0.0.0.0", port, None, "hidden")
    holder = engines.attributed(unseen)
    report = WhoReport((WhoPort(port, (holder,), (), (Background(),), engines.notes(port)),), 0)
    assert_printable(who.who(report, "/root", colour=False))
    assert_printable(safe(explain.occupied(holder)))
    json.loads(documents.document("who", 0, documents.data(report)))


# ---------------------------------------------------------------- by commands, and in files


def _by_command(content: bytes) -> None:
    engines = Engines({"DOCKER_HOST": "unix:///nonexistent", "HOME": str(scratch()), "XDG_RUNTIME_DIR": str(scratch())})
    try:
        answer = command._json(content)
    except LookupFailedError:
        answer = None
    _judge(containers.from_inspect(answer, "docker"), engines)
    _judge(containers.from_ps(answer, "podman"), engines)
    try:
        project = compose.from_config_json(os.fsdecode(content), working_dir="/srv/shop")
    except ConfigError as error:
        assert_told(error, 2)
        return
    for port in project.ports:
        assert_port(port.first)
        assert_port(port.last)
        assert port.first <= port.last


def _in_files(content: bytes) -> None:
    here = emptied("engine")
    config, _, meta = content.partition(b"\0")
    (here / "config.json").write_bytes(config)
    # SHA-256 of "c", the context's name.
    place = here / "contexts" / "meta" / "2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6"
    place.mkdir(parents=True)
    (place / "meta.json").write_bytes(meta)
    for environ in ({}, {"DOCKER_CONTEXT": "c"}, {"DOCKER_HOST": os.fsdecode(config.replace(b"\0", b""))}):
        try:
            found = endpoint.find_endpoint({"DOCKER_CONFIG": str(here), **environ})
        except LookupFailedError as error:
            assert_printable(safe(error.message))
            continue
        assert found.host
        assert found.socket is None or not found.is_remote
