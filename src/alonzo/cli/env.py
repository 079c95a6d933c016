"""`alonzo env`."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import click

from alonzo.cli.settings import config_option, read_settings
from alonzo.config import Settings

_SHELLS = ("sh", "fish", "powershell", "json")


@click.command()
@click.option("--shell", type=click.Choice(_SHELLS), default="sh", help="For which shell (sh: bash and zsh too).")
@click.option("--host", help="The address the server listens on, as given to `alonzo up`.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port it listens on.")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="The server's data folder.")
@config_option
def env(shell: str, host: str | None, port: int | None, data_dir: Path | None, config: Path | None) -> None:
    """Print the variables that point any AWS tool at the server.

    Use it as: eval "$(alonzo env)"
    """
    settings = read_settings(config, host=host, port=port, data_dir=data_dir)
    click.echo(_WRITERS[shell](_variables(settings, named=bool(host or port))))


def _variables(settings: Settings, *, named: bool) -> dict[str, str]:
    """`named`: host or port were given, so ALONZO_ENDPOINT does not count."""
    from alonzo.cli.client import admin_key, is_loopback

    asked = "" if named else os.environ.get("ALONZO_ENDPOINT")
    url = asked or _endpoint(settings.host, settings.port)
    # A server that listens beyond loopback accepts no customary pair, from wherever it is asked.
    open_pair = is_loopback(url) and settings.loopback_only
    key_id, secret = ("test", "test") if open_pair else admin_key(settings.data_dir)
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
    }


def _endpoint(host: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port or 4566}"


# A session token of an earlier identity would spoil every signature, so each form takes it away.


def _sh(variables: Mapping[str, str]) -> str:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([*lines, "unset AWS_SESSION_TOKEN"])


def _fish(variables: Mapping[str, str]) -> str:
    def quoted(value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return "\n".join([*(f"set -gx {n} {quoted(v)}" for n, v in variables.items()), "set -e AWS_SESSION_TOKEN"])


def _powershell(variables: Mapping[str, str]) -> str:
    lines = ["$Env:{} = '{}'".format(name, value.replace("'", "''")) for name, value in variables.items()]
    return "\n".join([*lines, "Remove-Item Env:AWS_SESSION_TOKEN -ErrorAction SilentlyContinue"])


def _json(variables: Mapping[str, str]) -> str:
    return json.dumps(dict(variables), indent=2)


_WRITERS = {"sh": _sh, "fish": _fish, "powershell": _powershell, "json": _json}
