"""`check --format github` beside a real engine: the annotation stands where the second stack publishes the port."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.annotated import commands, read_sarif
from tests.conftest import PORTGUARD
from tests.worlds.engine import Engine, write_project

pytestmark = [pytest.mark.needs("docker"), pytest.mark.timeout(300)]


def test_github_names_the_line_of_the_second_stack(engine: Engine, port: int, tmp_path: Path) -> None:
    """While A publishes the port: exit 1, an error at B's own line that names A's container, in both formats."""
    (tmp_path / ".git").mkdir()
    first, second = write_project(tmp_path / "first", port), write_project(tmp_path / "second", port)

    def check(kind: str) -> tuple[int, str]:
        done = engine.ns.run(
            [*PORTGUARD, "check", "--format", kind],
            capture_output=True,
            text=True,
            cwd=second,
            env=engine.environ(),
        )
        return done.returncode, done.stdout

    assert check("github") == (0, "")
    try:
        assert engine.compose(first, "up", "-d").returncode == 0
        name = engine.docker("ps", "--format", "{{.Names}}").stdout.strip()
        github, sarif = check("github"), check("sarif")
    finally:
        engine.compose(first, "down", "-t", "0")

    assert (github[0], sarif[0]) == (1, 1)
    (command,) = commands(github[1])
    assert command.name == "error"
    assert command.properties == {
        "file": "second/docker-compose.yml",
        "line": "7",
        "title": "portguard check-listener",
    }
    assert name
    assert name in command.data
    assert "next: stop it: docker " in command.data
    _driver, (result,) = read_sarif(sarif[1])
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]) == ("second/docker-compose.yml", {"startLine": 7})
    assert name in result["message"]["text"]
