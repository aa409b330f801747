"""The test worlds are what they claim to be."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.worlds import netns, servers
from tests.worlds.capabilities import CAPABILITIES, NOBODY, require, require_marked
from tests.worlds.engine import Engine, docker_engine

if TYPE_CHECKING:
    from collections.abc import Callable

needs = pytest.mark.needs


@pytest.fixture(autouse=True)
def _capabilities(request: pytest.FixtureRequest) -> None:
    require_marked(request.node)


def free_port() -> int:
    """Return a port the kernel just gave out; only certain to stay free in a private namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connects(port: int, host: str = "127.0.0.1") -> bool:
    """Whether someone listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        return client.connect_ex((host, port)) == 0


def running(pid: int) -> bool:
    """Whether a process exists and is more than a zombie that its new parent has not collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def get(port: int) -> bytes:
    """Fetch the page that a server has on a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


# ---------------------------------------------------------------- capabilities


@pytest.mark.parametrize("name", CAPABILITIES)
def test_every_probe_says_yes_none_or_gives_a_reason(name: str) -> None:
    """Every probe says yes (None) or gives a reason, and keeps to it."""
    answer = CAPABILITIES[name]()
    assert answer is None or answer
    assert CAPABILITIES[name]() is answer


def test_require_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing capability skips with its reason, and fails when everything must run."""
    monkeypatch.setitem(CAPABILITIES, "flying", lambda: "no wings")
    monkeypatch.delenv("PORTGUARD_TEST_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs flying: no wings"):
        require("flying")
    monkeypatch.setenv("PORTGUARD_TEST_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="needs flying: no wings"):
        require("flying")
    with pytest.raises(ValueError, match="unknown capability"):
        require("swimming")


# ---------------------------------------------------------------- namespaces


@needs("netns")
def test_namespace_is_private() -> None:
    """The port of a listener outside is free inside, and a listener inside cannot be reached outside."""
    with netns.private_netns() as ns:
        with socket.create_server(("127.0.0.1", 0)) as outside:
            port = int(outside.getsockname()[1])
            assert not ns.call(connects, port)
            inside = servers.python_http("127.0.0.1", port, ns)
            assert inside.started, inside.error
        assert ns.call(connects, port)
        assert not connects(port)
    here = os.stat("/proc/self/ns/net").st_ino
    assert netns.run_in_netns(lambda: os.stat("/proc/self/ns/net").st_ino) != here
    inside.stop()


@needs("netns")
def test_sysctls_apply_inside_only() -> None:
    """A sysctl is set in the namespace, both kinds, and nowhere else."""
    setting = Path("/proc/sys/net/ipv4/ip_local_port_range")
    before = setting.read_text()
    wanted = {"net.ipv4.ip_local_port_range": "45000 45001"}
    assert netns.run_in_netns(setting.read_text, sysctls=wanted).split() == ["45000", "45001"]
    with netns.private_netns(sysctls=wanted) as ns:
        assert ns.run(["cat", str(setting)], capture_output=True, text=True).stdout.split() == ["45000", "45001"]
    assert setting.read_text() == before
    with pytest.raises(ValueError, match="not a per-namespace"):
        netns.run_in_netns(os.getpid, sysctls={"kernel.panic": "0"})


@needs("netns", "users")
def test_privileges_are_dropped() -> None:
    """A uid replaces user, group and supplementary groups, and the process still owns its own /proc entries."""

    def who() -> tuple[int, int, list[int], int]:
        return os.getuid(), os.getgid(), os.getgroups(), os.stat("/proc/self/fd").st_uid

    assert netns.run_in_netns(who, uid=NOBODY) == (NOBODY, NOBODY, [], NOBODY)
    with netns.private_netns() as ns:
        assert ns.run(["id", "-u"], user=NOBODY, capture_output=True, text=True).stdout.strip() == str(NOBODY)

    def bind_privileged() -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 1))

    netns.run_in_netns(bind_privileged)
    with pytest.raises(PermissionError):
        netns.run_in_netns(bind_privileged, uid=NOBODY)


@needs("netns")
def test_exceptions_come_back() -> None:
    """The child's exception is raised here, caused by its traceback; unpicklable ones too."""

    class LocalError(Exception):
        pass

    def fail(error: Callable[[], BaseException]) -> None:
        raise error()

    with pytest.raises(OSError, match="busy") as caught:
        netns.run_in_netns(fail, lambda: OSError(errno.EADDRINUSE, "busy"))
    assert caught.value.errno == errno.EADDRINUSE
    assert isinstance(caught.value.__cause__, netns.ChildError)
    assert "raise error()" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="LocalError: reason"):
        netns.run_in_netns(fail, lambda: LocalError("reason"))
    with pytest.raises(pytest.skip.Exception, match="not today"):
        netns.run_in_netns(fail, lambda: pytest.skip.Exception("not today"))
    with pytest.raises(TypeError, match="cannot be sent back"):
        netns.run_in_netns(lambda: lambda: None)
    with pytest.raises(RuntimeError, match="without an answer"):
        netns.run_in_netns(os._exit, 3)


@needs("netns")
def test_timeout_and_leftovers() -> None:
    """A child that hangs is killed at the timeout, and so is what any child leaves behind."""
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        netns.run_in_netns(time.sleep, 600, timeout=0.3)
    assert time.monotonic() - started < 5

    def leave_daemon() -> int:
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(write_end, str(os.getpid()).encode())
                time.sleep(30)  # long enough to be found alive, short enough not to stay should this test fail
            os._exit(0)
        return int(os.read(read_end, 20))

    pid = netns.run_in_netns(leave_daemon)
    deadline = time.monotonic() + 5
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running(pid)


@needs("netns")
def test_large_results_come_back() -> None:
    """A result larger than a pipe's buffer arrives whole."""
    assert len(netns.run_in_netns(bytes, 3_000_000)) == 3_000_000


@needs("hidepid")
def test_hidepid_hides_from_users_only_inside() -> None:
    """With hidepid an ordinary user sees only their own processes, inside; outside nothing changes."""
    argv = ["test", "-e", f"/proc/{os.getpid()}"]
    with netns.private_netns(hidepid=True) as ns, netns.private_netns() as plain:
        assert ns.run(argv).returncode == 0
        assert ns.run(argv, user=NOBODY).returncode == 1
        assert plain.run(argv, user=NOBODY).returncode == 0


# ---------------------------------------------------------------- servers


def _start(language: str, host: str, port: int, ns: netns.PrivateNetns) -> servers.Server:
    if language == "python":
        return servers.python_http(host, port, ns)
    return servers.node_http(host, port, ns) if language == "node" else servers.java_server(host, port, ns)


@needs("netns")
@pytest.mark.parametrize("language", servers.LANGUAGES)
def test_servers_start_or_say_why_not(language: str) -> None:
    """A server answers on its port; a second one there reports the error; a batch says OK or FAIL."""
    if language != "python":
        require(language)
    with netns.private_netns() as ns:
        port = ns.call(free_port)
        with servers.batch_server(language, ns) as batch:
            assert batch.try_listen("127.0.0.1", port) == (True, "")
            with _start(language, "127.0.0.1", port, ns) as first:
                assert (first.started, first.error, first.port) == (True, "", port)
                assert ns.call(get, port) == b"portguard test server\n"
                holder = ns.run(["cat", f"/proc/{first.pid}/comm"], capture_output=True, text=True).stdout.strip()
                assert holder.startswith(language)
                second = _start(language, "127.0.0.1", port, ns)
                assert not second.started
                assert "in use" in second.error.lower()
                for address in ("127.0.0.1", "0.0.0.0"):
                    started, said = batch.try_listen(address, port)
                    assert not started
                    assert "EADDRINUSE" in said or "Address already in use" in said
                assert batch.try_listen("127.0.0.2", port) == (True, "")
            assert batch.try_listen("127.0.0.1", port) == (True, "")
            assert batch.try_listen(None, port) == (True, "")
            begun = time.monotonic()
            assert all(batch.try_listen("127.0.0.1", port)[0] for _ in range(300))
            assert time.monotonic() - begun < 10


@needs("netns", "ipv6")
def test_python_address_families() -> None:
    """:: is dual stack, an IPv6-only :: leaves IPv4 alone, * is a socket of each family."""
    with netns.private_netns() as ns, servers.batch_server("python", ns) as batch:
        with servers.python_http("::", 0, ns) as dual:
            assert batch.try_listen("127.0.0.1", dual.port) == (False, "EADDRINUSE")
        with servers.python_http("::", 0, ns, ipv6_only=True) as six:
            assert batch.try_listen("127.0.0.1", six.port) == (True, "")
            assert batch.try_listen("::1", six.port) == (False, "EADDRINUSE")
        with servers.python_http("*", 0, ns) as both:
            assert batch.try_listen("127.0.0.1", both.port) == (False, "EADDRINUSE")
            assert batch.try_listen("::1", both.port, v6only=True) == (False, "EADDRINUSE")


@needs("netns", "users")
def test_servers_of_another_user() -> None:
    """A server can belong to another user, and a privileged port is refused to it."""
    with netns.private_netns() as ns:
        with servers.python_http("127.0.0.1", 0, ns, user=NOBODY) as server:
            assert server.started, server.error
            assert os.stat(f"/proc/{server.pid}").st_uid == NOBODY
        refused = servers.python_http("127.0.0.1", 1, ns, user=NOBODY)
        assert "EACCES" in refused.error


# ---------------------------------------------------------------- engine


def _project(directory: Path, port: int) -> Path:
    directory.mkdir()
    (directory / "docker-compose.yml").write_text(
        f"""
version: "3"
services:
  web:
    image: portguard-test/busybox
    command: httpd -f -p 80 -h /www
    ports: ["127.0.0.1:{port}:80"]
"""
    )
    return directory


def _holds_container(engine: Engine) -> str:
    return engine.docker("ps", "--format", "{{.Names}} {{.Ports}}").stdout


@needs("docker", "ss")
def test_a_published_port_is_reachable_inside_only_through_docker_proxy(tmp_path: Path) -> None:
    """A published port is reachable inside only, through docker-proxy; a second project on it fails."""
    with docker_engine(tmp_path) as engine:
        port = engine.ns.call(free_port)
        first = engine.compose(_project(tmp_path / "first", port), "up", "-d")
        assert first.returncode == 0, first.stderr
        assert f"127.0.0.1:{port}->80/tcp" in _holds_container(engine)
        deadline = time.monotonic() + 10
        while not engine.ns.call(connects, port) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert engine.ns.call(get, port) == b"portguard test image\n"
        listening = engine.ns.run(["ss", "-Htlnp", f"sport = {port}"], capture_output=True, text=True).stdout
        assert "docker-proxy" in listening
        second = engine.compose(_project(tmp_path / "second", port), "up", "-d")
        assert second.returncode != 0
        assert "port is already allocated" in second.stderr
        with servers.batch_server("python", engine.ns) as batch:
            assert batch.try_listen("127.0.0.1", port) == (False, "EADDRINUSE")
        pids = engine.pids()
        assert len(pids) > 2
    assert not [pid for pid in pids if running(pid)]
    assert not engine.socket.exists()
