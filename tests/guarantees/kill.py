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
            "another address of the same number is meant as well",
            "rules/addresses.py",
            'family in theirs and ("" in (ours[family], theirs[family]) or _is_same(ours[family], theirs[family]))',
            "family in (4, 6)",
            [_KILL + "test_only_what_is_meant"],
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
            "an engine that says no is taken at its silence",
            "engines/stop.py",
            "_DONE = (204, 304)",
            "_DONE = (204, 304, 500)",
            [_ENGINE + "test_an_engine_that_does_not_stop_it"],
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
