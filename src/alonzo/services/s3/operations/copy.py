"""CopyObject. Copying copies no bytes: the new object names the same blobs.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3 import bodies, checksums, events, naming, writing
from alonzo.services.s3.access import key_access
from alonzo.services.s3.errors import internal_error, invalid_argument, invalid_request
from alonzo.services.s3.finding import find_source, pieces_of
from alonzo.services.s3.models import MAX_PUT_BYTES, Bucket, Extent, S3Object, shown_time
from alonzo.services.s3.source import CopySource, parse_copy_source
from alonzo.services.s3.state import Effects, State
from alonzo.services.s3.store import extents as extent_store
from alonzo.services.s3.writing import Draft

#: How often the source may be overwritten under our hands before we give up.
_ATTEMPTS = 5


async def copy_object(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    source = parse_copy_source(params["CopySource"])
    asked = writing.draft(params)
    for _ in range(_ATTEMPTS):
        source_bucket, found = await find_source(state, ctx, source, params)
        if found.size > MAX_PUT_BYTES:
            raise invalid_request(
                "The specified copy source is larger than the maximum allowable size for a copy source:"
                f" {MAX_PUT_BYTES}"
            )
        _check_changes_something(params, bucket, source, found)
        new, pieces = await _drafted(state, ctx, params, asked, source_bucket, found)
        placed = await _place(state, ctx, bucket, params, new, pieces)
        if placed is not None:
            return _answer(bucket, source_bucket, found, placed)
    raise internal_error("We encountered an internal error. Please try again.")


def _check_changes_something(params: Params, bucket: Bucket, source: CopySource, found: S3Object) -> None:
    if source.bucket != bucket.name or source.key != params["Key"] or source.version_id:
        return
    if (
        params.get("MetadataDirective") == "REPLACE"
        or params.get("TaggingDirective") == "REPLACE"
        or params.get("WebsiteRedirectLocation") is not None
        or params.get("ServerSideEncryption") is not None
        or params.get("ChecksumAlgorithm") is not None
        or (params.get("StorageClass") or "STANDARD") != found.storage_class
    ):
        return
    raise invalid_request(
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's"
        " metadata, storage class, website redirect location or encryption attributes."
    )


async def _drafted(
    state: State, ctx: Context, params: Params, asked: Draft, source_bucket: Bucket, found: S3Object
) -> tuple[Draft, list[Extent]]:
    """What the copy is to be: the source's content with the metadata, tags and checksum asked for."""
    _check_directives(params)
    pieces = pieces_of(state, found)
    details: Mapping[str, Any] = asked.details
    if params.get("MetadataDirective") != "REPLACE":
        details = {name: found.details[name] for name in ("headers", "metadata") if name in found.details}
        redirect = params.get("WebsiteRedirectLocation")
        headers = {k: v for k, v in details.get("headers", {}).items() if k != "WebsiteRedirectLocation"}
        if redirect is not None:
            headers["WebsiteRedirectLocation"] = redirect
        details = {**details, "headers": headers}
    tags = asked.tags
    if params.get("TaggingDirective") != "REPLACE":
        tags = found.tags
        if tags:
            access = key_access(
                state,
                ctx,
                source_bucket,
                "GetObjectTagging",
                found.key,
                (params["CopySource"].partition("?versionId=")[2] and found.version_id) or "",
            )
            await state.dispatcher.authorize(ctx, access, denied_code="AccessDenied")
    etag, algorithm, value = await _digests(state, params, found, pieces)
    new = replace(
        asked,
        details=writing.details_with_checksum(details, algorithm, value),
        tags=tags,
        size=found.size,
        etag=etag,
        data=found.data if not found.extents else None,
        pieces=pieces if found.extents else (),
    )
    return new, pieces


def _check_directives(params: Params) -> None:
    for name, header in (
        ("MetadataDirective", "x-amz-metadata-directive"),
        ("TaggingDirective", "x-amz-tagging-directive"),
    ):
        if params.get(name) not in (None, "COPY", "REPLACE"):
            raise invalid_argument(f"Unknown {name.removesuffix('Directive').lower()} directive.", header, params[name])
    if params.get("Tagging") and params.get("TaggingDirective") != "REPLACE":
        naming.tags_from_header(params["Tagging"])


async def _digests(state: State, params: Params, found: S3Object, pieces: list[Extent]) -> tuple[str, str, str]:
    """(etag, algorithm, checksum) of the copy; the content is read only where they are not known already."""
    known: Mapping[str, str] = found.details.get("checksums", {})
    algorithm = params.get("ChecksumAlgorithm") or next(iter(known), checksums.DEFAULT)
    checksums.check_supported(algorithm)
    if "-" not in found.etag and algorithm in known and found.details.get("checksum_type") == "FULL_OBJECT":
        return found.etag, algorithm, known[algorithm]
    md5, value = await bodies.digest_pieces(state, pieces, algorithm)
    return md5.hex(), algorithm, value


async def _place(
    state: State, ctx: Context, bucket: Bucket, params: Params, new: Draft, pieces: list[Extent]
) -> S3Object | None:
    """None where the source's blobs have gone meanwhile."""

    def work(connection: Connection, effects: Effects) -> S3Object | ServiceError | None:
        if not extent_store.named(connection, pieces):
            return None
        return writing.place(
            state,
            connection,
            effects,
            ctx,
            bucket,
            new,
            events.CREATED_COPY,
            if_match=params.get("IfMatch"),
            if_none_match=params.get("IfNoneMatch"),
        )

    return await state.commit(work, bucket=bucket.name, changes_bucket=bool(new.tags) and not bucket.tagged)


def _answer(bucket: Bucket, source_bucket: Bucket, found: S3Object, placed: S3Object) -> Result:
    result: Result = {
        "CopyObjectResult": {
            "ETag": placed.quoted_etag,
            "LastModified": shown_time(placed.modified_ms),
            **writing.checksum_members(placed.details),
        },
        "ServerSideEncryption": "AES256",
        **writing.shown_version(bucket, placed),
    }
    if source_bucket.versioning:
        result["CopySourceVersionId"] = found.shown_version
    return result
