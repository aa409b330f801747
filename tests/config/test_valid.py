"""What a config may say, and what it then means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from portguard.config.find import ConfigText
from portguard.config.parse import DECLARATION_LIMIT, parse
from portguard.model import Declaration

EXAMPLE = Path(__file__).parents[2] / "examples" / "portguard.toml"


def declared(text: str) -> dict[str, Declaration]:
    """Return the declarations of a text by name."""
    return {
        item.name: item
        for item in parse(ConfigText("/p/portguard.toml", text.encode(), ()), "portguard.toml").declarations
    }


def test_short_form_is_tcp_on_every_address() -> None:
    """`web = 8080` is TCP, both families, not movable, no one's, and counts."""
    web = declared("[ports]\nweb = 8080\n")["web"]

    assert (web.port, web.declared_port, web.protocols, web.hosts) == (8080, 8080, ("tcp",), ("*",))
    assert (web.env, web.service, web.owner, web.optional, web.description) == (None, None, (), False, None)
    assert web.source == ("/p/portguard.toml", 2)


def test_long_form_keeps_every_key() -> None:
    """Every documented key arrives as written."""
    text = """
    [ports.db]
    port = 5432
    host = ["127.0.0.1", "::1"]
    protocol = ["tcp", "udp"]
    env = "DB_PORT"
    service = "db"
    owner = ["postgres"]
    optional = true
    description = "the database"
    """
    db = declared(text)["db"]

    assert db.hosts == ("127.0.0.1", "::1")
    assert db.protocols == ("tcp", "udp")
    assert (db.env, db.service, db.owner, db.optional) == ("DB_PORT", "db", ("postgres",), True)
    assert db.description == "the database"


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("*", "*"),
        ("localhost", "localhost"),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("FE80::1%eth0", "fe80::1%eth0"),
        ("::FFFF:7F00:1", "::ffff:127.0.0.1"),
        ("192.168.001.1", None),
    ],
)
def test_addresses_are_canonical(host: str, canonical: str | None) -> None:
    """Addresses are kept as the kernel prints them, so that equal ones compare equal; odd octets are refused."""
    if canonical is None:
        with pytest.raises(Exception, match="is not an address"):
            declared(f'[ports.x]\nport = 1\nhost = "{host}"\n')
    else:
        assert declared(f'[ports.x]\nport = 1\nhost = "{host}"\n')["x"].hosts == (canonical,)


def test_as_many_declarations_as_allowed() -> None:
    """The limit itself is allowed."""
    text = "[ports]\n" + "".join(f"p{number} = {number}\n" for number in range(1, DECLARATION_LIMIT + 1))

    assert len(declared(text)) == DECLARATION_LIMIT


def test_the_example_is_valid_and_shows_every_kind() -> None:
    """The example reads, and has a web server, a database, a UDP service, a movable and an optional port."""
    found = {
        item.name: item
        for item in parse(ConfigText(str(EXAMPLE), EXAMPLE.read_bytes(), ()), "examples/portguard.toml").declarations
    }

    assert {"web", "api", "postgres", "redis"} <= set(found)
    assert any(item.protocols == ("udp",) for item in found.values())
    assert any(item.env for item in found.values())
    assert any(item.optional for item in found.values())


@pytest.mark.parametrize(
    ("environ", "dotenv", "number"),
    [
        ({}, None, 5432),
        ({"DB_PORT": "6001"}, None, 6001),
        ({"DB_PORT": ""}, None, 5432),
        ({}, "DB_PORT=6002\n", 6002),
        ({"DB_PORT": "6001"}, "DB_PORT=6002\n", 6001),
        ({"DB_PORT": ""}, "DB_PORT=6002\n", 6002),
        ({}, "DB_PORT=\n", 5432),
        ({}, "export DB_PORT='6003' # mine\n", 6003),
        ({}, "# DB_PORT=6002\nOTHER=1\n", 5432),
        ({}, "DB_PORT=6002\nDB_PORT=6004\n", 6004),
    ],
)
def test_the_number_in_force(
    environ: dict[str, str], dotenv: str | None, number: int, tmp_path: Path, answer: Any
) -> None:
    """The environment wins over `.env`, which wins over the declared number; an empty variable counts as unset."""
    (tmp_path / "portguard.toml").write_text('[ports.db]\nport = 5432\nhost = "127.0.0.1"\nenv = "DB_PORT"\n')
    if dotenv is not None:
        (tmp_path / ".env").write_text(dotenv)

    data = answer("check", env={**os.environ, **environ})["data"]

    assert (data["ports"][0]["port"], data["ports"][0]["declared_port"]) == (number, 5432)
    assert data["sources"] == [
        str(tmp_path / name) for name in ("portguard.toml", ".env") if (tmp_path / name).exists()
    ]
    assert any(note["id"] == "moved" for note in data["ports"][0]["notes"]) == (number != 5432)


@pytest.mark.parametrize("value", ["abc", "0", "65536", "-1", "80 81", "${OTHER}", "8080;reboot", "٣٠٠٠"])
def test_a_variable_that_is_no_port(value: str, tmp_path: Path, portguard: Any) -> None:
    """A variable that holds no port is refused with its name and place; nothing is expanded or guessed."""
    (tmp_path / "portguard.toml").write_text('[ports.db]\nport = 5432\nenv = "DB_PORT"\n')

    from_environment = portguard("check", env={**os.environ, "DB_PORT": value})
    (tmp_path / ".env").write_text(f"# ports\nDB_PORT={value}\n")
    from_file = portguard("check")

    assert (from_environment.returncode, from_file.returncode) == (2, 2)
    assert "environment: DB_PORT moves 'db'" in from_environment.stderr
    assert ".env:2: DB_PORT moves 'db'" in from_file.stderr


def test_a_folder_called_env_is_no_file(tmp_path: Path, answer: Any) -> None:
    """Some keep a virtual environment in a folder called `.env`; it says nothing about ports."""
    (tmp_path / "portguard.toml").write_text('[ports.db]\nport = 5432\nhost = "127.0.0.1"\nenv = "DB_PORT"\n')
    (tmp_path / ".env").mkdir()

    assert answer("check")["data"]["sources"] == [str(tmp_path / "portguard.toml")]
