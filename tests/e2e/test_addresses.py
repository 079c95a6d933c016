"""The ways in which clients name a bucket, presign a link and send too much."""

from __future__ import annotations

import io
import socket
import urllib.error
import urllib.request
import zipfile
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

BASES = ["localhost", "s3.localhost.localstack.cloud", "s3.us-east-1.localhost", "localhost.localstack.cloud"]


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name under localhost is this machine, as the system's resolver or a public one says outside of tests."""
    real = socket.getaddrinfo

    def here(host: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if "localhost" in str(host) else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", here)


def client_of(alonzo: Any, base: str, style: str, version: str | None) -> Any:
    port = alonzo.endpoint.rpartition(":")[2]
    return boto3.client(
        "s3",
        endpoint_url=f"http://{base}:{port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(s3={"addressing_style": style}, signature_version=version, retries={"total_max_attempts": 1}),
    )


@pytest.mark.parametrize("style", ["path", "virtual"])
@pytest.mark.parametrize("base", BASES)
def test_a_bucket_is_found_by_path_and_by_host(alonzo: Any, resolved: None, base: str, style: str) -> None:
    """Signed requests and links of both signature versions work in path style and under the bucket's own name."""
    client = client_of(alonzo, base, style, None)
    client.create_bucket(Bucket="addressed")
    client.put_object(Bucket="addressed", Key="a b+c/ü.txt", Body=b"hello")
    assert client.get_object(Bucket="addressed", Key="a b+c/ü.txt")["Body"].read() == b"hello"
    where = {"Bucket": "addressed", "Key": "a b+c/ü.txt", "ResponseContentType": "text/x-y"}
    for version in (None, "s3", "s3v4"):
        link = client_of(alonzo, base, style, version).generate_presigned_url("get_object", Params=where)
        assert ("X-Amz-Signature=" in link) == (version == "s3v4")
        with urllib.request.urlopen(link) as answer:
            assert (answer.read(), answer.headers["content-type"]) == (b"hello", "text/x-y")


def test_a_link_to_put_keeps_its_metadata(alonzo: Any, resolved: None) -> None:
    """What boto3 signs into a link's query is set on the object that is put with it."""
    client = client_of(alonzo, "localhost", "path", None)
    client.create_bucket(Bucket="linked")
    params = {"Bucket": "linked", "Key": "k", "Metadata": {"by": "link"}, "ContentType": "text/x-z"}
    link = client.generate_presigned_url("put_object", Params=params)
    put = urllib.request.Request(link, b"put", {"Content-Type": "text/x-z"}, method="PUT")
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 200
    found = client.get_object(Bucket="linked", Key="k")
    assert (found["Body"].read(), found["Metadata"], found["ContentType"]) == (b"put", {"by": "link"}, "text/x-z")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(link + "&x-amz-acl=private", b"put", method="PUT"))
    assert caught.value.code == 403
    caught.value.close()


def test_an_operation_that_s3_lacks_says_so_in_s3s_form(alonzo: Any) -> None:
    """NotImplemented with status 501 and the operation's name."""
    client = alonzo.client("s3")
    client.create_bucket(Bucket="lacking")
    with pytest.raises(ClientError) as caught:
        client.list_bucket_analytics_configurations(Bucket="lacking")
    assert caught.value.response["Error"]["Code"] == "NotImplemented"
    assert "ListBucketAnalyticsConfigurations" in caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_a_request_over_the_limit_is_named_in_awss_words(alonzo: Any) -> None:
    """A CreateFunction larger than 70,167,211 bytes answers what AWS answers."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr("app.py", bytes(53 << 20))
    with pytest.raises(ClientError) as caught:
        alonzo.client("lambda").create_function(
            FunctionName="large",
            Runtime="python3.12",
            Role="arn:aws:iam::000000000000:role/none",
            Handler="app.handler",
            Code={"ZipFile": archive.getvalue()},
        )
    assert caught.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
    expected = "Request must be smaller than 70167211 bytes for the CreateFunction operation"
    assert caught.value.response["Error"]["Message"] == expected
