"""Bugs in `kill` and `wait`, by the promise that each one breaks."""

from __future__ import annotations

from tests.guarantees.breaking import Breaking

_SIGNALS = "system/test_signals.py::"
_REFUSALS = "cli/test_kill_refusals.py::"
_REFUSED = "rules/test_guard.py::test_refused"
_KILL = "cli/test_kill.py::"
_ENGINE = "engines/test_kill.py::"
_WAIT = "cli/test_wait.py::"

BREAKINGS = {
    "No other process is signalled": (
        Breaking(
            "a signal goes to the number, whoever has it by then",
            "system/signals.py",
            "signal.pidfd_send_signal(handle.fd, number)",
            "os.kill(handle.pid, number)",
            [_SIGNALS + "test_a_reused_pid_is_never_signalled"],
        ),
        Breaking(
            "who holds the socket is not looked at once more",
            "holders/ending.py",
            "    if member.socket is not None and not is_held(",
            "    if False and not is_held(",
            [_SIGNALS + "test_who_has_let_go_of_the_socket_is_not_signalled"],
        ),
        Breaking(
            "without pidfds the start time is not compared",
            "system/signals.py",
            "elif alive.is_alive(handle.pid, handle.started):",
            "elif handle.pid > 1:",
            [_SIGNALS + "test_without_pidfds"],
        ),
        Breaking(
            "0 and -1 are taken for processes, and stand for groups",
            "system/signals.py",
            "    if pid <= 1:\n        return None\n    fd = None\n    if hasattr(",
            "    fd = None\n    if pid > 1 and hasattr(",
            [_SIGNALS + "test_nobody_is_taken_for_a_group"],
        ),
        Breaking(
            "another address of the same number is meant as well",
            "rules/addresses.py",
            'family in theirs and ("" in (ours[family], theirs[family]) or _is_same(ours[family], theirs[family]))',
            "family in (4, 6)",
            [_KILL + "test_only_what_is_meant"],
        ),
        Breaking(
            "clients of the port are taken for servers",
            "rules/verdicts.py",
            'return causes.get(state, "connection")',
            'return causes.get(state, "listener")',
            [_REFUSALS + "test_clients"],
        ),
    ),
    "`kill` refuses": (
        Breaking(
            "the process that runs portguard is like any other",
            "rules/guard.py",
            "    if number in caller.ancestors:",
            "    if number in ():",
            [_REFUSED, _REFUSALS + "test_what_portguard_runs_in"],
        ),
        Breaking(
            "of those that portguard runs in the nearest alone is known",
            "holders/stop_plan.py",
            "origin.ancestry(pid)[1:])",
            "origin.ancestry(pid)[1:2])",
            [_REFUSALS + "test_what_portguard_runs_in"],
        ),
        Breaking(
            "portguard itself is like any other",
            "rules/guard.py",
            "    if number == caller.pid:",
            "    if number == 0:",
            [_REFUSED],
        ),
        Breaking(
            "PID 1 is like any other",
            "rules/guard.py",
            "    if number <= 1 or names & _MANAGERS:",
            "    if names & _MANAGERS:",
            [_REFUSED],
        ),
        Breaking(
            "a thread of the kernel is like any other",
            "rules/guard.py",
            "    if suspect.is_kernel:",
            "    if suspect.is_kernel is None:",
            [_REFUSED],
        ),
        Breaking(
            "root may end other users' processes",
            "rules/guard.py",
            "is_mine = all(uid in caller.uids for uid in suspect.uids or ())",
            "is_mine = 0 in caller.uids or all(uid in caller.uids for uid in suspect.uids or ())",
            [_REFUSALS + "test_another_users_server"],
        ),
        Breaking(
            "one of a process's three users is enough",
            "rules/guard.py",
            "is_mine = all(uid in caller.uids for uid in suspect.uids or ())",
            "is_mine = any(uid in caller.uids for uid in suspect.uids or ())",
            [_REFUSED],
        ),
        Breaking(
            "whose process it is cannot be told, and that is fine",
            "rules/guard.py",
            "        is_known = bool(suspect.uids)\n",
            "        is_known = True\n",
            [_REFUSED],
        ),
        Breaking(
            "docker-proxy is like any other",
            "rules/forwarders.py",
            '"docker-proxy", "dockerd",',
            '"dockerd",',
            [_REFUSED],
        ),
        Breaking(
            "a forwarder is known by its name alone",
            "rules/guard.py",
            "for name in (process.name, _program(process.exe)) if name}",
            "for name in (process.name,) if name}",
            [_REFUSED],
        ),
        Breaking(
            "a name that the kernel has cut is no forwarder's",
            "rules/forwarders.py",
            "return len(bare) in _COMM_LENGTHS and any(",
            "return not bare and any(",
            [_REFUSED],
        ),
        Breaking(
            "service managers are like any other",
            "rules/guard.py",
            '_MANAGERS = frozenset(("init", "launchd", "systemd"))',
            '_MANAGERS = frozenset(("init", "launchd"))',
            [_REFUSED],
        ),
        Breaking(
            "editors are like any other",
            "rules/guard.py",
            '    "editor": "an editor',
            '    "editors": "an editor',
            [_REFUSED],
        ),
        Breaking(
            "browsers are like any other",
            "rules/guard.py",
            "    if names & _BROWSERS:",
            "    if names & _BROWSERS and suspect.is_kernel:",
            [_REFUSED],
        ),
        Breaking(
            "what runs in a container is like any other, whose engine cannot be asked",
            "rules/guard.py",
            "    if suspect.container_id is not None and suspect.container_id != caller.container_id:",
            "    if suspect.container_id is not None and caller.container_id is not None:",
            [_REFUSED],
        ),
        Breaking(
            "what listens beside an owner that is not known is ended",
            "holders/stop_plan.py",
            "            if isinstance(decided, Refusal):\n",
            "            if isinstance(decided, Refusal) and holder.processes:\n",
            [_REFUSALS + "test_owners_that_cannot_be_seen"],
        ),
        Breaking(
            "a tree takes what portguard runs in",
            "holders/stop_plan.py",
            "            (*self.caller.ancestors, self.caller.pid),\n",
            "            (),\n",
            [_REFUSALS + "test_a_tree_with_portguard_in_it"],
        ),
    ),
    "Containers are stopped": (
        Breaking(
            "a stranger's container needs no name",
            "holders/stop_plan.py",
            "            needs_name=relation not in _OURS,\n",
            "            needs_name=False,\n",
            [_ENGINE + "test_a_strangers_container_has_to_be_named"],
        ),
        Breaking(
            "a name that begins like the container's is enough",
            "api/kill.py",
            'return not action.needs_name or bool({action.name, action.id, (action.id or "")[:12]} & set(names) - {None, ""})',
            "return not action.needs_name or any(action.name.startswith(name) for name in names)",
            [_ENGINE + "test_a_strangers_container_has_to_be_named"],
        ),
        Breaking(
            "a stranger's unit needs no name",
            "holders/stop_plan.py",
            "            needs_name=not self._is_own_unit(unit, is_user_unit=holder.user_unit),\n",
            "            needs_name=False,\n",
            [_REFUSALS + "test_a_strangers_unit_has_to_be_named"],
        ),
        Breaking(
            "an engine that says no is taken at its silence",
            "engines/stop.py",
            "_DONE = (204, 304)",
            "_DONE = (204, 304, 500)",
            [_ENGINE + "test_an_engine_that_does_not_stop_it"],
        ),
        Breaking(
            "a container is its server: that is ended, and its engine not asked",
            "holders/stop_plan.py",
            "        if holder.container is not None:\n            return self._decide_container(port, holder.container)\n",
            "",
            [_ENGINE + "test_a_strangers_container_has_to_be_named"],
        ),
    ),
    "`freed` means": (
        Breaking(
            "what no longer listens is freed, whatever the bind says",
            "api/kill.py",
            'if outcome != "busy":',
            'if outcome != "":',
            [_KILL + "test_a_client_on_the_same_number_is_in_the_way"],
        ),
        Breaking(
            "nobody looks whether it is taken again",
            "api/kill.py",
            "_SETTLE_WATCHED = 2.0",
            "_SETTLE_WATCHED = 0.0",
            [_KILL + "test_respawned_a_while_later"],
        ),
        Breaking(
            "a server that holds the port still is nobody's failure",
            "api/kill.py",
            '{"planned": 0, "freed": 0, "unknown": 3}',
            '{"planned": 0, "freed": 0, "still-held": 0, "unknown": 3}',
            [_KILL + "test_a_client_on_the_same_number_is_in_the_way"],
        ),
    ),
    "`wait` returns": (
        Breaking(
            "a UDP client's own end of its connection serves",
            "rules/verdicts.py",
            'return "listener" if state == "bound" else "connection"',
            'return "listener" if state else "connection"',
            [_WAIT + "test_address_and_protocol"],
        ),
        Breaking(
            "a server that may be for IPv6 alone, as far as the table tells, serves IPv4",
            "api/wait.py",
            '        return outcome not in _NOT_HERE and (outcome != "free" or sys.platform != "linux")',
            "        return outcome is not None",
            [_WAIT + "test_address_and_protocol"],
        ),
        Breaking(
            "--free asks the table, not the bind",
            "api/wait.py",
            'return "yes" if self.outcome == "free" else "no"',
            'return "no" if self.occupants() else "yes"',
            [_WAIT + "test_free_is_what_a_server_would_get"],
        ),
        Breaking(
            "ports that were so one after the other are so together",
            "api/wait.py",
            '                if looks[number]() != "yes":',
            '                if looks[number]() == "never":',
            [_WAIT + "test_all_in_one_and_the_same_look"],
        ),
        Breaking(
            "nobody looks at the deadline any more",
            "api/wait.py",
            "is_last = bool(timeout) and clock() - began >= timeout",
            "is_last = bool(timeout) and clock() - began + _PAUSE >= timeout",
            [_WAIT + "test_what_comes_at_the_deadline_is_seen"],
        ),
        Breaking(
            "it looks again and again",
            "api/wait.py",
            "_PAUSE = 0.025",
            "_PAUSE = 0.005",
            [_WAIT + "test_looks_are_counted"],
        ),
    ),
}
