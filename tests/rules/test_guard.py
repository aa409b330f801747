"""Who may be ended, and what a tree is: facts in, refusals out."""

from __future__ import annotations

import pytest

from portguard.model import Process, ProcessStat
from portguard.rules.guard import Me, Suspect, owner_is_unknown, refuse, refuse_user, roots, top_of, tree_of

ME = Me(pid=500, ancestors=(400, 300), uids=frozenset({1000}), euid=1000)
SERVER = Process(600, "node", "ada", "/usr/bin/node", "/home/ada/shop", 1.0, 550, 1000)


def suspect(**changed: object) -> Suspect:
    """Return a plain server of ours, with these facts changed."""
    of_suspect = {key: changed.pop(key) for key in ("uids", "is_kernel", "container_id") if key in changed}
    return Suspect(SERVER._replace(**changed), **({"uids": (1000,) * 3} | of_suspect))  # type: ignore[arg-type]


def reason(item: Suspect, me: Me = ME, platform: str = "linux") -> str:
    """Return why it is refused, "" if it is not."""
    refusal = refuse(item, me, 3000, platform=platform) or refuse_user(item, me)
    if refusal is not None:
        assert refusal.hint
    return refusal.reason if refusal is not None else ""


def test_a_plain_process_of_this_user_may_be_ended() -> None:
    """The usual server is not refused; nor is one without a program that can be read, or in our own container."""
    assert reason(suspect()) == ""
    assert reason(suspect(exe=None)) == ""
    assert reason(suspect(container_id="a" * 64), ME._replace(container_id="a" * 64)) == ""


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (suspect(pid=500), "this very process"),
        (suspect(pid=400), "portguard itself"),
        (suspect(pid=300), "portguard itself"),
        (suspect(pid=1), "starts and keeps"),
        (suspect(pid=0), "starts and keeps"),
        (suspect(name="systemd"), "starts and keeps"),
        (suspect(name="x", exe="/usr/lib/systemd/systemd"), "starts and keeps"),
        (suspect(is_kernel=True), "kernel"),
        (suspect(name="docker-proxy"), "container"),
        (suspect(exe="/usr/bin/docker-proxy (deleted)"), "container"),
        (suspect(name="com.docker.backend"), "container"),
        (suspect(name="com.docker.whatever"), "container"),
        (suspect(name="com.docker.backend.exe"), "container"),
        (suspect(exe="C:\\Program Files\\wslrelay.exe"), "container"),
        (suspect(name="containerd-shim-runc-v2"), "containers"),
        (suspect(container_id="b" * 64), "container bbbbbbbbbbbb"),
        (suspect(name="Code"), "editor"),
        (suspect(name="firefox"), "browser"),
        (suspect(uids=None), "cannot be told"),
        (suspect(uids=()), "cannot be told"),
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
    me = ME._replace(uids=None, euid=None, user="HOST\\ada")
    assert reason(suspect(user="HOST\\ada"), me, "win32") == ""
    assert "another user's" in reason(suspect(user="HOST\\bob"), me, "win32")
    assert "cannot be told" in reason(suspect(user=None), me, "win32")
    assert "cannot be told" in reason(suspect(user=None), me._replace(user=None), "win32")


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
