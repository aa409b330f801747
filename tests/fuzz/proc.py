"""/proc: its tables of sockets, and what it says of a process; and the git files of where that works.

The first byte chooses the file, the rest is its text.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from portguard.errors import LookupFailedError
from portguard.leases import files
from portguard.model import Holder, Process, TableRow
from portguard.render import documents, text
from portguard.rules import attribution
from portguard.rules.engines import DOCKER
from portguard.system import git, kernel, origin, proc_net, proc_stat, processes, services_file, sight
from tests.fuzz.oracles import assert_address, assert_port, assert_printable, assert_unique, emptied

_PID = 7
_STAT = b"7 (node) S 1 7 7 34816 7 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n"
_STATUS = b"Name:\tnode\nUid:\t1000\t1000\t1000\t1000\n"
_BOOT = b"cpu 1\nbtime 1700000000\nprocesses 3\n"
_LIMIT = 64 * 1024  # bytes


def fuzz(data: bytes) -> None:
    """Put the text where the first byte says, and read it."""
    proc = emptied("proc")
    (proc / "net").mkdir()
    (proc / str(_PID)).mkdir()
    content = data[1:_LIMIT]
    kinds = (_tables, _process, _process, _process, _process, _cgroup, _forwarder, _settings, _checkout, _sight)
    kind = data[0] % len(kinds) if data else 0
    kinds[kind](proc, content, kind)


def _tables(proc: Path, content: bytes, _kind: int) -> None:
    protocols: tuple[Literal["tcp", "udp"], ...] = ("tcp", "udp")
    for name in ("tcp", "tcp6", "udp", "udp6"):
        (proc / "net" / name).write_bytes(content)
    for protocol in protocols:
        for is_listening in (False, True):
            rows = proc_net.find_all(protocol, listeners_only=is_listening, proc=str(proc))
            assert_unique(rows)
            for row in rows:
                _judge(row)
        for port in {row.socket.port for row in rows}:
            assert all(row.port == port for row in proc_net.find_sockets(protocol, port, proc=str(proc)))
    os.unlink(proc / "net" / "tcp")
    try:
        proc_net.find_sockets("tcp", 80, proc=str(proc))
    except LookupFailedError:
        return
    raise AssertionError("a missing table was read")


def _judge(row: TableRow) -> None:
    assert_port(row.socket.port)
    assert_address(row.socket.address)
    assert row.socket.uid is not None
    assert 0 <= row.socket.uid < 1 << 32
    assert 0 <= row.socket.inode < 1 << 64
    assert (row.remote_address is None) == (row.remote_port is None)
    if row.remote_address is not None and row.remote_port is not None:
        assert_address(row.remote_address)
        assert_port(row.remote_port)


def _process(proc: Path, content: bytes, kind: int) -> None:
    contents = [_STAT, _STATUS, b"/usr/bin/node\0server.js\0", _BOOT]
    contents[kind - 1] = content
    for name, text_ in zip((f"{_PID}/stat", f"{_PID}/status", f"{_PID}/cmdline", "stat"), contents, strict=True):
        (proc / name).write_bytes(text_)
    stat = proc_stat.read(_PID, proc=str(proc))
    assert stat is None or stat.parent >= 0
    found = processes.describe(_PID, proc=str(proc))
    assert found.pid == _PID
    _tell(found)
    processes.uids_of(_PID, proc=str(proc))
    proc_stat.read_all(proc=str(proc))
    (proc / "self").mkdir()
    (proc / "self" / "stat").write_bytes(_STAT)
    assert len(origin.ancestry(_PID, proc=str(proc))) <= 64


def _tell(process: Process) -> None:
    holder = Holder("tcp", "127.0.0.1", 8080, "listen", "known", (process,))
    assert_printable("\n".join(text.details([holder])))
    json.loads(json.dumps(documents.data(holder), allow_nan=False))


def _cgroup(proc: Path, content: bytes, _kind: int) -> None:
    (proc / str(_PID) / "cgroup").write_bytes(content)
    found = origin.cgroup_of(_PID, proc=str(proc))
    identifier, unit = attribution.container_id_of(found), attribution.unit_of(found)
    assert identifier is None or attribution.is_container_id(identifier)
    assert unit is None or attribution.is_service_name(unit[0])
    user = attribution.user_of(found)
    assert user is None or user >= 0


def _forwarder(proc: Path, content: bytes, _kind: int) -> None:
    (proc / str(_PID) / "cmdline").write_bytes(content)
    for name in ("docker-proxy", "conmon"):
        (proc / str(_PID) / "exe").symlink_to(f"/usr/bin/{name}")
        found = origin.forwarded_by(_PID, DOCKER.proxies, proc=str(proc))
        if found is not None:
            assert_address(found.container_address)
            assert_port(found.host_port)
            assert_port(found.container_port)
        served = origin.served_by(_PID, "conmon", proc=str(proc))
        assert served is None or attribution.is_container_id(served)
        os.unlink(proc / str(_PID) / "exe")


def _checkout(proc: Path, content: bytes, _kind: int) -> None:
    """Let a checkout's `.git` be that file, then a directory with these files: anyone's process may work in one."""
    mark = proc / ".git"
    mark.write_bytes(content)
    found = git.worktree_of(str(proc / "net"))
    assert found is not None
    assert found.root == str(proc)
    mark.unlink()
    mark.mkdir()
    for name in ("HEAD", "commondir"):
        (mark / name).write_bytes(content)
    found = git.worktree_of(str(proc))
    assert found is not None
    assert found.branch is None or "\0" not in found.branch


def _sight(proc: Path, content: bytes, _kind: int) -> None:
    for name in ("thread-self/status", "self/mountinfo", "sys/kernel/overflowuid"):
        (proc / name).parent.mkdir(parents=True)
        (proc / name).write_bytes(content)
    (proc / "self" / "ns").mkdir()
    uid = sight.unknown_uid(str(proc))
    assert uid is not None
    assert uid >= 0
    (proc / "self" / "ns" / "user").symlink_to("user:[4026531837]")
    assert sight.unknown_uid(str(proc)) is None
    sight.sees_all(str(proc))
    sight.hides_processes(str(proc))


def _settings(proc: Path, content: bytes, _kind: int) -> None:
    below = proc / "sys" / "net" / "ipv4"
    below.mkdir(parents=True)
    for name in ("ip_local_port_range", "ip_local_reserved_ports", "ip_unprivileged_port_start"):
        (below / name).write_bytes(content)
    kernel.ephemeral_range(str(proc))
    kernel.reserved_ports(str(proc))
    assert kernel.unprivileged_port_start(str(proc)) >= 0
    (proc / "machine-id").write_bytes(content)
    word = kernel.machine_key(str(proc))
    assert word
    assert word.replace("_", "").isalnum() or set(word) == {"_"}
    (proc / "services").write_bytes(content)
    for port, _ in services_file.read(str(proc / "services")):
        assert port >= 0
    with open(proc / "services", "rb") as file:
        files.lock_holder(file.fileno(), str(proc / "services"))
