"""S3 as boto3 meets it: through HTTP, signatures and XML."""

from __future__ import annotations

import hashlib
import io
import itertools
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

_NUMBERS = itertools.count()


@pytest.fixture
def client(alonzo: Any) -> Any:
    return alonzo.client("s3")


@pytest.fixture
def bucket(client: Any) -> Iterator[str]:
    name = f"end-to-end-{next(_NUMBERS)}"
    client.create_bucket(Bucket=name)
    yield name


def _code(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.slow
def test_object_and_everything_about_it(client: Any, bucket: str) -> None:
    """Key, metadata, headers, tags and checksums survive the wire."""
    key = "a b+c/é&<>%2F\u2603.txt"
    client.put_object(
        Bucket=bucket, Key=key, Body=b"hello", Metadata={"x": "y"}, ContentType="text/plain", Tagging="t=1&u=a%20b"
    )
    got = client.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert got["Body"].read() == b"hello"
    assert (got["Metadata"], got["ContentType"], got["TagCount"]) == ({"x": "y"}, "text/plain", 2)
    assert got["ChecksumCRC32"] == "NhCmhg=="
    assert [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert [one["Key"] for one in client.list_objects(Bucket=bucket)["Contents"]] == [key]
    tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    assert tags == [{"Key": "t", "Value": "1"}, {"Key": "u", "Value": "a b"}]
    client.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert client.get_object(Bucket=bucket, Key="copy", Range="bytes=1-3")["Body"].read() == b"ell"
    attributes = client.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=["ETag", "ObjectSize"])
    assert (attributes["ETag"], attributes["ObjectSize"]) == (hashlib.md5(b"hello").hexdigest(), 5)
    deleted = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}, {"Key": "copy"}]})
    assert {one["Key"] for one in deleted["Deleted"]} == {key, "copy"}
    client.delete_bucket(Bucket=bucket)


@pytest.mark.slow
def test_errors(client: Any, bucket: str) -> None:
    """Errors have AWS's code, status and fields; HEAD and 304 have no body."""
    with pytest.raises(ClientError) as error:
        client.get_object(Bucket=bucket, Key="none")
    assert _code(error) == ("NoSuchKey", 404) and error.value.response["Error"]["Key"] == "none"
    with pytest.raises(ClientError) as error:
        client.head_object(Bucket=bucket, Key="none")
    assert _code(error) == ("404", 404)
    with pytest.raises(ClientError) as error:
        client.head_bucket(Bucket="no-such-bucket-here")
    assert _code(error) == ("404", 404)
    put = client.put_object(Bucket=bucket, Key="k", Body=b"x")
    with pytest.raises(ClientError) as error:
        client.get_object(Bucket=bucket, Key="k", IfNoneMatch=put["ETag"])
    assert _code(error) == ("304", 304)
    with pytest.raises(ClientError) as error:
        client.put_object(Bucket=bucket, Key="k", Body=b"x", IfNoneMatch="*")
    assert _code(error) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as error:
        client.get_object(Bucket=bucket, Key="k", Range="bytes=5-")
    assert _code(error) == ("InvalidRange", 416)
    with pytest.raises(ClientError) as error:
        client.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert _code(error) == ("NoSuchLifecycleConfiguration", 404)
    with pytest.raises(ClientError) as error:
        client.list_bucket_inventory_configurations(Bucket=bucket)
    assert _code(error) == ("NotImplemented", 501)


@pytest.mark.slow
def test_versions_and_markers(client: Any, bucket: str) -> None:
    """Versions and delete markers are listed, read and removed."""
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = client.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    client.put_object(Bucket=bucket, Key="k", Body=b"2")
    marker = client.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] is True
    listed = client.list_object_versions(Bucket=bucket)
    assert [one["IsLatest"] for one in listed["DeleteMarkers"]] == [True]
    assert len(listed["Versions"]) == 2
    assert client.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"1"
    with pytest.raises(ClientError) as error:
        client.get_object(Bucket=bucket, Key="k")
    headers = error.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amz-delete-marker"] == "true"
    with pytest.raises(ClientError) as error:
        client.get_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert _code(error) == ("MethodNotAllowed", 405)


@pytest.mark.slow
def test_managed_transfer(client: Any, bucket: str) -> None:
    """boto3's own upload in parts and download in ranges, side by side, give the same bytes."""
    data = bytes(range(256)) * 70_000  # about 18 MB
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=4)
    client.upload_fileobj(io.BytesIO(data), bucket, "big", Config=config)
    head = client.head_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    assert head["ETag"].endswith('-4"') and head["ContentLength"] == len(data)
    target = io.BytesIO()
    client.download_fileobj(bucket, "big", target, Config=config)
    assert target.getvalue() == data
    assert client.get_object(Bucket=bucket, Key="big")["Body"].read() == data
    client.copy({"Bucket": bucket, "Key": "big"}, bucket, "copied", Config=config)
    assert client.get_object(Bucket=bucket, Key="copied")["Body"].read() == data


@pytest.mark.slow
def test_bucket_documents(client: Any, bucket: str) -> None:
    """Documents attached to a bucket come back as they were put."""
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://example.com"], "MaxAgeSeconds": 5}
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert client.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule]
    client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert client.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]
    assert client.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert client.get_bucket_acl(Bucket=bucket)["Grants"][0]["Permission"] == "FULL_CONTROL"
    block = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert block["BlockPublicPolicy"] is True
    policy = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111111111111"},'
        f'"Action":"s3:*","Resource":"arn:aws:s3:::{bucket}/*"}}]}}'
    )
    client.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert client.get_bucket_policy(Bucket=bucket)["Policy"] == policy
    assert client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
    preflight = urllib.request.Request(
        f"{client.meta.endpoint_url}/{bucket}/k",
        method="OPTIONS",
        headers={"Origin": "https://example.com", "Access-Control-Request-Method": "GET"},
    )
    with urllib.request.urlopen(preflight) as answer:
        assert answer.headers["access-control-allow-origin"] == "https://example.com"


@pytest.mark.slow
def test_presigned(alonzo: Any, bucket: str) -> None:
    """A presigned URL puts an unsigned body, and another one reads it."""
    client = alonzo.client("s3", signature_version="s3v4")
    asked = {"Bucket": bucket, "Key": "k y"}
    url = client.generate_presigned_url("put_object", Params=asked)
    with urllib.request.urlopen(urllib.request.Request(url, data=b"body", method="PUT")) as answer:
        assert answer.status == 200
    url = client.generate_presigned_url("get_object", Params={**asked, "ResponseContentType": "x/y"})
    with urllib.request.urlopen(url) as answer:
        assert (answer.read(), answer.headers["content-type"]) == (b"body", "x/y")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url.replace("k%20y", "other"))
    assert error.value.code == 403
    error.value.close()


@pytest.mark.slow
def test_strange_keys_in_xml(client: Any, bucket: str) -> None:
    """Keys that XML cannot carry are listed by encoding-type=url."""
    keys = ["a\x01b", "line\nbreak", "tab\t", "\ufffe", "🗝"]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]] == sorted(keys, key=str.encode)


@pytest.mark.slow
def test_other_accounts(alonzo: Any, bucket: str) -> None:
    """Another account's administrator is denied, until the bucket's policy allows him."""
    client = alonzo.client("s3")
    stranger = alonzo.client("s3", access_key_id="222222222222", secret_access_key="x")
    client.put_object(Bucket=bucket, Key="k", Body=b"1")
    with pytest.raises(ClientError) as error:
        stranger.get_object(Bucket=bucket, Key="k")
    assert _code(error) == ("AccessDenied", 403)
    client.put_bucket_policy(
        Bucket=bucket,
        Policy='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},'
        f'"Action":"s3:GetObject","Resource":"arn:aws:s3:::{bucket}/*"}}]}}',
    )
    assert stranger.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    with pytest.raises(ClientError) as error:
        stranger.get_object(Bucket=bucket, Key="none")
    assert _code(error) == ("AccessDenied", 403)


@pytest.mark.slow
def test_many_at_once(client: Any, bucket: str) -> None:
    """Puts from many threads all arrive."""
    failures: list[BaseException] = []

    def put(number: int) -> None:
        try:
            for n in range(10):
                client.put_object(Bucket=bucket, Key=f"{number}/{n}", Body=b"%d" % n * 1000)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 7})
    assert sum(len(page.get("Contents", [])) for page in pages) == 80
