"""Settings come from one table, and what is not in it is an error."""

from pathlib import Path

import pytest

from alonzo.config import SettingsError, load_settings


def test_precedence(tmp_path: Path):
    """A flag goes over the environment, that over the file, that over the default."""
    file = tmp_path / "alonzo.toml"
    file.write_text('port = 1\nregion = "eu-west-1"\nhost = "::1"\n')
    settings = load_settings({"port": 3, "host": None}, {"ALONZO_PORT": "2", "ALONZO_REGION": "us-west-2"}, file)
    assert (settings.port, settings.region, settings.host, settings.account_id) == (
        3,
        "us-west-2",
        "::1",
        "000000000000",
    )


def test_unknown_key_names_the_nearest():
    """An unknown key is an error that names the nearest one."""
    with pytest.raises(SettingsError, match="Did you mean 'data_dir'"):
        load_settings({}, {"ALONZO_DATADIR": "/x"})


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("ALONZO_PORT", "many", "of type int"),
        ("ALONZO_ISOLATION", "none", "one of"),
        ("ALONZO_OFFLINE", "perhaps", "bool"),
    ],
)
def test_malformed_value(key, value, text):
    """A malformed value is an error that says what is expected."""
    with pytest.raises(SettingsError, match=text):
        load_settings({}, {key: value})
