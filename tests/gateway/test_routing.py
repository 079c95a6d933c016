"""Routing, as SDKs and the AWS CLI really send requests."""

import pytest

from alonzo.core.http import Headers, Request
from alonzo.gateway.routing import known_host, route

BASES = ("localhost", "localhost.localstack.cloud", "alonzo.localhost")


def request(method="GET", path="/", query="", host="localhost:4566", **headers):
    fields = [("host", host), *((name.replace("_", "-"), value) for name, value in headers.items())]
    return Request(method, path, query, Headers(fields))


def signed(service, region="eu-west-1"):
    return (
        f"AWS4-HMAC-SHA256 Credential=test/20261120/{region}/{service}/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
    )


@pytest.mark.parametrize(
    ("host", "path", "bucket", "moved"),
    [
        ("localhost:4566", "/pictures/a%20b.jpg", "pictures", "/pictures/a%20b.jpg"),
        ("pictures.localhost:4566", "/a.jpg", "pictures", "/pictures/a.jpg"),
        ("pictures.s3.localhost:4566", "/a.jpg", "pictures", "/pictures/a.jpg"),
        ("pictures.s3.eu-west-1.localhost:4566", "/", "pictures", "/pictures/"),
        ("pictures.s3-eu-west-1.localhost:4566", "/k", "pictures", "/pictures/k"),
        ("my.pictures.s3.localhost.localstack.cloud:4566", "/k", "my.pictures", "/my.pictures/k"),
        ("s3.eu-west-1.localhost:4566", "/pictures/k", "pictures", "/pictures/k"),
        ("s3.localhost:4566", "/", "", "/"),
        ("s3.dualstack.eu-west-1.localhost", "/b/k", "b", "/b/k"),
        ("pictures.s3.dualstack.eu-west-1.localhost", "/k", "pictures", "/pictures/k"),
        ("127.0.0.1:4566", "/pictures/k", "pictures", "/pictures/k"),
        ("[::1]:4566", "/pictures/k", "pictures", "/pictures/k"),
    ],
)
def test_s3_hosts(host, path, bucket, moved):
    """S3 is understood in path style and in every virtual-hosted form, and handed on in path style."""
    found = route(request(path=path, host=host, authorization=signed("s3")), BASES)
    assert (found.service, found.bucket, found.request.path) == ("s3", bucket, moved)


def test_scope_names_service_and_region():
    """The signature's scope decides before anything else, and names the region."""
    found = route(request("POST", "/", authorization=signed("monitoring", "ap-south-1")), BASES)
    assert (found.service, found.region) == ("cloudwatch", "ap-south-1")


def test_presigned_scope():
    """A presigned URL carries its scope in the query."""
    query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test%2F20261120%2Fus-west-2%2Fs3%2Faws4_request"
    found = route(request(path="/b/k", query=query), BASES)
    assert (found.service, found.region, found.bucket) == ("s3", "us-west-2", "b")


@pytest.mark.parametrize(
    ("kwargs", "service"),
    [
        ({"x_amz_target": "Logs_20140328.PutLogEvents"}, "logs"),
        ({"x_amz_target": "AmazonSQS.SendMessage"}, "sqs"),
        ({"path": "/2015-03-31/functions/f/invocations"}, "lambda"),
        ({"path": "/2018-10-31/layers"}, "lambda"),
        ({"query": "Action=GetCallerIdentity&Version=2011-06-15"}, "sts"),
        ({"host": "iam.localhost"}, "iam"),
        ({"host": "lambda.eu-west-1.localhost.localstack.cloud:4566"}, "lambda"),
        ({"path": "/bucket/key"}, "s3"),
    ],
)
def test_unsigned_requests(kwargs, service):
    """Without a signature, target, path, query and host tell the service."""
    assert route(request(**kwargs), BASES).service == service


@pytest.mark.parametrize(
    ("host", "service", "label", "region"),
    [
        ("abc123.lambda-url.eu-west-1.localhost:4566", "lambda-url", "abc123", "eu-west-1"),
        ("api9.execute-api.localhost:4566", "execute-api", "api9", ""),
        ("api9.execute-api.us-east-1.localhost.localstack.cloud", "execute-api", "api9", "us-east-1"),
    ],
)
def test_data_planes(host, service, label, region):
    """Function URLs and APIs are told by their host names."""
    found = route(request(host=host), BASES)
    assert (found.service, found.label, found.region) == (service, label, region)


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost:4566", True),
        ("b.s3.localhost", True),
        ("127.0.0.1:4566", True),
        ("[::1]:4566", True),
        ("169.254.100.1:4566", True),
        ("evil.example:4566", False),
        ("localhost.evil.example", False),
        ("notlocalhost", False),
        ("", False),
    ],
)
def test_known_hosts(host, known):
    """A host name that somebody's DNS points here is not one of ours."""
    assert known_host(host, BASES) is known
