"""What started a process, by the names of its ancestors. Pure: names in, a fragment of a sentence out.

Names are anyone's to choose. They are compared with the tables here, and only words from the tables come out.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.rules.engines import RUNTIMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_COMM_LENGTH = 15  # bytes of a name that Linux keeps

# fmt: off
_SHELLS = frozenset((
    "ash", "bash", "busybox", "cmd", "csh", "dash", "elvish", "fish", "ksh", "mksh", "nu", "powershell", "pwsh",
    "rbash", "sh", "tcsh", "xonsh", "zsh",
))
_MULTIPLEXERS = {"screen": "screen", "tmux": "tmux", "zellij": "zellij"}
_TERMINALS = {
    "Terminal": "Terminal", "WindowsTerminal": "Windows Terminal", "alacritty": "Alacritty", "foot": "foot",
    "ghostty": "Ghostty", "gnome-terminal-server": "GNOME Terminal", "iTerm2": "iTerm2", "kgx": "GNOME Console",
    "kitty": "kitty", "konsole": "Konsole", "ptyxis-agent": "Ptyxis", "terminator": "Terminator", "tilix": "Tilix",
    "urxvt": "urxvt", "wezterm-gui": "WezTerm", "xfce4-terminal": "Xfce Terminal", "xterm": "xterm",
    "login": "a console",
}
_EDITORS = {
    "Code": "VS Code", "Code - Insiders": "VS Code", "Cursor": "Cursor", "clion": "CLion", "code": "VS Code",
    "code-insiders": "VS Code", "code-server": "VS Code", "code-tunnel": "VS Code", "codium": "VSCodium",
    "cursor": "Cursor", "datagrip": "DataGrip", "devenv": "Visual Studio", "eclipse": "Eclipse", "emacs": "Emacs",
    "goland": "GoLand", "idea": "IntelliJ IDEA", "idea64": "IntelliJ IDEA", "nvim": "Neovim", "phpstorm": "PhpStorm",
    "pycharm": "PyCharm", "pycharm64": "PyCharm", "rider": "Rider", "rubymine": "RubyMine", "rustrover": "RustRover",
    "studio": "Android Studio", "sublime_text": "Sublime Text", "vim": "Vim", "webstorm": "WebStorm",
    "windsurf": "Windsurf", "zed": "Zed", "zed-editor": "Zed",
}
_TIMERS = {
    "CRON": "cron", "anacron": "anacron", "atd": "at", "cron": "cron", "crond": "cron", "fcron": "fcron",
    "supercronic": "supercronic",
}
# Those that start again what ends, and those that then end the rest; None if it depends on their settings.
_SUPERVISORS: dict[str, tuple[str, bool | None]] = {
    "circusd": ("circus", True), "dinit": ("dinit", None), "foreman": ("foreman", False), "god": ("god", True),
    "goreman": ("goreman", False), "hivemind": ("hivemind", False), "honcho": ("honcho", False),
    "mprocs": ("mprocs", None), "nodemon": ("nodemon", False), "overmind": ("overmind", False),
    "pm2": ("pm2", True), "process-compose": ("process-compose", None), "runsv": ("runit", True),
    "runsvdir": ("runit", True), "s6-supervise": ("s6", True), "s6-svscan": ("s6", True),
    "supervise": ("daemontools", True), "supervise-daemon": ("OpenRC", True), "supervisord": ("supervisord", None),
}
# fmt: on
# Names that carry more than the name: titles that the programs give themselves, and how those begin.
_TITLES = (
    ("tmux: ", "tmux"),
    ("SCREEN", "screen"),
    ("PM2 v", "pm2"),
    ("foreman: ", "foreman"),
    ("sshd: ", "sshd"),
    ("sshd-", "sshd"),
    ("gnome-terminal-", "gnome-terminal-server"),
)


class Origin(NamedTuple):
    """What started a process.

    `kind` is "shell", "multiplexer", "terminal", "editor", "timer", "supervisor", "container", "ssh", "systemd",
    "user-systemd", "launchd" or "orphan"; `by` the word for it, `pid` its process; `text` a fragment such as "started
    from bash in tmux". `comes_back` is whether it would start an ended process again, None if that depends.
    """

    kind: str
    by: str
    pid: int
    text: str
    comes_back: bool | None = None


def classify(
    ancestry: Sequence[tuple[int, str]], *, is_service: bool = False, platform: str = "linux"
) -> Origin | None:
    """Return what started the first of `ancestry`: (pid, name) from the process itself up to PID 1; None if unknown.

    The nearest ancestor that a table knows decides; a shell is remembered on the way, as what stands between (a script
    that cron runs is cron's). `is_service` tells that the process runs in a unit of systemd's: then a parent of PID 1
    started it, and otherwise is where the kernel put a process whose parent has ended (or, on macOS, launchd, which
    both starts and adopts).
    """
    shell: tuple[str, int] | None = None
    above = ancestry[1:]
    for depth, (pid, raw) in enumerate(above):
        name = _known_name(raw)
        if shell is None and name in _SHELLS:
            shell = (name, pid)
            continue
        found = _started_by(name, pid, shell[0] if shell else None)
        if found is None and (pid == 1 or name == "systemd"):
            found = _top(name, pid, shell, is_direct=depth == 0, is_service=is_service, platform=platform)
        if found is not None:
            return found
    return None if shell is None else _from_shell(*shell)


def _started_by(name: str, pid: int, shell: str | None) -> Origin | None:
    for kind, table in (("multiplexer", _MULTIPLEXERS), ("terminal", _TERMINALS), ("editor", _EDITORS)):
        if name in table:
            where = f"{'on' if name == 'login' else 'in'} {table[name]}"
            return Origin(
                kind, table[name], pid, f"started from {shell} {where}" if shell else f"started {where}", False
            )
    if name == "sshd":
        return Origin("ssh", "ssh", pid, f"started from {shell} over ssh" if shell else "started over ssh", False)
    if name in _TIMERS:
        return Origin("timer", _TIMERS[name], pid, f"started by {_TIMERS[name]}", False)
    if name in _SUPERVISORS:
        word, comes_back = _SUPERVISORS[name]
        return Origin("supervisor", word, pid, f"started by {word}", comes_back)
    if name in RUNTIMES:
        return Origin("container", RUNTIMES[name], pid, f"started in a container by {RUNTIMES[name]}")
    return None


def _top(
    name: str, pid: int, shell: tuple[str, int] | None, *, is_direct: bool, is_service: bool, platform: str
) -> Origin | None:
    """Return what a process manager, or PID 1 whatever it is, tells of the process below it."""
    if name == "launchd":
        # launchd.plist(5): it runs agents and daemons; with KeepAlive it starts them again.
        return _from_shell(*shell) if shell else Origin("launchd", "launchd", pid, "started by launchd")
    if name == "systemd" and is_service:
        word = "systemd" if pid == 1 else "the user's systemd"
        return Origin("systemd" if pid == 1 else "user-systemd", word, pid, f"started by {word}")
    if shell is not None:
        return _from_shell(*shell)
    if is_direct and platform == "linux" and name in ("systemd", "init"):
        return Origin("orphan", "", pid, "left behind: what started it has ended", False)
    if name == "systemd" and pid != 1:
        return Origin("user-systemd", "the user's systemd", pid, "started by the user's systemd")
    return None


def _from_shell(shell: str, pid: int) -> Origin:
    return Origin("shell", shell, pid, f"started from {shell}", False)


def _known_name(raw: str) -> str:
    """Return the name as the tables have it: no login dash, no `.exe`, titles and cut names completed."""
    name = raw.removeprefix("-").removesuffix(".exe")
    for beginning, whole in _TITLES:
        if name.startswith(beginning):
            return whole
    if len(name) == _COMM_LENGTH:
        for table in (_TERMINALS, _EDITORS, _SUPERVISORS, RUNTIMES):
            for whole in table:
                if whole.startswith(name):
                    return whole
    return name


def kind_of(name: str | None) -> str | None:
    """Return what a program of this name is to those below it, in the words of `Origin.kind`; None for no such."""
    known = _known_name(name or "")
    if known == "sshd":
        return "ssh"
    tables = {
        "shell": _SHELLS, "multiplexer": _MULTIPLEXERS, "terminal": _TERMINALS, "editor": _EDITORS, "timer": _TIMERS,
        "supervisor": _SUPERVISORS, "container": RUNTIMES,
    }  # fmt: skip
    return next((kind for kind, table in tables.items() if known in table), None)


def will_come_back(restart: str | None) -> bool | None:
    """Whether a restart policy, systemd's `Restart=` or docker's, brings an ended process back; None if unknown.

    Ended by its own stop command it never does (systemd.service(5); docker's documentation of restart policies); this
    is about killing the process.
    """
    if restart is None:
        return None
    if restart in ("always", "unless-stopped"):
        return True
    # on-abort and the like depend on the signal; SIGTERM is a clean end for systemd, and a failure for no policy.
    return {"no": False, "": False, "on-success": True, "on-failure": None}.get(restart)
