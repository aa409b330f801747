"""Run contenders in shuffled rounds, and compare what belongs together: ratios within a round, then their median.

Wall time is taken around posix_spawn and wait4, CPU time from wait4. Peak memory is read from the ended process itself
(proc_pid_status(5), VmHWM) in a round that is not timed: the figure of wait4 begins with that of the process that
started it.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import select
import shutil
import signal
import statistics
import sys
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

from benchmarks import isolation, worlds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from resource import struct_rusage

    from benchmarks.contenders import Contender
    from benchmarks.environment import Environment
    from benchmarks.worlds import World

_LIMIT = 120  # seconds a command may take
_HUNDRED = range(9_000, 9_100)  # of worlds.FREE_PORTS
_FIVE = range(8_990, 8_995)
_OUTPUT = "output"
_ON_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# linux/ptrace.h
_PTRACE_CONT, _PTRACE_SEIZE = 7, 0x4206
_PTRACE_O_TRACEEXIT, _PTRACE_EVENT_EXIT = 0x40, 6


class Run(NamedTuple):
    """Milliseconds, around the command and on the processor."""

    wall: float
    cpu: float


class Spread(NamedTuple):
    """Median, 10th and 90th percentile."""

    median: float
    low: float
    high: float


class Results(NamedTuple):
    """What came of one world. By contender: a run a round, or None; MiB; ports given twice. `failures` in words."""

    world: World
    runs: dict[str, list[Run | None]]
    peaks: dict[str, float]
    duplicates: dict[str, int]
    failures: dict[str, str]


class Ended(NamedTuple):
    """One or several processes that were started together."""

    run: Run
    codes: tuple[int, ...]


class Scene(NamedTuple):
    """Values of the placeholders in one round, and the process ids behind `owner` and `late`."""

    values: dict[str, str]
    pids: dict[str, int]


def spread(values: Sequence[float]) -> Spread | None:
    """Return how values lie, None if there are none."""
    if not values:
        return None
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return Spread(statistics.median(values), tenths[0], tenths[-1])


def ratio(results: Results, name: str, reference: str, *, of: Literal["wall", "cpu"] = "wall") -> Spread | None:
    """Return time over that of the reference, of the rounds in which both ran; None if there is none."""
    pairs = zip(results.runs.get(name, ()), results.runs.get(reference, ()), strict=False)
    times = [(getattr(one, of), getattr(other, of)) for one, other in pairs if one is not None and other is not None]
    return spread([one / other for one, other in times if other])


def in_world(
    plan: worlds.Plan, chosen: Sequence[Contender], environment: Environment, directory: str, *, rounds: int, seed: int
) -> Results:
    """Build a world in this network namespace and measure in it; `directory` is for state, configs and output."""
    variables = _prepare(environment, directory)
    generator = random.Random(f"{seed} {plan.name}")  # noqa: S311 - an order, not a secret
    with worlds.inhabited(plan) as world:
        _say(f"world {plan.name}: {plan.text}; {world.seconds:.1f} s, {world.memory:.0f} MiB")
        results = Results(world, {}, {}, {}, {})
        owners = _shuffled(world, generator)
        running = [one for one in chosen if plan.name in one.worlds]
        for step in (_verify, _weigh):
            for contender in running:
                _say(f"world {plan.name}: {step.__name__.strip('_')} {contender.name}", is_passing=True)
                scene = _scene(environment, directory, world, next(owners), generator)
                if contender.name not in results.failures:
                    step(contender, scene, variables, directory, results)
        running = [one for one in running if one.name not in results.failures]
        results.runs.update({one.name: [] for one in running})
        for turn in range(rounds):
            _say(f"world {plan.name}: round {turn + 1} of {rounds}", is_passing=True)
            scene = _scene(environment, directory, world, next(owners), generator)
            for contender in generator.sample(running, len(running)):
                run = None if turn % contender.every else _measure(contender, scene, variables, directory, results)
                results.runs[contender.name].append(run)
        _say("", is_passing=True)
    return results


def _say(text: str, *, is_passing: bool = False) -> None:
    """Tell anyone who waits; what is passing is shown on a terminal alone, and overwritten."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}" + ("" if is_passing else "\n"))
    elif not is_passing:
        sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


# ---------------------------------------------------------------- what a command finds


def _prepare(environment: Environment, directory: str) -> dict[str, str]:
    """Write the directories the commands run in; return their environment variables, which are all they have."""
    for name in ("home", "empty", "five", "hundred", "held"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    _write_config(directory, "five", _FIVE)
    _write_config(directory, "hundred", _HUNDRED)
    return {
        "HOME": os.path.join(directory, "home"),
        "LANG": "C.UTF-8",
        "PATH": f"{environment.bin}:{os.environ.get('PATH', '')}:{_ON_PATH}",
        "PORTGUARD_STATE_DIR": os.path.join(directory, "state"),
    }


def _write_config(directory: str, name: str, ports: Sequence[int]) -> None:
    with open(os.path.join(directory, name, "portguard.toml"), "w", encoding="utf-8") as config:
        config.write("[ports]\n" + "".join(f"service-{index} = {port}\n" for index, port in enumerate(ports)))


def _shuffled(world: World, generator: random.Random) -> Iterator[tuple[int, int]]:
    """Yield the owners of a world in random order, again and again: none twice before all were there."""
    while True:
        yield from generator.sample(world.owners, len(world.owners))


def _scene(
    environment: Environment, directory: str, world: World, owner: tuple[int, int], generator: random.Random
) -> Scene:
    free = generator.sample(worlds.FREE_PORTS, 5)
    _write_config(directory, "held", [*free[:4], owner[0]])
    values = {"python": environment.python, "bin": environment.bin, "here": os.path.dirname(os.path.abspath(__file__))}
    values |= {f"free{index}": str(port) for index, port in enumerate(free, 1)}
    values |= {"owner": str(owner[0]), "late": str(world.late[0])}
    return Scene(values, {"owner": owner[1], "late": world.late[1]})


# ---------------------------------------------------------------- one contender, once


def _verify(contender: Contender, scene: Scene, variables: Mapping[str, str], directory: str, results: Results) -> None:
    """Run it once to warm up, and see whether its answer is right: a wrong one is not worth measuring."""
    if contender.at_once > 1:
        return  # warm, and verified alone
    output = os.path.join(directory, _OUTPUT)
    ended = _run(contender, scene, variables, directory, output)
    text = _read(output)
    if any(code != contender.code for code in ended.codes):
        wrong = next(code for code in ended.codes if code != contender.code)
        first = text.strip().splitlines()[:1]
        results.failures[contender.name] = f"exit code {wrong} instead of {contender.code}: {''.join(first)}"
    elif contender.names and not re.search(rf"\b{scene.pids[contender.names]}\b", text):
        results.failures[contender.name] = f"does not name the owner of {scene.values[contender.names]}"


def _weigh(contender: Contender, scene: Scene, variables: Mapping[str, str], directory: str, results: Results) -> None:
    """Take its peak memory (MiB) at its exit; where that is not allowed, there is no figure."""
    if contender.at_once > 1:
        return
    command = _command(contender, scene, variables)
    os.chdir(os.path.join(directory, contender.directory))
    pid = _spawn(command, variables, os.devnull)
    traced = isolation.libc.ptrace(_PTRACE_SEIZE, pid, None, ctypes.c_void_p(_PTRACE_O_TRACEEXIT)) == 0
    while True:
        _, status = os.waitpid(pid, 0)
        if not traced or not os.WIFSTOPPED(status):
            return
        is_ending = status >> 16 == _PTRACE_EVENT_EXIT
        if is_ending:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    if line.startswith("VmHWM:"):
                        results.peaks[contender.name] = int(line.split()[1]) / 1_024
        # Anything else is a signal on its way to the process, such as SIGCHLD, or a stop without one.
        passed_on = 0 if status >> 16 else os.WSTOPSIG(status)
        isolation.libc.ptrace(_PTRACE_CONT, pid, None, ctypes.c_void_p(passed_on))


def _measure(
    contender: Contender, scene: Scene, variables: Mapping[str, str], directory: str, results: Results
) -> Run | None:
    """Run it once; None if it failed, which is kept in words."""
    is_read = contender.at_once > 1 or contender.is_timed_inside
    output = os.path.join(directory, _OUTPUT) if is_read else os.devnull
    ended = _run(contender, scene, variables, directory, output)
    wrong = [code for code in ended.codes if code != contender.code]
    if wrong:
        results.failures[contender.name] = f"exit code {wrong[0]} instead of {contender.code} in a round"
        return None
    if contender.is_timed_inside:
        wall, cpu = _read(output).split()[:2]
        return Run(float(wall), float(cpu))
    if contender.at_once > 1:
        ports = [line for line in _read(output).splitlines() if line.isdigit()]
        twice = len(ports) - len(set(ports))
        results.duplicates[contender.name] = results.duplicates.get(contender.name, 0) + twice
    return ended.run


def _run(contender: Contender, scene: Scene, variables: Mapping[str, str], directory: str, output: str) -> Ended:
    command = _command(contender, scene, variables)
    os.chdir(os.path.join(directory, contender.directory))
    if output != os.devnull:
        with open(output, "wb"):
            pass  # emptied
    began = time.perf_counter()
    pids = [_spawn(command, variables, output) for _ in range(contender.at_once)]
    codes, cpu = [], 0.0
    for pid in pids:
        status, usage = _await(pid)
        codes.append(os.waitstatus_to_exitcode(status))
        cpu += usage.ru_utime + usage.ru_stime
    wall = time.perf_counter() - began
    return Ended(Run(1_000 * wall, 1_000 * cpu), tuple(codes))


def _await(pid: int) -> tuple[int, struct_rusage]:
    """Return wait status and usage of a process, which is ended when it takes longer than any command may."""
    descriptor = os.pidfd_open(pid)
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        if not ended.poll(1_000 * _LIMIT):
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return os.wait4(pid, 0)[1:]


def _command(contender: Contender, scene: Scene, variables: Mapping[str, str]) -> list[str]:
    words = [word.format_map(scene.values) for word in contender.words]
    return [shutil.which(words[0], path=variables["PATH"]) or words[0], *words[1:]]


def _spawn(command: list[str], variables: Mapping[str, str], output: str) -> int:
    """Start a command whose output and messages are appended to a file, and return its process id."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_APPEND, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(command[0], command, variables, file_actions=actions)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as output:
        return output.read()
