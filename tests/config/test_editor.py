"""The schema in an editor: taplo, the server inside Even Better TOML, finds it through the example's first line.

The server is `@taplo/lsp` from the npm registry, in WebAssembly; `@taplo/cli` there has none ("the LSP is not part of
this build"). A few lines of JavaScript give it what its package lacks: the protocol over standard streams. It reads
files and nothing else: the one address it fetches, SchemaStore's catalogue, is answered with an empty one.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import portguard
from portguard.config.parse import KEYS
from tests.worlds import capabilities

EXAMPLE = Path(__file__).parents[2] / "examples" / "portguard.toml"
FILE = Path(portguard.__file__).parent / "config" / "portguard.schema.json"
SCHEMA: dict[str, Any] = json.loads(FILE.read_text())
PROPERTIES = SCHEMA["definitions"]["declaration"]["properties"]

PACKAGE = "@taplo/lsp@0.8.0"
pytestmark = [pytest.mark.xdist_group("taplo"), pytest.mark.registries]  # installed once
_PATIENCE = 60  # seconds, for an answer; the module is 26 MB of WebAssembly to compile

_BRIDGE = r"""
const fs = require("fs"), path = require("path"), url = require("url");
const { TaploLsp } = require(process.argv[2]);
const catalogue = JSON.stringify({
  "$schema": "https://json.schemastore.org/schema-catalog.json", version: 1, schemas: [],
});
globalThis.fetch = async (request) => {
  const response = new Response(catalogue, { headers: { "content-type": "application/json" } });
  return Object.defineProperty(response, "url", { value: String(request.url || request) });
};
const environment = {
  now: () => new Date(), envVar: () => undefined, envVars: () => [], stdErrAtty: () => false,
  stdin: process.stdin, stdout: process.stderr, stderr: process.stderr, glob: () => [], cwd: () => process.cwd(),
  readFile: (name) => fs.promises.readFile(name), writeFile: async () => {}, findConfigFile: () => undefined,
  urlToFilePath: (text) => (text.startsWith("file:") ? url.fileURLToPath(text) : new URL(text).pathname),
  isAbsolute: (name) => path.isAbsolute(name),
};
const write = (message) => {
  const body = Buffer.from(JSON.stringify(message));
  fs.writeSync(1, Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]));
};
TaploLsp.initialize(environment, { onMessage: write }).then((server) => {
  let pending = Buffer.alloc(0);
  process.stdin.on("data", (more) => {
    pending = Buffer.concat([pending, more]);
    for (;;) {
      const end = pending.indexOf("\r\n\r\n");
      const length = end < 0 ? 0 : Number(/Content-Length: (\d+)/.exec(pending.subarray(0, end).toString())[1]);
      if (end < 0 || pending.length < end + 4 + length) return;
      const message = JSON.parse(pending.subarray(end + 4, end + 4 + length).toString());
      pending = pending.subarray(end + 4 + length);
      server.send(message);
    }
  });
  process.stdin.on("end", () => process.exit(0));
});
"""


@functools.cache
def _taplo() -> str | None:
    """Install the server once a machine; return why it cannot be had, or None."""
    for program in ("node", "npm"):
        if capabilities.find_program(program) is None:
            return f"not installed: {program}"
    home = _home()
    if (home / "node_modules").is_dir():
        return None
    home.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=home.parent))
    argv = ["npm", "install", "--prefix", str(fresh), "--ignore-scripts", "--no-audit", "--no-fund", PACKAGE]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            return f"npm install {PACKAGE}: {done.stderr.strip()[-300:]}"
        fresh.rename(home)
    except subprocess.TimeoutExpired:
        return f"npm install {PACKAGE}: no answer"
    except OSError as error:  # another worker of pytest-xdist was faster
        return None if (home / "node_modules").is_dir() else str(error)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return None


def _home() -> Path:
    """Return where this version of the server lies: a directory of this user's among the temporary ones."""
    return Path(tempfile.gettempdir()) / f"portguard-tests-{os.getuid()}" / PACKAGE.replace("/", "-")


class Editor:
    """One editor with one document: sends JSON-RPC to the server as LSP frames it, and keeps the last diagnostics."""

    def __init__(self, server: subprocess.Popen[bytes], folder: Path, path: Path, schema: Path) -> None:
        self.diagnostics: list[dict[str, Any]] = []  # the newest
        self._server = server
        self._folder = folder
        self._uri = path.as_uri()
        self._schema = schema.as_uri()
        self._number = 0
        self._arrived: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._server.stdout is not None
        while line := self._server.stdout.readline():
            if line.startswith(b"Content-Length:"):
                length = int(line.partition(b":")[2])
                self._server.stdout.readline()
                self._arrived.put(json.loads(self._server.stdout.read(length)))
        self._arrived.put(None)

    def tell(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Return the answer to a request, answering in the meantime what the server asks."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        while (message := self._next()).get("id") != self._number or "method" in message:
            pass
        assert "error" not in message, message
        return message["result"]

    def ask_at(self, method: str, line: int, character: int) -> Any:
        """Return the answer to a request about a place (both from 0)."""
        place = {"line": line, "character": character}
        return self.ask(method, {"textDocument": {"uri": self._uri}, "position": place})

    def open(self, text: str) -> None:
        """Open the document with this text, and assert that the server has found its schema.

        The settings come first: applying them makes the server forget what documents say of their schemas, and what it
        tells of by itself (`taplo/didChangeSchemaAssociation`) leaves out a document it has just been given.
        """
        folder = {"uri": self._folder.as_uri(), "name": self._folder.name}
        able = {"workspace": {"configuration": True, "workspaceFolders": True}}
        self.ask("initialize", {"processId": None, "workspaceFolders": [folder], "capabilities": able})
        self.tell("initialized", {})
        while self._next().get("method") != "workspace/configuration":
            pass
        document = {"uri": self._uri, "languageId": "toml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})
        assert self.ask("taplo/associatedSchema", {"documentUri": self._uri})["schema"]["url"] == self._schema

    def type(self, text: str) -> None:
        """Replace the document's text."""
        self.tell(
            "textDocument/didChange",
            {"textDocument": {"uri": self._uri, "version": 2}, "contentChanges": [{"text": text}]},
        )

    def wait_for_mistakes(self, *, at_least: int) -> list[tuple[int, str]]:
        """Return lines (from 0) and messages, once there are so many; 0 waits until there are none."""
        while len(self.diagnostics) < at_least or (self.diagnostics and not at_least):
            self._next()
        return sorted((found["range"]["start"]["line"], found["message"]) for found in self.diagnostics)

    def close(self) -> None:
        """End the server, and the thread that reads from it, before anything closes the pipe it reads."""
        self._server.kill()
        self._reader.join()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._server.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._server.stdin.flush()

    def _next(self) -> dict[str, Any]:
        message = self._arrived.get(timeout=_PATIENCE)
        assert message is not None, "the language server ended"
        if message.get("method") == "textDocument/publishDiagnostics":
            self.diagnostics = message["params"]["diagnostics"]
        elif message.get("method") == "workspace/configuration":
            self._send({"id": message["id"], "result": [{} for _ in message["params"]["items"]]})
        return message


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    """Return an editor on the example, beside the package as in a checkout, with a server that is ended afterwards."""
    reason = _taplo()
    if reason is not None:
        message = f"needs taplo: {reason}"
        if os.environ.get(capabilities.REQUIRE_ALL) == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    node = capabilities.find_program("node")
    assert node is not None
    bridge = tmp_path / "bridge.js"
    bridge.write_text(_BRIDGE)
    example, schema = (tmp_path / path.relative_to(path.parents[depth]) for path, depth in ((EXAMPLE, 1), (FILE, 2)))
    for path, copy in ((EXAMPLE, example), (FILE, schema)):
        copy.parent.mkdir(parents=True)
        shutil.copy(path, copy)
    argv = [node, str(bridge), str(_home() / "node_modules" / "@taplo" / "lsp")]
    with (
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server,
        contextlib.closing(Editor(server, tmp_path, example, schema)) as editor,
    ):
        yield editor


def _example() -> tuple[list[str], int]:
    """Return the example's lines and the number (from 0) of the one with `[ports.api]`."""
    lines = EXAMPLE.read_text().splitlines()
    return lines, lines.index("[ports.api]")


def test_completion_of_keys(editor: Editor) -> None:
    """Inside `[ports.api]` the editor offers our keys that are not there yet, with their descriptions."""
    lines, table = _example()
    written = {line.split(" ")[0] for line in lines[table + 1 : lines.index("", table)]}
    lines.insert(table + 2, "")

    editor.open("\n".join(lines))
    offered = editor.ask_at("textDocument/completion", table + 2, 0)

    assert written == {"port", "host", "env", "description"}
    assert {item["label"]: item["documentation"]["value"] for item in offered} == {
        key: PROPERTIES[key]["description"] for key in KEYS if key not in written
    }
    assert len(offered) == len(KEYS) - len(written)


def test_completion_in_an_empty_table(editor: Editor) -> None:
    """In a table that has its port alone all other keys are offered, once each, and for a protocol its values."""
    lines, table = _example()
    text = "\n".join([*lines[: table + 2], "", "[ports.other]", "port = 53", 'protocol = ""', ""])

    editor.open(text)
    keys = editor.ask_at("textDocument/completion", table + 2, 0)
    values = editor.ask_at("textDocument/completion", table + 5, 12)

    assert sorted(item["label"] for item in keys) == sorted(key for key in KEYS if key != "port")
    assert {'"tcp"', '"udp"'} <= {item["label"] for item in values}


def test_hovering_over_a_key_shows_our_description_of_it(editor: Editor) -> None:
    """Hovering over a key shows our description of it."""
    lines, table = _example()

    editor.open("\n".join(lines))
    shown = {
        key: editor.ask_at("textDocument/hover", table + line, 1)["contents"]["value"]
        for line, key in enumerate(["port", "host", "env"], start=1)
    }

    assert shown == {key: PROPERTIES[key]["description"] for key in ("port", "host", "env")}


def test_mistakes_are_marked_and_the_example_has_none(editor: Editor) -> None:
    """A misspelt key, a wrong type and a name for a host are marked where they stand; the example is clean."""
    text = EXAMPLE.read_text()
    wrong = text.replace('host = "localhost" ', 'hots = "localhost" ').replace("port = 5432", 'port = "5432"')
    wrong = wrong.replace('host = "127.0.0.1"\nprotocol', 'host = "db.local"\nprotocol')
    lines = wrong.splitlines()

    editor.open(wrong)
    marked = editor.wait_for_mistakes(at_least=3)
    editor.type(text)
    left = editor.wait_for_mistakes(at_least=0)

    assert [message for _, message in marked] == [
        "Additional properties are not allowed ('hots' was unexpected)",
        '"5432" is not of type "integer"',
        "\"db.local\" is not valid under any of the schemas listed in the 'anyOf' keyword",
    ]
    # An unknown key is marked at its table's name, a value at its own key.
    assert [lines[line].split(" ")[0] for line, _ in marked] == ["[ports.api]", "port", "host"]
    assert left == []
