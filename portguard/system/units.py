"""systemd units: read one's state, and stop it. Through systemctl, with an argument list and no shell.

systemd is asked as it is found: a password is never asked for, and no answer in time is no answer.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.rules.attribution import is_service_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

_LIMIT = 65536  # bytes
_DEADLINE = 1.0  # seconds
_STOP_DEADLINE = 100.0  # seconds; TimeoutStopSec= is 90 if no one set it


class Unit(NamedTuple):
    """What systemd says of a unit: `restart` is its `Restart=` (systemd.service(5)), `path` the file it comes from.

    `sockets` are the socket units that start it when someone connects (systemd.socket(5)).
    """

    restart: str | None
    path: str | None
    sockets: tuple[str, ...] = ()


def ask(name: str, environ: Mapping[str, str], *, is_user_unit: bool = False, deadline: float = _DEADLINE) -> Unit:
    """Ask systemd about a unit; nothing known where it does not run, is late or refuses. `deadline` is in seconds.

    A user's unit is asked of this user's own manager, so only its owner learns anything.
    """
    words = ["show", "-p", "Restart,FragmentPath,TriggeredBy"]
    done = _systemctl(words, name, environ, is_user_unit=is_user_unit, deadline=deadline)
    if done is None or done.returncode != 0:
        return Unit(None, None)
    values = dict(line.partition("=")[::2] for line in os.fsdecode(done.stdout[:_LIMIT]).splitlines())
    path = values.get("FragmentPath") or None
    sockets = tuple(word for word in values.get("TriggeredBy", "").split() if word.endswith(".socket"))
    # A unit that systemd does not know has no file, and the default policy, which says nothing.
    return Unit(values.get("Restart") or None if path else None, path, sockets)


def stop(name: str, environ: Mapping[str, str], *, is_user_unit: bool, deadline: float = _STOP_DEADLINE) -> str | None:
    """Stop a unit and wait for that; return None if it is done, else what systemd said, in a few words."""
    done = _systemctl(["--no-ask-password", "stop"], name, environ, is_user_unit=is_user_unit, deadline=deadline)
    if done is None:
        return "systemctl could not be run, or timed out"
    if done.returncode == 0:
        return None
    said = os.fsdecode(done.stderr[:_LIMIT]).strip().splitlines()
    return said[0] if said else f"systemctl failed with exit code {done.returncode}"


def _systemctl(
    words: list[str], name: str, environ: Mapping[str, str], *, is_user_unit: bool, deadline: float
) -> subprocess.CompletedProcess[bytes] | None:
    import shutil  # only when a holder runs in a unit

    program = shutil.which("systemctl", path=environ.get("PATH"))
    if program is None or not is_service_name(name):
        return None
    import subprocess

    scope = ["--user"] if is_user_unit else []
    try:
        return subprocess.run(  # noqa: S603 - an argument list, of our own words and a checked name
            [program, *scope, "--no-pager", *words, "--", name],
            env={**environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
