"""Compose files in the shapes that large public projects publish: each reads, or is refused for a true reason.

The texts are written for this test; the shapes are those of development stacks, self-hosting bundles, monorepos,
devcontainers and CI set-ups that one meets in the wild.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from portguard.errors import ConfigError
from portguard.sources import compose
from portguard.sources.compose import ComposeProject


class Shape(NamedTuple):
    """A project's files and what it publishes ("service first[-last]/protocol"), or what the refusal must say."""

    files: dict[str, str]
    ports: str = ""
    notes: str = ""
    environ: dict[str, str] = {}  # noqa: RUF012 - never changed
    refused: str = ""


SHAPES = {
    "web, database and cache": Shape(
        {
            "docker-compose.yml": """
version: "3.8"
services:
  web:
    build: .
    command: bundle exec rails s -p 3000 -b '0.0.0.0'
    volumes: [".:/app"]
    ports:
      - "3000:3000"
    depends_on: [db, redis]
  db:
    image: postgres:16
    environment:
      POSTGRES_PASSWORD: secret
    ports:
      - 5432:5432
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -U $$POSTGRES_USER"]
  redis:
    image: redis:7
volumes:
  data:
"""
        },
        "web 3000/tcp, db 5432/tcp",
    ),
    "a framework's generated stack with port variables": Shape(
        {
            "compose.yaml": """
services:
    app.test:
        build:
            context: ./runtimes/8.3
            args: {WWWGROUP: '${WWWGROUP}'}
        extra_hosts: ['host.docker.internal:host-gateway']
        ports:
            - '${APP_PORT:-80}:80'
            - '${VITE_PORT:-5173}:${VITE_PORT:-5173}'
        networks: [sail]
    mysql:
        image: 'mysql/mysql-server:8.0'
        ports: ['${FORWARD_DB_PORT:-3306}:3306']
        environment: {MYSQL_ROOT_HOST: '%'}
networks:
    sail: {driver: bridge}
""",
            ".env": """APP_NAME=Demo
APP_KEY=base64:aGVsbG8=
APP_URL="http://localhost:${APP_PORT}"
FORWARD_DB_PORT=33060
""",
        },
        "app.test 80/tcp, app.test 5173/tcp, mysql 33060/tcp",
    ),
    "a self-hosting bundle with a block of shared settings": Shape(
        {
            "docker-compose.yml": """
x-restart-policy: &restart_policy
  restart: unless-stopped
x-defaults: &defaults
  <<: *restart_policy
  image: "$APP_IMAGE"
  environment: &env
    PYTHONUNBUFFERED: 1
services:
  nginx:
    <<: *restart_policy
    image: "nginx:1.25"
    ports:
      - "$BIND:80/tcp"
  worker:
    <<: *defaults
    environment:
      <<: *env
      ROLE: worker
  smtp: {<<: *restart_policy, image: mail}
""",
            ".env": "COMPOSE_PROJECT_NAME=bundle\nBIND=9000\nAPP_IMAGE=app:nightly\nRETENTION_DAYS=90\n",
        },
        "nginx 9000/tcp",
    ),
    "a broker cluster with several listeners": Shape(
        {
            "docker-compose.yml": """
services:
  broker-1: &broker
    image: broker
    hostname: broker-1
    ports: ["9092:9092", "9101:9101"]
    environment:
      ADVERTISED_LISTENERS: 'PLAINTEXT://broker-1:29092,PLAINTEXT_HOST://localhost:9092'
  broker-2:
    <<: *broker
    ports: ["9093:9092", "9102:9101"]
"""
        },
        "broker-1 9092/tcp, broker-1 9101/tcp, broker-2 9093/tcp, broker-2 9102/tcp",
    ),
    "a search cluster bound to loopback": Shape(
        {
            "docker-compose.yml": """
services:
  es01:
    image: elastic:${STACK_VERSION}
    ports: ["127.0.0.1:${ES_PORT}:9200"]
    ulimits: {memlock: {soft: -1, hard: -1}}
    mem_limit: ${MEM_LIMIT}
  kibana:
    depends_on: {es01: {condition: service_healthy}}
    ports: ["${KIBANA_PORT}:5601"]
""",
            ".env": (
                "STACK_VERSION=8.13.0\nES_PORT=9200\n#ES_PORT=127.0.0.1:9200\nKIBANA_PORT=5601\nMEM_LIMIT=1073741824\n"
            ),
        },
        "es01 9200/tcp, kibana 5601/tcp",
    ),
    "a variable that holds an address and a port": Shape(
        {"docker-compose.yml": "services: {es: {image: x, ports: ['${ES_PORT}:9200']}}",
         ".env": "ES_PORT=127.0.0.1:9200"},
        "es 9200/tcp",
    ),
    "a mail server with mode host and many ports": Shape(
        {
            "compose.yaml": """
services:
  mail:
    image: mail
    hostname: mail.example.org
    ports:
      - "${SMTP_PORT:-25}:25"
      - "465:465"
      - "587:587"
      - "993:993"
    cap_add: [NET_ADMIN]
  dns:
    image: unbound
    ports:
      - {target: 53, published: 53, protocol: udp, mode: host}
      - {target: 53, published: 53, protocol: tcp, mode: host}
"""
        },
        "mail 25/tcp, mail 465/tcp, mail 587/tcp, mail 993/tcp, dns 53/udp, dns 53/tcp",
    ),
    "a home automation host": Shape(
        {
            "docker-compose.yml": """
services:
  home:
    image: home
    network_mode: host
    privileged: true
  broker:
    image: mqtt
    ports: ["1883:1883", "9001:9001"]
"""
        },
        "broker 1883/tcp, broker 9001/tcp",
    ),
    "a media server with host networking that keeps its ports": Shape(
        {"docker-compose.yml":
         "services: {tv: {image: x, network_mode: host, ports: ['32400:32400', '1900:1900/udp']}}"},
        "",
        "ports-unused",
    ),
    "a VPN container that others share": Shape(
        {
            "docker-compose.yml": """
services:
  vpn:
    image: vpn
    ports: ["8080:8080", "6881:6881/udp", "6881:6881/tcp"]
  client:
    image: client
    network_mode: "service:vpn"
"""
        },
        "vpn 8080/tcp, vpn 6881/udp, vpn 6881/tcp",
    ),
    "telephony with a wide range": Shape(
        {"docker-compose.yml": "services: {pbx: {image: x, ports: ['5060:5060/udp', '16384-16484:16384-16484/udp']}}"},
        "pbx 5060/udp, " + ", ".join(f"pbx {port}/udp" for port in range(16384, 16485)),
    ),
    "browsers by the dozen on a range": Shape(
        {"docker-compose.yml":
         "services: {node: {image: x, scale: 4, ports: ['7900-7920:7900']}}"}, "node 7900-7920/tcp"
    ),
    "a monorepo that includes its parts": Shape(
        {
            "compose.yaml": "name: mono\ninclude:\n  - ./infra/compose.yaml\n  - path: ./apps/compose.yaml\n",
            "infra/compose.yaml": "services: {db: {image: x, ports: ['${DB_PORT:-5432}:5432']}}",
            "infra/.env": "DB_PORT=15432\n",
            "apps/compose.yaml": "services: {api: {build: ./api, ports: ['8000:8000'], depends_on: [db]}}",
        },
        "db 15432/tcp, api 8000/tcp",
    ),
    "a file for every environment": Shape(
        {
            "docker-compose.yml": "services: {api: {image: x}, db: {image: y}}",
            "docker-compose.dev.yml": "services: {api: {ports: ['8000:8000']}, db: {ports: ['5432:5432']}}",
            "docker-compose.prod.yml": "services: {api: {ports: ['80:8000']}}",
            ".env": "COMPOSE_FILE=docker-compose.yml:docker-compose.dev.yml\n",
        },
        "api 8000/tcp, db 5432/tcp",
    ),
    "profiles for every back end": Shape(
        {
            "compose.yml": """
services:
  app: {image: app, ports: ["3000:3000"]}
  postgres: {image: postgres, profiles: [postgres], ports: ["5432:5432"]}
  mysql: {image: mysql, profiles: [mysql], ports: ["3306:3306"]}
  tools: {image: tools, profiles: ["postgres", "mysql", "debug"], ports: ["8081:8080"]}
""",
            ".env": "COMPOSE_PROFILES=postgres\n",
        },
        "app 3000/tcp, postgres 5432/tcp, tools 8081/tcp",
    ),
    "common services in a file of their own": Shape(
        {
            "docker-compose.yml": """
services:
  web: {extends: {file: common.yml, service: app}, ports: ["8000:8000"]}
  jobs: {extends: {file: common.yml, service: app}, command: work}
""",
            "common.yml": "services: {app: {build: ., environment: {A: 1}, env_file: [app.env]}}",
        },
        "web 8000/tcp",
    ),
    "a production override that closes the database": Shape(
        {
            "compose.yaml": "services: {db: {image: x, ports: ['5432:5432']}, web: {image: y, ports: ['8080:80']}}",
            "compose.override.yaml":
                "services:\n  db:\n    ports: !reset []\n  web:\n    ports: !override\n      - '443:443'\n",
        },
        "web 443/tcp",
    ),
    "a reverse proxy with labels full of dollars": Shape(
        {
            "compose.yaml": """
services:
  proxy:
    image: traefik
    command: ["--entrypoints.web.address=:80"]
    ports:
      - target: 80
        published: "80"
        host_ip: 0.0.0.0
      - target: 443
        published: "443"
        protocol: udp
    labels:
      - "traefik.http.middlewares.auth.basicauth.users=admin:$$apr1$$H6uskkkW$$IgXLP6ewTrSuBkTrqE8wj/"
"""
        },
        "proxy 80/tcp, proxy 443/udp",
    ),
    "a devcontainer": Shape(
        {
            "docker-compose.yml": """
version: '3.8'
services:
  app:
    build: {context: ., dockerfile: Dockerfile}
    volumes: ["../..:/workspaces:cached"]
    command: sleep infinity
    network_mode: service:db
  db:
    image: postgres:latest
    restart: unless-stopped
    # Add "forwardPorts": ["5432"] to **devcontainer.json** to forward PostgreSQL locally.
volumes:
  postgres-data:
"""
        },
        "",
    ),
    "a data platform with required secrets elsewhere": Shape(
        {
            "docker-compose.yaml": """
x-common:
  &common
  image: ${IMAGE_NAME:-apache:2.9}
  environment:
    &common-env
    FERNET: ${FERNET_KEY:?set one}
  user: "${APP_UID:-50000}:0"
services:
  api:
    <<: *common
    command: api
    ports:
      - "8080:8080"
    environment: {<<: *common-env, X: ''}
  flower:
    <<: *common
    profiles: [flower]
    ports: ["5555:5555"]
"""
        },
        "api 8080/tcp",
    ),
    "ports that only a shell would know": Shape(
        {"docker-compose.yml": "services: {web: {image: x, ports: ['${HOST_PORT}:80', '443:443']}}"},
        "web 443/tcp",
        "random-port",
    ),
    "a model server with devices": Shape(
        {
            "compose.yaml": """
services:
  llm:
    image: llm
    deploy:
      resources:
        reservations:
          devices: [{driver: nvidia, count: all, capabilities: [gpu]}]
    ports: ["${LLM_PORT-11434}:11434"]
  ui: {image: ui, ports: ["${UI_PORT-3000}:8080"], depends_on: [llm]}
models:
  small: {model: ai/small}
"""
        },
        "llm 11434/tcp, ui 3000/tcp",
    ),
    "a blockchain node with tcp, udp and IPv6": Shape(
        {"docker-compose.yml":
         "services: {node: {image: x, ports: ['30303:30303', '30303:30303/udp', '[::1]:8545:8545']}}"},
        "node 30303/tcp, node 30303/udp, node 8545/tcp",
    ),
    "a swarm stack": Shape(
        {
            "docker-compose.yml": """
version: "3.9"
services:
  web:
    image: x
    deploy: {mode: replicated, replicas: 3, update_config: {parallelism: 1}}
    ports: ["8080-8090:80"]
secrets: {key: {external: true}}
configs: {c: {file: ./c}}
"""
        },
        "web 8080-8090/tcp",
    ),
    "generated by a tool, as JSON": Shape(
        {"compose.yaml":
         '{"name": "gen", "services": {"a": {"image": "x", "ports": [{"target": 80, "published": "8080"}]}}}'},
        "a 8080/tcp",
    ),
    "windows line ends and a byte order mark": Shape(
        {"docker-compose.yml":
         "\ufeffservices:\r\n  web:\r\n    image: x\r\n    ports:\r\n      - \"8080:80\"\r\n",
         ".env": "A=1\r\n"},
        "web 8080/tcp",
    ),
    "a file of the first format": Shape(
        {"docker-compose.yml": "web:\n  image: x\n  ports:\n    - '80:80'\ndb:\n  image: y\n"},
        refused="docker-compose.yml:1:1: unknown key 'web' — services are listed below a top-level `services:`",
    ),
    "a template that is not filled in": Shape(
        {"docker-compose.yml": "services:\n  web:\n    image: x\n    ports:\n      - {{ web_port }}:80\n"},
        refused="docker-compose.yml:5:",
    ),
    "an include from elsewhere": Shape(
        {"compose.yaml": "include:\n  - https://github.com/acme/stack.git#main:compose.yaml\nservices: {}\n"},
        refused="compose.yaml:2:5: include: 'https://github.com/acme/stack.git#main:compose.yaml' is not a local file",
    ),
    "a required port": Shape(
        {"compose.yaml": "services:\n  web:\n    image: x\n    ports: ['${WEB_PORT:?see README}:80']\n"},
        refused="compose.yaml:4:13: services.web.ports: required variable WEB_PORT is missing a value: see README",
    ),
    "an address by name": Shape(
        {"compose.yaml": "services:\n  web:\n    image: x\n    ports: ['localhost:8080:80']\n"},
        refused="'localhost' is not an IP address",
    ),
    "a .env with shell in it": Shape(
        {"compose.yaml": "services: {web: {image: x, ports: ['80:80']}}", ".env": "A=1\nif [ -z $B ]; then C=1; fi\n"},
        refused=".env:2:",
    ),
}  # fmt: skip


def resolve(root: Path, environ: dict[str, str]) -> ComposeProject:
    """Find and read the project in `root`."""
    files = compose.find_files(str(root), environ)
    assert files is not None
    return compose.read(files, environ)


@pytest.mark.parametrize("name", SHAPES)
def test_the_project_reads_to_the_ports_it_publishes(name: str, tmp_path: Path) -> None:
    """The project reads to the ports it publishes, or is refused with the true place and reason."""
    shape = SHAPES[name]
    for file, text in shape.files.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    if shape.refused:
        with pytest.raises(ConfigError) as caught:
            resolve(tmp_path, shape.environ)
        assert any(shape.refused in message for message in caught.value.messages), caught.value.messages
        return
    found = resolve(tmp_path, shape.environ)
    ports = [
        f"{port.service} {port.first}{f'-{port.last}' * (port.last > port.first)}/{port.protocol}"
        for port in found.ports
    ]

    assert ", ".join(ports) == shape.ports
    assert ", ".join(note.id for note in found.notes) == shape.notes


def test_there_are_enough_shapes() -> None:
    """At least 25 of them, most of which read."""
    assert len(SHAPES) >= 25
    assert sum(not shape.refused for shape in SHAPES.values()) >= 20
