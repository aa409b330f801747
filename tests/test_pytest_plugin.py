"""Claims about the pytest plugin, by real runs of pytest in directories of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import portguard as library
from tests.amount import examples
from tests.conftest import Run

# What else the developers have installed; it takes longer to load than all of the rest.
_WITHOUT = [word for plugin in ("hypothesispytest", "pytest_cov", "timeout") for word in ("-p", f"no:{plugin}")]
_MODULES = {"portguard", "portguard.pytest_plugin"}

Answer = Callable[..., dict[str, Any]]


class Use(NamedTuple):
    """One test's use of a port, in seconds of the clock all processes share."""

    kind: str
    port: int
    began: float
    ended: float


def run_pytest(
    directory: Path, source: str, *arguments: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pytest on a module of this source, every warning an error, no settings of the outer run."""
    (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (directory / "test_inside.py").write_text(source)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *_WITHOUT, *arguments],
        cwd=directory,
        env=inherited | (environ or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def assert_passed(done: subprocess.CompletedProcess[str], count: int) -> None:
    """Check that so many tests passed, and that there was nothing else."""
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr
    assert f"= {count} passed in " in done.stdout, done.stdout[-4_000:]


def read_uses(directory: Path) -> list[Use]:
    """Return what the tests inside have written down."""
    return [Use(*json.loads(line)) for line in (directory / "uses").read_text().splitlines()]


def simultaneous(uses: Iterable[Use]) -> list[tuple[Use, Use]]:
    """Return the uses of one port that began before an earlier one of the same port had ended."""
    found = []
    last: dict[int, Use] = {}
    for use in sorted(uses, key=lambda use: use.began):
        before = last.get(use.port)
        if before is not None and use.began < before.ended:
            found.append((before, use))
        if before is None or use.ended > before.ended:
            last[use.port] = use
    return found


# --- many workers ---------------------------------------------------------------------------------

_SERVERS_INSIDE = """
import json, os, random, socket, struct, time
import pytest

COUNT = 800

def write_down(began, **ports):
    ended = time.monotonic()
    lines = "".join(json.dumps([kind, port, began, ended]) + "\\n" for kind, port in ports.items())
    fd = os.open("uses", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    assert os.write(fd, lines.encode()) == len(lines)
    os.close(fd)

def serve(port):
    with socket.create_server(("127.0.0.1", port)) as server:
        for _ in range(10):
            with socket.create_connection(server.getsockname()) as client:
                accepted, _ = server.accept()
                accepted.sendall(b"here")
                assert client.recv(10) == b"here"
                # No TIME_WAIT: it would keep thousands of ports from the tests that come next.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()

@pytest.fixture(scope="session")
def kept_port(free_port_factory):
    yield free_port_factory
    deadline = time.monotonic() + 60
    while os.path.exists("uses"):  # until nobody wants one any more
        with open("uses") as file:
            if file.read().count("kept") == COUNT:
                break
        assert time.monotonic() < deadline
        time.sleep(0.05)

@pytest.mark.parametrize("number", range(COUNT))
def test(number, free_port, kept_port):
    kept, began = kept_port(), time.monotonic()
    serve(free_port)
    serve(kept)
    write_down(began, given_back=free_port, kept=kept, unleased=random.randrange(100))
"""


@pytest.mark.slow
def test_16_workers_never_use_a_port_twice_at_the_same_time(tmp_path: Path, answer: Answer) -> None:
    """800 tests that serve on `free_port` and on a port that is kept: no two on one port at a time; 800 kept are 800.

    Numbers that the same tests pick at random from 100 do overlap: it would be noticed.
    """
    assert_passed(run_pytest(tmp_path, _SERVERS_INSIDE, "-n", "16"), 800)
    uses = read_uses(tmp_path)
    assert Counter(use.kind for use in uses) == {"given_back": 800, "kept": 800, "unleased": 800}
    end = max(use.ended for use in uses)
    leased = [use._replace(ended=end) if use.kind == "kept" else use for use in uses if use.kind != "unleased"]
    assert simultaneous(leased) == []
    assert len({use.port for use in uses if use.kind == "kept"}) == 800
    assert simultaneous(use for use in uses if use.kind == "unleased")
    assert answer("leases")["data"]["leases"] == []


_STARTS_INSIDE = """
import asyncio, errno, http.server, socket, threading, urllib.request
import pytest

COUNT = {count}

async def answer_by_asyncio(sock):
    async def handle(reader, writer):
        writer.write(b"here")
        writer.close()

    async with await asyncio.start_server(handle, sock=sock):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        assert await reader.read() == b"here"
        writer.close()
        await writer.wait_closed()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"here")

    def log_message(self, *arguments):
        pass

def answer_by_http_server(sock):
    host, port = sock.getsockname()
    with http.server.HTTPServer((host, port), Handler, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = sock
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with urllib.request.urlopen(f"http://{host}:{port}/") as answer:
            assert answer.read() == b"here"
        thread.join()

@pytest.mark.parametrize("number", range(COUNT))
def test_start(number, bound_socket):
    if number % 2:
        asyncio.run(answer_by_asyncio(bound_socket))
    else:
        answer_by_http_server(bound_socket)

def test_nobody_else_starts_there(bound_socket):
    with pytest.raises(OSError) as caught:
        socket.create_server(bound_socket.getsockname()).close()
    assert caught.value.errno == errno.EADDRINUSE
"""


@pytest.mark.scaled
def test_2000_servers_start_on_bound_socket(tmp_path: Path) -> None:
    """1,000 asyncio and 1,000 `http.server` starts, each with a client: 0 EADDRINUSE; a rival gets just that."""
    count = examples(2_000)
    assert_passed(run_pytest(tmp_path, _STARTS_INSIDE.replace("{count}", str(count)), "-n", "4"), count + 1)


# --- giving back ----------------------------------------------------------------------------------

_LEASES_INSIDE = """
import json, os, signal
import portguard
import pytest

def write_down(**what):
    leased = {lease.port: lease.process.pid for lease in portguard.list_leases()}
    with open("seen", "w") as file:
        json.dump(what | {"leased": list(leased), "pids": sorted(set(leased.values())), "pid": os.getpid()}, file)
"""


def seen(directory: Path) -> dict[str, Any]:
    """Return what a test inside wrote down."""
    found: dict[str, Any] = json.loads((directory / "seen").read_text())
    return found


def test_without_xdist_all_ports_are_leased_and_given_back(tmp_path: Path, answer: Answer) -> None:
    """A plain run: three different ports while it lasts, in the name of pytest's process, and none after it."""
    source = _LEASES_INSIDE + (
        "def test(free_port, free_port_factory):\n"
        "    write_down(ports=[free_port, free_port_factory(), free_port_factory(protocols=('tcp',))])\n"
        "def test_afterwards(free_port_factory):\n"
        "    assert len(portguard.list_leases()) == 2\n"
    )
    assert_passed(run_pytest(tmp_path, source), 2)
    there = seen(tmp_path)
    assert len(set(there["ports"])) == 3
    assert sorted(there["leased"]) == sorted(there["ports"])
    assert there["pids"] == [there["pid"]]
    assert answer("leases")["data"]["leases"] == []


def test_the_leases_of_a_killed_worker_die_with_it(tmp_path: Path, answer: Answer) -> None:
    """A worker that gets SIGKILL in a test tears nothing down; its two leases are gone all the same."""
    source = _LEASES_INSIDE + (
        "def test(free_port, free_port_factory):\n"
        "    write_down(ports=[free_port, free_port_factory()])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = run_pytest(tmp_path, source, "-n", "1", "--max-worker-restart", "0")
    assert done.returncode == 1
    assert "crashed" in done.stdout
    assert sorted(seen(tmp_path)["leased"]) == sorted(seen(tmp_path)["ports"])
    assert answer("leases")["data"]["leases"] == []


def test_a_forked_child_does_not_give_back_its_parent_s_ports(tmp_path: Path, answer: Answer) -> None:
    """A child of a test that leaves through all of pytest's teardown takes nothing away; what it took goes with it."""
    source = _LEASES_INSIDE + (
        "def test(free_port, free_port_factory):\n"
        "    own, (read, write) = free_port_factory(), os.pipe()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os.write(write, str(free_port_factory()).encode())\n"
        "        assert len(portguard.list_leases()) == 3\n"
        "        pytest.exit('child', returncode=7)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "    write_down(ports=[free_port, own], childs=int(os.read(read, 9)))\n"
    )
    done = run_pytest(tmp_path, source)
    assert done.returncode == 0, done.stdout
    assert sorted(seen(tmp_path)["leased"]) == sorted(seen(tmp_path)["ports"])
    assert seen(tmp_path)["childs"] not in seen(tmp_path)["ports"]
    assert answer("leases")["data"]["leases"] == []


def test_two_runs_of_one_user_do_not_meet(tmp_path: Path) -> None:
    """1,000 ports of a run, while as many are leased outside of it: none in common, for both are of one store."""
    outside = set(library.free_ports(1_000, ttl=600))
    source = (
        "import json\n"
        "def test(free_port_factory):\n"
        "    ports = [free_port_factory() for _ in range(1_000)]\n"
        "    with open('seen', 'w') as file:\n"
        "        json.dump({'ports': ports}, file)\n"
    )
    # Of the 4,536 that both ask for first; by chance, 220 would be in common.
    assert_passed(run_pytest(tmp_path, source), 1)
    inside = set(seen(tmp_path)["ports"])
    assert len(inside) == 1_000
    assert not inside & outside


# --- what it costs, and doing without -------------------------------------------------------------

_MODULES_INSIDE = """
import json, sys

def test_nothing():
    with open("modules", "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def modules_of(directory: Path, source: str, *arguments: str) -> set[str]:
    """Run pytest on one test that writes down what is loaded, and return that."""
    assert_passed(run_pytest(directory, source, *arguments), 1)
    return set(json.loads((directory / "modules").read_text()))


def test_a_run_that_uses_no_fixture_pays_for_two_modules(tmp_path: Path) -> None:
    """Beyond what pytest loads without the plugin: the package's face and the plugin; only with `free_port` more."""
    without = modules_of(tmp_path, _MODULES_INSIDE, "-p", "no:portguard")
    assert not _MODULES & without
    assert modules_of(tmp_path, _MODULES_INSIDE) - without == _MODULES
    used = modules_of(tmp_path, _MODULES_INSIDE.replace("test_nothing()", "test(free_port)")) - without
    assert "portguard.api.hold" in used
    assert not used & {"psutil", "typer", "yaml"}


def test_the_plugin_imports_pytest_and_nothing_else(tmp_path: Path) -> None:
    """In an interpreter that has pytest already, importing it loads the package's face and itself."""
    begin, end = "import pytest, sys; before = set(sys.modules)", "print(*set(sys.modules) - before)"
    program = f"{begin}; import portguard.pytest_plugin; {end}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert set(done.stdout.split()) == _MODULES


def test_without_the_plugin_there_are_no_such_fixtures(tmp_path: Path) -> None:
    """`-p no:portguard`: a test that asks for `free_port` is told that there is none, others run."""
    source = "def test_with(free_port):\n    pass\ndef test_without():\n    pass\n"
    done = run_pytest(tmp_path, source, "-p", "no:portguard")
    assert done.returncode == 1
    assert "fixture 'free_port' not found" in done.stdout
    assert "= 1 passed, 1 error in " in done.stdout


def test_the_fixtures_say_what_they_are(tmp_path: Path) -> None:
    """`pytest --fixtures` lists all three, each with a text."""
    done = run_pytest(tmp_path, "", "--fixtures")
    section = done.stdout.partition("fixtures defined from portguard.pytest_plugin")[2].partition("\n----")[0]
    heads = [line.split()[0] for line in section.splitlines()[1:] if line and not line.startswith(" ")]
    assert heads == ["free_port", "free_port_factory", "bound_socket"]
    assert "no docstring" not in section
    assert section.count("\n    ") >= len(heads)


@pytest.mark.parametrize("fixture", ["free_port", "free_port_factory"])
def test_where_nothing_can_be_leased_it_warns(fixture: str, tmp_path: Path) -> None:
    """A store that cannot be used costs a warning that says so; the test gets a port all the same."""
    (tmp_path / "file").write_text("")
    source = (
        "import socket\n"
        f"def test({fixture}):\n"
        f"    port = {fixture} if isinstance({fixture}, int) else {fixture}()\n"
        "    socket.create_server(('', port)).close()\n"
    )
    done = run_pytest(
        tmp_path, source, "-W", "default", environ={"PORTGUARD_STATE_DIR": str(tmp_path / "file" / "state")}
    )
    assert done.returncode == 0, done.stdout
    assert "UserWarning: not leased, another caller may get the same port: the lease directory" in done.stdout
    assert "= 1 passed, 1 warning in " in done.stdout


def test_the_fixtures_are_there_for_portguard_s_own_tests(free_port: int, portguard: Run) -> None:
    """The plugin is installed with the package; `check` finds its port free, `free` does not give it away."""
    assert portguard("check", free_port).returncode == 0
    done = portguard("free", "--range", f"{free_port}-{free_port}")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1,
        f"portguard: no free port in {free_port}-{free_port}: 1 leased",
    )
