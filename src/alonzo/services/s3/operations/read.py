"""GetObject, HeadObject, GetObjectAttributes.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3 import bodies, checksums
from alonzo.services.s3.conditions import check_read
from alonzo.services.s3.errors import invalid_argument, invalid_request
from alonzo.services.s3.finding import find_object, pieces_of
from alonzo.services.s3.models import MAX_PARTS, Bucket, Part, S3Object, shown_time
from alonzo.services.s3.ranges import parse_range
from alonzo.services.s3.state import State
from alonzo.services.s3.store import uploads as part_store
from alonzo.services.s3.writing import checksum_members, shown_version

_OVERRIDES = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}


@dataclass(frozen=True, slots=True)
class _Selection:
    """Which of an object's bytes are asked for: all, a range (`partial`), or one of its uploaded parts."""

    offset: int
    length: int
    partial: bool
    part: Part | None = None


async def get_object(state: State, ctx: Context, params: Params) -> Result:
    bucket, found, selection = await _selected(state, ctx, params, "GET")
    result = _described(bucket, found, params, selection)
    if not found.extents:
        data = found.data or b""
        end = selection.offset + selection.length
        result["Body"] = data[selection.offset : end] if selection.partial else data
    else:
        pieces = pieces_of(state, found)
        if selection.partial:
            pieces = bodies.cut(pieces, selection.offset, selection.length)
        result["Body"] = bodies.outgoing(state, pieces)
    return result


async def head_object(state: State, ctx: Context, params: Params) -> Result:
    bucket, found, selection = await _selected(state, ctx, params, "HEAD")
    return _described(bucket, found, params, selection)


async def _selected(state: State, ctx: Context, params: Params, method: str) -> tuple[Bucket, S3Object, _Selection]:
    """The object asked for, its conditions checked, and which of its bytes."""
    bucket = state.bucket(params["Bucket"])
    _check_asked(ctx, params)
    found = await find_object(state, ctx, bucket, params, method)
    check_read(params, found)
    number = params.get("PartNumber")
    if number is not None:
        return bucket, found, _part_selected(state, found, number)
    chosen = parse_range(params.get("Range"), found.size)
    if chosen is None:
        return bucket, found, _Selection(0, found.size, False)
    return bucket, found, _Selection(*chosen, True)


def _check_asked(ctx: Context, params: Params) -> None:
    if params.get("PartNumber") is not None and params.get("Range") is not None:
        raise invalid_request("Cannot specify both Range header and partNumber query parameter")
    if ctx.principal.kind == "anonymous" and any(params.get(name) is not None for name in _OVERRIDES):
        raise invalid_request("Request specific response headers cannot be used for anonymous GET requests.")


def _part_selected(state: State, found: S3Object, number: int) -> _Selection:
    total = found.details.get("parts", 1)
    if not 1 <= number <= MAX_PARTS:
        raise invalid_argument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", number)
    if number > total:
        raise ServiceError(
            "InvalidPartNumber",
            "The requested partnumber is not satisfiable",
            status=416,
            fields={"ActualPartCount": total, "PartNumberRequested": number},
        )
    if "parts" not in found.details:
        return _Selection(0, found.size, found.size > 0)
    parts = state.db.read_nowait(lambda connection: part_store.list_parts(connection, found.id, limit=number))
    part = parts[number - 1]
    return _Selection(sum(one.size for one in parts[:-1]), part.size, True, part)


def _described(bucket: Bucket, found: S3Object, params: Params, selection: _Selection) -> dict[str, Any]:
    """What GET and HEAD tell of an object."""
    result: dict[str, Any] = {
        "ContentLength": selection.length,
        "AcceptRanges": "bytes",
        "LastModified": shown_time(found.modified_ms),
        "ETag": found.quoted_etag,
        "ContentType": "binary/octet-stream",
        "ServerSideEncryption": "AES256",
        "Metadata": found.details.get("metadata", {}),
    }
    headers = found.details.get("headers")
    if headers:
        result.update(headers)
        if "Expires" in headers:
            result["Expires"] = datetime.fromisoformat(headers["Expires"])
    if found.storage_class != "STANDARD":
        result["StorageClass"] = found.storage_class
    if found.tags:
        result["TagCount"] = len(found.tags)
    if bucket.versioning:
        result["VersionId"] = found.shown_version
    if selection.partial:
        last = selection.offset + selection.length - 1
        result["ContentRange"] = f"bytes {selection.offset}-{last}/{found.size}"
    if selection.part is not None:
        result["PartsCount"] = found.details["parts"]
    if params.get("ChecksumMode") == "ENABLED":
        result.update(_checksums(found, params, selection))
    for name, header in _OVERRIDES.items():
        if params.get(name) is not None:
            result[header] = params[name]
    return result


def _checksums(found: S3Object, params: Params, selection: _Selection) -> dict[str, str]:
    """The checksum of what is sent, where one is kept: of the whole, or of a part that has its own."""
    members = checksum_members(found.details)
    if selection.part is None:
        return members if not selection.partial or params.get("PartNumber") is not None else {}
    if members.get("ChecksumType") == "COMPOSITE":
        (algorithm,) = found.details["checksums"]
        return {checksums.member(algorithm): selection.part.checksum, "ChecksumType": "COMPOSITE"}
    return members if found.details["parts"] == 1 else {}


async def get_object_attributes(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    wanted = set(params["ObjectAttributes"])
    if unknown := wanted - {"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}:
        raise invalid_argument("Invalid attribute name specified.", "x-amz-object-attributes", min(unknown))
    found = await find_object(state, ctx, bucket, params, "GET")
    result: Result = {"LastModified": shown_time(found.modified_ms), **shown_version(bucket, found)}
    if "ETag" in wanted:
        result["ETag"] = found.etag
    if "ObjectSize" in wanted:
        result["ObjectSize"] = found.size
    if "StorageClass" in wanted:
        result["StorageClass"] = found.storage_class
    if "Checksum" in wanted and found.details.get("checksums"):
        # Without the number of parts that the header of a composite checksum carries.
        members = checksum_members(found.details)
        result["Checksum"] = {name: value.partition("-")[0] for name, value in members.items()}
    if "ObjectParts" in wanted and "parts" in found.details:
        result["ObjectParts"] = _attributes_of_parts(state, params, found)
    return result


def _attributes_of_parts(state: State, params: Params, found: S3Object) -> dict[str, Any]:
    limit = max(1, min(params.get("MaxParts") or 1000, 1000))
    marker = max(0, params.get("PartNumberMarker") or 0)
    answer: dict[str, Any] = {"TotalPartsCount": found.details["parts"]}
    if not found.details.get("checksums") or found.details.get("checksum_type") != "COMPOSITE":
        return answer  # AWS lists the parts only where each has a checksum of its own
    (algorithm,) = found.details["checksums"]
    parts = state.db.read_nowait(
        lambda connection: part_store.list_parts(connection, found.id, after=marker, limit=limit + 1)
    )
    shown = parts[:limit]
    answer |= {
        "PartNumberMarker": marker,
        "NextPartNumberMarker": shown[-1].number if shown else 0,
        "MaxParts": limit,
        "IsTruncated": len(parts) > limit,
        "Parts": [
            {"PartNumber": part.number, "Size": part.size, checksums.member(algorithm): part.checksum} for part in shown
        ],
    }
    return answer
