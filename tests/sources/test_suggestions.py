"""Claims about what `.env`, Procfile, package.json and devcontainer.json are read to say of ports."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portguard.model import Source, Suggestion
from portguard.rules import env_block
from portguard.sources import devcontainer, env_ports, package_json, procfile, regular
from portguard.sources.text import CommandPort, SourceError, command_ports

Reader = Callable[[str], "tuple[Suggestion, ...] | None"]
READERS: dict[str, Reader] = {
    ".env": env_ports.read,
    "Procfile": procfile.read,
    "package.json": package_json.read,
    "devcontainer.json": devcontainer.read,
}


@pytest.fixture
def suggested(tmp_path: Path) -> Callable[..., list[tuple[object, ...]]]:
    """Write a file, read it, and return of each suggestion the fields asked for."""

    def read(
        reader: Callable[..., tuple[Suggestion, ...] | None], content: str, fields: str, *more: object
    ) -> list[tuple[object, ...]]:
        path = tmp_path / "file"
        path.write_text(content)
        found = reader(str(path), *more)
        assert found is not None
        assert all(item.source.file == str(path) for item in found)
        return [
            tuple(item.source.line if field == "line" else getattr(item, field) for field in fields.split())
            for item in found
        ]

    return read


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file(name: str, tmp_path: Path) -> None:
    """Nothing, a folder and a FIFO are no file; one byte more than a mebibyte is an error."""
    read, path = READERS[name], tmp_path / name
    assert read(str(path)) is None
    assert read(str(path / "below" / name)) is None
    path.mkdir()
    assert read(str(path)) is None
    path.rmdir()
    os.mkfifo(path)
    assert read(str(path)) is None
    path.unlink()
    path.write_bytes(b"#" * (regular.SIZE_LIMIT + 1))
    with pytest.raises(SourceError, match=r"^larger than 1024 KiB$") as caught:
        read(str(path))
    assert caught.value.line is None


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=60)
    | st.text(st.sampled_from('{}[]",:0123-p PORT=$\n\\\'"scripts'), max_size=80).map(str.encode)
)
def test_any_bytes(name: str, content: bytes, folder: Path) -> None:
    """Any content gives suggestions of real ports in lines of the file, or SourceError."""
    path = folder / name
    path.write_bytes(content)
    try:
        found = READERS[name](str(path))
    except SourceError:
        return
    assert found is not None
    assert all(0 < item.port < 65536 for item in found)
    assert all(item.source.line in range(1, content.count(b"\n") + 2) for item in found)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        (".env", "A=1\nB C=2\n", 2),
        ("package.json", '{\n "scripts": {\n "dev" "x"}}', 3),
        ("package.json", '{\n "scripts": ["x"]}', 2),
        ("package.json", "[]", 1),
        ("devcontainer.json", '{\n // c\n "forwardPorts": 3000}', 3),
        ("devcontainer.json", '{\n "portsAttributes": []}', 2),
        ("devcontainer.json", "3000", 1),
        ("devcontainer.json", "{\n/*", 2),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_line(name: str, content: str, line: int, tmp_path: Path) -> None:
    """What cannot be understood is refused with its line."""
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(SourceError) as caught:
        READERS[name](str(path))

    assert caught.value.line == line
    assert caught.value.what
    assert str(caught.value) == f"line {line}: {caught.value.what}"


BOMBS = {
    ".env": "A_PORT=1\n" * 110_000,
    "Procfile": "a: x $PORT\n" * 90_000,
    "package.json": json.dumps({"scripts": {str(number): "vite --port 1;" * 30 for number in range(2300)}}),
    "devcontainer.json": json.dumps({"appPort": ["1-65535:1-65535"] * 5000}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str, tmp_path: Path) -> None:
    """As much as a file may hold is read within two seconds of processor time."""
    path = tmp_path / name
    path.write_text(BOMBS[name])
    began = time.process_time()

    found = READERS[name](str(path))

    assert time.process_time() - began < 2
    assert found


# --- .env -------------------------------------------------------------------------------------------------------------


def test_variables_that_name_ports(suggested: Callable[..., object]) -> None:
    """PORT and *_PORT with a port in them count, in the order of the lines; nothing else does."""
    content = (
        "# c\nWEB_PORT=8080\nexport PORT='3000'\nDB_PORT=${WEB_PORT}\n\nREPORT=5\nPORTS=6\nPORT_X=7\nEMPTY_PORT=\n"
        "ZERO_PORT=0\nHIGH_PORT=65536\nTEXT_PORT=http\nGONE_PORT=$GONE\nSIGNED_PORT=+80\nMY_API_V2_PORT=65535\n"
        "LATER_PORT=1\nLATER_PORT=2\napi_PORT=9\n"
    )

    assert suggested(env_ports.read, content, "name port env line") == [
        ("web", 8080, "WEB_PORT", 2),
        ("app", 3000, "PORT", 3),
        ("db", 8080, "DB_PORT", 4),
        ("my-api-v2", 65535, "MY_API_V2_PORT", 15),
        ("later", 2, "LATER_PORT", 17),
        ("api", 9, "api_PORT", 18),
    ]


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("localhost", ["localhost"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("127.0.0.53", ["127.0.0.53"]),
        ("[::1]", ["::1"]),
        ("0.0.0.0", ["0.0.0.0"]),
        ("host.docker.internal", [None]),
        ("", [None]),
        ("db.example.org", []),
        ("postgres", []),
        ("10.0.0.7", []),
    ],
)
def test_a_port_of_another_machine_is_left_out(
    address: str, hosts: list[str | None], suggested: Callable[..., object]
) -> None:
    """A variable's *_HOST tells on which address of this machine the port is, or that it is not this machine's."""
    found = suggested(env_ports.read, f"DB_PORT=5432\nDB_HOST={address}\n", "host")

    assert found == [(host,) for host in hosts]


def test_the_address_an_application_binds_does_not_make_it_another_machine_s(suggested: Callable[..., object]) -> None:
    """HOST beside PORT is what the application listens on."""
    assert suggested(env_ports.read, "HOST=myhost\nPORT=3000\n", "port host") == [(3000, None)]
    assert suggested(env_ports.read, "HOST=0.0.0.0\nPORT=3000\n", "port host") == [(3000, "0.0.0.0")]


def test_our_own_block_is_left_out(suggested: Callable[..., object]) -> None:
    """Numbers that `portguard env --write` wrote are not suggested; lines around them keep their numbers."""
    content = env_block.replaced(b"A_PORT=1\n", {"B_PORT": "49200"}, "/x").decode() + "C_PORT=3\n"

    assert suggested(env_ports.read, content, "name line") == [("a", 1), ("c", content.count("\n"))]


# --- Procfile ---------------------------------------------------------------------------------------------------------

PROCFILE = """\
# Procfile
web: gunicorn app:app --bind 0.0.0.0:$PORT
worker: celery worker
api: bundle exec puma -p ${PORT:-3000}
vite: bin/vite dev --port 3036
cable: anycable -p=8081

not a process
docs: sh -c 'mkdocs serve' --port=$DOCS_PORT
ports: echo $PORTS
mail: mailcatcher --port ${MAIL_PORT:-1025}
"""


def test_a_number_that_is_named_counts(suggested: Callable[..., object]) -> None:
    """A number that is named counts; $PORT is 5000 and 100 more for every process before, as foreman has it."""
    assert suggested(procfile.read, PROCFILE, "name port env host line") == [
        ("web", 5000, "PORT", "0.0.0.0", 2),
        ("api", 5200, None, None, 4),
        ("vite", 3036, None, None, 5),
        ("cable", 8081, None, None, 6),
        ("mail", 1025, "MAIL_PORT", None, 11),
    ]


def test_the_base_of_the_env_file(suggested: Callable[..., object]) -> None:
    """The PORT of `.env` is the base; only where there is none does the description name foreman's default."""
    content = "web: serve $PORT\napi: serve ${PORT}\n"

    assert suggested(procfile.read, content, "port description", 7000) == [(7000, "process web"), (7100, "process api")]
    assert suggested(procfile.read, content, "port", 65500) == [(65500,)]
    assert [row[0] for row in suggested(procfile.read, content, "description")] == [  # type: ignore[attr-defined]
        "process web, on the port that foreman gives it by default",
        "process api, on the port that foreman gives it by default",
    ]


def test_line_ends_of_windows(suggested: Callable[..., object]) -> None:
    """Carriage returns belong to no word."""
    assert suggested(procfile.read, "a: x --port 81\r\nb: y --port 82\r\n", "port line") == [(81, 1), (82, 2)]


# --- command lines, and the scripts of package.json -------------------------------------------------------------------

COMMANDS: dict[str, list[CommandPort]] = {
    "vite --port 5173": [CommandPort(5173)],
    "vite --port=5173 --strictPort": [CommandPort(5173)],
    "vite --port '5173'": [CommandPort(5173)],
    "vite --host 127.0.0.1 --port 5173": [CommandPort(5173, None, "127.0.0.1")],
    "next dev -p 4000": [CommandPort(4000)],
    "next dev -p4000 -H localhost": [CommandPort(4000, None, "localhost")],
    "npx next dev -p=4000": [CommandPort(4000)],
    "node_modules/.bin/next start -p 4000": [CommandPort(4000)],
    "other -p 4000": [],
    "PORT=4000 node server.js": [CommandPort(4000)],
    "NODE_ENV=x PORT=4000 node server.js": [CommandPort(4000)],
    "cross-env NODE_ENV=x PORT=4000 node server.js": [CommandPort(4000)],
    "set PORT=4000&& react-scripts start": [CommandPort(4000)],
    "export PORT=4000; node server.js": [CommandPort(4000)],
    "PORT=4000 next dev --port 4001": [CommandPort(4001)],
    "node server.js PORT=4000": [],
    "REPORT=4000 node server.js": [],
    "vite --port $PORT": [CommandPort(None, "PORT")],
    "vite --port ${VITE_PORT:-5173}": [CommandPort(5173, "VITE_PORT")],
    "vite --port ${VITE_PORT-5173}": [CommandPort(5173, "VITE_PORT")],
    "vite --port ${A}${B}": [],
    'concurrently "vite --port 5173" "PORT=4000 node api.js"': [CommandPort(5173), CommandPort(4000)],
    "sh -c \"sh -c 'vite --port 5173'\"": [CommandPort(5173)],
    "vite --port 1 && next -p 2 | serve -p 3; x & (astro --port 4)": [CommandPort(n) for n in (1, 2, 3, 4)],
    "gunicorn app --bind 127.0.0.1:8000": [CommandPort(8000, None, "127.0.0.1")],
    "gunicorn app -b [::1]:8000": [CommandPort(8000, None, "::1")],
    "gunicorn app -b :8000": [CommandPort(8000)],
    "gunicorn app -b unix:/x": [],
    "psql --port 5432": [],
    "echo --port 1": [],
    "kill-port --port 3000 && vite --port 3000": [CommandPort(3000)],
    "vite --port": [],
    "vite --port 0": [],
    "vite --port 70000": [],
    "vite --port 123456": [],
    "vite --port http": [],
    "vite --portal 1": [],
    'vite "--port 1': [CommandPort(1)],
    "": [],
    "&&": [],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_port_that_a_command_names_is_found(command: str) -> None:
    """A port that a command names is found, and no other number is taken for one."""
    assert list(command_ports(command, short_for=frozenset(("next", "serve")))) == COMMANDS[command]


def test_without_a_list_every_program_s_short_option_counts() -> None:
    """In a Procfile `-p N` is a port; where one is made or connected to, it is none."""
    assert command_ports("bin/rails server -p 3000") == (CommandPort(3000),)
    assert command_ports("mkdir -p 3000") == ()
    assert command_ports("ssh -p 22 host") == ()


def test_scripts_give_ports_under_their_names_made_valid(suggested: Callable[..., object]) -> None:
    """Scripts give ports under their names made valid, with their lines; what names no port gives none."""
    content = """{
  "name": "shop",
  "scripts": {
    "dev": "vite --port 5173",
    "dev:api": "PORT=4000 node api.js",
    "build": "vite build",
    "Preview Server": "serve -p 5000",
    "3": "x --port 3",
    "bad": ["--port", "1"],
    "both": "concurrently \\"vite --port 5173\\" \\"astro --port 4321\\""
  },
  "config": {"dev": "--port 9"}
}"""

    assert suggested(package_json.read, content, "name port line description") == [
        ("dev", 5173, 4, "script dev"),
        ("dev-api", 4000, 5, "script dev:api"),
        ("preview-server", 5000, 7, "script Preview Server"),
        ("port-3", 3, 8, "script 3"),
        ("both", 5173, 10, "script both"),
        ("both", 4321, 10, "script both"),
    ]
    assert suggested(package_json.read, "{}", "name") == []
    moved = '{"scripts": {"dev": "vite --port $PORT"}}'  # which number that is, no one has said
    assert suggested(package_json.read, moved, "name") == []


# --- devcontainer.json ------------------------------------------------------------------------------------------------

DEVCONTAINER = """\
// For format details, see https://aka.ms/devcontainer.json
{
  "name": "shop", /* one
  and two */ "service": "app",
  "forwardPorts": [
    3000, "db:5432",
    "localhost:9229", // the debugger
    "127.0.0.1:6006",
    70000, 0, true, "x", null, "${localEnv:PORT}", "a b:1",
    "8025",
  ],
  "portsAttributes": {
    "3000": { "label": "Web App", "onAutoForward": "openBrowser" },
    "db:5432": { "label": "Postgres" },
    "40000-40010": { "label": "range" },
    ".+/server.js": { "label": "a pattern" },
    "9000": { "onAutoForward": "ignore" },
    "4321": { "label": "Docs" },
    "4322": "no object",
  },
  "appPort": [8080, "127.0.0.1:8081:80", "9999", "5353:53/udp", "7000-7001:7000-7001", "8100-8110:80", "x:y"],
}
"""


def test_forwarded_and_published_ports(suggested: Callable[..., object]) -> None:
    """Each port comes once, with the line that says so first, its label as name, and its service or address."""
    assert suggested(devcontainer.read, DEVCONTAINER, "name port protocol host line description") == [
        ("web-app", 3000, "tcp", None, 6, "Web App"),
        ("db", 5432, "tcp", "db", 6, "Postgres"),
        ("port-9229", 9229, "tcp", None, 7, None),
        ("port-6006", 6006, "tcp", None, 8, None),
        ("port-8025", 8025, "tcp", None, 10, None),
        ("docs", 4321, "tcp", None, 18, "Docs"),
        ("port-4322", 4322, "tcp", None, 19, None),
        ("port-8080", 8080, "tcp", "127.0.0.1", 21, None),
        ("port-8081", 8081, "tcp", "127.0.0.1", 21, None),
        ("port-5353", 5353, "udp", None, 21, None),
        ("port-7000", 7000, "tcp", None, 21, None),
        ("port-7001", 7001, "tcp", None, 21, None),
    ]


def test_a_service_without_a_label_is_described(suggested: Callable[..., object]) -> None:
    """The port of another compose service is named after it."""
    found = suggested(devcontainer.read, '{"forwardPorts": ["my_db:5432"]}', "name description")

    assert found == [("my-db", "service my_db, forwarded by the dev container")]


@pytest.mark.parametrize(("value", "ports"), [("3000", [3000]), ('"3000:80"', [3000]), ("true", []), ("null", [])])
def test_one_published_port(value: str, ports: list[int], suggested: Callable[..., object]) -> None:
    """`appPort` may be one port instead of a list."""
    assert suggested(devcontainer.read, f'{{\n"appPort": {value}}}', "port line") == [(port, 2) for port in ports]


def test_where_dev_containers_are_configured(tmp_path: Path) -> None:
    """The three places of the specification are found, and only files."""
    wanted = [
        tmp_path / ".devcontainer" / "devcontainer.json",
        tmp_path / ".devcontainer.json",
        tmp_path / ".devcontainer" / "a" / "devcontainer.json",
        tmp_path / ".devcontainer" / "b" / "devcontainer.json",
    ]
    assert devcontainer.find_files(str(tmp_path)) == ()
    (tmp_path / ".devcontainer" / "c" / "devcontainer.json").mkdir(parents=True)
    (tmp_path / ".devcontainer" / "b" / "deeper").mkdir(parents=True)
    (tmp_path / ".devcontainer" / "b" / "deeper" / "devcontainer.json").write_text("{}")
    for path in wanted:
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"forwardPorts": [1]}')

    assert devcontainer.find_files(str(tmp_path)) == tuple(map(str, wanted))
    assert [devcontainer.read(str(path)) for path in wanted] == [
        (Suggestion("port-1", 1, Source(str(path), 1)),) for path in wanted
    ]
