"""Listing objects and versions.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.s3.errors import invalid_argument
from alonzo.services.s3.models import Bucket, owner, shown_time
from alonzo.services.s3.paging import Page
from alonzo.services.s3.state import State
from alonzo.services.s3.store import listing as store
from alonzo.services.s3.store import objects as object_store

#: Pages up to this size are read at once; longer ones on a thread, so that other requests go on.
_SHORT = 32


async def _read(state: State, size: int, query: Callable[[Connection], store.Found]) -> store.Found:
    return await (state.db.read(query) if size <= _SHORT else state.db.scan(query))


def _entry(row: Row[Any], bucket: Bucket, encode: Callable[[str], str], *, with_owner: bool) -> dict[str, Any]:
    details = json.loads(row.details)
    entry: dict[str, Any] = {
        "Key": encode(row.key.decode()),
        "LastModified": shown_time(row.modified_ms),
        "ETag": f'"{row.etag}"',
        "Size": row.size,
        "StorageClass": row.storage_class,
    }
    if details.get("checksums"):
        entry["ChecksumAlgorithm"] = list(details["checksums"])
        entry["ChecksumType"] = details.get("checksum_type", "FULL_OBJECT")
    if with_owner:
        entry["Owner"] = owner(row.owner)
    return entry


async def list_objects(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    page = Page.of(params, params.get("MaxKeys"), "max-keys")
    marker = params.get("Marker") or ""
    found = await _read(
        state,
        page.size,
        lambda connection: store.current(
            connection,
            bucket.name,
            prefix=page.prefix,
            delimiter=page.delimiter,
            after=marker.encode("utf-8", "surrogateescape"),
            limit=page.size,
        ),
    )
    result: Result = {
        **page.described(),
        "Name": bucket.name,
        "Marker": page.encode(marker),
        "MaxKeys": page.size,
        "IsTruncated": found.truncated,
        "Contents": [_entry(row, bucket, page.encode, with_owner=True) for row in found.rows],
        **page.common_prefixes(found),
    }
    if found.truncated and page.delimiter:
        result["NextMarker"] = page.encode(found.last.decode())
    return result


async def list_objects_v2(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    page = Page.of(params, params.get("MaxKeys"), "max-keys")
    token, start_after = params.get("ContinuationToken"), params.get("StartAfter") or ""
    after = _from_token(token) if token is not None else start_after.encode("utf-8", "surrogateescape")
    found = await _read(
        state,
        page.size,
        lambda connection: store.current(
            connection, bucket.name, prefix=page.prefix, delimiter=page.delimiter, after=after, limit=page.size
        ),
    )
    fetch_owner = bool(params.get("FetchOwner"))
    result: Result = {
        **page.described(),
        "Name": bucket.name,
        "MaxKeys": page.size,
        "KeyCount": len(found.rows) + len(found.prefixes),
        "IsTruncated": found.truncated,
        "Contents": [_entry(row, bucket, page.encode, with_owner=fetch_owner) for row in found.rows],
        **page.common_prefixes(found),
    }
    if token is not None:
        result["ContinuationToken"] = token
    if start_after:
        result["StartAfter"] = page.encode(start_after)
    if found.truncated:
        result["NextContinuationToken"] = base64.urlsafe_b64encode(b"1" + found.last).decode()
    return result


def _from_token(token: str) -> bytes:
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw.startswith(b"1") or len(raw) > 2 * 1024:
        raise invalid_argument("The continuation token provided is incorrect", "continuation-token", token)
    return raw[1:]


async def list_object_versions(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    page = Page.of(params, params.get("MaxKeys"), "max-keys")
    key_marker, version_marker = params.get("KeyMarker") or "", params.get("VersionIdMarker") or ""
    if version_marker and not key_marker:
        raise invalid_argument(
            "A version-id marker cannot be specified without a key marker.", "version-id-marker", version_marker
        )

    def query(connection: Connection) -> tuple[store.Found, bytes | None]:
        below = 0  # behind every version of the marker's key
        if version_marker:
            marked = object_store.version(connection, bucket.name, key_marker, version_marker)
            below = marked.id if marked is not None else 0
        found = store.versions(
            connection,
            bucket.name,
            prefix=page.prefix,
            delimiter=page.delimiter,
            after=key_marker.encode("utf-8", "surrogateescape"),
            below=below,
            limit=page.size,
        )
        return found, key_marker.encode("utf-8", "surrogateescape") if below else None

    found, begun = await state.db.scan(query)
    versions: list[dict[str, Any]] = []
    markers: list[dict[str, Any]] = []
    previous = begun
    for row in found.rows:
        entry = _entry(row, bucket, page.encode, with_owner=True)
        entry["VersionId"] = row.version_id or "null"
        entry["IsLatest"] = row.key != previous
        previous = row.key
        if row.delete_marker:
            wanted = ("Owner", "Key", "VersionId", "IsLatest", "LastModified")
            markers.append({name: entry[name] for name in wanted})
        else:
            versions.append(entry)
    result: Result = {
        **page.described(),
        "Name": bucket.name,
        "KeyMarker": page.encode(key_marker),
        "VersionIdMarker": version_marker,
        "MaxKeys": page.size,
        "IsTruncated": found.truncated,
        "Versions": versions,
        "DeleteMarkers": markers,
        **page.common_prefixes(found),
    }
    if found.truncated:
        result["NextKeyMarker"] = page.encode(found.last.decode())
        if found.last_row is not None:
            result["NextVersionIdMarker"] = found.last_row.version_id or "null"
    return result
