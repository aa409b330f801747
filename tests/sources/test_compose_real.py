"""Resolved ports and services against `docker-compose config`, run for real (1.29: Debian's; needs no daemon)."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from portguard.errors import ConfigError
from portguard.sources import compose
from tests.sources.projects import BY_HAND, EXPLAINED, Case, made

QUICK = 12
MADE = 120

# What both sides are brought to: service, address, published, target, protocol, replicas; or the active services.
Answer = tuple[frozenset[str], frozenset[tuple[str, str, str, int, str, int]]]


def write(root: Path, case: Case) -> None:
    """Write the files of a case."""
    for name, text in case.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def ours(root: Path, case: Case) -> Answer | str:
    """Return what portguard reads, or why it refuses."""
    cwd = str(root / case.cwd)
    try:
        files: Any = [*case.named] if case.named else compose.find_files(cwd, case.environ)
        assert files is not None
        found = compose.read(files, case.environ, profiles=case.profiles, cwd=cwd)
    except ConfigError as error:
        return str(error)
    ports = frozenset(
        (
            port.service,
            port.host_ip,
            str(port.first) if port.first == port.last else f"{port.first}-{port.last}",
            port.target,
            port.protocol,
            port.replicas,
        )
        for port in found.ports
    )
    return frozenset(found.services), ports


def theirs(root: Path, case: Case) -> Answer | str:
    """Return what docker-compose prints, or what it says when it fails."""
    named = [word for path in case.named for word in ("-f", path)]
    profiles = [word for profile in case.profiles for word in ("--profile", profile)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(root), **case.environ}
    done = subprocess.run(
        ["docker-compose", *named, *profiles, "config"],
        cwd=root / case.cwd, env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        return done.stderr.strip() or f"exit code {done.returncode}"
    active = {*case.profiles, *case.environ.get("COMPOSE_PROFILES", "").split(",")}
    services = {
        # `config` prints inactive services too.
        name: service
        for name, service in yaml.safe_load(done.stdout)["services"].items()
        if not service.get("profiles") or active & set(service["profiles"])
    }
    return frozenset(services), frozenset(
        (name, *port, service.get("scale", service.get("deploy", {}).get("replicas", 1)))
        for name, service in services.items()
        for port in map(_printed, service.get("ports", []))
        if port[1] and port[3] != "sctp"
    )


def _printed(port: Any) -> tuple[str, str, int, str]:
    """Return a port as docker-compose prints it: a mapping, or a text where it has an address."""
    if isinstance(port, dict):
        published = str(port.get("published") or "")
        return port.get("external_ip", ""), published, int(port["target"]), port.get("protocol", "tcp")
    base, _, protocol = str(port).partition("/")
    host, _, target = base.rpartition(":")
    address, _, published = host.rpartition(":")
    return address, published, int(target), protocol or "tcp"


def compare(root: Path, number: int, case: Case) -> str | None:
    """Return how the two differ, unless they do so as explained; None if all is as it should be."""
    place = root / f"p{number}"
    place.mkdir()
    write(place, case)
    mine, other = ours(place, case), theirs(place, case)
    are_equal = mine == other or (isinstance(mine, str) and isinstance(other, str))
    if are_equal == (case.differs is None):
        return None
    return f"{case.name} ({case.differs}):\n  portguard      {mine}\n  docker-compose {other}\n{case.files}"


def run(root: Path, cases: list[Case]) -> None:
    """Compare all cases, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        differences = [text for text in pool.map(lambda pair: compare(root, *pair), enumerate(cases)) if text]
    assert not differences, "\n\n".join(differences)


def test_every_difference_is_explained() -> None:
    """Cases that are known to differ name their reason, and every reason has a case."""
    assert {case.differs for case in BY_HAND if case.differs} == set(EXPLAINED)
    assert len(BY_HAND) + MADE >= 150


@pytest.mark.needs("docker-compose")
def test_as_docker_compose_resolves(tmp_path: Path) -> None:
    """A sample of projects: services, ports and replicas are those that `docker-compose config` prints."""
    run(tmp_path, [*BY_HAND[:: len(BY_HAND) // 18], *made(QUICK)][:QUICK])


@pytest.mark.slow
@pytest.mark.timeout(900)  # docker-compose itself takes most of a second for each
@pytest.mark.needs("docker-compose")
def test_as_docker_compose_resolves_all(tmp_path: Path) -> None:
    """All projects, by hand and made: no difference without its explanation, and each explained one is real."""
    run(tmp_path, [*BY_HAND, *made(MADE)])


PROJECT_NAMES = [
    ("app", {}), ("My.App", {}), ("a b-C_d", {}), ("9lives", {}), ("übung", {}),
    ("app", {"COMPOSE_PROJECT_NAME": "x_1"}),
]  # fmt: skip


@pytest.mark.needs("docker-compose")
@pytest.mark.parametrize(("folder", "environ"), PROJECT_NAMES)
def test_project_name_as_docker_compose_makes_it(folder: str, environ: dict[str, str], tmp_path: Path) -> None:
    """The name is the one 1.29 gives to containers; only leading - and _ are dropped by compose-go alone."""
    place = tmp_path / folder
    place.mkdir()
    (place / "compose.yaml").write_text("services: {a: {image: x}}\n")
    program = f"from compose.cli.command import get_project_name; print(get_project_name({str(place)!r}))"
    interpreter = Path("/usr/bin/docker-compose").read_text().splitlines()[0].removeprefix("#!").split()

    done = subprocess.run(
        [*interpreter, "-c", program], env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    found = compose.find_files(str(place), environ)
    assert found is not None
    assert compose.read(found, environ).name == done.stdout.strip()
