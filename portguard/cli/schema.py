"""`portguard schema`."""

from __future__ import annotations

from portguard.cli import output
from portguard.cli.command import JSON, Command
from portguard.errors import OK
from portguard.model import SchemaReport

COMMAND = Command("declare", "Print the JSON Schema of portguard.toml.", (JSON,))


def run(*, as_json: bool) -> int:
    """Print the JSON Schema of portguard.toml as it is shipped, or in the envelope; return the exit code.

    It lies beside the validator as data of the package, which also may be a zip file. Raises OutputError.
    """
    from importlib.resources import files  # no one else's cost

    text = files("portguard").joinpath("config", "portguard.schema.json").read_text(encoding="utf-8")
    if as_json:
        import json  # 0.7 x the interpreter's start

        from portguard.render import documents

        text = documents.document("schema", OK, documents.data(SchemaReport(json.loads(text))))
    output.answer(text)
    return OK
