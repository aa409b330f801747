"""A process without one family of sockets, as systemd's RestrictAddressFamilies makes it."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

AF_INET6, AF_NETLINK = 10, 16

# linux/seccomp.h, linux/filter.h, linux/audit.h; the number of socket(2) by machine.
_SOCKET_CALL = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL_WITH, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000

can_forbid = sys.platform == "linux" and platform.machine() in _SOCKET_CALL


def forbid(family: int, error: int | None = errno.EAFNOSUPPORT) -> None:
    """Refuse this process and its children sockets of `family` for good; needs root. More can be added later.

    Anyone who asks for one is told `error`, or where that is None ended at once.
    """
    architecture, call = _SOCKET_CALL[platform.machine()]
    steps = (
        (_LOAD, 0, 0, 4),  # seccomp_data.arch
        (_JUMP_IF_EQUAL, 0, 5, architecture),
        (_LOAD, 0, 0, 0),  # seccomp_data.nr
        (_JUMP_IF_EQUAL, 0, 3, call),
        (_LOAD, 0, 0, 16),  # the low half of seccomp_data.args[0]: little-endian
        (_JUMP_IF_EQUAL, 0, 1, family),
        (_RETURN, 0, 0, _KILL_PROCESS if error is None else _FAIL_WITH | error),
        (_RETURN, 0, 0, _ALLOW),
    )
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    header = struct.pack("@HP", len(steps), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")
