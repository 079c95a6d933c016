"""Which permissions each operation needs.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from alonzo.core.context import Context
from alonzo.dispatch import Access
from alonzo.services.s3 import naming
from alonzo.services.s3.errors import access_denied
from alonzo.services.s3.models import Bucket
from alonzo.services.s3.policy import is_public
from alonzo.services.s3.source import parse_copy_source
from alonzo.services.s3.state import State
from alonzo.services.s3.store import objects as object_store

_BUCKET = {
    "HeadBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketCors": "GetBucketCORS",
    "PutBucketCors": "PutBucketCORS",
    "DeleteBucketCors": "PutBucketCORS",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
}
#: Operations whose permission is named after them.
_SAME = frozenset(
    {
        "DeleteBucket",
        "GetBucketLocation",
        "GetBucketVersioning",
        "PutBucketVersioning",
        "GetBucketTagging",
        "PutBucketTagging",
        "GetBucketPolicy",
        "PutBucketPolicy",
        "DeleteBucketPolicy",
        "GetBucketPolicyStatus",
        "GetBucketOwnershipControls",
        "PutBucketOwnershipControls",
        "GetBucketAcl",
        "PutBucketAcl",
        "GetBucketWebsite",
        "GetBucketLogging",
        "GetBucketRequestPayment",
    }
)
_OBJECT = {
    "GetObject": ("GetObject",),
    "HeadObject": ("GetObject",),
    "GetObjectAttributes": ("GetObject", "GetObjectAttributes"),
    "PutObject": ("PutObject",),
    "CopyObject": ("PutObject",),
    "CreateMultipartUpload": ("PutObject",),
    "UploadPart": ("PutObject",),
    "UploadPartCopy": ("PutObject",),
    "CompleteMultipartUpload": ("PutObject",),
    "AbortMultipartUpload": ("AbortMultipartUpload",),
    "ListParts": ("ListMultipartUploadParts",),
    "DeleteObject": ("DeleteObject",),
    "GetObjectTagging": ("GetObjectTagging",),
    "PutObjectTagging": ("PutObjectTagging",),
    "DeleteObjectTagging": ("DeleteObjectTagging",),
    "GetObjectAcl": ("GetObjectAcl",),
}
#: What the root of the bucket's account may always do: nobody locks himself out of his own bucket.
#: Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketPolicy.html
_ROOT_MAY = frozenset({"GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"})
#: What reads or changes an object that exists: its tags may decide.
_EXISTING = frozenset(
    {
        "GetObject",
        "HeadObject",
        "GetObjectAttributes",
        "GetObjectTagging",
        "PutObjectTagging",
        "DeleteObjectTagging",
        "GetObjectAcl",
        "DeleteObject",
    }
)
_VERSIONED = {
    "GetObject": "GetObjectVersion",
    "GetObjectAttributes": "GetObjectVersionAttributes",
    "DeleteObject": "DeleteObjectVersion",
    "GetObjectTagging": "GetObjectVersionTagging",
    "PutObjectTagging": "PutObjectVersionTagging",
    "DeleteObjectTagging": "DeleteObjectVersionTagging",
    "GetObjectAcl": "GetObjectVersionAcl",
}
#: Condition keys that are a parameter's value.
_CONDITIONS = {
    "Prefix": "s3:prefix",
    "Delimiter": "s3:delimiter",
    "MaxKeys": "s3:max-keys",
    "ACL": "s3:x-amz-acl",
    "StorageClass": "s3:x-amz-storage-class",
    "ServerSideEncryption": "s3:x-amz-server-side-encryption",
    "CopySource": "s3:x-amz-copy-source",
    "MetadataDirective": "s3:x-amz-metadata-directive",
    "WebsiteRedirectLocation": "s3:x-amz-website-redirect-location",
    "VersionId": "s3:VersionId",
    "IfMatch": "s3:if-match",
    "IfNoneMatch": "s3:if-none-match",
    "ObjectOwnership": "s3:x-amz-object-ownership",
}


async def access_of(state: State, ctx: Context, operation: str, params: dict[str, Any]) -> Sequence[Access]:
    """What an operation needs. None where the bucket does not exist: the handler says so."""
    if operation == "ListBuckets":
        return [Access("s3:ListAllMyBuckets", "arn:aws:s3:::*", ctx.account_id)]
    name: str = params["Bucket"]
    if operation == "CreateBucket":
        location = (params.get("CreateBucketConfiguration") or {}).get("LocationConstraint")
        conditions = _conditions(params)
        if location:
            conditions["s3:LocationConstraint"] = location
        return [Access("s3:CreateBucket", f"arn:aws:s3:::{name}", ctx.account_id, None, conditions)]
    bucket = state.find_bucket(name)
    if bucket is None:
        return []
    _check_owner(params.get("ExpectedBucketOwner"), bucket)
    if operation in _OBJECT:
        return _object_access(state, ctx, operation, params, bucket)
    if operation == "DeleteObjects":
        return []  # each key is authorised, and answered, by itself
    action = _BUCKET.get(operation) or (operation if operation in _SAME else None)
    if action is None:
        raise RuntimeError(f"no permission is known for s3:{operation}")
    who = ctx.principal
    if operation in _ROOT_MAY and who.kind == "root" and who.account_id == bucket.account_id:
        return [Access(f"s3:{action}", bucket.arn, bucket.account_id, None, _conditions(params))]
    return [_one(ctx, bucket, action, bucket.arn, _conditions(params))]


def _check_owner(expected: str | None, bucket: Bucket) -> None:
    if expected is not None and expected != bucket.account_id:
        raise access_denied()


def _conditions(params: Mapping[str, Any]) -> dict[str, str | Sequence[str]]:
    if _CONDITIONS.keys().isdisjoint(params):
        return {}
    return {key: str(params[name]) for name, key in _CONDITIONS.items() if params.get(name) is not None}


def _one(
    ctx: Context, bucket: Bucket, action: str, resource: str, conditions: Mapping[str, str | Sequence[str]]
) -> Access:
    return Access(f"s3:{action}", resource, bucket.account_id, effective_policy(ctx, bucket), conditions)


def effective_policy(ctx: Context, bucket: Bucket) -> str | None:
    """The bucket's policy as this caller meets it: RestrictPublicBuckets hides a public one from other accounts."""
    if bucket.policy is None:
        return None
    block = bucket.config.get("public_access_block") or {}
    foreign = ctx.principal.kind != "service" and ctx.principal.account_id != bucket.account_id
    if block.get("RestrictPublicBuckets") and foreign and is_public(json.loads(bucket.policy)):
        return None
    return bucket.policy


def _object_access(state: State, ctx: Context, operation: str, params: dict[str, Any], bucket: Bucket) -> list[Access]:
    key, version_id = params["Key"], params.get("VersionId") or ""
    conditions = _conditions(params)
    if bucket.tagged and operation in _EXISTING:
        conditions |= existing_tags(state, bucket, key, version_id)
    found = []
    for action in _OBJECT[operation]:
        shown = _VERSIONED.get(action, action) if version_id else action
        found.append(_one(ctx, bucket, shown, f"{bucket.arn}/{key}", conditions))
    if operation in ("PutObject", "CopyObject", "CreateMultipartUpload") and params.get("Tagging"):
        tags = naming.tags_from_header(params["Tagging"])
        found.append(_one(ctx, bucket, "PutObjectTagging", f"{bucket.arn}/{key}", conditions | requested(tags)))
    if operation == "PutObjectTagging":
        tags = naming.tags_from_set(params["Tagging"], of_bucket=False)
        found = [_one(ctx, bucket, one.action[3:], one.resource, conditions | requested(tags)) for one in found]
    if params.get("ACL"):
        found.append(_one(ctx, bucket, "PutObjectAcl", f"{bucket.arn}/{key}", conditions))
    if params.get("CopySource"):
        found += _source_access(state, ctx, params)
    return found


def _source_access(state: State, ctx: Context, params: Mapping[str, Any]) -> list[Access]:
    source = parse_copy_source(params["CopySource"])
    bucket = state.find_bucket(source.bucket)
    if bucket is None:
        return []
    _check_owner(params.get("ExpectedSourceBucketOwner"), bucket)
    conditions: dict[str, str | Sequence[str]] = {}
    if bucket.tagged:
        conditions |= existing_tags(state, bucket, source.key, source.version_id)
    if source.version_id:
        conditions["s3:VersionId"] = source.version_id
    action = "GetObjectVersion" if source.version_id else "GetObject"
    return [_one(ctx, bucket, action, f"{bucket.arn}/{source.key}", conditions)]


def key_access(state: State, ctx: Context, bucket: Bucket, action: str, key: str, version_id: str) -> Access:
    """The permission on one key, for handlers that check by themselves."""
    conditions: dict[str, str | Sequence[str]] = {}
    if bucket.tagged:
        conditions |= existing_tags(state, bucket, key, version_id)
    if version_id:
        conditions["s3:VersionId"] = version_id
        action = _VERSIONED.get(action, action)
    return _one(ctx, bucket, action, f"{bucket.arn}/{key}", conditions)


def existing_tags(state: State, bucket: Bucket, key: str, version_id: str) -> dict[str, str | Sequence[str]]:
    naming.check_key(key)
    tags = state.read(lambda connection: object_store.tags_of(connection, bucket.name, key, version_id))
    return {f"s3:ExistingObjectTag/{name}": value for name, value in tags.items()}


def requested(tags: Mapping[str, str]) -> dict[str, str | Sequence[str]]:
    found: dict[str, str | Sequence[str]] = {f"s3:RequestObjectTag/{name}": value for name, value in tags.items()}
    found["s3:RequestObjectTagKeys"] = list(tags)
    return found
