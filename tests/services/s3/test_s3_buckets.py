"""Buckets and what is attached to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

OTHER = "111111111111"


async def test_create_list_delete(s3_: Any) -> None:
    """A bucket made is listed with its date, and gone once deleted."""
    answer = await s3_("CreateBucket", Bucket="second-bucket")
    assert answer["Location"] == "/second-bucket"
    names = [one["Name"] for one in (await s3_("ListBuckets"))["Buckets"]]
    assert names == ["bkt", "second-bucket"]
    await s3_("DeleteBucket", Bucket="second-bucket")
    error = await s3_.fails("NoSuchBucket", "HeadBucket", Bucket="second-bucket")
    assert error.status == 404 and error.fields == {"BucketName": "second-bucket"}


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "a" * 64,
        "Upper",
        "under_score",
        "192.168.5.4",
        "a..b",
        "-start",
        "end-",
        "xn--x",
        "a-s3alias",
        ".ab",
        "a b",
    ],
)
async def test_bad_names(s3_: Any, name: str) -> None:
    """Names that break AWS's naming rules are refused."""
    error = await s3_.fails("InvalidBucketName", "CreateBucket", Bucket=name)
    assert error.fields["BucketName"] == name


async def test_names_are_global(s3_: Any) -> None:
    """Another account cannot have a name that is taken, and does not see the bucket in its list."""
    other = s3_.as_account(OTHER)
    error = await s3_.fails("BucketAlreadyExists", "CreateBucket", ctx=other, Bucket="bkt")
    assert error.status == 409
    assert (await s3_("ListBuckets", ctx=other))["Buckets"] == []


async def test_create_twice(s3_: Any) -> None:
    """One's own bucket may be created again in us-east-1, and nowhere else."""
    await s3_("CreateBucket", Bucket="bkt")
    there = s3_.as_account("000000000000", "eu-west-1")
    where = {"LocationConstraint": "eu-west-1"}
    await s3_("CreateBucket", ctx=there, Bucket="in-ireland", CreateBucketConfiguration=where)
    error = await s3_.fails(
        "BucketAlreadyOwnedByYou", "CreateBucket", ctx=there, Bucket="in-ireland", CreateBucketConfiguration=where
    )
    assert error.status == 409


async def test_locations(s3_: Any) -> None:
    """The region's endpoint and the location constraint must agree; us-east-1 answers no constraint."""
    there = s3_.as_account("000000000000", "eu-west-1")
    await s3_.fails("IllegalLocationConstraintException", "CreateBucket", ctx=there, Bucket="nowhere")
    wrong = {"LocationConstraint": "us-west-2"}
    error = await s3_.fails(
        "IllegalLocationConstraintException",
        "CreateBucket",
        ctx=there,
        Bucket="nowhere",
        CreateBucketConfiguration=wrong,
    )
    assert error.message.startswith("The us-west-2 location constraint is incompatible")
    await s3_("CreateBucket", Bucket="ohio", CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    assert await s3_("GetBucketLocation", Bucket="ohio") == {"LocationConstraint": "us-east-2"}
    assert await s3_("GetBucketLocation", Bucket="bkt") == {}
    assert (await s3_("HeadBucket", Bucket="ohio"))["BucketRegion"] == "us-east-2"


async def test_list_pages(s3_: Any) -> None:
    """Buckets are listed in pages, by prefix and by region."""
    for name in ("pre-a", "pre-b", "pre-c"):
        await s3_("CreateBucket", Bucket=name)
    page = await s3_("ListBuckets", MaxBuckets=2, Prefix="pre-")
    assert [one["Name"] for one in page["Buckets"]] == ["pre-a", "pre-b"]
    rest = await s3_("ListBuckets", MaxBuckets=2, Prefix="pre-", ContinuationToken=page["ContinuationToken"])
    assert [one["Name"] for one in rest["Buckets"]] == ["pre-c"]
    assert "ContinuationToken" not in rest


async def test_not_empty(s3_: Any) -> None:
    """A bucket with an object cannot be deleted; one whose last version has gone can."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"1")
    error = await s3_.fails("BucketNotEmpty", "DeleteBucket", Bucket="bkt")
    assert error.message == "The bucket you tried to delete is not empty"
    await s3_("PutBucketVersioning", Bucket="bkt", VersioningConfiguration={"Status": "Enabled"})
    marker = await s3_("DeleteObject", Bucket="bkt", Key="k")
    error = await s3_.fails("BucketNotEmpty", "DeleteBucket", Bucket="bkt")
    assert error.message.endswith("You must delete all versions in the bucket.")
    for version in (marker["VersionId"], "null"):
        await s3_("DeleteObject", Bucket="bkt", Key="k", VersionId=version)
    await s3_("DeleteBucket", Bucket="bkt")


async def test_delete_forgets_uploads(s3_: Any) -> None:
    """Unfinished uploads go with their bucket, and their blobs with them."""
    upload = await s3_("CreateMultipartUpload", Bucket="bkt", Key="k")
    await s3_("UploadPart", Bucket="bkt", Key="k", UploadId=upload["UploadId"], PartNumber=1, Body=b"x" * 100_000)
    assert len(s3_.files()) == 1
    await s3_("DeleteBucket", Bucket="bkt")
    await s3_.service.stop()
    assert s3_.files() == []


async def test_defaults(s3_: Any) -> None:
    """A new bucket blocks public access, enforces its owner, encrypts with AES256 and has a private ACL."""
    block = (await s3_("GetPublicAccessBlock", Bucket="bkt"))["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True} and len(block) == 4
    rules = (await s3_("GetBucketOwnershipControls", Bucket="bkt"))["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    rules = (await s3_("GetBucketEncryption", Bucket="bkt"))["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (grant,) = (await s3_("GetBucketAcl", Bucket="bkt"))["Grants"]
    assert grant["Permission"] == "FULL_CONTROL"
    assert await s3_("GetBucketVersioning", Bucket="bkt") == {}
    for code, operation in (
        ("NoSuchTagSet", "GetBucketTagging"),
        ("NoSuchBucketPolicy", "GetBucketPolicy"),
        ("NoSuchCORSConfiguration", "GetBucketCors"),
    ):
        assert (await s3_.fails(code, operation, Bucket="bkt")).status == 404


async def test_tagging(s3_: Any) -> None:
    """Bucket tags are kept, replaced, removed, and limited."""
    await s3_("PutBucketTagging", Bucket="bkt", Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    assert (await s3_("GetBucketTagging", Bucket="bkt"))["TagSet"] == [{"Key": "a", "Value": "1"}]
    many = {"TagSet": [{"Key": f"k{n}", "Value": ""} for n in range(51)]}
    await s3_.fails("BadRequest", "PutBucketTagging", Bucket="bkt", Tagging=many)
    twice = {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}
    await s3_.fails("InvalidTag", "PutBucketTagging", Bucket="bkt", Tagging=twice)
    await s3_("DeleteBucketTagging", Bucket="bkt")
    await s3_.fails("NoSuchTagSet", "GetBucketTagging", Bucket="bkt")


def _policy(**changes: Any) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"},
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::bkt/*",
        **changes,
    }
    statement = {name: value for name, value in statement.items() if value is not None}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


async def test_policy_is_given_to_the_authorizer(s3_: Any) -> None:
    """A bucket's policy comes back unchanged, and with every permission that is asked for."""
    await s3_("PutBucketPolicy", Bucket="bkt", Policy=_policy())
    assert (await s3_("GetBucketPolicy", Bucket="bkt"))["Policy"] == _policy()
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"")
    assert s3_.authorizer.asked[-1].resource_policy == _policy()
    assert s3_.authorizer.asked[-1].resource_account == "000000000000"
    await s3_("DeleteBucketPolicy", Bucket="bkt")
    await s3_("GetObject", Bucket="bkt", Key="k")
    assert s3_.authorizer.asked[-1].resource_policy is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "Policies must be valid JSON and the first byte must be '{'"),
        ("[1]", "Policies must be valid JSON and the first byte must be '{'"),
        (_policy(Principal=None), "Missing required field Principal"),
        (_policy(Action="ec2:Run"), "Policy has invalid action"),
        (_policy(Resource="arn:aws:s3:::other/*"), "Policy has invalid resource"),
        (_policy(Effect="Perhaps"), "Invalid effect: Perhaps"),
        ("[" * 10_000, "Policies must be valid JSON and the first byte must be '{'"),
    ],
)
async def test_bad_policies(s3_: Any, text: str, message: str) -> None:
    """A malformed policy is refused with the reason."""
    error = await s3_.fails("MalformedPolicy", "PutBucketPolicy", Bucket="bkt", Policy=text)
    assert error.message == message


async def test_public_policies(s3_: Any) -> None:
    """A public policy is refused while BlockPublicPolicy stands; its status says so, unless a condition narrows it."""
    everybody = _policy(Principal="*")
    error = await s3_.fails("AccessDenied", "PutBucketPolicy", Bucket="bkt", Policy=everybody)
    assert "BlockPublicPolicy" in error.message
    await s3_("DeletePublicAccessBlock", Bucket="bkt")
    await s3_.fails("NoSuchPublicAccessBlockConfiguration", "GetPublicAccessBlock", Bucket="bkt")
    await s3_("PutBucketPolicy", Bucket="bkt", Policy=everybody)
    assert (await s3_("GetBucketPolicyStatus", Bucket="bkt"))["PolicyStatus"] == {"IsPublic": True}
    narrowed = _policy(Principal="*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})
    await s3_("PutBucketPolicy", Bucket="bkt", Policy=narrowed)
    assert (await s3_("GetBucketPolicyStatus", Bucket="bkt"))["PolicyStatus"] == {"IsPublic": False}


async def test_restrict_public_buckets(s3_: Any) -> None:
    """RestrictPublicBuckets hides a public policy from other accounts, not from the owner's."""
    await s3_("DeletePublicAccessBlock", Bucket="bkt")
    await s3_("PutBucketPolicy", Bucket="bkt", Policy=_policy(Principal="*"))
    await s3_("PutPublicAccessBlock", Bucket="bkt", PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"")
    await s3_("GetObject", ctx=s3_.as_account(OTHER), Bucket="bkt", Key="k")
    assert s3_.authorizer.asked[-1].resource_policy is None
    await s3_("GetObject", Bucket="bkt", Key="k")
    assert s3_.authorizer.asked[-1].resource_policy is not None


async def test_expected_owner(s3_: Any) -> None:
    """A wrong ExpectedBucketOwner is denied."""
    error = await s3_.fails("AccessDenied", "HeadBucket", Bucket="bkt", ExpectedBucketOwner=OTHER)
    assert error.status == 403
    await s3_("HeadBucket", Bucket="bkt", ExpectedBucketOwner="000000000000")


async def test_unsupported_is_said(s3_: Any) -> None:
    """What Alonzo lacks is refused, never ignored: ACLs, KMS, object lock, directory buckets."""
    await s3_.fails("AccessControlListNotSupported", "CreateBucket", Bucket="pub", ACL="public-read")
    await s3_.fails("NotImplemented", "CreateBucket", Bucket="locked", ObjectLockEnabledForBucket=True)
    await s3_.fails("AccessControlListNotSupported", "PutBucketAcl", Bucket="bkt", ACL="public-read")
    await s3_("PutBucketAcl", Bucket="bkt", ACL="private")
    kms = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}
    await s3_.fails("NotImplemented", "PutBucketEncryption", Bucket="bkt", ServerSideEncryptionConfiguration=kms)
    await s3_.fails("NotImplemented", "PutObject", Bucket="bkt", Key="k", ServerSideEncryption="aws:kms")
    await s3_.fails(
        "NotImplemented", "PutBucketReplication", Bucket="bkt", ReplicationConfiguration={"Role": "r", "Rules": []}
    )


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("GetBucketLifecycleConfiguration", "NoSuchLifecycleConfiguration"),
        ("GetBucketReplication", "ReplicationConfigurationNotFoundError"),
        ("GetBucketWebsite", "NoSuchWebsiteConfiguration"),
        ("GetObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"),
    ],
)
async def test_what_no_bucket_has_is_said_not_to_exist(s3_: Any, operation: str, code: str) -> None:
    """Tools that read a whole bucket are told AWS's own "there is none", or that there is no such bucket."""
    error = await s3_.fails(code, operation, Bucket="bkt")
    assert error.status == 404 and error.fields == {"BucketName": "bkt"}
    await s3_.fails("NoSuchBucket", operation, Bucket="missing")


async def test_what_every_bucket_leaves_at_its_default(s3_: Any) -> None:
    """No logging, no acceleration, and the owner pays."""
    assert await s3_("GetBucketLogging", Bucket="bkt") == {}
    assert await s3_("GetBucketAccelerateConfiguration", Bucket="bkt") == {}
    assert await s3_("GetBucketRequestPayment", Bucket="bkt") == {"Payer": "BucketOwner"}
