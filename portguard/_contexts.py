"""`contextmanager` and `suppress` without the import of `contextlib`, which costs a quarter of the interpreter's start.

For the lease store, which `free` opens each time; everything off the hot path uses the real ones. A manager made here
can be used once, its generator yields once and does not swallow what is raised. Type checkers see the real ones.
"""

from __future__ import annotations

__all__ = ["contextmanager", "suppress"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import contextmanager, suppress
else:

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
