"""Multipart uploads. Completing rewrites no bytes: the object is the list of its parts' pieces.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3 import bodies, checksums, naming, writing
from alonzo.services.s3.completing import answer_again, complete
from alonzo.services.s3.errors import internal_error, invalid_argument, invalid_request, no_such_upload
from alonzo.services.s3.finding import find_source, pieces_of
from alonzo.services.s3.models import MAX_PARTS, Bucket, Extent, Part, Upload, owner, shown_time
from alonzo.services.s3.paging import Page
from alonzo.services.s3.ranges import parse_copy_range
from alonzo.services.s3.source import parse_copy_source
from alonzo.services.s3.state import Effects, State
from alonzo.services.s3.store import extents as extent_store
from alonzo.services.s3.store import listing as listing_store
from alonzo.services.s3.store import uploads as store


async def create_multipart_upload(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    asked = writing.draft(params)
    algorithm, kind = _checksum_plan(params)
    upload_id = _new_upload_id(state)

    def work(connection: Connection, effects: Effects) -> None:
        store.create(
            connection,
            Upload(
                state.next_id(),
                upload_id,
                bucket.name,
                asked.key,
                state.now_ms(),
                algorithm,
                kind,
                asked.storage_class,
                ctx.principal.arn,
                asked.details,
                asked.tags,
            ),
        )

    await state.commit(work, bucket=bucket.name)
    result: Result = {
        "Bucket": bucket.name,
        "Key": asked.key,
        "UploadId": upload_id,
        "ServerSideEncryption": "AES256",
    }
    if algorithm:
        result |= {"ChecksumAlgorithm": algorithm, "ChecksumType": kind}
    return result


def _new_upload_id(state: State) -> str:
    return writing.new_version_id(state) + writing.new_version_id(state)


def _checksum_plan(params: Params) -> tuple[str, str]:
    """(algorithm or "", how the parts' checksums become the object's). Raises InvalidRequest."""
    algorithm, kind = params.get("ChecksumAlgorithm") or "", params.get("ChecksumType")
    checksums.check_supported(algorithm)
    if not algorithm:
        if kind is not None:
            raise invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
            )
        return "", "FULL_OBJECT"
    kinds = checksums.TYPES[algorithm]
    if kind not in (None, "COMPOSITE", "FULL_OBJECT"):
        raise invalid_request("Value for x-amz-checksum-type header is invalid.")
    if kind is None:
        return algorithm, kinds[0]
    if kind not in kinds:
        raise invalid_request(
            f"The {kind} checksum type cannot be used with the {algorithm.lower()} checksum algorithm."
        )
    return algorithm, kind


def _find(state: State, params: Params) -> tuple[Bucket, Upload]:
    """Raises NoSuchBucket, NoSuchUpload."""
    bucket = state.bucket(params["Bucket"])
    key, upload_id = params["Key"], params["UploadId"]
    naming.check_key(key)
    upload = state.db.read_nowait(lambda connection: store.get(connection, bucket.name, key, upload_id))
    if upload is None:
        raise no_such_upload(upload_id)
    return bucket, upload


def _check_number(number: int) -> None:
    if not 1 <= number <= MAX_PARTS:
        raise invalid_argument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", number)


async def upload_part(state: State, ctx: Context, params: Params) -> Result:
    bucket, upload = _find(state, params)
    _check_number(params["PartNumber"])
    stored = await bodies.ingest(
        state, params, algorithm=upload.algorithm or checksums.DEFAULT, strict=bool(upload.algorithm)
    )
    pieces = stored.pieces or ([Extent(None, 0, stored.size, stored.data)] if stored.data else [])
    part = Part(params["PartNumber"], stored.size, stored.md5.hex(), stored.checksum, state.now_ms())
    await _store_part(state, bucket, upload, part, pieces, fresh=stored.fresh)
    return {
        "ETag": f'"{part.etag}"',
        "ServerSideEncryption": "AES256",
        checksums.member(stored.algorithm): stored.checksum,
    }


async def _store_part(
    state: State, bucket: Bucket, upload: Upload, part: Part, pieces: list[Extent], fresh: tuple[str, ...] = ()
) -> bool:
    """False where pieces that another object owned have gone meanwhile. Raises NoSuchUpload."""

    def work(connection: Connection, effects: Effects) -> bool | ServiceError:
        if not fresh and not extent_store.named(connection, pieces):
            return False
        dropped = store.put_part(connection, upload.id, part, pieces)
        if dropped is None:
            return no_such_upload(upload.upload_id)
        effects.dropped += dropped
        return True

    return await state.commit(work, bucket=bucket.name, fresh=fresh)


async def upload_part_copy(state: State, ctx: Context, params: Params) -> Result:
    bucket, upload = _find(state, params)
    _check_number(params["PartNumber"])
    source = parse_copy_source(params["CopySource"])
    algorithm = upload.algorithm or checksums.DEFAULT
    for _ in range(5):
        source_bucket, found = await find_source(state, ctx, source, params)
        pieces = pieces_of(state, found)
        if params.get("CopySourceRange") is not None:
            pieces = bodies.cut(pieces, *parse_copy_range(params["CopySourceRange"], found.size))
        md5, value = await bodies.digest_pieces(state, pieces, algorithm)
        part = Part(params["PartNumber"], sum(piece.size for piece in pieces), md5.hex(), value, state.now_ms())
        if await _store_part(state, bucket, upload, part, pieces):
            break
    else:
        raise internal_error("We encountered an internal error. Please try again.")
    result: Result = {
        "CopyPartResult": {
            "ETag": f'"{part.etag}"',
            "LastModified": shown_time(part.modified_ms),
            checksums.member(algorithm): value,
        },
        "ServerSideEncryption": "AES256",
    }
    if source_bucket.versioning:
        result["CopySourceVersionId"] = found.shown_version
    return result


async def list_parts(state: State, ctx: Context, params: Params) -> Result:
    bucket, upload = _find(state, params)
    limit = min(params["MaxParts"] if params.get("MaxParts") is not None else 1000, 1000)
    marker = max(0, params.get("PartNumberMarker") or 0)
    if limit < 0:
        raise invalid_argument("Argument max-parts must be an integer between 0 and 2147483647", "max-parts", limit)
    parts = state.db.read_nowait(
        lambda connection: store.list_parts(connection, upload.id, after=marker, limit=limit + 1)
    )
    shown = parts[:limit]
    result: Result = {
        "Bucket": bucket.name,
        "Key": upload.key,
        "UploadId": upload.upload_id,
        "PartNumberMarker": marker,
        "NextPartNumberMarker": shown[-1].number if shown else 0,
        "MaxParts": limit,
        "IsTruncated": len(parts) > limit and limit > 0,
        "Parts": [_part_entry(upload, part) for part in shown],
        "Initiator": {"ID": upload.initiator, "DisplayName": upload.initiator.rpartition("/")[2]},
        "Owner": owner(bucket.account_id),
        "StorageClass": upload.storage_class,
    }
    if upload.algorithm:
        result |= {"ChecksumAlgorithm": upload.algorithm, "ChecksumType": upload.checksum_type}
    return result


def _part_entry(upload: Upload, part: Part) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "PartNumber": part.number,
        "LastModified": shown_time(part.modified_ms),
        "ETag": f'"{part.etag}"',
        "Size": part.size,
    }
    if upload.algorithm:
        entry[checksums.member(upload.algorithm)] = part.checksum
    return entry


async def list_multipart_uploads(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    page = Page.of(params, params.get("MaxUploads"), "max-uploads")
    key_marker = params.get("KeyMarker") or ""
    upload_marker = params.get("UploadIdMarker") or "" if key_marker else ""

    def query(connection: Connection) -> listing_store.Found:
        above = 2**62  # behind every upload of the marker's key
        if upload_marker:
            marked = store.get(connection, bucket.name, key_marker, upload_marker)
            above = marked.id if marked is not None else above
        return listing_store.uploads_of(
            connection,
            bucket.name,
            prefix=page.prefix,
            delimiter=page.delimiter,
            after=key_marker.encode("utf-8", "surrogateescape"),
            above=above,
            limit=page.size,
        )

    found = await state.db.scan(query)
    result: Result = {
        **page.described(),
        "Bucket": bucket.name,
        "KeyMarker": page.encode(key_marker),
        "UploadIdMarker": upload_marker,
        "MaxUploads": page.size,
        "IsTruncated": found.truncated,
        "Uploads": [_upload_entry(bucket, page, store.from_row(row)) for row in found.rows],
        **page.common_prefixes(found),
    }
    if found.truncated:
        result["NextKeyMarker"] = page.encode(found.last.decode())
        result["NextUploadIdMarker"] = found.last_row.upload_id if found.last_row is not None else ""
    return result


def _upload_entry(bucket: Bucket, page: Page, upload: Upload) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "UploadId": upload.upload_id,
        "Key": page.encode(upload.key),
        "Initiated": shown_time(upload.initiated_ms),
        "StorageClass": upload.storage_class,
        "Owner": owner(bucket.account_id),
        "Initiator": {"ID": upload.initiator, "DisplayName": upload.initiator.rpartition("/")[2]},
    }
    if upload.algorithm:
        entry |= {"ChecksumAlgorithm": upload.algorithm, "ChecksumType": upload.checksum_type}
    return entry


async def complete_multipart_upload(state: State, ctx: Context, params: Params) -> Result:
    try:
        bucket, upload = _find(state, params)
    except ServiceError as error:
        again = answer_again(state, ctx, params) if error.code == "NoSuchUpload" else None
        if again is None:
            raise
        return again
    return await complete(state, ctx, bucket, upload, params)


async def abort_multipart_upload(state: State, ctx: Context, params: Params) -> Result:
    bucket, upload = _find(state, params)
    initiated = params.get("IfMatchInitiatedTime")
    if initiated is not None and initiated != shown_time(upload.initiated_ms):
        raise ServiceError(
            "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", status=412
        )

    def work(connection: Connection, effects: Effects) -> ServiceError | None:
        dropped = store.abort(connection, upload)
        if dropped is None:
            return no_such_upload(upload.upload_id)
        effects.dropped += dropped
        return None

    await state.commit(work, bucket=bucket.name)
    return {}
