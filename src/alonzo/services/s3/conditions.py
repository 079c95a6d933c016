"""Conditional requests, as S3 decides them.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html (consideration of conditional headers),
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from alonzo.core.errors import ServiceError
from alonzo.services.s3.errors import no_such_key, precondition_failed
from alonzo.services.s3.models import S3Object, shown_time

_GET = ("IfMatch", "IfUnmodifiedSince", "IfNoneMatch", "IfModifiedSince")


def matches(header: str, etag: str) -> bool:
    """Whether one of the entity tags of an If-Match or If-None-Match header is `etag` (given without quotes)."""
    if header.strip() == "*":
        return True
    return any(tag.strip().removeprefix("W/").strip('"') == etag for tag in header.split(","))


def _modified_after(found: S3Object, since: datetime) -> bool:
    return shown_time(found.modified_ms) > since


def check_read(params: Mapping[str, Any], found: S3Object) -> None:
    """Raises PreconditionFailed (412) or NotModified (304, without a body)."""
    failed = _failed(params, found, "")
    if failed is None:
        return
    if failed in ("If-Match", "If-Unmodified-Since"):
        raise precondition_failed(failed)
    headers = {
        "etag": found.quoted_etag,
        "last-modified": shown_time(found.modified_ms).strftime("%a, %d %b %Y %H:%M:%S GMT"),
    }
    if found.version_id is not None:
        headers["x-amz-version-id"] = found.version_id
    raise ServiceError("NotModified", "Not Modified", status=304, headers=headers)


def check_copy(params: Mapping[str, Any], found: S3Object) -> None:
    """The conditions on the source of a copy: each failure is a PreconditionFailed."""
    failed = _failed(params, found, "CopySource")
    if failed is not None:
        raise precondition_failed(f"x-amz-copy-source-{failed}")


def _failed(params: Mapping[str, Any], found: S3Object, prefix: str) -> str | None:
    """The header whose condition does not hold. An entity tag, where given, decides alone over its date."""
    match, unmodified, none_match, modified = (params.get(prefix + name) for name in _GET)
    if match is not None:
        if not matches(match, found.etag):
            return "If-Match"
    elif unmodified is not None and _modified_after(found, unmodified):
        return "If-Unmodified-Since"
    if none_match is not None:
        if matches(none_match, found.etag):
            return "If-None-Match"
    elif modified is not None and not _modified_after(found, modified):
        return "If-Modified-Since"
    return None


def write_conflict(if_match: str | None, if_none_match: str | None, etag: str | None, key: str) -> ServiceError | None:
    """What a conditional put answers; `etag` is the present object's, None where there is none."""
    if if_none_match is not None and etag is not None:
        return precondition_failed("If-None-Match")
    if if_match is not None:
        if etag is None:
            return no_such_key(key)
        if not matches(if_match, etag):
            return precondition_failed("If-Match")
    return None
