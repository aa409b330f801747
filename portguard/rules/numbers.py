"""Which number a declaration has now: from the environment, `.env`, this checkout's lease, or as declared. Pure.

An empty variable counts as unset, as it does in compose's `${VAR:-default}`.
"""

from __future__ import annotations

from portguard.rules.ranges import LAST_PORT, decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from portguard.model import Declaration, Origin


def resolve(
    declaration: Declaration,
    environ: Mapping[str, str],
    dotenv: Mapping[str, tuple[str, int]],
    dotenv_path: str,
    leased: Mapping[str, int],
) -> Declaration | str:
    """Return the declaration with the number in force, or a sentence saying which variable holds no port.

    `dotenv` maps names to (value, line) of the file that messages call `dotenv_path`; `leased` maps the names of
    declarations to numbers of this checkout's own.
    """
    if declaration.env is None:
        return declaration
    value, origin = environ.get(declaration.env, ""), "the environment"
    if not value and declaration.env in dotenv:
        value, line = dotenv[declaration.env]
        origin = f"{dotenv_path}:{line}"
    if not value and declaration.name in leased:
        return declaration._replace(port=leased[declaration.name], moved_by="this checkout's lease", origin="lease")
    if not value:
        return declaration
    number = decimal(value.strip())
    if number is None or not 0 < number <= LAST_PORT:
        place = origin if origin != "the environment" else "environment"
        what = f"{value[:80]!r} is not a port (1 to {LAST_PORT})"
        return f"{place}: {declaration.env} moves {declaration.name!r}, and {what}"
    kind: Origin = "environment" if origin == "the environment" else "dotenv"
    return declaration._replace(port=number, moved_by=f"{declaration.env} in {origin}", origin=kind)


def is_explicit(declaration: Declaration, environ: Mapping[str, str], dotenv: Mapping[str, tuple[str, int]]) -> bool:
    """Whether a variable gives the number, so that no lease is needed."""
    name = declaration.env or ""
    return bool(environ.get(name, "") or dotenv.get(name, ("", 0))[0])
