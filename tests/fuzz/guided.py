"""Guided by coverage: atheris (libFuzzer for Python) in a process of its own, which it ends itself.

`python -m tests.fuzz.guided TARGET NOTE ARGUMENTS...`; NOTE is the file for the figures, the rest is libFuzzer's.
"""

from __future__ import annotations

import importlib
import pkgutil
import resource
import sys
from pathlib import Path

from tests.fuzz import harness
from tests.fuzz.measure import Watch

_MEMORY = 8 << 30  # bytes of addresses: anyone who asks for more gets a MemoryError, and spares the machine


def main(target: str, note: str, *arguments: str) -> None:
    """Fuzz until libFuzzer has enough."""
    import atheris

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with atheris.instrument_imports(include=["portguard"]):
        import portguard

        for module in pkgutil.walk_packages(portguard.__path__, "portguard."):
            if not module.name.endswith(("__main__", "pytest_plugin")):
                importlib.import_module(module.name)
        fuzz = harness(target)
    atheris.Setup([sys.argv[0], *arguments], Watch(fuzz, Path(note)))
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
