"""Claims about what is loaded: `check`, `free` and `import portguard` pay for nothing they do not use."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import portguard
from tests.worlds import netns

# Each costs a multiple of what the commands themselves do, or is a door to something that does.
HEAVY = {
    "argparse",
    "dataclasses",
    "importlib.metadata",
    "inspect",
    "json",
    "psutil",
    "pydantic",
    "rich",
    "socket",
    "sqlite3",
    "subprocess",
    "typer",
    "typing",
}

# Told apart from the command's own answer by where they come.
_SHOW = "print('loaded:', *sorted(set(sys.modules) - before), file=sys.stderr)"
_BEGIN = "import sys; sys.path[:] = sys.argv.pop(1).split(chr(0x1F)); before = set(sys.modules)"


class Run:
    """A fresh interpreter that ran something: its exit code, its output, and the modules that were loaded for it."""

    def __init__(self, statement: str, cwd: Path) -> None:
        # -I and -S: neither the environment nor the .pth files of installed packages load anything before.
        command = [sys.executable, "-I", "-S", "-c", f"{_BEGIN}\n{statement}\n{_SHOW}", chr(0x1F).join(_search_path())]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=cwd)
        messages, mark, modules = done.stderr.rpartition("loaded:")
        assert mark, done
        self.exit_code = done.returncode
        self.stdout = done.stdout
        self.stderr = messages
        self.modules = set(modules.split())

    def top_level(self) -> set[str]:
        """Return the packages and modules that were loaded, without what is inside packages."""
        return {name.partition(".")[0] for name in self.modules}


def _search_path() -> list[str]:
    project = os.path.dirname(os.path.dirname(os.path.abspath(portguard.__file__)))
    return [project, *(os.path.abspath(entry) for entry in sys.path if entry)]


def assert_light(done: Run, *others: str) -> None:
    """Check that nothing heavy was loaded, and nothing installed but portguard and the `others`."""
    assert not done.modules & HEAVY, sorted(done.modules & HEAVY)
    installed = done.top_level() - set(sys.stdlib_module_names)
    assert installed <= {"portguard", *others}, sorted(installed)


def tomli_of(done: Run) -> set[str]:
    """Return the names under which tomli is loaded: its own, and those its compiled parts share."""
    return {name for name in done.top_level() if name == "tomli" or name.endswith("__mypyc")}


def run_command(cwd: Path, *arguments: str) -> Run:
    """Run the command line in a fresh interpreter; it must answer yes, and say nothing on standard error."""
    done = Run(f"from portguard.cli.main import main\nassert main({list(arguments)!r}) == 0", cwd)
    assert (done.exit_code, done.stderr) == (0, "")
    return done


def test_the_interpreter_begins_with_none_of_it(tmp_path: Path) -> None:
    """The baseline: an interpreter that does nothing has loaded no heavy module, so none can hide in it."""
    modules = Run("before = set()", tmp_path).modules
    assert "sys" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("name", sorted(HEAVY - {"pydantic"}))
def test_a_heavy_module_is_seen(name: str, tmp_path: Path) -> None:
    """The measurement notices each of them when it is loaded (those that are installed)."""
    if name == "rich":
        pytest.importorskip("rich")
    assert name in Run(f"import {name}", tmp_path).modules


def test_importing_portguard_loads_nothing_but_itself(tmp_path: Path) -> None:
    """One module, and the one behind `from __future__`."""
    assert Run("import portguard", tmp_path).modules == {"portguard", "__future__"}


def test_asking_for_a_name_of_the_library_loads_nothing_heavy(tmp_path: Path) -> None:
    """The first use of `check` and `free` loads what they need."""
    done = Run("import portguard\nportguard.check, portguard.free, portguard.PortReport", tmp_path)
    assert "portguard.api.check" in done.modules
    assert_light(done)


def test_check_of_declared_ports_loads_nothing_heavy(tmp_path: Path) -> None:
    """Five free ports of a config: tomli reads it, and that is all that is not the interpreter's or portguard's own."""
    ports = portguard.free_ports(5)
    lines = [f"p{number} = {port}" for number, port in enumerate(ports)]
    (tmp_path / "portguard.toml").write_text("\n".join(["[ports]", *lines, ""]))
    done = run_command(tmp_path, "check")
    assert done.stdout == "5 ports: 5 free (portguard.toml)\n"
    assert "tomli" in done.modules
    assert_light(done, *tomli_of(done))


def test_check_of_ports_by_number_loads_nothing_heavy(tmp_path: Path) -> None:
    """Five free ports as arguments: not even tomli."""
    done = run_command(tmp_path, "check", *map(str, portguard.free_ports(5)))
    assert done.stdout == "5 ports: 5 free\n"
    assert_light(done)


@pytest.mark.parametrize(
    "arguments",
    [
        ["free"],
        ["free", "-n", "5"],
        ["free", "--count=2", "--tcp", "--ttl", "5"],
        ["free", "--range", "49152-65535", "--no-lease", "--udp"],
    ],
)
def test_free_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    """However it is plainly asked, and with the lease written."""
    done = run_command(tmp_path, *arguments)
    assert done.stdout.split()
    assert_light(done)


@pytest.mark.parametrize("arguments", [["info", "5432"], ["info", "53/udp", "4711", "65535"]])
def test_info_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    """Tables and settings answer; the services file is read for the numbers that no table has."""
    done = run_command(tmp_path, *arguments)
    assert done.stdout.split()
    assert_light(done)


def _list_in_silence(cwd: Path) -> Run:
    statement = "from portguard.cli.main import main\nassert main(['list', '--all', '--tcp', '--mine', '-4']) == 0"
    return Run(statement, cwd)


@pytest.mark.needs("netns")
def test_list_loads_nothing_heavy_where_nothing_listens(tmp_path: Path) -> None:
    """The tables themselves cost nothing that the small front door does not pay for `check`."""
    done = netns.run_in_netns(_list_in_silence, tmp_path)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "nothing listens\n")
    assert_light(done)


# A server that starts after a while beside what follows, and ends with it.
_LATER = """
import _socket, os, time
ours, theirs = os.pipe()
if os.fork() == 0:
    os.close(theirs)
    time.sleep(0.2)
    server = _socket.socket()
    server.bind(("127.0.0.1", {port}))
    server.listen()
    os.read(ours, 1)
    os._exit(0)
"""


def test_wait_loads_nothing_heavy(tmp_path: Path) -> None:
    """While it waits, and when it says what has come, it needs nothing but the tables and the bind."""
    (port,) = portguard.free_ports(1)
    words = ["wait", f"127.0.0.1:{port}"]
    command = f"from portguard.cli.main import main\nassert main({words!r}) == 0"
    waited = Run(f"{_LATER.format(port=port)}\n{command}", tmp_path)
    free = run_command(tmp_path, *words, "--free")

    assert (waited.exit_code, waited.stderr) == (0, "")
    # On a busy machine the server may be there before it is waited for.
    assert waited.stdout.startswith(f"127.0.0.1:{port}/tcp listens a")
    assert free.stdout == f"127.0.0.1:{port}/tcp is free already\n"
    for done in (waited, free):
        assert "portguard.api.wait" in done.modules
        assert_light(done)
        assert not {"portguard.api.check", "portguard.holders.find", "portguard.holders.containers"} & done.modules


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil describes processes")
@pytest.mark.parametrize("command", ["list", "who", "check"])
def test_describing_processes_loads_nothing_heavy(command: str, tmp_path: Path) -> None:
    """Who holds a port is read from /proc: no psutil, and json only where an owner is hidden and the engines asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        words = [command] if command == "list" else [command, str(port)]
        code = 1 if command == "check" else 0
        done = Run(f"from portguard.cli.main import main\nassert main({words!r}) == {code}", tmp_path)
        assert f"pid {os.getpid()}" in done.stdout or f" {os.getpid()} " in done.stdout
    assert done.exit_code == 0
    assert (done.modules & HEAVY) <= ({"json"} if command == "list" else set())
    assert done.top_level() - set(sys.stdlib_module_names) <= {"portguard"}


def test_json_is_loaded_where_json_is_asked_for_and_nothing_else(tmp_path: Path) -> None:
    """`--json` pays for json alone."""
    done = run_command(tmp_path, "free", "--json")
    assert done.modules & HEAVY == {"json"}
