"""Portguard's rules made wrong, one at a time, to show that the oracle sees it. Only ever run in forked children."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portguard.model import Outcome


def wildcards_overlap_nothing() -> None:
    """rules/addresses.overlaps: only equal addresses exclude each other."""
    from portguard.rules import verdicts

    def broken(first: str, second: str, **_options: bool) -> bool:
        return first == second

    _replace(verdicts, "overlaps", broken)


def every_wildcard_is_dual() -> None:
    """rules/addresses.overlaps: IPV6_V6ONLY is not looked at."""
    from portguard.rules import addresses, verdicts

    right = addresses.overlaps

    def broken(first: str, second: str, **_options: bool) -> bool:
        return right(first, second, first_v6only=False, second_v6only=False)

    _replace(verdicts, "overlaps", broken)


def first_address_decides() -> None:
    """rules/verdicts.combine: of several addresses, the first one's outcome counts."""
    from portguard.rules import verdicts

    def broken(hosts: Sequence[str], outcomes: Mapping[str, Outcome]) -> Outcome:
        return next(iter(outcomes.values()))

    _replace(verdicts, "combine", broken)


def permission_is_never_missing() -> None:
    """rules/verdicts.decide: a port that may not be bound is free if no one has it."""
    from portguard.rules import verdicts

    right = verdicts.decide

    def broken(outcome: Outcome, *arguments: Any, **facts: Any) -> verdicts.Decision:
        decision = right(outcome, *arguments, **facts)
        return verdicts.Decision("free", "none") if decision.cause == "permission" else decision

    _replace(verdicts, "decide", broken)


def servers_do_not_reuse() -> None:
    """rules/binding.SERVER_OPTIONS: a TCP server is taken to bind without SO_REUSEADDR."""
    from portguard.rules import binding

    binding.SERVER_OPTIONS["tcp"] = binding.Options()


def busy_is_not_local() -> None:
    """rules/binding.outcome_of: EADDRINUSE is taken for EADDRNOTAVAIL."""
    from portguard.rules import binding

    right = binding.outcome_of

    def broken(error: str | None) -> Outcome:
        return right("EADDRNOTAVAIL" if error == "EADDRINUSE" else error)

    _replace(binding, "outcome_of", broken)


def _replace(module: object, name: str, function: Callable[..., object]) -> None:
    assert hasattr(module, name)
    setattr(module, name, function)


ALL: tuple[Callable[[], None], ...] = (
    wildcards_overlap_nothing,
    every_wildcard_is_dual,
    first_address_decides,
    permission_is_never_missing,
    servers_do_not_reuse,
    busy_is_not_local,
)
DAILY = (every_wildcard_is_dual, permission_is_never_missing, servers_do_not_reuse)  # one of each file of rules
