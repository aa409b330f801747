"""What is in the wheel and in the sdist, and what they say of themselves. Built once, without a network."""

from __future__ import annotations

import configparser
import email
import email.message
import importlib
import re
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import portguard
from tests.packaging.building import HAS_TREE, ROOT, build, tracked

pytestmark = [
    pytest.mark.skipif(not HAS_TREE, reason="there is no source tree beside the tests: nothing can be built"),
    pytest.mark.needs("git"),
    pytest.mark.xdist_group("packaging"),  # built once
]

VERSION = portguard.__version__
INFO = f"portguard-{VERSION}.dist-info"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return a wheel and an sdist of this tree."""
    return build(ROOT, tmp_path_factory.mktemp("dist"), "wheel", "sdist")


def in_wheel(built: Mapping[str, Path], name: str) -> str:
    """Return the text of one of the wheel's files."""
    with zipfile.ZipFile(built["wheel"]) as wheel:
        return wheel.read(name).decode()


def metadata(built: Mapping[str, Path]) -> email.message.Message:
    """Return what the wheel says of itself."""
    return email.message_from_string(in_wheel(built, f"{INFO}/METADATA"))


def test_wheel_has_the_package_and_nothing_else(built: Mapping[str, Path]) -> None:
    """Every file of `portguard/`, `py.typed` and the schema among them, beside what describes the wheel."""
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = wheel.namelist()
    described = [f"{INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")]
    assert built["wheel"].name == f"portguard-{VERSION}-py3-none-any.whl"
    assert sorted(names) == sorted([*tracked("portguard"), *described])
    assert {"portguard/py.typed", "portguard/config/portguard.schema.json"} <= set(names)


def test_entry_points_lead_somewhere(built: Mapping[str, Path]) -> None:
    """The command and pytest's plugin, and no others; both can be imported."""
    points = configparser.ConfigParser(delimiters="=")
    points.read_string(in_wheel(built, f"{INFO}/entry_points.txt"))
    assert {group: list(points[group]) for group in points.sections()} == {
        "console_scripts": ["portguard"],
        "pytest11": ["portguard"],
    }
    module, _, name = points["console_scripts"]["portguard"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    assert points["pytest11"]["portguard"] == "portguard.pytest_plugin"
    importlib.import_module("portguard.pytest_plugin")


def test_name_version_licence_and_the_pythons(built: Mapping[str, Path]) -> None:
    """Name, version, licence and the Pythons; the README is the description; four packages are needed."""
    found = metadata(built)
    needed = [text for text in found.get_all("Requires-Dist") or () if "extra ==" not in text]
    assert (found["Name"], found["Version"]) == ("portguard", VERSION)
    assert (found["License-Expression"], found["License-File"]) == ("MIT", "LICENSE")
    assert found["Requires-Python"] == ">=3.11"
    assert found["Description-Content-Type"] == "text/markdown"
    assert str(found.get_payload()).strip() == (ROOT / "README.md").read_text().strip()
    assert sorted(re.split("[<>=]", text)[0] for text in needed) == ["psutil", "pyyaml", "tomli", "typer"]
    assert set(found.get_all("Provides-Extra") or ()) >= {"dev", "test"}


def test_sdist_has_all_that_the_suite_needs(built: Mapping[str, Path]) -> None:
    """Everything that is committed, but for what belongs to the repository alone; and what describes it."""
    with tarfile.open(built["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert names - {"PKG-INFO"} == {name for name in tracked() if not name.startswith((".ci/", ".gitattributes"))}
