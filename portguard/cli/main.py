"""The entry point: a small front door for the hot commands, Typer for everything else, and the edge where errors end.

Nothing heavy is imported here before it is known to be needed: `check` and `free` run before everything else.
"""

from __future__ import annotations

import os
import sys

from portguard.errors import PortguardError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

COMMANDS = ("check", "env", "free", "info", "init", "kill", "leases", "lint", "list", "run", "schema", "wait", "who")
ANNOTATED = ("check", "lint")  # whose `--format` has github and sarif; that of `env` means something else by github
BUG = 4
INTERRUPTED = 130
RUN_FAILED = 125  # of `run` before its command starts, whose codes are all others


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (by default the process's own) and return its exit code. Never raises."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return _run(words)
    except KeyboardInterrupt:
        return _fail(words, INTERRUPTED, "interrupted", ["interrupted"], None)
    except PortguardError as error:
        return _fail(words, _code(words, error.exit_code), error.code, error.messages, error.hint)
    except Exception as error:  # noqa: BLE001 - the edge: whatever gets here is a bug
        return _bug(words, error)


def console() -> None:
    """Run the command line of this process, and end it with the exit code.

    At once: taking the interpreter apart, module by module, would last as long as the answer took.
    """
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            sys.exit(code)  # whatever the interpreter makes of it
    if "threading" in sys.modules:
        sys.exit(code)  # somebody may have left a thread, or something else to do at the end
    os._exit(code)


def _code(words: Sequence[str], code: int) -> int:
    """Return the exit code for a failure of our own; those of `run` are its command's but for one."""
    return RUN_FAILED if words[:1] == ["run"] else code


def _run(words: Sequence[str]) -> int:
    if "_PORTGUARD_COMPLETE" not in os.environ:
        from portguard.cli import plain

        plainly = plain.parse(words)
        if plainly is not None:
            command, values = plainly
            return _command(command)(**values)
    return _run_typer(words)


def _command(name: str) -> Callable[..., int]:
    """Return the function of a command: `run` of the module that is called like it."""
    module = __import__(f"portguard.cli.{name}", fromlist=["run"])  # importlib's own function loads warnings
    run: Callable[..., int] = module.run
    return run


def _run_typer(words: Sequence[str]) -> int:
    import contextlib  # Typer has them all
    import functools
    import io

    import typer  # 13 x the interpreter's start

    from portguard.cli import output
    from portguard.cli.app import build

    # The parser inside Typer is not public; what all its usage errors share is the base of the exception that is.
    usage_error: Any = typer.BadParameter.__bases__[0]
    chosen: list[Callable[[], int]] = []

    def choose(name: str, **values: Any) -> int:
        chosen.append(functools.partial(_command(name), **values))
        return 0

    # Typer only reads the line and words its help; that can be written or not is told as of every other answer.
    app = build({name: functools.partial(choose, name) for name in COMMANDS})
    said, complaint = io.StringIO(), io.StringIO()
    result: object = 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
            result = app(args=list(words), prog_name="portguard", standalone_mode=False)
    except usage_error as error:
        error.show(file=complaint)
        code = _code(words, 2)
        output.message(_printable(complaint.getvalue()))
        _answer(words, code, "usage", [error.format_message()], None)
        return code
    except SystemExit as end:  # of the shells' completion
        result = end.code
    output.message(complaint.getvalue())
    if said.getvalue():
        output.answer(said.getvalue())
    return chosen[0]() if chosen else result if isinstance(result, int) else 0


def _printable(text: str) -> str:
    """Return Typer's words, in which the command line's own may come from anywhere."""
    from portguard.render.safe import safe  # only on the way out

    return "\n".join(line if line.isprintable() else safe(line) for line in text.split("\n"))


def _fail(words: Sequence[str], exit_code: int, code: str, messages: Sequence[str], hint: str | None) -> int:
    """Say what went wrong: a document on standard output where one was asked for, sentences on standard error."""
    is_told = False
    try:
        from portguard.cli import output  # only on the way out
        from portguard.render import text  # only on the way out

        output.message(text.error(messages, hint))
        is_told = True
        _answer(words, exit_code, code, messages, hint)
    except (OSError, MemoryError, ImportError):  # where nothing more can be loaded, the bare sentence is left
        if not is_told:
            os.write(2, "".join(f"portguard: {message}\n" for message in messages).encode("ascii", "backslashreplace"))
    return exit_code


def _out_of_resources(error: Exception) -> bool:
    """Whether the system had no descriptor or no memory left: nobody's mistake, and none of ours."""
    import errno  # only on the way out

    if isinstance(error, ImportError):  # dlopen(3): the file's name, and what was refused
        return str(error).startswith(f"{error.path}: ")
    is_refused = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return is_refused or isinstance(error, MemoryError)


def _bug(words: Sequence[str], error: Exception) -> int:
    if _out_of_resources(error):
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or "out of memory"
        hint = "see what is exhausted: ulimit -a"
        return _fail(words, _code(words, 3), "system", [f"the system has not enough left for this: {reason}"], hint)
    from portguard import __version__  # only on the way out

    if os.environ.get("PORTGUARD_DEBUG") == "1":
        import traceback  # only on the way out

        traceback.print_exception(error)
    version = ".".join(map(str, sys.version_info[:3]))
    return _fail(
        words,
        _code(words, BUG),
        "bug",
        [f"this is a bug in portguard: {type(error).__name__}: {error}"],
        f"run it again with PORTGUARD_DEBUG=1 and report what it prints (portguard {__version__}, Python {version}, "
        f"{sys.platform})",
    )


def _wanted_format(words: Sequence[str], command: str | None) -> str:
    """Return the format that was asked for, as far as it has a way to tell a failure, else "text"."""
    from itertools import pairwise  # only on the way out

    ours = words[: words.index("--")] if "--" in words else words
    wanted = "text"
    for word, following in pairwise([*ours, ""]):
        if word == "--format":
            wanted = following
        elif word.startswith("--format="):
            wanted = word.removeprefix("--format=")
    if "--json" in ours or wanted == "json":
        return "json"
    return wanted if command in ANNOTATED and wanted in ("github", "sarif") else "text"


def _answer(words: Sequence[str], exit_code: int, code: str, messages: Sequence[str], hint: str | None) -> None:
    """Tell a failure on standard output too, where the format that was asked for has a way to."""
    command = next((word for word in words if not word.startswith("-")), None)
    wanted = _wanted_format(words, command)
    if wanted == "text":
        return
    import contextlib  # only on the way out

    from portguard.cli import output  # only on the way out
    from portguard.errors import OutputError  # only on the way out

    if wanted == "json":
        from portguard.render import documents  # only on the way out

        errors = [documents.error(code, message, hint) for message in messages]
        told = documents.document(command, exit_code, documents.empty(command), errors)
    else:
        told = _annotated(wanted, code, messages, hint)
    with contextlib.suppress(OutputError):
        output.answer(told)


def _annotated(wanted: str, code: str, messages: Sequence[str], hint: str | None) -> str:
    from portguard import __version__  # only on the way out
    from portguard.cli import output  # only on the way out
    from portguard.render import annotations  # only on the way out

    base = output.repository()
    findings = annotations.of_failure(code, messages, hint, output.working_directory())
    if wanted == "github":
        return annotations.github(findings, base=base)
    return annotations.sarif(findings, base=base, version=__version__, rules=annotations.failure_rules(code))
