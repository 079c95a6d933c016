"""CORS rules."""

from __future__ import annotations

from typing import Any

import pytest

from alonzo.services.s3 import cors_headers

RULE = {
    "AllowedMethods": ["GET", "PUT"],
    "AllowedOrigins": ["https://*.example.com"],
    "AllowedHeaders": ["x-amz-*", "Content-Type"],
    "ExposeHeaders": ["ETag"],
    "MaxAgeSeconds": 60,
}


def test_preflight() -> None:
    """A preflight that a rule allows gets what it asked for."""
    answer = cors_headers([RULE], "https://a.example.com", "PUT", ["content-type", "X-Amz-Date"])
    assert answer == {
        "access-control-allow-origin": "https://a.example.com",
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "content-type, x-amz-date",
        "access-control-expose-headers": "ETag",
        "access-control-max-age": "60",
        "access-control-allow-credentials": "true",
        "vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    }


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        ("https://example.org", "GET", []),
        ("https://a.example.com", "DELETE", []),
        ("https://a.example.com", "GET", ["authorization"]),
        ("https://.example.co", "GET", []),
    ],
)
def test_what_no_rule_allows(origin: str, method: str, headers: list[str]) -> None:
    """Another origin, method or header gets nothing."""
    assert cors_headers([RULE], origin, method, headers) is None


def test_everybody() -> None:
    """The star is answered as a star, without credentials."""
    answer = cors_headers([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}], "http://x", "GET")
    assert answer is not None
    assert answer["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer


async def test_configuration(s3_: Any) -> None:
    """Rules are kept, shown to the gateway, checked and removed."""
    await s3_("PutBucketCors", Bucket="bkt", CORSConfiguration={"CORSRules": [RULE]})
    assert (await s3_("GetBucketCors", Bucket="bkt"))["CORSRules"] == [RULE]
    assert s3_.service.cors_rules("bkt") == [RULE]
    assert s3_.service.cors_rules("nonexistent") is None
    bad = {**RULE, "AllowedMethods": ["PATCH"]}
    error = await s3_.fails("InvalidRequest", "PutBucketCors", Bucket="bkt", CORSConfiguration={"CORSRules": [bad]})
    assert error.message == "Found unsupported HTTP method in CORS config. Unsupported method is PATCH"
    bad = {**RULE, "AllowedOrigins": ["*.*"]}
    await s3_.fails("InvalidRequest", "PutBucketCors", Bucket="bkt", CORSConfiguration={"CORSRules": [bad]})
    await s3_("DeleteBucketCors", Bucket="bkt")
    assert s3_.service.cors_rules("bkt") == ()
