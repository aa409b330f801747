"""Whose container it is, and the command for it: every row of the table, and hostile labels."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portguard.model import Compose, Container
from portguard.rules import ownership
from portguard.rules.ownership import Us

US = Us("shop", "/home/a/shop", ("web", "db"))
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
def test_command(relation: ownership.Relation, found: Container, has_compose: bool, expected: str) -> None:
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
