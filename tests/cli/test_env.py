"""`portguard env`: a checkout's numbers as variables; who wins, what moves, what is written, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import portguard as library
from portguard.leases import assignments
from portguard.system import kernel
from tests.conftest import PORTGUARD, Run
from tests.worlds.repositories import declared_numbers, git
from tests.worlds.servers import plain_server

pytestmark = pytest.mark.needs("git")

Answer = Callable[..., dict[str, Any]]

_TIMEOUT = 60.0


class Shop:
    """A repository that declares `web` and `db`, both with a variable; its `main` checkout, and linked ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.main = path / "shop"
        self.web, self.db = declared_numbers(2)
        git("init", "--quiet", self.main)
        self.declare()
        self.commit()

    def declare(self, more: str = "", web: int | None = None, place: Path | None = None) -> None:
        """Write the config, by default of the main checkout."""
        (place or self.main).joinpath("portguard.toml").write_text(
            f'[ports.web]\nport = {web or self.web}\nenv = "WEB_PORT"\nhost = "127.0.0.1"\n\n'
            f'[ports.db]\nport = {self.db}\nenv = "DB_PORT"\nhost = "127.0.0.1"\n{more}'
        )

    def commit(self) -> None:
        """Commit everything."""
        git("-C", self.main, "add", "--all")
        git("-C", self.main, "commit", "--quiet", "--message", "all")

    def linked(self, name: str = "side") -> Path:
        """Add a worktree."""
        path = self.path / name
        git("-C", self.main, "worktree", "add", "--quiet", "--detach", path)
        return path


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a new repository."""
    return Shop(tmp_path)


@pytest.fixture
def variables(portguard: Run) -> Callable[..., dict[str, str]]:
    """Return a function that runs `portguard env` somewhere and returns what it prints."""

    def run(place: Path, *arguments: str, **environ: str) -> dict[str, str]:
        done = portguard("env", *arguments, cwd=place, env={**os.environ, **environ})
        assert done.returncode == 0, done
        pairs = (line.partition("=") for line in done.stdout.splitlines())
        return {name: value for name, _, value in pairs}

    return run


Variables = Callable[..., dict[str, str]]


def assigned() -> list[int]:
    """Return the numbers that are assigned in the running test's store."""
    return [item.port for item in assignments.read(os.environ["PORTGUARD_STATE_DIR"], kernel.machine_key())]


# --- the main checkout, and what is printed -------------------------------------------------------


def test_the_main_checkout_has_the_declared_numbers(shop: Shop, portguard: Run) -> None:
    """In the order of the config, an assignment a line, nothing else, and nothing is stored."""
    done = portguard("env", cwd=shop.main)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"WEB_PORT={shop.web}\nDB_PORT={shop.db}\n", "")
    assert not os.path.lexists(os.environ["PORTGUARD_STATE_DIR"])


def test_a_shell_evaluates_what_it_is_given(shop: Shop, portguard: Run) -> None:
    """`eval "$(portguard env --format shell)"` in a real sh exports the variables to its children."""
    script = f'eval "$({PORTGUARD[0]} env --format shell)"; exec sh -c \'echo "$WEB_PORT,$DB_PORT"\''
    done = subprocess.run(
        ["sh", "-c", script], cwd=shop.main, capture_output=True, text=True, timeout=_TIMEOUT, check=True
    )

    assert (done.stdout, done.stderr) == (f"{shop.web},{shop.db}\n", "")
    printed = portguard("env", "--format", "shell", cwd=shop.main).stdout
    assert printed == f"export WEB_PORT={shop.web}\nexport DB_PORT={shop.db}\n"


def test_github_is_what_github_env_takes_json_what_json_prints(shop: Shop, portguard: Run, answer: Answer) -> None:
    """`github` is what $GITHUB_ENV takes, `json` what --json prints; names choose; an unknown format is exit 2."""
    dotenv = f"WEB_PORT={shop.web}\nDB_PORT={shop.db}\n"
    assert portguard("env", "--format", "dotenv", cwd=shop.main).stdout == dotenv
    assert portguard("env", "--format", "github", cwd=shop.main).stdout == dotenv
    assert portguard("env", "db", cwd=shop.main).stdout == f"DB_PORT={shop.db}\n"
    document = answer("env", cwd=shop.main)
    assert json.loads(portguard("env", "--format", "json", cwd=shop.main).stdout) == document
    assert document["data"] == {
        "config": str(shop.main / "portguard.toml"),
        "isolated": False,
        "checkout": {
            "root": str(shop.main),
            "common": str(shop.main / ".git"),
            "directory": str(shop.main),
            "linked": False,
        },
        "ports": [
            {
                "name": name, "env": f"{name.upper()}_PORT", "port": port, "declared_port": port,
                "protocols": ["tcp"], "origin": "declared",
            }
            for name, port in (("web", shop.web), ("db", shop.db))
        ],
        "variables": {"WEB_PORT": shop.web, "DB_PORT": shop.db},
        "notes": [],
    }  # fmt: skip
    unknown = portguard("env", "--format", "yaml", cwd=shop.main)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "dotenv, shell, github, json" in unknown.stderr


def test_what_is_asked_wrongly(shop: Shop, portguard: Run, tmp_path: Path) -> None:
    """No such name, a name without a variable, no config at all: exit 2, a sentence, nothing printed or stored."""
    shop.declare(f"\n[ports.fixed]\nport = {declared_numbers(1)[0]}\n")
    (tmp_path / "empty" / ".git").mkdir(parents=True)
    cases = [
        (("nosuch",), shop.main, "nosuch"),
        (("fixed",), shop.main, "'fixed' has no variable"),
        ((), tmp_path / "empty", "no portguard.toml"),
    ]
    for arguments, place, reason in cases:
        done = portguard("env", *arguments, cwd=place)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert reason in done.stderr
    assert not os.path.lexists(os.environ["PORTGUARD_STATE_DIR"])


# --- a linked worktree ----------------------------------------------------------------------------


def test_a_linked_worktree_has_its_own_and_keeps_them(shop: Shop, variables: Variables, answer: Answer) -> None:
    """Of the dynamic range, other than the main's, the same again; the document says that they are its own."""
    side = shop.linked()
    own = variables(side)

    assert list(own) == ["WEB_PORT", "DB_PORT"]
    assert all(49_152 <= int(port) <= 65_535 for port in own.values())
    assert variables(side) == own
    assert variables(shop.main) == {"WEB_PORT": str(shop.web), "DB_PORT": str(shop.db)}
    data = answer("env", cwd=side)["data"]
    assert (data["isolated"], [port["origin"] for port in data["ports"]]) == (True, ["lease", "lease"])
    assert data["checkout"] == {
        "root": str(side),
        "common": str(shop.main / ".git"),
        "directory": str(side),
        "linked": True,
    }


def test_check_tells_the_very_numbers(shop: Shop, variables: Variables, answer: Answer) -> None:
    """Before they are assigned `check` foresees what `env` gives then, stores nothing, and tells the same after it."""
    side = shop.linked()

    def checked() -> list[int]:
        return [port["port"] for port in answer("check", cwd=side)["data"]["ports"]]

    foreseen = checked()
    assert not os.path.lexists(os.environ["PORTGUARD_STATE_DIR"])
    own = variables(side)
    assert foreseen == list(map(int, own.values()))
    assert checked() == foreseen
    assert [port["declared_port"] for port in answer("check", cwd=side)["data"]["ports"]] == [shop.web, shop.db]


def test_a_variable_wins_then_dot_env_then_the_lease(shop: Shop, variables: Variables) -> None:
    """In every checkout: the environment over `.env` over the number of its own; an empty variable is none."""
    side = shop.linked()
    own = variables(side)
    first, second = declared_numbers(2)
    (side / ".env").write_text(f"WEB_PORT={first}\n")

    assert variables(side) == {**own, "WEB_PORT": str(first)}
    assert variables(side, WEB_PORT=str(second)) == {**own, "WEB_PORT": str(second)}
    assert variables(side, WEB_PORT="") == {**own, "WEB_PORT": str(first)}
    (side / ".env").unlink()
    assert variables(side) == own


def test_a_variable_that_is_set_needs_no_number_of_its_own(shop: Shop, variables: Variables) -> None:
    """What is chosen on purpose takes none from the pool; once it is unset, one is assigned."""
    side = shop.linked()
    (chosen,) = declared_numbers(1)
    found = variables(side, WEB_PORT=str(chosen))

    assert assigned() == [int(found["DB_PORT"])]
    everything = variables(side)
    assert everything["DB_PORT"] == found["DB_PORT"]
    assert sorted(assigned()) == sorted(map(int, everything.values()))


def test_declarations_with_one_variable_share_its_number(shop: Shop, variables: Variables, answer: Answer) -> None:
    """Two names for one variable: one number, assigned once, and checked for both protocols."""
    shop.declare(f'\n[ports.dns]\nport = {shop.web}\nprotocol = "udp"\nenv = "WEB_PORT"\nhost = "127.0.0.1"\n')
    shop.commit()
    side = shop.linked()
    own = variables(side)

    assert list(own) == ["WEB_PORT", "DB_PORT"]
    assert sorted(assigned()) == sorted(map(int, own.values()))
    ports = answer("check", cwd=side)["data"]["ports"]
    assert {port["name"]: port["port"] for port in ports}["dns"] == int(own["WEB_PORT"])
    assert [port["verdict"] for port in ports] == ["free"] * 3


def test_free_never_gives_an_assigned_number(shop: Shop, variables: Variables, portguard: Run) -> None:
    """Asked for exactly that port `free` has none, because it is assigned; with and without a lease."""
    port = variables(shop.linked())["WEB_PORT"]
    for more in ((), ("--no-lease",)):
        done = portguard("free", "--range", f"{port}-{port}", *more)
        assert (done.returncode, done.stdout) == (1, "")
        assert "1 assigned" in done.stderr


def test_a_leased_number_is_not_assigned(shop: Shop, variables: Variables, answer: Answer, portguard: Run) -> None:
    """What `free` has handed out is passed over, although the hash of the worktree asks for it."""
    side = shop.linked()
    preferred = answer("check", cwd=side)["data"]["ports"][0]["port"]
    assert portguard("free", "--range", f"{preferred}-{preferred}", "--ttl", "600").stdout == f"{preferred}\n"

    assert int(variables(side)["WEB_PORT"]) != preferred


def test_isolated_is_kept(shop: Shop, variables: Variables) -> None:
    """A main checkout asked for with --isolated has its own numbers, and later without the flag the same."""
    own = variables(shop.main, "--isolated")

    assert not {str(shop.web), str(shop.db)} & set(own.values())
    assert variables(shop.main) == own
    assert variables(shop.main / ".git" / "..") == own


# --- moving ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def stranger(shop: Shop) -> Iterator[int]:
    """Let a server outside of every checkout listen on a port, and declare that for `web`."""
    place = shop.path / "elsewhere"
    place.mkdir()
    with plain_server(place) as port:
        shop.declare(web=port)
        yield port


def test_a_stranger_on_a_declared_port_is_a_conflict(shop: Shop, portguard: Run, answer: Answer) -> None:
    """Exit 1 with the owner's name and directory's next step, no number printed, nothing stored."""
    import psutil

    with stranger(shop) as port:
        done = portguard("env", cwd=shop.main)
        document = answer("env", cwd=shop.main)

        assert (done.returncode, done.stdout) == (1, "")
        assert f"{psutil.Process().name()} (pid " in done.stderr
        assert f"127.0.0.1:{port}/tcp" in done.stderr
        assert "portguard env --move" in done.stderr
        assert [error["code"] for error in document["errors"]] == ["conflict"]
        assert portguard("env", "db", cwd=shop.main).stdout == f"DB_PORT={shop.db}\n"
    assert not os.path.lexists(os.environ["PORTGUARD_STATE_DIR"])


def test_what_was_moved_stays_moved_until_it_is_released(shop: Shop, portguard: Run, variables: Variables) -> None:
    """--move gives one other number, says so every time, also when the stranger is gone; `leases release` undoes it."""
    with stranger(shop) as port:
        done = portguard("env", "--move", cwd=shop.main)
        moved = dict(line.split("=") for line in done.stdout.splitlines())
        assert done.returncode == 0
        assert moved["DB_PORT"] == str(shop.db)
        assert moved["WEB_PORT"] != str(port)
        sentence = f"note: web is moved from {port} to {moved['WEB_PORT']} (undo: portguard leases release web)\n"
        assert done.stderr == sentence
        again = portguard("env", "--move", cwd=shop.main)
        assert (again.stdout, again.stderr) == (done.stdout, sentence)
    after = portguard("env", cwd=shop.main)
    assert (after.returncode, after.stdout, after.stderr) == (0, done.stdout, sentence)
    assert assigned() == [int(moved["WEB_PORT"])]

    assert portguard("leases", "release", "web", cwd=shop.main).returncode == 0
    back = portguard("env", cwd=shop.main)
    assert (back.stdout, back.stderr) == (f"WEB_PORT={port}\nDB_PORT={shop.db}\n", "")
    assert assigned() == []


def test_our_own_server_is_no_conflict(shop: Shop, variables: Variables) -> None:
    """Anyone who runs inside of the checkout is ours: the declared number is printed, also with --move."""
    (shop.main / "src").mkdir()
    with plain_server(shop.main / "src") as port:
        shop.declare(web=port)
        expected = {"WEB_PORT": str(port), "DB_PORT": str(shop.db)}
        assert variables(shop.main) == expected
        assert variables(shop.main, "--move") == expected
    assert not assigned()


def test_a_worktree_s_own_number_that_a_stranger_took_is_moved_on_request(shop: Shop, variables: Variables) -> None:
    """--move in a linked worktree whose own number is held by someone else: another one, then kept."""
    side = shop.linked()
    own = variables(side)
    program = "import socket,sys; s=socket.create_server(('127.0.0.1',int(sys.argv[1]))); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, own["WEB_PORT"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"\n"
        moved = variables(side, "--move")
        server.communicate(b"\n", timeout=_TIMEOUT)
    assert moved["WEB_PORT"] != own["WEB_PORT"]
    assert moved["DB_PORT"] == own["DB_PORT"]
    assert variables(side) == moved
    assert sorted(assigned()) == sorted(map(int, moved.values()))


def test_two_that_move_at_once_agree(shop: Shop) -> None:
    """Two shells whose `env --move` waits for the same lock are told the same number, the one that is kept."""
    with stranger(shop):
        store = os.environ["PORTGUARD_STATE_DIR"]
        with assignments.locked(store, kernel.machine_key()):
            callers = [
                subprocess.Popen(
                    [*PORTGUARD, "env", "--move", "web"], cwd=shop.main, stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
                for _ in range(2)
            ]
            lock = os.path.join(store, f"assignments-{kernel.machine_key()}.lock")
            waiting: set[int] = set()
            deadline = time.monotonic() + _TIMEOUT
            while len(waiting) < 2:
                assert time.monotonic() < deadline
                for caller in callers:
                    assert caller.poll() is None
                    with contextlib.suppress(OSError):
                        opened = {os.readlink(link) for link in Path(f"/proc/{caller.pid}/fd").iterdir()}
                        if lock in opened:
                            waiting.add(caller.pid)
        told = [caller.communicate(timeout=_TIMEOUT)[0].decode().strip() for caller in callers]
    assert told == [f"WEB_PORT={port}" for port in assigned()] * 2


# --- the compose project --------------------------------------------------------------------------

_COMPOSE = "services:\n  db:\n    image: postgres\n"


def test_a_compose_project_name_is_there_only_where_there_is_a_stack(shop: Shop, variables: Variables) -> None:
    """Not in a main checkout, not without a compose file or a `service`; in an isolated one with either."""
    plain = variables(shop.linked("plain"))
    assert "COMPOSE_PROJECT_NAME" not in plain
    (shop.main / "compose.yaml").write_text(_COMPOSE)
    shop.commit()
    assert "COMPOSE_PROJECT_NAME" not in variables(shop.main)
    with_file = shop.linked("with-file")
    assert variables(with_file)["COMPOSE_PROJECT_NAME"].startswith("with-file-")
    (with_file / "compose.yaml").unlink()
    assert "COMPOSE_PROJECT_NAME" not in variables(with_file)
    shop.declare('service = "db"\n', place=with_file)
    assert variables(with_file)["COMPOSE_PROJECT_NAME"].startswith("with-file-")


def test_worktrees_with_one_folder_name_are_two_compose_projects(shop: Shop, variables: Variables) -> None:
    """Different names in /a/side and /b/side, each the same when asked again and after it was written down."""
    (shop.main / "compose.yaml").write_text(_COMPOSE)
    shop.commit()
    places = [shop.linked(name) for name in ("a/side", "b/side")]
    names = [variables(place)["COMPOSE_PROJECT_NAME"] for place in places]

    assert names[0] != names[1]
    for place, name in zip(places, names, strict=True):
        assert variables(place)["COMPOSE_PROJECT_NAME"] == name
        for _ in range(2):
            assert variables(place, "--write", ".env") == {}
            assert f"COMPOSE_PROJECT_NAME={name}\n" in (place / ".env").read_text()
        assert variables(place)["COMPOSE_PROJECT_NAME"] == name
        assert variables(place, COMPOSE_PROJECT_NAME="mine")["COMPOSE_PROJECT_NAME"] == "mine"


@pytest.mark.parametrize("hostile", ["$(touch pwned)", "x; touch pwned", "a\nB=1", "`touch pwned`"])
def test_a_hostile_project_name_is_printed_as_a_word(shop: Shop, portguard: Run, hostile: str) -> None:
    """Whatever the environment says, what a shell evaluates is one plain word."""
    (shop.main / "compose.yaml").write_text(_COMPOSE)
    shop.commit()
    side = shop.linked()
    done = portguard("env", "--format", "shell", cwd=side, env={**os.environ, "COMPOSE_PROJECT_NAME": hostile})
    if done.returncode == 0:
        assert done.stdout.splitlines()[-1].startswith("export COMPOSE_PROJECT_NAME=")
        assert all(line.removeprefix("export ").replace("=", "").replace("_", "").replace("-", "").isalnum()
                   for line in done.stdout.splitlines())  # fmt: skip
    subprocess.run(["sh", "-c", done.stdout], cwd=side, check=False, capture_output=True, timeout=_TIMEOUT)
    assert not (side / "pwned").exists()
    assert len(done.stdout.splitlines()) == 3


def test_a_folder_without_a_latin_letter_still_has_a_compose_project_name(shop: Shop, variables: Variables) -> None:
    """Compose takes names that begin with a letter or a digit; that of a folder called 日本 is no exception."""
    (shop.main / "compose.yaml").write_text(_COMPOSE)
    shop.commit()
    name = variables(shop.linked("日本"))["COMPOSE_PROJECT_NAME"]
    assert name[0].isalnum()


# --- --write --------------------------------------------------------------------------------------


def block_of(path: Path) -> list[str]:
    """Return the assignments between the marks in a file."""
    lines = path.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("# >>> portguard env: "))
    last = lines.index("# <<< portguard env <<<")
    return [line for line in lines[first:last] if not line.startswith("#")]


def test_the_block_has_the_lines_that_are_printed(shop: Shop, portguard: Run) -> None:
    """Its content is what `env` prints; nothing on standard output; a second time the file is not touched."""
    side = shop.linked()
    printed = portguard("env", cwd=side).stdout
    (side / ".env").write_text("# mine\nSECRET=1\n")
    done = portguard("env", "--write", ".env", cwd=side)

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "written: WEB_PORT, DB_PORT in .env\n"
    assert block_of(side / ".env") == printed.splitlines()
    assert (side / ".env").read_text().startswith("# mine\nSECRET=1\n")
    status = (side / ".env").stat()
    again = portguard("env", "--write", ".env", cwd=side)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert ((side / ".env").stat().st_mtime_ns, (side / ".env").stat().st_ino) == (status.st_mtime_ns, status.st_ino)
    assert portguard("env", cwd=side).stdout == printed


def test_the_user_s_own_line_wins_and_is_not_doubled(shop: Shop, portguard: Run, variables: Variables) -> None:
    """What `.env` sets outside of the block stays the only assignment of that variable."""
    side = shop.linked()
    (mine,) = declared_numbers(1)
    (side / ".env").write_text(f"WEB_PORT={mine}\n")
    assert portguard("env", "--write", ".env", cwd=side).returncode == 0

    assert [line.partition("=")[0] for line in block_of(side / ".env")] == ["DB_PORT"]
    assert (side / ".env").read_text().count("WEB_PORT=") == 1
    assert variables(side)["WEB_PORT"] == str(mine)


def test_what_was_released_is_written_anew(shop: Shop, portguard: Run, variables: Variables) -> None:
    """The block that is about to be written is no wish of the user's: what was moved is the declared number again."""
    with stranger(shop) as port:
        assert portguard("env", "--move", "--write", ".env", cwd=shop.main).returncode == 0
        assert block_of(shop.main / ".env")[0] != f"WEB_PORT={port}"
    assert portguard("leases", "release", "web", cwd=shop.main).returncode == 0
    assert portguard("env", "--write", ".env", cwd=shop.main).returncode == 0
    assert block_of(shop.main / ".env") == [f"WEB_PORT={port}", f"DB_PORT={shop.db}"]


@pytest.mark.parametrize("kind", ["link", "outside", "directory", "fifo", "git", "torn"])
def test_what_is_not_a_file_of_this_checkout_is_refused(shop: Shop, portguard: Run, kind: str) -> None:
    """Exit 2 with the path in a sentence, and neither it nor what it leads to is changed."""
    side = shop.linked()
    target = shop.path / "precious"
    target.write_text("A=1\n")
    place = side / ".env"
    if kind == "link":
        place.symlink_to(target)
    elif kind == "outside":
        place = target
    elif kind == "directory":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "git":
        place = shop.main / ".git" / "config"
        side = shop.main
    else:
        place.write_text("# >>> portguard env: /x >>>\nWEB_PORT=1\n")
    before = place.read_bytes() if place.is_file() else None
    done = portguard("env", "--write", str(place), cwd=side)

    assert (done.returncode, done.stdout) == (2, "")
    assert str(place) in done.stderr
    assert target.read_text() == "A=1\n"
    assert before is None or place.read_bytes() == before
    assert sorted(os.listdir(shop.path)) == ["precious", "shop", "side"]


def test_another_spelling_of_the_config_s_path_changes_nothing(
    shop: Shop, portguard: Run, variables: Variables
) -> None:
    """`--config ./portguard.toml --write .env` where a worktree's `.env` was copied writes this worktree's numbers."""
    first, second = shop.linked("first"), shop.linked("second")
    portguard("env", "--write", ".env", cwd=first)
    own = variables(second)
    (second / ".env").write_bytes((first / ".env").read_bytes())
    done = portguard("env", "--config", "./portguard.toml", "--write", ".env", cwd=second)

    assert done.returncode == 0
    assert block_of(second / ".env") == [f"{name}={port}" for name, port in own.items()]


def test_a_copied_dot_env_is_noticed(shop: Shop, portguard: Run, variables: Variables) -> None:
    """A block names the checkout it was written for: copied into another worktree one is told; writing mends it."""
    first, second = shop.linked("first"), shop.linked("second")
    own = variables(second)
    portguard("env", "--write", ".env", cwd=first)
    (second / ".env").write_bytes((first / ".env").read_bytes())
    done = portguard("env", cwd=second)

    assert f"were written for {first}: portguard env --write .env\n" in done.stderr
    assert portguard("env", "--write", ".env", cwd=second).returncode == 0
    again = portguard("env", cwd=second)
    assert (again.stdout, again.stderr) == ("".join(f"{name}={port}\n" for name, port in own.items()), "")


# --- when it cannot be ----------------------------------------------------------------------------


def test_without_a_store_a_linked_worktree_gets_no_number(shop: Shop, portguard: Run, answer: Answer) -> None:
    """Exit 3, a sentence with the path, nothing printed; `check` answers all the same, with a note."""
    side = shop.linked()
    state = Path(os.environ["PORTGUARD_STATE_DIR"])
    state.mkdir()
    state.chmod(0o777)
    done = portguard("env", cwd=side)

    assert (done.returncode, done.stdout) == (3, "")
    assert f"other users may write to the lease directory {state}" in done.stderr
    check = portguard("check", cwd=side)
    assert check.returncode == 0
    assert check.stderr.count(f"other users may write to the lease directory {state}") == 1
    main = portguard("env", cwd=shop.main)
    assert (main.returncode, main.stdout) == (0, f"WEB_PORT={shop.web}\nDB_PORT={shop.db}\n")
    assert os.listdir(state) == []


# --- rivals ---------------------------------------------------------------------------------------


def test_a_variable_left_over_from_another_worktree_is_a_conflict(
    shop: Shop, variables: Variables, answer: Answer
) -> None:
    """`check` in B with A's WEB_PORT exported: conflict, because of the lease, with A's path; exit 1."""
    first, second = shop.linked("first"), shop.linked("second")
    theirs = variables(first)["WEB_PORT"]
    document = answer("check", "web", cwd=second, env={**os.environ, "WEB_PORT": theirs})

    (port,) = document["data"]["ports"]
    assert (port["port"], port["verdict"], port["cause"], document["exit_code"]) == (
        int(theirs), "conflict", "lease", 1,
    )  # fmt: skip
    assert str(first) in port["message"]
    assert "unset WEB_PORT" in port["hint"]
    at_home = answer("check", "web", cwd=first, env={**os.environ, "WEB_PORT": theirs})
    assert at_home["data"]["ports"][0]["verdict"] == "free"


def test_a_number_of_a_checkout_that_is_gone_is_nobody_s(shop: Shop, variables: Variables, answer: Answer) -> None:
    """The directory removed, but not pruned yet: using its number elsewhere is no conflict."""
    import shutil

    first, second = shop.linked("first"), shop.linked("second")
    theirs = variables(first)["WEB_PORT"]
    shutil.rmtree(first)
    document = answer("check", "web", cwd=second, env={**os.environ, "WEB_PORT": theirs})

    assert document["data"]["ports"][0]["verdict"] == "free"


def test_a_hold_of_another_directory_is_a_conflict(shop: Shop, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live `portguard.hold()` elsewhere on a declared number: conflict because of a lease; ended, it is free."""
    elsewhere = shop.path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with library.hold(within=(20_000, 32_000)) as held:
        shop.declare(web=held.port)
        (port,) = answer("check", "web", cwd=shop.main)["data"]["ports"]
        assert (port["verdict"], port["cause"]) == ("conflict", "lease")
        assert str(elsewhere) in port["message"]
        assert str(os.getpid()) in port["message"]
    assert answer("check", "web", cwd=shop.main)["data"]["ports"][0]["verdict"] == "free"
    monkeypatch.chdir(shop.main)
    with library.hold(within=(20_000, 32_000)) as held:
        shop.declare(web=held.port)
        assert answer("check", "web", cwd=shop.main)["data"]["ports"][0]["verdict"] == "free"


def test_a_hold_of_free_is_a_conflict_until_its_process_ends(shop: Shop, portguard: Run, answer: Answer) -> None:
    """`free --hold` in another directory: conflict because of a lease that names the holder, free after its end."""
    elsewhere = shop.path / "elsewhere"
    elsewhere.mkdir()
    port = int(portguard("free", "--hold", "60", "--range", "20000-32000", cwd=elsewhere).stdout)
    (lease,) = answer("leases")["data"]["leases"]
    try:
        shop.declare(web=port)
        (found,) = answer("check", "web", cwd=shop.main)["data"]["ports"]
        assert (found["verdict"], found["cause"]) == ("conflict", "lease")
        assert f"process {lease['process']['pid']} in {elsewhere}" in found["message"]
    finally:
        os.kill(lease["process"]["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _TIMEOUT
    while os.path.exists(f"/proc/{lease['process']['pid']}"):
        assert time.monotonic() < deadline, "the holder still runs"
    assert answer("check", "web", cwd=shop.main)["data"]["ports"][0]["verdict"] == "free"


def test_a_plain_lease_is_nobody_s_rival(shop: Shop, portguard: Run, answer: Answer) -> None:
    """Anyone who was handed a port by `free` may be the one who declares it: that never conflicts, dead or alive."""
    by_command = int(portguard("free", "--ttl", "600", "--range", "20000-32000").stdout)
    by_library = library.free_port(ttl=600, within=(20_000, 32_000))
    for port in (by_command, by_library):
        shop.declare(web=port)
        assert answer("check", "web", cwd=shop.main)["data"]["ports"][0]["verdict"] == "free"


def test_a_command_of_a_checkout_with_a_long_path_is_no_rival(shop: Shop, answer: Answer) -> None:
    """What `portguard run` runs in this very checkout is no stranger, however long the checkout's path is."""
    place = shop.path / ("d" * 150) / ("e" * 150)
    (place / ".git").mkdir(parents=True)
    shop.declare(place=place)
    with subprocess.Popen(
        [*PORTGUARD, "run", "--no-hold", "--", "sh", "-c", "echo; read line"],
        cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as command:  # fmt: skip
        assert command.stdout is not None
        assert command.stdout.readline() == b"\n"
        ports = answer("check", cwd=place)["data"]["ports"]
        command.communicate(b"\n", timeout=_TIMEOUT)
    assert [port["verdict"] for port in ports] == ["free", "free"]
