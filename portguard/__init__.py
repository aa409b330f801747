"""portguard: would every port this project needs bind, now; who holds it if not; and a free one no one else is given.

    >>> import portguard
    >>> report = portguard.check("127.0.0.1:5432")     # doctest: +SKIP
    >>> report.ports[0].verdict                        # doctest: +SKIP
    'free'
    >>> portguard.free_port()                          # doctest: +SKIP
    61234

Importing this loads nothing but itself; the first use of a name loads what it needs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from portguard.api.check import check as check
    from portguard.api.env import env as env
    from portguard.api.free import free as free
    from portguard.api.free import free_port as free_port
    from portguard.api.free import free_ports as free_ports
    from portguard.api.hold import Held as Held
    from portguard.api.hold import hold as hold
    from portguard.api.info import info as info
    from portguard.api.kill import kill as kill
    from portguard.api.leases import list_leases as list_leases
    from portguard.api.lint import lint as lint
    from portguard.api.listing import list_ports as list_ports
    from portguard.api.wait import wait as wait
    from portguard.api.who import who as who
    from portguard.errors import ConfigError as ConfigError
    from portguard.errors import ConflictError as ConflictError
    from portguard.errors import LockTimeoutError as LockTimeoutError
    from portguard.errors import NoFreePortError as NoFreePortError
    from portguard.errors import PortguardError as PortguardError
    from portguard.errors import StateError as StateError
    from portguard.errors import UsageError as UsageError
    from portguard.model import CheckReport as CheckReport
    from portguard.model import Connection as Connection
    from portguard.model import EnvPort as EnvPort
    from portguard.model import EnvReport as EnvReport
    from portguard.model import Failure as Failure
    from portguard.model import Finding as Finding
    from portguard.model import FreePort as FreePort
    from portguard.model import FreeReport as FreeReport
    from portguard.model import Holder as Holder
    from portguard.model import KillAction as KillAction
    from portguard.model import KillPort as KillPort
    from portguard.model import KillReport as KillReport
    from portguard.model import LeaseInfo as LeaseInfo
    from portguard.model import LintReport as LintReport
    from portguard.model import Listener as Listener
    from portguard.model import Listing as Listing
    from portguard.model import Note as Note
    from portguard.model import PortInfo as PortInfo
    from portguard.model import PortReport as PortReport
    from portguard.model import Process as Process
    from portguard.model import Source as Source
    from portguard.model import WaitPort as WaitPort
    from portguard.model import WaitReport as WaitReport
    from portguard.model import WhoPort as WhoPort
    from portguard.model import WhoReport as WhoReport

__version__ = "0.1.0"

_HOMES = {
    "portguard.api.check": ("check",),
    "portguard.api.env": ("env",),
    "portguard.api.free": ("free", "free_port", "free_ports"),
    "portguard.api.hold": ("Held", "hold"),
    "portguard.api.info": ("info",),
    "portguard.api.kill": ("kill",),
    "portguard.api.leases": ("list_leases",),
    "portguard.api.lint": ("lint",),
    "portguard.api.listing": ("list_ports",),
    "portguard.api.wait": ("wait",),
    "portguard.api.who": ("who",),
    "portguard.errors": (
        "ConfigError",
        "ConflictError",
        "LockTimeoutError",
        "NoFreePortError",
        "PortguardError",
        "StateError",
        "UsageError",
    ),
    "portguard.model": (
        "CheckReport",
        "Connection",
        "EnvPort",
        "EnvReport",
        "Failure",
        "Finding",
        "FreePort",
        "FreeReport",
        "Holder",
        "KillAction",
        "KillPort",
        "KillReport",
        "LeaseInfo",
        "LintReport",
        "Listener",
        "Listing",
        "Note",
        "PortInfo",
        "PortReport",
        "Process",
        "Source",
        "WaitPort",
        "WaitReport",
        "WhoPort",
        "WhoReport",
    ),
}

__all__ = [name for names in _HOMES.values() for name in names]


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            import importlib  # already loaded by the interpreter

            value: object = getattr(importlib.import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'portguard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
