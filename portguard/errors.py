"""The exit codes, and the exceptions portguard raises on purpose; any other exception is a bug in portguard.

    PortguardError
      UsageError            a usage error                                                         USAGE
        ConfigError         the declarations are invalid; lists every problem                     USAGE
      NoFreePortError       the range has no free port; counts the reasons                        NO
      ConflictError         required ports are not available                                      NO
      NotFoundError         nothing has that name                                                 NO
      StateError            the lease store is unusable                                           FAILED
        LockTimeoutError    another process holds its lock                                        FAILED
      ProbeError            no bind can be tried here at all                                      FAILED
      LookupFailedError     a look-up failed; leaves `api` only if it was the question            FAILED
      OutputError           the answer could not be written                                       FAILED

No logic, no imports: every layer may raise these.
"""

from __future__ import annotations

OK = 0
NO = 1
USAGE = 2
FAILED = 3
BUG = 4
INTERRUPTED = 130
EXIT_CODES = {
    OK: "yes: every port is free, or held by this project",
    NO: "no: a conflict, unavailable, no free port, or a timeout",
    USAGE: "usage or config error",
    FAILED: "could not do it, or with --strict could not tell",
    BUG: "a bug in portguard",
    INTERRUPTED: "interrupted",
}
EXIT_ORDER = (BUG, USAGE, NO, FAILED, OK)  # the worst first: "could not tell" never masks "no"

# Of `run` before its command starts; every other code is the command's own.
RUN_FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127


class PortguardError(Exception):
    """Base of all expected failures.

    `code` is a stable identifier for scripts, `hint` the next step (or None), `exit_code` the command's exit code,
    `messages` one sentence per problem.
    """

    code = "error"
    exit_code = FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.messages: tuple[str, ...] = (message,)
        self.hint = hint


class UsageError(PortguardError):
    """The command line is wrong: an unknown name, a number that is not a port, options that exclude each other."""

    code = "usage"
    exit_code = USAGE


class ConfigError(UsageError):
    """The configuration is invalid.

    `messages` holds one `file:line:column: what` sentence per mistake, in the order of the file. `env_files` are the
    files whose variables the sentences may quote.
    """

    code = "config"

    def __init__(self, problems: tuple[str, ...], hint: str | None = None, env_files: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(problems), hint)
        self.messages = problems
        self.env_files = env_files


class NoFreePortError(PortguardError):
    """The range has no port to hand out; the message counts the reasons."""

    code = "no-free-port"
    exit_code = NO


class ConflictError(PortguardError):
    """Required ports are not available; `messages` holds one sentence per port."""

    code = "conflict"
    exit_code = NO

    def __init__(self, messages: tuple[str, ...], hint: str | None = None) -> None:
        super().__init__("\n".join(messages), hint)
        self.messages = messages


class NotFoundError(PortguardError):
    """Nothing has the given name."""

    code = "not-found"
    exit_code = NO


class StateError(PortguardError):
    """The lease store is unusable: missing, unsafe, read-only, or of an unknown version."""

    code = "state"


class LockTimeoutError(StateError):
    """The lease store stayed locked by another process past the deadline."""

    code = "lock-timeout"


class ProbeError(PortguardError):
    """No test socket can be created or bound at all, for a reason unrelated to the port."""

    code = "probe"


class LookupFailedError(PortguardError):
    """A look-up that only explains failed. The caller knows less, but never changes its verdict."""

    code = "lookup-failed"


class OutputError(PortguardError):
    """Standard output or a file could not be written: closed early, full, or not permitted."""

    code = "output"
