"""Engines that only their own command reaches: Docker over ssh, TLS or a pipe, and Podman without a socket.

Argument lists only, never a shell. Every call ends by its deadline, with everything it started. Its output is foreign.
"""

from __future__ import annotations

import os
import time

from portguard.engines import containers
from portguard.errors import ConfigError, LookupFailedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Container, Mapping, Sequence
    from typing import Any

    from portguard.rules.attribution import Running
    from portguard.rules.engines import Engine

_SIZE_LIMIT = 16 * 1024 * 1024  # bytes
_MOST = 1024  # containers; their identifiers fit into one command line
_PART = 1 << 18  # bytes


def running(engine: Engine, environ: Mapping[str, str], *, deadline: float) -> tuple[Running, ...]:
    """Return the running containers, by the engine's own command. Raises LookupFailedError.

    By `inspect` if there is no `ps` that prints JSON: a `ps` for people joins ports and labels by commas, which labels
    may contain.
    """
    end = time.monotonic() + deadline
    if engine.ps is not None:
        return containers.from_ps(_json(_run([engine.name, *engine.ps], environ, end)[0]), engine.name)
    listed = _run([engine.name, "ps", "--quiet", "--no-trunc"], environ, end)[0].split()
    identifiers = [word.decode("ascii") for word in listed if word.isalnum()][:_MOST]
    return inspected(engine, identifiers, environ, deadline=end - time.monotonic())


def inspected(
    engine: Engine, identifiers: Sequence[str], environ: Mapping[str, str], *, deadline: float
) -> tuple[Running, ...]:
    """Return these containers in full, those that still exist. Raises LookupFailedError."""
    if not identifiers:
        return ()
    end = time.monotonic() + deadline
    # If one is gone by then, the exit code is 1, and the others are printed all the same.
    words = [engine.name, "inspect", "--type", "container", "--", *identifiers]
    output, _ = _run(words, environ, end, accepted=(0, 1))
    return containers.from_inspect(_json(output), engine.name)


def stop(engine: str, identifier: str, environ: Mapping[str, str], *, deadline: float) -> None:
    """Stop a container by the command of the engine of this name. Raises LookupFailedError if that fails."""
    _run([engine, "stop", "--", identifier], environ, time.monotonic() + deadline)


def compose_config(directory: str, files: Sequence[str], environ: Mapping[str, str], *, deadline: float) -> str:
    """Return the project of these files as `docker compose config` resolves it, as JSON.

    Raises ConfigError if it refuses them (or there is no plugin), LookupFailedError when it cannot be run or hangs.
    """
    named = [word for path in files for word in ("--file", path)]
    command = ["docker", "compose", "--project-directory", directory, *named, "config", "--format", "json"]
    output, code = _run(command, environ, time.monotonic() + deadline, accepted=range(256))
    if code != 0:
        what = f"docker compose config: docker failed with exit code {code}"
        raise ConfigError((what,), "see what it says: docker compose config; or omit --compose-config")
    return os.fsdecode(output)


def _run(
    command: Sequence[str], environ: Mapping[str, str], end: float, accepted: Container[int] = (0,)
) -> tuple[bytes, int]:
    """Return what a command printed, and its exit code. Raises LookupFailedError if it is late, missing or fails."""
    import subprocess  # only for engines without a socket

    try:
        process = subprocess.Popen(  # noqa: S603 - an argument list, of our own words and checked identifiers
            list(command),
            # ssh, which docker may start, must not ask for a password: not on the terminal (it gets none, being in a
            # session of its own), and not in a window (ssh(1), SSH_ASKPASS_REQUIRE).
            env={**environ, "SSH_ASKPASS_REQUIRE": "never", "DOCKER_CLI_HINTS": "false"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise LookupFailedError(f"{command[0]} could not be run") from error
    try:
        output = _read_to_end(process, command[0], end)
    finally:
        _end(process)
    if process.returncode not in accepted:
        raise LookupFailedError(f"{command[0]} failed with exit code {process.returncode}")
    return output, process.returncode


def _read_to_end(process: subprocess.Popen[bytes], name: str, end: float) -> bytes:
    import subprocess

    late = LookupFailedError(f"{name} did not answer in time")
    try:
        if os.name == "nt":  # pipes cannot be polled there
            return process.communicate(timeout=max(0.01, end - time.monotonic()))[0]
        import select

        assert process.stdout is not None  # noqa: S101 - asked for above
        received = bytearray()
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        while (left := end - time.monotonic()) > 0:
            if not poll.poll(left * 1000):
                break
            part = os.read(process.stdout.fileno(), _PART)
            if not part:
                process.wait(max(0.01, end - time.monotonic()))
                return bytes(received)
            received += part
            if len(received) > _SIZE_LIMIT:
                raise LookupFailedError(f"{name} printed too much")
    except subprocess.TimeoutExpired as error:
        raise late from error
    except OSError as error:
        raise LookupFailedError(f"{name}: {error.strerror}") from error
    raise late


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that still runs, and what it started: ssh outlives the docker command that began it."""
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is not None:
        return
    if os.name == "nt":
        process.kill()
    else:
        import signal

        try:
            # Not waited for yet, so no one else can have its number.
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            process.kill()
    process.wait()


def _json(text: bytes) -> Any:
    import json  # only where an engine may hold a port

    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LookupFailedError("the engine's answer is not JSON") from error
