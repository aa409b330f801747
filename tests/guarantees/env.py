"""Bugs in `env` and `run`, by the promise that each one breaks."""

from __future__ import annotations

from tests.guarantees.breaking import Breaking

_TREES = "cli/test_worktrees.py::"
_BLOCK = "rules/test_env_block.py::"
_REPLACE = "system/test_replace.py::"
_RUN = "cli/test_run.py::"

BREAKINGS = {
    "The same checkout": (
        Breaking(
            "two checkouts of one repository are one",
            "project/checkout.py",
            "return (item.root, item.common, item.directory) == (checkout.root, checkout.common, checkout.directory)",
            "return item.common == checkout.common",
            [_TREES + "test_a_detached_head_changes_nothing", _TREES + "test_a_moved_worktree_meets_nobody"],
        ),
        Breaking(
            "numbers are not written down",
            "leases/assignments.py",
            '                file.write(os.fsencode("\\n".join(lines)))\n',
            "",
            ["cli/test_env.py::test_isolated_is_kept"],
        ),
        Breaking(
            "numbers belong to the branch",
            "system/git.py",
            "    return Worktree(root, branch, ",
            "    return Worktree(f\"{root}/{branch or ''}\", branch, ",
            [_TREES + "test_a_detached_head_changes_nothing"],
        ),
        Breaking(
            "git's variables decide where we are",
            "system/git.py",
            "    own = mark\n",
            '    own = os.environ.get("GIT_DIR", mark)\n',
            [_TREES + "test_git_s_variables_change_nothing"],
        ),
        Breaking(
            "numbers in a `.env` do not come back when the store is lost",
            "project/env_file.py",
            "    if block is None or block.owner != checkout.root:\n        return {}\n    values",
            "    if block is None or block.owner:\n        return {}\n    values",
            ["cli/test_env_files.py::test_numbers_come_back_from_the_block"],
        ),
        Breaking(
            "numbers belong to a boot",
            "system/kernel.py",
            'text = _read_key(f"{etc}/machine-id")',
            'text = (read("/proc/sys/kernel/random/uuid") or "").replace("-", "")',
            ["cli/test_env.py::test_isolated_is_kept"],
        ),
    ),
    "`env --write` changes nothing": (
        Breaking(
            "the line behind the block is taken with it",
            "rules/env_block.py",
            "found = found._replace(end=start + len(written), last=number)",
            "found = found._replace(end=start + len(line) + 1, last=number)",
            [_BLOCK + "test_the_block_is_replaced_where_it_is_or_added_at_the_end"],
        ),
        Breaking(
            "the file is written where it is",
            "system/replace.py",
            "        os.replace(new, file.name, src_dir_fd=file.directory, dst_dir_fd=file.directory)\n",
            "        os.unlink(new, dir_fd=file.directory)\n"
            '        with open(os.open(file.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=file.directory), "wb") as to:\n'
            "            to.write(content[:2048])\n            to.flush()\n            to.write(content[2048:])\n",
            [
                _REPLACE + "test_a_file_is_replaced_and_keeps_its_mode",
                _REPLACE + "test_killed_at_any_moment_the_file_is_wholly_old_or_wholly_new",
            ],
        ),
        Breaking(
            "what somebody else has written meanwhile is overwritten",
            "system/replace.py",
            "            os.fsync(fd)\n        _require_unchanged(file, status)\n",
            "            os.fsync(fd)\n",
            [_REPLACE + "test_a_file_changed_at_the_last_moment_is_not_overwritten"],
        ),
        Breaking(
            "everybody may read the new file",
            "system/replace.py",
            "        os.fchmod(fd, mode)\n",
            "        os.fchmod(fd, 0o644)\n",
            [_REPLACE + "test_a_file_is_replaced_and_keeps_its_mode"],
        ),
        Breaking(
            "a write that fails leaves its half behind",
            "system/replace.py",
            "            os.unlink(new, dir_fd=file.directory)\n        raise",
            "            pass\n        raise",
            [_REPLACE + "test_a_write_that_stops_half_way_leaves_nothing"],
        ),
    ),
    "`run` becomes": (
        Breaking(
            "the command is a child",
            "system/execute.py",
            "    os.execvpe(command[0], list(command), _uncoerced(environ))  # noqa: S606 - no shell is what is wanted\n",
            "    import subprocess\n\n    return subprocess.call(list(command), env=_uncoerced(environ))\n",
            [_RUN + "test_the_command_has_portguards_number_group_and_session"],
        ),
        Breaking(
            "the command cannot be killed by a closed pipe",
            "system/execute.py",
            'for name in ("SIGPIPE", "SIGXFSZ"):',
            'for name in ("SIGXFSZ",):',
            [_RUN + "test_signals_are_as_they_were"],
        ),
        Breaking(
            "a command that is not there exits 126",
            "errors.py",
            "NOT_FOUND = 127",
            "NOT_FOUND = 126",
            [_RUN + "test_127_not_found"],
        ),
        Breaking(
            "a command that cannot be executed exits 125",
            "errors.py",
            "NOT_EXECUTABLE = 126",
            "NOT_EXECUTABLE = 125",
            [_RUN + "test_126_cannot_be_run"],
        ),
        Breaking(
            "a conflict exits 1, as the command might",
            "cli/run.py",
            "            output.message(text.conflicts(error.report, os.getcwd(), error.hint))\n        return RUN_FAILED",
            "            output.message(text.conflicts(error.report, os.getcwd(), error.hint))\n        return 1",
            [_RUN + "test_a_stranger_on_the_port"],
        ),
        Breaking(
            "the command has Python's locale",
            "system/execute.py",
            '    del found["LC_CTYPE"]\n    return found | ',
            "    return found | ",
            [_RUN + "test_environment_in_the_c_locale"],
        ),
        Breaking(
            "the store's descriptors go to the command",
            "leases/directory.py",
            "os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)\n        status",
            "os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)\n        os.set_inheritable(os.dup(fd), True)\n"
            "        os.set_inheritable(fd, True)\n        status",
            [_RUN + "test_nothing_else_changes"],
        ),
        Breaking(
            "a stranger on the port is no reason not to start",
            "api/run.py",
            'if port.verdict in ("conflict", "unavailable") and not port.optional)',
            'if port.verdict == "unavailable" and not port.optional)',
            [_RUN + "test_a_stranger_on_the_port"],
        ),
    ),
}
