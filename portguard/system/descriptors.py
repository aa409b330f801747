"""Linux: the descriptors of all processes, read at most once each, and who was found to hold the wanted sockets.

Reads the links of /proc/PID/fd (proc_pid_fd(5)); two to four microseconds each are nearly all that a search costs.
Where to look, and when to stop, is decided in `owners` and `guide`.
"""

from __future__ import annotations

import os

from portguard._namedtuple import NamedTuple
from portguard.errors import LookupFailedError
from portguard.system import proc_stat, sight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Set


_GAPS = 4  # numbers that are free between those of a process, as a rule at most


_MARK = b"socket:["


_GONE = (FileNotFoundError, ProcessLookupError)


class Owners(NamedTuple):
    """`pids` by socket inode, ascending; `has_unreadable` when some process hides itself or its descriptors.

    `is_complete` is False if the search stopped before it had read the descriptors of every process.
    """

    pids: dict[int, tuple[int, ...]]
    has_unreadable: bool
    is_complete: bool = True


def link_to(inode: int) -> bytes:
    """Return what a descriptor's link says where it is this socket."""
    return b"%b%d]" % (_MARK, inode)


def inode_of(link: bytes) -> int:
    """Return the inode of the socket that a descriptor's link names, 0 if it is not a socket."""
    return int(link[len(_MARK) : -1]) if link.startswith(_MARK) else 0


def _lowest(count: int, made: list[bytes] = []) -> list[bytes]:  # noqa: B006 - what was made is kept
    """Return the names of the first `count` numbers, which are asked for again and again."""
    if len(made) < count:
        made.extend(numbered(range(len(made), count)))
    return made[:count]


def numbered(numbers: Iterable[int]) -> list[bytes]:
    """Return the names that descriptors of these numbers have in a table."""
    return [b"%d" % number for number in numbers]


class Tables:
    """The descriptors of all processes, none read twice, and who was found to hold what of the wanted.

    `pids` are those whose descriptors can be asked for, ascending; `found` holders by inode; `numbers` of the
    descriptors that they have the sockets at.
    """

    def __init__(self, inodes: Set[int], proc: str) -> None:
        self._proc = proc
        self._wanted = {link_to(inode): inode for inode in inodes if inode}
        self._read: set[int] = set()
        self.found: dict[int, tuple[int, ...]] = dict.fromkeys(self._wanted.values(), ())
        self.numbers: set[bytes] = set()
        if sight.is_foreign(proc):
            raise LookupFailedError(f"{proc} belongs to another PID namespace: its pids are not valid here")
        try:
            os.stat(f"{proc}/self/fd")
            pids = sorted(int(name) for name in os.listdir(proc) if name.isdigit())
        except OSError as error:
            raise LookupFailedError(f"{proc}: {error.strerror}") from error
        self.pids = pids if os.geteuid() == 0 else [pid for pid in pids if self._is_open(pid)]
        # Every /proc has a PID 1; hidepid leaves out what it hides (proc(5)), and never one's own.
        closed = [] if len(self.pids) == len(pids) else sorted(set(pids) - set(self.pids))
        self._has_unreadable = 1 not in pids or not all(map(self._has_ended, closed))
        if not self._has_unreadable and os.geteuid() != 0:
            self._has_unreadable = sight.hides_processes(proc)

    def _is_open(self, pid: int) -> bool:
        """Whether the table is ours to see; asked so, a refusal costs a third of what it costs as an exception."""
        return os.access(f"{self._proc}/{pid}/fd", os.R_OK, effective_ids=True)

    def _has_ended(self, pid: int) -> bool:
        """Whether nothing is left of a process but its exit code, if that: whose table is closed to its own user."""
        stat = proc_stat.read(pid, proc=self._proc)
        if stat is None:
            return not os.path.exists(f"{self._proc}/{pid}")
        try:
            # One whose first thread has ended looks the same, and its other threads go on.
            return stat.is_ended and len(os.listdir(f"{self._proc}/{pid}/task")) == 1
        except OSError:
            return True  # it has gone

    def unread(self, pids: Iterable[int]) -> list[int]:
        """Return those of the processes whose tables were not read yet."""
        return [pid for pid in pids if pid not in self._read]

    def read_all(self, pids: Iterable[int]) -> None:
        """Read the tables of these processes."""
        for pid in self.unread(pids):
            self.read(pid)

    def read(self, pid: int) -> Iterable[bytes]:
        """Read a process's whole table; return its links."""
        links, is_readable = links_of(pid, self._proc)
        self._read.add(pid)
        self._has_unreadable |= not is_readable
        if not self._wanted.keys().isdisjoint(links.values()):
            inode_of_wanted, found, add = self._wanted.get, self.found, self.numbers.add
            for number, link in links.items():
                inode = inode_of_wanted(link)
                if inode:
                    add(number)
                    if pid not in found[inode]:
                        found[inode] += (pid,)
        return links.values()

    def ask_for(self, numbers: Iterable[bytes], pids: Iterable[int]) -> list[bytes]:
        """Read these descriptors of these processes alone; return the links of those that are there."""
        links = []
        wanted, readlink, proc = self._wanted, os.readlink, os.fsencode(self._proc)
        for number in tuple(numbers):
            for pid in pids:
                try:
                    link = readlink(b"%b/%d/fd/%b" % (proc, pid, number))
                except PermissionError:
                    self._has_unreadable = True
                    continue
                except OSError:
                    continue
                links.append(link)
                if link in wanted:
                    self.numbers.add(number)
                    if pid not in self.found[wanted[link]]:
                        self.found[wanted[link]] += (pid,)
        return links

    def report_on(self, pids: Iterable[int]) -> bytes:
        """Read the tables of these processes, and return what `merge` takes: lines of inode and pid."""
        self.found = dict.fromkeys(self.found, ())
        self.numbers.clear()
        self.read_all(pids)
        lines = [b"%d %d" % (inode, pid) for inode, holders in self.found.items() for pid in holders]
        return b"\n".join([b"%d" % self._has_unreadable, *lines])

    def merge(self, report: bytes, pids: Iterable[int]) -> None:
        """Take what another process read of these processes' tables for what was read here."""
        head, *lines = report.split(b"\n")
        self._has_unreadable |= head != b"0"
        for line in lines:
            inode, pid = map(int, line.split())
            self.found[inode] += (pid,)
        self._read.update(pids)

    def size_of(self, pid: int) -> int:
        """Return how many descriptors a process has, 0 if the kernel does not tell: it does since Linux 6.2."""
        try:
            return os.stat(f"{self._proc}/{pid}/fd").st_size
        except OSError:
            return 0

    def age_order(self) -> list[int]:
        """Return the pids, the oldest first as far as numbers tell: above the last one given out are older ones."""
        try:
            with open(f"{self._proc}/loadavg", encoding="utf-8") as file:
                last = int(file.read().split()[4])  # proc_loadavg(5)
        except (OSError, ValueError, IndexError):
            return self.pids
        return [pid for pid in self.pids if pid > last] + [pid for pid in self.pids if pid <= last]

    def ask_relatives(self) -> None:
        """Read the tables of the holders' ancestors, and of all descendants of the topmost that is a holder itself."""
        tops = set()
        for holder in self._holders():
            line = [holder]
            while (stat := proc_stat.read(line[-1], proc=self._proc)) and stat.parent and stat.parent not in line:
                line.append(stat.parent)
            self._read_others(line)
            known = self._holders()
            tops.add(next(pid for pid in reversed(line) if pid in known))
        self._read_others(self._descendants(tops))

    def _holders(self) -> set[int]:
        return set().union(*self.found.values())

    def _read_others(self, pids: Iterable[int]) -> None:
        """Read the tables of those of whom not everything is known that matters."""
        self.read_all(pid for pid in pids if not all(pid in holders for holders in self.found.values()))

    def _descendants(self, tops: set[int]) -> set[int]:
        """Return these processes and all below them."""
        by_parent: dict[int, list[int]] | None = None
        below: set[int] = set()
        todo = list(tops)
        while todo:
            pid = todo.pop()
            if pid in below:
                continue
            below.add(pid)
            children = self._children(pid) if by_parent is None else by_parent.get(pid, [])
            if children is None:
                by_parent = {}
                for child, stat in proc_stat.read_all(proc=self._proc).items():
                    by_parent.setdefault(stat.parent, []).append(child)
                children = by_parent.get(pid, [])
            todo += children
        return below

    def _children(self, pid: int) -> list[int] | None:
        """Return a process's children, None if the kernel does not list them (proc_tid_children(5))."""
        found: list[int] = []
        try:
            threads = os.listdir(f"{self._proc}/{pid}/task")
        except OSError:
            return found  # it has gone
        for thread in threads:
            try:
                with open(f"{self._proc}/{pid}/task/{thread}/children", encoding="utf-8") as file:
                    found += map(int, file.read().split())
            except OSError:
                if os.path.exists(f"{self._proc}/{pid}/task/{thread}"):
                    return None
        return found

    def answer(self) -> Owners:
        """Return what was found."""
        for inode in [inode for inode, holders in self.found.items() if len(holders) > 1]:
            self.found[inode] = tuple(sorted(self.found[inode]))
        return Owners(self.found, self._has_unreadable, not self.found or not self.unread(self.pids))


def links_of(pid: int, proc: str) -> tuple[dict[bytes, bytes], bool]:
    """Return the links of a process's descriptors by number, and whether all could be read."""
    links, is_readable = _links(f"{proc}/{pid}/fd")
    if links or not is_readable:
        return links, is_readable
    # A process whose first thread has ended shows its descriptors at the other threads alone.
    try:
        threads = [thread for thread in os.listdir(f"{proc}/{pid}/task") if thread != str(pid)]
    except OSError:
        threads = []
    return _links(f"{proc}/{pid}/task/{threads[0]}/fd") if threads else (links, is_readable)


def _links(directory: str) -> tuple[dict[bytes, bytes], bool]:
    """Return the links of a table of descriptors by number, and whether all could be read; none if it has gone."""
    links: dict[bytes, bytes] = {}
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return links, isinstance(error, _GONE)
    try:
        # Numbers are given out from below, so they are guessed: being told them costs as much as a third of the links.
        size = os.fstat(fd).st_size  # how many there are, since Linux 6.2; before, 0
        _read_links(fd, _lowest(size + _GAPS) if size else (), links, size)
        if len(links) < size or not size:
            listed = map(os.fsencode, os.listdir(fd))
            _read_links(fd, [number for number in listed if number not in links], links, -1)
    except OSError as error:
        return links, isinstance(error, _GONE)
    finally:
        os.close(fd)
    return links, True


def _read_links(fd: int, numbers: Iterable[bytes], links: dict[bytes, bytes], enough: int) -> None:
    """Add the links of these descriptors, until there are enough. Raises OSError: what is refused is so for all."""
    readlink = os.readlink
    for number in numbers:
        try:
            links[number] = readlink(number, dir_fd=fd)  # a fifth faster than by the whole path
        except FileNotFoundError:
            continue  # there is none, or no more
        if len(links) == enough:
            break
