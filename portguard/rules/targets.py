"""What a person types for a port: `3000`, `53/udp`, `127.0.0.1:5432`, `[::1]:5432`, or a declared name. Pure."""

from __future__ import annotations

from portguard.errors import UsageError
from portguard.model import PROTOCOLS, Declaration, Source
from portguard.rules.addresses import canonical
from portguard.rules.ranges import LAST_PORT, decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from portguard.model import Protocol

_EXAMPLES = "3000, 53/udp, 127.0.0.1:5432, [::1]:5432"


def is_name(text: str) -> bool:
    """Whether `text` may name a declaration: `[a-z0-9][a-z0-9._-]*`, not all digits."""
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789"
    return bool(text) and text[0] in allowed and not text.strip(allowed + "._-") and not text.isdigit()


def is_service(text: str) -> bool:
    """Whether `text` may be the name of a compose service (compose-spec: `[a-zA-Z0-9._-]+`) or of a declaration."""
    allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return bool(text) and text[0] in allowed and not text.strip(allowed + "._-")


def is_variable(text: str) -> bool:
    """Whether `text` may name the variable that moves a port: up to 64 of A-Z 0-9 _, beginning with a letter."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return 0 < len(text) <= 64 and text[0] in letters and not text.strip(letters + "0123456789_")


def changes_programs(variable: str) -> bool:
    """Whether programs run otherwise with this variable; a port number in it would at best break the shell.

    At worst it is the name of a file or a directory beside the caller, out of which shells and interpreters run code.
    """
    names = (
        "PATH HOME SHELL IFS ENV BASH_ENV ZDOTDIR PROMPT_COMMAND NODE_OPTIONS NODE_PATH PERL5LIB PERL5OPT RUBYLIB "
        "RUBYOPT BUNDLE_GEMFILE CLASSPATH MAKEFILES MAKEFLAGS OPENSSL_CONF XDG_CONFIG_HOME DOCKER_CONFIG DOCKER_HOST "
        "COMPOSE_FILE KUBECONFIG"
    )
    return variable in names.split() or variable.startswith(("LD_", "DYLD_", "PYTHON", "GIT_", "GITHUB_"))


def parse_target(text: str) -> Declaration | tuple[str, Protocol | None]:
    """Return a declaration for a port, or (name, protocol or None) for a declared name.

    Raises UsageError for anything else.
    """
    base, slash, suffix = text.partition("/")
    if slash and suffix not in PROTOCOLS:
        raise UsageError(f"{text!r}: the protocol after the slash is tcp or udp", f"write for instance {_EXAMPLES}")
    protocol: Protocol | None = "udp" if suffix == "udp" else "tcp" if suffix == "tcp" else None
    host, colon, number = base.rpartition(":")
    if not (number.isascii() and number.isdigit()):
        if not colon and is_service(base):
            return base, protocol
        raise UsageError(f"{text!r} is neither a port nor the name of a declaration", f"write for instance {_EXAMPLES}")
    if colon and slash and is_service(host) and canonical(host) is None:
        return text, None  # as declarations read from compose files are named
    address = _host_of(text, host) if colon else "*"
    port = _port_of(text, number)
    return Declaration(text, port, port, Source(None, None), (protocol or "tcp",), (address,), is_ad_hoc=True)


def parse_port(text: str) -> Declaration:
    """Return a declaration for a port. Raises UsageError for anything else, names among it."""
    target = parse_target(text)
    if not isinstance(target, Declaration):
        raise UsageError(f"{text!r} is not a port", f"write for instance {_EXAMPLES}")
    return target


def _port_of(text: str, number: str) -> int:
    port = decimal(number)
    if port is None or port > LAST_PORT:
        raise UsageError(f"{text!r}: ports are 1 to {LAST_PORT}")
    if port == 0:
        raise UsageError(f"{text!r}: port 0 means any free one", "ask for one: portguard free")
    return port


def _host_of(text: str, host: str) -> str:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    address = canonical(bare)
    if address is None or (":" in bare and bare == host):
        # `::1:80` misses brackets, and `::1` a port as well.
        meant = next((word for word in (host, text.partition("/")[0]) if ":" in word and canonical(word)), None)
        written = "127.0.0.1" if meant is None else f"[{meant}]"
        raise UsageError(f"{text!r}: {host!r} is not an address", f"write {written}:PORT, *:PORT or localhost:PORT")
    return address


def select(
    declarations: Sequence[Declaration], names: Sequence[tuple[str, Protocol | None]], where: str
) -> list[Declaration]:
    """Return the declarations of these names, narrowed to the protocol where one was given, in the order asked.

    A compose service's name stands for all that it publishes. `where` says in an error which file was searched. Raises
    UsageError for an unknown name.
    """
    chosen: list[Declaration] = []
    for name, protocol in names:
        found = [item for item in declarations if item.name == name]
        found = found or [item for item in declarations if item.is_published and item.service == name]
        if not found:
            raise UsageError(f"{where} declares no {name!r}", _similar(name, [item.name for item in declarations]))
        fitting = [item for item in found if protocol is None or protocol in item.protocols]
        if not fitting:
            declared = "/".join(dict.fromkeys(known for item in found for known in item.protocols))
            raise UsageError(f"{name!r} is declared for {declared}, not {protocol}")
        chosen += [item if protocol is None else item._replace(protocols=(protocol,)) for item in fitting]
    return chosen


def _similar(name: str, names: Iterable[str]) -> str:
    import difflib  # only on the way to an error

    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"declared are: {', '.join(known)}" if known else "it declares no ports"
