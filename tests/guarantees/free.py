"""Bugs in `free`, by the promise that each one breaks."""

from __future__ import annotations

from tests.guarantees.breaking import Breaking

_TWICE = "leases/test_no_port_twice.py::"
_FAULTS = "leases/test_state_faults.py::"
_END = "leases/test_end_to_end.py::"
_SIGHT = "leases/test_out_of_sight.py::"

BREAKINGS = {
    "No two callers": (
        Breaking(
            "the table is not locked",
            "leases/files.py",
            "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
            "fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)",
            [_FAULTS + "test_a_lock_that_nobody_lets_go_of"],
        ),
        Breaking(
            "leases survive a boot",
            "system/kernel.py",
            "return f\"{boot if boot.isalnum() else 'boot'}-",
            'return f"boot-',
            [_TWICE + "test_leases_end_with_the_boot_they_were_made_in"],
        ),
        Breaking(
            "another network namespace has the same leases",
            "system/kernel.py",
            "-{namespace if namespace.isdigit() else 'net'}\"",
            '-1"',
            [_TWICE + "test_two_network_namespaces_share_a_state_directory_but_no_leases"],
        ),
        Breaking(
            "an answer without a store says that it is leased",
            "api/free.py",
            "is_leased = taken.lease is not None and problem is None",
            "is_leased = order.is_leased",
            ["leases/test_store.py::test_a_directory_that_cannot_be_trusted_is_left_alone"],
        ),
        Breaking(
            "who cannot be seen from this PID namespace counts as dead",
            "system/alive.py",
            "return seems_alive(pid, started) or _is_out_of_sight(started)",
            "return seems_alive(pid, started)",
            [_SIGHT + "test_what_is_held_outside_is_not_given_inside"],
        ),
        Breaking(
            "a caller who cannot tell where they are has a lease",
            "system/kernel.py",
            'return not key.startswith("boot-") and not key.endswith("-net")',
            "return True",
            [_SIGHT + "test_who_cannot_tell_where_they_are_have_no_lease"],
        ),
    ),
    "Every printed port": (
        Breaking(
            "the lease is not written",
            "leases/take.py",
            "            write_all(table, taken.ports, lease)\n",
            "",
            ["leases/test_store.py::test_what_is_printed_is_leased_even_where_messages_cannot_be"],
        ),
        Breaking(
            "nobody tries to bind what is given",
            "system/probe.py",
            "    error = strict_probe(protocol, port)\n",
            "    error = None\n",
            [_TWICE + "test_a_pool_that_is_too_small_gives_nothing_and_counts_every_reason"],
        ),
        Breaking(
            "the bind that is tried is IPv6's alone",
            "system/probe.py",
            "_socket.IPV6_V6ONLY, 0)\n        sock.bind(where)",
            "_socket.IPV6_V6ONLY, 1)\n        sock.bind(where)",
            [_TWICE + "test_a_pool_that_is_too_small_gives_nothing_and_counts_every_reason"],
        ),
    ),
    "A held port": (
        Breaking(
            "the holder closes what it was to hold",
            "leases/hold.py",
            "_close_others({*kept, writer, watched})",
            "_close_others({writer, watched})",
            ["system/test_hold.py::test_the_same_for_portguard_run"],
        ),
        Breaking(
            "the hold is IPv6's alone",
            "system/listeners.py",
            "is_dual=is_dual and address == ANY_V6))",
            "is_dual=False))",
            ["system/test_hold.py::test_never_assigned"],
        ),
        Breaking(
            "beside the hold no server starts",
            "system/listeners.py",
            '        if protocol == "tcp":\n            sock.setsockopt(',
            '        if protocol == "udp":\n            sock.setsockopt(',
            ["system/test_hold.py::test_servers_restart"],
        ),
    ),
}
