"""What the compose reader refuses, by place and reason; and how YAML's scalars resolve."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from portguard.errors import ConfigError
from portguard.sources import compose, compose_json, yaml_nodes
from tests.sources.reading import refusal, service

REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "remote include": ({"compose.yaml": "include: ['https://example.com/x.git']\n"}, "compose.yaml:1:11: include:"),
    "oci include": ({"compose.yaml": "include: [oci://docker.io/x]\n"}, "nothing is fetched"),
    "git include": ({"compose.yaml": "include: ['git@github.com:a/b.git']\n"}, "nothing is fetched"),
    "remote extends": (
        {"compose.yaml": "services: {a: {extends: {file: 'https://x/y.yml', service: b}}}"}, "nothing is fetched"),
    "missing include": ({"compose.yaml": "include: [gone.yaml]\n"}, "no file 'gone.yaml'"),
    "missing extends file": (
        {"compose.yaml": "services: {a: {extends: {file: gone.yml, service: b}}}"}, "no file 'gone.yml'"),
    "missing env_file of an include": (
        {"compose.yaml": "include: [{path: a.yaml, env_file: gone.env}]", "a.yaml": "services: {}"},
        "gone.env: no such file (included in compose.yaml:1)"),
    "include is no list": ({"compose.yaml": "include: a.yaml\n"}, "include must be a list"),
    "include without path": ({"compose.yaml": "include: [{env_file: a}]\n"}, "include names no path"),
    "include circular": (
        {"compose.yaml": "include: [a.yaml]\n", "a.yaml": "include: [compose.yaml]\n"},
        "compose.yaml includes a.yaml includes compose.yaml"),
    "include of itself": ({"compose.yaml": "include: [./compose.yaml]\n"}, "circular"),
    "extends circular": (
        {"compose.yaml": "services: {a: {extends: b}, b: {extends: a}}"}, "a extends b extends a"),
    "extends itself": ({"compose.yaml": "services: {a: {extends: a}}"}, "circular"),
    "extends circular over files": (
        {"compose.yaml": "services: {a: {extends: {file: b.yml, service: b}}}",
         "b.yml": "services: {b: {extends: {file: compose.yaml, service: a}}}"}, "circular"),
    "extends nobody": ({"compose.yaml": "services: {a: {extends: b}}"}, "extends 'b', which is not in this file"),
    "extends across override files": (
        {"compose.yaml": "services: {a: {ports: ['1:1']}}",
         "compose.override.yaml": "services: {b: {extends: a}}"}, "not in this file"),
    "extends without service": ({"compose.yaml": "services: {a: {extends: {file: x}}}"}, "names no service"),
    "extends a file without services": (
        {"compose.yaml": "services: {a: {extends: {file: x.yml, service: b}}}", "x.yml": "name: x"}, "not in x.yml"),
    "extends a file of two documents": (
        {"compose.yaml": "services: {a: {extends: {file: x.yml, service: b}}}", "x.yml": "name: x\n---\nname: y\n"},
        "'x.yml' has 2 documents"),
    "extends too far": (
        {"compose.yaml": "services:\n" + "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(60))},
        "leads further than 50 services"),
    "deploy is a list": ({"compose.yaml": "services: {web: {deploy: [2]}}"}, "services.web.deploy must be a mapping"),
    "unknown anchor": ({"compose.yaml": "services: *gone\n"}, "compose.yaml:1:11: the alias *gone has no anchor"),
    "an anchor in itself": ({"compose.yaml": "services: &a\n  web: *a\n"}, "contains itself"),
    "a list at the top": ({"compose.yaml": "- a\n"}, "the top level must be a mapping, not a list"),
    "a string at the top": ({"compose.yaml": "hello\n"}, "not the string 'hello'"),
    "empty": ({"compose.yaml": "# nothing\n"}, "compose.yaml: is empty"),
    "services are a list": ({"compose.yaml": "services: [a]\n"}, "services must be a mapping"),
    "services are empty": ({"compose.yaml": "services:\n"}, "services must be a mapping, not nothing"),
    "a service is empty": ({"compose.yaml": "services:\n  web:\n"}, "services.web must be a mapping"),
    "ports are empty": ({"compose.yaml": "services: {web: {ports: }}\n"}, "services.web.ports must be a list"),
    "ports are a string": ({"compose.yaml": "services: {web: {ports: '1:1'}}\n"}, "must be a list"),
    "the old format": ({"compose.yaml": "web:\n  ports: ['1:1']\n"}, "listed below a top-level `services:`"),
    "a misspelt top-level key": ({"compose.yaml": "service: {}\n"}, "did you mean services?"),
    "a misspelt key": ({"compose.yaml": "services: {web: {port: ['1:1']}}"}, "did you mean ports?"),
    "a key twice": ({"compose.yaml": "services:\n  a: {}\n  a: {}\n"}, "'a' is a duplicate of line 2"),
    "a key that is a number": ({"compose.yaml": "services: {80: {}}"}, "a key that is not a string: the number 80"),
    "a merge of no mapping": ({"compose.yaml": "services: {web: {<<: [1]}}"}, "<< takes a mapping"),
    "broken YAML": ({"compose.yaml": "services:\n  a: b: c\n"}, "compose.yaml:2:7: is not valid YAML"),
    "a tab": ({"compose.yaml": "services:\n\ta: {}\n"}, "compose.yaml:2:1: is not valid YAML"),
    "a control character": ({"compose.yaml": "a: \x01\n"}, "is not valid YAML"),
    "scale and replicas": (
        {"compose.yaml": service("1:1", more="    scale: 2\n    deploy: {replicas: 3}\n")}, "compose wants one number"),
    "a shared container name": (
        {"compose.yaml": service("1:1", more="    scale: 2\n    container_name: x\n")}, "one container_name"),
    "an interpolation error in a profile": (
        {"compose.yaml": service("1:1", more="    profiles: ['${']\n")}, "services.web.profiles: invalid template"),
    "a name with a colon": ({"compose.yaml": "services: {'a:b': {}}"}, "cannot be the name of a service"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_resolved_is_refused(name: str, tmp_path: Path) -> None:
    """What cannot be resolved is refused, with the place and the reason."""
    files, says = REFUSED[name]

    assert any(says in message for message in refusal(tmp_path, files)), refusal(tmp_path, files)


def test_as_many_problems_as_anybody_reads(tmp_path: Path) -> None:
    """The first hundred mistakes are named, and how many more there are."""
    messages = refusal(tmp_path, {"compose.yaml": service(*["x:y"] * 150)})

    assert len(messages) == 101
    assert [message.partition(": ")[0] for message in messages[:100]] == [f"compose.yaml:{n}:9" for n in range(5, 105)]
    assert re.fullmatch(r"and \d+ more problems", messages[100])


def test_a_text_has_bounds_of_its_own() -> None:
    """Anyone who hands the YAML reader or the reader of resolved models more than a file may hold is refused."""
    with pytest.raises(ConfigError, match="f: is larger than 1024 KiB"):
        yaml_nodes.parse(b"#" * (yaml_nodes.SIZE_LIMIT + 1), "f")
    with pytest.raises(ConfigError, match="f: is larger than 16384 KiB"):
        compose.from_config_json(" " * (compose_json.SIZE_LIMIT + 1), source="f")
    with pytest.raises(ConfigError, match="no compose file is named"):
        compose.read([], {})


@pytest.mark.parametrize("kind", ["folder", "fifo", "latin-1", "large", "unreadable"])
def test_files_that_are_none(kind: str, tmp_path: Path) -> None:
    """A compose file that is a folder, a FIFO, no UTF-8, or too large is refused; nothing hangs."""
    path = tmp_path / "compose.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "latin-1":
        path.write_bytes(b"services: {}\n# \xe9\n")
    elif kind == "unreadable":
        path.symlink_to(tmp_path / "compose.yml")
        (tmp_path / "compose.yml").symlink_to("/proc/self/mem")
    else:
        path.write_bytes(b"#" * (1024 * 1024 + 1))

    (message,) = refusal(tmp_path, {})

    assert message.startswith("compose.yaml:")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8080", 8080), ("0777", 511), ("0o17", 15), ("0x1F", 31), ("0b11", 3), ("1_000", 1000), ("-5", -5), ("+5", 5),
        ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("08", 8.0), ("0", 0),
        ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("y", "y"), ("22:22", "22:22"), ("1:1:1", "1:1:1"),
        ("0o9", "0o9"),
        ("1e", "1e"), ("--1", "--1"), ("1.2.3", "1.2.3"), ("+", "+"), (".", "."), ("0x", "0x"), ("٣", "٣"),
        ("2001-01-01", "2001-01-01"), (".inf", ".inf"), ('"8080"', "8080"), ("'true'", "true"), ("!!str 80", "80"),
        ("!own 80", "80"), ("!!int '80'", 80),
    ],
)  # fmt: skip
def test_scalars_resolve_as_in_go_yaml(text: str, value: object) -> None:
    """Plain scalars are what go-yaml v3 makes of them: nothing to base 60, `yes` is a string, a leading zero octal."""
    (document,) = yaml_nodes.parse(f"a: {text}\n".encode(), "f")
    assert document.root is not None
    found = yaml_nodes.scalar(document.mapping(document.root, "f")["a"][1])

    assert (found, type(found)) == (value, type(value))
