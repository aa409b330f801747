"""The bind probe for what is declared: all its addresses, and all that a system wants asked for each of them."""

from __future__ import annotations

from portguard.rules import binding
from portguard.system.probe import probe, probe_addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portguard.model import Outcome, Protocol


def probe_all(
    protocol: Protocol, wanted: Sequence[str], port: int, *, between: Callable[[], None] | None = None
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Return the outcome by address, and the errno's name of those that did not bind; `between` as `probe` takes it."""
    outcomes: dict[str, Outcome] = {}
    errors: dict[str, str] = {}
    for address in wanted:
        for probed in probe_addresses(address):
            error = probe(protocol, probed, port, between=between)
            outcomes[address] = binding.outcome_of(error)
            if error is not None:
                errors[address] = error
                break
    return outcomes, errors
