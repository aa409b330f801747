"""The exceptions portguard raises on purpose; anything else that escapes is a bug in portguard.

    PortguardError
      UsageError            asked wrongly                                    exit 2
        ConfigError         the declarations cannot be used; all problems    exit 2
      NoFreePortError       the pool is exhausted; counts per reason         exit 1
      ConflictError         ports that are needed cannot be had               exit 1
      NotFoundError         there is nothing of that name              exit 1
      StateError            the lease store cannot be used                   exit 3
        LockTimeoutError    somebody else holds its lock                     exit 3
      ProbeError            no bind can be tried here at all                  exit 3
      LookupFailedError     a look-up failed; leaves `api` only where it was the question      exit 3
      OutputError           the answer could not be written                  exit 3

No logic, no imports: every layer may raise these.
"""

from __future__ import annotations


class PortguardError(Exception):
    """Base of all expected failures.

    `code` is a stable identifier for scripts, `hint` the next step (or None), `exit_code` what the command exits with,
    `messages` all that is wrong, a sentence each.
    """

    code = "error"
    exit_code = 3

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.messages: tuple[str, ...] = (message,)
        self.hint = hint


class UsageError(PortguardError):
    """The question itself is wrong: an unknown name, a number that is no port, options that exclude each other."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """The configuration cannot be used.

    `messages` holds one `file:line:column: what` sentence for each mistake, in the order of the file. `env_files` are
    those whose variables may be in them.
    """

    code = "config"

    def __init__(self, problems: tuple[str, ...], hint: str | None = None, env_files: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(problems), hint)
        self.messages = problems
        self.env_files = env_files


class NoFreePortError(PortguardError):
    """No port in the range can be given; the message counts why."""

    code = "no-free-port"
    exit_code = 1


class ConflictError(PortguardError):
    """Ports that are to be used cannot be had; `messages` holds a sentence for each."""

    code = "conflict"
    exit_code = 1

    def __init__(self, messages: tuple[str, ...], hint: str | None = None) -> None:
        super().__init__("\n".join(messages), hint)
        self.messages = messages


class NotFoundError(PortguardError):
    """What was asked for is not there, although it might have been."""

    code = "not-found"
    exit_code = 1


class StateError(PortguardError):
    """The lease store cannot be used: missing, unsafe, read-only, or of an unknown version."""

    code = "state"


class LockTimeoutError(StateError):
    """The lease store stayed locked by another process past the deadline."""

    code = "lock-timeout"


class ProbeError(PortguardError):
    """No test socket can be made or bound at all, for a reason that has nothing to do with the port."""

    code = "probe"


class LookupFailedError(PortguardError):
    """A look-up that only explains could not be made. The caller lowers its knowledge, never its verdict."""

    code = "lookup-failed"


class OutputError(PortguardError):
    """Standard output took no more, or a file that was to be written did not: closed early, full, not permitted."""

    code = "output"
