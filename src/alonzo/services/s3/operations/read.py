"""GetObject, HeadObject, GetObjectAttributes.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3 import bodies, checksums
from alonzo.services.s3.conditions import check_read
from alonzo.services.s3.errors import invalid_argument, invalid_request
from alonzo.services.s3.finding import find_object, pieces_of
from alonzo.services.s3.models import Bucket, S3Object, shown_time
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


async def get_object(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    _check_asked(ctx, params)
    found = await find_object(state, ctx, bucket, params, "GET")
    check_read(params, found)
    offset, length, partial = _selected(state, params, found)
    result = _described(bucket, found, params, whole=not partial)
    if partial:
        result["ContentRange"] = f"bytes {offset}-{offset + length - 1}/{found.size}"
    result["ContentLength"] = length
    if not found.extents:
        data = found.data or b""
        result["Body"] = data[offset : offset + length] if partial else data
    else:
        pieces = pieces_of(state, found)
        result["Body"] = bodies.outgoing(state, bodies.cut(pieces, offset, length) if partial else pieces)
    _add_parts_count(found, params, result)
    return result


async def head_object(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    _check_asked(ctx, params)
    found = await find_object(state, ctx, bucket, params, "HEAD")
    check_read(params, found)
    offset, length, partial = _selected(state, params, found)
    result = _described(bucket, found, params, whole=not partial)
    if partial:
        result["ContentRange"] = f"bytes {offset}-{offset + length - 1}/{found.size}"
    result["ContentLength"] = length
    _add_parts_count(found, params, result)
    return result


def _check_asked(ctx: Context, params: Params) -> None:
    if params.get("PartNumber") is not None and params.get("Range") is not None:
        raise invalid_request("Cannot specify both Range header and partNumber query parameter")
    if ctx.principal.kind == "anonymous" and any(params.get(name) is not None for name in _OVERRIDES):
        raise invalid_request("Request specific response headers cannot be used for anonymous GET requests.")


def _selected(state: State, params: Params, found: S3Object) -> tuple[int, int, bool]:
    """(offset, length, whether it is a part of the content)."""
    number = params.get("PartNumber")
    if number is None:
        chosen = parse_range(params.get("Range"), found.size)
        return (0, found.size, False) if chosen is None else (*chosen, True)
    total = found.details.get("parts", 1)
    if not 1 <= number <= 10_000:
        raise invalid_argument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", number)
    if number > total:
        raise ServiceError(
            "InvalidPartNumber",
            "The requested partnumber is not satisfiable",
            status=416,
            fields={"ActualPartCount": total, "PartNumberRequested": number},
        )
    if "parts" not in found.details:
        return 0, found.size, found.size > 0
    parts = state.db.read_nowait(lambda connection: part_store.list_parts(connection, found.id, limit=number))
    return sum(part.size for part in parts[: number - 1]), parts[number - 1].size, True


def _described(bucket: Bucket, found: S3Object, params: Params, *, whole: bool) -> dict[str, Any]:
    """What GET and HEAD tell of an object."""
    result: dict[str, Any] = {
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
    if params.get("ChecksumMode") == "ENABLED" and (whole or params.get("PartNumber") is not None):
        result.update(checksum_members(found.details))
    for name, header in _OVERRIDES.items():
        if params.get(name) is not None:
            result[header] = params[name]
    return result


def _add_parts_count(found: S3Object, params: Params, result: Result) -> None:
    if params.get("PartNumber") is not None and "parts" in found.details:
        result["PartsCount"] = found.details["parts"]


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
