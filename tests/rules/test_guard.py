"""Who may be ended, and what a tree is: facts in, refusals out."""

from __future__ import annotations

import pytest

from portguard.model import Process, ProcessStat
from portguard.rules.guard import Caller, Suspect, owner_is_unknown, refuse, refuse_user, roots, top_of, tree_of

ME = Caller(pid=500, ancestors=(400, 300), uids=frozenset({1000}), euid=1000)
SERVER = Process(600, "node", "ada", "/usr/bin/node", "/home/ada/shop", 1.0, 550, 1000)


_OF_SUSPECT = ("uids", "is_kernel", "container_id", "is_group_unreadable")


def suspect(**changed: object) -> Suspect:
    """Return a plain server of ours, with these facts changed."""
    of_suspect = {key: changed.pop(key) for key in _OF_SUSPECT if key in changed}
    return Suspect(SERVER._replace(**changed), **({"uids": (1000,) * 3} | of_suspect))  # type: ignore[arg-type]


def reason(item: Suspect, caller: Caller = ME, platform: str = "linux") -> str:
    """Return why it is refused, "" if it is not."""
    refusal = refuse(item, caller, 3000, platform=platform) or refuse_user(item, caller)
    if refusal is not None:
        assert refusal.hint
    return refusal.reason if refusal is not None else ""


def test_a_plain_process_of_this_user_may_be_ended() -> None:
    """The usual server is not refused; nor is one without a program that can be read, or in our own container."""
    assert reason(suspect()) == ""
    assert reason(suspect(exe=None)) == ""
    assert reason(suspect(container_id="a" * 64), ME._replace(container_id="a" * 64)) == ""


def test_a_process_whose_group_cannot_be_read() -> None:
    """It may run in a container, and is left alone; what it runs in is not guessed."""
    item = suspect(is_group_unreadable=True)
    assert reason(item) == "its control group cannot be read, so its container or unit is unknown"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (suspect(pid=500), "this process itself"),
        (suspect(pid=400), "portguard itself"),
        (suspect(pid=300), "portguard itself"),
        (suspect(pid=1), "it starts other programs"),
        (suspect(pid=0), "it starts other programs"),
        (suspect(name="systemd"), "it starts other programs"),
        (suspect(name="x", exe="/usr/lib/systemd/systemd"), "it starts other programs"),
        (suspect(is_kernel=True), "kernel"),
        (suspect(name="docker-proxy"), "container"),
        (suspect(exe="/usr/bin/docker-proxy (deleted)"), "container"),
        (suspect(name="rootlesskit-doc"), "container"),
        (suspect(name="com.docker.backend"), "container"),
        (suspect(name="com.docker.whatever"), "container"),
        (suspect(name="com.docker.backend.exe"), "container"),
        (suspect(exe="C:\\Program Files\\wslrelay.exe"), "container"),
        (suspect(name="containerd-shim-runc-v2"), "containers"),
        (suspect(container_id="b" * 64), "container bbbbbbbbbbbb"),
        (suspect(is_group_unreadable=True), "control group cannot be read"),
        (suspect(is_group_unreadable=True, container_id="b" * 64), "control group cannot be read"),
        (suspect(name="Code"), "editor"),
        (suspect(name="firefox"), "browser"),
        (suspect(uids=None), "its owner is unknown"),
        (suspect(uids=()), "its owner is unknown"),
        (suspect(uids=(1000, 0, 0)), "another user's"),
        (suspect(uids=(0, 0, 0)), "another user's"),
        (suspect(uids=(1001,)), "another user's"),
    ],
)
def test_refused(item: Suspect, expected: str) -> None:
    """Everything that is not provably a plain process of this user is refused, with a reason and a next step."""
    assert expected in reason(item)


def test_where_users_have_names_only() -> None:
    """On Windows the name decides, and no name is no proof."""
    caller = ME._replace(uids=None, euid=None, user="HOST\\ada")
    assert reason(suspect(user="HOST\\ada"), caller, "win32") == ""
    assert "another user's" in reason(suspect(user="HOST\\bob"), caller, "win32")
    assert "its owner is unknown" in reason(suspect(user=None), caller, "win32")
    assert "its owner is unknown" in reason(suspect(user=None), caller._replace(user=None), "win32")


def test_ssh_forwards_for_colima_on_macos_alone() -> None:
    """On macOS ssh holds ports for containers; elsewhere it is a tunnel that its user may end."""
    assert "container" in reason(suspect(name="ssh", exe="/usr/bin/ssh"), platform="darwin")
    assert reason(suspect(name="ssh", exe="/usr/bin/ssh")) == ""


@pytest.mark.parametrize("status", ["hidden", "lookup-failed", "none-found", "kernel"])
def test_unknown_owners_are_refused(status: str) -> None:
    """Each way of not knowing an owner has its reason and its next step."""
    refusal = owner_is_unknown(status, 1000)
    assert refusal.reason
    assert refusal.hint


# ---------------------------------------------------------------- trees


def row(name: str, parent: int, group: int, started: int, *, session: int = 10, terminal: int = 34816) -> ProcessStat:
    """Return a process of a terminal's session."""
    return ProcessStat(name, parent, group, session, terminal, is_kernel=False, started=started, is_ended=False)


SHELL = {1: row("systemd", 0, 1, 1, session=1, terminal=0), 10: row("bash", 1, 10, 5)}
NPM = SHELL | {
    20: row("npm run dev", 10, 20, 10),
    21: row("sh", 20, 20, 11),
    22: row("node", 21, 20, 12),
    23: row("esbuild", 22, 20, 13),
}


def top(rows: dict[int, ProcessStat], pid: int, *, near: object = None, keep: tuple[int, ...] = ()) -> int:
    """Return the top, where everything is near, or what `near` lists."""
    return top_of(pid, rows, lambda number: near is None or number in near, keep)  # type: ignore[operator]


def test_one_job_is_one_tree() -> None:
    """A shell's command is a job: all of it up to what was typed, and never the shell."""
    assert top(NPM, 22) == 20
    assert tree_of(20, NPM) == (20, 21, 22, 23)
    assert top(NPM, 20) == 20


def test_where_a_tree_ends() -> None:
    """It ends at another checkout, at what must stay, at another job, and at a parent that came later."""
    assert top(NPM, 22, near=(21,)) == 21
    assert top(NPM, 22, keep=(21,)) == 22
    assert top(NPM | {21: row("sh", 20, 77, 11)}, 22) == 22
    assert top(NPM | {21: row("sh", 20, 20, 99)}, 22) == 22
    assert top({22: NPM[22]}, 22) == 22
    assert top({}, 22) == 22


def test_supervisors_have_workers_in_groups_of_their_own() -> None:
    """A known supervisor belongs to the tree whatever the group; an editor, a cron or an engine never does."""
    rows = SHELL | {20: row("honcho", 10, 20, 10), 21: row("python", 20, 21, 11, session=21, terminal=0)}
    assert top(rows, 21) == 20
    for name in ("code", "cron", "containerd-shim", "tmux: server", "sshd", "python"):
        assert top(rows | {20: row(name, 10, 20, 10)}, 21) == 21, name
    for name in ("code", "cron", "containerd-shim", "tmux: server", "sshd"):
        assert top(rows | {20: row(name, 10, 21, 10)}, 21) == 21, name


def test_a_shell_that_somebody_types_in_stays() -> None:
    """A shell that leads the terminal's session is no part of a job, even in one group with it."""
    rows = {10: row("bash", 1, 10, 5), 20: row("node", 10, 10, 10)}
    assert top(rows, 20) == 20
    assert top({10: row("sh", 1, 10, 5, terminal=0), 20: row("node", 10, 10, 10, terminal=0)}, 20) == 10


def test_a_reused_number_is_nobodys_child() -> None:
    """A process that is older than its supposed parent is not below it."""
    assert tree_of(20, NPM | {24: row("old", 20, 24, 3)}) == (20, 21, 22, 23)


def test_parents_are_asked_first() -> None:
    """Of some processes those are first whose parent is none of them."""
    assert roots((22, 20, 23), {20: 10, 22: 20, 23: 22}) == (20,)
    assert roots((22, 24), {22: 1, 24: 1}) == (22, 24)
    assert roots((), {}) == ()


# ---------------------------------------------------------------- word for word


def refusal(item: Suspect, caller: Caller = ME, platform: str = "linux") -> tuple[str, str] | None:
    """Return the whole refusal, None if there is none."""
    return refuse(item, caller, 3000, platform=platform)


TERMINAL = "everything that runs in it would end"
BY_HAND = "to stop it anyway: kill 600"
DOCKER = "find the container: docker ps --filter publish=3000"
FORWARDS = "it forwards the port for a container, and the container would keep running without it"
KEEPS = "it starts other programs, and holds ports for them"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (suspect(pid=500), ("this process itself holds it", "close the socket where it was opened")),
        (suspect(pid=400), ("portguard itself runs in it", "to stop it anyway: kill 400, from elsewhere")),
        (suspect(pid=1), (KEEPS, "stop its container instead")),
        (suspect(pid=-1), (KEEPS, "stop its container instead")),
        (suspect(pid=1, name="systemd"), (KEEPS, "find the unit: systemctl list-sockets")),
        (suspect(name="launchd"), (KEEPS, "find the unit: systemctl list-sockets")),
        (suspect(name="init"), (KEEPS, "find the unit: systemctl list-sockets")),
        (suspect(is_kernel=True), ("it is a thread of the kernel", "find the service it belongs to: ps -fp 600")),
        (suspect(name="docker-proxy"), (FORWARDS, DOCKER)),
        (suspect(name="conmon"), (FORWARDS, "find the container: podman ps")),
        (suspect(name="rootlessport"), (FORWARDS, "find the container: podman ps")),
        (suspect(name="gvproxy"), (FORWARDS, "find the container: podman ps")),
        (suspect(name="gvproxy.exe"), (FORWARDS, "find the container: podman ps")),
        (suspect(name=None, exe="/usr/bin/docker-proxy"), (FORWARDS, DOCKER)),
        (suspect(name="containerd"), ("it runs containers", "find the container: docker ps")),
        (suspect(name="tmux: server"), (TERMINAL, BY_HAND)),
        (suspect(name="kitty"), (TERMINAL, BY_HAND)),
        (suspect(name="vim"), ("an editor forwards ports; close this one in its list of ports", BY_HAND)),
        (suspect(name="sshd"), ("it forwards the port for an SSH session; end that session", BY_HAND)),
        (suspect(name="Xorg"), ("the desktop runs in it", BY_HAND)),
        (suspect(name="chrome"), ("it is a browser; close what listens there", BY_HAND)),
        (
            suspect(name="portguard-hold"),
            ("it holds a portguard lease", "release it: portguard leases release 3000"),
        ),
        (
            suspect(container_id="0123456789abcdef"),
            ("it runs in container 0123456789ab", "stop it through its engine: docker stop 0123456789ab"),
        ),
        (suspect(name="bash"), None),
        (suspect(name="cron"), None),
        (suspect(pid=2), None),
        (suspect(name=None, exe=None), None),
        (suspect(name=None, exe="/opt/firefox/firefox"), ("it is a browser; close what listens there", BY_HAND)),
        (
            suspect(name="Main", exe="/opt/vim"),
            ("an editor forwards ports; close this one in its list of ports", BY_HAND),
        ),
        (suspect(name="podman", exe="/x/docker-proxy"), (FORWARDS, DOCKER)),
    ],
)
def test_refusals(item: Suspect, expected: tuple[str, str] | None) -> None:
    """Each kind is refused with its own reason and the command that does the right thing; a shell is not refused."""
    assert refusal(item) == expected


@pytest.mark.parametrize(
    "name",
    [
        "Xorg",
        "Xwayland",
        "cinnamon",
        "dbus-broker",
        "dbus-daemon",
        "gnome-session-b",
        "gnome-shell",
        "kwin_wayland",
        "kwin_x11",
        "plasmashell",
        "sway",
        "systemd-logind",
        "xfce4-session",
    ],
)
def test_none_of_the_desktops_is_ended(name: str) -> None:
    """None of the desktops is ended: everything that its user has open runs in it."""
    assert refusal(suspect(name=name)) == ("the desktop runs in it", BY_HAND)


@pytest.mark.parametrize(
    "name",
    [
        "Safari",
        "brave",
        "brave-browser",
        "chrome",
        "chromium",
        "chromium-browser",
        "firefox",
        "firefox-bin",
        "firefox-esr",
        "google-chrome",
        "msedge",
        "opera",
        "vivaldi-bin",
        "Google Chrome",
    ],
)
def test_browsers(name: str) -> None:
    """No browser is ended for a port that a page or a debugger has in it."""
    assert refusal(suspect(name=name)) == ("it is a browser; close what listens there", BY_HAND)


@pytest.mark.parametrize("name", ["containerd", "containerd-shim", "containerd-shim-runc-v2", "crio", "podman"])
def test_what_runs_containers_is_not_ended(name: str) -> None:
    """What runs containers is not ended: it would take them along."""
    assert refusal(suspect(name=name)) == ("it runs containers", "find the container: docker ps")


def test_who_asks_runs_in_a_container_too() -> None:
    """From within a container only others are refused; from without, every one."""
    mine, other = "a" * 64, "b" * 64

    assert refusal(suspect(container_id=mine), ME._replace(container_id=mine)) is None
    assert refusal(suspect(container_id=None), ME._replace(container_id=mine)) is None
    assert refusal(suspect(container_id=other), ME._replace(container_id=mine)) is not None
    assert refusal(suspect(container_id=mine)) is not None


@pytest.mark.parametrize(
    ("uids", "euid", "command"),
    [
        ((1000, 1000, 1000), 1000, "kill 600"),
        ((1000, 0, 0), 1000, "sudo kill 600"),
        ((0,), 1000, "sudo kill 600"),
        (None, 1000, "sudo kill 600"),
        ((0,), 0, "kill 600"),
        ((7,), 0, "kill 600"),
        ((7,), None, "kill 600"),
    ],
)
def test_by_hand(uids: tuple[int, ...] | None, euid: int | None, command: str) -> None:
    """The command that ends it all the same is one that would work: with sudo for what is not wholly this user's."""
    found = refusal(suspect(name="vim", uids=uids), ME._replace(euid=euid))

    assert found is not None
    assert found[1] == f"to stop it anyway: {command}"


def test_whose_a_process_is_decides() -> None:
    """Whose a process is decides, with the reason and the next step; one user of ours among others is not enough."""
    unknown = ("its owner is unknown", "look at it: ps -fp 600")
    caller = ME._replace(uids={1000, 7})

    assert refuse_user(suspect(uids=(1000, 7, 7)), caller) is None
    assert refuse_user(suspect(uids=None), caller) == unknown
    assert refuse_user(suspect(uids=(8,)), caller) == (
        "it is another user's process",
        "to stop it anyway: sudo kill 600",
    )
    assert refuse_user(suspect(uids=(1000, 8, 1000)), caller) == (
        "it is another user's process",
        "to stop it anyway: sudo kill 600",
    )
    named = ME._replace(uids=None, euid=None, user="ada")
    assert refuse_user(suspect(user="ada", uids=None), named) is None
    assert refuse_user(suspect(user="bob", uids=None), named) == (
        "it is another user's process",
        "to stop it anyway: kill 600",
    )
    assert refuse_user(suspect(user=None, uids=None), named._replace(user=None)) == unknown
    assert refuse_user(suspect(user="ada", uids=None), named._replace(user=None)) == unknown


@pytest.mark.parametrize(
    ("status", "euid", "expected"),
    [
        ("hidden", 1000, ("its owner is hidden", "run with sudo to see the owner")),
        (
            "hidden",
            0,
            (
                "its owner is hidden",
                "the owner is hidden even from root, by a container, a sandbox or a security module",
            ),
        ),
        (
            "lookup-failed",
            0,
            (
                "its owner could not be looked up",
                "run it outside the sandbox or container, where /proc can be read",
            ),
        ),
        (
            "none-found",
            0,
            (
                "no process here holds it",
                "it may belong to the kernel, another PID namespace or another container",
            ),
        ),
    ],
)
def test_unknown_owners(status: str, euid: int, expected: tuple[str, str]) -> None:
    """Why no one can be ended is said as it is, with where to look."""
    assert owner_is_unknown(status, euid) == expected


@pytest.mark.parametrize(
    ("path", "is_refused"),
    [
        ("/usr/bin/firefox", True),
        ("/usr/bin/firefox (deleted)", True),
        ("C:\\Program Files\\firefox", True),
        ("firefox", True),
        ("/firefox/node", False),
        ("/usr/bin/firefox/", False),
        (" (deleted)", False),
        ("", False),
        (None, False),
    ],
)
def test_a_program_counts_by_the_last_part_of_its_path(path: str | None, is_refused: bool) -> None:
    """A program counts by the last part of its path, also when its file is gone."""
    assert (refusal(suspect(name="x", exe=path)) is not None) is is_refused


def test_where_a_tree_ends_exactly() -> None:
    """PID 1 is no part of any tree, a parent of the same age is, and one of another group is not."""
    same_age = NPM | {21: row("sh", 20, 20, 12)}
    below_first = {1: row("runner", 0, 1, 1, terminal=0), 2: row("node", 1, 1, 2, terminal=0)}

    assert top(same_age, 22) == 20
    assert top(below_first, 2) == 2
    assert top({2: row("a", 1, 2, 1), 3: row("b", 2, 2, 2)}, 3) == 2
    assert tree_of(20, same_age) == (20, 21, 22, 23)
    assert tree_of(2, {}) == (2,)
    assert tree_of(10, {10: row("a", 1, 1, 1), 30: row("c", 10, 1, 2), 20: row("b", 10, 1, 2)}) == (10, 20, 30)


def test_a_shell_in_a_job_is_part_of_it() -> None:
    """Only a shell that leads the session of a terminal is typed in; a script's shell is a process like others."""
    job = {10: row("sh", 1, 10, 5, session=9), 20: row("node", 10, 10, 10, session=9)}
    other_kind = {10: row("make", 1, 10, 5, session=10), 20: row("node", 10, 10, 10, session=10)}

    assert top(job, 20) == 10
    assert top(other_kind, 20) == 10


def test_a_supervisor_that_is_far_is_none() -> None:
    """A supervisor counts only where it is near, and may itself be supervised."""
    rows = SHELL | {
        20: row("foreman", 10, 20, 10),
        21: row("honcho", 20, 21, 11),
        22: row("node", 21, 22, 12),
    }

    assert top(rows, 22) == 20
    assert top(rows, 22, near=(21,)) == 21
    assert top(rows, 22, near=(20,)) == 22
