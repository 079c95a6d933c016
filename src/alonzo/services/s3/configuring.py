"""Reading and writing the documents attached to a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from alonzo.core.errors import ServiceError
from alonzo.services.s3.errors import no_such_bucket
from alonzo.services.s3.state import Effects, State
from alonzo.services.s3.store import buckets as store


def read_setting(state: State, params: Mapping[str, Any], noun: str, missing: str, message: str) -> Any:
    """The document of `noun`. Raises `missing` (404) with AWS's text where there is none."""
    bucket = state.bucket(params["Bucket"])
    document = bucket.config.get(noun)
    if document is None:
        raise ServiceError(missing, message, status=404, fields={"BucketName": bucket.name})
    return document


async def configure(state: State, params: Mapping[str, Any], noun: str, document: Any) -> dict[str, Any]:
    """Store the document of `noun`, or with None remove it."""
    name = state.bucket(params["Bucket"]).name

    def work(connection: Connection, effects: Effects) -> ServiceError | None:
        return None if store.configure(connection, name, noun, document) else no_such_bucket(name)

    await state.commit(work, bucket=name, changes_bucket=True)
    return {}
