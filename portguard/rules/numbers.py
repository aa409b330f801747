"""Which number a declaration means now: the environment before `.env` before the declared one. Pure.

An empty variable counts as unset, as it does in compose's `${VAR:-default}`.
"""

from __future__ import annotations

from portguard.rules.ranges import LAST_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from portguard.model import Declaration


def resolve(
    declaration: Declaration, environ: Mapping[str, str], dotenv: Mapping[str, tuple[str, int]], dotenv_path: str
) -> Declaration | str:
    """Return the declaration with the number in force, or a sentence saying which variable holds no port.

    `dotenv` maps names to (value, line) of the file that messages call `dotenv_path`.
    """
    if declaration.env is None:
        return declaration
    value, origin = environ.get(declaration.env, ""), "the environment"
    if not value and declaration.env in dotenv:
        value, line = dotenv[declaration.env]
        origin = f"{dotenv_path}:{line}"
    if not value:
        return declaration
    number = value.strip()
    if not (number.isascii() and number.isdigit() and len(number) <= len("65535") and 0 < int(number) <= LAST_PORT):
        place = origin if origin != "the environment" else "environment"
        return (
            f"{place}: {declaration.env} moves {declaration.name!r}, and {value[:80]!r} is no port (1 to {LAST_PORT})"
        )
    return declaration._replace(port=int(number), moved_by=f"{declaration.env} in {origin}")
