"""The command line as Typer parses it: help, completion, and the wording of usage errors.

Made from each command's own table; `portguard.cli.main` loads this only for what the small front door declines.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from portguard.cli.command import GROUPS
from portguard.errors import EXIT_CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portguard.cli.command import Command, Option

_HELP = "Can every port this project needs be bound right now? If not: who holds it, and what to type next."
_EPILOG = "\n".join(["\b", "Exit codes:", *(f"  {code:<3}  {meaning}" for code, meaning in EXIT_CODES.items())])
_REST = "portguard.command"


class _WithCommand(TyperCommand):
    """A command whose words after `--` belong to another program: the parser never sees them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_REST] = args[end + 1 :]
        rest: list[str] = super().parse_args(ctx, args[:end])
        return rest


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from portguard import __version__  # only for this option

        typer.echo(f"portguard {__version__}")
        raise typer.Exit


def build(commands: Mapping[str, Command], call: Callable[..., int]) -> typer.Typer:
    """Return the application; each command makes `call(name, **values)` and returns what that returns."""

    class Grouped(TyperGroup):
        """The list of commands, in the groups of their tables."""

        def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the base has it
            width = formatter.width - 6 - max(map(len, commands))
            for group, title in GROUPS.items():
                members = [name for name, command in commands.items() if command.group == group]
                with formatter.section(title):
                    formatter.write_dl([(name, self.commands[name].get_short_help_str(width)) for name in members])

    app = typer.Typer(
        name="portguard",
        cls=Grouped,
        help=_HELP,
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,  # the same help everywhere, and no box-drawing in pipes
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def portguard(
        version: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        """Keep the group a group while it has options of its own."""

    portguard.__doc__ = _HELP
    for name, command in commands.items():
        cls = _WithCommand if command.takes_command else TyperCommand
        app.command(name=name, cls=cls, help=command.help, epilog=_examples(command))(_function(name, command, call))
    return app


def _examples(command: Command) -> str | None:
    if not command.examples:
        return None
    lines = [line for words, meaning in command.examples for line in (f"  # {meaning}", f"  {words}")]
    return "\n".join(["\b", "Examples:", *lines])


def _function(name: str, command: Command, call: Callable[..., int]) -> Callable[..., int]:
    """Return a function with the signature that Typer reads a command from."""
    lists = {option.name for option in (*command.options, command.arguments) if option and option.kind is list}

    def function(**values: Any) -> int:
        if command.takes_command:
            values["command"] = values.pop("context").meta[_REST]
        return call(name, **{key: list(value or ()) if key in lists else value for key, value in values.items()})

    parameters = [_parameter(option) for option in (command.arguments, *command.options) if option is not None]
    if command.takes_command:
        parameters.insert(0, inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect.signature reads it
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def _parameter(option: Option) -> inspect.Parameter:
    kind: Any = list[str] if option.kind is list else option.kind
    if option.flags:
        declared: Any = typer.Option(
            *option.flags, metavar=option.metavar, help=option.help, show_default=option.kind is not str
        )
    else:
        declared = typer.Argument(metavar=option.metavar, help=option.help)
    default = None if option.kind is list else option.default
    if default is None and not option.is_required:
        kind = kind | None
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if option.is_required else default,
        annotation=Annotated[kind, declared],
    )
