"""The model that compose resolved itself, and what the reader costs when it is not needed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from portguard.errors import ConfigError
from portguard.sources import compose
from tests.conftest import Run
from tests.sources.reading import published

CONFIG = {
    "name": "app",
    "services": {
        "web": {
            "deploy": {"replicas": 2},
            "ports": [
                {"mode": "ingress", "target": 80, "published": "8000-8002", "protocol": "tcp"},
                {"mode": "ingress", "target": 53, "published": "53", "protocol": "udp", "host_ip": "127.0.0.1"},
                {"mode": "ingress", "target": 81, "protocol": "tcp"},
                {"mode": "ingress", "target": 82, "published": "0", "protocol": "tcp"},
                {"mode": "ingress", "target": 83, "published": "83", "protocol": "sctp"},
            ],
        },
        "net": {"network_mode": "host"},
        "db": {},
    },
}


def test_the_model_that_compose_resolved_itself_gives_the_same_records() -> None:
    """The model that compose resolved itself gives the same records."""
    found = compose.from_config_json(json.dumps(CONFIG), working_dir="/srv/app")

    assert published(found) == {"web :8000-8002->80/tcp x2", "web 127.0.0.1:53->53/udp x2"}
    assert (found.name, found.working_dir, found.services) == ("app", "/srv/app", ("web", "net", "db"))
    assert found.host_network == ("net",)
    assert [note.id for note in found.notes] == ["protocol-not-checked"]
    assert {(port.file, port.line) for port in found.ports} == {("docker compose config", 0)}


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", '{"services": {}}', '{"name": 1}', '{"name": "a", "services": []}', "[" * 100_000,
        '{"name": "a", "services": {"w": 1}}', '{"name": "a", "services": {"w": {"ports": {}}}}',
        '{"name": "a", "services": {"w": {"ports": [{}]}}}',
        '{"name": "a", "services": {"w": {"ports": [{"target": true}]}}}',
        '{"name": "a", "services": {"w": {"ports": [{"target": 1, "published": "x"}]}}}',
        '{"name": "a", "services": {"w": {"ports": [{"target": 1, "published": [1]}]}}}',
        '{"name": "a", "services": {"w": {"scale": "2"}}}',
    ],
)  # fmt: skip
def test_config_json_refused(text: str) -> None:
    """Anything but such a model is refused with our own error."""
    with pytest.raises(ConfigError, match="docker compose config: "):
        compose.from_config_json(text)


def test_yaml_is_loaded_only_when_a_compose_file_is_read() -> None:
    """Importing the reader, finding nothing, and `.env` cost no PyYAML."""
    program = (
        "import sys\n"
        "sys.path.append(sys.argv[1])\n"
        "from portguard.sources import compose, dotenv\n"
        "compose.find_files('/nowhere/at/all', {}); dotenv.assignments('A=1')\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('yaml', 'json', 'typing', 'difflib')])"
    )

    # Without site-packages, whose .pth files import what they like.
    command = [sys.executable, "-S", "-c", program, str(Path(compose.__file__).parents[2])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_plugin_resolves_where_it_was_asked_to(tmp_path: Path, portguard: Run) -> None:
    """`check --compose-config` takes what `docker compose config` prints; it refuses: exit 2, it cannot be run: 3."""
    (tmp_path / "compose.yaml").write_text("services: {web: {image: x, ports: ['1:1']}}\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    recorded = {
        "name": "shop",
        "services": {"web": {"ports": [{"mode": "ingress", "target": 80, "published": str(port), "protocol": "tcp"}]}},
    }
    (tmp_path / "recorded.json").write_text(json.dumps(recorded))
    docker = tools / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\ncat {tmp_path}/recorded.json\n')
    docker.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tools}:/usr/bin:/bin"}

    done = portguard("check", "--compose-config", "--json", env=environ)
    docker.write_text("#!/bin/sh\nexit 1\n")
    refused = portguard("check", "--compose-config", env=environ)
    docker.chmod(0o644)
    unable = portguard("check", "--compose-config", env={**environ, "PATH": str(tools)})

    (entry,) = json.loads(done.stdout)["data"]["ports"]
    assert (entry["name"], entry["port"], entry["service"]) == ("web:80/tcp", port, "web")
    called = (tmp_path / "called").read_text()
    assert called.startswith("compose --project-directory ")
    assert called.endswith("config --format json\n")
    assert (refused.returncode, unable.returncode) == (2, 3)
    assert "omit --compose-config" in refused.stderr
    assert "docker could not be run" in unable.stderr
    assert "omit --compose-config" in unable.stderr
