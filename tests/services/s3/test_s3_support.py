"""The support table, and permissions of every operation."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import alonzo.services.s3
from alonzo.dispatch import bind
from alonzo.protocol.model import load_model
from alonzo.services.s3 import access, operations


async def test_every_parameter_is_listed() -> None:
    """The support table names every operation that has a handler, and each of its parameters once."""
    table = tomllib.loads((Path(alonzo.services.s3.__file__).parent / "support.toml").read_text())
    handlers = bind("s3", object(), operations.MODULES)
    assert set(table) == set(handlers)
    model = load_model("s3")
    for name, kinds in table.items():
        assert set(kinds) <= {"enforced", "stored", "unsupported"}
        listed = [parameter for parameters in kinds.values() for parameter in parameters]
        shape = model.operation(name).input
        assert sorted(listed) == sorted(shape.members if shape is not None else [])


async def test_every_operation_has_a_permission(s3_: Any) -> None:
    """No handler can be reached without a permission being asked for, but DeleteObjects, which asks for each key."""
    for operation in s3_.service.handlers:
        params = {
            "Bucket": "bkt",
            "Key": "k",
            "CopySource": "bkt/k",
            "UploadId": "u",
            "Tagging": "a=b" if operation not in ("PutObjectTagging", "PutBucketTagging") else {"TagSet": []},
        }
        asked = await access.access_of(s3_.service.state, s3_.ctx, operation, params)
        assert all(one.action.startswith("s3:") and one.resource.startswith("arn:aws:s3:::") for one in asked)
        assert asked or operation == "DeleteObjects"


async def test_actions(s3_: Any) -> None:
    """Permissions have IAM's names where they differ from the operation's."""
    for operation, action in {
        "HeadBucket": "s3:ListBucket",
        "ListObjectVersions": "s3:ListBucketVersions",
        "GetBucketCors": "s3:GetBucketCORS",
        "PutBucketEncryption": "s3:PutEncryptionConfiguration",
        "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
        "PutBucketNotificationConfiguration": "s3:PutBucketNotification",
        "ListBuckets": "s3:ListAllMyBuckets",
    }.items():
        (asked,) = await access.access_of(s3_.service.state, s3_.ctx, operation, {"Bucket": "bkt"})
        assert asked.action == action
