"""The definition of the command line, with Typer: names, options, help, completion, and what a usage error says.

`portguard.cli.main` loads this only for what its small front door declines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from portguard.api.free import DEFAULT_TTL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HELP = "Would every port this project needs bind, now? If not: who holds it, and what to type next."
_EPILOG = (
    "Exit codes: 0 yes; 1 no (conflict, unavailable, none free); 2 asked wrongly (usage, config); "
    "3 could not do it or be told; 4 a bug in portguard; 130 interrupted."
)


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
        config: Annotated[
            str | None, typer.Option(metavar="FILE", help="Read this config instead of searching upwards for one.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
        is_quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code answers.")] = False,
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
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
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
            as_json=as_json,
        )

    @app.command()
    def info(
        ports: Annotated[list[str], typer.Argument(metavar="PORT[/udp]...", help="Port numbers.")],
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    ) -> int:
        """Tell what a port number means: range, names, whose default it is, and what this system does with it."""
        return commands["info"](ports=list(ports), as_json=as_json)

    @app.command()
    def who(
        ports: Annotated[
            list[str], typer.Argument(metavar="PORT[/udp]|ADDRESS:PORT...", help="Ports; without protocol, both.")
        ],
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    ) -> int:
        """Tell who has a port, why, and what started it."""
        return commands["who"](ports=list(ports), as_json=as_json)

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
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
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
