"""`NamedTuple` without the import of `typing`.

`typing` costs a third of the interpreter's own start; `check` and `free` run before everything else, so the records
of `portguard.model` are built by `collections.namedtuple` from the same class syntax. Type checkers see the real one.
Nothing else belongs here.
"""

from __future__ import annotations

__all__ = ["NamedTuple"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from collections import namedtuple

    class _NamedTupleMeta(type):
        def __new__(cls, name: str, _bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
            fields = tuple(namespace["__annotations__"])
            defaults = [namespace[field] for field in fields if field in namespace]
            base = namedtuple(name, fields, defaults=defaults)
            members = {key: value for key, value in namespace.items() if key not in fields}
            members["__slots__"] = ()
            return type(name, (base,), members)

    NamedTuple = type.__new__(_NamedTupleMeta, "NamedTuple", (), {})
