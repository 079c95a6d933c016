"""Writes the pages beside it: settings.md and cli.md from the table of settings and the commands themselves,
operations.md from the services' support tables, conformance.md from what the suite in tests/conformance replayed.

Run it after changing any of them: `.venv/bin/python docs/reference/generate.py`. A test fails where a page is stale.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any

import click

import alonzo.services
from alonzo.cli.main import COMMANDS, main
from alonzo.config import Settings
from alonzo.protocol.model import load_model

HERE = Path(__file__).parent
#: Services of AWS's with a support table, in the order of the page; the folder, where it is named otherwise.
_SERVICES = ("lambda", "s3", "sqs", "sns", "events", "iam", "sts", "logs", "dynamodb", "kinesis", "ssm")
_FOLDERS = {"lambda": "lambda_"}
_TITLES = {
    "lambda": "Lambda",
    "s3": "S3",
    "sqs": "SQS",
    "sns": "SNS",
    "events": "EventBridge",
    "iam": "IAM",
    "sts": "STS",
    "logs": "CloudWatch Logs",
    "dynamodb": "DynamoDB",
    "kinesis": "Kinesis",
    "ssm": "Systems Manager",
}
_WORDS = ("enforced", "stored", "unsupported")
_EXIT_CODES = """\
Every command exits with 0 when it did what it was asked, with 1 and one sentence on standard error when it did not, and
with 130 when Ctrl-C ended it.

The commands that talk to a server find it at `ALONZO_ENDPOINT`, else at `AWS_ENDPOINT_URL`, else at
`http://127.0.0.1:4566`, and act in the region of `AWS_REGION` (`AWS_DEFAULT_REGION`, `us-east-1`). They sign with
`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` only where `AWS_ENDPOINT_URL` names that same server or the key id is an
account's twelve digits, so keys meant for AWS never leave; else with `test`/`test` on loopback and with the
administrator's key of the data folder elsewhere."""


def settings_page() -> str:
    """The page of settings."""
    rows = [_row(spec.name, spec.type, spec.default, spec.metadata) for spec in fields(Settings)]
    lines = [
        "# Settings",
        "",
        "A flag of `alonzo up` goes over the environment variable, that over the settings file (`--config FILE` or",
        "`ALONZO_CONFIG`; TOML with these names as keys), that over the default. An unknown name is an error.",
        "",
        "| Setting | Variable | Type | Default | What it does |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, kind: object, default: object, about: object) -> str:
    assert hasattr(about, "__getitem__")
    type_name = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    type_name = {"bool": "yes or no", "str": "text", "int": "number", "float": "number", "Path": "path"}[type_name]
    if about["choices"]:
        type_name = ", ".join(f"`{choice}`" for choice in about["choices"])
    if about["unit"]:
        type_name += f" ({about['unit']})"
    shown = (
        ("yes" if default else "no") if isinstance(default, bool) else f"`{default}`" if default != "" else "(empty)"
    )
    return f"| `{name}` | `ALONZO_{name.upper()}` | {type_name} | {shown} | {about['help']} |"


def commands_page() -> str:
    """The page of commands."""
    parts = ["# Commands", "", _EXIT_CODES, ""]
    for context in _contexts():
        help_text = context.command.get_help(context).rstrip()
        parts += [f"## {context.command_path}", "", "```text", help_text, "```", ""]
    return "\n".join(parts).rstrip() + "\n"


def _contexts() -> Iterator[click.Context]:
    root = click.Context(main, info_name="alonzo", terminal_width=100, max_content_width=100, **main.context_settings)
    yield root
    for name in COMMANDS:
        command = main.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root)
        yield context
        if isinstance(command, click.Group):
            for inner, one in command.commands.items():
                yield click.Context(one, info_name=inner, parent=context)


def operations_page() -> str:
    """The page of operations: every service that has a support table."""
    parts = [
        "# Operations",
        "",
        "What each operation does with each of its parameters:",
        "",
        "- **enforced**: it has the effect that it has on AWS, and is checked as there;",
        "- **stored**: it is accepted, kept and shown again where AWS shows it, and changes nothing;",
        "- **unsupported**: a request with it gets an error that says so.",
        "",
        "An operation that is not implemented answers status 501, `NotImplementedException` and its own name.",
        "",
    ]
    for service in _SERVICES:
        table = Path(alonzo.services.__path__[0]) / _FOLDERS.get(service, service) / "support.toml"
        if table.is_file():
            parts += _service_section(service, table.read_text())
    return "\n".join(parts).rstrip() + "\n"


def _service_section(service: str, text: str) -> Iterator[str]:
    table = {name: _row_of(row) for name, row in tomllib.loads(text).items()}
    model = set(load_model(service).snake_names().values())
    implemented = {name: row for name, row in table.items() if row is not None}
    missing = sorted(model - set(implemented))
    yield f"## {_TITLES[service]}"
    yield ""
    yield f"{len(implemented)} of {len(model)} operations."
    yield ""
    notes = _head_comment(text)
    if notes:
        yield from (notes, "")
    yield "| Operation | Enforced | Stored | Unsupported |"
    yield "| --- | --- | --- | --- |"
    for name in sorted(implemented):
        yield f"| {name} | " + " | ".join(_cell(implemented[name], word) for word in _WORDS) + " |"
    yield ""
    remarks = [(name, one, note) for name, row in sorted(implemented.items()) for one, note in row["notes"].items()]
    if remarks:
        yield from (f"- `{name}.{one}`: {note}" for name, one, note in remarks)
        yield ""
    if missing:
        yield "Not implemented: " + ", ".join(missing) + "."
        yield ""


def _row_of(row: dict[str, Any]) -> dict[str, Any] | None:
    """One operation's parameters by word, from either way of writing a table; None where it is not implemented."""
    if row.get("support") == "unsupported":
        return None
    by_word: dict[str, Any] = {word: list(row.get(word, ())) for word in _WORDS}
    for name, word in row.get("parameters", {}).items():
        by_word[word].append(name)
    return {**by_word, "notes": row.get("notes", {})}


def _cell(row: dict[str, Any], word: str) -> str:
    return ", ".join(f"`{name}`" for name in row[word])


def _head_comment(text: str) -> str:
    """What a table says before its first operation, but for the paragraph that explains the words."""
    head = text.partition("\n[")[0].splitlines()
    lines = [line.removeprefix("#").strip() if not line.startswith("#   ") else line[2:] for line in head]
    blocks = "\n".join(lines).strip().split("\n\n")
    return "\n\n".join(block for block in blocks[1:] if block).strip()


def conformance_page() -> str:
    """The page of recorded scenarios."""
    folder = HERE.parents[1] / "tests" / "conformance"
    table = json.loads((folder / "scenarios.json").read_text())
    reasons = tomllib.loads((folder / "reasons.toml").read_text())
    recorded, replayed = table["recorded"], table["replayed"]
    whole = sum(len(replayed.get(name, ())) == count > 0 for name, count in recorded.items())
    lines = [
        "# Conformance",
        "",
        "What AWS answered, scenario by scenario, was recorded by LocalStack's public test suite (Apache License 2.0).",
        "`tests/conformance` sends the same calls through boto3 to a whole server and compares every answer: members,",
        "values, statuses and texts, with what changes from run to run bound to placeholders. This table is made from",
        "what the suite compared, and the suite fails where it is not.",
        "",
        f"Of {len(recorded)} scenarios {whole} are replayed whole, {len(replayed) - whole} in part;"
        f" {sum(len(steps) for steps in replayed.values())} of {sum(recorded.values())} answers are compared.",
        "",
    ]
    for file, rows in groupby(sorted(recorded), key=lambda row: row.partition(" ")[0]):
        lines += [f"## {file}", "", "| Scenario | Answers compared | Why not all |", "| --- | --- | --- |"]
        for row in rows:
            name = row.partition(" ")[2].removeprefix("tests/aws/").removeprefix("services/lambda_/")
            done, count = len(replayed.get(row, ())), recorded[row]
            why = "" if done == count and count else _why(row, done, count, reasons)
            name = name.encode("ascii", "backslashreplace").decode().replace("|", "\\|")
            lines.append(f"| `{name}` | {done} of {count} | {why} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _why(row: str, done: int, count: int, reasons: dict[str, list[dict[str, str]]]) -> str:
    if not count:
        return "The recording holds no answers."
    rules = reasons["part" if done else "reason"]
    return next(rule["why"] for rule in rules if fnmatchcase(row, rule["pattern"]))


def pages() -> dict[Path, str]:
    return {
        HERE / "settings.md": settings_page(),
        HERE / "cli.md": commands_page(),
        HERE / "operations.md": operations_page(),
        HERE / "conformance.md": conformance_page(),
    }


if __name__ == "__main__":
    for page, content in pages().items():
        page.write_text(content)
