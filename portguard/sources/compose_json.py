"""The model that `docker compose config --format json` prints, to a ComposeProject.

Everything is resolved in it already: inactive services are gone, ports are in the long form, `published` is a string (a
number, a range, or absent). Anything else is refused.
"""

from __future__ import annotations

from portguard.errors import ConfigError
from portguard.sources import port_spec
from portguard.sources.compose_merge import Field, PortEntry, Service
from portguard.sources.compose_result import ComposeProject, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIZE_LIMIT = 16 * 1024 * 1024  # characters


def read(text: str, source: str, working_dir: str) -> ComposeProject:
    """Return the project of a resolved model; `source` names it in messages. Raises ConfigError with all problems."""
    import json

    if len(text) > SIZE_LIMIT:
        raise ConfigError((f"{source}: is larger than {SIZE_LIMIT // 1024} KiB",))
    try:
        model = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError((f"{source}: is not JSON: {error}",)) from error
    if not isinstance(model, dict) or not isinstance(model.get("name"), str) or not model["name"]:
        raise ConfigError((f"{source}: is not a compose model: it has no name",))
    services = {} if model.get("services") is None else model["services"]
    if not isinstance(services, dict):
        raise ConfigError((f"{source}: is not a compose model: services is not a mapping",))
    problems: list[str] = []
    result = Result("")
    for name, value in services.items():
        try:
            result.add(_service(name, value, source), problems)
        except (port_spec.PortError, TypeError, ValueError) as error:
            problems.append(f"{source}: services.{name}: {error}")
    if problems:
        raise ConfigError(tuple(problems))
    return ComposeProject(
        name=model["name"],
        working_dir=working_dir,
        files=(),
        env_files=(),
        services=tuple(services),
        ports=tuple(result.ports),
        notes=tuple(result.notes),
        host_network=tuple(result.host_network),
    )


def _service(name: str, value: Any, source: str) -> Service:
    value = _expect(value, dict, "a service")
    fields: dict[str, Field] = {}
    ports = _expect([] if value.get("ports") is None else value["ports"], list, "ports")
    fields["ports"] = Field(tuple(PortEntry(_mapping(port), source, 0) for port in ports))
    deploy = _expect({} if value.get("deploy") is None else value["deploy"], dict, "deploy")
    for key, number in (("scale", value.get("scale")), ("replicas", deploy.get("replicas"))):
        if number is not None:
            fields[key] = Field(_expect(number, int, key))
    if value.get("network_mode") is not None:
        fields["network_mode"] = Field(_expect(value["network_mode"], str, "network_mode"))
    return Service(name, source, 0, fields)


def _mapping(port: Any) -> port_spec.PortMapping:
    port = _expect(port, dict, "a port")
    target = _expect(port.get("target"), int, "target")
    published = port.get("published")
    text = "" if published is None else str(_expect(published, (str, int), "published"))
    host_ip = _expect(port.get("host_ip") or "", str, "host_ip")
    return port_spec.long_form(target, text, host_ip, _expect(port.get("protocol") or "tcp", str, "protocol"))


def _expect(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{what} is {str(value)[:60]!r}")
    return value
