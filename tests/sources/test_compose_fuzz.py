"""Hostile and random texts: only our own error, in bounded time and memory."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portguard.errors import ConfigError
from portguard.sources import compose, dotenv, yaml_nodes
from tests.amount import examples

TEXTS = examples(20_000)
SEED = 5
# Pieces of compose files, YAML and templates; random rows of them reach deeper than random characters.
YAML_PIECES = [
    "services:", "\n", "\n  ", "\n    ", "\n      ", "web:", "db:", "ports:", "- ", "image: x", "8080:80", '"', "'",
    "${P}", "${P:-1}", "${", "$", "}", "{", "[", "]", ",", ":", " ", "&a ", "*a", "<<: ", "!reset ", "!override ",
    "!!str ", "~", "null", "80", "0777", "1e3", "-1", "extends: ", "include: ", "profiles: ", "scale: ", "deploy: ",
    "replicas: ", "network_mode: ", "host", "name: ", "target: ", "published: ", "host_ip: ", "protocol: ", "|\n",
    ">-\n", "#", "---\n", "...\n", "%YAML 1.1\n", "\t", "\r\n", "\x00", "\x85", "\u2028", "\ufeff", "é", "😀", "\\",
    "\\ud800", "? ", "@", "`", "compose.yaml", "version: '3'", "services: {web: {ports: ['1:1', {target: 80}]}}",
    "x-a: &b {ports: [1]}", "127.0.0.1:", "[::1]:", "/udp", "1-3:1-3",
]  # fmt: skip
ENV_PIECES = [
    "A", "B", "=", ":", "\n", " ", "\t", '"', "'", "\\", "$A", "${B}", "${", "}", "#", " #", "export ", "1", "\r\n",
    "\\n", "\\$", "é", "\x00", "\x85", "-", ".", "[", "]", "\ufeff", "${A:?x}", "${B:-${A}}", "\\0101", "\u2028",
]  # fmt: skip


def rows(pieces: list[str], count: int) -> list[str]:
    """Return texts of random pieces, some with random characters between, always the same."""
    dice = random.Random(SEED)
    texts = []
    for number in range(count):
        row = dice.choices(pieces, k=dice.randrange(1, 40))
        if number % 4 == 0:
            row.append(chr(dice.randrange(0x20, 0x3000)))
            dice.shuffle(row)
        texts.append(("services:\n  web:\n    " if number % 3 == 0 else "") + "".join(row))
    return texts


@pytest.mark.scaled
def test_20_000_random_texts_as_compose_file(tmp_path: Path) -> None:
    """20,000 random texts as compose file: a project, or our own error with the file's name."""
    path = tmp_path / "compose.yaml"
    read = 0
    refused: set[str] = set()
    for text in rows(YAML_PIECES, TEXTS):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            compose.read([str(path)], {"P": "7"}, cwd=str(tmp_path), profiles=["*"])
            read += 1
        except ConfigError as error:
            refused.update(error.messages)
    assert all(message.startswith(("compose.yaml:", "and ")) for message in refused)
    assert read > TEXTS / 1000


@pytest.mark.scaled
def test_20_000_random_texts_as_env() -> None:
    """20,000 random texts as `.env`: assignments with the lines they stand in, or our own error with its line."""
    read = 0
    lines: list[tuple[int, str]] = []
    for text in rows(ENV_PIECES, TEXTS):
        try:
            found = dotenv.assignments(text, {"B": "2"})
        except dotenv.DotenvError as error:
            lines.append((error.line, text))
            continue
        read += 1
        assert all(1 <= item.line <= text.count("\n") + 1 for item in found.values())
    assert all(1 <= line <= text.count("\n") + 1 for line, text in lines)
    assert read > TEXTS / 20


def _laughs(levels: int, width: int, kind: str) -> str:
    lines = ["a0: &a0 {ports: ['1:1']}" if kind == "merge" else "a0: &a0 ['1:1']"]
    for level in range(1, levels):
        again = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{again}]}}" if kind == "merge" else f"[{again}]"))
    tail = f"{{web: *a{levels - 1}}}" if kind == "merge" else f"{{web: {{ports: *a{levels - 1}}}}}"
    return "x-a:\n  " + "\n  ".join(lines) + f"\nservices: {tail}\n"


def _chain(count: int) -> str:
    return "services:\n" + "".join(
        f"  s{number}: {{extends: s{number + 1}, ports: ['1:1']}}\n" for number in range(count)
    )


def _wide_merge(count: int) -> str:
    keys = "".join(f"  k{number}: 1\n" for number in range(count))
    return f"x-a: &a\n{keys}services:\n" + "".join(f"  s{number}:\n    <<: *a\n" for number in range(count))


BOMBS: dict[str, Callable[[], str]] = {
    "alias laughs": lambda: _laughs(60, 9, "list"),
    "merge laughs": lambda: _laughs(60, 9, "merge"),
    "merge chain": lambda: "x-0: &a0 {ports: []}\n" + "".join(
        f"x-{n}: &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 7000)) + "services: {web: {<<: *a6999}}\n",
    "wide merges": lambda: _wide_merge(3000),
    "deep flow": lambda: "[" * 1_000_000,
    "deep maps": lambda: "{a: " * 200_000,
    "deep block": lambda: "".join(" " * n + "a:\n" for n in range(1300)),
    "deep dashes": lambda: "- " * 500_000,
    "many nodes": lambda: "services:\n" + "- a\n" * 250_000,
    "many keys": lambda: "services:\n" + "".join(f"  s{n}: {{}}\n" for n in range(14_000)),
    "many ports": lambda: "services:\n  web:\n    ports:\n" + "".join(
        f"      - {n % 60000 + 1}:80\n" for n in range(27_000)),
    "whole ranges": lambda: "services:\n" + "".join(
        f"  s{n}: {{ports: ['1-65535:1-65535/tcp', '1-65535:1-65535/udp']}}\n" for n in range(4000)),
    "ranges by extends": lambda: "services:\n  a: {ports: ['1-65535:1-65535']}\n" + "".join(
        f"  s{n}: {{extends: a, ports: ['1:1']}}\n" for n in range(4000)),
    "ranges by anchors": lambda: "x-p: &p ['1-65535:1-65535']\nservices:\n" + "".join(
        f"  s{n}: {{ports: *p}}\n" for n in range(4000)),
    "extends chain": lambda: _chain(4500),
    "bad ports": lambda: "services:\n  web:\n    ports:\n" + "      - x:y\n" * 27_000,
    "long scalar": lambda: "services: {web: {ports: ['" + "1" * 1_000_000 + "']}}",
    "many references": lambda: "services: {web: {ports: ['" + "${A:-1}" * 140_000 + "']}}",
    "nested references": lambda: "services: {web: {ports: ['" + "${A:-" * 100_000 + "1" + "}" * 100_000 + "']}}",
    "many documents": lambda: "---\n" * 200_000,
    "many anchors": lambda: "x-a:\n" + "".join(f"- &a{n} 1\n" for n in range(29_000)),
    "long key": lambda: "a" * 1_000_000 + ": 1\n",
    "question marks": lambda: "? " * 400_000,
    "quotes": lambda: 'a: "' + "\\x41" * 200_000 + '"',
    "tags": lambda: "%TAG ! tag:x,2000:\n---\n" + "!a " * 300_000,
    "ten megabytes": lambda: "# " + "x" * 10_000_000,
    "include of itself by another name": lambda: "include: [./x/../compose.yaml, ././compose.yaml]\n",
}  # fmt: skip

PROGRAM = """
import resource, sys, time
from portguard.errors import ConfigError
from portguard.sources import compose
import yaml
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.process_time()
try:
    compose.read(["compose.yaml"], {}, profiles=["*"])
    said = "read"
except ConfigError as error:
    said = error.messages[0][:300]
    assert len(error.messages) <= 101
taken = time.process_time() - started
print(taken, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, said.encode("ascii", "replace"))
"""


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_bounded(name: str, tmp_path: Path) -> None:
    """Alias bombs, deep nesting and huge files cost less than a second of the processor and 100 MB."""
    (tmp_path / "x").mkdir()
    (tmp_path / "compose.yaml").write_text(BOMBS[name]())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:]
    taken, grown = map(float, done.stdout.split()[:2])
    assert taken < 1, done.stdout
    assert grown < 100, done.stdout


def test_the_limit_of_nodes(tmp_path: Path) -> None:
    """A file of more nodes than the limit is refused for that, on a machine of any speed."""
    (tmp_path / "compose.yaml").write_text("services: {}\nx-a:\n" + "- 1\n" * yaml_nodes.NODE_LIMIT)

    with pytest.raises(ConfigError, match="has more than 30000 nodes"):
        compose.read(["compose.yaml"], {}, cwd=str(tmp_path))


def test_includes_that_multiply(tmp_path: Path) -> None:
    """Files that include each other's files again and again are refused after a bounded number of readings."""
    for number in range(40):
        more = f"include: [f{number + 1}.yaml, f{number + 1}.yaml]\n"
        (tmp_path / f"f{number}.yaml").write_text(more + "services: {}\n")
    (tmp_path / "f40.yaml").write_text("services: {}\n")
    started = time.perf_counter()

    with pytest.raises(ConfigError, match="reads files more than"):
        compose.read(["f0.yaml"], {}, cwd=str(tmp_path))

    assert time.perf_counter() - started < 1
