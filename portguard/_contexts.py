"""`contextmanager`, `suppress` and `once` without `contextlib` and `functools`, a quarter of the interpreter's start.

For the lease store, which `free` opens each time; everything off the hot path uses the real ones. A manager made here
can be used once, its generator yields once and does not swallow what is raised. Type checkers see the real ones.
"""

from __future__ import annotations

__all__ = ["contextmanager", "once", "suppress"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import contextmanager, suppress
    from typing import Any, Generic, TypeVar, overload

    _T = TypeVar("_T")

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

    class _Section:
        def __init__(self, generator):
            self._generator = generator

        def __enter__(self):
            return next(self._generator)

        def __exit__(self, kind, error, trace):
            try:
                if error is None:
                    next(self._generator)
                else:
                    self._generator.throw(error)
            except StopIteration:
                return False
            except BaseException as raised:
                # A generator that is thrown StopIteration raises RuntimeError from it (PEP 479).
                if raised is error or (isinstance(error, StopIteration) and raised.__cause__ is error):
                    return False
                raise
            raise RuntimeError("a section ends once")

    def contextmanager(function):
        def start(*values, **named):
            return _Section(function(*values, **named))

        start.__doc__ = function.__doc__
        return start

    class suppress:  # noqa: N801 - the name of what it stands for
        def __init__(self, *kinds):
            self._kinds = kinds

        def __enter__(self):
            return None

        def __exit__(self, kind, error, trace):
            return kind is not None and issubclass(kind, self._kinds)
