"""The table: what is refused, where, with which errors, and what each command makes of it. Data alone.

A row is a boundary; with each of its errors and each of its commands it is a cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PLACEHOLDERS = ("{web}", "{db}", "{taken}", "{busy}")


class Command(NamedTuple):
    """What is asked, and where; `code` is the exit code where nothing is refused."""

    place: str
    words: tuple[str, ...]
    code: int = 0


_CHILD = ("--", "/bin/sh", "-c", "echo $WEB_PORT; read word; exit 0")

COMMANDS: Mapping[str, Command] = {
    "check": Command("main", ("check",)),
    "check, linked": Command("new", ("check",)),
    "check, own numbers": Command("old", ("check",)),
    "check, busy": Command("main", ("check", "127.0.0.1:{busy}"), 1),
    "check, taken": Command("main", ("check", "{taken}"), 1),
    "check, strict": Command("main", ("check", "--strict")),
    "check, compose": Command("plain", ("check",)),
    "check, engine": Command("main", ("check", "127.0.0.1:{busy}"), 1),
    "check, remote engine": Command("main", ("check", "127.0.0.1:{busy}"), 1),
    "free": Command("main", ("free",)),
    "free, taken": Command("main", ("free", "--range", "{taken}-{taken}"), 1),
    "free --hold": Command("main", ("free", "--hold", "1")),
    "env, main": Command("main", ("env",)),
    "env, has numbers": Command("old", ("env",)),
    "env, has none": Command("new", ("env",)),
    "env --write": Command("main", ("env", "--write", ".env")),
    "run": Command("main", ("run", "--no-hold", *_CHILD)),
    "run, linked": Command("new", ("run", "--no-hold", *_CHILD)),
    "run, held": Command("main", ("run", *_CHILD)),
    "leases": Command("main", ("leases",)),
    "leases release": Command("main", ("leases", "release", "{db}")),
    "leases release, own": Command("old", ("leases", "release", "web")),
    "leases prune": Command("main", ("leases", "prune")),
    "list": Command("main", ("list",)),
    "who": Command("main", ("who", "127.0.0.1:{busy}")),
    "who, engine": Command("main", ("who", "127.0.0.1:{busy}")),
    "kill": Command("main", ("kill", "--yes", "127.0.0.1:{busy}")),
    "wait": Command("main", ("wait", "--timeout", "0.2", "127.0.0.1:{busy}")),
    "wait --free": Command("main", ("wait", "--free", "--timeout", "0.2", "{web}")),
    "lint": Command("main", ("lint",)),
    "lint, compose": Command("plain", ("lint",)),
    "init": Command("plain", ("init",)),
    "info": Command("main", ("info", "3000", "9")),
}


class Row(NamedTuple):
    """A boundary: the calls (as strace names them) on these places (names of the world, or paths), and what of them.

    `errors` are errnos, or numbers returned without anything being done; the first is looked at every day. `codes` is
    what each command exits with. Those of `noted`, and all that fail, give `reason`, by default the errno's words.
    `world` says what the world is like before. `how` the error comes: by strace; by "seccomp", for sockets of the
    family that `calls` names; by "limit", of prlimit(1), whose option `calls` is, and `errors` how much more than the
    least that anything starts with. Where it `may_fail`, a command may exit with 3 (`run` with 125) as well: no one
    knows which call it comes to.
    """

    boundary: str
    calls: str
    places: tuple[str, ...]
    errors: tuple[str, ...]
    codes: Mapping[str, int]
    noted: tuple[str, ...] = ()
    when: str = "1+"
    reason: str = ""
    world: str = ""
    how: str = "strace"
    may_fail: bool = False


_OPEN = ("EIO", "EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM", "ESTALE")
_READ = ("EIO", "ENOMEM", "ESTALE")
_WRITE = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "ESTALE")
_MAKE = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE")
_LOCK = ("ENOLCK", "ENOSYS", "EACCES", "EPERM", "EIO", "ESTALE")
_PASSING = ("EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE")
_SHORT_OF = ("EMFILE", "ENFILE", "ENOMEM")

# --- the store ------------------------------------------------------------------------------------

_UNLEASED = {"free": 0, "env, has none": 3, "run": 0, "run, linked": 125}
_TABLE = {**_UNLEASED, "leases": 3, "leases release": 3, "check": 0}
_TABLE_NOTED = ("free", "run", "check")
_BOOK = {
    "check": 0, "free": 0, "env, main": 0, "env, has numbers": 3, "env, has none": 3, "run": 0, "run, linked": 125,
    "leases": 3, "leases release, own": 3,
}  # fmt: skip
_BOOK_NOTED = ("check", "free", "env, main", "run")
_SAVING = {"env, has none": 3, "run, linked": 125, "leases release, own": 3}

STORE = (
    Row("open the directory", "openat", ("state",), _OPEN,
        {**_BOOK, "check, linked": 0, "leases release": 3, "leases prune": 3}, (*_BOOK_NOTED, "check, linked")),
    Row("look at the directory", "/^(new)?(l|f)?stat", ("state",), ("EIO", "ESTALE", "ENOMEM"),
        {"free": 0, "env, main": 0, "env, has numbers": 3, "env, has none": 3, "leases": 3, "check": 0},
        ("free", "env, main", "check")),
    Row("make the directory", "mkdir", ("state",), _MAKE[:6],
        {"free": 0, "env, has none": 3, "run": 0}, ("free", "run"), world="no store"),
    Row("open the table", "openat", ("table",), _MAKE, _TABLE, _TABLE_NOTED),
    Row("lock the table", "flock", ("table",), _LOCK,
        {**_UNLEASED, "leases release": 3}, ("free", "run")),
    Row("lock the table, interrupted", "flock", ("table",), ("EINTR",),
        {"free": 0, "env, has none": 0, "run": 0, "leases release": 0}, when="1"),
    Row("look at the table", "/^(new)?(l|f)?stat", ("table",), ("EIO", "ESTALE"), _TABLE, _TABLE_NOTED),
    Row("read the table", "pread64", ("table",), _READ, _TABLE, _TABLE_NOTED),
    Row("read the table's ends", "pread64", ("table",), _READ,
        {"free": 0, "env, has none": 3, "run": 0, "leases": 3, "leases release": 3}, ("free", "run"), when="2+"),
    Row("read the table's records", "pread64", ("table",), _READ,
        {"run": 0, "leases": 3, "leases release": 3}, ("run",), when="4+"),
    Row("read the table, in part", "pread64", ("table",), ("0",),
        {"free": 0, "env, has none": 0, "run": 0, "leases": 0, "leases release": 0, "check": 0}, when="1"),
    Row("read the table, cut off", "pread64", ("table",), ("0",),
        {"free": 0, "env, has none": 3, "run": 0, "leases": 3, "leases release": 3},
        ("free", "run"), reason="Input/output error"),
    Row("write a lease", "pwrite64", ("table",), _WRITE,
        {"free": 0, "run": 0, "leases release": 3}, ("free", "run")),
    Row("write a lease's end", "pwrite64", ("table",), _WRITE, {"free": 0, "run": 0}, ("free", "run"), when="2"),
    Row("write a lease, in part", "pwrite64", ("table",), ("4",), {"free": 0, "run": 0, "leases release": 3},
        ("free", "run"), when="1", reason="No space left on device"),
    Row("write a lease's end, in part", "pwrite64", ("table",), ("4",), {"free": 0, "run": 0},
        ("free", "run"), when="2", reason="No space left on device"),
    Row("close the table", "close", ("table",), ("EIO", "ENOSPC", "EDQUOT"),
        {"free": 0, "run": 0, "leases": 0, "leases release": 3, "env, has none": 3}, ("free", "run")),
    Row("begin a table", "pwrite64", ("table",), _WRITE, _UNLEASED, ("free", "run"), when="1", world="no table"),
    Row("begin a table, in part", "pwrite64", ("table",), ("7",), _UNLEASED, ("free", "run"), when="1",
        reason="No space left on device", world="no table"),
    Row("empty a table", "ftruncate", ("table",), ("EIO", "EROFS", "EPERM"), _UNLEASED, ("free", "run"),
        world="no table"),
    Row("set a table aside", "openat", ("table.corrupt-1",), _MAKE, _UNLEASED, ("free", "run"), world="damaged table"),
    Row("copy a table aside", "pwrite64", ("table.corrupt-1",), _WRITE, _UNLEASED, ("free", "run"),
        world="damaged table"),
    Row("close a table set aside", "close", ("table.corrupt-1",), ("EIO", "ENOSPC", "EDQUOT"), _UNLEASED,
        ("free", "run"), world="damaged table"),
    Row("list the directory", "getdents64", ("state",), ("EIO", "ENOMEM"), _UNLEASED, ("free", "run"),
        world="damaged table"),
    Row("set assignments aside", "openat", ("book.corrupt-1",), _MAKE, {"env, has none": 3, "leases release, own": 3},
        world="damaged book"),
    Row("copy assignments aside", "pwrite64", ("book.corrupt-1",), _WRITE,
        {"env, has none": 3, "leases release, own": 3}, world="damaged book"),
    Row("open the assignments", "openat", ("book",), _OPEN, _BOOK, _BOOK_NOTED),
    Row("look at the assignments", "/^(new)?(l|f)?stat", ("book",), ("EIO", "ESTALE"), _BOOK, _BOOK_NOTED),
    Row("read the assignments", "pread64", ("book",), _READ, _BOOK, _BOOK_NOTED),
    Row("read the assignments, cut off", "pread64", ("book",), ("0",), _BOOK, _BOOK_NOTED,
        reason="Input/output error"),
    Row("open the assignments' lock", "openat", ("lock",), _MAKE, _SAVING),
    Row("lock the assignments", "flock", ("lock",), _LOCK, _SAVING),
    Row("lock the assignments, interrupted", "flock", ("lock",), ("EINTR",), dict.fromkeys(_SAVING, 0), when="1"),
    Row("open new assignments", "openat", ("book.new",), _MAKE, _SAVING),
    Row("write new assignments", "write", ("book.new",), _WRITE, _SAVING),
    Row("make sure of new assignments", "fsync", ("book.new",), ("EIO", "ENOSPC", "EDQUOT", "EROFS"), _SAVING),
    Row("close new assignments", "close", ("book.new",), ("EIO", "ENOSPC", "EDQUOT"), _SAVING),
    Row("put new assignments in place", "/^rename", ("state",), (*_WRITE, "EACCES", "EPERM"), _SAVING),
    Row("remove what a kill left", "/^unlink", ("state",), ("EACCES", "EROFS", "EIO"), _SAVING, world="left over"),
)  # fmt: skip

# --- which store it is, and who has what ----------------------------------------------------------

_KEY = {"free": 0, "env, has none": 3, "run": 0, "run, linked": 125, "leases": 3, "leases release": 3, "check": 0}
_HOST = {"env, has numbers": 3, "env, has none": 3, "free": 0, "run, linked": 125, "leases": 3, "check": 0}

IDENTITY = (
    Row("open the boot's id", "openat", ("/proc/sys/kernel/random/boot_id",), _PASSING, _KEY, _TABLE_NOTED),
    Row("read the boot's id", "read", ("/proc/sys/kernel/random/boot_id",), ("EIO",), _KEY, _TABLE_NOTED),
    Row("tell the network namespace", "/^readlink", ("/proc/self/ns/net",), ("ENOMEM", "EIO"), _KEY, _TABLE_NOTED),
    Row("open the machine's id", "openat", ("/etc/machine-id",), _PASSING, _HOST, ("free", "check")),
    Row("read the machine's id", "read", ("/etc/machine-id",), ("EIO",), _HOST, ("free", "check")),
    Row("tell when we started", "openat", ("/proc/self/stat",), _OPEN, {"run": 0, "free": 0}, ("run",),
        reason="not leased, another portguard may give the ports away: nobody could tell that this process lives"),
    Row("tell whether somebody lives", "openat", ("/proc/{pid}/stat",), _OPEN,
        {"check, taken": 1, "free, taken": 1}, reason="1 leased"),
    Row("open the range", "openat", ("/proc/sys/net/ipv4/ip_local_port_range",), _OPEN,
        {"free": 0, "info": 0, "env, has none": 0, "check": 0}, ("free",), reason="ephemeral range cannot be read"),
    Row("open the reserved ports", "openat", ("/proc/sys/net/ipv4/ip_local_reserved_ports",), _OPEN,
        {"free": 0, "info": 0, "env, has none": 0}),
    Row("open the services", "openat", ("/etc/services",), _OPEN, {"info": 0, "list": 0}),
)  # fmt: skip

# --- the project's files --------------------------------------------------------------------------

_CONFIG = {"check": 2, "free": 0, "env, main": 2, "env --write": 2, "run": 125, "lint": 1}
_LINKED = {"check, linked": 3, "env, has none": 3, "run, linked": 125}
_REPLACING = {"env --write": 3}
_SILENT = dict.fromkeys(
    ("check", "free", "env, has numbers", "leases", "leases release", "list", "who", "wait", "lint", "init", "info"), 3
)

FILES = (
    Row("open the config", "openat", ("main/portguard.toml",), _OPEN, _CONFIG, ("free",)),
    Row("read the config", "read", ("main/portguard.toml",), _READ, _CONFIG, ("free",)),
    Row("open a pyproject.toml", "openat", ("main/pyproject.toml",), _PASSING, _CONFIG, ("free",), world="pyproject"),
    Row("open .env", "openat", ("main/.env",), _PASSING, _CONFIG, ("free",), when="1"),
    Row("open .env, not permitted", "openat", ("main/.env",), ("EACCES", "EPERM"), {**_CONFIG, "lint": 0}, ("free",),
        when="1"),
    Row("read .env", "read", ("main/.env",), _READ, _CONFIG, ("free",), when="1"),
    Row("open a worktree's mark", "openat", ("new/.git",), _OPEN, _LINKED),
    Row("look at a worktree's mark", "/^(new)?(l|f)?stat", ("new/.git",), ("EIO", "ESTALE"), _LINKED, when="2+"),
    Row("read a worktree's mark", "read", ("new/.git",), ("EIO",), _LINKED),
    Row("open a repository's mark", "openat", ("main/.git/worktrees/new/commondir",), _OPEN, _LINKED),
    Row("read a repository's mark", "read", ("main/.git/worktrees/new/commondir",), ("EIO",), _LINKED),
    Row("open a compose file", "openat", ("plain/compose.yaml",), _OPEN,
        {"check, compose": 2, "lint, compose": 1, "init": 0}, ("init",)),
    Row("read a compose file", "read", ("plain/compose.yaml",), _READ,
        {"check, compose": 2, "lint, compose": 1, "init": 0}, ("init",)),
    Row("open a package.json", "openat", ("plain/package.json",), _OPEN, {"init": 0}, ("init",)),
    Row("open the directory to write in", "openat", ("main",), _OPEN, _REPLACING, when="1"),
    Row("open the file to write", "openat", ("main",), _OPEN, _REPLACING, when="2"),
    Row("open it for writing", "openat", ("main",), ("EROFS", "EACCES", "EIO", "ETXTBSY"), _REPLACING, when="3"),
    Row("open a new file", "openat", ("main",), _MAKE, _REPLACING, when="4"),
    Row("give the new file its mode", "fchmod", (), ("EPERM", "EIO", "EROFS"), _REPLACING),
    Row("give the new file its owner", "fchown", (), ("EPERM", "EIO"), {"env --write": 0}),
    Row("make sure of the new file", "fsync", (), ("EIO", "ENOSPC", "EDQUOT"), {"env --write": 3, "init": 3}),
    Row("put the new file in place", "/^rename", ("main",), (*_WRITE, "EACCES", "EPERM", "EXDEV"), _REPLACING),
    Row("put a new config in place", "/^rename", ("plain",), (*_WRITE, "EACCES", "EPERM"), {"init": 3}),
    Row("make the cache", "mkdir", ("cache", "cache/portguard"), _MAKE, {"check": 0, "env, main": 0}),
    Row("open the cache", "openat", ("cache/portguard",), _MAKE, {"check": 0, "env, main": 0}),
    Row("put into the cache", "/^rename", ("cache/portguard",), _WRITE, {"check": 0, "env, main": 0}),
    Row("write the answer", "write", ("out",), _WRITE, _SILENT),
    Row("write the answer, unbuffered", "write", ("out",), _WRITE, _SILENT, world="unbuffered"),
    Row("write the answer, not yet", "write", ("out",), ("EAGAIN",),
        {"check": 0, "free": 0, "leases": 0, "list": 0, "info": 0}, when="1", world="unbuffered"),
    Row("write the answer, interrupted", "write", ("out",), ("EINTR",),
        {"check": 0, "free": 0, "leases": 0, "list": 0, "info": 0}, when="1"),
    Row("load the rest of the program", "openat", ("portguard/api/listing.py", "portguard/api/who.py"), _SHORT_OF,
        {"list": 3, "who": 3}, reason="out of system resources"),
)  # fmt: skip

# --- sockets and processes ------------------------------------------------------------------------

_UNPROBED = {
    "check": 0, "check, strict": 3, "check, busy": 0, "free": 3, "env, has none": 3, "run": 0, "wait --free": 3,
    "wait": 0, "list": 0, "who": 0,
}  # fmt: skip
_BY_OTHER_WAYS = {"check, busy": 1, "list": 0, "who": 0, "wait": 0, "leases": 0}
_OWNERLESS = {"check, busy": 1, "list": 0, "who": 0, "kill": 1}

SOCKETS = (
    Row("make any socket", "socket", (), _SHORT_OF, _UNPROBED, reason="{errno}"),
    Row("bind any socket", "bind", (), ("ENOMEM", "EIO", "EINTR", "ENOBUFS"), _UNPROBED, reason="{errno}"),
    Row("bind, not permitted", "bind", (), ("EACCES", "EPERM"), {"check": 1, "check, busy": 1, "run": 125},
        reason="the system forbids this bind"),
    Row("bind one, not permitted", "bind", (), ("EACCES", "EPERM"), {"free": 1, "env, has none": 1},
        reason="not permitted"),
    Row("make a netlink socket", "16", (), ("EPERM", "EACCES", "EMFILE", "ENFILE", "ENOMEM"), _BY_OTHER_WAYS,
        how="seccomp"),
    Row("ask netlink", "sendto", (), ("EPERM", "ENOBUFS", "EIO", "ENOMEM", "ECONNREFUSED"), _BY_OTHER_WAYS),
    Row("hear netlink", "recvfrom", (), ("ENOBUFS", "EIO", "EPERM", "ENOMEM", "0"), _BY_OTHER_WAYS),
    Row("hear netlink, interrupted", "recvfrom", (), ("EINTR",), _BY_OTHER_WAYS, when="1"),
    Row("wait for netlink in vain", "poll", (), ("0",), {"check, busy": 1, "list": 0, "who": 0}),
    Row("open /proc", "openat", ("/proc",), _OPEN, _OWNERLESS, ("list",),
        reason="could not be looked up"),
    Row("list /proc", "getdents64", ("/proc",), ("EIO", "ENOMEM"), _OWNERLESS, ("list",),
        reason="could not be looked up"),
    Row("open a process's descriptors", "openat", ("/proc/{holder}/fd",), _OPEN, _OWNERLESS, ("list",),
        reason="hidden"),
    Row("read a process's descriptors", "/^readlink", ("/proc/{holder}/fd",), ("ENOMEM", "EACCES"), _OWNERLESS,
        ("list",), reason="hidden"),
    Row("open a process's state", "openat", ("/proc/{holder}/stat",), _OPEN,
        {"check, busy": 1, "list": 0, "who": 0, "kill": 3}),
    Row("open a process's status", "openat", ("/proc/{holder}/status",), _OPEN,
        {"check, busy": 1, "list": 0, "who": 0, "kill": 1}, reason="its owner is unknown"),
    Row("open a process's group", "openat", ("/proc/{holder}/cgroup",), _OPEN,
        {"check, busy": 1, "list": 0, "who": 0, "kill": 1}, reason="its control group cannot be read"),
    Row("tell a process's program", "/^readlink", ("/proc/{holder}/exe",), ("EACCES", "EIO", "ENOMEM"),
        {"check, busy": 1, "list": 0, "who": 0}),
    Row("tell a process's directory", "/^readlink", ("/proc/{holder}/cwd",), ("EACCES", "EIO", "ENOMEM"),
        {"check, busy": 1, "list": 0, "who": 0}),
    Row("take hold of a process", "pidfd_open", (), _SHORT_OF, {"kill": 3}),
    Row("take hold of a process, without pidfds", "pidfd_open", (), ("ENOSYS", "EPERM"), {"kill": 0, "run, held": 0},
        ("run, held",), reason="exited immediately"),
    Row("signal a process", "pidfd_send_signal", (), ("EPERM", "EACCES"), {"kill": 1}),
    Row("bind what was freed", "2", (), _SHORT_OF, {"kill": 3}, how="seccomp", reason="{errno}"),
    Row("make a holder's pipe", "pipe2", (), ("EMFILE", "ENFILE"), {"free --hold": 3, "run, held": 0},
        ("run, held",)),
    Row("make a holder", "/^clone|^v?fork", (), ("EAGAIN", "ENOMEM"), {"free --hold": 3, "run, held": 0},
        ("run, held",)),
    Row("let a holder go", "setsid", (), ("EPERM",), {"free --hold": 3, "run, held": 0}, ("run, held",),
        reason="exited immediately"),
    Row("become the command", "execve", ("/bin/sh",),
        ("EACCES", "EPERM", "ENOMEM", "E2BIG", "EIO", "EMFILE", "ETXTBSY"), {"run": 126, "run, held": 126}),
    Row("find the command", "execve", ("/bin/sh",), ("ENOENT",), {"run": 127}, reason="command not found"),
    Row("make the engine's socket", "1", (), ("EMFILE", "ENFILE", "ENOMEM", "EACCES", "EPERM"),
        {"check, engine": 1, "who, engine": 0}, how="seccomp"),
    Row("connect to the engine", "connect", (),
        ("EACCES", "ECONNREFUSED", "ENOENT", "EAGAIN", "EIO", "EPERM", "ENOMEM"),
        {"check, engine": 1, "who, engine": 0}),
    Row("make the docker command's pipe", "pipe2", (), ("EMFILE", "ENFILE"), {"check, remote engine": 1}),
    Row("make the docker command", "/^clone|^v?fork", (), ("EAGAIN", "ENOMEM"), {"check, remote engine": 1}),
    Row("become the docker command", "execve", ("bin/docker",),
        ("ENOENT", "EACCES", "EPERM", "ENOMEM", "EIO", "ENOEXEC", "E2BIG"), {"check, remote engine": 1}),
)  # fmt: skip

# --- limits ---------------------------------------------------------------------------------------

_EVERYTHING = {name: command.code for name, command in COMMANDS.items() if "engine" not in name and "hold" not in name}
# What comes through the small front door, and reads no YAML: nothing of others' that is written in C.
_LIGHT = {name: code for name, code in _EVERYTHING.items() if name not in ("kill", "init") and "compose" not in name}

LIMITS = (
    Row("descriptors", "--nofile", (), ("0", "1", "2", "3"), _EVERYTHING, how="limit", may_fail=True),
    Row("memory", "--as", (), ("0", "1", "2", "4", "8", "16"), _LIGHT, how="limit", may_fail=True),
    Row("size of the answer", "--fsize", ("out",), ("100",), {"check": 3, "list": 3, "who": 3, "leases": 3, "info": 3},
        how="limit", reason="File too large"),
    Row("size of the answer, unbuffered", "--fsize", ("out",), ("100",),
        {"check": 3, "list": 3, "who": 3, "leases": 3, "info": 3}, how="limit", reason="File too large",
        world="unbuffered"),
    Row("size of files", "--fsize", (), ("4096",), {"free": 0, "run": 0, "leases release": 3}, ("free", "run"),
        how="limit", reason="File too large"),
)  # fmt: skip

ROWS = (*STORE, *IDENTITY, *FILES, *SOCKETS, *LIMITS)
