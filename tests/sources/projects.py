"""Compose projects to compare with docker-compose 1.29: by hand from its features, and made by a seeded maker."""

from __future__ import annotations

import random
from typing import NamedTuple


class Case(NamedTuple):
    """A project: its files, where and how it is asked, and why 1.29 is known to differ (a key of EXPLAINED)."""

    name: str
    files: dict[str, str]
    environ: dict[str, str] = {}  # noqa: RUF012 - never changed
    cwd: str = "."
    named: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    differs: str | None = None


EXPLAINED = {
    "base 60": "1.29 loads YAML 1.1 by PyYAML: an unquoted 2222:22 is a number to base 60; go-yaml keeps it a string",
    "upper case": "1.29 wants the protocol in lower case; go-connections lowers it",
    "plus": "1.29 has no ${VAR:+text}; the template is invalid to it",
    "nesting": "1.29 ends a reference at the first brace; compose-go expands defaults",
    "single quotes": "1.29 (python-dotenv) expands single-quoted values of .env; compose-go takes them literally",
    "bare dollar": "1.29 (python-dotenv) does not expand $A without braces in .env; compose-go does",
    "colon": "1.29 (python-dotenv) knows no KEY: value; compose-go does",
    "bad .env": "1.29 (python-dotenv) passes over a malformed line with a warning; compose-go refuses the file",
    "unspecified": "1.29 keeps 8080:80 beside 0.0.0.0:8080:80; compose-go counts them as one",
    "tags": "1.29 has no !override and !reset",
    "include": "1.29 has no include",
    "name": "1.29 has no top-level name",
    "long form": "1.29 wants integers and knows no host_ip and no ranges in the long form",
    "no host port": "1.29 refuses :81; to go-connections it is any free port",
    "host ports": "1.29 prints the ports of a host-network service (and fails in `up`); nothing is published",
    "names": "1.29 prefers docker-compose.yml to compose.yaml; compose-go the other way round",
    "address": "1.29 takes any text of digits, dots and colons as address; go-connections wants an IP address",
    "range": "1.29 does not mind a range that ends before it begins, or a number that is not a port",
    "working directory": "1.29 reads the .env of the working directory only; compose-go that of the project too",
    "scaled away": "1.29 still prints the ports of a service with scale 0; none is published",
    "duplicate": "1.29's schema wants the entries of a list to be unique as written; compose-go drops repetitions",
    "replicas": "1.29 takes scale and deploy.replicas that differ; compose-go refuses them",
    "container_name": "1.29 refuses a shared container_name only in `up`; compose-go when it reads",
    "documents": "1.29 reads one YAML document a file; compose-go merges all",
    "several .env": "1.29 has no COMPOSE_ENV_FILES",
}


def web(*ports: str, more: str = "") -> str:
    """Return a file with one service `web`."""
    items = "".join(f"      - {port}\n" for port in ports)
    return f"services:\n  web:\n    image: x\n{more}    ports:\n{items}"


def _single(name: str, text: str, **options: object) -> Case:
    return Case(name, {"docker-compose.yml": text}, **options)  # type: ignore[arg-type]


BY_HAND: list[Case] = [
    _single("short", web('"8080:80"', '"127.0.0.1:5432:5432"', '"53:53/udp"')),
    _single("a number", web("80", "8080")),
    _single("a range onto a range", web('"9090-9092:8080-8082"')),
    _single("a range onto one", web('"8000-8002:80"')),
    _single("a range with an address", web('"127.0.0.1:5000-5003:5000-5003/udp"')),
    _single("random", web('"80"', '"127.0.0.1::82"', '"3000-3002"')),
    _single("leading zero", web('"08080:80"', '"0443:443"')),
    _single("both protocols", web('"53:53/udp"', '"53:53/tcp"', '"54:54/sctp"')),
    _single("bare IPv6", web('"::1:6000:6000"')),
    _single("long", web("{target: 80, published: 8080}", "{target: 53, published: 53, protocol: udp, mode: host}")),
    _single("long and short", web("{target: 80, published: 8080}", '"8081:81"', "{target: 82}")),
    _single("unquoted beyond base 60", web("8080:80", "5432:5432", "9000:9000")),
    _single("defaults", web('"${P:-8080}:80"', '"${Q-8081}:81"', '"${E:-8082}:82"'), environ={"E": ""}),
    _single("set variables", web('"${P}:80"', '"$Q:81"', '"${P:-1}:82/udp"'), environ={"P": "7001", "Q": "7002"}),
    _single("required and there", web('"${P:?no port}:80"', '"${Q?}:81"'), environ={"P": "7001", "Q": "7002"}),
    _single("required and missing", web('"${P:?no port}:80"')),
    _single("required and empty", web('"${P:?no port}:80"'), environ={"P": ""}),
    _single("unset is random", web('"${NOTHING}:80"', '"1:81"'), differs="no host port"),
    _single("an escaped dollar", web('"8080:80"', more='    command: "echo $${HOME} $$"\n')),
    _single("invalid template", web('"${:80"')),
    _single("a space in a reference", web('"${P }:80"')),
    _single("a digit reference", web('"${1}:80"')),
    Case("dotenv", {"docker-compose.yml": web('"${P}:80"', '"${Q}:81"'), ".env": "P=7001\n# c\nexport Q=7002 # c\n"}),
    Case("dotenv and environment", {"docker-compose.yml": web('"${P}:80"'), ".env": "P=7001\n"}, {"P": "7009"}),
    Case("dotenv with references", {"docker-compose.yml": web('"${Q}:80"'), ".env": 'P=70\nQ="${P}01"\n'}),
    Case("dotenv double quotes", {"docker-compose.yml": web('"${Q}:80"'), ".env": 'Q="7001" # c\nR="a\nb"\n'}),
    Case("dotenv empty", {"docker-compose.yml": web('"${Q:-5}:80"'), ".env": "Q=\n"}),
    Case("dotenv with a mark", {"docker-compose.yml": web('"${Q}:80"'), ".env": "\ufeffQ=71\n"}),
    Case("override", {"docker-compose.yml": web('"1:1"'), "docker-compose.override.yml": web('"2:2"', '"1:1"')}),
    Case("compose.yml", {"compose.yml": web('"1:1"'), "compose.override.yml": web('"2:2"')}),
    Case("compose.yaml", {"compose.yaml": web('"1:1"')}),
    Case("docker-compose.yaml", {"docker-compose.yaml": web('"1:1"'), "docker-compose.override.yaml": web('"2:2"')}),
    Case("from below", {"docker-compose.yml": web('"1:1"', '"${P:-1}:2"'), "a/b/.env": "P=3"}, cwd="a/b"),
    Case("two named", {"a/one.yml": web('"1:1"'), "two.yml": web('"${P:-2}:2"'), "a/.env": "P=3"},
         named=("a/one.yml", "two.yml")),
    Case("COMPOSE_FILE", {"one.yml": web('"1:1"'), "two.yml": web('"2:2"')}, {"COMPOSE_FILE": "one.yml:two.yml"}),
    Case("COMPOSE_FILE in .env", {
        "one.yml": web('"1:1"'), "two.yml": web('"2:2"'), ".env": "COMPOSE_FILE=one.yml:two.yml"}),
    Case("COMPOSE_PATH_SEPARATOR", {"one.yml": web('"1:1"'), "two.yml": web('"2:2"')},
         {"COMPOSE_FILE": "one.yml,two.yml", "COMPOSE_PATH_SEPARATOR": ","}),
    Case("COMPOSE_FILE missing", {"one.yml": web('"1:1"')}, {"COMPOSE_FILE": "one.yml:gone.yml"}),
    _single("anchors", "x-p: &p ['1:1', '2:2']\nservices:\n  a: {image: x, ports: *p}\n  b: {image: x, ports: *p}\n"),
    _single("merge keys",
            "x-b: &b {image: x, ports: ['1:1']}\nservices:\n  a: {<<: *b}\n  b: {<<: *b, ports: ['2:2']}\n"),
    _single("merge keys of a list",
            "x-a: &a {image: x, ports: ['1:1']}\nx-b: &b {image: y, ports: ['2:2']}\nservices: {a: {<<: [*b, *a]}}\n"),
    _single("extends here",
            "services:\n  a: {image: x, ports: ['1:1']}\n  b: {extends: {service: a}, ports: ['2:2']}\n"),
    _single("extends a chain", "services:\n  a: {image: x, ports: ['1:1']}\n  b: {extends: {service: a}}\n"
            "  c: {extends: {service: b}, ports: ['3:3', '1:1']}\n"),
    Case("extends there", {
        "docker-compose.yml": "services: {a: {extends: {file: lib/b.yml, service: b}, ports: ['1:1']}}",
        "lib/b.yml": "services: {b: {image: x, ports: ['${P:-2}:2']}, c: {image: x, ports: ['9:9']}}"}),
    Case("extends there and further", {
        "docker-compose.yml": "services: {a: {extends: {file: lib/b.yml, service: b}}}",
        "lib/b.yml": "services: {b: {extends: {file: more/c.yml, service: c}, ports: ['1:1']}}",
        "lib/more/c.yml": "services: {c: {image: x, ports: ['2:2']}}"}),
    Case("extends nobody", {"docker-compose.yml": "services: {a: {image: x, extends: {service: gone}}}"}),
    Case("extends in circles", {"docker-compose.yml":
         "services: {a: {image: x, extends: {service: b}}, b: {image: x, extends: {service: a}}}"}),
    Case("extends a missing file", {"docker-compose.yml":
         "services: {a: {image: x, extends: {file: gone.yml, service: a}}}"}),
    _single("a profile that is off", "services:\n  a: {image: x, ports: ['1:1']}\n"
            "  b: {image: x, profiles: [dev], ports: ['2:2']}\n"),
    _single("a profile that is on", "services:\n  a: {image: x, ports: ['1:1']}\n"
            "  b: {image: x, profiles: [dev], ports: ['2:2']}\n", profiles=("dev",)),
    _single("COMPOSE_PROFILES", "services:\n  a: {image: x, profiles: [a], ports: ['1:1']}\n"
            "  b: {image: x, profiles: [b, c], ports: ['2:2']}\n  d: {image: x, profiles: [d], ports: ['3:3']}\n",
            environ={"COMPOSE_PROFILES": "a,c"}),
    _single("scale", web('"8000-8002:80"', more="    scale: 3\n")),
    _single("replicas", web('"8000-8002:80"', more="    deploy: {replicas: 2}\n")),
    _single("expose publishes nothing", "services: {a: {image: x, expose: ['80'], ports: []}}\n"),
    _single("no ports", "services: {a: {image: x}}\n"),
    _single("a version", "version: '3.8'\n" + web('"1:1"', "{target: 2, published: 2}")),
    _single("an old version", "version: '2.4'\n" + web('"1:1"', '"5-6:5-6/udp"', more="    scale: 2\n")),
    _single("JSON", '{"services": {"a": {"image": "x", "ports": ["1:1", "127.0.0.1:2:2"]}}}'),
    _single("ports are a string", "services: {a: {image: x, ports: '1:1'}}\n"),
    _single("a port is a boolean", "services: {a: {image: x, ports: [true]}}\n"),
    _single("no port at all", web('""')),
    _single("no container port", web('"8080:"')),
    _single("an unknown protocol", web('"53:53/foo"')),
    _single("ranges that differ", web('"8000-8002:80-81"')),
    _single("a space", web('" 8080:80"')),
    _single("an unknown key at the top", "service: {}\n" + web('"1:1"')),
    _single("a misspelt key", "services: {a: {image: x, port: ['1:1']}}\n"),
    _single("a service that is nothing", "services: {a: }\n"),
    _single("services are a list", "services: [a]\n"),
    _single("broken YAML", "services:\n  a: b: c\n"),
    _single("an unknown anchor", "services: *gone\n"),
    _single("empty", ""),
    _single("a string", "hello\n"),
    # Where 1.29 and compose-go part.
    _single("below base 60", web("2222:22", "21:21"), differs="base 60"),
    _single("brackets", web('"[::1]:6001:6001"')),
    _single("upper case", web('"53:53/UDP"'), differs="upper case"),
    _single("plus", web('"${P:+81}:80"'), environ={"P": "1"}, differs="plus"),
    _single("nesting", web('"${P:-${Q:-82}}:80"'), differs="nesting"),
    Case("single quotes", {"docker-compose.yml": web('"${Q:?}"'), ".env": "P=1\nQ='${P}2:80'\n"},
         differs="single quotes"),
    Case("bare dollar", {"docker-compose.yml": web('"${Q:?}:80"'), ".env": "P=1\nQ=$P\n"}, differs="bare dollar"),
    Case("colon", {"docker-compose.yml": web('"${Q:?}:80"'), ".env": "Q: 9\n"}, differs="colon"),
    Case("bad .env", {"docker-compose.yml": web('"1:1"'), ".env": "lol$wut\n"}, differs="bad .env"),
    _single("unspecified", web('"1:1"', '"0.0.0.0:1:1"'), differs="unspecified"),
    Case("tags", {"docker-compose.yml": web('"1:1"'), "docker-compose.override.yml":
         "services: {web: {ports: !override ['2:2']}}"}, differs="tags"),
    Case("include", {"docker-compose.yml": "include: [a.yml]\n", "a.yml": web('"1:1"')}, differs="include"),
    _single("name", "name: x\n" + web('"1:1"'), differs="name"),
    _single("long form", web('{target: 80, published: "8000-8002", host_ip: 127.0.0.1}'), differs="long form"),
    _single("host ports", web('"1:1"', more="    network_mode: host\n"), differs="host ports"),
    Case("names", {"docker-compose.yml": web('"1:1"'), "compose.yaml": web('"2:2"')}, differs="names"),
    _single("address", web('"1.2.3:1:1"'), differs="address"),
    _single("range", web('"8002-8000:80"'), differs="range"),
    _single("no port number", web('"65536:1"'), differs="range"),
    Case("working directory", {"docker-compose.yml": web('"${P:-1}:1"'), ".env": "P=2", "a/b.txt": ""}, cwd="a",
         differs="working directory"),
    _single("no host port", web('":81"'), differs="no host port"),
    _single("scaled away", web('"1:1"', more="    scale: 0\n"), differs="scaled away"),
    _single("duplicate", web('"1:1"', '"1:1"'), differs="duplicate"),
    _single("replicas that differ", web('"1:1"', more="    scale: 2\n    deploy: {replicas: 3}\n"), differs="replicas"),
    _single("container_name", web('"1-2:1"', more="    scale: 2\n    container_name: c\n"), differs="container_name"),
    _single("documents", web('"1:1"') + "---\n" + web('"2:2"'), differs="documents"),
    Case("several .env", {"docker-compose.yml": web('"${P:-1}:1"'), "b.env": "P=2"}, {"COMPOSE_ENV_FILES": "b.env"},
         differs="several .env"),
]  # fmt: skip


def made(count: int, seed: int = 20) -> list[Case]:
    """Return projects made at random, always the same for a seed; only features that both versions have."""
    dice = random.Random(seed)
    return [_Maker(dice, f"made {number}").case() for number in range(count)]


class _Maker:
    """Makes one project. Ports are quoted, and never written twice alike in one list."""

    def __init__(self, dice: random.Random, name: str) -> None:
        self.dice = dice
        self.name = name
        self.variables: dict[str, str] = {}
        self.environ: dict[str, str] = {}

    def _variable(self, value: int) -> str:
        """Return a reference that gives `value`."""
        dice = self.dice
        name = f"P{dice.randrange(10**6)}"
        kind = dice.randrange(6)
        if kind == 0:
            return f"${{{name}:-{value}}}"
        if kind == 1:
            return f"${{{name}-{value}}}"
        target = self.environ if kind in (2, 3) else self.variables
        target[name] = str(value)
        if kind == 2:
            self.variables[name] = str(value + 1)
        return dice.choice((f"${{{name}}}", f"${name}", f"${{{name}:-1}}", f"${{{name}:?missing}}"))

    def _number(self, value: int) -> str:
        return self._variable(value) if self.dice.random() < 0.3 else str(value)

    def _port(self) -> str:
        dice = self.dice
        host, target = dice.randrange(1024, 60000), dice.randrange(1, 60000)
        protocol = dice.choice(("", "", "", "/tcp", "/udp"))
        address = dice.choice(("", "", "", "127.0.0.1:", "0.0.0.0:", "10.1.2.3:"))
        kind = dice.randrange(10)
        if kind < 5:
            return f'"{address}{self._number(host)}:{target}{protocol}"'
        if kind == 5:
            more = dice.randrange(1, 5)
            return f'"{address}{host}-{host + more}:{target}-{target + more}{protocol}"'
        if kind == 6:
            return f'"{address}{host}-{host + dice.randrange(1, 9)}:{target}{protocol}"'
        if kind == 7:
            return dice.choice((str(target), f'"{target}{protocol}"', f'"127.0.0.1::{target}"'))
        extra = dice.choice(("", ", protocol: udp", ", protocol: tcp", ", mode: host"))
        return f"{{target: {target}, published: {host}{extra}}}"

    def _ports(self, known: list[str]) -> list[str]:
        ports = {self._port(): None for _ in range(self.dice.randrange(5))}
        if known and self.dice.random() < 0.3:
            ports[self.dice.choice(known)] = None
        known.extend(ports)
        return list(ports)

    def _service(self, names: list[str], known: list[str], files: dict[str, str]) -> list[str]:
        dice = self.dice
        lines = ["    image: x"]
        if names and dice.random() < 0.2:
            lines.append(f"    extends: {{service: {dice.choice(names)}}}")
        elif dice.random() < 0.15:
            lines.append("    extends: {file: lib/base.yml, service: base}")
            if "lib/base.yml" not in files:
                files["lib/base.yml"] = self._file({"base": ["    image: x", *self._listed(self._ports([]))]})
        elif dice.random() < 0.15:
            lines.append("    <<: *shared")
        if dice.random() < 0.2:
            lines.append(f"    profiles: [{dice.choice(('dev', 'test', 'dev, test'))}]")
        if dice.random() < 0.2:
            lines.append(dice.choice(("    scale: 2", "    deploy: {replicas: 3}", '    scale: "${N:-2}"')))
        if dice.random() < 0.3:
            lines.append(f'    environment: {{A: "$${{B}}", PORT: "{dice.randrange(9999)}"}}')
        return lines + self._listed(self._ports(known))

    @staticmethod
    def _listed(ports: list[str]) -> list[str]:
        return ["    ports:", *(f"      - {port}" for port in ports)] if ports else []

    def _file(self, services: dict[str, list[str]]) -> str:
        body = "".join(f"  {name}:\n" + "".join(f"{line}\n" for line in lines) for name, lines in services.items())
        shared = f'x-shared: &shared\n  image: y\n  ports: ["{self.dice.randrange(1024, 60000)}:1"]\n'
        version = self.dice.choice(("", "", "version: '3.8'\n", "version: '2.4'\n"))
        needs_both = "extends" in body or "scale" in body or "deploy" in body or "profiles" in body or "target" in body
        return ("" if needs_both else version) + shared + f"services:\n{body}"

    def case(self) -> Case:
        """Return the project."""
        dice = self.dice
        files: dict[str, str] = {}
        names = ["web", "db", "cache", "api-1", "App_2"][: dice.randrange(1, 6)]
        known: dict[str, list[str]] = {name: [] for name in names}
        services: dict[str, list[str]] = {}
        for name in names:
            services[name] = self._service(list(services), known[name], files)
        main = dice.choice(("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml"))
        named: tuple[str, ...] = ()
        cwd = "."
        files[main] = self._file(services).replace("version: '3.8'\n", "").replace("version: '2.4'\n", "")
        if dice.random() < 0.5:
            over = {
                name: ["    image: z", *self._listed(self._ports(known[name]))]
                for name in dice.sample(names, dice.randrange(1, len(names) + 1))
            }
            files[main.split(".")[0] + ".override." + main.split(".")[1]] = self._file(over).replace(
                "version: '3.8'\n", ""
            ).replace("version: '2.4'\n", "")  # fmt: skip
        way = dice.randrange(5)
        if way == 0:
            files["extra/more.yml"] = self._file({"web": ["    image: w", *self._listed(self._ports(known["web"]))]})
            files["extra/more.yml"] = (
                files["extra/more.yml"].replace("version: '3.8'\n", "").replace("version: '2.4'\n", "")
            )
            named = (main, "extra/more.yml")
        elif way == 1:
            files["deep/down/x.txt"] = ""
            cwd = "deep/down"
            self.environ = {**self.variables, **self.environ}  # .env above is what 1.29 does not read
            self.variables = {}
        elif way == 2:
            self.environ["COMPOSE_FILE"] = main
        files[".env"] = "# variables\n" + "".join(
            dice.choice((f"{key}={value}\n", f'{key}="{value}"\n', f"export {key}={value} # c\n"))
            for key, value in self.variables.items()
        )
        profiles = dice.choice(((), (), ("dev",), ("dev", "test")))
        return Case(self.name, files, dict(self.environ), cwd, named, profiles)
