"""A small world for each cell: a repository with two linked worktrees, a store with leases in it, a server.

What git makes is made once and copied; the store is filled by portguard itself. Nothing here judges.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, NamedTuple

import portguard
from portguard.leases import assignments, table
from portguard.leases.table import Lease
from portguard.system import alive, kernel
from tests.worlds.repositories import declared_numbers, git
from tests.worlds.store import Files

_LONG = 600_000  # milliseconds; longer than any test
_COPIED = ("old/.git", "new/.git", "main/.git/worktrees/old/gitdir", "main/.git/worktrees/new/gitdir")


class World(NamedTuple):
    """The checkouts `main`, `old` (which has numbers of its own) and `new` (which has none yet); `plain`, without git.

    `state` is the store. `web` and `db` are declared and free; `taken` has a living process's lease, and is free;
    `busy` has a listener.
    """

    root: Path
    web: int
    db: int
    taken: int
    busy: int

    @property
    def state(self) -> Path:
        """The store."""
        return self.root / "state"

    @property
    def files(self) -> Files:
        """The files of the store."""
        return Files(self.state)

    @property
    def out(self) -> Path:
        """Where standard output goes."""
        return self.root / "out"

    def place(self, word: str) -> tuple[str | Path, ...]:
        """Return what a name in the table of cells stands for: the paths as calls have them."""
        if word.startswith("/"):
            return (word.format(pid=os.getpid()),)
        if word in ("table", "book", "lock"):
            path: Path = getattr(self.files, word)
            return path, path.name
        if word in ("table.corrupt-1", "book.corrupt-1", "book.new"):
            name, _, suffix = word.partition(".")
            beside = Path(f"{getattr(self.files, name)}.{suffix}")
            return beside, beside.name
        if word.startswith("portguard/"):  # a part of the program itself, compiled or not
            part = Path(portguard.__file__).parents[1] / word
            return part, cache_from_source(part)
        return (self.root / word,)

    def environ(self) -> dict[str, str]:
        """Return the variables that lead here."""
        return {
            **os.environ,
            "PORTGUARD_STATE_DIR": str(self.state),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "HOME": str(self.root),
            # A limit on file sizes would leave half a .pyc in the package (CPython 3.11 renames what was cut off).
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def template(top: Path) -> Path:
    """Make with git what all worlds are copies of."""
    made = top / "template"
    git("init", "--quiet", made / "main")
    (made / "main" / "README").write_text("a project\n")
    git("-C", made / "main", "add", "--all")
    git("-C", made / "main", "commit", "--quiet", "--message", "all")
    for name in ("old", "new"):
        git("-C", made / "main", "worktree", "add", "--quiet", "--detach", made / name)
    return made


def build(made: Path, root: Path, busy: int) -> World:
    """Build a world at `root` out of the template."""
    shutil.copytree(made, root)
    for name in _COPIED:
        path = root / name
        path.write_text(path.read_text().replace(str(made), str(root)))
    web, db, taken = declared_numbers(3)
    world = World(root, web, db, taken, busy)
    for name in ("main", "old", "new"):
        (root / name / "portguard.toml").write_text(
            f'[ports.web]\nport = {web}\nenv = "WEB_PORT"\n\n[ports.db]\nport = {db}\nenv = "DB_PORT"\n'
        )
    (root / "main" / ".env").write_text("# mine\nOTHER=1\n")
    plain = root / "plain"
    plain.mkdir()
    (plain / ".env").write_text("PORT=3100\n")
    (plain / "package.json").write_text('{"scripts": {"dev": "vite --port 5199"}}\n')
    (plain / "compose.yaml").write_text(f'services:\n  web:\n    image: x\n    ports: ["127.0.0.1:{web}:80"]\n')
    portguard.env(cwd=str(root / "old"), environ={"PORTGUARD_STATE_DIR": str(world.state), "HOME": str(root)})
    caller = os.getpid()
    with table.locked(str(world.state), kernel.host_key()) as leases:
        mine = Lease(table.FOR_LIFE, caller, 3, alive.start_of(caller), leases.clock(), directory="/elsewhere")
        leases.write(taken, mine._replace(kind="run", name="x"))
        leases.write(db, mine._replace(expires=leases.clock() + _LONG))
    return world


class Stored(NamedTuple):
    """What is kept, as portguard reads it and byte for byte; `names` are those of all files that it could leave."""

    book: bytes | None
    assigned: dict[tuple[str, str], int]
    leases: dict[int, Lease] | None
    files: dict[str, bytes]
    names: frozenset[str]


def look(world: World) -> Stored:
    """Return what is kept in this world now."""
    book = world.files.book.read_bytes() if world.files.book.exists() else None
    assigned: dict[tuple[str, str], int] = {}
    leases: dict[int, Lease] | None = None
    if world.state.is_dir():
        for item in assignments.read(str(world.state), kernel.machine_key()):
            assigned[Path(item.root).name, item.name] = item.port
        with table.readable(str(world.state), kernel.host_key(), is_alive=alive.is_alive) as found:
            leases = None if found is None else found.leases()
    watched = [world.root / "main" / ".env", world.root / "plain" / "portguard.toml"]
    files = {path.name: path.read_bytes() for path in watched if path.exists()}
    places = [path for path in (world.state, world.root / "main", world.root / "plain") if path.is_dir()]
    return Stored(book, assigned, leases, files, frozenset(name for place in places for name in os.listdir(place)))


def bindable(port: int) -> bool:
    """Whether a usual server gets the port on every address."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("::", port))
            sock.listen()
        except OSError:
            return False
        return True


def document(text: str) -> dict[str, Any] | None:
    """Return the one JSON document on standard output, None if there is none, or half of one."""
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
