"""Compose projects, feature by feature: what is published, what the project is called, what is refused and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portguard.sources import compose
from tests.sources.reading import one, project, published, refusal, service, write


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ("8080:80", {"web :8080->80/tcp"}),
        ("2222:22", {"web :2222->22/tcp"}),
        ("21:21", {"web :21->21/tcp"}),
        ('"53:53/udp"', {"web :53->53/udp"}),
        ("'127.0.0.1:5432:5432'", {"web 127.0.0.1:5432->5432/tcp"}),
        ('"[::1]:6001:6001"', {"web ::1:6001->6001/tcp"}),
        ('"::1:6000:6000"', {"web ::1:6000->6000/tcp"}),
        ("9090-9091:8080-8081", {"web :9090->8080/tcp", "web :9091->8081/tcp"}),
        ("8000-8002:80", {"web :8000-8002->80/tcp"}),
        ("80", set()),
        ("0777", set()),
        ('"80"', set()),
        ("!!str 8080:80", {"web :8080->80/tcp"}),
        ("{target: 80, published: 8080}", {"web :8080->80/tcp"}),
        ('{target: "80", published: "8080", protocol: udp, host_ip: 10.0.0.1}', {"web 10.0.0.1:8080->80/udp"}),
        ('{target: 80, published: "8000-8010", mode: host, name: a, app_protocol: http, x-a: 1}',
         {"web :8000-8010->80/tcp"}),
        ("{target: 80}", set()),
        ("{target: 80, published: 0}", set()),
        ("{target: 0x50, published: 0o17}", {"web :15->80/tcp"}),
    ],
)  # fmt: skip
def test_one_port(port: str, expected: set[str], tmp_path: Path) -> None:
    """A port in any of its notations is what compose makes of it; nothing is read to base 60."""
    assert published(one(tmp_path, service(port))) == expected


@pytest.mark.parametrize(
    ("port", "says"),
    [
        ("127.0.0.1:80", "write 127.0.0.1:PORT:PORT"),
        ("localhost:80:80", "not an IP address"),
        ("1.5", "not the number 1.5"),
        ("true", "not the boolean true"),
        ("", "not nothing"),
        ("[80]", "not a list"),
        ("08080", "not the number 08080"),
        ("70000", "is not a port"),
        ("{published: 80}", "a target port is missing"),
        ("{target: 80, port: 1}", "unknown key 'port'"),
        ("{target: 80-81}", "must be a number"),
        ("{target: 80, published: }", "must be a string"),
        ("{target: 80, published: http}", "not a published port"),
        ("{target: 80, host_ip: localhost}", "not an IP address"),
        ('"${NOTHING}"', "'${NOTHING}' became '', where NOTHING is empty"),
        ('"${"', "invalid template"),
        ('"${P:?set it}:80"', "required variable P is missing a value: set it"),
        ("!unknown [1]", "not a list"),
    ],
)
def test_a_port_that_is_refused(port: str, says: str, tmp_path: Path) -> None:
    """A port that compose refuses is refused by file, line, column and service."""
    (message,) = refusal(tmp_path, {"compose.yaml": service("8080:80", port)})

    assert message.startswith("compose.yaml:6:")
    assert "services.web.ports" in message
    assert says in message


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    """All problems of all files come in one error."""
    messages = refusal(
        tmp_path,
        {
            "compose.yaml": service("a:80", "{target: x}") + "    scale: many\n    profiles: dev\n",
            "compose.override.yaml": "services:\n  db:\n    ports: 5432\n  bad name:\n    image: x\nvolume: {}\n",
        },
    )

    assert [message.split(": ")[0] for message in messages] == [
        "compose.yaml:5:9",
        "compose.yaml:6:18",
        "compose.yaml:7:12",
        "compose.yaml:8:15",
        "compose.override.yaml:3:12",
        "compose.override.yaml:4:3",
        "compose.override.yaml:6:1",
    ]
    assert any("did you mean volumes?" in message for message in messages)


def test_each_port_knows_its_place(tmp_path: Path) -> None:
    """File and line are those of the entry, also behind anchors, merge keys and in other files."""
    text = (
        "x-p: &p\n  ports:\n    - 1:1\nservices:\n  a:\n    <<: *p\n"
        "  b:\n    ports:\n      - 2:2\n      - target: 3\n        published: 3\n"
    )
    found = project(tmp_path, {"compose.yaml": text, "compose.override.yaml": "services: {b: {ports: ['4:4']}}\n"})

    assert {(port.service, port.first, os.path.basename(port.file), port.line) for port in found.ports} == {
        ("a", 1, "compose.yaml", 3),
        ("b", 2, "compose.yaml", 9),
        ("b", 3, "compose.yaml", 10),
        ("b", 4, "compose.override.yaml", 1),
    }


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["compose.yaml", "compose.yml", "docker-compose.yml"], ["compose.yaml"]),
        (["compose.yml", "docker-compose.yml"], ["compose.yml"]),
        (["docker-compose.yml", "docker-compose.yaml"], ["docker-compose.yml"]),
        (["docker-compose.yaml"], ["docker-compose.yaml"]),
        (["compose.yaml", "compose.override.yml"], ["compose.yaml", "compose.override.yml"]),
        (["compose.yaml", "docker-compose.override.yml"], ["compose.yaml", "docker-compose.override.yml"]),
        (["compose.yaml", "compose.override.yaml", "compose.override.yml"], ["compose.yaml", "compose.override.yml"]),
    ],
)
def test_the_first_of_the_known_names_wins(names: list[str], used: list[str], tmp_path: Path) -> None:
    """The first of the known names wins, and the first of the override names beside it; others are noted."""
    write(tmp_path, dict.fromkeys(names, "services: {}\n"))

    found = compose.find_files(str(tmp_path), {})

    assert found is not None
    assert [os.path.basename(path) for path in found.paths] == used
    assert bool(found.notes) == (len(names) > len(used))


def test_the_search_goes_upwards(tmp_path: Path) -> None:
    """From a folder inside, the nearest compose file upwards counts; the project is the folder it lies in."""
    write(tmp_path, {"App/compose.yaml": service("1:1"), "App/a/b/c.txt": "", "other/x.txt": ""})

    found = compose.find_files(str(tmp_path / "App/a/b"), {})

    assert found is not None
    assert (found.directory, found.cwd) == (str(tmp_path / "App"), str(tmp_path / "App/a/b"))
    assert compose.read(found, {}).name == "app"


def test_no_file(tmp_path: Path) -> None:
    """Without a compose file up to the root there is none to find."""
    assert compose.find_files(str(tmp_path), {}) is None


def test_compose_file_variable(tmp_path: Path) -> None:
    """COMPOSE_FILE lists files from the working directory, separated as said; overrides are not searched then."""
    files = {
        "a.yaml": service("1:1"),
        "sub/b.yaml": service("2:2"),
        "compose.yaml": service("3:3"),
        "compose.override.yaml": service("4:4"),
    }
    expected = {"web :1->1/tcp", "web :2->2/tcp"}

    by_default = project(tmp_path, files, {"COMPOSE_FILE": f"a.yaml{os.pathsep}sub/b.yaml"})
    by_separator = project(tmp_path, files, {"COMPOSE_FILE": "a.yaml,sub/b.yaml", "COMPOSE_PATH_SEPARATOR": ","})
    (tmp_path / ".env").write_text("COMPOSE_PATH_SEPARATOR=;\nCOMPOSE_FILE=a.yaml;sub/b.yaml\n")
    by_dotenv = project(tmp_path, files)

    assert published(by_default) == published(by_separator) == published(by_dotenv) == expected
    assert by_dotenv.working_dir == str(tmp_path)


@pytest.mark.parametrize("value", ["missing.yaml", "", "-", "a.yaml:", "https://example.com/compose.yaml"])
def test_a_compose_file_variable_that_cannot_be_followed(value: str, tmp_path: Path) -> None:
    """A file that is missing, remote or standard input is refused, and COMPOSE_FILE named as the culprit."""
    (message,) = refusal(tmp_path, {"a.yaml": service("1:1")}, {"COMPOSE_FILE": value, "COMPOSE_PATH_SEPARATOR": ";"})

    assert "COMPOSE_FILE" in message


def test_files_that_are_named_are_merged_in_order(tmp_path: Path) -> None:
    """Files that are named are merged in order; the first one's folder is the project's, and has the `.env`."""
    write(
        tmp_path,
        {
            "deploy/base.yml": service("${P}:1"), "dev.yml": service("2:2"), "deploy/.env": "P=7001\n",
            ".env": "P=7002\n", "compose.yaml": service("3:3"), "compose.override.yaml": service("4:4"),
        },
    )  # fmt: skip

    found = compose.read(["deploy/base.yml", "dev.yml"], {}, cwd=str(tmp_path))

    assert published(found) == {"web :7001->1/tcp", "web :2->2/tcp"}
    assert (found.name, found.working_dir) == ("deploy", str(tmp_path / "deploy"))
    assert found.files == (str(tmp_path / "deploy/base.yml"), str(tmp_path / "dev.yml"))
    assert found.env_files == (str(tmp_path / "deploy/.env"),)


def test_which_env_wins(tmp_path: Path) -> None:
    """The environment wins over the working directory's `.env`, that over the project's, all over the default."""
    files = {
        "compose.yaml": service("${A:-1}:1", "${B:-2}:2", "${C:-3}:3", "${D:-4}:4"),
        ".env": "A=7001\nB=7002\nC=7003\n",
        "sub/.env": "A=7011\nB=7012\n",
    }
    write(tmp_path, files)
    found = compose.find_files(str(tmp_path / "sub"), {"A": "7021"})
    assert found is not None

    read = compose.read(found, {"A": "7021"})

    assert [port.first for port in read.ports] == [7021, 7012, 7003, 4]
    assert read.env_files == (str(tmp_path / "sub/.env"), str(tmp_path / ".env"))


def test_env_files_variable(tmp_path: Path) -> None:
    """COMPOSE_ENV_FILES replaces `.env`, later files win; COMPOSE_DISABLE_ENV_FILE leaves it out."""
    files = {
        "compose.yaml": service("${A:-1}:1", "${B:-2}:2"),
        ".env": "A=7001\n",
        "a.env": "A=8001\nB=8002",
        "b.env": "A=9001",
    }

    assert [port.first for port in project(tmp_path, files, {"COMPOSE_ENV_FILES": "a.env,b.env"}).ports] == [9001, 8002]
    assert [port.first for port in project(tmp_path, files, {"COMPOSE_DISABLE_ENV_FILE": "true"}).ports] == [1, 2]
    assert [port.first for port in project(tmp_path, files, {"COMPOSE_DISABLE_ENV_FILE": "0"}).ports] == [7001, 2]
    assert "COMPOSE_ENV_FILES" in refusal(tmp_path, files, {"COMPOSE_ENV_FILES": "c.env"})[0]
    assert "COMPOSE_DISABLE_ENV_FILE" in refusal(tmp_path, files, {"COMPOSE_DISABLE_ENV_FILE": "maybe"})[0]


def test_a_broken_env_file(tmp_path: Path) -> None:
    """What compose refuses in a `.env` is refused by file and line."""
    messages = refusal(tmp_path, {"compose.yaml": service("1:1"), ".env": "A=1\nlol$wut\n"})

    assert messages == (".env:2: unexpected character '$' in the name of a variable",)


@pytest.mark.parametrize(
    ("text", "dotenv", "environ", "ports"),
    [
        ("${P:-80}:1", "", {}, [80]),
        ("${P:-80}:1", "P=", {}, [80]),
        ("${P-80}:1", "P=", {}, []),
        ("$P:1", "P=81", {}, [81]),
        ("${P}:1", "P=81", {"P": "82"}, [82]),
        ("${P:-80}:1", "P=81", {"P": ""}, [80]),
        ("${H:-127.0.0.1}:${P:-${Q:-83}}:1", "", {}, [83]),
        ("${A:+8}${B}4:1", "A=x\nB=8", {}, [884]),
        ("{target: 1, published: $P}", "P='85'", {}, [85]),
        ("{target: $T, published: 86}", 'T="1"', {}, [86]),
        ("8$$7:1", "", {}, None),
    ],
)
def test_ports_may_come_out_of_variables(
    text: str, dotenv: str, environ: dict[str, str], ports: list[int] | None, tmp_path: Path
) -> None:
    """Ports may come out of variables, with defaults, from `.env` and from the environment."""
    files = {"compose.yaml": service(text if text.startswith("{") else f'"{text}"'), ".env": dotenv}
    if ports is None:
        refusal(tmp_path, files, environ)
    else:
        assert [port.first for port in project(tmp_path, files, environ).ports] == ports


def test_an_empty_variable_is_a_random_port_and_said_so(tmp_path: Path) -> None:
    """`${PORT}:80` with nothing in PORT is any free port to compose, not an error; a note says it."""
    found = one(tmp_path, service('"${PORT}:80"', '":81"', "82"))

    assert found.ports == ()
    assert [(note.id, note.message) for note in found.notes] == [
        ("random-port", "compose.yaml:5: web:80/tcp gets any free port: PORT is empty")
    ]


MERGES = {
    "ports append": (service("1:1"), service("2:2"), {1, 2}),
    "the same port once": (service("1:1", "0.0.0.0:2:2"), service("1:1/tcp", "2:2"), {1, 2}),
    "override replaces": (service("1:1"), "services: {web: {ports: !override ['2:2']}}", {2}),
    "override by nothing": (service("1:1"), "services: {web: {ports: !override []}}", set()),
    "reset removes": (service("1:1"), "services: {web: {ports: !reset []}}", set()),
    "reset null": (service("1:1"), "services: {web: {ports: !reset null}}", set()),
    "reset in a block": (service("1:1"), "services:\n  web:\n    ports: !reset\n      - 2:2\n", set()),
    "reset of an entry": (service("1:1"), "services: {web: {ports: [!reset '2:2', '3:3']}}", {1, 3}),
    "override of the service": (service("1:1"), "services: {web: !override {ports: ['2:2']}}", {2}),
    "reset of the service": (service("1:1"), "services: {web: !reset null, b: {ports: ['3:3']}}", {3}),
    "override of all services": (service("1:1"), "services: !override {b: {ports: ['3:3']}}", {3}),
    "tags through an alias": (service("1:1"), "x-p: &p !override ['2:2']\nservices: {web: {ports: *p}}", {2}),
    "tags through a merge key": (service("1:1"), "x-p: &p {ports: !override ['2:2']}\nservices: {web: {<<: *p}}", {2}),
    "another service": (service("1:1"), "services: {db: {ports: ['2:2']}}", {1, 2}),
    "two documents": (service("1:1") + "---\nservices: {web: {ports: ['2:2']}}\n---\n", service("3:3"), {1, 2, 3}),
    "an empty override": (service("1:1"), "", {1}),
    "only comments": (service("1:1"), "# nothing\n", {1}),
    "scale is replaced": (service("1:1", more="    scale: 1\n"), "services: {web: {scale: 0}}", set()),
    "replicas are reset": (
        service("1:1", more="    deploy: {replicas: 0}\n"), "services: {web: {deploy: !reset null}}", {1}),
    "replicas are overridden away": (
        service("1:1", more="    deploy: {replicas: 0}\n"), "services: {web: {deploy: !override {}}}", {1}),
    "profiles add up": (service("1:1", more="    profiles: [off]\n"), "services: {web: {profiles: [on]}}", {1}),
    "profiles are reset": (service("1:1", more="    profiles: [off]\n"), "services: {web: {profiles: !reset []}}", {1}),
}  # fmt: skip


@pytest.mark.parametrize("name", MERGES)
def test_merge(name: str, tmp_path: Path) -> None:
    """An override file adds, replaces or removes as the specification says."""
    base, override, ports = MERGES[name]

    found = project(tmp_path, {"compose.yaml": base, "compose.override.yaml": override}, profiles=["on"])

    assert {port.first for port in found.ports} == ports


YAML = {
    "anchors": ("x-p: &p ['1:1']\nservices: {web: {ports: *p}}", {1}),
    "a merge key": ("x-w: &w {image: x, ports: ['1:1']}\nservices: {web: {<<: *w}}", {1}),
    "own keys win over merged ones": ("x-w: &w {ports: ['1:1']}\nservices: {web: {<<: *w, ports: ['2:2']}}", {2}),
    "the first merged one wins": (
        "x-a: &a {ports: ['1:1']}\nx-b: &b {ports: ['2:2']}\nservices: {web: {<<: [*a, *b]}}", {1}),
    "merge keys in merge keys": ("x-a: &a {ports: ['1:1']}\nx-b: &b {<<: *a}\nservices: {web: {<<: *b}}", {1}),
    "a merged service": ("services:\n  a: &a\n    ports: ['1:1']\n  b:\n    <<: *a\n", {1}),
    "flow and block": ('{"services": {"web": {"ports": ["1:1", 2]}}}', {1}),
    "yes and no are strings": ("services: {no: {ports: ['1:1']}, yes: {}, on: {}}", {1}),
    "a long text": ("services:\n  web:\n    command: |\n      ports:\n        - 9:9\n    ports: [1:1]\n", {1}),
    "folded": ("services:\n  web:\n    ports:\n      - >-\n        1:1\n      - |-\n        2:2\n", {1, 2}),
    "byte order mark": ("\ufeffservices: {web: {ports: ['1:1']}}", {1}),
    "unknown tags": ("services: {web: {ports: [!port '1:1'], x: !!binary aGk=}}", {1}),
    "expose publishes nothing": ("services: {web: {expose: [1], ports: []}}", set()),
    "extensions": ("x-a: [1]\nservices: {web: {x-b: 1, ports: ['1:1']}}\nnetworks: {a: {}}\nvolumes: {a: }", {1}),
    "version": ("version: '3.8'\nservices: {web: {ports: ['1:1']}}", {1}),
}  # fmt: skip


@pytest.mark.parametrize("name", YAML)
def test_yaml_reads_as_go_yaml_reads_it(name: str, tmp_path: Path) -> None:
    """YAML reads as go-yaml reads it: anchors, merge keys, documents, and no numbers to base 60."""
    text, ports = YAML[name]

    assert {port.first for port in one(tmp_path, text).ports} == ports


EXTENDS: dict[str, tuple[dict[str, str], set[str]]] = {
    "ports are added": (
        {"compose.yaml": "services:\n  a: {ports: ['1:1']}\n  b: {extends: a, ports: ['2:2']}\n"},
        {"a :1->1/tcp", "b :1->1/tcp", "b :2->2/tcp"},
    ),
    "the long form": (
        {"compose.yaml": "services:\n  b: {extends: {service: a}}\n  a: {ports: ['1:1']}\n"},
        {"a :1->1/tcp", "b :1->1/tcp"},
    ),
    "a chain": (
        {"compose.yaml": "services: {a: {ports: ['1:1']}, b: {extends: a}, c: {extends: b}}"},
        {"a :1->1/tcp", "b :1->1/tcp", "c :1->1/tcp"},
    ),
    "another file": (
        {
            "compose.yaml": "services: {web: {extends: {file: lib/base.yml, service: base}}}",
            "lib/base.yml": "services: {base: {ports: ['1:1']}, unused: {ports: ['9:9']}}",
        },
        {"web :1->1/tcp"},
    ),
    "another file's other file, from its own folder": (
        {
            "compose.yaml": "services: {web: {extends: {file: lib/base.yml, service: base}}}",
            "lib/base.yml": "services: {base: {extends: {file: more/deep.yml, service: deep}, ports: ['1:1']}}",
            "lib/more/deep.yml": "services: {deep: {ports: ['2:2'], scale: 3}}",
        },
        {"web :1->1/tcp x3", "web :2->2/tcp x3"},
    ),
    "a sibling in another file": (
        {
            "compose.yaml": "services: {web: {extends: {file: base.yml, service: b}}}",
            "base.yml": "services: {a: {ports: ['1:1']}, b: {extends: a}}",
        },
        {"web :1->1/tcp"},
    ),
    "override": (
        {"compose.yaml": "services:\n  a: {ports: ['1:1']}\n  b: {extends: a, ports: !override ['2:2']}\n"},
        {"a :1->1/tcp", "b :2->2/tcp"},
    ),
    "reset": (
        {"compose.yaml": "services:\n  a: {ports: ['1:1']}\n  b: {extends: a, ports: !reset []}\n"},
        {"a :1->1/tcp"},
    ),
    "extends is reset": (
        {"compose.yaml": "services:\n  a: {ports: ['1:1']}\n  b: {extends: !reset null, ports: ['2:2']}\n"},
        {"a :1->1/tcp", "b :2->2/tcp"},
    ),
    "an override file extends within itself": (
        {
            "compose.yaml": "services: {web: {ports: ['1:1']}}",
            "compose.override.yaml": "services: {c: {ports: ['2:2']}, web: {extends: c}}",
        },
        {"web :1->1/tcp", "web :2->2/tcp", "c :2->2/tcp"},
    ),
    "variables": (
        {
            "compose.yaml": "services: {web: {extends: {file: '${F}', service: a}}}",
            "base.yml": "services: {a: {ports: ['${P}:1']}}",
            ".env": "F=base.yml\nP=7\n",
        },
        {"web :7->1/tcp"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXTENDS)
def test_extends(name: str, tmp_path: Path) -> None:
    """A service may build on another one, of this file or of a local one."""
    files, expected = EXTENDS[name]

    assert published(project(tmp_path, files)) == expected


INCLUDES: dict[str, tuple[dict[str, str], set[str]]] = {
    "short form": (
        {"compose.yaml": "include: [db/compose.yaml]\n" + service("1:1"),
         "db/compose.yaml": "services: {db: {ports: ['2:2']}}"},
        {"web :1->1/tcp", "db :2->2/tcp"},
    ),
    "its own .env, and the including one wins": (
        {"compose.yaml": "include: [db/compose.yaml]\n" + service('"${P:-1}:1"'), ".env": "Q=70\n",
         "db/compose.yaml": "services: {db: {ports: ['${P}:2', '${Q}:3']}}", "db/.env": "P=60\nQ=61\n"},
        {"web :1->1/tcp", "db :60->2/tcp", "db :70->3/tcp"},
    ),
    "several paths override each other": (
        {"compose.yaml": "include:\n  - path: [db/a.yaml, db/b.yaml]\n",
         "db/a.yaml": "services: {db: {ports: ['2:2']}}", "db/b.yaml": "services: {db: {ports: ['3:3']}}"},
        {"db :2->2/tcp", "db :3->3/tcp"},
    ),
    "project_directory": (
        {"compose.yaml": "include:\n  - {path: db/a.yaml, project_directory: conf}\n",
         "db/a.yaml": "services: {db: {extends: {file: b.yaml, service: x}}}", "db/.env": "P=1\n",
         "conf/.env": "P=2\n", "conf/b.yaml": "services: {x: {ports: ['${P}:2']}}"},
        {"db :2->2/tcp"},
    ),
    "env_file": (
        {"compose.yaml": "include:\n  - {path: db/a.yaml, env_file: [one.env, two.env]}\n",
         "db/a.yaml": "services: {db: {ports: ['${P}:2']}}", "db/.env": "P=1\n",
         "one.env": "P=2\n", "two.env": "P=3\n"},
        {"db :3->2/tcp"},
    ),
    "no env_file": (
        {"compose.yaml": "include:\n  - {path: db/a.yaml, env_file: /dev/null}\n",
         "db/a.yaml": "services: {db: {ports: ['${P:-9}:2']}}", "db/.env": "P=1\n"},
        {"db :9->2/tcp"},
    ),
    "nested, each from its own folder": (
        {"compose.yaml": "include: [a/compose.yaml]\n", "a/compose.yaml": "include: [b/compose.yaml]\n",
         "a/b/compose.yaml": "services: {b: {ports: ['${P}:1']}}", "a/b/.env": "P=5\n"},
        {"b :5->1/tcp"},
    ),
    "twice the same file": (
        {"compose.yaml": "include: [a.yaml, b.yaml]\n", "a.yaml": "include: [c.yaml]\n",
         "b.yaml": "include: [c.yaml]\n",
         "c.yaml": "services: {c: {ports: ['1:1']}}"},
        {"c :1->1/tcp"},
    ),
    "the override file adds to an included service": (
        {"compose.yaml": "include: [a.yaml]\n", "a.yaml": "services: {c: {ports: ['1:1']}}",
         "compose.override.yaml": "services: {c: {ports: ['2:2']}}"},
        {"c :1->1/tcp", "c :2->2/tcp"},
    ),
    "the including file overrides": (
        {"compose.yaml": "include: [a.yaml]\nservices: {c: {ports: !override ['2:2']}}",
         "a.yaml": "services: {c: {ports: ['1:1']}}"},
        {"c :2->2/tcp"},
    ),
    "a variable as path": (
        {"compose.yaml": "include: ['${WHICH}.yaml']\n", "a.yaml": "services: {c: {ports: ['1:1']}}",
         ".env": "WHICH=a"},
        {"c :1->1/tcp"},
    ),
    "its name does not count": (
        {"compose.yaml": "name: outer\ninclude: [a.yaml]\n",
         "a.yaml": "name: inner\nservices: {c: {ports: ['1:1']}}"},
        {"c :1->1/tcp"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INCLUDES)
def test_local_projects_may_be_included(name: str, tmp_path: Path) -> None:
    """Local projects may be included, with their own directory and variables."""
    files, expected = INCLUDES[name]

    found = project(tmp_path, files)

    assert published(found) == expected
    assert found.name != "inner"


@pytest.mark.parametrize(
    ("profiles", "environ", "dotenv", "expected"),
    [
        ((), {}, "", {"web"}),
        (("dev",), {}, "", {"web", "dev", "both"}),
        (("dev", "test"), {}, "", {"web", "dev", "both", "test"}),
        (("*",), {}, "", {"web", "dev", "both", "test"}),
        ((), {"COMPOSE_PROFILES": "test, dev"}, "", {"web", "dev", "both", "test"}),
        ((), {}, "COMPOSE_PROFILES=test", {"web", "both", "test"}),
        ((), {"COMPOSE_PROFILES": ""}, "COMPOSE_PROFILES=test", {"web"}),
        (("dev",), {"COMPOSE_PROFILES": "test"}, "", {"web", "dev", "both"}),
        (("nothing",), {}, "", {"web"}),
    ],
)
def test_profiles(
    profiles: tuple[str, ...], environ: dict[str, str], dotenv: str, expected: set[str], tmp_path: Path
) -> None:
    """A service with profiles counts only when one of them is active."""
    text = (
        "services:\n  web: {ports: ['1:1']}\n  dev: {profiles: [dev], ports: ['2:2']}\n"
        "  both: {profiles: [dev, test], ports: ['3:3']}\n  test: {profiles: [test], ports: ['4:4']}\n"
    )

    found = project(tmp_path, {"compose.yaml": text, ".env": dotenv}, environ, profiles=profiles)

    assert set(found.services) == {port.service for port in found.ports} == expected


@pytest.mark.parametrize(
    ("more", "ports", "note"),
    [
        ("network_mode: host", set(), "ports-unused"),
        ("network_mode: none", set(), "ports-unused"),
        ("network_mode: service:db", set(), "ports-unused"),
        ('network_mode: "container:x"', set(), "ports-unused"),
        ("network_mode: bridge", {1}, None),
        ("network_mode: ${MODE:-bridge}", {1}, None),
    ],
)
def test_a_service_in_another_network_space_publishes_nothing(
    more: str, ports: set[int], note: str | None, tmp_path: Path
) -> None:
    """A service in another network space publishes nothing; a note says so, and host networking is recorded."""
    found = one(tmp_path, service("1:1", more=f"    {more}\n"))

    assert {port.first for port in found.ports} == ports
    assert [item.id for item in found.notes] == ([note] if note else [])
    assert found.host_network == (("web",) if "host" in more else ())


@pytest.mark.parametrize(
    ("more", "replicas"),
    [
        ("scale: 3", 3),
        ("deploy: {replicas: 2}", 2),
        ("scale: '${N:-4}'", 4),
        ("deploy: {replicas: '5'}", 5),
        ("scale: 2\n    deploy: {replicas: 2}", 2),
        ("deploy: {mode: global}", 1),
        ("scale: 0", None),
        ("container_name: one", 1),
    ],
)
def test_a_port_is_needed_once_for_each_replica(more: str, replicas: int | None, tmp_path: Path) -> None:
    """A port is needed once for each replica; a service that is scaled to nothing needs none."""
    found = one(tmp_path, service("1-9:1", more=f"    {more}\n"))

    assert [port.replicas for port in found.ports] == ([] if replicas is None else [replicas])


def test_sctp_is_noted(tmp_path: Path) -> None:
    """What is neither TCP nor UDP is not checked, and said so."""
    found = one(tmp_path, service("'1:1/sctp'", "'2:2/udp'"))

    assert published(found) == {"web :2->2/udp"}
    assert [note.id for note in found.notes] == ["protocol-not-checked"]


NAMES: list[tuple[str, str, dict[str, str], str | None, str]] = [
    # folder, `name:` line, environment, -p, expected
    ("App", "", {}, None, "app"),
    ("_My.Proj-X", "", {}, None, "myproj-x"),
    ("my proj", "", {}, None, "myproj"),
    ("-9a", "", {}, None, "9a"),
    ("app", "name: Given", {}, None, "given"),
    ("app", "name: ${N:-dflt}-${M}", {"M": "Two"}, None, "dflt-two"),
    ("app", "name: ''", {}, None, "app"),
    ("app", "name: 42", {}, None, "42"),
    ("app", "name: given", {"COMPOSE_PROJECT_NAME": "env"}, None, "env"),
    ("app", "name: given", {"COMPOSE_PROJECT_NAME": ""}, None, "given"),
    ("app", "name: given", {"COMPOSE_PROJECT_NAME": "env"}, "flag", "flag"),
]


@pytest.mark.parametrize("row", NAMES, ids=repr)
def test_p_compose_project_name_name_the_folder(
    row: tuple[str, str, dict[str, str], str | None, str], tmp_path: Path
) -> None:
    """`-p`, COMPOSE_PROJECT_NAME, `name:`, the folder: in this order; the last two are normalised."""
    folder, line, environ, flag, expected = row

    found = one(tmp_path / folder, f"{line}\n{service('1:1')}", environ, project_name=flag)

    assert found.name == expected


def test_name_from_dotenv_and_of_the_last_file(tmp_path: Path) -> None:
    """COMPOSE_PROJECT_NAME may stand in `.env`; of several files the last `name:` counts; it can be used in ports."""
    files = {"compose.yaml": "name: one\n" + service("1:1"), "compose.override.yaml": "name: two\nservices: {}\n"}
    assert project(tmp_path, files).name == "two"
    port = service("'${COMPOSE_PROJECT_NAME}:1'")
    assert "'${COMPOSE_PROJECT_NAME}:1' became 'two:1'" in refusal(tmp_path, {**files, "compose.yaml": port})[0]
    assert project(tmp_path, {**files, ".env": "COMPOSE_PROJECT_NAME=three\n"}).name == "three"


@pytest.mark.parametrize(
    ("folder", "line", "environ", "flag"),
    [
        ("app", "", {"COMPOSE_PROJECT_NAME": "Env"}, None),
        ("app", "", {"COMPOSE_PROJECT_NAME": "a.b"}, None),
        ("app", "", {}, "_x"),
        ("app", "", {}, "a b"),
        ("___", "", {}, None),
        ("app", "name: '...'", {}, None),
        ("app", "name: '${N:?}'", {}, None),
        ("app", "name: [a]", {}, None),
    ],
)
def test_a_name_that_is_refused(
    folder: str, line: str, environ: dict[str, str], flag: str | None, tmp_path: Path
) -> None:
    """A name that compose refuses is refused; nothing is normalised that the user gave as a name."""
    files = {"compose.yaml": f"{line}\n{service('1:1')}"}

    assert "name" in refusal(tmp_path / folder, files, environ, project_name=flag)[0]
