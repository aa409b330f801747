"""Linux: which processes hold a socket. All of them: a forked server's socket has many owners, and one is an accident.

Names no one. `find_all_owners` reads every link there is. `find` looks first where the socket is likely to be, and for
further holders only where it can have got from there: fork(2) keeps the descriptor's number, and its table.
"""

from __future__ import annotations

from portguard.system.descriptors import Tables, link_to, links_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

    from portguard.system.descriptors import Owners

_FEW = 4  # numbers of descriptors, up to which asking everyone for these is faster than reading everything
_WORTH, _PARTS = 256, 4  # processes that are worth another child to read their tables; children and us, at most


def find_all_owners(inodes: Set[int], *, processors: int = 1, proc: str = "/proc") -> Owners:
    """Return who holds these socket inodes. Raises LookupFailedError if /proc is missing or not ours to see.

    With several `processors` as many processes share the work where there is much: for callers without threads.
    """
    tables = Tables(inodes, proc)
    if tables.found:
        _read_in_parts(tables, min(processors, len(tables.pids) // _WORTH + 1, _PARTS))
    return tables.answer()


def _read_in_parts(tables: Tables, count: int) -> None:
    """Read the tables of all processes: a part here, each other one in a child, and here what a child does not tell."""
    own, *others = [tables.pids[index::count] for index in range(count)]
    if not others:
        tables.read_all(own)
        return
    from portguard.system import forked  # only on busy machines

    children = [forked.start(tables.report_on, part) for part in others]
    tables.read_all(own)
    for part, child in zip(others, children, strict=True):
        report = None if child is None else forked.result(child)
        if report is None:
            tables.read_all(part)
        else:
            tables.merge(report, part)


def find_owners(inodes: Set[int], *, proc: str = "/proc") -> Owners:
    """Do as `find_all_owners`, and stop when further holders are unlikely, which `is_complete` then tells.

    A socket without any holder is given up only after everything was read. Of one with a holder, those are missed that
    have got it over a Unix socket (SCM_RIGHTS, unix(7)), are no relatives of the holder, and have it at another number;
    and so are those who left the holder's family and changed its number.
    """
    tables = Tables(inodes, proc)
    if not tables.found:
        return tables.answer()
    from portguard.system.guide import Guide  # not for a list

    guide = Guide(tables)
    for inode in sorted(tables.found, reverse=True):
        guide.look_for(inode)
    tables.ask_relatives()
    others = tables.unread(tables.pids)
    asked = len(tables.numbers) * len(others)
    if len(tables.numbers) <= _FEW or asked < sum(map(tables.size_of, others)):
        tables.ask_for(tables.numbers, others)
    else:
        tables.read_all(others)
    return tables.answer()


def is_held(pid: int, inode: int, *, proc: str = "/proc") -> bool:
    """Whether the process that has the pid now holds this socket."""
    return link_to(inode) in links_of(pid, proc)[0].values()
