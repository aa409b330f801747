"""What `kill` may end, and what it must not: facts about a process in, a refusal or None out. Pure.

Ending the wrong process is worse than ending none. So everything that is not provably a plain process of the user is
refused, each with the command that does the right thing. A refusal never depends on what is convenient to reach.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.rules import engines, explain
from portguard.rules.origin import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from portguard.model import Process, ProcessStat

# What a user would not call a server, though it may listen: ending it ends everything that runs in it.
_HOMES = {
    "multiplexer": "everything that runs in it would end",
    "terminal": "everything that runs in it would end",
    "editor": "an editor forwards ports; close this one in its list of ports",
    "ssh": "it forwards the port for an SSH session; end that session",
}
# fmt: off
_SESSION = frozenset((
    "Xorg", "Xwayland", "cinnamon", "dbus-broker", "dbus-daemon", "gnome-session-b", "gnome-shell", "kwin_wayland",
    "kwin_x11", "plasmashell", "sway", "systemd-logind", "xfce4-session",
))
_BROWSERS = frozenset((
    "Google Chrome", "Safari", "brave", "brave-browser", "chrome", "chromium", "chromium-browser", "firefox",
    "firefox-bin", "firefox-esr", "google-chrome", "msedge", "opera", "vivaldi-bin",
))
_MANAGERS = frozenset(("init", "launchd", "systemd"))
_ENGINES = frozenset(("containerd", "containerd-shim", "containerd-shim-runc-v2", "crio", "podman"))
# fmt: on
HOLDER_NAME = "portguard-hold"


class Suspect(NamedTuple):
    """What is known about a process that would be ended.

    `uids` are its real, effective and saved user, None if they are unknown; `container_id` is the container it
    runs in, by its control group, which may be unreadable.
    """

    process: Process
    uids: Collection[int] | None
    is_kernel: bool = False
    container_id: str | None = None
    is_group_unreadable: bool = False


class Caller(NamedTuple):
    """Who asks: our process, those it runs in (without itself), and the users whose processes are ours to end.

    `uids` is None if the system knows no such numbers: then names count (`user`).
    """

    pid: int
    ancestors: Collection[int]
    uids: Collection[int] | None
    euid: int | None
    user: str | None = None
    container_id: str | None = None


class Refusal(NamedTuple):
    """Why something is not ended: `reason` as the rest of a sentence about it, `hint` the right thing to do."""

    reason: str
    hint: str


def refuse(suspect: Suspect, caller: Caller, port: int, *, platform: str) -> Refusal | None:
    """Return why this process must not be ended, anyone who's it is; None if it may be."""
    process = suspect.process
    number = process.pid
    names = {name for name in (process.name, _program(process.exe)) if name}
    by_hand = f"to stop it anyway: {_by_hand(suspect, caller)}"
    if number == caller.pid:
        return Refusal("this process itself holds it", "close the socket where it was opened")
    if number in caller.ancestors:
        return Refusal("portguard itself runs in it", f"{by_hand}, from elsewhere")
    if number <= 1 or names & _MANAGERS:
        return Refusal(
            "it starts other programs, and holds ports for them",
            "find the unit: systemctl list-sockets" if names & _MANAGERS else "stop its container instead",
        )
    if suspect.is_kernel:
        return Refusal("it is a thread of the kernel", f"find the service it belongs to: ps -fp {number}")
    if any(engines.is_forwarder(name, platform=platform) for name in names):
        engine = engines.engine_of(names) or engines.DEFAULT
        return Refusal(
            "it forwards the port for a container, and the container would keep running without it",
            f"find the container: {engine.find.format(port=port)}",
        )
    if names & _ENGINES:
        return Refusal("it runs containers", "find the container: docker ps")
    kinds = {kind_of(name) for name in names}
    home = next((reason for kind, reason in _HOMES.items() if kind in kinds), None)
    if home is not None:
        return Refusal(home, by_hand)
    if names & _SESSION:
        return Refusal("the desktop runs in it", by_hand)
    if names & _BROWSERS:
        return Refusal("it is a browser; close what listens there", by_hand)
    if HOLDER_NAME in names:
        return Refusal("it holds a portguard lease", f"release it: portguard leases release {port}")
    if suspect.is_group_unreadable:
        return Refusal("its control group cannot be read, so its container or unit is unknown", by_hand)
    if suspect.container_id is not None and suspect.container_id != caller.container_id:
        short = suspect.container_id[:12]
        return Refusal(f"it runs in container {short}", f"stop it through its engine: docker stop {short}")
    return None


def _program(path: str | None) -> str:
    return (path or "").replace("\\", "/").rpartition("/")[2].removesuffix(" (deleted)")


def refuse_user(suspect: Suspect, caller: Caller) -> Refusal | None:
    """Return why this process is not ours to end for its user alone, None if it is."""
    if caller.uids is None:
        is_mine, is_known = suspect.process.user == caller.user, None not in (suspect.process.user, caller.user)
    else:
        is_known = bool(suspect.uids)
        is_mine = all(uid in caller.uids for uid in suspect.uids or ())
    if not is_known:
        return Refusal("its owner is unknown", f"look at it: ps -fp {suspect.process.pid}")
    if not is_mine:
        return Refusal("it is another user's process", f"to stop it anyway: {_by_hand(suspect, caller)}")
    return None


def _by_hand(suspect: Suspect, caller: Caller) -> str:
    is_mine = caller.euid in (None, 0) or set(suspect.uids or ()) == {caller.euid}
    return f"{'' if is_mine else 'sudo '}kill {suspect.process.pid}"


def top_of(pid: int, rows: Mapping[int, ProcessStat], is_near: Callable[[int], bool], keep: Collection[int]) -> int:
    """Return the highest ancestor of `pid` that is one job with it, or supervises it; `pid` where there is none.

    One job: the same process group, which a shell makes anew for each command typed; or a known supervisor, which may
    put its workers into groups of their own. `is_near` tells whether a process belongs to the same checkout and user,
    `keep` are those that must stay. A shell that leads a terminal's session is where someone types, and stays.
    """
    top = pid
    while (row := rows.get(top)) is not None:
        above = rows.get(row.parent)
        if above is None or row.parent <= 1 or row.parent in keep or above.started > row.started:
            break
        kind = kind_of(above.name)
        is_typed_in = kind == "shell" and above.terminal != 0 and above.session == row.parent
        is_job = above.group == row.group and not is_typed_in
        if not (is_job or kind == "supervisor") or kind in _HOMES or kind in ("container", "timer"):
            break
        if not is_near(row.parent):
            break
        top = row.parent
    return top


def tree_of(top: int, rows: Mapping[int, ProcessStat]) -> tuple[int, ...]:
    """Return the process and all below it, parents before their children."""
    children: dict[int, list[int]] = {}
    for pid, row in rows.items():
        children.setdefault(row.parent, []).append(pid)
    found = [top]
    for pid in found:  # grows while it is gone through
        found += [child for child in sorted(children.get(pid, ())) if rows[child].started >= rows[pid].started]
    return tuple(found)


def owner_is_unknown(status: str, euid: int | None) -> Refusal:
    """Return why a holder whose owner is not known is left alone."""
    if status == "hidden":
        return Refusal("its owner is hidden", explain.sight(euid))
    if status == "lookup-failed":
        return Refusal(
            "its owner could not be looked up", "run it outside the sandbox or container, where /proc can be read"
        )
    return Refusal(
        "no process here holds it", "it may belong to the kernel, another PID namespace or another container"
    )


def not_listening(names: Collection[str | None], port: int) -> Refusal:
    """Return why a socket that does not listen is left alone; `names` are its processes'."""
    if HOLDER_NAME in names:
        return Refusal("it holds a portguard lease", f"release it: portguard leases release {port}")
    return Refusal("it does not listen", f"see what it is: portguard who {port}")


def container_is_unknown(by_hand: str) -> Refusal:
    """Return why a container that only its engine could name is left alone; `by_hand` is a command, as below."""
    return Refusal("only its engine knows which container it is", f"find it: {by_hand}")


def container_is_ours(by_hand: str) -> Refusal:
    """Return why the container that portguard runs in is left alone."""
    return Refusal("portguard itself runs in it", f"{by_hand}, from elsewhere")


def container_is_a_service(port: int) -> Refusal:
    """Return why a container that a swarm would replace is left alone."""
    return Refusal("it is a service of a swarm", f"unpublish its port: docker service update --publish-rm {port}")


def unit_is_triggered(trigger: str, systemctl: str) -> Refusal:
    """Return why a unit that a socket unit would start again is left alone."""
    return Refusal(
        f"systemd starts it through {trigger} on every connection",
        f"stop it: {systemctl} stop {explain.unit_word(trigger) or trigger}",
    )


def unit_is_the_system_s(unit: str) -> Refusal:
    """Return why a unit of the system's manager is left alone by anyone but root."""
    return Refusal(f"systemd runs it as {unit}", f"stop it: sudo systemctl stop {explain.unit_word(unit) or unit}")


def part_of_a_tree(process: Process, refusal: Refusal) -> Refusal:
    """Return why a tree is left alone because of one process in it."""
    who = f"{process.name or 'a process'} (pid {process.pid})"
    return Refusal(f"{who} belongs to its tree: {refusal.reason}", refusal.hint)


def roots(members: Sequence[int], parents: Mapping[int, int]) -> tuple[int, ...]:
    """Return those of `members` whose parent is none of them: who is asked first, and may end the rest in order."""
    return tuple(pid for pid in members if parents.get(pid) not in members)
