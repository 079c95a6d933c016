"""Settings as the commands read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from alonzo.config import Settings, SettingsError, load_settings

config_option = click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings file (TOML); also ALONZO_CONFIG."
)


def read_settings(config: Path | None, **flags: Any) -> Settings:
    """Flags over ALONZO_* over the file over defaults. Raises ClickException with the mend."""
    named = os.environ.get("ALONZO_CONFIG")
    try:
        return load_settings(flags, file=config or (Path(named) if named else None))
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
