"""Claims about `init`: what it writes of ten kinds of repositories, that it writes once, and what it never does."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portguard.api.init import init
from portguard.errors import ConflictError, UsageError
from portguard.model import Note
from tests.conftest import PORTGUARD, Run

Answer = Callable[..., dict[str, Any]]

REPOSITORIES: dict[str, tuple[dict[str, str], set[tuple[str, int, str]]]] = {
    "node and vite": (
        {
            "package.json": """{
  "name": "shop", "type": "module",
  "scripts": {"dev": "vite --port 5173 --strictPort", "api": "cross-env PORT=4000 node api.js", "build": "vite build"},
  "devDependencies": {"vite": "^7.0.0", "cross-env": "^10.0.0"}
}
""",
            ".env": "VITE_API_URL=http://localhost:4000\n",
        },
        {("dev", 5173, "tcp"), ("api", 4000, "tcp")},
    ),
    "next": (
        {
            "package.json": '{"scripts": {"dev": "next dev -p 3100", "build": "next build", "start": "next -p 3100"}}',
            ".env": "PORT=3100\nDB_HOST=db.example.org\nDB_PORT=5432\nSMTP_PORT=1025\n",
        },
        {("app", 3100, "tcp"), ("smtp", 1025, "tcp")},
    ),
    "django with compose": (
        {
            "manage.py": "",
            "compose.yaml": """\
services:
  web:
    build: .
    command: python manage.py runserver 0.0.0.0:8000
    ports: ["${WEB_PORT:-8000}:8000"]
  db:
    image: postgres:17
    ports:
      - "127.0.0.1:${DB_PORT:?set it}:5432"
  cache:
    image: valkey/valkey
""",
            "compose.override.yaml": "services:\n  mail:\n    image: axllent/mailpit\n    ports: ['8025:8025']\n",
            ".env": "WEB_PORT=8001\nDB_PORT=5433\nDEBUG=1\n",
        },
        {("web:8000/tcp", 8001, "tcp"), ("db:5432/tcp", 5433, "tcp"), ("mail:8025/tcp", 8025, "tcp")},
    ),
    "rails with a Procfile": (
        {
            "Gemfile": "gem 'rails'\n",
            "Procfile": "web: bundle exec puma -p $PORT\nworker: bundle exec sidekiq\n",
            "Procfile.dev": "web: bin/rails server -p 3000\ncss: bin/rails css:watch\nvite: bin/vite dev --port 3036\n",
        },
        {("web", 3000, "tcp"), ("vite", 3036, "tcp")},
    ),
    "dev container with compose": (
        {
            ".devcontainer/devcontainer.json": """\
// aka.ms/devcontainer.json
{
  "dockerComposeFile": "../docker-compose.yml",
  "service": "app",
  "forwardPorts": [3000, "db:5432", /* the inbox */ 8025,],
  "portsAttributes": {"3000": {"label": "Frontend"}, "8000-8010": {"label": "no"}},
}
""",
            "docker-compose.yml": "services:\n  app:\n    image: x\n  db:\n    image: pg\n    ports: ['5432:5432']\n",
        },
        {("db:5432/tcp", 5432, "tcp"), ("frontend", 3000, "tcp"), ("port-8025", 8025, "tcp")},
    ),
    "monorepo with several compose files": (
        {
            ".env": "COMPOSE_FILE=infra/base.yaml:infra/tools.yaml\n",
            "infra/base.yaml": "services:\n  db:\n    image: postgres\n    ports: ['5432:5432']\n",
            "infra/tools.yaml": "include: [more/compose.yaml]\nservices: {pgadmin: {image: x, ports: ['5050:80']}}\n",
            "infra/more/compose.yaml": "services:\n  jaeger:\n    image: x\n    ports: ['16686:16686']\n",
            "package.json": '{"workspaces": ["apps/*"], "scripts": {"dev": "turbo dev", "docs": "astro --port 4321"}}',
            "apps/web/package.json": '{"scripts": {"dev": "vite --port 9999"}}',
        },
        {
            ("db:5432/tcp", 5432, "tcp"),
            ("pgadmin:80/tcp", 5050, "tcp"),
            ("jaeger:16686/tcp", 16686, "tcp"),
            ("docs", 4321, "tcp"),
        },
    ),
    "only a .env": (
        {".env": "# mine\nAPP_PORT=8080\nexport METRICS_PORT=9090 # prometheus\nPYTHON_PORT=7000\nTOKEN=x\n"},
        {("app", 8080, "tcp"), ("metrics", 9090, "tcp"), ("python", 7000, "tcp")},
    ),
    "empty": ({}, set()),
    "spring boot with compose": (
        {
            "pom.xml": "<project/>",
            "src/main/resources/application.properties": "server.port=8081\n",
            "compose.yml": """\
name: orders
services:
  app:
    image: orders
    ports: ["8080-8082:8080", "127.0.0.1:5005:5005"]
  kafka:
    image: apache/kafka
    ports:
      - {target: 9092, published: "9092", host_ip: 127.0.0.1}
  syslog:
    image: x
    ports: ["5514:514/udp", "5514:514/tcp", "9999"]
""",
        },
        {
            ("app:8080/tcp", 8080, "tcp"),
            ("app:5005/tcp", 5005, "tcp"),
            ("kafka:9092/tcp", 9092, "tcp"),
            ("syslog:514/udp", 5514, "udp"),
            ("syslog:514/tcp", 5514, "tcp"),
        },
    ),
    "python with a pyproject.toml": (
        {"pyproject.toml": '[project]\nname = "tool"\nversion = "1"\n\n[tool.ruff]\nline-length = 100\n'},
        set(),
    ),
}


def start(directory: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `init` in a directory."""
    return subprocess.run(
        [*PORTGUARD, "init", *options],
        cwd=directory,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def make(directory: Path, files: dict[str, str]) -> Path:
    """Write the files of a repository."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def state(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what tells whether any file there was written."""
    return {
        str(path.relative_to(directory)): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_ten_kinds_of_repositories(kind: str, tmp_path: Path, portguard: Run, answer: Answer) -> None:
    """What is written is what the files say; `lint` accepts it, `check` runs; a second time changes nothing."""
    files, expected = REPOSITORIES[kind]
    make(tmp_path, files)
    first = start(tmp_path)
    assert (first.returncode, first.stderr) == (0, ""), first
    written = state(tmp_path)
    assert set(written) == {*files, "portguard.toml"}

    document = answer("check", cwd=tmp_path)
    assert document["exit_code"] in (0, 1), document
    assert {(port["name"], port["port"], port["protocol"]) for port in document["data"]["ports"]} == expected
    assert document["data"]["config"] == str(tmp_path / "portguard.toml")
    linted = portguard("lint", cwd=tmp_path)
    assert linted.returncode == 0, linted
    second = start(tmp_path)
    assert second.returncode == 0
    assert second.stdout.endswith(f"unchanged: {tmp_path / 'portguard.toml'}\n")
    assert state(tmp_path) == written


def test_there_are_ten_kinds() -> None:
    """The claim is about ten."""
    assert len(REPOSITORIES) == 10


def test_what_is_said(tmp_path: Path) -> None:
    """A line for each file that was read, with the number of its ports, then the file that was written."""
    make(tmp_path, {**REPOSITORIES["django with compose"][0], "package.json": "{}", "Procfile": "web: x --port 8001\n"})

    done = start(tmp_path)

    assert done.stdout.splitlines() == [
        "compose.yaml: 2 ports",
        "compose.override.yaml: 1 port",
        ".env: 2 ports",
        "Procfile: 1 port",
        "package.json: 0 ports",
        f"written: {tmp_path / 'portguard.toml'}",
    ]
    text = (tmp_path / "portguard.toml").read_text()
    assert "web  8001/tcp (8000 without .env), moved by WEB_PORT: compose.yaml:5, .env:1, Procfile:1\n" in text
    assert "127.0.0.1:5433/tcp, moved by DB_PORT: compose.yaml:9, .env:2\n" in text


def test_the_document(tmp_path: Path) -> None:
    """--json gives path, whether it was written, the files, the text and the notes."""
    make(tmp_path, {".env": "WEB_PORT=8080\n", "package.json": "{"})

    documents = [json.loads(start(tmp_path, "--json").stdout) for _ in range(2)]

    for document, is_written in zip(documents, (True, False), strict=True):
        data = document.pop("data")
        assert document == {"schema_version": 1, "command": "init", "ok": True, "exit_code": 0, "errors": []}
        assert data.pop("text") == (tmp_path / "portguard.toml").read_text()
        assert data.pop("notes")[0]["id"] == "unread"
        assert data == {
            "path": str(tmp_path / "portguard.toml"),
            "written": is_written,
            "sources": [str(tmp_path / ".env")],
            "counts": [1],
        }


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A config that says something else stays as it is, exit 1; --force writes it anew."""
    make(tmp_path, {".env": "WEB_PORT=8080\n", "portguard.toml": "[ports]\nmine = 1\n"})
    before = state(tmp_path)

    refused = start(tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "portguard.toml already exists" in refused.stderr
    assert "portguard init --force" in refused.stderr
    assert state(tmp_path) == before

    forced = start(tmp_path, "--force")
    assert forced.returncode == 0
    assert "[ports.web]\nport = 8080\n" in (tmp_path / "portguard.toml").read_text()


def test_line_ends_alone_are_no_difference(tmp_path: Path) -> None:
    """A checkout with the line ends of Windows has the same config."""
    make(tmp_path, {".env": "WEB_PORT=8080\n"})
    path = tmp_path / "portguard.toml"
    init(cwd=str(tmp_path))
    content = path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(content)

    assert not init(cwd=str(tmp_path)).written
    assert path.read_bytes() == content


def test_a_table_in_pyproject_counts(tmp_path: Path) -> None:
    """[tool.portguard] is a config that is there already; with --force the new file is written, and hides it."""
    make(tmp_path, {"pyproject.toml": "[tool.portguard.ports]\nweb = 8080\n", ".env": "PORT=3000\n"})
    before = state(tmp_path)

    with pytest.raises(ConflictError, match=r"pyproject\.toml declares .* \[tool\.portguard\]") as caught:
        init(cwd=str(tmp_path))
    assert caught.value.hint is not None
    assert "--force" in caught.value.hint
    assert state(tmp_path) == before

    report = init(cwd=str(tmp_path), force=True)
    assert report.written
    assert [note.id for note in report.notes] == ["config-hidden"]
    assert before.items() <= state(tmp_path).items()


def test_a_config_above_is_told_of(tmp_path: Path) -> None:
    """A config of the same repository further up counts here no longer, which is said."""
    make(tmp_path, {"portguard.toml": "[ports]\nweb = 1\n", "api/.env": "PORT=3000\n"})
    (tmp_path / ".git").mkdir()

    report = init(cwd=str(tmp_path / "api"))

    assert report.notes == (
        Note("config-hidden", f"{tmp_path / 'portguard.toml'} is no longer used here: {report.path} is nearer"),
    )


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_plain_file_is_not_replaced(kind: str, tmp_path: Path) -> None:
    """A link, a FIFO or a folder in the place of the config is left alone, with or without --force."""
    path, other = tmp_path / "portguard.toml", tmp_path / "other"
    other.write_text("kept")
    if kind == "link":
        path.symlink_to(other)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = path.lstat()

    for force in (False, True):
        with pytest.raises(UsageError):
            init(cwd=str(tmp_path), force=force)
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert other.read_text() == "kept"


def test_the_environment_decides_nothing(tmp_path: Path) -> None:
    """Whatever variables the caller has, the same files give the same text."""
    make(tmp_path, REPOSITORIES["django with compose"][0])
    (tmp_path / "other.yaml").write_text("services: {x: {image: x, ports: ['1:1']}}\n")
    assert start(tmp_path).returncode == 0
    environ = {
        "WEB_PORT": "1234",
        "DB_PORT": "2345",
        "PORT": "3456",
        "COMPOSE_FILE": "other.yaml",
        "COMPOSE_DISABLE_ENV_FILE": "1",
        "COMPOSE_ENV_FILES": "/nowhere",
        "COMPOSE_PROFILES": "x",
    }

    assert start(tmp_path, **environ).stdout.endswith(f"unchanged: {tmp_path / 'portguard.toml'}\n")


def test_our_own_block_changes_nothing(tmp_path: Path, portguard: Run) -> None:
    """Numbers that `env --write` gave this checkout are not written into the project's config."""
    make(
        tmp_path,
        {"compose.yaml": "services: {web: {image: x, ports: ['${WEB_PORT:-8080}:80']}}\n", ".env": "A_PORT=81\n"},
    )
    assert start(tmp_path).returncode == 0
    done = portguard("env", "--isolated", "--write", ".env", cwd=tmp_path)
    assert done.returncode == 0, done
    assert "\nWEB_PORT=" in (tmp_path / ".env").read_text()

    assert start(tmp_path).stdout.endswith(f"unchanged: {tmp_path / 'portguard.toml'}\n")


def test_broken_files_cost_a_note(tmp_path: Path, answer: Answer) -> None:
    """Files that cannot be understood are named with the line; the others are written down, and `check` runs."""
    broken = {
        "package.json": '{\n"scripts": }',
        ".devcontainer/devcontainer.json": "{\n\n/*",
        ".devcontainer/a/devcontainer.json": "[]",
        "compose.yaml": "services:\n  web:\n    ports: ['x:80']\n",
    }
    make(tmp_path, {**broken, "Procfile": "web: x --port 8080\n"})
    os.mkfifo(tmp_path / ".env")

    done = start(tmp_path)

    assert done.returncode == 0
    notes = [line.removeprefix("note: ").partition(": ")[0] for line in done.stderr.splitlines()]
    assert notes == [
        "compose.yaml:3:13",
        "package.json:2",
        ".devcontainer/devcontainer.json:3",
        ".devcontainer/a/devcontainer.json:1",
    ]
    assert done.stdout.splitlines()[:-1] == ["Procfile: 1 port"]
    assert '# [compose]\n# files = ["compose.yaml"]\n' in (tmp_path / "portguard.toml").read_text()
    assert [port["name"] for port in answer("check", cwd=tmp_path)["data"]["ports"]] == ["web"]


@pytest.mark.parametrize("content", ["A B=1\n", "WEB_PORT=${\n", "X='open\n"])
def test_a_broken_env_file(content: str, tmp_path: Path) -> None:
    """A `.env` that compose refuses is said once, and not taken for an empty one."""
    make(tmp_path, {".env": content, "compose.yaml": "services: {}\n", "Procfile": "web: x $PORT\n"})

    report = init(cwd=str(tmp_path))

    assert len(report.notes) == 1
    assert report.notes[0].message.startswith(".env:1: ")
    assert report.sources == (str(tmp_path / "Procfile"),)


def test_a_compose_file_above(tmp_path: Path, answer: Answer) -> None:
    """The compose file that compose would find further up is named from here."""
    make(tmp_path, {"compose.yaml": "services: {web: {image: x, ports: ['8080:80']}}\n", "api/.env": "PORT=3000\n"})
    (tmp_path / ".git").mkdir()
    here = tmp_path / "api"

    report = init(cwd=str(here))

    assert 'files = ["../compose.yaml"]\n' in report.text
    ports = answer("check", cwd=here)["data"]["ports"]
    assert [(port["name"], port["port"]) for port in ports] == [("app", 3000), ("web:80/tcp", 8080)]


def test_other_env_files_are_named_by_the_environment_alone(tmp_path: Path) -> None:
    """COMPOSE_ENV_FILES in a `.env` means nothing to compose, and nothing here."""
    make(
        tmp_path,
        {
            ".env": "COMPOSE_ENV_FILES=missing.env\nWEB_PORT=8081\n",
            "compose.yaml": "services: {web: {image: x, ports: ['${WEB_PORT}:80']}}\n",
        },
    )

    assert "#   web  8081/tcp, moved by WEB_PORT: compose.yaml:1, .env:2\n" in init(cwd=str(tmp_path)).text


def test_nothing_is_executed_or_expanded(tmp_path: Path) -> None:
    """Commands in scripts, processes and values are text."""
    make(
        tmp_path,
        {
            "package.json": '{"scripts": {"dev": "touch ran; vite --port $(touch ran; echo 1)", "x": "`touch ran`"}}',
            "Procfile": "web: touch ran; x --port `touch ran`\n",
            ".env": "A_PORT=$(touch ran)\nB_PORT=`touch ran`\n",
        },
    )

    report = init(cwd=str(tmp_path))

    assert not (tmp_path / "ran").exists()
    assert report.counts == (0, 0, 0)


def test_hostile_words(tmp_path: Path, answer: Answer) -> None:
    """Names and labels with quotes, newlines and escapes stay text, in the config and on the terminal."""
    label = 'x"\n[ports.evil]\nport = 1\n\x1b[31m\u202e\ud800'
    make(
        tmp_path,
        {
            "package.json": json.dumps({"scripts": {label: "vite --port 5173"}}),
            ".devcontainer.json": json.dumps({"portsAttributes": {"3000": {"label": label}}, "forwardPorts": [3000]}),
        },
    )

    report = init(cwd=str(tmp_path))

    assert all(line.isprintable() for line in report.text.splitlines())
    names = [(port["name"], port["port"]) for port in answer("check", cwd=tmp_path)["data"]["ports"]]
    assert names == [("x-ports-evil-port-1-31m", 5173), ("x-ports-evil-port-1-31m-2", 3000)]
