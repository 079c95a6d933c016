"""Names of buckets, keys, tags and metadata: AWS's rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from alonzo.core.errors import ServiceError
from alonzo.services.s3.errors import invalid_argument, malformed_xml
from alonzo.services.s3.models import MAX_BUCKET_TAGS, MAX_KEY_BYTES, MAX_METADATA_BYTES, MAX_OBJECT_TAGS

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_TAG = re.compile(r"[\w\s+\-=._:/@]*")


def check_bucket_name(name: str) -> None:
    """Raises InvalidBucketName.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    if (
        _BUCKET.fullmatch(name) is None
        or ".." in name
        or _ADDRESS.fullmatch(name)
        or name.startswith(_PREFIXES)
        or name.endswith(_SUFFIXES)
    ):
        raise ServiceError("InvalidBucketName", "The specified bucket is not valid.", fields={"BucketName": name})


def check_key(key: str) -> None:
    """Raises KeyTooLongError, or InvalidURI where the request's bytes were no UTF-8."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ServiceError("InvalidURI", "Couldn't parse the specified URI.", fields={"URI": repr(key)}) from None
    if size > MAX_KEY_BYTES:
        raise ServiceError(
            "KeyTooLongError", "Your key is too long", fields={"Size": size, "MaxSizeAllowed": MAX_KEY_BYTES}
        )


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raises MetadataTooLarge.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
    """
    size = sum(
        len(name.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace")) for name, value in metadata.items()
    )
    if size > MAX_METADATA_BYTES:
        raise ServiceError(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            fields={"Size": size, "MaxSizeAllowed": MAX_METADATA_BYTES},
        )


def tags_from_header(header: str | None) -> dict[str, str]:
    """The tags of an x-amz-tagging header (form-encoded). Raises InvalidArgument, InvalidTag, BadRequest."""
    if not header:
        return {}
    try:
        pairs = parse_qsl(header, keep_blank_values=True, strict_parsing=True, max_num_fields=1000)
    except ValueError:
        raise invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag"
            " name duplicates.",
            "x-amz-tagging",
            header,
        ) from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag"
            " name duplicates.",
            "x-amz-tagging",
            header,
        )
    return _checked(pairs, MAX_OBJECT_TAGS, "Object")


def tags_from_set(tagging: Mapping[str, Any], *, of_bucket: bool) -> dict[str, str]:
    """The tags of a Tagging document. Raises InvalidTag, BadRequest, MalformedXML."""
    pairs = []
    for tag in tagging.get("TagSet") or []:
        if tag.get("Key") is None or tag.get("Value") is None:
            raise malformed_xml()
        pairs.append((tag["Key"], tag["Value"]))
    if len({name for name, _ in pairs}) != len(pairs):
        raise ServiceError("InvalidTag", "Cannot provide multiple Tags with the same key", fields={"TagKey": ""})
    return _checked(pairs, MAX_BUCKET_TAGS if of_bucket else MAX_OBJECT_TAGS, "Bucket" if of_bucket else "Object")


def _checked(pairs: Iterable[tuple[str, str]], limit: int, noun: str) -> dict[str, str]:
    tags = dict(pairs)
    if len(tags) > limit:
        raise ServiceError("BadRequest", f"{noun} tags cannot be greater than {limit}")
    for name, value in tags.items():
        if not 1 <= len(name) <= 128 or _TAG.fullmatch(name) is None:
            raise ServiceError("InvalidTag", "The TagKey you have provided is invalid", fields={"TagKey": name})
        if len(value) > 256 or _TAG.fullmatch(value) is None:
            raise ServiceError(
                "InvalidTag",
                "The TagValue you have provided is invalid",
                fields={"TagKey": name, "TagValue": value},
            )
        if name.lower().startswith("aws:"):
            raise ServiceError(
                "InvalidTag", "System tags cannot be added/updated by requester", fields={"TagKey": name}
            )
    return tags


def tag_set(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]
