"""What `portguard wait` costs while nothing happens: `python benchmarks/wait.py [--seconds 3] [--rounds 5]`.

One line for each number of ports and way of waiting: the processor's time, user and system, of a command that has begun
to wait, in percent of one core; the median of the rounds. Then how long after a server began to listen, or ended, the
library returned. Linux only.
"""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import portguard

_COMMAND = [str(Path(sys.executable).with_name("portguard")), "wait"]
_STARTING = 1.0  # seconds after which it waits, and does nothing else
_REACTIONS = 100


def used(pid: int) -> float:
    """Return the processor's time of another process in seconds, user and system (clock_getcpuclockid(3), Linux)."""
    return time.clock_gettime((~pid << 3) | 2)


def share(words: list[str], seconds: float) -> float:
    """Return how much of one core a command uses that waits in vain, in percent."""
    command = [*_COMMAND, *words, "--timeout", "0"]
    with subprocess.Popen(command) as child:  # noqa: S603 - our own command
        try:
            time.sleep(_STARTING)
            began, before = time.monotonic(), used(child.pid)
            time.sleep(seconds)
            return 100 * (used(child.pid) - before) / (time.monotonic() - began)
        finally:
            child.kill()


def idle(what: str, words: list[str], seconds: float, rounds: int) -> str:
    """Return one line of figures."""
    shares = sorted(share(words, seconds) for _ in range(rounds))
    return f"{what}: {statistics.median(shares):.2f} % of one core (lowest {shares[0]:.2f}, highest {shares[-1]:.2f})"


def reactions(*, is_free: bool) -> str:
    """Return one line of figures: how long after the moment the library returned."""
    found = []
    for _ in range(_REACTIONS):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            if not is_free:
                server.close()
            moment: list[float] = []
            seen = threading.Event()
            thread = threading.Thread(target=change, args=(port, server if is_free else None, moment, seen))
            thread.start()
            portguard.wait(f"127.0.0.1:{port}", free=is_free)
            returned = time.monotonic()
            seen.set()
            thread.join()
            found.append(1_000 * (returned - moment[0]))
    found.sort()
    p50, p95 = found[len(found) // 2], found[int(len(found) * 0.95)]
    what = "the end of a server" if is_free else "a server"
    return f"{what}, {_REACTIONS} times: seen after p50 {p50:.1f} ms, p95 {p95:.1f} ms, max {found[-1]:.1f} ms"


def change(port: int, server: socket.socket | None, moment: list[float], seen: threading.Event) -> None:
    """After a random while, end a server, or start one and keep it until it was seen; tell the moment."""
    time.sleep(random.uniform(0.03, 0.15))  # noqa: S311 - a pause, not a secret
    if server is not None:
        server.close()
        moment.append(time.monotonic())
        return
    with socket.create_server(("127.0.0.1", port)):
        moment.append(time.monotonic())
        seen.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ports = [f"127.0.0.1:{port}" for port in portguard.free_ports(10, lease=False)]
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(10)]
    busy = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for what, words in (
        ("1 port", ports[:1]),
        ("10 ports", ports),
        ("1 port, UDP", [f"{ports[0]}/udp"]),
        ("1 port, --free", ["--free", *busy[:1]]),
        ("10 ports, --free", ["--free", *busy]),
    ):
        sys.stdout.write(idle(what, words, options.seconds, options.rounds) + "\n")
        sys.stdout.flush()
    for server in servers:
        server.close()
    sys.stdout.write(reactions(is_free=False) + "\n")
    sys.stdout.write(reactions(is_free=True) + "\n")


if __name__ == "__main__":
    main()
