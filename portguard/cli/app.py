"""The definition of the command line, with Typer: names, options, help, completion, and what a usage error says.

`portguard.cli.main` loads this only for what its small front door declines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from portguard.api.free import DEFAULT_TTL
from portguard.api.wait import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HELP = "Would every port this project needs bind, now? If not: who holds it, and what to type next."
_EPILOG = (
    "Exit codes: 0 yes; 1 no (conflict, unavailable, none free); 2 asked wrongly (usage, config); "
    "3 could not do it or be told; 4 a bug in portguard; 130 interrupted."
)


# What several commands take.
_Config = Annotated[
    str | None, typer.Option(metavar="FILE", help="Read this config instead of searching upwards for one.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
_Isolated = Annotated[bool, typer.Option("--isolated", help="Numbers of its own although this is no linked worktree.")]
_Move = Annotated[bool, typer.Option("--move", help="Give what a stranger holds another number, and keep that.")]

_COMMAND = "portguard.command"


class _WithCommand(TyperCommand):
    """A command whose words after the first two dashes are somebody else's: the parser never sees them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = args[end + 1 :]
        rest: list[str] = super().parse_args(ctx, args[:end])
        return rest


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from portguard import __version__  # only for this option

        typer.echo(f"portguard {__version__}")
        raise typer.Exit


def build(commands: Mapping[str, Callable[..., int]]) -> typer.Typer:
    """Return the application; each command calls the function of its name with keyword arguments only."""
    app = typer.Typer(
        name="portguard",
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

    @app.command()
    def check(
        targets: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="[NAME|PORT[/udp]|ADDRESS:PORT]...",
                help="Declared names, or ports that need no declaration. Default: all that is declared.",
            ),
        ] = None,
        config: _Config = None,
        output_format: Annotated[
            str, typer.Option("--format", metavar="FORMAT", help="text (the default), json, github or sarif.")
        ] = "text",
        as_json: _Json = False,
        is_quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no text; the exit code answers.")] = False,
        is_strict: Annotated[
            bool,
            typer.Option("--strict", help="Ports held by this very project count as conflict; unknown fails."),
        ] = False,
        is_by_compose: Annotated[
            bool, typer.Option("--compose-config", help="Let `docker compose config` resolve the compose files.")
        ] = False,
    ) -> int:
        """Tell whether a server would get every port that is declared, now.

        Exits 0 when all are free or held by this very project, 1 when not.
        """
        return commands["check"](
            targets=list(targets or ()),
            config=config,
            output_format=output_format,
            as_json=as_json,
            is_quiet=is_quiet,
            is_strict=is_strict,
            is_by_compose=is_by_compose,
        )

    @app.command()
    def free(
        count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="How many.")] = 1,
        is_tcp: Annotated[bool, typer.Option("--tcp", help="Free for TCP.")] = False,
        is_udp: Annotated[bool, typer.Option("--udp", help="Free for UDP.")] = False,
        is_both: Annotated[bool, typer.Option("--both", help="Free for both. The default.")] = False,
        within: Annotated[
            str | None, typer.Option("--range", metavar="A-B", help="From this range. Default: 49152-65535.")
        ] = None,
        ttl: Annotated[int, typer.Option(metavar="SECONDS", help="How long nobody else is given it.")] = DEFAULT_TTL,
        is_unleased: Annotated[bool, typer.Option("--no-lease", help="Do not lease: others may get it too.")] = False,
        hold: Annotated[
            int | None,
            typer.Option(
                metavar="SECONDS", help="Lease it for so long, and have a process keep it bound (TCP, Linux)."
            ),
        ] = None,
        as_json: _Json = False,
    ) -> int:
        """Give me free ports that no other caller is given, one a line."""
        return commands["free"](
            count=count,
            is_tcp=is_tcp,
            is_udp=is_udp,
            is_both=is_both,
            within=within,
            ttl=ttl,
            is_unleased=is_unleased,
            hold=hold,
            as_json=as_json,
        )

    @app.command()
    def env(
        names: Annotated[
            list[str] | None, typer.Argument(metavar="[NAME]...", help="Declared names. Default: all with a variable.")
        ] = None,
        config: _Config = None,
        output_format: Annotated[
            str, typer.Option("--format", metavar="FORMAT", help="dotenv (the default), shell, github or json.")
        ] = "dotenv",
        write: Annotated[
            str | None, typer.Option(metavar="FILE", help="Keep them in a marked block of this file instead.")
        ] = None,
        is_isolated: _Isolated = False,
        is_moving: _Move = False,
        as_json: _Json = False,
    ) -> int:
        """Print this checkout's ports as NAME=port.

        The main checkout has the declared numbers; a linked worktree has its own, the same tomorrow.
        """
        return commands["env"](
            names=list(names or ()),
            config=config,
            output_format=output_format,
            write=write,
            is_isolated=is_isolated,
            is_moving=is_moving,
            as_json=as_json,
        )

    @app.command(cls=_WithCommand, context_settings={"allow_interspersed_args": True})
    def run(
        context: typer.Context,
        names: Annotated[
            list[str] | None,
            typer.Argument(metavar="[NAME]... -- COMMAND...", help="Declared names. Default: all that is declared."),
        ] = None,
        config: _Config = None,
        is_isolated: _Isolated = False,
        is_moving: _Move = False,
        is_unheld: Annotated[
            bool, typer.Option("--no-hold", help="Do not keep the ports bound: for servers without SO_REUSEADDR.")
        ] = False,
        is_passing: Annotated[
            bool, typer.Option("--pass-fd", help="Hand over listening sockets, as LISTEN_FDS tells.")
        ] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="If it is not run, print why as one JSON document.")
        ] = False,
    ) -> int:
        """Check and take the ports, and run a command with them in its environment.

        Exits with the command's code; 125 when it is not run, 126 when it cannot be, 127 when there is none such.
        """
        return commands["run"](
            names=list(names or ()),
            command=context.meta[_COMMAND],
            config=config,
            is_isolated=is_isolated,
            is_moving=is_moving,
            is_unheld=is_unheld,
            is_passing=is_passing,
            as_json=as_json,
        )

    @app.command()
    def leases(
        words: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="[list | release PORT|NAME... | prune]",
                help="Default: list. prune: of checkouts that are gone.",
            ),
        ] = None,
        is_all: Annotated[bool, typer.Option("--all", help="release: all of this checkout's.")] = False,
        is_dry: Annotated[bool, typer.Option("--dry-run", help="prune: only tell.")] = False,
        as_json: _Json = False,
    ) -> int:
        """List what is handed out, or give it back."""
        return commands["leases"](words=list(words or ()), is_all=is_all, is_dry=is_dry, as_json=as_json)

    @app.command()
    def lint(
        paths: Annotated[
            list[str] | None,
            typer.Argument(metavar="[FILE]...", help="Judge the projects of these files. Default: here."),
        ] = None,
        config: _Config = None,
        output_format: Annotated[
            str, typer.Option("--format", metavar="FORMAT", help="text (the default), json, github or sarif.")
        ] = "text",
        is_strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
        as_json: _Json = False,
    ) -> int:
        """Tell whether the declarations are sane, and in step with compose, .env and devcontainer. Binds nothing."""
        return commands["lint"](
            paths=list(paths or ()),
            config=config,
            output_format=output_format,
            is_strict=is_strict,
            as_json=as_json,
        )

    @app.command()
    def init(
        is_forced: Annotated[bool, typer.Option("--force", help="Write it anew where there is one.")] = False,
        as_json: _Json = False,
    ) -> int:
        """Write a portguard.toml from what the repository says already."""
        return commands["init"](is_forced=is_forced, as_json=as_json)

    @app.command()
    def schema(as_json: _Json = False) -> int:
        """Print the JSON Schema of portguard.toml."""
        return commands["schema"](as_json=as_json)

    @app.command()
    def info(
        ports: Annotated[list[str], typer.Argument(metavar="PORT[/udp]...", help="Port numbers.")],
        as_json: _Json = False,
    ) -> int:
        """Tell what a port number means: range, names, whose default it is, and what this system does with it."""
        return commands["info"](ports=list(ports), as_json=as_json)

    @app.command()
    def wait(
        ports: Annotated[
            list[str], typer.Argument(metavar="PORT[/udp]|ADDRESS:PORT...", help="Ports; without protocol, TCP.")
        ],
        is_free: Annotated[bool, typer.Option("--free", help="Until a server would get them, instead.")] = False,
        timeout: Annotated[
            float, typer.Option(metavar="SECONDS", help="Give up after so long; 0 waits without end.")
        ] = DEFAULT_TIMEOUT,
        as_json: _Json = False,
    ) -> int:
        """Wait until somebody listens on every port, all at the same time.

        Exits 0 when it is so, 1 when it was not in time.
        """
        return commands["wait"](ports=list(ports), is_free=is_free, timeout=timeout, as_json=as_json)

    @app.command()
    def who(
        ports: Annotated[
            list[str], typer.Argument(metavar="PORT[/udp]|ADDRESS:PORT...", help="Ports; without protocol, both.")
        ],
        all_holders: Annotated[
            bool,
            typer.Option(
                "--all-holders",
                help="Look through every process: also for one that was passed the socket by a stranger.",
            ),
        ] = False,
        as_json: _Json = False,
    ) -> int:
        """Tell who has a port, why, and what started it."""
        return commands["who"](ports=list(ports), all_holders=all_holders, as_json=as_json)

    @app.command()
    def kill(
        ports: Annotated[
            list[str], typer.Argument(metavar="PORT[/udp]|ADDRESS:PORT...", help="Ports; without protocol, TCP.")
        ],
        is_agreed: Annotated[
            bool, typer.Option("--yes", "-y", help="Do not ask: for what is ours and plain processes of this user.")
        ] = False,
        is_dry: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be stopped.")] = False,
        is_forced: Annotated[
            bool, typer.Option("--force", help="SIGKILL for what still holds the port after SIGTERM.")
        ] = False,
        is_tree: Annotated[
            bool, typer.Option("--tree", help="Also the supervisor in the same checkout, and all that it runs.")
        ] = False,
        names: Annotated[
            list[str] | None,
            typer.Option("--confirm", metavar="NAME", help="A stranger's container or unit that is meant, in full."),
        ] = None,
        as_json: _Json = False,
    ) -> int:
        """Stop what listens on a port, and nothing else; or say why not.

        Containers and systemd units are stopped through what runs them. Exits 0 when the ports were freed, 1 when one
        was not, or had nobody to stop, 3 when what came of it could not be told.
        """
        return commands["kill"](
            ports=list(ports),
            is_agreed=is_agreed,
            is_dry=is_dry,
            is_forced=is_forced,
            is_tree=is_tree,
            names=list(names or ()),
            as_json=as_json,
        )

    @app.command(name="list")
    def list_ports(
        is_all: Annotated[bool, typer.Option("--all", help="Also connections, apart from what listens.")] = False,
        is_tcp: Annotated[bool, typer.Option("--tcp", help="Only TCP.")] = False,
        is_udp: Annotated[bool, typer.Option("--udp", help="Only UDP.")] = False,
        is_v4: Annotated[bool, typer.Option("-4", help="Only IPv4 sockets.")] = False,
        is_v6: Annotated[bool, typer.Option("-6", help="Only IPv6 sockets, dual-stack ones among them.")] = False,
        is_mine: Annotated[bool, typer.Option("--mine", help="Only what my own processes hold.")] = False,
        is_by_project: Annotated[
            bool, typer.Option("--by-project", help="In text, a table for each compose project or checkout.")
        ] = False,
        as_json: _Json = False,
    ) -> int:
        """List what listens here, and who is behind it."""
        return commands["list"](
            is_all=is_all,
            is_tcp=is_tcp,
            is_udp=is_udp,
            is_v4=is_v4,
            is_v6=is_v6,
            is_mine=is_mine,
            is_by_project=is_by_project,
            as_json=as_json,
        )

    return app
