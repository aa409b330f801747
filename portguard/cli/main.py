"""The entry point: a small front door for the hot commands, Typer for everything else, and the edge where errors end.

Nothing heavy is imported here before it is known to be needed: `check` and `free` run before everything else.
"""

from __future__ import annotations

import os
import sys

from portguard.cli.command import COMMANDS, module_of, parse
from portguard.errors import BUG, FAILED, INTERRUPTED, RUN_FAILED, USAGE, PortguardError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

ANNOTATED = ("check", "lint")  # whose `--format` has github and sarif; for `env`, github means another format


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

    Exit at once: a normal shutdown takes as long as the command itself.
    """
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            sys.exit(code)  # the interpreter reports it
    if "threading" in sys.modules:
        sys.exit(code)  # a thread, or an exit handler, may have work left
    os._exit(code)


def _code(words: Sequence[str], code: int) -> int:
    """Return the exit code of a failure of our own; `run` has one for all, the others are its command's."""
    return RUN_FAILED if words[:1] == ["run"] else code


def _run(words: Sequence[str]) -> int:
    if "_PORTGUARD_COMPLETE" not in os.environ:
        call = parse(words)
        if call is not None:
            name, values = call
            code: int = module_of(name).run(**values)
            return code
    return _run_typer(words)


def _run_typer(words: Sequence[str]) -> int:
    import contextlib  # Typer has both
    import io

    import typer  # 13 x the interpreter's start

    from portguard.cli import output
    from portguard.cli.app import build

    # The parser inside Typer is not public; what all its usage errors share is the base of the exception that is.
    usage_error: Any = typer.BadParameter.__bases__[0]
    chosen: list[Callable[[], int]] = []

    def choose(name: str, **values: Any) -> int:
        chosen.append(lambda: module_of(name).run(**values))
        return 0

    # Typer only parses the line and writes its help into memory, so that a full disk is reported as for every answer.
    app = build({name: module_of(name).COMMAND for name in COMMANDS}, choose)
    help_text, complaint = io.StringIO(), io.StringIO()
    result: object = 0
    try:
        with contextlib.redirect_stdout(help_text), contextlib.redirect_stderr(complaint):
            result = app(args=list(words), prog_name="portguard", standalone_mode=False)
    except usage_error as error:
        error.show(file=complaint)
        code = _code(words, USAGE)
        output.message(_printable(complaint.getvalue()))
        _answer(words, code, "usage", [error.format_message()], None)
        return code
    except SystemExit as end:  # of the shells' completion
        result = end.code
    output.message(complaint.getvalue())
    if help_text.getvalue():
        output.answer(help_text.getvalue())
    return chosen[0]() if chosen else result if isinstance(result, int) else 0


def _printable(text: str) -> str:
    """Return Typer's message; the arguments it quotes may contain anything."""
    from portguard.render.safe import safe  # only on the way out

    return "\n".join(line if line.isprintable() else safe(line) for line in text.split("\n"))


def _fail(words: Sequence[str], exit_code: int, code: str, messages: Sequence[str], hint: str | None) -> int:
    """Report a failure: sentences on standard error, and a document on standard output if one was requested."""
    is_written = False
    try:
        from portguard.cli import output  # only on the way out
        from portguard.render import text  # only on the way out

        output.message(text.error(messages, hint))
        is_written = True
        _answer(words, exit_code, code, messages, hint)
    except (OSError, MemoryError, ImportError):  # nothing more can be loaded: only the bare sentence
        if not is_written:
            os.write(2, "".join(f"portguard: {message}\n" for message in messages).encode("ascii", "backslashreplace"))
    return exit_code


def _out_of_resources(error: Exception) -> bool:
    """Whether the system has no descriptors or memory left, which is not a bug."""
    import errno  # only on the way out

    if isinstance(error, ImportError):  # dlopen(3): the file's name, and what was refused
        return str(error).startswith(f"{error.path}: ")
    is_refused = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return is_refused or isinstance(error, MemoryError)


def _bug(words: Sequence[str], error: Exception) -> int:
    if _out_of_resources(error):
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or "out of memory"
        hint = "see which limit is exhausted: ulimit -a"
        return _fail(words, _code(words, FAILED), "system", [f"out of system resources: {reason}"], hint)
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
    """Return the requested format if it can express a failure, else "text"."""
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
    """Report a failure on standard output too, if the requested format can express it."""
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
        nothing = documents.empty(COMMANDS.get(command or ""))
        answer = documents.document(command, exit_code, nothing, errors)
    else:
        answer = _annotated(wanted, code, messages, hint)
    with contextlib.suppress(OutputError):
        output.answer(answer)


def _annotated(wanted: str, code: str, messages: Sequence[str], hint: str | None) -> str:
    from portguard import __version__  # only on the way out
    from portguard.cli import output  # only on the way out
    from portguard.render import annotations  # only on the way out

    base = output.repository()
    findings = annotations.of_failure(code, messages, hint, output.working_directory())
    if wanted == "github":
        return annotations.github(findings, base=base)
    return annotations.sarif(findings, base=base, version=__version__, rules=annotations.failure_rules(code))
