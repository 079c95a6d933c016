"""Finding the object that a request means, with AWS's answer where there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.services.s3 import naming
from alonzo.services.s3.conditions import check_copy
from alonzo.services.s3.errors import delete_marker_not_allowed, invalid_argument, invalid_request, no_such_version
from alonzo.services.s3.models import Bucket, Extent, S3Object, shown_time
from alonzo.services.s3.source import CopySource
from alonzo.services.s3.state import State
from alonzo.services.s3.store import extents as extent_store
from alonzo.services.s3.store import objects as store

_VERSION = re.compile(r"null|[A-Za-z0-9._]{32}")


def check_version_id(version_id: str) -> None:
    """Raises InvalidArgument for what no version id looks like."""
    if _VERSION.fullmatch(version_id) is None:
        raise invalid_argument("Invalid version id specified", "versionId", version_id)


async def find_object(state: State, ctx: Context, bucket: Bucket, params: Mapping[str, Any], method: str) -> S3Object:
    """The version asked for, or the latest.

    Raises NoSuchKey (AccessDenied for who may not list), NoSuchVersion, MethodNotAllowed for a delete marker's id.
    """
    key, version_id = params["Key"], params.get("VersionId")
    naming.check_key(key)
    if version_id is None:
        found = state.db.read_nowait(lambda connection: store.current(connection, bucket.name, key))
        if found is not None:
            return found
        headers = {}
        if bucket.versioning:
            latest = state.db.read_nowait(lambda connection: store.latest(connection, bucket.name, key))
            if latest is not None and latest.delete_marker:
                headers = {"x-amz-delete-marker": "true", "x-amz-version-id": latest.shown_version}
        raise await state.missing_key(ctx, bucket, key, headers)
    check_version_id(version_id)
    found = state.db.read_nowait(lambda connection: store.version(connection, bucket.name, key, version_id))
    if found is None:
        await state.missing_key(ctx, bucket, key, {})  # who may not list is denied
        raise no_such_version(key, version_id)
    if found.delete_marker:
        headers = {
            "x-amz-delete-marker": "true",
            "x-amz-version-id": found.shown_version,
            "last-modified": shown_time(found.modified_ms).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        }
        raise delete_marker_not_allowed(method, headers)
    return found


def pieces_of(state: State, found: S3Object) -> list[Extent]:
    """The pieces of an object's content, whichever way it is stored."""
    if found.extents:
        return state.db.read_nowait(lambda connection: extent_store.of(connection, found.id))
    return [Extent(None, 0, found.size, found.data)] if found.data else []


async def find_source(
    state: State, ctx: Context, source: CopySource, params: Mapping[str, Any]
) -> tuple[Bucket, S3Object]:
    """What a copy reads, its conditions checked. Permission to read it was checked with the operation's."""
    bucket = state.bucket(source.bucket)
    asked = {"Key": source.key, "VersionId": source.version_id or None}
    try:
        found = await find_object(state, ctx, bucket, asked, "GET")
    except ServiceError as error:
        if error.code == "MethodNotAllowed":
            raise invalid_request(
                "The source of a copy request may not specifically refer to a delete marker by version id."
            ) from None
        raise
    check_copy(params, found)
    return bucket, found
