"""boto3 clients of the running server, and its errors in plain words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

DEFAULT_ENDPOINT = "http://127.0.0.1:4566"


class NoServer(click.ClickException):
    """Nothing answers at the endpoint."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"No server answers at {endpoint}. Start one with `alonzo up`, or set ALONZO_ENDPOINT.")


def endpoint() -> str:
    return os.environ.get("ALONZO_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL") or DEFAULT_ENDPOINT


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")


def region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def credentials(url: str) -> tuple[str, str, str | None]:
    """Key id, secret and session token.

    The environment's where it points at this server or names an account of it; a developer's real AWS credentials are
    never sent. Else the pair test/test on loopback, and the administrator's key of the data folder elsewhere.
    """
    key_id = os.environ.get("AWS_ACCESS_KEY_ID", "")
    pointed = os.environ.get("AWS_ENDPOINT_URL") == url
    if key_id and (pointed or key_id == "test" or (key_id.isdigit() and len(key_id) == 12)):
        return key_id, os.environ.get("AWS_SECRET_ACCESS_KEY", ""), os.environ.get("AWS_SESSION_TOKEN") or None
    if is_loopback(url):
        return "test", "test", None
    return (*admin_key(None), None)


def admin_key(data_dir: Path | None) -> tuple[str, str]:
    """The administrator's key id and secret. Raises ClickException where the folder has none."""
    from alonzo.cli.settings import read_settings
    from alonzo.services.iam.credentials import admin_key_path, read_admin_key

    folder = read_settings(None, data_dir=data_dir).data_dir
    try:
        key = read_admin_key(folder)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"The administrator's key cannot be read: {error}") from None
    if key is None:
        raise click.ClickException(
            f"There is no administrator's key at {admin_key_path(folder)}. Start the server once on this data folder, "
            "or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY together with AWS_ENDPOINT_URL."
        )
    return key.access_key_id, key.secret


def client(service: str, *, url: str | None = None, **config: Any) -> Any:
    """A boto3 client; `config` goes to botocore's Config. Alonzo's own API is found beside AWS's."""
    import boto3
    import botocore.session
    from botocore.config import Config

    from alonzo.protocol.model import OWN_MODELS

    url = url or endpoint()
    key_id, secret, token = credentials(url)
    core = botocore.session.Session()
    # The user's profiles are for AWS itself; one that is missing must not stop us.
    core.set_config_variable("profile", None)
    core.get_component("data_loader").search_paths.append(str(OWN_MODELS))
    return boto3.session.Session(botocore_session=core).client(
        service,
        endpoint_url=url,
        region_name=region(),
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(**{"retries": {"max_attempts": 1}, "connect_timeout": 5, "read_timeout": 60, **config}),
    )


def alonzo_client(url: str) -> Any:
    """A client of Alonzo's own API at `url`."""
    return client("alonzo", url=url)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns botocore's exceptions into sentences."""
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        raise click.ClickException(f"{told.get('Message') or error} ({told.get('Code', 'unknown error')})") from None
    except (ConnectionError, HTTPClientError) as error:
        if "timed out" in str(error).lower() or "timeout" in str(error).lower():
            raise click.ClickException(f"The server at {endpoint()} did not answer in time.") from None
        raise NoServer(endpoint()) from None
    except (BotoCoreError, ValueError) as error:
        raise click.ClickException(f"{error}") from None
