"""Bugs in what is done with a refusal of the system's, by the promise that each one breaks."""

from __future__ import annotations

from tests.guarantees.breaking import Breaking

_CELL = "faults/test_faults.py::test_every_cell"

BREAKINGS = {
    "A system call that fails": (
        Breaking(
            "assignments that cannot be looked at pass for none",
            "leases/directory.py",
            "        raise unusable(f\"the lease store {path}\", error.strerror) from error\n    return True",
            "        return False\n    return True",
            [_CELL + "[store]"],
        ),
        Breaking(
            "a boot whose id could not be read has a table of its own",
            "system/kernel.py",
            "    except OSError as error:\n        raise _unkeyed(path, error) from error",
            "    except OSError:\n        return \"\"",
            [_CELL + "[identity]"],
        ),
        Breaking(
            "who could not be looked at is dead",
            "system/alive.py",
            "        return _ticks_of(pid, \"/proc\") == started\n    except OSError:\n        return True",
            "        return _ticks_of(pid, \"/proc\") == started\n    except OSError:\n        return False",
            [_CELL + "[identity]"],
        ),
        Breaking(
            "a worktree whose mark cannot be read is a main checkout",
            "system/git.py",
            "if is_strict and not isinstance(error, (FileNotFoundError,",
            "if not is_strict and not isinstance(error, (FileNotFoundError,",
            [_CELL + "[files]"],
        ),
        Breaking(
            "what a pipe does not take at once is lost",
            "cli/output.py",
            "            data = data[os.write(fd, data) :]",
            "            data = data[os.write(fd, data) :][:0]",
            ["faults/test_faults.py::test_a_pipe_that_does_not_wait"],
        ),
        Breaking(
            "a full table of descriptors is a bug",
            "cli/main.py",
            "(errno.EMFILE, errno.ENFILE, errno.ENOMEM)",
            "(errno.ENFILE, errno.ENOMEM)",
            [_CELL + "[files]"],
        ),
    ),
}  # fmt: skip
