"""Completing a multipart upload: checking the list of parts, and making them one object.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.services.s3 import checksums, events, writing
from alonzo.services.s3.errors import (
    entity_too_large,
    invalid_request,
    malformed_xml,
    no_such_upload,
    not_implemented,
)
from alonzo.services.s3.models import MAX_OBJECT_BYTES, MAX_PARTS, MIN_PART_BYTES, Bucket, Part, S3Object, Upload
from alonzo.services.s3.state import Effects, State
from alonzo.services.s3.store import objects as object_store
from alonzo.services.s3.store import uploads as store


async def complete(
    state: State, ctx: Context, bucket: Bucket, upload: Upload, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Raises InvalidPart, InvalidPartOrder, EntityTooSmall, BadDigest, InvalidRequest, PreconditionFailed."""
    wanted = (params.get("MultipartUpload") or {}).get("Parts") or []
    _check_list(upload, wanted)
    if params.get("IfNoneMatch") not in (None, "*"):
        raise not_implemented("If-None-Match")
    given = _given_checksum(upload, params)
    numbers = {one["PartNumber"] for one in wanted}

    def work(connection: Connection, effects: Effects) -> S3Object | ServiceError:
        """Checks first: what it returns as an error has written nothing."""
        if store.get(connection, bucket.name, upload.key, upload.upload_id) is None:
            return no_such_upload(upload.upload_id)
        stored = store.list_parts(connection, upload.id)
        by_number = {part.number: part for part in stored}
        try:
            parts = [_check_part(upload, one, by_number.get(one["PartNumber"])) for one in wanted]
            _check_sizes(parts, params.get("MpuObjectSize"))
            algorithm, value = _checksum(upload, parts, given)
        except ServiceError as error:
            return error
        new = writing.Draft(
            upload.key,
            size=sum(part.size for part in parts),
            etag=_etag(parts),
            storage_class=upload.storage_class,
            details=writing.details_with_checksum(
                {**upload.details, "parts": len(parts), "upload": _fingerprint(upload.upload_id)},
                algorithm,
                value,
                upload.checksum_type,
            ),
            tags=upload.tags,
        )
        placed = writing.place(
            state,
            connection,
            effects,
            ctx,
            bucket,
            new,
            events.CREATED_MULTIPART,
            if_match=params.get("IfMatch"),
            if_none_match=params.get("IfNoneMatch"),
            extents=1,  # that there are some; hand_over gives them
        )
        if isinstance(placed, ServiceError):
            return placed
        if len(numbers) < len(stored):
            effects.dropped += store.keep_only(connection, upload.id, numbers)
        store.hand_over(connection, upload, placed.id)
        return placed

    placed = await state.commit(work, bucket=bucket.name, changes_bucket=bool(upload.tags) and not bucket.tagged)
    return _answer(ctx, bucket, placed)


def answer_again(state: State, ctx: Context, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same answer once more for an upload that was completed, as AWS gives it to a client that repeats."""
    bucket = state.bucket(params["Bucket"])
    found = state.db.read_nowait(lambda connection: object_store.current(connection, bucket.name, params["Key"]))
    if found is None or found.details.get("upload") != _fingerprint(params["UploadId"]):
        return None
    return _answer(ctx, bucket, found)


def _fingerprint(upload_id: str) -> str:
    return hashlib.sha256(upload_id.encode("utf-8", "replace")).hexdigest()[:16]


def _answer(ctx: Context, bucket: Bucket, placed: S3Object) -> dict[str, Any]:
    return {
        "Location": f"{ctx.endpoint.rstrip('/')}/{bucket.name}/{quote(placed.key, safe='/~')}",
        "Bucket": bucket.name,
        "Key": placed.key,
        "ETag": placed.quoted_etag,
        "ServerSideEncryption": "AES256",
        **writing.checksum_members(placed.details),
        **writing.shown_version(bucket, placed),
    }


def _check_list(upload: Upload, wanted: Sequence[Mapping[str, Any]]) -> None:
    if not wanted or len(wanted) > MAX_PARTS or any(one.get("PartNumber") is None for one in wanted):
        raise malformed_xml()
    previous = 0
    for one in wanted:
        if one["PartNumber"] <= previous:
            raise ServiceError(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
                fields={"UploadId": upload.upload_id},
            )
        previous = one["PartNumber"]
        if upload.algorithm and upload.checksum_type == "COMPOSITE" and not one.get(checksums.member(upload.algorithm)):
            raise invalid_request(
                f"The upload was created using a {upload.algorithm.lower()} checksum. The complete request must"
                f" include the checksum for each part. It was missing for part {previous} in the request."
            )


def _given_checksum(upload: Upload, params: Mapping[str, Any]) -> str | None:
    """The object's checksum as the client expects it."""
    algorithm = upload.algorithm or checksums.DEFAULT
    kind = params.get("ChecksumType")
    if kind is not None and upload.algorithm and kind != upload.checksum_type:
        raise ServiceError(
            "BadDigest",
            f"The upload was created using the {upload.checksum_type} checksum mode. The complete request must use the"
            " same checksum mode.",
        )
    found = [
        (name.removeprefix("Checksum"), value)
        for name, value in params.items()
        if name.startswith("Checksum") and name != "ChecksumType" and isinstance(value, str)
    ]
    if not found:
        return None
    if len(found) > 1:
        raise invalid_request("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
    name, value = found[0]
    checksums.check_supported(name)
    if name != algorithm:
        raise checksums.type_mismatch(algorithm, name)
    checksums.check_form(name, value, parts=True)
    return value


def _check_part(upload: Upload, wanted: Mapping[str, Any], part: Part | None) -> Part:
    etag = str(wanted.get("ETag") or "").strip('"')
    value = wanted.get(checksums.member(upload.algorithm)) if upload.algorithm else None
    if part is None or (etag and etag != part.etag) or (value and value != part.checksum) or not (etag or value):
        raise ServiceError(
            "InvalidPart",
            "One or more of the specified parts could not be found.  The part may not have been uploaded, or the"
            " specified entity tag may not match the part's entity tag.",
            fields={"UploadId": upload.upload_id, "PartNumber": wanted["PartNumber"], "ETag": etag},
        )
    return part


def _check_sizes(parts: Sequence[Part], expected: int | None) -> None:
    for part in parts[:-1]:
        if part.size < MIN_PART_BYTES:
            raise ServiceError(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                fields={
                    "ProposedSize": part.size,
                    "MinSizeAllowed": MIN_PART_BYTES,
                    "PartNumber": part.number,
                    "ETag": part.etag,
                },
            )
    total = sum(part.size for part in parts)
    if total > MAX_OBJECT_BYTES:
        raise entity_too_large(total, MAX_OBJECT_BYTES)
    if expected is not None and int(expected) != total:
        raise invalid_request(
            f"The provided 'x-amz-mp-object-size' header value {expected} does not match what was computed: {total}"
        )


def _checksum(upload: Upload, parts: Sequence[Part], given: str | None) -> tuple[str, str]:
    """(algorithm, value) of the whole. Raises BadDigest where the client expects another."""
    algorithm = upload.algorithm or checksums.DEFAULT
    if upload.checksum_type == "COMPOSITE":
        value = checksums.composite(algorithm, [part.checksum for part in parts])
        same = given is None or given in (value, value.partition("-")[0])
    else:
        value = checksums.full_object(algorithm, [(part.checksum, part.size) for part in parts])
        same = given in (None, value)
    if not same:
        raise checksums.mismatch(algorithm)
    return algorithm, value


def _etag(parts: Sequence[Part]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        digest.update(bytes.fromhex(part.etag))
    return f"{digest.hexdigest()}-{len(parts)}"
