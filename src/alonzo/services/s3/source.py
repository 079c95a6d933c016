"""x-amz-copy-source: which object a copy reads."""

from __future__ import annotations

from urllib.parse import unquote

from alonzo.core.dataclasses import dataclass
from alonzo.services.s3 import naming
from alonzo.services.s3.errors import invalid_argument


@dataclass(frozen=True, slots=True)
class CopySource:
    bucket: str
    key: str
    version_id: str = ""


def parse_copy_source(header: str) -> CopySource:
    """`[/]bucket/key[?versionId=id]`, percent-encoded. Raises InvalidArgument."""
    path, _, query = header.partition("?versionId=")
    text = unquote(path, errors="surrogateescape").removeprefix("/")
    bucket, slash, key = text.partition("/")
    if not slash or not bucket or not key:
        raise invalid_argument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey", "x-amz-copy-source", header
        )
    if text.startswith("arn:"):
        raise invalid_argument("Invalid copy source object key", "x-amz-copy-source", header)
    naming.check_key(key)
    return CopySource(bucket, key, unquote(query))
