"""A real Docker engine of its own: daemon, state, socket and network all apart from the user's.

The daemon runs in a private network namespace (published ports appear only there) and a private
mount namespace with an empty /run and /etc/docker (it leaves nothing behind in either).
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.worlds import netns
from tests.worlds.capabilities import find_program, static_busybox
from tests.worlds.netns import PrivateNetns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

IMAGE = "portguard-test/busybox"

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 15.0
_COMMAND_TIMEOUT = 120.0
_POLL = 0.05
_CGROUPS = Path("/sys/fs/cgroup")


class Engine:
    """A running engine and the ways to talk to it."""

    def __init__(self, socket: Path, config: Path, ns: PrivateNetns, iptables: bool) -> None:
        self.socket = socket
        self.ns = ns
        self.iptables = iptables
        """Whether the daemon runs with its packet filter rules; without them only docker-proxy forwards."""
        self._config = config

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return a whole environment whose DOCKER_HOST is this engine, free of the user's Docker settings."""
        kept = os.environ if base is None else base
        environ = {name: value for name, value in kept.items() if not name.startswith(("DOCKER_", "COMPOSE_"))}
        environ["DOCKER_HOST"] = f"unix://{self.socket}"
        environ["DOCKER_CONFIG"] = str(self._config)
        return environ

    def docker(
        self, *args: str, data: bytes | None = None, check: bool = False, timeout: float = _COMMAND_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker client against this engine."""
        return _run(["docker", *args], self.environ(), data=data, check=check, timeout=timeout)

    def compose(
        self, project_dir: Path, *args: str, check: bool = False, timeout: float = _COMMAND_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run docker-compose against this engine in a project's directory."""
        return _run(["docker-compose", *args], self.environ(), cwd=project_dir, check=check, timeout=timeout)

    def pids(self) -> list[int]:
        """List the daemon and every process below it, containers included."""
        return netns.descendants(self.ns.pid)


def _run(
    argv: list[str],
    environ: Mapping[str, str],
    *,
    data: bytes | None = None,
    cwd: Path | None = None,
    check: bool = False,
    timeout: float = _COMMAND_TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """subprocess.run with bytes in and text out; with check, a failure tells what was said."""
    # Always an input: the clients must never read the terminal of anyone who runs the tests.
    done = subprocess.run(
        argv, check=False, env=environ, cwd=cwd, capture_output=True, timeout=timeout, input=data or b""
    )
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} exited with {done.returncode}: {out}{err}")
    return subprocess.CompletedProcess(argv, done.returncode, out, err)


@functools.cache
def image_tar() -> bytes:
    """Pack a root file system of one static busybox, a link per applet, and a page for httpd to serve."""
    busybox = static_busybox()
    if busybox is None:
        raise RuntimeError("no static busybox")
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:

        def add(name: str, kind: bytes, mode: int, content: bytes = b"", link: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(content), link
            tar.addfile(entry, io.BytesIO(content))

        for directory in ("bin", "etc", "tmp", "www"):
            add(directory, tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755)
        add("bin/busybox", tarfile.REGTYPE, 0o755, Path(busybox).read_bytes())
        for applet in sorted(set(applets) - {"busybox"}):
            add(f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        add("etc/passwd", tarfile.REGTYPE, 0o644, b"root:x:0:0:root:/:/bin/sh\n")
        add("www/index.html", tarfile.REGTYPE, 0o644, b"portguard test image\n")
    return buffer.getvalue()


# ---------------------------------------------------------------- inside the parked process


def _mount_private(tmp: Path) -> None:
    """Hide the fixed places where an engine keeps settings, keys, shims and locks behind empty ones."""
    resolver = os.path.realpath("/etc/resolv.conf")
    netns.mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
    if Path("/etc/docker").is_dir():
        netns.mount("tmpfs", "/etc/docker", "tmpfs", 0, "mode=755")
    # A daemon that finds the host's own resolver (127.0.0.53) looks for files that /run no longer has.
    settings = tmp / "resolv.conf"
    settings.write_text("nameserver 192.0.2.53\n")
    if resolver.startswith("/run/"):
        Path(resolver).parent.mkdir(parents=True)
        shutil.copyfile(settings, resolver)
    elif Path(resolver).exists():
        netns.mount(str(settings), resolver, None, netns.MS_BIND)


def _mount_cgroups() -> None:
    """Mount the control groups the kernel has, in this mount namespace, if no one did so before."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    if any(line.split()[2] in ("cgroup", "cgroup2") for line in mounts):
        return
    hierarchies = [line.split(":")[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    if hierarchies == [""]:
        netns.mount("cgroup2", str(_CGROUPS), "cgroup2")
        return
    netns.mount("cgroup", str(_CGROUPS), "tmpfs", 0, "mode=755")
    for controllers in hierarchies:
        if not controllers:
            continue
        directory = _CGROUPS / controllers.removeprefix("name=")
        directory.mkdir()
        # none, with a name: a hierarchy without controllers, such as systemd's.
        options = f"none,{controllers}" if controllers.startswith("name=") else controllers
        netns.mount("cgroup", str(directory), "cgroup", 0, options)


def _remove_cgroups(name: str) -> None:
    """Remove the (by now empty) control groups of this engine in every hierarchy."""
    for top in (_CGROUPS / name, *_CGROUPS.glob(f"*/{name}")):
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def _ended(daemon: subprocess.Popen[bytes], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while daemon.poll() is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def _wait_until_up(daemon: subprocess.Popen[bytes], environ: Mapping[str, str], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        if daemon.poll() is not None:
            raise RuntimeError(f"dockerd exited with {daemon.returncode}: {_tail(log)}")
        left = max(deadline - time.monotonic(), 1)
        if Path(environ["DOCKER_HOST"].removeprefix("unix://")).exists():
            with contextlib.suppress(subprocess.TimeoutExpired):
                if _run(["docker", "info"], environ, timeout=left).returncode == 0:
                    return
        if time.monotonic() > deadline:
            raise TimeoutError(f"dockerd is not up after {_START_TIMEOUT:g} s: {_tail(log)}")
        time.sleep(_POLL)


def _start_daemon(tmp: Path, environ: Mapping[str, str], userland_proxy: bool) -> tuple[bool, Callable[[], None]]:
    """Start dockerd in the namespaces of this process; the payload is whether it could use iptables."""
    _mount_private(tmp)
    _mount_cgroups()
    group = f"portguard-test-{os.getpid()}"
    proxy = find_program("docker-proxy")
    daemon_environ = dict(environ)
    for name in ("DOCKER_HOST", "DOCKER_CONFIG", "NOTIFY_SOCKET"):
        daemon_environ.pop(name, None)
    daemon_environ["PATH"] = f"{environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    log = tmp / "dockerd.log"
    argv = [
        find_program("dockerd") or "dockerd",
        "--config-file", str(tmp / "daemon.json"),
        "--data-root", str(tmp / "data"),
        # On the private /run: the paths of sockets below it have to stay short.
        "--exec-root", "/run/docker",
        "--pidfile", "/run/docker.pid",
        "--host", environ["DOCKER_HOST"],
        "--storage-driver", "vfs",
        "--exec-opt", "native.cgroupdriver=cgroupfs",
        "--cgroup-parent", f"/{group}",
        "--bip", "172.31.250.1/24",
        "--default-address-pool", "base=10.213.0.0/16,size=24",
        f"--userland-proxy={str(userland_proxy).lower()}",
        *(["--userland-proxy-path", proxy] if proxy is not None else []),
    ]  # fmt: skip
    (tmp / "daemon.json").write_text("{}")

    def start(iptables: bool) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen(
                [*argv, f"--iptables={str(iptables).lower()}"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=daemon_environ, cwd=tmp,
            )  # fmt: skip

    iptables = True
    daemon = start(iptables)
    try:
        _wait_until_up(daemon, environ, log)
    except RuntimeError as error:
        if "iptables" not in str(error):
            raise
        iptables = False
        daemon = start(iptables)
        _wait_until_up(daemon, environ, log)

    def stop() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, signal.SIGTERM)
        _ended(daemon, _STOP_TIMEOUT)
        # Shims that outlived the daemon are below this process, which adopts orphans.
        for pid in netns.descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while netns.descendants(os.getpid()) and time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            time.sleep(_POLL)
        _remove_cgroups(group)

    return iptables, stop


@contextlib.contextmanager
def docker_engine(tmp: Path, *, userland_proxy: bool = True) -> Iterator[Engine]:
    """Run a fresh engine with the image portguard-test/busybox, stopped and cleared away at the end.

    tmp keeps the socket (docker.sock) and the daemon's log (dockerd.log); it must not be below /run.
    """
    tmp = tmp.resolve()
    if tmp.is_relative_to("/run"):
        raise ValueError(f"the engine has a /run of its own, so {tmp} would not exist for it")
    config = tmp / "docker-config"
    config.mkdir(parents=True, exist_ok=True)
    socket = tmp / "docker.sock"
    # The daemon shuts down in an orderly way within the first, and is killed within the second.
    timeout = _START_TIMEOUT * 2 + _STOP_TIMEOUT * 2

    def init() -> tuple[bool, Callable[[], None]]:
        return _start_daemon(tmp, Engine(socket, config, PrivateNetns(os.getpid()), True).environ(), userland_proxy)

    flags = netns.CLONE_NEWNET | netns.CLONE_NEWNS
    try:
        with netns.parked(flags, init=init, timeout=timeout) as (pid, iptables):
            engine = Engine(socket, config, PrivateNetns(pid), iptables)
            try:
                engine.docker("import", "--change", 'CMD ["sh"]', "-", IMAGE, data=image_tar(), check=True)
                yield engine
            finally:
                engine.ns.close()
                # A container's first process ignores SIGTERM: left to the daemon, each would take ten seconds.
                containers = engine.docker("ps", "--all", "--quiet").stdout.split()
                if containers:
                    engine.docker("rm", "--force", *containers)
    finally:
        shutil.rmtree(tmp / "data", ignore_errors=True)
        socket.unlink(missing_ok=True)


def write_project(directory: Path, port: int) -> Path:
    """Make a directory with a compose project that publishes `port` in line 7, and return it."""
    directory.mkdir()
    (directory / "docker-compose.yml").write_text(
        "version: '3'\n"
        "services:\n"
        "  web:\n"
        f"    image: {IMAGE}\n"
        "    command: httpd -f -p 80 -h /www\n"
        "    ports:\n"
        f"      - '127.0.0.1:{port}:80'\n"
    )
    return directory
