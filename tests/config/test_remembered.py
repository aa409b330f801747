"""Parsed configs are remembered by their very content: never stale, never someone else's, never needed."""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import portguard
from portguard.config.find import ConfigText
from portguard.errors import ConfigError
from portguard.model import Config
from portguard.project import cache as configs
from tests.amount import examples
from tests.conftest import Run

PACKAGE = Path(portguard.__file__).parent

WEB = (
    b'[ports.web]\nport = 8080\nhost = ["127.0.0.1", "::1"]\nprotocol = ["tcp", "udp"]\nenv = "WEB_PORT"\n'
    b'service = "web"\nowner = ["node", "vite"]\noptional = true\ndescription = "caf\xc3\xa9"\n'
    b'[compose]\nfiles = ["compose.yaml"]\n[lint.ignore]\nblocked = "never in a browser"\n'
)


def found(directory: Path, data: bytes = WEB, name: str = "portguard.toml") -> ConfigText:
    """Write a config, and return it as it is found."""
    path = directory / name
    path.write_bytes(data)
    return ConfigText(str(path), data, ())


def environ(directory: Path) -> dict[str, str]:
    """Return variables that name a cache of our own."""
    return {"HOME": str(directory), "XDG_CACHE_HOME": str(directory / "cache")}


def files(directory: Path) -> list[Path]:
    """Return what is remembered."""
    return sorted((directory / "cache" / "portguard").glob("*"))


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count how often a text is parsed for real."""
    seen: list[str] = []
    parse = configs._parse

    def counted(text: ConfigText, shown: str) -> Config:
        seen.append(shown)
        return parse(text, shown)

    monkeypatch.setattr(configs, "_parse", counted)
    return seen


def test_what_is_remembered_is_what_was_parsed(tmp_path: Path, parses: list[str]) -> None:
    """The second time nothing is parsed, and the answer is equal in every field, type for type."""
    first = configs.parsed(found(tmp_path), "x", environ(tmp_path))
    second = configs.parsed(found(tmp_path), "x", environ(tmp_path))

    assert parses == ["x"]
    assert second == first
    assert repr(second) == repr(first)
    assert first.ignored == {"blocked": "never in a browser"}


@pytest.mark.parametrize("change", ["text", "path", "prefix", "python", "portguard", "rules"])
def test_nothing_is_stale(tmp_path: Path, parses: list[str], monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Another text, place, Python, portguard or rule is parsed anew, whatever the file is called."""
    monkeypatch.setattr(configs, "_SLOTS", 1)  # all meet in one file
    configs.parsed(found(tmp_path), "x", environ(tmp_path))
    text = found(tmp_path)
    if change == "text":
        text = found(tmp_path, WEB.replace(b"8080", b"8081"))
    if change == "path":
        text = found(tmp_path, name="other.toml")
    if change == "prefix":
        text = text._replace(data=b"[tool.portguard.ports]\nweb = 1\n", prefix=("tool", "portguard"))
    if change == "python":
        monkeypatch.setattr(sys, "version", "4.0")
    if change == "portguard":
        monkeypatch.setattr(configs, "__version__", "99")
    if change == "rules":
        (tmp_path / "parse.py").write_text("")
        monkeypatch.setattr(configs, "_RULES", (str(tmp_path / "parse.py"),))
    again = configs.parsed(text, "x", environ(tmp_path))

    assert len(parses) == 2
    assert again.declarations[0].port == {"text": 8081, "prefix": 1}.get(change, 8080)


def test_mistakes_are_not_remembered(tmp_path: Path, parses: list[str]) -> None:
    """A config with a mistake is told each time, and leaves no file."""
    for _ in range(2):
        with pytest.raises(ConfigError):
            configs.parsed(found(tmp_path, b"[ports]\nweb = 0\n"), "x", environ(tmp_path))
    assert len(parses) == 2
    assert files(tmp_path) == []


@pytest.mark.scaled
def test_damage_costs_a_parse_and_nothing_else(tmp_path: Path) -> None:
    """2,000 damaged files: cut, changed, lengthened at random; the answer is always the right one."""
    text, variables = found(tmp_path), environ(tmp_path)
    expected = configs.parsed(text, "x", variables)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    chance = random.Random(7)
    for _ in range(examples(2_000)):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(content))
            kind = chance.randrange(4)
            if kind == 0:
                content[place] = chance.randrange(256)
            elif kind == 1:
                del content[place:]
            elif kind == 2:
                content[place:place] = bytes(chance.randrange(1, 9))
            else:
                content[place : place + chance.randrange(1, 64)] = bytes(chance.randrange(0, 64))
            content = content or bytearray(b"\0")
        path.write_bytes(content)
        key = configs._key(text)
        assert key is not None
        known = configs._recalled(str(path.parent), path.name, key)
        assert known is None or known == expected
    assert configs.parsed(text, "x", variables) == expected


def test_a_planted_file_is_not_read(tmp_path: Path, parses: list[str]) -> None:
    """A link, a FIFO, a directory, another's file, a place others may write to: everything is parsed, nothing hangs."""
    text, variables = found(tmp_path), environ(tmp_path)
    configs.parsed(text, "x", variables)
    (path,) = files(tmp_path)
    content = path.read_bytes()

    def parsed_anew() -> bool:
        before = len(parses)
        configs.parsed(text, "x", variables)
        return len(parses) == before + 1

    (tmp_path / "elsewhere").write_bytes(content)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert parsed_anew()
    path.unlink()
    os.mkfifo(path)
    assert parsed_anew()
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    assert not parsed_anew()
    path.parent.chmod(0o777)
    assert parsed_anew()
    path.parent.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        assert parsed_anew()
        os.chown(path.parent, 65534, 65534)
        assert parsed_anew()


def test_without_a_cache(tmp_path: Path, parses: list[str]) -> None:
    """Without a home, in a file's place, on a full or read-only place: parsed each time, and nothing is said."""
    text = found(tmp_path)
    (tmp_path / "file").write_text("")
    places = [
        {},
        {"HOME": "relative"},
        {"XDG_CACHE_HOME": str(tmp_path / "file")},
        {"HOME": "/proc"},
        {"HOME": "/dev/full"},
    ]
    for variables in places:
        for _ in range(2):
            assert configs.parsed(text, "x", variables).declarations[0].port == 8080
    assert len(parses) == 2 * len(places)


def test_in_another_users_home_nothing_is_made(tmp_path: Path, parses: list[str]) -> None:
    """Root under sudo keeps HOME; it leaves nothing there that the user could not write to."""
    if os.geteuid() != 0:
        pytest.skip("needs root: another user's home")
    os.chown(tmp_path, 65534, 65534)
    configs.parsed(found(tmp_path), "x", {"HOME": str(tmp_path)})
    assert not (tmp_path / ".cache").exists()
    assert parses == ["x"]


def test_the_command_spares_itself_the_parser(tmp_path: Path, portguard: Run) -> None:
    """The first check parses; the second loads no TOML library, and says the same."""
    (tmp_path / "portguard.toml").write_text("[ports]\nweb = 20001\n")
    first = portguard("check", "--json")
    code = (
        "import sys\nfrom portguard.cli.main import main\ncode = main(['check', '--json'])\n"
        "assert 'tomli' not in sys.modules\nsys.exit(code)"
    )
    second = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (second.returncode, second.stdout) == (first.returncode, first.stdout), second.stderr


def test_a_change_of_anything_that_decides_a_meaning_forgets_it() -> None:
    """The files whose change makes a remembered config stale are all that parsing imports, but for plain records."""
    found: set[str] = set()
    wanted = ["config/parse.py"]
    for name in wanted:
        if name in found:
            continue
        found.add(name)
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("portguard"):
                continue
            base = (node.module or "").removeprefix("portguard").removeprefix(".").replace(".", "/")
            paths = [f"{base}.py", *(f"{base}/{alias.name}.py" for alias in node.names)]
            wanted += [path for path in paths if (PACKAGE / path).is_file()]
    typing_only = {"config/find.py"}  # under TYPE_CHECKING
    decides_nothing = {"errors.py", "_namedtuple.py", "_contexts.py"}

    assert found - decides_nothing - typing_only == set(configs._RULES)
