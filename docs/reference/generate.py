"""Writes settings.md and cli.md from the table of settings and the commands themselves.

Run it after changing either: `.venv/bin/python docs/reference/generate.py`. A test fails where the pages are stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click

from alonzo.cli.main import COMMANDS, main
from alonzo.config import Settings

HERE = Path(__file__).parent
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


def pages() -> dict[Path, str]:
    return {HERE / "settings.md": settings_page(), HERE / "cli.md": commands_page()}


if __name__ == "__main__":
    for page, content in pages().items():
        page.write_text(content)
