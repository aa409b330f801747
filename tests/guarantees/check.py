"""Bugs in `check` and `who`, by the promise that each one breaks."""

from __future__ import annotations

from tests.guarantees.breaking import Breaking

_REALITY = "system/test_verdict_reality.py::test_verdict_is_what_the_server_meets[python]"
_MATRIX = "rules/test_bind_matrix.py::test_rules_equal_kernel"
_UNDISTURBED = "system/test_probe_disturbs_nobody.py::test_probe_is_not_noticed"
_FAULTS = "engines/test_faults.py::"
_OWNERS = "system/test_owners.py::"
_SIGHT = "system/test_sight.py::"

BREAKINGS = {
    "A port that is called free": (
        Breaking(
            "the probe shares the port (SO_REUSEPORT)",
            "system/probe.py",
            "sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)",
            "sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)",
            [_REALITY],
        ),
        Breaking(
            "the probe binds without SO_REUSEADDR, which servers set",
            "rules/binding.py",
            '{"tcp": Options(reuse_address=True), ',
            '{"tcp": Options(), ',
            [_REALITY],
        ),
        Breaking(
            "an IPv6 probe binds both families",
            "system/probe.py",
            "_socket.IPV6_V6ONLY, 0 if is_mapped(address) else 1)",
            "_socket.IPV6_V6ONLY, 0)",
            [_REALITY],
        ),
    ),
    "A look-up that fails": (
        Breaking(
            "without a socket table a busy port is free",
            "rules/verdicts.py",
            '    if outcome == "free":\n        return Decision("free", "none")',
            '    if outcome == "free" or not is_table_read:\n        return Decision("free", "none")',
            [_SIGHT + "test_exit_codes_of_the_blind"],
        ),
        Breaking(
            "without netlink nothing else is asked",
            "system/sockets.py",
            "            reasons.append(error.message)\n",
            "            reasons.append(error.message)\n            break\n",
            ["cli/test_wait.py::test_address_and_protocol[client-<lambda>-{}--without netlink]"],
        ),
        Breaking(
            "an engine is waited for as long as it likes",
            "engines/query.py",
            "DEADLINE = 1.0  # seconds, for all local engines together",
            "DEADLINE = 30.0",
            [_FAULTS + "test_a_check_goes_on"],
        ),
        Breaking(
            "an engine that answers deeply nested lists ends the check",
            "engines/http.py",
            "except (ValueError, RecursionError) as error:",
            "except ValueError as error:",
            [_FAULTS + "test_a_check_goes_on"],
        ),
        Breaking(
            "where asking for netlink is death, it is asked for",
            "system/sight.py",
            'if _status("/proc").get("Seccomp") == _NO_FILTER:',
            "if True:",
            [_SIGHT + "test_in_every_profile_each_command_says_what_is_so[netlink kills, nobody]"],
        ),
    ),
    "Looking disturbs nobody": (
        Breaking(
            "the probe listens",
            "system/probe.py",
            "        sock.bind(socket_address(address, port))\n",
            "        sock.bind(socket_address(address, port))\n"
            '        if protocol == "tcp":\n            sock.listen(1)\n',
            [_UNDISTURBED],
        ),
        Breaking(
            "the probe binds without SO_REUSEADDR",
            "rules/binding.py",
            '{"tcp": Options(reuse_address=True), ',
            '{"tcp": Options(), ',
            [_UNDISTURBED],
        ),
        Breaking(
            "the probe connects first, as a port scanner does",
            "system/probe.py",
            "    error = None\n    for attempt in range(",
            "    error = None\n"
            "    caller = _socket.socket(_socket.AF_INET6 if is_v6(address) else _socket.AF_INET, _socket.SOCK_STREAM)\n"
            "    caller.connect_ex(socket_address(address, port))\n"
            "    caller.close()\n"
            "    for attempt in range(",
            ["system/test_probe_disturbs_nobody.py::test_servers_hear_nothing"],
        ),
        Breaking(
            "UDP probes that meet take each other for holders",
            "system/probe.py",
            "_TRIES = 10\n",
            "_TRIES = 1\n",
            ["system/test_probe_disturbs_nobody.py::test_probers_do_not_meet"],
        ),
        Breaking(
            "the probe's socket stays bound",
            "system/probe.py",
            "        sock.bind(socket_address(address, port))\n",
            "        sock.bind(socket_address(address, port))\n        os.dup(sock.fileno())\n",
            ["system/test_probe_disturbs_nobody.py::test_nothing_stays_bound"],
        ),
    ),
    "`ours` means": (
        Breaking(
            "a container of another checkout's project of the same name is ours",
            "rules/ownership.py",
            "    if directory != stack.directory:",
            "    if directory is None:",
            ["rules/test_ownership.py::test_relation"],
        ),
    ),
    "The owners are those": (
        Breaking(
            "whoever holds a socket whose number begins like this one's is named",
            "system/owners.py",
            "    return link_to(inode) in links_of(pid, proc)[0].values()",
            "    return any(link.startswith(link_to(inode)[:-2]) for link in links_of(pid, proc)[0].values())",
            [_OWNERS + "test_a_holder_is_told_by_the_whole_number"],
        ),
        Breaking(
            "processes that cannot be looked into are not told of",
            "system/descriptors.py",
            "self._has_unreadable = 1 not in pids or not all(map(self._has_ended, closed))",
            "self._has_unreadable = 1 not in pids",
            [_OWNERS + "test_what_root_opened_for_this_user_is_found_by_this_user"],
        ),
        Breaking(
            "a /proc that leaves out what it hides is taken for all there is",
            "system/descriptors.py",
            "self._has_unreadable = 1 not in pids or not all(map(self._has_ended, closed))",
            "self._has_unreadable = not all(map(self._has_ended, closed))",
            [_OWNERS + "test_unfinished_search_is_told"],
        ),
        Breaking(
            "the quick search says that it was complete",
            "system/descriptors.py",
            "self._has_unreadable, not self.found or not self.unread(self.pids))",
            "self._has_unreadable, True)",
            [_OWNERS + "test_a_socket_passed_to_a_stranger_is_the_one_that_may_be_missed"],
        ),
        Breaking(
            "of the processes that share a socket, the first one is named",
            "system/descriptors.py",
            "                    if pid not in found[inode]:\n                        found[inode] += (pid,)",
            "                    found[inode] = found[inode] or (pid,)",
            ["cli/test_kill.py::test_a_server_that_forked_four_workers_which_share_the_listener"],
        ),
        Breaking(
            "a server whose first thread has ended has no descriptors",
            "system/descriptors.py",
            "    if links or not is_readable:",
            "    if links is not None:",
            ["cli/test_kill.py::test_without_its_first_thread"],
        ),
        Breaking(
            "without /proc nobody holds the socket",
            "system/descriptors.py",
            'raise LookupFailedError(f"{proc}: {error.strerror}") from error',
            "pids = []",
            [_OWNERS + "test_absent_proc_is_a_failed_lookup"],
        ),
        Breaking(
            "a long name takes the arguments with it",
            "system/processes.py",
            'name[_COMM_LENGTH:].partition(" ")[0]',
            "name[_COMM_LENGTH:]",
            [_OWNERS + "test_names_never_carry_arguments"],
        ),
        Breaking(
            "the numbers of another PID namespace are told",
            "system/sight.py",
            'return os.readlink(f"{proc}/self") != str(os.getpid())',
            "return False",
            [_SIGHT + "test_numbers_of_another_namespace_are_not_told"],
        ),
        Breaking(
            "users without a number in a user namespace are called nobody",
            "system/sight.py",
            'if sys.platform != "linux" or _is_first_user_namespace(proc):',
            "if True:",
            [_SIGHT + "test_users_without_a_number_have_no_name"],
        ),
        Breaking(
            "root without capabilities is taken for one who sees everything",
            "system/sight.py",
            "return bool(rights & _CAP_SYS_PTRACE) and",
            "return True or",
            [_SIGHT + "test_in_every_profile_each_command_says_what_is_so[root without capabilities, root]"],
        ),
        Breaking(
            "what has ended hides who holds a socket",
            "system/descriptors.py",
            "return stat.is_ended and",
            "return False and",
            [_OWNERS + "test_what_has_ended_hides_nothing[whole-True]"],
        ),
    ),
}
