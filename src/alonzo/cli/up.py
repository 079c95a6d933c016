"""`alonzo up`."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from alonzo.cli.settings import config_option, read_settings


@click.command()
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one (4566).")
@click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Folder that holds everything durable."
)
@click.option("--ephemeral", is_flag=True, default=None, help="Keep everything in memory and forget it at the end.")
@config_option
def up(host: str | None, port: int | None, data_dir: Path | None, ephemeral: bool | None, config: Path | None) -> None:
    """Run a server in the foreground until Ctrl-C or SIGTERM.

    Every setting can also come from ALONZO_* variables or from the settings file: see docs/reference/settings.md.
    """
    settings = read_settings(config, host=host, port=port, data_dir=data_dir, ephemeral=ephemeral)
    gc.disable()  # nothing of what is imported now becomes garbage; `serve` lets the collector work
    from alonzo.begin import begin
    from alonzo.config import SettingsError
    from alonzo.sandbox.base import SandboxError
    from alonzo.storage.errors import StorageError

    try:
        begun = begin(settings)
        from alonzo.app import run  # most of a start's time; the sandbox host needs its own beside it

        run(begun, _ready)
    except (SettingsError, SandboxError, StorageError) as error:
        raise click.ClickException(str(error)) from None


def _ready(line: str) -> None:
    click.echo(line)
