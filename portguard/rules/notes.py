"""Notes: what is worth knowing and changes no verdict, one function per sentence. Pure: facts in, a Note out.

The ids are stable. Foreign strings are raw inside. Loaded only when there is something to note.
"""

from __future__ import annotations

from portguard.model import Note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from portguard.rules.ranges import Range


# --- check -----------------------------------------------------------------------------------------------------------


def published_as_root() -> Note:
    """Note that the user may not bind the port of a compose service, and need not."""
    return Note("published-as-root", "you cannot bind this port, but the engine can: it runs as root")


def optional() -> Note:
    """Note that a declaration says that its conflict is no failure."""
    return Note("optional", "declared optional: it does not fail the check")


def moved(port: int, moved_by: str | None, declared_port: int) -> Note:
    """Note that a number is not the declared one; `moved_by` is the variable, None for the checkout's own number."""
    why = f"{port} is this checkout's own number" if moved_by is None else f"{moved_by} says {port}"
    return Note("moved", f"{why}; declared is {declared_port}")


def remote_engine(host: str | None, found_in: str | None, *, answered: bool) -> Note:
    """Note that the engine is on another machine; `found_in` says where its address is from."""
    where = f"the engine is on another machine ({host or '?'}, {found_in or '?'})"
    what = "the answer is from its own table" if answered else "a bind here says nothing about its ports"
    return Note("remote-engine", f"{where}: {what}")


# --- engines ---------------------------------------------------------------------------------------------------------


def engine_failed(failure: str) -> Note:
    """Note that an engine did not answer."""
    return Note("engine", failure)


def container_unknown(pid: int, address: str, port: int) -> Note:
    """Note that a forwarder names a container's address, and the engine that knows the container cannot be asked."""
    return Note(
        "container-unknown",
        f"docker-proxy (pid {pid}) forwards it to a container at {address}, port {port}; only the engine knows which "
        "container that is, and it could not be asked",
    )


def not_published(name: str) -> Note:
    """Note that a container of ours runs without the ports that it asked for (moby#51758)."""
    return Note(
        "not-published",
        f"container {name} runs without its published ports; recreate it: docker compose up -d --force-recreate",
    )


# --- owners ----------------------------------------------------------------------------------------------------------


def hidden(euid: int | None) -> Note:
    """Note that the owner of a port cannot be seen."""
    from portguard.rules import explain  # words for more than notes

    return Note("hidden", explain.sight(euid))


def hidden_owners(count: int, total: int, *, is_root: bool) -> Note:
    """Note that the owners of some listed sockets cannot be seen."""
    cure = "even to root, by a container, a sandbox or a security module" if is_root else "from this user; root sees it"
    return Note("hidden", f"the owner of {count} of {total} sockets is hidden {cure}")


def owners_unknown() -> Note:
    """Note that no process list can be read, so that no owner is known."""
    return Note("lookup-failed", "the owners could not be looked up: no process list can be read here")


# --- leases and checkouts --------------------------------------------------------------------------------------------


def rivals_unread(reason: str) -> Note:
    """Note that it is unknown whether anyone else was given these ports."""
    return Note("leases", f"could not read who else was given these ports: {reason}")


def own_numbers_unread(reason: str) -> Note:
    """Note that it is unknown whether the checkout has its own ports."""
    return Note("leases", f"could not read this checkout's own ports: {reason}")


def no_number_yet(reason: str) -> Note:
    """Note that a checkout that should have its own number did not get one."""
    return Note("leases", f"this checkout has no port of its own yet: {reason}")


def foreign_block(where: str, owner: str) -> Note:
    """Note that the block in a `.env` was copied from another checkout."""
    return Note("foreign-block", f"the ports in {where} were written for {owner}: portguard env --write {where}")


def moved_from(name: str, declared_port: int, port: int, back: str) -> Note:
    """Note that a port was moved, and stays so; `back` is the command that undoes it."""
    return Note("moved", f"{name} is moved from {declared_port} to {port} (undo: {back})")


# --- free and run ----------------------------------------------------------------------------------------------------


def unleased(reason: str) -> Note:
    """Note that a port is handed out without a lease."""
    return Note("unleased", f"not leased, another caller may get the same port: {reason}")


def declared_unread(reason: str) -> Note:
    """Note that the ports that this project declares may be handed out, because they could not be read."""
    return Note("config", f"could not leave out the declared ports: {reason}")


def assigned_unread(reason: str) -> Note:
    """Note that numbers that belong to checkouts may be handed out, because they could not be read."""
    return Note("assigned", f"could not leave out the checkouts' own ports: {reason}")


def may_be_ephemeral(ephemeral: Range | None) -> Note:
    """Note that the kernel may assign the port to an outgoing connection at any time."""
    if ephemeral is None:
        what = "the kernel's ephemeral range cannot be read: an outgoing connection may take the port"
    else:
        what = (
            f"no port was left outside this kernel's ephemeral range {ephemeral[0]}-{ephemeral[1]}: an outgoing "
            "connection may take it before you do"
        )
    return Note("ephemeral", what)


def not_held(what: str, reason: str | None) -> Note:
    """Note that ports are not kept bound for a command."""
    return Note("unheld", f"{what} not held: {reason}")


def not_passed(what: str) -> Note:
    """Note that a listening socket is not passed to a command."""
    return Note("unpassed", what)


# --- info and init ---------------------------------------------------------------------------------------------------


def reserved(port: int) -> Note:
    """Note that a setting keeps the kernel from assigning a port by itself."""
    return Note("reserved", f"net.ipv4.ip_local_reserved_ports keeps the kernel from assigning port {port}")


def ephemeral_range(ephemeral: Range | None, defaults: str) -> Note:
    """Note which ports the kernel assigns by itself, here and elsewhere."""
    here = "this kernel's ephemeral range cannot be read"
    if ephemeral is not None:
        here = f"this kernel assigns {ephemeral[0]}-{ephemeral[1]} by itself"
    return Note("ephemeral-range", f"{here}; {defaults}")


def unregistered(port: int, source: str) -> Note:
    """Note that the name of a port is not IANA's."""
    return Note("unregistered", f"IANA has no name for {port}; this one is from {source}")


def config_hidden(other: str, path: str) -> Note:
    """Note that a new config hides one further up."""
    return Note("config-hidden", f"{other} is no longer used here: {path} is nearer")


def unread(what: str) -> Note:
    """Note that a file that may declare ports could not be used."""
    return Note("unread", what)
