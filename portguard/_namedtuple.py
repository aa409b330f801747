"""`NamedTuple` without the imports of `typing` and `collections`, and without compiling code for each class.

`typing` costs a third of the interpreter's own start, and `collections.namedtuple` compiles a constructor for each of
the records of `portguard.model`: together as much as half a start, and `check` and `free` run before everything else.
The classes made here are tuples with the same fields, defaults, `_replace`, comparison and pickling. Type checkers see
the real one. Beside it stands `once`, which would cost the import of `functools`. Nothing else belongs here.
"""

from __future__ import annotations

__all__ = ["NamedTuple", "once", "unchecked"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, NamedTuple, TypeVar, overload

    _T = TypeVar("_T")
    _R = TypeVar("_R", bound=tuple[Any, ...])

    def unchecked(cls: type[_R], values: tuple[Any, ...], /) -> _R:
        """Return a record of `values`, one for each field in the order of the fields; nothing checks that.

        For the loops that make tens of thousands of them, where the constructor costs as much as all the rest. A test
        compares the order at each place with the record's fields.
        """

    class once(Generic[_T]):  # noqa: N801 - a decorator
        """An attribute that is computed when it is first read, and remembered: what only some questions need."""

        def __init__(self, compute: Callable[[Any], _T]) -> None: ...
        @overload
        def __get__(self, instance: None, owner: type) -> once[_T]: ...
        @overload
        def __get__(self, instance: object, owner: type) -> _T: ...
        def __get__(self, instance: object | None, owner: type) -> once[_T] | _T: ...
        def peek(self, instance: object) -> _T | None:
            """Return the value if it was computed, else None."""

        def forget(self, instance: object) -> None:
            """Have it computed again when it is next read."""
else:
    from _collections import _tuplegetter  # the descriptor that `collections.namedtuple` itself uses

    _MISSING = object()

    def _create(cls, *values, **named):
        fields = cls._fields
        given = len(values)
        if given != len(fields) or named:
            values += tuple(map(named.pop, fields[given:], cls._defaults[given:]))
            if named or given > len(fields):
                surplus = repr(min(named)) if named else f"{given} values"
                raise TypeError(f"{cls.__name__}() has no place for {surplus}")
            if _MISSING in values:
                raise TypeError(f"{cls.__name__}() needs {fields[values.index(_MISSING)]!r}")
        return tuple.__new__(cls, values)

    def _replace(self, **named):
        values = tuple(map(named.pop, self._fields, self))
        if named:
            raise TypeError(f"{type(self).__name__} has no {min(named)!r}")
        return tuple.__new__(type(self), values)

    def _values(self):
        return tuple(self)

    def _represent(self):
        values = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({values})"

    class _Record(type):
        @property
        def __signature__(cls):
            from inspect import Parameter, Signature  # for anyone who asks; it is loaded then

            return Signature(
                [
                    Parameter(
                        field,
                        Parameter.POSITIONAL_OR_KEYWORD,
                        default=Parameter.empty if default is _MISSING else default,
                        annotation=cls.__annotations__[field],
                    )
                    for field, default in zip(cls._fields, cls._defaults, strict=True)
                ]
            )

    _SHARED = {
        "__slots__": (),
        "__new__": _create,
        "__repr__": _represent,
        "__getnewargs__": _values,
        "_replace": _replace,
    }
    _GETTERS = []  # one for each place, for all classes: making them for each field costs a third of a class

    class _NamedTupleMeta(type):
        def __new__(cls, name: str, _bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
            fields = tuple(namespace["__annotations__"])
            while len(_GETTERS) < len(fields):
                _GETTERS.append(_tuplegetter(len(_GETTERS), None))
            defaults = tuple([namespace.get(field, _MISSING) for field in fields])
            members = _SHARED | namespace
            members["_fields"] = members["__match_args__"] = fields
            members["_defaults"] = defaults
            members.update(zip(fields, _GETTERS, strict=False))
            return _Record(name, (tuple,), members)

    NamedTuple = type.__new__(_NamedTupleMeta, "NamedTuple", (), {})
    unchecked = tuple.__new__

    class once:  # noqa: N801 - a decorator
        def __init__(self, compute):
            self._compute = compute
            self.__doc__ = compute.__doc__

        def __set_name__(self, owner, name):
            self._name = name

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            value = instance.__dict__[self._name] = self._compute(instance)
            return value

        def peek(self, instance):
            return instance.__dict__.get(self._name)

        def forget(self, instance):
            instance.__dict__.pop(self._name, None)
