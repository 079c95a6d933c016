"""pytest fixtures, found by pytest through the entry point: `alonzo` is a server for the whole test session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from alonzo.testing.server import Server


@pytest.fixture(scope="session")
def alonzo() -> Iterator[Server]:
    """An ephemeral server, shared by the session's tests; `alonzo.client("s3")` is a boto3 client for it."""
    with Server() as server:
        yield server
