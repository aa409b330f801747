"""Whose container it is, and the command for it: every row of the table, and hostile labels."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portguard.model import Compose, Container
from portguard.rules import ownership
from portguard.rules.ownership import OwnStack

US = OwnStack("shop", "/home/a/shop", ("web", "db"))
ID = "ab" * 32


def container(project: str = "shop", service: str | None = "db", name: str = "shop-db-1") -> Container:
    """Return a container with compose labels."""
    return Container("docker", ID, name, "postgres:16", Compose(project, service, "/home/a/shop"))


@pytest.mark.parametrize(
    ("service", "found", "directory", "oneoff", "expected"),
    [
        ("db", container(), "/home/a/shop", False, "ours"),
        (None, container(), "/home/a/shop", False, "ours"),
        ("web", container(), "/home/a/shop", False, "other-service"),
        ("db", container(service="old"), "/home/a/shop", False, "orphan"),
        (None, container(service="old"), "/home/a/shop", False, "orphan"),
        ("db", container(), "/home/b/shop", False, "other-checkout"),
        ("db", container(), None, False, "other-checkout"),
        ("db", container(project="blog"), "/home/a/blog", False, "other-project"),
        ("db", container(project="blog"), "/home/a/shop", False, "other-project"),
        ("db", container(), "/home/a/shop", True, "oneoff"),
        ("db", Container("docker", ID, "pg"), None, False, "plain"),
    ],
)
def test_relation(service: str | None, found: Container, directory: str | None, oneoff: bool, expected: str) -> None:
    """Project, directory, and service decide together; each alone is not enough."""
    assert ownership.relate(service, US, found, directory, is_oneoff=oneoff) == expected


def test_services_unknown() -> None:
    """Without readable compose files a container of our name and directory is ours only for its own service."""
    us = US._replace(services=None)

    assert ownership.relate("db", us, container(), "/home/a/shop", is_oneoff=False) == "ours"
    assert ownership.relate("web", us, container(), "/home/a/shop", is_oneoff=False) == "other-service"
    assert ownership.relate(None, us, container(), "/home/a/shop", is_oneoff=False) == "ours"


@pytest.mark.parametrize(
    ("relation", "found", "has_compose", "expected"),
    [
        ("orphan", container(), True, "docker compose up -d --remove-orphans"),
        ("other-service", container(), True, "docker compose stop db"),
        ("other-project", container(project="blog"), True, "docker compose -p blog stop db"),
        ("other-checkout", container(), True, "docker compose -p shop stop db"),
        ("oneoff", container(name="shop-db-run-1"), True, "docker stop shop-db-run-1"),
        ("plain", Container("docker", ID, "pg"), True, "docker stop pg"),
        ("plain", Container("podman", ID, "pg"), True, "podman stop pg"),
        ("other-project", container(project="blog"), False, "docker stop shop-db-1"),
        ("plain", Container("docker", ID, ""), True, f"docker stop {ID[:12]}"),
    ],
)
def test_each_relation_has_its_command(
    relation: ownership.Relation, found: Container, has_compose: bool, expected: str
) -> None:
    """Each relation has its command; without the compose plugin the container is stopped by name."""
    assert ownership.command(relation, found, 8080, has_compose=has_compose) == expected


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_labels_cannot_write_commands(project: str, service: str, name: str) -> None:
    """Whatever labels and names say, a shell reads the command as the words it was made of."""
    relations: tuple[ownership.Relation, ...] = ("oneoff", "other-service", "orphan", "other-checkout", "other-project")
    for relation in relations:
        text = ownership.command(relation, container(project, service, name), 8080, has_compose=True)

        assert shlex.split(text) == text.split(" ")
        assert text.isascii()
        assert text.isprintable()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (container(), "container shop-db-1 (service db of compose project shop)"),
        (container(service=None), "container shop-db-1 (service ? of compose project shop)"),
        (container(name=""), f"container {ID[:12]} (service db of compose project shop)"),
        (Container("docker", ID, "pg", "postgres:16"), "container pg (image postgres:16)"),
        (Container("docker", ID, "pg"), "container pg"),
        (Container("podman", ID, "pg"), "podman container pg"),
        (Container("docker", "", ""), "a container"),
        (Container("podman", "", "", "x"), "a podman container (image x)"),
    ],
)
def test_describe(found: Container, expected: str) -> None:
    """A container is named by its engine, its name or identifier, and what it is of."""
    assert ownership.describe(found) == expected


@pytest.mark.parametrize(
    ("relation", "found", "expected"),
    [
        (
            "other-checkout",
            container(),
            ", of another checkout in /home/a/shop with our project's name: `up` here would take it over",
        ),
        (
            "other-checkout",
            Container("docker", ID, "pg", compose=Compose("shop", "db", None)),
            (", of another checkout of an unknown directory with our project's name: `up` here would take it over"),
        ),
        ("other-project", container(), " in /home/a/shop"),
        ("other-project", Container("docker", ID, "pg", compose=Compose("shop", "db", None)), ""),
        ("other-project", Container("docker", ID, "pg"), ""),
        ("oneoff", container(), ", left over from a `compose run`"),
        ("other-service", container(), ", another service of this project"),
        ("orphan", container(), ", a service that this project no longer has"),
        ("plain", Container("docker", ID, "pg"), ""),
        ("ours", container(), ""),
    ],
)
def test_why(relation: ownership.Relation, found: Container, expected: str) -> None:
    """What is the matter with a container is said for each relation; of our own and of plain ones nothing."""
    assert ownership.why(relation, found) == expected


@pytest.mark.parametrize(
    ("relation", "found", "expected"),
    [
        ("plain", Container("docker", "", "x"), "docker ps --filter publish=80"),
        ("plain", Container("podman", "", "x"), "podman ps"),
        ("orphan", container()._replace(engine="podman"), "podman stop shop-db-1"),
        ("other-service", container(service=None), "docker stop shop-db-1"),
        ("other-service", container(service="d b"), "docker stop shop-db-1"),
        ("other-project", container(project="-p"), "docker stop shop-db-1"),
        ("other-project", container(service=""), "docker stop shop-db-1"),
        ("ours", container(), "docker stop shop-db-1"),
        ("plain", container(name="a" * 128), f"docker stop {'a' * 128}"),
        ("plain", container(name="a" * 129), f"docker stop {ID[:12]}"),
        ("plain", container(name="a_b.c-d0"), "docker stop a_b.c-d0"),
        ("plain", container(name="_a"), f"docker stop {ID[:12]}"),
        ("plain", container(name="é"), f"docker stop {ID[:12]}"),
    ],
)
def test_command_of_what_compose_would_not_know(relation: ownership.Relation, found: Container, expected: str) -> None:
    """Where compose is unknown by checked words, the container itself is stopped; where none is known, found."""
    assert ownership.command(relation, found, 80, has_compose=True) == expected


def test_services_decide_for_nobody_s_in_particular() -> None:
    """A port for no service in particular is ours where the container is of a service that we have, and no leftover."""
    assert ownership.relate("x", US, container(service=None), "/home/a/shop", is_oneoff=False) == "orphan"
    assert ownership.relate(None, US, container(service="web"), "/home/a/shop", is_oneoff=False) == "ours"
    assert ownership.relate("web", US, container(service="web"), "/home/a/shop", is_oneoff=False) == "ours"
