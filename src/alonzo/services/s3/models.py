"""What S3 keeps, and its limits.

Source: https://docs.aws.amazon.com/general/latest/gr/s3.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from alonzo.core.dataclasses import dataclass, field

MAX_PUT_BYTES = 5 * 1024**3
MAX_OBJECT_BYTES = 50 * 1024**4
MAX_PARTS = 10_000
MIN_PART_BYTES = 5 * 1024**2
MAX_KEY_BYTES = 1024
MAX_METADATA_BYTES = 2048
MAX_BUCKETS = 10_000
MAX_OBJECT_TAGS = 10
MAX_BUCKET_TAGS = 50
MAX_DELETE_OBJECTS = 1000
MAX_POLICY_BYTES = 20 * 1024
MAX_CORS_RULES = 100
MAX_LIST_KEYS = 1000

#: Bodies up to this size are kept in the row: one fsync, shared with every transaction of the group.
INLINE_BYTES = 64 * 1024

NULL_VERSION = "null"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket. Names are global across accounts and regions, as on AWS, so the name alone is its key.

    `versioning` is "", "Enabled" or "Suspended". `tagged` says whether any object ever had tags, so that requests need
    not look for them otherwise. `config` holds the documents put by PutBucket… operations, by their noun.
    """

    name: str
    account_id: str
    region: str
    created_ms: int
    versioning: str = ""
    tagged: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        return f"arn:aws:s3:::{self.name}"

    @property
    def policy(self) -> str | None:
        return self.config.get("policy")


@dataclass(frozen=True, slots=True)
class Extent:
    """A piece of an object's content: a range of a blob, or the bytes themselves."""

    blob_id: str | None
    offset: int
    size: int
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class S3Object:
    """One version of an object, or a delete marker. `id` orders the versions of a key: the greatest is the latest.

    `details` are content headers (`headers`), user metadata (`metadata`), checksums (`checksums`, `checksum_type`) and
    the number of parts (`parts`). The content is `data`, or extents owned by `id` where `extents` is not 0.
    """

    id: int
    bucket: str
    key: str
    version_id: str | None
    delete_marker: bool
    size: int
    etag: str
    modified_ms: int
    storage_class: str
    extents: int
    details: Mapping[str, Any]
    tags: Mapping[str, str]
    data: bytes | None = None

    @property
    def shown_version(self) -> str:
        return self.version_id or NULL_VERSION

    @property
    def quoted_etag(self) -> str:
        return f'"{self.etag}"'


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that is neither completed nor aborted. Its parts and their extents are owned by `id`."""

    id: int
    upload_id: str
    bucket: str
    key: str
    initiated_ms: int
    algorithm: str
    checksum_type: str
    storage_class: str
    initiator: str
    details: Mapping[str, Any]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """An uploaded part. `checksum` is base64, of the upload's algorithm."""

    number: int
    size: int
    etag: str
    checksum: str
    modified_ms: int


def canonical_id(account_id: str) -> str:
    """An account's canonical user id: 64 hexadecimal digits."""
    return hashlib.sha256(f"canonical:{account_id}".encode()).hexdigest()


def owner(account_id: str) -> dict[str, str]:
    return {"ID": canonical_id(account_id)}


def shown_time(ms: int) -> datetime:
    """Times as S3 answers them: whole seconds."""
    return datetime.fromtimestamp(ms // 1000, UTC)
