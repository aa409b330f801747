"""Run by the environment's Python: print how long one search for the owners of a TCP port takes, and who they are.

Milliseconds, wall and CPU. What is timed is the way from the socket to all its processes; finding the socket is not.
"""

from __future__ import annotations

import sys
import time

from portguard.system import owners, sockets


def main() -> None:
    """Search once, cold, as a command does."""
    inodes = {row.inode for row in sockets.find_sockets("tcp", int(sys.argv[1]), listeners_only=True)}
    began, began_cpu = time.perf_counter(), time.process_time()
    found = owners.find_owners(inodes)
    spent, spent_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    pids = sorted({pid for holders in found.pids.values() for pid in holders})
    sys.stdout.write(f"{1_000 * spent:.3f} {1_000 * spent_cpu:.3f}\n{' '.join(map(str, pids))}\n")


if __name__ == "__main__":
    main()
