"""Requests signed by botocore's own signers, and what must not pass."""

import datetime
import hashlib
from dataclasses import replace
from urllib.parse import quote

import pytest
from botocore.auth import HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from alonzo.config import Settings
from alonzo.core.context import Principal
from alonzo.core.errors import ServiceError
from alonzo.core.http import Headers, Request
from alonzo.core.identity import Credential
from alonzo.core.streams import BytesStream
from alonzo.gateway.sigv4 import verify
from alonzo.gateway.sigv4_canonical import signing_key

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

    def remembered(self, access_key_id: str, session_token: str | None) -> Credential | None:
        return None


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


# -- presigned requests -----------------------------------------------------------------------------------------------

LINK = "http://localhost:4566/bucket/a%20key"


def presigned(method="GET", url=LINK, expires=60, token=None, **kw) -> Request:
    return signed(S3SigV4QueryAuth, method, url, b"", service="s3", token=token, expires=expires, **kw)


async def s3(request: Request, **kw):
    return await check(request, service="s3", protocol="rest-xml", **kw)


async def s3_refused(request: Request, **kw) -> ServiceError:
    return await refused(request, service="s3", protocol="rest-xml", **kw)


async def test_a_presigned_link_verifies_until_it_expires() -> None:
    """A presigned S3 link is valid for its X-Amz-Expires and then answers AccessDenied with its times."""
    request = presigned(url=LINK + "?response-content-type=text%2Fplain&versionId=1")
    assert (await s3(request)).access_key_id == KEY
    error = await s3_refused(request, at=now() + 62)
    assert (error.code, error.message, error.status) == ("AccessDenied", "Request has expired", 403)
    assert error.fields["X-Amz-Expires"] == "60"
    assert (await s3_refused(request, at=now() - 1000)).message == "Request is not yet valid"


@pytest.mark.parametrize(
    "tamper",
    [
        lambda r: changed(r, path="/bucket/other"),
        lambda r: changed(r, method="DELETE"),
        lambda r: changed(r, query=r.query.replace("X-Amz-Expires=60", "X-Amz-Expires=61")),
        lambda r: changed(r, query=r.query + "&versionId=2"),
        lambda r: changed(r, headers=with_header(r, "host", "other")),
    ],
)
async def test_a_presigned_link_cannot_be_altered(tamper) -> None:
    """Path, method, expiry, added parameters and host are covered by a link's signature."""
    error = await s3_refused(tamper(presigned()))
    assert error.code == "SignatureDoesNotMatch"
    assert error.fields["AWSAccessKeyId"] == KEY


async def test_a_header_added_to_a_link_is_refused() -> None:
    """An x-amz- header that the link's maker did not sign does not pass."""
    request = presigned("PUT")
    error = await s3_refused(changed(request, headers=with_header(request, "x-amz-acl", "public-read")))
    assert error.fields["HeadersNotSigned"] == "x-amz-acl"


@pytest.mark.parametrize(
    "change, message",
    [
        (("X-Amz-Expires=60", "X-Amz-Expires=604801"), "less than a week"),
        (("X-Amz-Expires=60", "X-Amz-Expires=-1"), "non-negative"),
        (("X-Amz-Expires=60", "X-Amz-Expires=x"), "should be a number"),
        (("X-Amz-Expires=60", ""), "Query-string authentication version 4 requires"),
        (("AWS4-HMAC-SHA256", "AWS9"), "X-Amz-Algorithm only supports"),
        (("X-Amz-Signature=", "X-Amz-Signature=zz"), "64 hexadecimal"),
        (("aws4_request", "aws5_request"), "mal-formed"),
    ],
)
async def test_malformed_links_are_explained(change, message) -> None:
    """Each malformed parameter of a link has S3's own explanation."""
    request = presigned()
    error = await s3_refused(changed(request, query=request.query.replace(*change)))
    assert error.code == "AuthorizationQueryParametersError"
    assert message in error.message


async def test_a_hash_sent_along_with_a_link_is_checked() -> None:
    """A link's signature does not cover the body; a hash that the uploader adds does."""
    request = presigned("PUT")
    digest = hashlib.sha256(b"data").hexdigest()
    headers = with_header(request, "x-amz-content-sha256", digest)
    for data, good in ((b"data", True), (b"atad", False)):
        verified = await s3(changed(request, headers=headers, body=BytesStream(data)))
        if good:
            assert await verified.body.read(10) == data
            continue
        with pytest.raises(ServiceError, match="XAmzContentSHA256Mismatch"):
            await verified.body.read(10)


async def test_only_one_mechanism_at_a_time() -> None:
    """S3 refuses a request that is signed in its header and in its query."""
    request = presigned()
    both = with_header(request, "authorization", signed(S3SigV4Auth, service="s3").headers["authorization"])
    assert "Only one auth mechanism allowed" in (await s3_refused(changed(request, headers=both))).message


# -- links of Signature Version 2 -------------------------------------------------------------------------------------


def link(method="GET", url=LINK, expires=60, token=None, headers=None, secret=SECRET, path="") -> Request:
    request = AWSRequest(method=method, url=url, headers=headers or {})
    request.auth_path = path or None
    HmacV1QueryAuth(BotoCredentials(KEY, secret, token), expires).add_auth(request)
    path, _, query = request.url.removeprefix("http://").partition("/")[2].partition("?")
    return Request(method, "/" + path, query, Headers([("Host", "localhost:4566")]), BytesStream(b"body"))


async def test_a_link_of_signature_version_2_verifies_until_it_expires() -> None:
    """What boto3 presigns by default for a custom endpoint passes, its subresources and type overrides signed."""
    request = link(url=LINK + "?response-content-type=text%2Fplain%3B%20x&versionId=1&prefix=a")
    verified = await s3(request)
    assert (verified.access_key_id, await verified.body.read(10)) == (KEY, b"body")
    error = await s3_refused(request, at=now() + 62)
    assert (error.code, error.message, error.status) == ("AccessDenied", "Request has expired", 403)


async def test_a_link_of_signature_version_2_carries_headers() -> None:
    """Header fields that were signed into the query count as the request's, and cannot be replaced."""
    request = link("PUT", headers={"x-amz-meta-a": "b c", "Content-Type": "text/plain"})
    assert dict((await s3(request)).headers) == {"x-amz-meta-a": "b c", "content-type": "text/plain"}
    assert (await s3_refused(changed(request, headers=with_header(request, "x-amz-meta-a", "z")))).status == 403


async def test_a_virtual_hosted_link_of_signature_version_2_signs_the_bucket() -> None:
    """The bucket's name stands before the path, wherever the host carries it."""
    request = link(url="http://bucket.localhost:4566/key", path="/bucket/key")
    await s3(request, resource="/bucket/key")
    assert (await s3_refused(request, resource="/other/key")).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (lambda r: changed(r, path="/bucket/other"), "SignatureDoesNotMatch"),
        (lambda r: changed(r, method="DELETE"), "SignatureDoesNotMatch"),
        (lambda r: changed(r, query=r.query + "&versionId=2"), "SignatureDoesNotMatch"),
        (lambda r: changed(r, query=r.query + "&x-amz-acl=public-read"), "SignatureDoesNotMatch"),
        (lambda r: changed(r, query=r.query.replace("Expires=1", "Expires=2")), "SignatureDoesNotMatch"),
        (lambda r: changed(r, headers=with_header(r, "x-amz-acl", "private")), "SignatureDoesNotMatch"),
        (lambda r: changed(r, headers=with_header(r, "content-type", "a/b")), "SignatureDoesNotMatch"),
        (lambda r: changed(r, query=r.query + "&attributes"), "InvalidRequest"),
        (lambda r: changed(r, query=r.query.replace("Expires=", "Expires=x")), "AccessDenied"),
        (lambda r: changed(r, query=r.query.partition("&Expires=")[0]), "AccessDenied"),
    ],
)
async def test_a_link_of_signature_version_2_cannot_be_altered(tamper, code) -> None:
    """Nothing that changes what a link does can be added or altered."""
    assert (await s3_refused(tamper(link()))).code == code


async def test_only_s3_takes_signature_version_2() -> None:
    """Other services are told to use Signature Version 4, and a wrong secret or token is refused."""
    assert (await refused(link())).code == "IncompleteSignatureException"
    assert (await s3_refused(link(secret="other"))).code == "SignatureDoesNotMatch"
    await s3(link(token="tok"), known=TEMPORARY)
    assert (await s3_refused(link(token="tik"), known=TEMPORARY)).code == "InvalidToken"


async def test_other_services_can_be_presigned() -> None:
    """A presigned request of a service other than S3 verifies (GetCallerIdentity as an identity proof)."""
    url = "http://localhost:4566/?Action=GetCallerIdentity&Version=2011-06-15"
    request = signed(SigV4QueryAuth, "GET", url, b"", service="sts", expires=60)
    assert (await check(request, service="sts", protocol="query")).service == "sts"


# -- who and when -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "service, protocol, code, status",
    [
        ("s3", "rest-xml", "InvalidAccessKeyId", 403),
        ("lambda", "rest-json", "UnrecognizedClientException", 403),
        ("logs", "json", "UnrecognizedClientException", 400),
        ("iam", "query", "InvalidClientTokenId", 403),
    ],
)
async def test_unknown_keys_are_named_as_the_protocol_does(service, protocol, code, status) -> None:
    """An unknown access key gets the code and status of its protocol's family."""
    request = signed(S3SigV4Auth if service == "s3" else SigV4Auth, service=service)
    error = await refused(request, service=service, protocol=protocol, known=Known())
    assert (error.code, error.status) == (code, status)


@pytest.mark.parametrize(
    "service, protocol, code, part",
    [
        ("s3", "rest-xml", "RequestTimeTooSkewed", "The difference between the request time"),
        ("lambda", "rest-json", "InvalidSignatureException", "Signature expired: "),
        ("iam", "query", "SignatureDoesNotMatch", "Signature expired: "),
    ],
)
async def test_old_signatures_are_refused(service, protocol, code, part) -> None:
    """A signature older than the clock skew allowed is refused in the family's words."""
    request = signed(S3SigV4Auth if service == "s3" else SigV4Auth, service=service)
    error = await refused(request, service=service, protocol=protocol, at=now() + 901)
    assert error.code == code
    assert error.message.startswith(part)


async def test_signatures_from_the_future_are_refused() -> None:
    """A signature later than the clock skew allowed says from when it would hold."""
    error = await refused(signed(), at=now() - 901)
    assert error.message.startswith("Signature not yet current: ")


TEMPORARY = Known(Credential(KEY, SECRET, "tok", Principal.root("000000000000"), expires_at=now() + 3600))


@pytest.mark.parametrize("token", ["other", None])
async def test_the_session_token_must_be_the_right_one(token) -> None:
    """Temporary credentials need their own token, in the header and in a link."""
    await check(signed(token="tok"), known=TEMPORARY)
    await s3(presigned(token="tok"), known=TEMPORARY)
    assert (await refused(signed(token=token), known=TEMPORARY)).code == "UnrecognizedClientException"
    assert (await s3_refused(presigned(token=token), known=TEMPORARY)).code == "InvalidToken"


@pytest.mark.parametrize(
    "service, protocol, code, message",
    [
        ("s3", "rest-xml", "ExpiredToken", "The provided token has expired."),
        ("lambda", "rest-json", "ExpiredTokenException", "The security token included in the request is expired"),
        ("iam", "query", "ExpiredToken", "The security token included in the request is expired"),
    ],
)
async def test_expired_tokens_say_so(service, protocol, code, message) -> None:
    """Expired temporary credentials get the family's error."""
    known = Known(Credential(KEY, SECRET, "tok", Principal.root("000000000000"), expires_at=now() - 1))
    request = signed(S3SigV4Auth if service == "s3" else SigV4Auth, service=service, token="tok")
    error = await refused(request, service=service, protocol=protocol, known=known)
    assert (error.code, error.message) == (code, message)


async def test_a_wrong_secret_is_refused() -> None:
    """Signing with another secret fails for header and link."""
    assert (await refused(signed(secret="other"))).code == "InvalidSignatureException"
    assert (await s3_refused(presigned(secret="other"))).code == "SignatureDoesNotMatch"


async def test_unsigned_requests_are_anonymous_only_where_policies_can_allow_them() -> None:
    """S3 takes unsigned requests as anonymous, Lambda and IAM ask for a token."""
    unsigned = Request("GET", "/b/k", "", Headers([("host", "localhost")]))
    assert (await s3(unsigned)).principal.kind == "anonymous"
    error = await refused(unsigned)
    assert (error.code, error.message) == ("MissingAuthenticationTokenException", "Missing Authentication Token")
    assert (await refused(unsigned, service="iam", protocol="query")).code == "MissingAuthenticationToken"


@pytest.mark.parametrize(
    "authorization",
    ["AWS AKID:c2ln", "AWS4-ECDSA-P256-SHA256 Credential=a/20200101/s3/aws4_request, SignedHeaders=host, Signature=00"],
)
async def test_other_mechanisms_are_refused_clearly(authorization) -> None:
    """SigV2 and SigV4A are told to use AWS4-HMAC-SHA256."""
    request = Request("GET", "/", "", Headers([("host", "h"), ("authorization", authorization)]))
    assert "AWS4-HMAC-SHA256" in (await s3_refused(request)).message
    assert "AWS4-HMAC-SHA256" in (await refused(request)).message


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer x", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a", "AWS4-HMAC-SHA256 " + "x=y," * 5000]
    + [
        f"AWS4-HMAC-SHA256 Credential={c}, SignedHeaders=host, Signature={'0' * 64}" for c in ("a", "////", "a/x/r/s/t")
    ],
)
async def test_hostile_authorization_headers_are_client_errors(authorization) -> None:
    """No Authorization header, however broken, is anything but a 4xx."""
    request = Request("GET", "/", "", Headers([("host", "h"), ("authorization", authorization)]))
    for service, protocol in (("s3", "rest-xml"), ("lambda", "rest-json"), ("iam", "query")):
        assert 400 <= (await refused(request, service=service, protocol=protocol)).status < 500


async def test_s3_needs_the_payload_header() -> None:
    """S3 refuses a signed request without x-amz-content-sha256, and one with a value that means nothing."""
    assert "Missing required header" in (await s3_refused(signed(service="s3"))).message
    request = signed(headers={"X-Amz-Content-SHA256": "nonsense"}, service="s3")
    assert (await s3_refused(request)).code in ("InvalidArgument", "SignatureDoesNotMatch")


async def test_header_values_need_not_be_ascii() -> None:
    """A header value is signed by its bytes, which the edge decodes as Latin-1."""
    request = signed(headers={"X-Amz-Meta-Name": "x"})
    text = "é".encode().decode("latin-1")
    names = "host;x-amz-date;x-amz-meta-name"
    stamp = request.headers["x-amz-date"]
    canonical = f"POST\n/\n\nhost:localhost:4566\nx-amz-date:{stamp}\nx-amz-meta-name:{text}\n\n{names}\n"
    canonical += hashlib.sha256(b"{}").hexdigest()
    scope = f"{stamp[:8]}/us-east-1/lambda/aws4_request"
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    key = signing_key(SECRET, stamp[:8], "us-east-1", "lambda")
    signature = key.sign(f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode())
    value = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    headers = [("host", "localhost:4566"), ("x-amz-date", stamp), ("x-amz-meta-name", text), ("authorization", value)]
    await check(Request("POST", "/", "", Headers(headers), BytesStream(b"{}")))


async def test_repeated_headers_are_joined() -> None:
    """Two fields of one name count as one, joined by a comma, with inner spaces folded."""
    first = signed(headers={"X-Amz-List": "a,b c"})
    items = [pair for pair in first.headers.items if pair[0] != "x-amz-list"]
    await check(replace(first, headers=Headers([*items, ("x-amz-list", " a "), ("x-amz-list", "b   c")])))


# -- what AWS has published -------------------------------------------------------------------------------------------


async def test_aws_published_example_of_iam() -> None:
    """The ListUsers request of AWS's Signature Version 4 documentation verifies."""
    scope = "AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request"
    signature = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    value = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=content-type;host;x-amz-date, Signature={signature}"
    headers = [
        ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("Host", "iam.amazonaws.com"),
        ("X-Amz-Date", "20150830T123600Z"),
        ("Authorization", value),
    ]
    request = Request("GET", "/", "Action=ListUsers&Version=2010-05-08", Headers(headers))
    verified = await check(request, service="iam", protocol="query", at=1440938160)
    assert verified.service == "iam"


S3_KEY = "AKIAIOSFODNN7EXAMPLE"
S3_KNOWN = Known(Credential(S3_KEY, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None, Principal.root("000000000000")))


async def test_aws_published_presigned_example_of_s3() -> None:
    """The presigned GET of S3's Signature Version 4 documentation verifies."""
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
        "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    headers = Headers([("Host", "examplebucket.s3.amazonaws.com")])
    await s3(Request("GET", "/test.txt", query, headers), known=S3_KNOWN, at=1369353600)


async def test_aws_published_chunked_example_of_s3() -> None:
    """The upload in signed chunks of S3's documentation verifies, chunk by chunk."""
    signature = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    value = (
        f"AWS4-HMAC-SHA256 Credential={S3_KEY}/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;"
        f"content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,"
        f"Signature={signature}"
    )
    headers = [
        ("Host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("Authorization", value),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("Content-Encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("Content-Length", "66824"),
    ]
    chunks = (
        (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    )
    body = b"".join(f"{n:x};chunk-signature={s}\r\n".encode() + b"a" * n + b"\r\n" for n, s in chunks)
    request = Request("PUT", "/examplebucket/chunkObject.txt", "", Headers(headers), BytesStream(body))
    verified = await s3(request, known=S3_KNOWN, at=1369353600)
    assert await verified.body.read(1 << 20) == b"a" * 66560
    spoiled = replace(request, body=BytesStream(body.replace(b"aaa\r\n", b"aab\r\n", 1)))
    verified = await s3(spoiled, known=S3_KNOWN, at=1369353600)
    with pytest.raises(ServiceError, match="SignatureDoesNotMatch"):
        await verified.body.read(1 << 20)


async def test_a_key_without_signature_check_is_taken_as_is() -> None:
    """Where a credential says so (the 12-digit keys of loopback), any signature passes, but the form must be right."""
    key = Credential("111122223333", "", None, Principal.root("111122223333"), check_signature=False)
    request = signed()
    value = request.headers["authorization"].replace(KEY, "111122223333")
    request = changed(request, headers=with_header(request, "authorization", value))
    assert (await check(request, known=Known(key))).principal.account_id == "111122223333"
    error = await refused(changed(request, headers=with_header(request, "authorization", value[:-3])), known=Known(key))
    assert error.code == "IncompleteSignatureException"
