"""Claims about portguard.rules.notes: the sentences and their ids, word for word."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from portguard.model import Note
from portguard.rules import notes

NOTES: list[tuple[Callable[[], Note], str, str]] = [
    (
        notes.published_as_root,
        "published-as-root",
        "you cannot bind this port, but the engine can: it runs as root",
    ),
    (notes.optional, "optional", "declared optional: it does not fail the check"),
    (lambda: notes.moved(9, "WEB_PORT in .env:1", 8), "moved", "WEB_PORT in .env:1 says 9; declared is 8"),
    (lambda: notes.moved(9, None, 8), "moved", "9 is this checkout's own number; declared is 8"),
    (
        lambda: notes.remote_engine("ssh://box", "DOCKER_HOST", answered=True),
        "remote-engine",
        "the engine is on another machine (ssh://box, DOCKER_HOST): the answer is from its own table",
    ),
    (
        lambda: notes.remote_engine(None, None, answered=False),
        "remote-engine",
        "the engine is on another machine (?, ?): a bind here says nothing about its ports",
    ),
    (lambda: notes.engine_failed("docker: no answer"), "engine", "docker: no answer"),
    (
        lambda: notes.container_unknown(7, "172.17.0.2", 80),
        "container-unknown",
        (
            "docker-proxy (pid 7) forwards it to a container at 172.17.0.2, port 80; only the engine knows which "
            "container that is, and it could not be asked"
        ),
    ),
    (
        lambda: notes.not_published("shop-web-1"),
        "not-published",
        "container shop-web-1 runs without its published ports; recreate it: docker compose up -d --force-recreate",
    ),
    (lambda: notes.hidden(1000), "hidden", "run with sudo to see the owner"),
    (
        lambda: notes.hidden_owners(2, 9, is_root=False),
        "hidden",
        "the owner of 2 of 9 sockets is hidden from this user; root sees it",
    ),
    (
        lambda: notes.hidden_owners(2, 9, is_root=True),
        "hidden",
        "the owner of 2 of 9 sockets is hidden even to root, by a container, a sandbox or a security module",
    ),
    (
        notes.owners_unknown,
        "lookup-failed",
        "the owners could not be looked up: no process list can be read here",
    ),
    (lambda: notes.rivals_unread("x"), "leases", "could not read who else was given these ports: x"),
    (lambda: notes.own_numbers_unread("x"), "leases", "could not read this checkout's own ports: x"),
    (lambda: notes.no_number_yet("x"), "leases", "this checkout has no port of its own yet: x"),
    (
        lambda: notes.foreign_block(".env", "/other"),
        "foreign-block",
        "the ports in .env were written for /other: portguard env --write .env",
    ),
    (
        lambda: notes.moved_from("web", 8080, 50000, "portguard leases release web"),
        "moved",
        "web is moved from 8080 to 50000 (undo: portguard leases release web)",
    ),
    (lambda: notes.unleased("x"), "unleased", "not leased, another caller may get the same port: x"),
    (lambda: notes.declared_unread("x"), "config", "could not leave out the declared ports: x"),
    (lambda: notes.assigned_unread("x"), "assigned", "could not leave out the checkouts' own ports: x"),
    (
        lambda: notes.may_be_ephemeral(None),
        "ephemeral",
        "the kernel's ephemeral range cannot be read: an outgoing connection may take the port",
    ),
    (
        lambda: notes.may_be_ephemeral((1024, 65535)),
        "ephemeral",
        (
            "no port was left outside this kernel's ephemeral range 1024-65535: an outgoing connection may take it "
            "before you do"
        ),
    ),
    (lambda: notes.not_held("port 80 is", "in use"), "unheld", "port 80 is not held: in use"),
    (lambda: notes.not_passed("x"), "unpassed", "x"),
    (
        lambda: notes.reserved(80),
        "reserved",
        "net.ipv4.ip_local_reserved_ports keeps the kernel from assigning port 80",
    ),
    (lambda: notes.ephemeral_range(None, "d"), "ephemeral-range", "this kernel's ephemeral range cannot be read; d"),
    (lambda: notes.ephemeral_range((1, 2), "d"), "ephemeral-range", "this kernel assigns 1-2 by itself; d"),
    (lambda: notes.unregistered(80, "x"), "unregistered", "IANA has no name for 80; this one is from x"),
    (lambda: notes.config_hidden("a", "b"), "config-hidden", "a is no longer used here: b is nearer"),
    (lambda: notes.unread("x"), "unread", "x"),
]


@pytest.mark.parametrize(("found", "note_id", "message"), NOTES)
def test_each_note_has_its_id_and_its_sentence(found: Callable[[], Note], note_id: str, message: str) -> None:
    """Ids are a contract; a sentence is one line and says what and where."""
    assert found() == Note(note_id, message)


def test_every_note_is_listed_here() -> None:
    """A new sentence gets its line above."""
    known = {name for name, value in vars(notes).items() if inspect.isfunction(value)}
    source = inspect.getsource(inspect.getmodule(test_every_note_is_listed_here) or notes)

    assert [name for name in sorted(known) if f"notes.{name}" not in source] == []
