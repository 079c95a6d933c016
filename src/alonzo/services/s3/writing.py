"""What putting, copying and completing an upload have in common: checking what is asked, and placing the object."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass, field
from alonzo.core.errors import ServiceError
from alonzo.services.s3 import events, naming
from alonzo.services.s3.conditions import write_conflict
from alonzo.services.s3.errors import invalid_argument, not_implemented
from alonzo.services.s3.models import Bucket, Extent, S3Object
from alonzo.services.s3.state import Effects, State
from alonzo.services.s3.store import buckets as bucket_store
from alonzo.services.s3.store import objects as object_store

_HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "WebsiteRedirectLocation",
)
_CLASSES = frozenset(
    {
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "DEEP_ARCHIVE",
        "GLACIER_IR",
    }
)
#: Parameters that would need features Alonzo does not have, with the header that sent them.
_REFUSED = {
    "SSECustomerAlgorithm": "x-amz-server-side-encryption-customer-algorithm",
    "SSECustomerKey": "x-amz-server-side-encryption-customer-key",
    "SSECustomerKeyMD5": "x-amz-server-side-encryption-customer-key-MD5",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "SSEKMSEncryptionContext": "x-amz-server-side-encryption-context",
    "CopySourceSSECustomerAlgorithm": "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "CopySourceSSECustomerKey": "x-amz-copy-source-server-side-encryption-customer-key",
    "CopySourceSSECustomerKeyMD5": "x-amz-copy-source-server-side-encryption-customer-key-MD5",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ObjectLockRetainUntilDate": "x-amz-object-lock-retain-until-date",
    "ObjectLockLegalHoldStatus": "x-amz-object-lock-legal-hold",
    "ObjectLockEventHold": "x-amz-object-lock-event-hold",
    "ObjectLockEventHoldDurationDays": "x-amz-object-lock-event-hold-duration-days",
    "ObjectLockEventHoldDurationYears": "x-amz-object-lock-event-hold-duration-years",
    "AnnotationDirective": "x-amz-annotation-directive",
    "WriteOffsetBytes": "x-amz-write-offset-bytes",
    "MFA": "x-amz-mfa",
}
_GRANTS = ("GrantFullControl", "GrantRead", "GrantReadACP", "GrantWrite", "GrantWriteACP")
_LOOKED_AT = frozenset({*_REFUSED, *_GRANTS, "ACL", "ServerSideEncryption"})


@dataclass(frozen=True, slots=True)
class Draft:
    """An object to be: everything but its content's checksums, its number and its version."""

    key: str
    size: int = 0
    etag: str = ""
    storage_class: str = "STANDARD"
    details: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    data: bytes | None = None
    pieces: Sequence[Extent] = ()


def refuse_unsupported(params: Mapping[str, Any]) -> None:
    """Raises NotImplemented or AccessControlListNotSupported for what would otherwise be ignored."""
    if _LOOKED_AT.isdisjoint(params):
        return
    for name, header in _REFUSED.items():
        if params.get(name) is not None:
            raise not_implemented(header)
    encryption = params.get("ServerSideEncryption")
    if encryption is not None and encryption != "AES256":
        if encryption not in ("aws:kms", "aws:kms:dsse"):
            raise invalid_argument(
                "The encryption method specified is not supported", "x-amz-server-side-encryption", encryption
            )
        raise not_implemented("x-amz-server-side-encryption")
    if params.get("ACL") not in (None, "private", "bucket-owner-full-control") or any(
        params.get(name) for name in _GRANTS
    ):
        raise ServiceError("AccessControlListNotSupported", "The bucket does not allow ACLs")


def draft(params: Mapping[str, Any]) -> Draft:
    """What PutObject, CopyObject and CreateMultipartUpload ask for, checked."""
    naming.check_key(params["Key"])
    metadata = params.get("Metadata") or {}
    naming.check_metadata(metadata)
    storage_class = params.get("StorageClass") or "STANDARD"
    if storage_class not in _CLASSES:
        raise ServiceError(
            "InvalidStorageClass",
            "The storage class you specified is not valid",
            fields={"StorageClassRequested": storage_class},
        )
    headers: dict[str, str] = {name: params[name] for name in _HEADERS if params.get(name) is not None}
    if "ContentEncoding" in headers:
        _drop_transfer_coding(headers)
    expires = params.get("Expires")
    if isinstance(expires, datetime):
        headers["Expires"] = expires.isoformat()
    elif isinstance(expires, str):
        headers["ExpiresString"] = expires
    details: dict[str, Any] = {}
    if headers:
        details["headers"] = headers
    if metadata:
        details["metadata"] = dict(metadata)
    return Draft(
        params["Key"],
        storage_class=storage_class,
        details=details,
        tags=naming.tags_from_header(params.get("Tagging")),
    )


def _drop_transfer_coding(headers: dict[str, str]) -> None:
    """aws-chunked says how the request was sent, not what the content is: it is not kept."""
    kept = [one.strip() for one in headers["ContentEncoding"].split(",")]
    kept = [one for one in kept if one and one.lower() != "aws-chunked"]
    if kept:
        headers["ContentEncoding"] = ",".join(kept)
    else:
        del headers["ContentEncoding"]


def new_ids(state: State) -> Iterator[str]:
    while True:
        yield state.ids.uuid()


def new_version_id(state: State) -> str:
    return base64.b64encode(state.ids.token_bytes(24), b"._").decode()


def place(
    state: State,
    connection: Connection,
    effects: Effects,
    ctx: Context,
    bucket: Bucket,
    new: Draft,
    event: str,
    *,
    if_match: str | None = None,
    if_none_match: str | None = None,
    extents: int = 0,
) -> S3Object | ServiceError:
    """Inside a transaction: make the draft the key's latest version, and enqueue what wants to hear of it.

    `extents` is the number of pieces that are to be given to the object afterwards (a completed upload's).
    """
    previous = object_store.head(connection, bucket.name, new.key)
    if if_match is not None or if_none_match is not None:
        etag = previous.etag if previous is not None and not previous.delete_marker else None
        conflict = write_conflict(if_match, if_none_match, etag, new.key)
        if conflict is not None:
            return conflict
    now_ms, number = state.now_ms(), state.next_id()
    placed = S3Object(
        number,
        bucket.name,
        new.key,
        new_version_id(state) if bucket.versioning == "Enabled" else None,
        False,
        new.size,
        new.etag,
        now_ms,
        new.storage_class,
        extents or len(new.pieces),
        new.details,
        new.tags,
        new.data,
    )
    effects.dropped += object_store.add(
        connection,
        placed,
        owner=bucket.account_id,
        versioning=bucket.versioning,
        previous=previous,
        pieces=new.pieces,
    )
    if new.tags and not bucket.tagged:
        bucket_store.mark_tagged(connection, bucket.name)
    change = events.Change(event, new.key, new.size, new.etag, placed.version_id)
    notify(state, connection, effects, ctx, bucket, change, number)
    return placed


def notify(
    state: State,
    connection: Connection,
    effects: Effects,
    ctx: Context,
    bucket: Bucket,
    change: events.Change,
    number: int,
) -> None:
    """Enqueue a delivery for each notification that matches, in the transaction of the change."""
    if bucket.config.get("notification"):
        jobs = events.deliveries(ctx, bucket, change, sequence=number, now_ms=state.now_ms(), new_id=new_ids(state))
        state.enqueue(connection, effects, jobs)


def details_with_checksum(
    details: Mapping[str, Any], algorithm: str, value: str, kind: str = "FULL_OBJECT"
) -> dict[str, Any]:
    return {**details, "checksums": {algorithm: value}, "checksum_type": kind}


def checksum_members(details: Mapping[str, Any]) -> dict[str, str]:
    """`ChecksumCRC32` and its like, and `ChecksumType`, as answers carry them."""
    found = {f"Checksum{name}": value for name, value in details.get("checksums", {}).items()}
    if found:
        found["ChecksumType"] = details.get("checksum_type", "FULL_OBJECT")
    return found


def shown_version(bucket: Bucket, found: S3Object) -> dict[str, str]:
    """`VersionId`, in buckets that have or had versioning."""
    return {"VersionId": found.shown_version} if bucket.versioning else {}
