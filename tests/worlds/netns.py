"""Private network namespaces: run a Python callable or a command if no one else's ports are.

Everything here needs root.  A process is only ever ended by its id, and only when this module
(or something running below a process this module started) started it.
"""

from __future__ import annotations

import contextlib
import copyreg
import ctypes
import fcntl
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from _pytest.outcomes import Failed, Skipped

if TYPE_CHECKING:
    from types import FrameType

T = TypeVar("T")

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_CAP_SYS_ADMIN = 21  # linux/capability.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_LENGTH = struct.Struct("!Q")
_POLL = 0.02
_NO_SYSCTLS: Mapping[str, str] = {}

_libc = ctypes.CDLL(None, use_errno=True)
_main_pid = os.getpid()


class ChildError(Exception):
    """Carries the traceback text of the forked child, as the cause of the re-raised exception."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"in the forked child:\n{self.text}"


def in_child() -> bool:
    """Whether this code runs in a child forked by this module (where atexit handlers never run)."""
    return os.getpid() != _main_pid


# ---------------------------------------------------------------- thin system calls


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by flags for fresh ones (os.unshare only exists from Python 3.12 on)."""
    _checked(_libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """Enter the namespace that a file descriptor stands for (os.setns only exists from Python 3.12 on)."""
    _checked(_libc.setns(descriptor, flags), "setns")


def can_move() -> bool:
    """Whether this thread may enter network namespaces that it makes."""
    return sys.platform == "linux" and os.geteuid() == 0 and _has_capability(_CAP_SYS_ADMIN)


@contextlib.contextmanager
def moved() -> Iterator[None]:
    """Put this thread, and what it starts, into a private network namespace for a while; only loopback is there."""
    with open("/proc/thread-self/ns/net", "rb") as before:
        unshare(CLONE_NEWNET)
        try:
            bring_up()
            yield
        finally:
            setns(before.fileno(), CLONE_NEWNET)


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    """Mount a file system; meant for private mount namespaces only."""
    kind_bytes = kind.encode() if kind is not None else None
    result = _libc.mount(source.encode(), target.encode(), kind_bytes, ctypes.c_ulong(flags), data.encode())
    _checked(result, f"mount {kind or source} on {target}")


def _has_capability(number: int) -> bool:
    with open("/proc/thread-self/status", encoding="ascii", errors="replace") as status:
        effective = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)


def bring_up(interface: str = "lo") -> None:
    """Set a network interface of the current namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name = interface.encode()
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name, 0))
        flags: int = struct.unpack("16sH22x", answer)[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | _IFF_UP))


def write_sysctls(sysctls: Mapping[str, str]) -> None:
    """Write settings such as net.ipv4.ip_local_port_range; only net.*, which is per network namespace."""
    for key, value in sysctls.items():
        path = key if "/" in key else key.replace(".", "/")
        if not path.startswith("net/") or ".." in path:
            raise ValueError(f"not a per-namespace network setting: {key}")
        with open(f"/proc/sys/{path}", "w", encoding="ascii") as setting:
            setting.write(value)


def become(uid: int) -> None:
    """Drop root for good, and look like a process that uid started itself."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    # setuid() makes /proc/self belong to root until the next exec; an ordinary process of uid owns its own.
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """All processes below pid, parents before their children."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{entry}/stat", "rb") as stat:
            parent = int(stat.read().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(0), [])
        found += below
        todo += below
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# ---------------------------------------------------------------- messages from the forked child


def _skipped(message: str) -> Skipped:
    return Skipped(message)


def _failed(message: str, pytrace: bool) -> Failed:
    return Failed(message, pytrace)


def _reduce_skip(error: Skipped) -> tuple[Callable[..., Skipped], tuple[Any, ...]]:
    return _skipped, (str(error.msg),)


def _reduce_fail(error: Failed) -> tuple[Callable[..., Failed], tuple[Any, ...]]:
    return _failed, (str(error.msg), error.pytrace)


# pytest's outcomes claim to live in builtins, where unpickling does not find them.
copyreg.pickle(Skipped, _reduce_skip)
copyreg.pickle(Failed, _reduce_fail)


def _encode(ok: bool, value: object, text: str) -> bytes:
    """Pickle an outcome; what cannot make the round trip is replaced by an error that says so."""
    try:
        blob = pickle.dumps((ok, value, text))
        pickle.loads(blob)
    except Exception as error:  # noqa: BLE001  # whatever an object's own pickling code raises
        if ok:
            return pickle.dumps((False, TypeError(f"the result cannot be sent back: {value!r} ({error})"), ""))
        return pickle.dumps((False, RuntimeError(f"{type(value).__name__}: {value}"), text))
    return blob


def _send(descriptor: int, blob: bytes) -> None:
    rest = memoryview(_LENGTH.pack(len(blob)) + blob)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _read_exactly(descriptor: int, count: int, deadline: float) -> bytes | None:
    """Read count bytes; None if the writer went away first."""
    data = b""
    while len(data) < count:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError
        chunk = os.read(descriptor, min(count - len(data), 1 << 20))
        if not chunk:
            return None
        data += chunk
    return data


def _receive(descriptor: int, pid: int, timeout: float) -> Any:
    """Return the child's result, or raise its exception with the child's traceback as cause."""
    deadline = time.monotonic() + timeout
    try:
        head = _read_exactly(descriptor, _LENGTH.size, deadline)
        blob = None if head is None else _read_exactly(descriptor, _LENGTH.unpack(head)[0], deadline)
    except TimeoutError:
        raise TimeoutError(f"the forked child did not finish within {timeout:g} s") from None
    if blob is None:
        raise RuntimeError(f"the forked child {pid} ended without an answer")
    # The only writer is our own forked child, so unpickling is safe.
    ok, value, text = pickle.loads(blob)
    if ok:
        return value
    raise value from ChildError(text)


# ---------------------------------------------------------------- one callable in a namespace


def _enter_fresh(sysctls: Mapping[str, str], flags: int = CLONE_NEWNET) -> None:
    unshare(flags)
    bring_up("lo")
    write_sysctls(sysctls)


def _join(pid: int) -> None:
    """Enter the network namespace of pid (os.setns only exists from Python 3.12 on)."""
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _checked(_libc.setns(descriptor, CLONE_NEWNET), "setns")
    finally:
        os.close(descriptor)


def _keep_measurement() -> None:
    """Write down what coverage.py has seen here, if it looks: this process will end by SIGKILL."""
    coverage = sys.modules.get("coverage")
    measurement = None if coverage is None else coverage.Coverage.current()
    if measurement is not None:
        measurement.save()


def _forked_call(
    enter: Callable[[], None], func: Callable[..., T], args: tuple[Any, ...], uid: int | None, timeout: float
) -> T:
    """Fork; in the child call enter(), become uid, call func(*args); hand back what came of it."""
    sys.stdout.flush()
    sys.stderr.flush()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_end)
            os.setpgid(0, 0)
            # Daemons that func leaves behind stay below this process, so that the parent can end them.
            _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                enter()
                if uid is not None:
                    become(uid)
                # After setuid(), which would clear it.
                _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
                blob = _encode(True, func(*args), "")
            except BaseException as error:  # noqa: BLE001  # raised again in the parent
                blob = _encode(False, error, traceback.format_exc())
            sys.stdout.flush()
            sys.stderr.flush()
            _keep_measurement()
            _send(write_end, blob)
            while True:  # the parent ends this process, after everything below it
                signal.pause()
        finally:
            os._exit(70)
    os.close(write_end)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    try:
        result: T = _receive(read_end, pid, timeout)
        return result
    finally:
        os.close(read_end)
        for below in descendants(pid):
            _kill(below)
        # The child is not reaped yet, so its process group cannot have become anyone else's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        _kill(pid)
        os.waitpid(pid, 0)


def run_in_netns(
    func: Callable[..., T],
    *args: Any,
    sysctls: Mapping[str, str] = _NO_SYSCTLS,
    uid: int | None = None,
    timeout: float = 60,
) -> T:
    """Call func(*args) in a forked child inside a fresh network namespace whose lo is up.

    The result or the exception comes back pickled; func itself need not be picklable.  With uid,
    root is dropped (and all groups) before the call.  Processes that func leaves behind are killed.
    """
    return _forked_call(lambda: _enter_fresh(sysctls), func, args, uid, timeout)


# ---------------------------------------------------------------- a namespace that stays


class PrivateNetns:
    """A network namespace kept alive by a parked process, and ways to run things inside it."""

    def __init__(self, pid: int, mounts: bool = False) -> None:
        self.pid = pid
        self._mounts = mounts
        self._started: list[subprocess.Popen[Any]] = []

    def argv(self, argv: Sequence[str | os.PathLike[str]], user: int | None = None) -> list[str]:
        """Return the command line that runs argv inside; each link execs the next, so the process id stays one."""
        command = ["nsenter", "-t", str(self.pid), "-n"]
        if self._mounts:
            # Entering a mount namespace forgets the working directory.
            command += ["-m", "--", "env", "--chdir", os.getcwd()]
        else:
            command += ["--"]
        if user is not None:
            command += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
        return command + [os.fspath(word) for word in argv]

    def run(
        self, argv: Sequence[str | os.PathLike[str]], *, user: int | None = None, **kwargs: Any
    ) -> subprocess.CompletedProcess[Any]:
        """subprocess.run inside the namespace, optionally as another user."""
        kwargs.setdefault("timeout", 120)
        check = kwargs.pop("check", False)
        return subprocess.run(self.argv(argv, user), check=check, **kwargs)

    def popen(
        self, argv: Sequence[str | os.PathLike[str]], *, user: int | None = None, **kwargs: Any
    ) -> subprocess.Popen[Any]:
        """subprocess.Popen inside the namespace; still running at the end of the context, it is killed."""
        process = subprocess.Popen(self.argv(argv, user), **kwargs)
        self._started.append(process)
        return process

    def call(self, func: Callable[..., T], *args: Any, uid: int | None = None, timeout: float = 60) -> T:
        """Like run_in_netns, but inside this namespace."""
        return _forked_call(lambda: _join(self.pid), func, args, uid, timeout)

    def close(self) -> None:
        """Kill what popen() started and is still running."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()


Init = Callable[[], "tuple[Any, Callable[[], None]]"]


def _reap_all(signum: int, frame: FrameType | None) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _park(life: int, ready: int, flags: int, sysctls: Mapping[str, str], init: Init | None) -> NoReturn:
    """Be the parked process: set the namespace up, report, wait for the end, clear away what is below it."""
    try:
        null = os.open("/dev/null", os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        # Copies of pytest's and of other parked processes' descriptors would keep those pipes open.
        low, high = sorted((life, ready))
        os.closerange(3, low)
        os.closerange(low + 1, high)
        os.closerange(high + 1, max(high + 2, os.sysconf("SC_OPEN_MAX")))
        os.setsid()
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        cleanup: Callable[[], None] | None = None
        try:
            _enter_fresh(sysctls, flags)
            if flags & CLONE_NEWNS:
                mount("none", "/", None, MS_REC | MS_PRIVATE)
            payload: Any = None
            if init is not None:
                payload, cleanup = init()
            answer = _encode(True, payload, "")
            done = False
        except BaseException as error:  # noqa: BLE001  # raised again in the parent
            answer = _encode(False, error, traceback.format_exc())
            done = True
        signal.signal(signal.SIGCHLD, _reap_all)
        _reap_all(0, None)
        with contextlib.suppress(BrokenPipeError):  # the parent gave up waiting; still clean up below
            _send(ready, answer)
        os.close(ready)
        if not done:
            os.read(life, 1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if cleanup is not None:
            with contextlib.suppress(Exception):
                cleanup()
        for below in descendants(os.getpid()):
            _kill(below)
        _reap_all(0, None)
    finally:
        os._exit(0)


def _wait_or_kill(pid: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(_POLL)
    for below in descendants(pid):
        _kill(below)
    _kill(pid)
    os.waitpid(pid, 0)


@contextlib.contextmanager
def parked(
    flags: int = CLONE_NEWNET,
    *,
    sysctls: Mapping[str, str] = _NO_SYSCTLS,
    init: Init | None = None,
    timeout: float = 30,
) -> Iterator[tuple[int, Any]]:
    """Keep a forked process that owns fresh namespaces; yield its pid and init's payload.

    init runs inside, before the context starts, and returns a payload (sent back pickled) and a
    cleanup, which runs inside at the end.  Whatever is left below the parked process is killed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ready_read, ready_write = os.pipe()
    life_read, life_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _park(life_read, ready_write, flags, sysctls, init)
    os.close(ready_write)
    os.close(life_read)
    try:
        try:
            payload = _receive(ready_read, pid, timeout)
        finally:
            os.close(ready_read)
        yield pid, payload
    finally:
        # A byte, not only the end of file: another forked child may hold a copy of this end.
        with contextlib.suppress(BrokenPipeError):
            os.write(life_write, b".")
        os.close(life_write)
        _wait_or_kill(pid, timeout)


def _hide_other_users_processes() -> tuple[None, Callable[[], None]]:
    # Before Linux 5.8 this would change every /proc of the pid namespace; the capability probe rules that out.
    mount("proc", "/proc", "proc", 0, "hidepid=2")
    return None, lambda: None


@contextlib.contextmanager
def private_netns(
    *, sysctls: Mapping[str, str] = _NO_SYSCTLS, hidepid: bool = False, timeout: float = 30
) -> Iterator[PrivateNetns]:
    """Keep a private network namespace with lo up, for commands run through the yielded object.

    With hidepid, commands also see a /proc in which an ordinary user finds only their own processes.
    """
    flags = CLONE_NEWNET | CLONE_NEWNS if hidepid else CLONE_NEWNET
    init = _hide_other_users_processes if hidepid else None
    with parked(flags, sysctls=sysctls, init=init, timeout=timeout) as (pid, _):
        ns = PrivateNetns(pid, mounts=hidepid)
        try:
            yield ns
        finally:
            ns.close()
