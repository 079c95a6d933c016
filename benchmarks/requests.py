"""Requests signed beforehand, as the bytes that go over the wire."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_CREDENTIALS = Credentials("test", "test")


def signed(endpoint: str, service: str, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """One request with a SigV4 signature in its header; valid for the usual 15 minutes."""
    request = AWSRequest(
        method, endpoint + path, data=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    if service == "s3":
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
        S3SigV4Auth(_CREDENTIALS, "s3", "us-east-1").add_auth(request)
    else:
        SigV4Auth(_CREDENTIALS, service, "us-east-1").add_auth(request)
    fields = {"Host": urlsplit(endpoint).netloc, "Content-Length": str(len(body)), **dict(request.headers.items())}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + body


def invoke(endpoint: str, name: str, payload: bytes = b"{}", **headers: str) -> bytes:
    """A signed Lambda Invoke."""
    return signed(endpoint, "lambda", "POST", f"/2015-03-31/functions/{name}/invocations", payload, **headers)


def sqs_call(endpoint: str, operation: str, **params: object) -> bytes:
    """A signed SQS operation in the JSON protocol."""
    target = {"X_Amz_Target": f"AmazonSQS.{operation}", "Content_Type": "application/x-amz-json-1.0"}
    return signed(endpoint, "sqs", "POST", "/", json.dumps(params).encode(), **target)
