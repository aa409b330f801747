"""What started a process, told from the names above it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portguard.rules.origin import Origin, classify, kind_of, will_come_back

SYSTEMD = "systemd"

# Names from the process to PID 1; whether it runs in a systemd service; the fragment; whether it would come back.
CHAINS: list[tuple[list[str], bool, str | None, bool | None]] = [
    (["node", "bash", "tmux: server", SYSTEMD], False, "started from bash in tmux", False),
    (["node", "npm run dev", "sh", "zsh", "tmux: server", SYSTEMD], False, "started from sh in tmux", False),
    (["python3", "-bash", "login", SYSTEMD], False, "started from bash on a console", False),
    (["python3", "bash", "SCREEN", SYSTEMD], False, "started from bash in screen", False),
    (["node", "zsh", "gnome-terminal-", SYSTEMD, SYSTEMD], False, "started from zsh in GNOME Terminal", False),
    (["node", "fish", "kitty", "launchd"], False, "started from fish in kitty", False),
    (["node", "bash", "code", "code", SYSTEMD], False, "started from bash in VS Code", False),
    (["java", "idea", SYSTEMD], False, "started in IntelliJ IDEA", False),
    (["python", "pycharm", SYSTEMD], False, "started in PyCharm", False),
    (["python3", "sh", "cron", "cron", SYSTEMD], True, "started by cron", False),
    (["python3", "CRON", SYSTEMD], True, "started by cron", False),
    (["nginx", "supervisord", SYSTEMD], True, "started by supervisord", None),
    (["nginx", "sh", "supervisord", "bash", "tmux: server"], False, "started by supervisord", None),
    (["node", "PM2 v5.3.0: God", "init"], False, "started by pm2", True),
    (["ruby", "foreman", "bash"], False, "started by foreman", False),
    (["ruby", "foreman: master", "bash"], False, "started by foreman", False),
    (["ruby", "tmux: server", "overmind", "bash"], False, "started in tmux", False),
    (["python", "honcho", "zsh"], False, "started by honcho", False),
    (["python3", "process-compose"[:15], "bash"], False, "started by process-compose", None),
    (["nginx", "runsv", "runsvdir", "runit"], False, "started by runit", True),
    (["python3", "bash", "sshd-session", "sshd", SYSTEMD], False, "started from bash over ssh", False),
    (["python3", "bash", "sshd", "sshd", SYSTEMD], False, "started from bash over ssh", False),
    (["nginx", "containerd-shim", SYSTEMD], False, "started in a container by a container engine", None),
    (["nginx", "sh", "conmon", SYSTEMD], False, "started in a container by podman", None),
    (["nginx", SYSTEMD], True, "started by systemd", None),
    (["python3", "sh", SYSTEMD], True, "started by systemd", None),
    (["node", SYSTEMD], False, "left behind: what started it has ended", False),
    (["node", "init"], False, "left behind: what started it has ended", False),
    (["node", "bash", SYSTEMD], False, "started from bash", False),
    (["node", "bash", "something-else"], False, "started from bash", False),
    (["node", "something-else"], False, None, None),
    (["node"], False, None, None),
    ([], False, None, None),
    (["bash"], False, None, None),
    (["node", "Code.exe", "explorer.exe"], False, "started in VS Code", False),
    (["node", "powershell.exe", "WindowsTerminal.exe"], False, "started from powershell in Windows Terminal", False),
]  # fmt: skip


def chain(names: list[str]) -> list[tuple[int, str]]:
    """Return the names with numbers, PID 1 at the end."""
    return [(len(names) - index, name) for index, name in enumerate(names)]


@pytest.mark.parametrize(("names", "is_service", "text", "comes_back"), CHAINS, ids=str)
def test_each_chain_of_ancestors_gives_its_fragment(
    names: list[str], is_service: bool, text: str | None, comes_back: bool | None
) -> None:
    """Each chain of ancestors gives its fragment, and whether the process would come back."""
    found = classify(chain(names), is_service=is_service)

    assert (found.text if found else None) == text
    assert (found.comes_back if found else None) is comes_back


def test_user_s_systemd() -> None:
    """A systemd that is not PID 1 is the user's; without a unit it only adopted the process."""
    above = [(30, "node"), (20, SYSTEMD), (1, SYSTEMD)]

    service = classify(above, is_service=True)
    adopted = classify(above)

    assert service is not None
    assert (service.kind, service.pid, service.text) == ("user-systemd", 20, "started by the user's systemd")
    assert adopted is not None
    assert adopted.kind == "orphan"


def test_on_macos_launchd_both_starts_and_adopts() -> None:
    """On macOS launchd both starts and adopts: it is named, and nothing is said of coming back."""
    found = classify([(9, "node"), (1, "launchd")], platform="darwin")

    assert found == Origin("launchd", "launchd", 1, "started by launchd", None)
    shell = classify([(9, "node"), (8, "zsh"), (7, "Terminal"), (1, "launchd")], platform="darwin")
    assert shell is not None
    assert shell.text == "started from zsh in Terminal"


@given(st.lists(st.text(alphabet=st.characters(codec=None), max_size=20), max_size=10), st.booleans())
def test_foreign_names_never_come_out(names: list[str], is_service: bool) -> None:
    """Whatever processes call themselves, the fragment is made of our own printable words."""
    found = classify(chain(names), is_service=is_service)

    assert found is None or (found.text.isprintable() and found.text.isascii() and len(found.text) < 80)


@given(st.sampled_from(["tmux: ", "PM2 v", "foreman: ", "SCREEN", "sshd: "]), st.text(max_size=20))
def test_titles_with_anything_behind(title: str, rest: str) -> None:
    """What a program writes behind its own name does not come out either."""
    found = classify([(2, "node"), (1, title + rest)])

    assert found is not None
    assert found.text in (
        "started in tmux",
        "started by pm2",
        "started by foreman",
        "started in screen",
        "started over ssh",
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(None, None), ("no", False), ("", False), ("always", True), ("unless-stopped", True), ("on-failure", None),
     ("on-success", True), ("on-abort", None), ("nonsense", None)],
)  # fmt: skip
def test_the_policies_of_systemd_and_docker(policy: str | None, expected: bool | None) -> None:
    """The policies of systemd and docker, and what each means for a process that is ended."""
    assert will_come_back(policy) is expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["x", "tmux"], ("multiplexer", "tmux", "started in tmux")),
        (["x", "zsh", "zellij"], ("multiplexer", "zellij", "started from zsh in zellij")),
        (["x", "login"], ("terminal", "a console", "started on a console")),
        (["x", "vim"], ("editor", "Vim", "started in Vim")),
        (["x", "sshd"], ("ssh", "ssh", "started over ssh")),
        (["x", "sh", "crond"], ("timer", "cron", "started by cron")),
        (["x", "god"], ("supervisor", "god", "started by god")),
        (["x", "dockerd"], ("container", "docker", "started in a container by docker")),
        (["x", "sh", "other"], ("shell", "sh", "started from sh")),
        (["x", "launchd"], ("launchd", "launchd", "started by launchd")),
        (["x", "sh", "launchd"], ("shell", "sh", "started from sh")),
    ],
)
def test_each_kind_of_beginning_has_its_word_and_its_sentence(names: list[str], expected: tuple[str, str, str]) -> None:
    """Each kind of beginning has its word and its sentence."""
    found = classify(chain(names))

    assert found is not None
    assert (found.kind, found.by, found.text) == expected


def test_the_process_that_is_named() -> None:
    """The number is that of the process which started it: of the shell, of what the shell runs in, of the manager."""
    shell = classify([(9, "node"), (8, "bash"), (7, "other"), (1, "init")])
    terminal = classify([(9, "node"), (8, "bash"), (7, "kitty"), (1, "init")])
    service = classify([(9, "node"), (1, "systemd")], is_service=True)
    users = classify([(9, "node"), (5, "other"), (4, "systemd"), (1, "systemd")])

    assert shell == Origin("shell", "bash", 8, "started from bash", False)
    assert terminal == Origin("terminal", "kitty", 7, "started from bash in kitty", False)
    assert service == Origin("systemd", "systemd", 1, "started by systemd", None)
    assert users == Origin("user-systemd", "the user's systemd", 4, "started by the user's systemd", None)


def test_where_the_kernel_put_it() -> None:
    """Only a child of systemd or init on Linux was left behind; of anything else nothing is known."""
    orphan = Origin("orphan", "", 1, "left behind: what started it has ended", False)

    assert classify([(9, "node"), (1, "init")]) == orphan
    assert classify([(9, "node"), (8, "x"), (1, "init")]) is None
    assert classify([(9, "node"), (8, "x"), (1, "systemd")]) is None
    assert classify([(9, "node"), (1, "init")], platform="darwin") is None
    assert classify([(9, "node"), (2, "init")]) is None
    assert classify([(9, "node"), (1, "something")]) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bash", "shell"),
        ("-bash", "shell"),
        ("cmd.exe", "shell"),
        ("tmux: server", "multiplexer"),
        ("SCREEN", "multiplexer"),
        ("screen", "multiplexer"),
        ("gnome-terminal-", "terminal"),
        ("gnome-terminal-server", "terminal"),
        ("login", "terminal"),
        ("code", "editor"),
        ("Code - Insiders", "editor"),
        ("cron", "timer"),
        ("supervisord", "supervisor"),
        ("PM2 v5.3.0: God", "supervisor"),
        ("foreman: master", "supervisor"),
        ("process-compos", None),
        ("process-compose", "supervisor"),
        ("supervise-daemo", "supervisor"),
        ("supervise-daem", None),
        ("containerd-shim-runc-v2", "container"),
        ("containerd-shim", "container"),
        ("sshd", "ssh"),
        ("sshd: ada@pts/0", "ssh"),
        ("sshd-session", "ssh"),
        ("ssh", None),
        ("node", None),
        ("systemd", None),
        ("", None),
        (None, None),
    ],
)
def test_a_names_kind_is_told_whole(name: str | None, expected: str | None) -> None:
    """A name's kind is told whole, with a title behind it, or cut at 15 bytes as Linux does; never by less."""
    assert kind_of(name) == expected


# Every program that is known, by kind: its name, and where that is another one, what it is called.
PROGRAMS = {
    "multiplexer": """
screen, tmux, zellij
""",
    "terminal": """
Terminal, WindowsTerminal=Windows Terminal, alacritty=Alacritty, foot, ghostty=Ghostty,
gnome-terminal-server=GNOME Terminal, iTerm2, kgx=GNOME Console, kitty, konsole=Konsole, ptyxis-agent=Ptyxis,
terminator=Terminator, tilix=Tilix, urxvt, wezterm-gui=WezTerm, xfce4-terminal=Xfce Terminal, xterm,
login=a console
""",
    "editor": """
Code=VS Code, Code - Insiders=VS Code, Cursor, clion=CLion, code=VS Code, code-insiders=VS Code,
code-server=VS Code, code-tunnel=VS Code, codium=VSCodium, cursor=Cursor, datagrip=DataGrip,
devenv=Visual Studio, eclipse=Eclipse, emacs=Emacs, goland=GoLand, idea=IntelliJ IDEA, idea64=IntelliJ IDEA,
nvim=Neovim, phpstorm=PhpStorm, pycharm=PyCharm, pycharm64=PyCharm, rider=Rider, rubymine=RubyMine,
rustrover=RustRover, studio=Android Studio, sublime_text=Sublime Text, vim=Vim, webstorm=WebStorm,
windsurf=Windsurf, zed=Zed, zed-editor=Zed
""",
    "timer": """
CRON=cron, anacron, atd=at, cron, crond=cron, fcron, supercronic
""",
    "container": """
conmon=podman, containerd-shim=a container engine, containerd-shim-runc-v2=a container engine,
docker-init=a container engine, dockerd=docker, lxc-start=LXC, systemd-nspawn
""",
}
SHELLS = "ash bash busybox cmd csh dash elvish fish ksh"
MORE_SHELLS = "mksh nu powershell pwsh rbash sh tcsh xonsh zsh"
# The same of supervisors, and whether they start again what has ended; "?" where that depends on their settings.
SUPERVISORS = """
circusd=circus/yes, dinit=dinit/?, foreman=foreman/no, god=god/yes, goreman=goreman/no, hivemind=hivemind/no,
honcho=honcho/no, mprocs=mprocs/?, nodemon=nodemon/no, overmind=overmind/no, pm2=pm2/yes,
process-compose=process-compose/?, runsv=runit/yes, runsvdir=runit/yes, s6-supervise=s6/yes, s6-svscan=s6/yes,
supervise=daemontools/yes, supervise-daemon=OpenRC/yes, supervisord=supervisord/?
"""


def known(text: str) -> dict[str, str]:
    """Return the names and the words of a list."""
    pairs = (item.strip().partition("=") for item in text.replace("\n", ",").split(",") if item.strip())
    return {name: word or name for name, _, word in pairs}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_every_known_program(kind: str) -> None:
    """Each program that is known to start others is known for what it is, and called what people call it."""
    for name, word in known(PROGRAMS[kind]).items():
        found = classify([(9, "node"), (8, name)])
        assert found is not None, name
        assert (found.kind, found.by) == (kind, word), name
        assert kind_of(name) == kind, name


def test_every_known_shell() -> None:
    """Each shell is known, and stands between what it runs and what it runs in."""
    for name in [*SHELLS.split(), *MORE_SHELLS.split()]:
        assert classify([(9, "node"), (8, name)]) == Origin("shell", name, 8, f"started from {name}", False), name
        assert kind_of(name) == "shell", name


def test_every_known_supervisor() -> None:
    """Each supervisor is known, and whether it starts again what has ended."""
    for name, words in known(SUPERVISORS).items():
        word, _, again = words.partition("/")
        found = classify([(9, "node"), (8, name)])
        expected = {"yes": True, "no": False, "?": None}[again]
        assert found == Origin("supervisor", word, 8, f"started by {word}", expected), name
        assert kind_of(name) == "supervisor", name
