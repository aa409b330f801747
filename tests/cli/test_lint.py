"""Claims about `lint`: every finding where it belongs and nowhere else, everywhere the same, turned off by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import portguard as library
from portguard.render import documents
from portguard.rules.lint import RULES
from tests.conftest import PORTGUARD, Run
from tests.worlds import netns
from tests.worlds.capabilities import NOBODY
from tests.worlds.users import as_user

ROOT = Path(__file__).parents[2]
Files = dict[str, str]

CONFIG = '[ports.web]\nport = 8080\nenv = "WEB_PORT"\nservice = "web"\n[compose]\nfiles = ["compose.yaml"]\n'
COMPOSE = 'services:\n  web:\n    image: x\n    ports: ["${WEB_PORT:-8080}:80"]\n'


def services(**ports: str) -> str:
    """Return a compose file of services with one published port each."""
    entries = "".join(f'  {name}:\n    image: x\n    ports: ["{port}"]\n' for name, port in ports.items())
    return f"services:\n{entries}"


def declared(port: int | str, **keys: str) -> str:
    """Return a config with one declaration, called `name` (default: web)."""
    name = keys.pop("name", "web")
    return f"[ports.{name}]\nport = {port}\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


# By finding: files that have it, the place and a part of the sentence, and nearly the same files that do not have it.
CASES: dict[str, list[tuple[Files, str, str, Files]]] = {
    "schema": [
        (
            {"portguard.toml": "[ports.web]\nport = 8080\nhst = 1\n"},
            "portguard.toml:3:1",
            'unknown key "hst"',
            {"portguard.toml": "[ports.web]\nport = 8080\nhost = '::1'\n"},
        ),
        (
            {"portguard.toml": "[ports]\nweb = 8080\n[lint.ignore]\nwel-known = 'x'\n"},
            "portguard.toml",
            '"wel-known" is not a finding of lint',
            {"portguard.toml": "[ports]\nweb = 8080\n[lint.ignore]\nwell-known = 'x'\n"},
        ),
        ({"compose.yaml": services(web="x:80")}, "compose.yaml:4:13", "", {"compose.yaml": services(web="8080:80")}),
        (
            {"portguard.toml": declared(8080, env='"P"'), ".env": "A='\n"},
            ".env:1",
            "never closed",
            {"portguard.toml": declared(8080, env='"P"'), ".env": "A=''\n"},
        ),
        (
            {"portguard.toml": declared(8080), ".devcontainer.json": "{\n  nonsense\n}"},
            ".devcontainer.json:2",
            "",
            {"portguard.toml": declared(8080), ".devcontainer.json": "{\n  // a comment\n}"},
        ),
    ],
    "duplicate": [
        (
            {"portguard.toml": "[ports]\nweb = 8080\napi = 8080\n"},
            "portguard.toml:3",
            "'api' and 'web' (portguard.toml:2) both claim 8080/tcp",
            {"portguard.toml": "[ports]\nweb = 8080\napi = 8081\n"},
        ),
        (
            {"portguard.toml": CONFIG.replace('service = "web"\n', ""), "compose.yaml": COMPOSE},
            "compose.yaml:4",
            "both claim 8080/tcp",
            {"portguard.toml": CONFIG, "compose.yaml": COMPOSE},
        ),
        (
            {"compose.yaml": services(one="127.0.0.1:8080:80", two="8080:80")},
            "compose.yaml:7",
            "both claim 8080/tcp",
            {"compose.yaml": services(one="127.0.0.1:8080:80", two="127.0.0.2:8080:80")},
        ),
    ],
    "drift-compose": [
        (
            {"portguard.toml": CONFIG.replace("8080", "9090"), "compose.yaml": COMPOSE},
            "portguard.toml:1",
            "declares 9090; its service 'web' publishes 8080 (compose.yaml:4)",
            {"portguard.toml": CONFIG, "compose.yaml": COMPOSE},
        ),
        (
            {"portguard.toml": CONFIG.replace('"web"', '"wbe"'), "compose.yaml": COMPOSE},
            "portguard.toml:1",
            "which no compose file has",
            {"portguard.toml": CONFIG, "compose.yaml": COMPOSE},
        ),
        (
            {"portguard.toml": CONFIG, "compose.yaml": services(web="8080:80")},
            "portguard.toml:1",
            "WEB_PORT moves 'web', and not what compose.yaml:4 publishes",
            {"portguard.toml": CONFIG.replace('env = "WEB_PORT"\n', ""), "compose.yaml": services(web="8080:80")},
        ),
    ],
    "drift-dotenv": [
        (
            {"portguard.toml": declared(8080, env='"WEB_PORT"'), name: "A=1\nWEB_PORT=8081\n"},
            f"{name}:2",
            "WEB_PORT moves 'web' to 8081; declared is 8080",
            {"portguard.toml": declared(8080, env='"WEB_PORT"'), name: "A=1\nWEB_PORT=8080\n"},
        )
        for name in (".env", ".env.example")
    ],
    "drift-devcontainer": [
        (
            {
                "portguard.toml": declared(8080),
                ".devcontainer/devcontainer.json": '{\n "forwardPorts": [8080,\n 3000]}',
            },
            ".devcontainer/devcontainer.json:3",
            "3000 is forwarded but not declared",
            {
                "portguard.toml": declared(8080),
                ".devcontainer/devcontainer.json": '{"forwardPorts": [8080, "db:5432"]}',
            },
        )
    ],
    "port-zero": [
        (
            {"portguard.toml": "[ports]\nweb = 0\n"},
            "portguard.toml:2:7",
            "port 0 means",
            {"portguard.toml": declared(1024)},
        ),
        (
            {"portguard.toml": declared(8080, env='"P"'), ".env": "P=0\n"},
            ".env:1",
            "to port 0",
            {"portguard.toml": declared(8080, env='"P"'), ".env": "P=\n"},
        ),
    ],
    "well-known": [
        ({"portguard.toml": declared(1023)}, "portguard.toml:1", "below 1024", {"portguard.toml": declared(1024)}),
        (
            {"compose.yaml": services(web="80:80")},
            "compose.yaml:4",
            "below 1024",
            {"compose.yaml": services(web="8080:80")},
        ),
    ],
    "ephemeral": [
        (
            {"portguard.toml": declared(32768)},
            "portguard.toml:1",
            "Linux (32768-60999) assign",
            {"portguard.toml": declared(32767)},
        ),
        (
            {"portguard.toml": declared(65535)},
            "portguard.toml:1",
            "macOS and Windows (49152-65535) assign",
            {"portguard.toml": declared(32767)},
        ),
        (
            {"portguard.toml": declared(50000)},
            "portguard.toml:1",
            "Linux (32768-60999) and macOS and Windows (49152-65535)",
            {"portguard.toml": declared(10000)},
        ),
    ],
    "browser-blocked": [
        ({"portguard.toml": declared(6000)}, "portguard.toml:1", "browsers refuse", {"portguard.toml": declared(6007)}),
        (
            {"compose.yaml": services(x="6667:80")},
            "compose.yaml:4",
            "browsers refuse",
            {"compose.yaml": services(irc="6667:6667")},
        ),
    ],
    "replicas": [
        (
            {"compose.yaml": services(web="8080:80").replace("image: x", "image: x\n    scale: 2")},
            "compose.yaml:5",
            "2 replicas of 'web' cannot share 1 published port",
            {"compose.yaml": services(web="8080-8081:80").replace("image: x", "image: x\n    scale: 2")},
        )
    ],
    "wildcard-database": [
        (
            {"portguard.toml": declared(5432, name="x")},
            "portguard.toml:1",
            "on every address",
            {"portguard.toml": declared(5432, name="x", host='"127.0.0.1"')},
        ),
        (
            {"compose.yaml": services(x="15432:5432")},
            "compose.yaml:4",
            "on every address",
            {"compose.yaml": services(x="127.0.0.1:15432:5432")},
        ),
        (
            {"portguard.toml": declared(4444, name="my-postgres")},
            "portguard.toml:1",
            "on every address",
            {"portguard.toml": declared(4444, name="my-poster")},
        ),
    ],
    "empty-variable": [
        (
            {"compose.yaml": services(web="${WEB_PORT}:80")},
            "compose.yaml:4",
            "web:80/tcp gets any free port: WEB_PORT is empty",
            {"compose.yaml": services(web="${WEB_PORT:?set it}:80")},
        )
    ],
}
ALL = [(rule, *case) for rule, cases in CASES.items() for case in cases]


def write(directory: Path, files: Files) -> Path:
    """Write the files below a directory."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def found(directory: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return the findings of `lint` there, as its document has them."""
    report = library.lint(*arguments, cwd=str(directory))
    findings: list[dict[str, Any]] = documents.data(report)["findings"]
    return findings


def place(finding: dict[str, Any], directory: Path) -> str:
    """Return `file:line:column` as far as they are known."""
    source = finding["source"]
    path = os.path.relpath(source["file"], directory)
    return ":".join(str(part) for part in (path, source["line"], source["column"]) if part is not None)


def test_every_finding_has_its_cases_and_its_line() -> None:
    """No id without a case here and a heading on the page, and no case without an id."""
    page = (ROOT / "docs" / "reference.md").read_text()
    assert set(CASES) == set(RULES)
    assert all(f"### {rule}\n\n{RULES[rule].severity}: " in page for rule in RULES)


@pytest.mark.parametrize(("rule", "files", "where", "what", "fixed"), ALL, ids=[case[0] for case in ALL])
def test_it_is_found_at_its_place_with_its_severity(  # noqa: PLR0917 - a row of the table
    tmp_path: Path, portguard: Run, rule: str, files: Files, where: str, what: str, fixed: Files
) -> None:
    """It is found at its place with its severity, and not once it is mended; errors fail, warnings do not."""
    bad, good = write(tmp_path / "bad", files), write(tmp_path / "good", fixed)
    findings = [item for item in found(bad) if item["id"] == rule]

    assert [place(item, bad) for item in findings] == [where]
    assert what in findings[0]["message"]
    assert findings[0]["severity"] == RULES[rule].severity
    assert [item for item in found(good) if item["id"] == rule] == []
    done = portguard("lint", cwd=bad)
    assert done.returncode == int(any(item["severity"] == "error" for item in found(bad)))
    assert f"{RULES[rule].severity} {rule}: " in done.stdout
    assert library.lint(cwd=str(bad), strict=True).exit_code == 1


@pytest.mark.parametrize(("rule", "files", "where", "what", "fixed"), ALL, ids=[case[0] for case in ALL])
def test_a_finding_is_turned_off_with_a_reason(  # noqa: PLR0917 - a row of the table
    tmp_path: Path, rule: str, files: Files, where: str, what: str, fixed: Files
) -> None:
    """By its id in the config, and counted; a config that cannot be used cannot be turned off."""
    config = files.get("portguard.toml", '[compose]\nfiles = ["compose.yaml"]\n')
    if "[lint.ignore]" not in config:
        config += "[lint.ignore]\n"
    write(tmp_path, {**files, "portguard.toml": f'{config}{rule} = "we know"\n'})
    before = len(found(write(tmp_path / "other", files)))

    document = documents.data(library.lint(cwd=str(tmp_path)))

    is_broken = rule in ("schema", "port-zero") and where.startswith("portguard.toml")
    if rule == "schema" or is_broken:
        assert rule in [item["id"] for item in document["findings"]]
    else:
        assert rule not in [item["id"] for item in document["findings"]]
        assert document["ignored"] >= 1
        assert document["ignored"] + len(document["findings"]) == before


EVERYTHING: Files = {
    "portguard.toml": CONFIG + '[ports.db]\nport = 5432\nenv = "DB_PORT"\n[ports.dns]\nport = 53\nprotocol = "udp"\n',
    "compose.yaml": services(web="9000:80", x="${X}:80", y="50000:80"),
    ".env.example": "DB_PORT=5433\n",
    ".devcontainer.json": '{"forwardPorts": [1234]}',
}


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Return an empty directory that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.needs("netns", "users")
def test_the_answer_is_the_same_on_every_machine(portguard: Run, open_directory: Path) -> None:
    """Without network, IPv6 and Docker, as another user, with other variables and another home: byte for byte."""
    directory = write(open_directory / "shop", EVERYTHING)
    here = portguard("lint", cwd=directory)
    command = [*PORTGUARD, "lint"]
    bare = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "WEB_PORT": "1",
        "X": "8000",
        "DB_PORT": "x",
        "COMPOSE_FILE": "nothing.yaml",
    }

    with netns.private_netns(sysctls={"net.ipv6.conf.all.disable_ipv6": "1"}) as world:
        apart = world.run(command, cwd=directory, env=bare, capture_output=True, text=True)
    program = (
        f"import os, sys; os.chdir({str(directory)!r}); from portguard.cli.main import main; sys.exit(main(['lint']))"
    )
    other = as_user(["-c", program], NOBODY)

    assert (here.returncode, here.stderr) == (1, "")
    assert here.stdout.count("\n") > 8
    assert (apart.returncode, apart.stdout) == (here.returncode, here.stdout)
    assert (other.returncode, other.stdout) == (here.returncode, here.stdout)


@pytest.mark.needs("users")
def test_a_config_that_cannot_be_read_is_named(everybodys: Path) -> None:
    """A finding about a file as a whole stands at that file, also where its directory is closed to us."""
    config = everybodys / "portguard.toml"
    config.write_text(declared(8080))
    everybodys.chmod(0o700)  # entered as root, before the user changes

    done = as_user(["-m", "portguard", "lint"], NOBODY, cwd=everybodys)

    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "portguard.toml: error schema: cannot be read: Permission denied"


@pytest.mark.needs("netns")
def test_it_makes_no_socket(tmp_path: Path) -> None:
    """Not even where every socket is refused: static means static."""
    directory = write(tmp_path, EVERYTHING)
    program = (
        "import sys; seen = []\n"
        "sys.addaudithook(lambda name, _: seen.append(name) if name.startswith(('socket', 'subprocess')) else None)\n"
        "from portguard.cli.main import main\nmain(['lint'])\nassert not seen, seen"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_files_are_judged_with_their_projects(tmp_path: Path) -> None:
    """Hooks name files, of several projects too; each is judged once, and files that belong to none are nothing."""
    one = write(tmp_path / "one", {"portguard.toml": declared(80), ".env": ""})
    two = write(tmp_path / "two", {"compose.yaml": services(web="81:80")})
    write(tmp_path / "three", {"pyproject.toml": "[project]\n"})
    names = ["one/portguard.toml", "one/.env", "two/compose.yaml", "three/pyproject.toml"]

    findings = found(tmp_path, *names)

    assert sorted(item["source"]["file"] for item in findings) == [
        str(one / "portguard.toml"),
        str(two / "compose.yaml"),
    ]
    assert found(tmp_path, "three/pyproject.toml") == []


def test_a_file_that_is_not_there(tmp_path: Path, portguard: Run) -> None:
    """A name that was mistyped is no clean bill for the project beside it: exit 2, and the name."""
    write(tmp_path, {"portguard.toml": declared(8080)})

    for arguments in (["portgaurd.toml"], ["portguard.toml", "no/such/compose.yaml"], ["--config", "other.toml"]):
        done = portguard("lint", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{arguments[-1]}: no such file" in done.stderr


def test_compose_files_that_are_not_there(tmp_path: Path, portguard: Run) -> None:
    """`check` and `lint` name all of them, each with its place in the config."""
    write(tmp_path, {"portguard.toml": '[compose]\nfiles = [\n  "a.yaml",\n  "-",\n]\n'})
    missing = "portguard.toml:3:3: a.yaml: no such compose file"

    check, lint = portguard("check", cwd=tmp_path), portguard("lint", cwd=tmp_path)

    assert (check.returncode, lint.returncode) == (2, 1)
    assert f"portguard: {missing}\n" in check.stderr
    assert "portguard: portguard.toml:4:3: -: only local files can be read\n" in check.stderr
    assert "portguard.toml:3:3: error schema: a.yaml: no such compose file\n" in lint.stdout


@pytest.mark.needs("git")
def test_what_lies_above_the_checkout_is_not_committed_with_it(tmp_path: Path, portguard: Run) -> None:
    """Compose would look there; lint would then say something else on every machine."""
    write(tmp_path, {"compose.yaml": "broken: [", "repo/pyproject.toml": "[project]\n"})
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "repo")], check=True, capture_output=True)

    done = portguard("lint", "pyproject.toml", cwd=tmp_path / "repo")

    assert (done.returncode, done.stdout) == (0, "nothing to lint\n")


def test_what_belongs_to_a_compose_file_above_is_judged_with_it(tmp_path: Path) -> None:
    """A hook names a file in a folder; the project is the one around it."""
    write(
        tmp_path,
        {"compose.yaml": services(web="8080:80"), ".devcontainer/devcontainer.json": '{"forwardPorts": [1234]}'},
    )

    findings = found(tmp_path, ".devcontainer/devcontainer.json")

    assert [item["id"] for item in findings] == ["drift-devcontainer"]


def test_nothing_to_judge_says_where_it_looked(tmp_path: Path, portguard: Run) -> None:
    """Exit 2, as for `check`."""
    done = portguard("lint", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(tmp_path) in done.stderr
    assert "portguard init" in done.stderr


def test_what_is_written_as_it_should_be_has_no_findings(tmp_path: Path, portguard: Run) -> None:
    """Quietly: one line, exit 0."""
    write(tmp_path, {"portguard.toml": CONFIG, "compose.yaml": COMPOSE, ".env.example": "WEB_PORT=8080\n"})
    done = portguard("lint", "--strict", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "no findings (portguard.toml and 2 more)\n", "")


def test_the_same_findings_as_annotations_and_as_sarif(tmp_path: Path, portguard: Run) -> None:
    """The same findings as annotations and as SARIF, with the exit code of the text."""
    write(tmp_path, {"portguard.toml": "[ports]\nweb = 8080\napi = 8080\n"})
    github = portguard("lint", "--format", "github", cwd=tmp_path)
    sarif = portguard("lint", "--format=sarif", cwd=tmp_path)

    assert github.returncode == sarif.returncode == 1
    assert github.stdout.startswith("::error file=portguard.toml,line=3,")
    (run,) = json.loads(sarif.stdout)["runs"]
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == set(RULES)
    assert [result["ruleId"] for result in run["results"]] == ["duplicate"]
    assert portguard("lint", "--format", "xml", cwd=tmp_path).returncode == 2
