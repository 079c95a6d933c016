"""Requests signed by botocore's own signers, and what must not pass."""

import datetime
import hashlib
from dataclasses import replace
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from alonzo.config import Settings
from alonzo.core.context import Principal
from alonzo.core.errors import ServiceError
from alonzo.core.http import Headers, Request
from alonzo.core.identity import Credential
from alonzo.core.streams import BytesStream
from alonzo.gateway.sigv4 import verify

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SETTINGS = Settings()


class Clock:
    def __init__(self, now: float) -> None:
        self.value = now

    def now(self) -> float:
        return self.value

    def monotonic(self) -> float:
        return self.value

    async def sleep(self, seconds: float) -> None:
        self.value += seconds


class Known:
    def __init__(self, *credentials: Credential) -> None:
        self.by_id = {credential.access_key_id: credential for credential in credentials}

    async def find(self, access_key_id: str, session_token: str | None = None) -> Credential | None:
        return self.by_id.get(access_key_id)


KNOWN = Known(Credential(KEY, SECRET, None, Principal.root("000000000000", KEY)))


def now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()


def signed(
    auth=SigV4Auth, method="POST", url="http://localhost:4566/", data=b"{}", headers=None, service="lambda",
    token=None, secret=SECRET, **extra,
) -> Request:  # fmt: skip
    request = AWSRequest(method=method, url=url, data=data, headers={"Host": "localhost:4566", **(headers or {})})
    auth(BotoCredentials(KEY, secret, token), service, "us-east-1", **extra).add_auth(request)
    prepared = request.prepare()
    _, _, rest = prepared.url.partition("://")
    _, _, target = rest.partition("/")
    path, _, query = target.partition("?")
    items = [(k, v.decode() if isinstance(v, bytes) else v) for k, v in prepared.headers.items()]
    return Request(method, "/" + path, query, Headers(items), BytesStream(data or b""))


async def check(request: Request, service="lambda", protocol="rest-json", known=KNOWN, at=None, **kw):
    return await verify(request, known, Clock(at or now()), SETTINGS, service=service, protocol=protocol, **kw)


async def refused(request: Request, **kw) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        verified = await check(request, **kw)
        await verified.body.read(1 << 20)
    return caught.value


def changed(request: Request, **kw) -> Request:
    return replace(request, **kw)


def with_header(request: Request, name: str, value: str) -> Headers:
    return Headers([(k, v) for k, v in request.headers.items if k != name] + [(name, value)])


async def test_a_json_request_verifies() -> None:
    """A request signed with botocore's SigV4Auth is accepted with its scope and its body."""
    verified = await check(signed(url="http://localhost:4566/2015-03-31/functions/arn%3Aaws%3Alambda/invocations"))
    assert (verified.service, verified.region, verified.access_key_id) == ("lambda", "us-east-1", KEY)
    assert verified.principal == Principal.root("000000000000", KEY)
    assert await verified.body.read(10) == b"{}"


@pytest.mark.parametrize("key", ["a b", "a+b", "ünï/ ~x", "a//b/../c", "a%2Fb", "(x)!*'", "=&?#", "."])
async def test_s3_paths_are_encoded_once(key: str) -> None:
    """Every key that botocore can write into a path verifies under S3's single encoding."""
    url = "http://localhost:4566/bucket/" + quote(key, safe="/-._~")
    verified = await check(signed(S3SigV4Auth, "PUT", url, b"data", service="s3"), service="s3", protocol="rest-xml")
    assert await verified.body.read(10) == b"data"


@pytest.mark.parametrize("path", ["a%20b", "x%3Ay/z", "a//b", "a/../b", "a/./b/", "caf%C3%A9"])
async def test_other_services_encode_twice(path: str) -> None:
    """Paths that hold escapes and dot segments verify under the general double encoding."""
    await check(signed(url="http://localhost:4566/" + path))


@pytest.mark.parametrize("query", ["b=2&a=1", "a", "a=&b", "k=%20%2B", "a=2&a=1", "list-type=2&prefix=x%2Fy"])
async def test_queries_are_canonical(query: str) -> None:
    """Query parameters are sorted and kept as they were encoded."""
    await check(
        signed(S3SigV4Auth, "GET", "http://localhost:4566/b?" + query, b"", service="s3"),
        service="s3", protocol="rest-xml",
    )  # fmt: skip


@pytest.mark.parametrize(
    "tamper",
    [
        lambda r: changed(r, method="PUT"),
        lambda r: changed(r, path="/other"),
        lambda r: changed(r, query="a=2"),
        lambda r: changed(r, body=BytesStream(b"{ }")),
        lambda r: changed(r, headers=with_header(r, "x-amz-target", "Other")),
        lambda r: changed(r, headers=with_header(r, "host", "evil")),
        lambda r: changed(r, headers=with_header(r, "authorization", r.headers["authorization"][:-1] + "x")),
        lambda r: changed(
            r, headers=with_header(r, "authorization", r.headers["authorization"][:-64] + "0" * 64)
        ),
        lambda r: changed(
            r, headers=with_header(r, "authorization", r.headers["authorization"].replace("us-east-1", "eu-west-1"))
        ),
        lambda r: changed(r, headers=with_header(r, "x-amz-invented", "1")),
    ],
)  # fmt: skip
async def test_every_tampered_part_is_noticed(tamper) -> None:
    """A change of method, path, query, body, header, host, scope or signature is refused."""
    request = signed(url="http://localhost:4566/x?a=1", headers={"X-Amz-Target": "T"})
    await check(request)
    error = await refused(tamper(request))
    assert error.code in ("InvalidSignatureException", "IncompleteSignatureException")


async def test_s3_body_must_match_its_declared_hash() -> None:
    """S3 answers XAmzContentSHA256Mismatch when the body is not what was signed, and both hashes."""
    request = signed(S3SigV4Auth, "PUT", "http://localhost:4566/b/k", b"data", service="s3")
    error = await refused(replace(request, body=BytesStream(b"atad")), service="s3", protocol="rest-xml")
    assert error.code == "XAmzContentSHA256Mismatch"
    assert error.fields["ClientComputedContentSHA256"] == hashlib.sha256(b"data").hexdigest()
