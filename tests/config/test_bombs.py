"""Hostile and random configs: only portguard's own error, quickly, in little memory."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portguard.config.find import SIZE_LIMIT, ConfigText
from portguard.config.parse import parse
from portguard.errors import ConfigError
from tests.amount import examples

SECONDS = 1.0
MEGABYTES = 100


def read(data: bytes) -> bool:
    """Parse `data` as a config; return whether it was accepted. Anything but ConfigError escapes."""
    try:
        parse(ConfigText("/p/portguard.toml", data, ()), "portguard.toml")
    except ConfigError:
        return False
    return True


def bombs() -> dict[str, bytes]:
    """Return the constructs that make TOML readers slow, large or wrong, cut to what a config may have."""
    made = {
        "dotted-1000": "[ports]\na" + ".b" * 1_000 + " = 1",
        "dotted-10000": "[ports]\na" + ".b" * 10_000 + " = 1",
        "dotted-32000": "[ports]\na" + ".b" * 32_000 + " = 1",
        "dotted-900-on-35-lines": "[ports]\n" + "".join(f"a{line}" + ".b" * 900 + " = 1\n" for line in range(35)),
        "arrays-1000": "[ports]\nweb = " + "[" * 1_000 + "]" * 1_000,
        "arrays-30000": "[ports]\nweb = " + "[" * 30_000 + "]" * 30_000,
        "inline-1000": "[ports]\nweb = " + "{a=" * 1_000 + "1" + "}" * 1_000,
        "inline-15000": "[ports]\nweb = " + "{a=" * 15_000 + "1" + "}" * 15_000,
        "integer-60000-digits": "[ports]\nweb = " + "9" * 60_000,
        "hex-60000-digits": "[ports]\nweb = 0x" + "f" * 60_000,
        "float-exponent": "[ports]\nweb = 1e" + "9" * 60_000,
        "deep-header-many-keys": "[" + ".".join("a" * 300) + "]\n" + "".join(f"k{key}=1\n" for key in range(8_000)),
        "many-headers": "".join(f"[ports.p{number}]\n" for number in range(4_500)),
        "many-array-tables": "[[ports]]\n" * 6_000,
        "many-mistakes": "[ports]\n" + "".join(f"P{number}=0\n" for number in range(512)),
        "long-key": "[ports]\n" + "k" * 60_000 + " = 0",
        "long-string": '[ports]\nweb = "' + "s" * 60_000 + '"',
        "nul": "[ports]\nweb = 1\0",
        "only-brackets": "[" * 60_000,
        "only-quotes": '"' * 60_000,
        "unclosed-string": '[ports]\nweb = """' + "x\n" * 30_000,
        "comments": "#\n" * 32_000,
        "empty": "",
        "byte-order-mark": "\ufeff[ports]\nweb = 0",
        "carriage-returns": "[ports]\r\nweb = 0\r\n" * 3_000,
    }
    found = {name: text.encode()[:SIZE_LIMIT] for name, text in made.items()}
    return found | {"latin-1": b"[ports]\n# caf\xe9\n", "utf-16": "[ports]\nweb = 1\n".encode("utf-16")}


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_one_error(name: str) -> None:
    """Each bomb is refused by portguard's own error within a second and 100 MB, in a process of its own."""
    program = (
        "import sys, resource\n"
        "from portguard.config.find import ConfigText\n"
        "from portguard.config.parse import parse\n"
        "from portguard.errors import ConfigError\n"
        "import time\n"
        "data = sys.stdin.buffer.read()\n"
        "start = time.monotonic()\n"
        "try:\n"
        "    parse(ConfigText('/p/portguard.toml', data, ()), 'portguard.toml')\n"
        "except ConfigError:\n"
        "    pass\n"
        "else:\n"
        "    raise SystemExit('accepted')\n"
        "print(time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], input=bombs()[name], capture_output=True, timeout=30, check=False
    )

    assert done.returncode == 0, done.stderr.decode()[-2000:]
    seconds, kibibytes = done.stdout.split()
    # A child's ru_maxrss starts at its parent's, from before it became another program.
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert float(seconds) < SECONDS
    assert int(kibibytes) < max(MEGABYTES * 1024, ours + 1024)


def tokens(source: random.Random) -> bytes:
    """Return a text made of pieces that configs are made of."""
    pieces = (
        "[ports]", "[ports.", "]", "[[", "web", "port", "=", " = ", "80", "0", "-1", "65536", '"', "'", '"""', "{", "}",
        "[", ",", ".", "\n", "\r\n", "#", "true", "host", '"127.0.0.1"', '"::1"', '"*"', "protocol", '"udp"', "env",
        '"DB_PORT"', "owner", "1979-05-27", "1e400", "nan", "0x1F", "\\u0000", "\x00", "\u202e", "ä", "optional",
    )  # fmt: skip
    return "".join(source.choices(pieces, k=source.randrange(1, 60))).encode("utf-8", "surrogatepass")


@pytest.mark.scaled
def test_20_000_random_texts() -> None:
    """Random bytes and shuffled config pieces raise ConfigError or are accepted, each within a second."""
    seed = random.SystemRandom().randrange(2**32)
    source = random.Random(seed)
    slowest = 0.0
    accepted = 0

    for index in range(examples(20_000)):
        data = source.randbytes(source.randrange(200)) if index % 4 == 0 else tokens(source)
        start = time.perf_counter()
        try:
            accepted += read(data)
        except Exception as error:
            raise AssertionError(f"seed {seed}, text {index}: {data!r}") from error
        slowest = max(slowest, time.perf_counter() - start)

    assert slowest < SECONDS, f"seed {seed}"
    assert accepted < examples(20_000)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=300))
def test_any_value_is_accepted_or_refused(text: str) -> None:
    """Any text as value of any key ends in a declaration or in portguard's own error."""
    import json

    quoted = json.dumps(text)
    for key in ("port", "host", "protocol", "env", "service", "owner", "optional", "description", text):
        name = key if key.isalpha() and key.isascii() else quoted
        read(f"[ports.x]\nport = 1\n{name} = {quoted}\n".encode("utf-8", "surrogatepass"))
