"""Every mistake a config can contain: the exact sentence and place of each."""

# ruff: noqa: E501 - sentences stand as they are printed
from __future__ import annotations

import pytest

from portguard.config.find import ConfigText
from portguard.config.parse import parse
from portguard.errors import ConfigError

# By name: the text, and the sentences about it without the file's name.
MISTAKES: dict[str, tuple[str, list[str]]] = {
    "syntax": (
        "[ports]\nweb = = 3\n",
        ["2:7: not valid TOML: invalid value"],
    ),
    "unclosed": (
        "[ports\nweb = 1\n",
        ["1:7: not valid TOML: expected ']' at the end of a table declaration"],
    ),
    "duplicate-key": (
        "[ports]\nweb = 1\nweb = 2\n",
        ["3:8: not valid TOML: duplicate key"],
    ),
    "empty": (
        "",
        ["1:1: unknown table [ports]"],
    ),
    "no-ports": (
        "[settings]\nfiles = []\n",
        ["1:1: unknown table [ports]", '1:2: unknown key "settings"'],
    ),
    "compose-empty": (
        "[compose]\n[ports]\n",
        ['1:2: "compose" has no "files"'],
    ),
    "compose-no-files": (
        "[compose]\nfiles = []\n[ports]\n",
        ["2:9: files is a list of paths, not an empty array"],
    ),
    "compose-string": (
        '[compose]\nfiles = "compose.yaml"\n[ports]\n',
        ['2:9: files is a list of paths, not the string "compose.yaml"'],
    ),
    "compose-alone": (
        '[compose]\nfiles = "compose.yaml"\n',
        ['2:9: files is a list of paths, not the string "compose.yaml"'],
    ),
    "compose-key": (
        '[compose]\nfile = ["compose.yaml"]\n[ports]\n',
        ['1:2: "compose" has no "files"', '2:1: unknown key "file" in "compose" — did you mean "files"?'],
    ),
    "compose-number": (
        '[compose]\nfiles = ["compose.yaml", 3]\n[ports]\n',
        ["2:26: a compose file is named by its path"],
    ),
    "compose-list": (
        'compose = ["compose.yaml"]\n[ports]\n',
        ['1:11: "compose" must be a table with "files", not an array'],
    ),
    "ports-int": (
        "ports = 3\n",
        ['1:9: "ports" must be a table, as [ports] is'],
    ),
    "misspelt": (
        "[port]\nweb = 1\n",
        ["1:1: unknown table [ports]", '1:2: unknown key "port" — did you mean "ports"?'],
    ),
    "unknown-root": (
        "[ports]\n[settings]\na=1\n",
        ['2:2: unknown key "settings"'],
    ),
    "string-port": (
        '[ports]\nweb = "8080"\n',
        ['2:7: a port is an integer, not the string "8080" — did you mean 8080?'],
    ),
    "string-port-long": (
        '[ports.db]\nport = "5432"\n',
        ['2:8: a port is an integer, not the string "5432" — did you mean 5432?'],
    ),
    "word": (
        '[ports]\nweb = "http"\n',
        ['2:7: a port is an integer, not the string "http"'],
    ),
    "zero": (
        "[ports]\nweb = 0\n",
        ["2:7: port 0 means any free port and cannot be checked; ask for one with: portguard free"],
    ),
    "big": (
        "[ports]\nweb = 65536\n",
        ["2:7: 65536 is not a port: ports are 1 to 65535"],
    ),
    "neg": (
        "[ports]\nweb = -1\n",
        ["2:7: -1 is not a port: ports are 1 to 65535"],
    ),
    "huge": (
        "[ports]\nweb = 99999999999999999999\n",
        ["2:7: this is not a port: ports are 1 to 65535"],
    ),
    "float": (
        "[ports]\nweb = 80.0\n",
        ["2:7: a port is an integer, not a float"],
    ),
    "bool": (
        "[ports]\nweb = true\n",
        ["2:7: a port is an integer, not a boolean"],
    ),
    "array": (
        "[ports]\nweb = [80, 81]\n",
        ["2:7: a port is an integer, not an array"],
    ),
    "emptyarr": (
        "[ports]\nweb = []\n",
        ["2:7: a port is an integer, not an empty array"],
    ),
    "date": (
        "[ports]\nweb = 2020-01-01\n",
        ["2:7: a port is an integer, not a date or time"],
    ),
    "no-port": (
        '[ports.db]\nhost = "::1"\n',
        ['1:8: "db" has no "port"'],
    ),
    "prot": (
        "[ports.db]\nprot = 3000\n",
        ['1:8: "db" has no "port"', '2:1: unknown key "prot" in "db" — did you mean "port"?'],
    ),
    "hosts": (
        '[ports.db]\nport = 1\nhosts = "::1"\n',
        ['3:1: unknown key "hosts" in "db" — did you mean "host"?'],
    ),
    "name-upper": (
        "[ports]\nWeb = 80\n",
        ['2:1: "Web" cannot be a name: use up to 63 of a-z 0-9 . _ -, not only digits — did you mean "web"?'],
    ),
    "name-digits": (
        "[ports]\n8080 = 80\n",
        ['2:1: "8080" cannot be a name: use up to 63 of a-z 0-9 . _ -, not only digits'],
    ),
    "name-space": (
        '[ports]\n"my web" = 80\n',
        ['2:1: "my web" cannot be a name: use up to 63 of a-z 0-9 . _ -, not only digits — did you mean "my-web"?'],
    ),
    "name-long": (
        f"[ports]\n{'a' * 64} = 80\n",
        [
            f'2:1: "{"a" * 64}" cannot be a name: use up to 63 of a-z 0-9 . _ -, not only digits — did you mean "{"a" * 63}"?'
        ],
    ),
    "name-esc": (
        '[ports]\n"a\\u001b[31m" = 80\n',
        ['2:1: "a\u001b[31m" cannot be a name: use up to 63 of a-z 0-9 . _ -, not only digits'],
    ),
    "host-name": (
        '[ports.db]\nport = 1\nhost = "db.local"\n',
        ['3:8: "db.local" is not an address: write "*", "localhost" or an IP address (names are not looked up)'],
    ),
    "host-bracket": (
        '[ports.db]\nport = 1\nhost = "[::1]"\n',
        [
            '3:8: "[::1]" is not an address: write "*", "localhost" or an IP address (names are not looked up) — did you mean "::1"?'
        ],
    ),
    "host-Localhost": (
        '[ports.db]\nport = 1\nhost = "Localhost"\n',
        [
            '3:8: "Localhost" is not an address: write "*", "localhost" or an IP address (names are not looked up) — did you mean "localhost"?'
        ],
    ),
    "host-list-overlap": (
        '[ports.db]\nport = 1\nhost = ["127.0.0.1", "0.0.0.0"]\n',
        ['3:22: "0.0.0.0" overlaps "127.0.0.1": one server cannot bind both'],
    ),
    "host-num": (
        "[ports.db]\nport = 1\nhost = 1\n",
        ["3:8: a host is a string or a list of strings, not an integer"],
    ),
    "host-empty": (
        "[ports.db]\nport = 1\nhost = []\n",
        ["3:8: a host is a string or a list of strings, not an empty array"],
    ),
    "host-list-num": (
        '[ports.db]\nport = 1\nhost = ["::1", 3]\n',
        ["3:16: a host is a string, not an integer"],
    ),
    "proto-sctp": (
        '[ports.db]\nport = 1\nprotocol = "sctp"\n',
        ['3:12: unknown protocol "sctp": tcp and udp can be checked'],
    ),
    "proto-TCP": (
        '[ports.db]\nport = 1\nprotocol = "TCP"\n',
        ['3:12: unknown protocol "TCP": tcp and udp can be checked — did you mean "tcp"?'],
    ),
    "proto-twice": (
        '[ports.db]\nport = 1\nprotocol = ["tcp","tcp"]\n',
        ['3:19: "tcp" is listed twice'],
    ),
    "proto-tpc": (
        '[ports.db]\nport = 1\nprotocol = ["tpc"]\n',
        ['3:13: unknown protocol "tpc": tcp and udp can be checked — did you mean "tcp"?'],
    ),
    "env-lower": (
        '[ports.db]\nport = 1\nenv = "db_port"\n',
        [
            '3:7: "db_port": a variable\'s name is up to 64 of A-Z 0-9 _ and starts with a letter — did you mean "DB_PORT"?'
        ],
    ),
    "env-dollar": (
        '[ports.db]\nport = 1\nenv = "$DB_PORT"\n',
        [
            '3:7: "$DB_PORT": a variable\'s name is up to 64 of A-Z 0-9 _ and starts with a letter — did you mean "DB_PORT"?'
        ],
    ),
    "env-path": (
        '[ports.db]\nport = 1\nenv = "PATH"\n',
        ['3:7: "PATH" changes how programs run and cannot carry a port'],
    ),
    "env-ld": (
        '[ports.db]\nport = 1\nenv = "LD_PRELOAD"\n',
        ['3:7: "LD_PRELOAD" changes how programs run and cannot carry a port'],
    ),
    "env-num": (
        "[ports.db]\nport = 1\nenv = 1\n",
        ["3:7: env is the name of a variable, not an integer"],
    ),
    "service-bad": (
        '[ports.db]\nport = 1\nservice = "a b"\n',
        ['3:11: "a b" cannot be the name of a compose service'],
    ),
    "service-num": (
        "[ports.db]\nport = 1\nservice = 1\n",
        ["3:11: service is the name of a compose service, not an integer"],
    ),
    "owner-str": (
        '[ports.db]\nport = 1\nowner = "postgres"\n',
        ['3:9: owner is a list of process names — did you mean ["postgres"]?'],
    ),
    "owner-table": (
        "[ports.db]\nport = 1\nowner = 7\n",
        ["3:9: owner is a list of process names, not an integer"],
    ),
    "owner-num": (
        "[ports.db]\nport = 1\nowner = [1]\n",
        ["3:10: a process name is a string of 1 to 63 characters"],
    ),
    "optional": (
        '[ports.db]\nport = 1\noptional = "yes"\n',
        ['3:12: optional is true or false, not the string "yes"'],
    ),
    "optional2": (
        '[ports.db]\nport = 1\noptional = "true"\n',
        ['3:12: optional is true or false, not the string "true" — did you mean true?'],
    ),
    "desc": (
        "[ports.db]\nport = 1\ndescription = 1\n",
        ["3:15: description is a string of at most 1000 characters"],
    ),
    "several-at-once": (
        '[ports]\na = 0\nB = 1\n[ports.c]\nport = "x"\nprotcol = 1\n',
        [
            "2:5: port 0 means any free port and cannot be checked; ask for one with: portguard free",
            '3:1: "B" cannot be a name: use up to 63 of a-z 0-9 . _ -, not only digits — did you mean "b"?',
            '5:8: a port is an integer, not the string "x"',
            '6:1: unknown key "protcol" in "c" — did you mean "protocol"?',
        ],
    ),
    "nul": (
        "[ports]\nweb = 1\u0000\n",
        ["2:8: not valid TOML: expected newline or end of document after a statement"],
    ),
    "nested": (
        "[ports.db.x]\nport = 1\n",
        ['1:8: "db" has no "port"', '1:11: unknown key "x" in "db"'],
    ),
    "too-many": (
        "[ports]\n" + "".join(f"p{number} = {number}\n" for number in range(1, 514)),
        ["1:2: 513 declarations; the limit is 512"],
    ),
    "inline": (
        '[ports]\ndb = { port = "1", hst = 3 }\n',
        [
            '2:15: a port is an integer, not the string "1" — did you mean 1?',
            '2:20: unknown key "hst" in "db" — did you mean "host"?',
        ],
    ),
    "dotted": (
        "ports.db.port = 70000\n",
        ["1:17: 70000 is not a port: ports are 1 to 65535"],
    ),
    "wide": (
        '# ä\n[ports]\n"ä" = 1\n',
        ['3:1: "ä" cannot be a name: use up to 63 of a-z 0-9 . _ -, not only digits'],
    ),
    "key-control": (
        '[ports.db]\nport=1\n"a\\nb" = 1\n',
        ['3:1: unknown key "a\nb" in "db"'],
    ),
}


def test_the_corpus_is_large_enough() -> None:
    """At least forty wrong configs are held to their exact messages."""
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize("name", MISTAKES)
def test_message_and_place(name: str) -> None:
    """A wrong config is refused with all its mistakes at once, each with line, column, what, and what was meant."""
    text, sentences = MISTAKES[name]

    with pytest.raises(ConfigError) as caught:
        parse(ConfigText("/project/portguard.toml", text.encode(), ()), "portguard.toml")

    assert [message.removeprefix("portguard.toml:") for message in caught.value.messages] == sentences
    assert caught.value.exit_code == 2


def test_not_utf8_is_placed() -> None:
    """Bytes that are not UTF-8 are refused with their own line and column."""
    with pytest.raises(ConfigError) as caught:
        parse(ConfigText("/project/portguard.toml", b"[ports]\n# caf\xe9\n", ()), "portguard.toml")

    assert caught.value.messages == ("portguard.toml:2:6: not UTF-8, as TOML must be",)


def test_windows_files_are_fine() -> None:
    """A byte order mark and CRLF line ends are what some editors write; places stay right."""
    declared = parse(ConfigText("/p/portguard.toml", b"\xef\xbb\xbf[ports]\r\nweb = 80\r\n", ()), "portguard.toml")

    assert [(item.name, item.port, item.source.line) for item in declared.declarations] == [("web", 80, 2)]


def test_a_pyproject_table_is_placed_in_its_own_file() -> None:
    """Mistakes below [tool.portguard] are found at their place in pyproject.toml."""
    text = b'[project]\nname = "x"\n[tool.portguard.ports]\nweb = "80"\n[tool.portguard.prots]\n'

    with pytest.raises(ConfigError) as caught:
        parse(ConfigText("/p/pyproject.toml", text, ("tool", "portguard")), "pyproject.toml")

    assert caught.value.messages == (
        'pyproject.toml:4:7: a port is an integer, not the string "80" — did you mean 80?',
        'pyproject.toml:5:17: unknown key "prots" — did you mean "ports"?',
    )
