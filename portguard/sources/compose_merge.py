"""What of a service decides its published ports, and how two descriptions of one service become one.

After compose-go `override/merge.go` and `override/uncity.go`: lists are appended, and of two ports that agree in
address, published port, target and protocol the later takes the place of the earlier. `!override` replaces, `!reset`
removes. Pure.
"""

from __future__ import annotations

from portguard._namedtuple import NamedTuple
from portguard.rules.addresses import ANY_V4

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    from portguard.sources.port_spec import PortMapping

    Mode = Literal["merge", "override", "reset"]


class PortEntry(NamedTuple):
    """A mapping and where it stands; `missing` are variables in it that were unset or empty.

    `env` is the variable that alone decides the published port, None if there is none.
    """

    mapping: PortMapping
    file: str
    line: int
    missing: tuple[str, ...] = ()
    env: str | None = None


class Field(NamedTuple):
    """A key's value (tuples are lists that append), and how it meets an earlier one."""

    value: Any
    mode: Mode = "merge"


class Service(NamedTuple):
    """What one file says of a service: of the keys that matter those that are there. `mode` is the whole one's."""

    name: str
    file: str
    line: int
    fields: Mapping[str, Field]
    mode: Mode = "merge"

    def get(self, key: str) -> Any:
        """Return a key's value; None if it is not there or was reset."""
        field = self.fields.get(key)
        return None if field is None or field.mode == "reset" else field.value


def merge(base: Service, over: Service) -> Service:
    """Return `over` on top of `base`. The result has the modes of `over`, to meet still earlier files with."""
    if over.mode != "merge" or base.mode == "reset":
        return over
    fields = {key: field._replace(mode="merge") for key, field in base.fields.items() if field.mode != "reset"}
    for key, field in over.fields.items():
        earlier = fields.get(key)
        if earlier is None or field.mode != "merge" or not isinstance(field.value, tuple):
            fields[key] = field
        else:
            fields[key] = Field(unique(earlier.value + field.value))
    return over._replace(fields=fields)


def unique(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the entries without repetitions; the later stands at the earlier's place."""
    return tuple({_identity(entry): entry for entry in entries}.values())


def _identity(entry: Any) -> object:
    """Return what makes two entries the same: an unspecified address counts as 0.0.0.0 here (portIndexer)."""
    if not isinstance(entry, PortEntry):
        return entry
    mapping = entry.mapping
    return mapping.host_ip or ANY_V4, mapping.published, mapping.target, mapping.protocol
