"""`check --format`: what a build's log and a code scanner get; exit codes and the default stay what they are."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from portguard.render.safe import safe
from tests.annotated import commands, read_sarif
from tests.conftest import PORTGUARD, Run

FORMATS = ("text", "json", "github", "sarif")
HOSTILE = {
    "blank": b"a b",
    "command": b"x\n::error::owned\ny",
    "data": b"%0A::error file=a,line=1::x",
    "properties": b"a,line=99,col=7:b",
    "escape": b"\x1b[2J\x1b]52;c;aGk=\x07",
    "invalid-utf8": b"caf\xe9\xff",
    "c1": "\u009b31m".encode(),
    "bidi": "\u202egnp.exe".encode(),
    "backslash": b"\\n\\x1b",
    "old-command": b"##[set-env name=A;]b",
    "unicode": "é漢字".encode(),
    "uri": b"a?b#c%41[d]&e=f",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return the root of an empty repository."""
    (tmp_path / ".git").mkdir()
    return tmp_path


def compose(directory: Path, *ports: int | str) -> Path:
    """Write a compose file whose first port is on line 6, and return it."""
    lines = [f"      - '127.0.0.1:{port}:80'\n" for port in ports]
    file = directory / "compose.yaml"
    file.write_text("".join(["name: shop\nservices:\n  web:\n    image: x\n    ports:\n", *lines]))
    return file


def test_github_names_the_compose_file_s_line(portguard: Run, repository: Path, busy: int, idle: int) -> None:
    """A busy port is an error at the line that publishes it, seen from the repository's root; a free one is none."""
    (repository / "backend" / "src").mkdir(parents=True)
    compose(repository / "backend", idle, busy)

    done = portguard("check", "--format", "github", cwd=repository / "backend")

    (command,) = commands(done.stdout)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)
    assert (command.name, command.properties["file"], command.properties["line"]) == (
        "error",
        "backend/compose.yaml",
        "7",
    )
    assert command.properties["title"] == "portguard check-listener"
    assert f"127.0.0.1:{busy}/tcp" in command.data
    assert command.data.splitlines()[1] == f"next: stop it: kill {os.getpid()}"


def test_sarif_names_the_compose_file_s_line(portguard: Run, repository: Path, busy: int, idle: int) -> None:
    """The same in a valid document, with the rule that the result belongs to."""
    compose(repository, idle, busy)

    done = portguard("check", "--format=sarif")

    driver, (result,) = read_sarif(done.stdout)
    assert done.returncode == 1
    assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "check-listener"
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "compose.yaml", "uriBaseId": "%SRCROOT%"},
                "region": {"startLine": 7},
            }
        }
    ]
    assert f"127.0.0.1:{busy}/tcp" in result["message"]["text"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_wherever_the_compose_file_lies(portguard: Run, repository: Path, busy: int, kind: str) -> None:
    """Wherever the compose file lies: one command, which names it; the URI leads to it; no escape comes out."""
    directory = Path(os.fsdecode(os.path.join(os.fsencode(repository), HOSTILE[kind])))
    directory.mkdir()
    file = compose(directory, busy)

    github = portguard("check", "--format", "github", cwd=directory)
    sarif = portguard("check", "--format", "sarif", cwd=directory)

    relative = os.fsdecode(os.path.relpath(file, repository))
    (command,) = commands(github.stdout)
    assert (github.returncode, len(github.stdout.splitlines())) == (1, 1)
    assert command.properties["file"] == "\n".join(map(safe, relative.split("\n")))
    assert command.properties["line"] == "6"
    assert github.stdout[:-1].isprintable()
    _driver, (result,) = read_sarif(sarif.stdout)
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert os.path.samefile(os.path.join(os.fsencode(repository), unquote_to_bytes(uri)), file)


def test_without_git_paths_begin_at_the_working_directory(portguard: Run, tmp_path: Path, busy: int) -> None:
    """Where there is no repository, the working directory is the base."""
    compose(tmp_path, busy)

    (command,) = commands(portguard("check", "--format", "github").stdout)

    assert command.properties["file"] == "compose.yaml"


def test_a_port_by_number_has_no_place(portguard: Run, busy: int) -> None:
    """What stands in no file is told without one."""
    (command,) = commands(portguard("check", f"127.0.0.1:{busy}", "--format", "github").stdout)
    _driver, (result,) = read_sarif(portguard("check", f"127.0.0.1:{busy}", "--format", "sarif").stdout)

    assert command.properties == {"title": "portguard check-listener"}
    assert "locations" not in result


def test_optional_is_a_warning(portguard: Run, repository: Path, busy: int) -> None:
    """A conflict that fails nothing is a warning, and the exit code 0."""
    (repository / "portguard.toml").write_text(
        f'[ports.db]\nport = {busy}\nhost = "127.0.0.1"\noptional = true\nowner = ["nobody-else"]\n'
    )

    done = portguard("check", "--format", "github")

    (command,) = commands(done.stdout)
    assert (done.returncode, command.name, command.properties["line"]) == (0, "warning", "1")


def test_more_conflicts_than_github_shows(portguard: Run, repository: Path) -> None:
    """Eleven busy ports are eleven commands and one line that counts them."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(11)]
    try:
        compose(repository, *(server.getsockname()[1] for server in servers))
        done = portguard("check", "--format", "github")
    finally:
        for server in servers:
            server.close()

    assert len(commands(done.stdout)) == 11
    assert len(done.stdout.splitlines()) == 12
    assert "errors: 11" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_exit_code_is_the_format_s_never(portguard: Run, repository: Path, busy: int, idle: int, kind: str) -> None:
    """0 free, 1 conflict, 2 a broken config, in every format; --quiet silences the text alone."""
    options = ("--format", kind)

    free, conflict = f"127.0.0.1:{idle}", f"127.0.0.1:{busy}"
    assert portguard("check", free, *options).returncode == 0
    assert portguard("check", conflict, *options).returncode == 1
    loud, quiet = (portguard("check", conflict, *options, *more) for more in ([], ["-q"]))
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "" if kind == "text" else loud.stdout, "")
    compose(repository, "0x")
    loud, quiet = (portguard("check", *options, *more) for more in ([], ["--quiet"]))
    assert (loud.returncode, quiet.returncode) == (2, 2)
    assert quiet.stdout == loud.stdout


def test_json_is_the_alias(portguard: Run, idle: int) -> None:
    """`--json` and `--format json` print the same document; the default is `--format text`."""
    address = f"127.0.0.1:{idle}"

    assert json.loads(portguard("check", address, "--format", "json").stdout)["command"] == "check"
    for one, other in ((["--json"], ["--format=json"]), ([], ["--format", "text"])):
        assert portguard("check", address, *one).stdout == portguard("check", address, *other).stdout


def test_nothing_to_tell(portguard: Run, idle: int) -> None:
    """A free port: no line for GitHub, and a document without results."""
    assert portguard("check", f"127.0.0.1:{idle}", "--format", "github").stdout == ""
    assert read_sarif(portguard("check", f"127.0.0.1:{idle}", "--format", "sarif").stdout)[1] == []


def test_every_mistake_of_a_config_is_annotated(portguard: Run, repository: Path) -> None:
    """Exit 2, and each mistake stands at its line and column, seen from the root, also from a subdirectory."""
    (repository / "portguard.toml").write_text('[ports]\nweb = 0\ndb = "x"\n')
    (repository / "src").mkdir()

    github = portguard("check", "--format", "github", cwd=repository / "src")
    sarif = portguard("check", "--format=sarif", cwd=repository / "src")

    places = [
        (found.properties["file"], found.properties["line"], found.properties["col"], found.properties["title"])
        for found in commands(github.stdout)
    ]
    assert (github.returncode, sarif.returncode) == (2, 2)
    assert places == [
        ("portguard.toml", "2", "7", "portguard config"),
        ("portguard.toml", "3", "6", "portguard config"),
    ]
    assert commands(github.stdout)[0].data.startswith("port 0 means any free port")
    _driver, results = read_sarif(sarif.stdout)
    regions = [item["locations"][0]["physicalLocation"]["region"] for item in results]
    assert regions == [{"startLine": 2, "startColumn": 7}, {"startLine": 3, "startColumn": 6}]


@pytest.mark.parametrize("arguments", [["nope"], ["--nope"], ["--config", "missing\x1b.toml"], []], ids=" ".join)
def test_what_is_asked_wrongly_is_annotated(portguard: Run, arguments: list[str]) -> None:
    """Exit 2 with an error that has no place, or a valid document with a result for it, through both front doors."""
    github = portguard("check", *arguments, "--format", "github")
    sarif = portguard("check", *arguments, "--format", "sarif")

    assert (github.returncode, sarif.returncode) == (2, 2)
    (command,) = commands(github.stdout)
    assert (command.name, set(command.properties)) == ("error", {"title"})
    assert "\x1b" not in github.stdout
    driver, (result,) = read_sarif(sarif.stdout)
    assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_a_failure_s_document_for_format_json(portguard: Run) -> None:
    """`--format json` gets the failure's document in both spellings, for `env` as well."""
    for arguments in (["check", "--format", "json"], ["check", "--format=json"], ["env", "--format", "json"]):
        done = portguard(*arguments)
        assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (2, 2)


def test_the_last_format_counts_and_json_before_all(portguard: Run) -> None:
    """A failure is told in the format that an answer would have been."""
    assert commands(portguard("check", "--format=sarif", "--format", "github").stdout)
    assert read_sarif(portguard("check", "--format=github", "--format", "sarif").stdout)[1]
    assert json.loads(portguard("check", "--format=github", "--json").stdout)["errors"]


def test_the_github_of_env_is_no_annotation(portguard: Run) -> None:
    """What is meant for $GITHUB_ENV gets no command into it when it fails."""
    done = portguard("env", "--format", "github")

    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("command", ["check", "env"])
def test_an_unknown_format(portguard: Run, command: str) -> None:
    """Exit 2, and it says which there are."""
    done = portguard(command, "--format", "xml\x1b")

    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown" in done.stderr
    assert "github" in done.stderr
    assert "\x1b" not in done.stderr


def test_an_answer_that_cannot_be_written(busy: int) -> None:
    """A full disk: the conflict's exit code stays, and there is no traceback."""
    for kind in FORMATS:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*PORTGUARD, "check", f"127.0.0.1:{busy}", "--format", kind],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=30,
                check=False,
            )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr


def test_text_pays_for_no_other_format(tmp_path: Path, busy: int) -> None:
    """The default loads neither the annotations nor json; `--format github` does, which shows that it would be seen."""
    program = (
        "import sys; from portguard.cli.main import main; main(sys.argv[1:]); "
        "print(*sorted({'portguard.render.annotations', 'hashlib'} & set(sys.modules)), file=sys.stderr)"
    )

    def loaded(*arguments: str) -> str:
        command = [sys.executable, "-c", program, "check", f"127.0.0.1:{busy}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, cwd=tmp_path)
        return done.stderr.splitlines()[-1]

    assert loaded() == loaded("--format", "text") == ""
    assert loaded("--format", "github") == "portguard.render.annotations"
