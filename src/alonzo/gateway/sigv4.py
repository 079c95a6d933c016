"""Signature Version 4: who signed this request, and is it whole?

A request carries its signature in the Authorization header or, presigned, in the query. Everything that can be wrong
with it has a text of AWS's own (`sigv4_errors`).

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote

from alonzo.config import Settings
from alonzo.core.clock import Clock
from alonzo.core.context import ANONYMOUS, Principal
from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.core.http import Headers, Request
from alonzo.core.identity import Credential, Credentials
from alonzo.core.streams import BytesStream, ByteStream
from alonzo.gateway.chunked import ChunkSigner, Mode
from alonzo.gateway.sigv2 import check_link, is_link, parse_link
from alonzo.gateway.sigv4_canonical import (
    ALGORITHM,
    Signature,
    SigningKey,
    canonical_headers,
    canonical_paths,
    canonical_query,
    parse_fields,
    parse_head,
    signing_key,
)
from alonzo.gateway.sigv4_errors import AuthErrors
from alonzo.gateway.sigv4_payload import HEX64, MODES, UNSIGNED, payload_of

#: A week, the longest that a presigned request may live.
MAX_EXPIRES_S = 604800
#: Services whose resource policies can allow those who do not sign.
ANONYMOUS_SERVICES = frozenset({"s3", "sqs", "sns"})
#: A body that must be hashed before anything else is held in memory: Lambda's 50 MB archive in base64, with room.
BODY_LIMIT = 80 << 20

_PRESIGN_MARKS = ("X-Amz-Algorithm=", "X-Amz-Signature=", "X-Amz-Credential=")


@dataclass(frozen=True, slots=True)
class Verified:
    """The outcome. `service` and `region` are the signature's scope, empty where the request is unsigned.

    `body` is the request's body, decoded where it was aws-chunked, and checked against what was signed while it is
    read: whoever reads it must keep nothing if reading raises. `headers` are fields that the query carried.
    """

    principal: Principal
    service: str
    region: str
    access_key_id: str
    body: ByteStream
    headers: tuple[tuple[str, str], ...] = ()


async def verify(
    request: Request,
    credentials: Credentials,
    clock: Clock,
    settings: Settings,
    *,
    service: str,
    protocol: str,
    body_limit: int = BODY_LIMIT,
    anonymous: bool | None = None,
    resource: str = "",
) -> Verified:
    """Check a request's signature. Raises ServiceError in the words of `service`, whose protocol is `protocol`;
    BodyTooLarge.

    `anonymous` says whether an unsigned request may pass as ANONYMOUS; None leaves it to the service. `body_limit` is
    in bytes, for bodies whose hash is not declared and must be computed first. `resource` is the path with the bucket's
    name before it, where that differs from the request's: Signature Version 2 signs that.
    """
    errors = _errors("s3" if service == "s3" else protocol)
    authorization = request.headers.get("authorization")
    presigned = "X-Amz-" in request.query and any(mark in request.query for mark in _PRESIGN_MARKS)
    if authorization is not None and presigned and errors.s3:
        text = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string"
        raise ServiceError("InvalidArgument", f"{text} parameter or the Authorization header should be specified")
    if authorization is not None:
        return await _verify_header(request, authorization, credentials, clock, settings, service, errors, body_limit)
    if presigned:
        return await _verify_query(request, credentials, clock, settings, service, errors, body_limit)
    if is_link(request.query):
        return await _verify_link(request, resource or request.path, credentials, clock, errors)
    if service in ANONYMOUS_SERVICES if anonymous is None else anonymous:
        body = payload_of(request, request.headers.get("x-amz-content-sha256") or UNSIGNED, errors, None)
        return Verified(ANONYMOUS, "", "", "", body)
    raise errors.missing()


@lru_cache(maxsize=16)
def _errors(family: str) -> AuthErrors:
    return AuthErrors(family)


# -- the Authorization header -----------------------------------------------------------------------------------------


async def _verify_header(
    request: Request,
    authorization: str,
    credentials: Credentials,
    clock: Clock,
    settings: Settings,
    service: str,
    errors: AuthErrors,
    body_limit: int,
) -> Verified:
    head, _, signature = authorization.rpartition("Signature=")
    parsed = parse_head(head) if len(authorization) <= 8192 else None
    if parsed is None or not HEX64.fullmatch(signature):
        raise _explain_header(authorization, errors)
    headers = request.headers
    now = clock.now()
    timestamp, signed_at = _header_time(headers, errors)
    if not timestamp.startswith(parsed.date):
        raise errors.incomplete(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP:"
            f" '{parsed.date}' != '{timestamp[:8]}', from '{timestamp}'."
        )
    if not -settings.clock_skew_s <= signed_at - now <= settings.clock_skew_s:
        raise errors.skewed(signed_at, now, settings.clock_skew_s)
    token = headers.get("x-amz-security-token")
    credential = await _find(credentials, parsed.access_key_id, token, now, errors)
    declared = headers.get("x-amz-content-sha256")
    body: ByteStream | None = None
    if declared is None:
        if errors.s3:
            raise errors.bad_payload_header("")
        data = await request.body.read(body_limit)
        declared = hashlib.sha256(data).hexdigest()
        body = BytesStream(data)
    signer = None
    if credential.check_signature:
        key = signing_key(credential.secret, parsed.date, parsed.region, parsed.service)
        _match(request, request.query, parsed, timestamp, declared, key, signature, errors)
        if declared in MODES:
            signer = ChunkSigner(key.key, timestamp, parsed.scope, signature)
    if body is None:
        body = payload_of(request, declared, errors, signer)
    return Verified(credential.principal, parsed.service, parsed.region, parsed.access_key_id, body)


def _explain_header(authorization: str, errors: AuthErrors) -> ServiceError:
    """Which part of a header that did not parse is to blame."""
    scheme, _, rest = authorization.partition(" ")
    if scheme == "AWS":
        return errors.unsupported("Signature Version 2")
    if scheme.startswith("AWS4-ECDSA"):
        return errors.unsupported("Signature Version 4A")
    if scheme != ALGORITHM:
        if errors.s3:
            text = "Unsupported Authorization Type" if rest else "Authorization header is invalid -- one and only one"
            return ServiceError("InvalidArgument", text, status=400)
        return errors.incomplete(f"Unsupported authorization type: '{scheme[:64]}'. Use {ALGORITHM}.")
    if errors.s3 and "Credential=" in rest and "SignedHeaders=" in rest and "Signature=" in rest:
        return errors.incomplete(
            "",
            'The authorization header is malformed; the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/'
            'REGION/SERVICE/aws4_request".',
        )
    present = {part.strip().partition("=")[0] for part in rest.split(",")}
    problems = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if name not in present
    ]
    text = " ".join(problems) or (
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
    )
    return errors.incomplete(f"{text} Authorization={ALGORITHM}")


def _header_time(headers: Headers, errors: AuthErrors) -> tuple[str, float]:
    timestamp = headers.get("x-amz-date")
    if timestamp is None:
        date = headers.get("date")
        if date is None:
            if errors.s3:
                text = "AWS authentication requires a valid Date or x-amz-date header"
                raise ServiceError("AccessDenied", text, status=403)
            raise errors.incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
            )
        timestamp = _from_http_date(date)
    signed_at = parse_time(timestamp)
    if signed_at is None:
        raise errors.incomplete(
            f"Date must be in ISO-8601 'basic format'. Got '{timestamp[:64]}'."
            " See http://en.wikipedia.org/wiki/ISO_8601"
        )
    return timestamp, signed_at


@lru_cache(maxsize=64)
def parse_time(text: str) -> float | None:
    """The epoch seconds of `20260131T120000Z`; None where it is something else."""
    if len(text) != 16 or not text.isascii():
        return None
    try:
        return float(calendar.timegm(time.strptime(text, "%Y%m%dT%H%M%SZ")))
    except ValueError:
        return None


def _from_http_date(text: str) -> str:
    try:
        return time.strftime("%Y%m%dT%H%M%SZ", time.strptime(text, "%a, %d %b %Y %H:%M:%S GMT"))
    except ValueError:
        return text


# -- the query --------------------------------------------------------------------------------------------------------


async def _verify_query(
    request: Request,
    credentials: Credentials,
    clock: Clock,
    settings: Settings,
    service: str,
    errors: AuthErrors,
    body_limit: int,
) -> Verified:
    found: dict[str, str] = {}
    rest: list[str] = []
    for pair in request.query.split("&"):
        name, _, value = pair.partition("=")
        if name == "X-Amz-Signature":
            found[name] = value
            continue
        rest.append(pair)
        if name.startswith("X-Amz-"):
            found.setdefault(name, unquote(value))
    parsed, timestamp, signed_at, expires_s = _query_fields(found, errors)
    now = clock.now()
    if signed_at - now > settings.clock_skew_s:
        raise errors.not_yet_valid(signed_at, now, settings.clock_skew_s)
    if now > signed_at + expires_s:
        raise errors.presign_expired(expires_s, signed_at + expires_s, now)
    token = found.get("X-Amz-Security-Token")
    credential = await _find(credentials, parsed.access_key_id, token, now, errors)
    header = request.headers.get("x-amz-content-sha256")
    # A header that the link's maker did not sign says how to read the body, not what was signed.
    declared = found.get("X-Amz-Content-Sha256") or (
        header if "x-amz-content-sha256" in parsed.signed_headers else None
    )
    body: ByteStream | None = None
    if declared is None and errors.s3:
        declared = UNSIGNED
    elif declared is None:
        data = await request.body.read(body_limit)
        declared = hashlib.sha256(data).hexdigest()
        body = BytesStream(data)
    if credential.check_signature:
        key = signing_key(credential.secret, parsed.date, parsed.region, parsed.service)
        signature = found["X-Amz-Signature"]
        if not HEX64.fullmatch(signature):
            raise errors.bad_query("X-Amz-Signature must be 64 hexadecimal digits.")
        _match(request, "&".join(rest), parsed, timestamp, declared, key, signature, errors)
    content = header or declared
    if content in (Mode.SIGNED.value, Mode.SIGNED_TRAILER.value):
        raise errors.bad_query("A presigned request cannot carry signed chunks.")
    if body is None:
        body = payload_of(request, content, errors, None)
    return Verified(credential.principal, parsed.service, parsed.region, parsed.access_key_id, body)


def _query_fields(found: Mapping[str, str], errors: AuthErrors) -> tuple[Signature, str, float, int]:
    algorithm = found.get("X-Amz-Algorithm", "")
    if algorithm.startswith("AWS4-ECDSA"):
        raise errors.unsupported("Signature Version 4A")
    needed = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders"]
    if errors.s3:
        needed.append("X-Amz-Expires")
    if not all(found.get(name) for name in needed):
        raise errors.bad_query(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature,"
            " X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    if algorithm != ALGORITHM:
        raise errors.bad_query(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    parsed = parse_fields(found["X-Amz-Credential"], found["X-Amz-SignedHeaders"], presigned=True)
    if parsed is None:
        raise errors.bad_query(
            'Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "<YOUR-AKID>/'
            'YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    timestamp = found["X-Amz-Date"]
    signed_at = parse_time(timestamp)
    if signed_at is None:
        raise errors.bad_query("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    if not timestamp.startswith(parsed.date):
        raise errors.bad_query(
            f'Invalid credential date "{parsed.date}". This date is not the same as X-Amz-Date: "{timestamp[:8]}".'
        )
    text = found.get("X-Amz-Expires", "900")
    if not text.isascii() or not text.lstrip("-").isdigit() or len(text) > 12:
        raise errors.bad_query("X-Amz-Expires should be a number")
    expires_s = int(text)
    if expires_s < 0:
        raise errors.bad_query("X-Amz-Expires must be non-negative")
    if expires_s > MAX_EXPIRES_S:
        raise errors.bad_query(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than"
            f" {MAX_EXPIRES_S} seconds"
        )
    return parsed, timestamp, signed_at, expires_s


async def _verify_link(
    request: Request, resource: str, credentials: Credentials, clock: Clock, errors: AuthErrors
) -> Verified:
    if not errors.s3:
        raise errors.unsupported("Signature Version 2")
    link = parse_link(request, resource, errors)
    now = clock.now()
    if now > link.expires:
        raise errors.link_expired(link.expires, now)
    credential = await _find(credentials, link.access_key_id, link.token, now, errors)
    if credential.check_signature:
        check_link(link, credential.secret, errors)
    headers = dict(link.headers)
    declared = request.headers.get("x-amz-content-sha256") or headers.get("x-amz-content-sha256") or UNSIGNED
    if declared in (Mode.SIGNED.value, Mode.SIGNED_TRAILER.value):
        raise errors.bad_query("A presigned request cannot carry signed chunks.")
    body = payload_of(request, declared, errors, None)
    return Verified(credential.principal, "s3", "", link.access_key_id, body, link.headers)


# -- what both share --------------------------------------------------------------------------------------------------


async def _find(
    credentials: Credentials, access_key_id: str, token: str | None, now: float, errors: AuthErrors
) -> Credential:
    credential = await credentials.find(access_key_id, token)
    if credential is None:
        raise errors.bad_token(access_key_id, token) if token else errors.unknown_key(access_key_id)
    if credential.session_token is not None:
        if token is None or not hmac.compare_digest(credential.session_token.encode(), token.encode()):
            raise errors.bad_token(access_key_id, token or "")
    elif token and credential.strict_token:
        raise errors.bad_token(access_key_id, token)
    if credential.expires_at is not None and now >= credential.expires_at:
        raise errors.expired_token(token or "")
    return credential


def _match(
    request: Request,
    query: str,
    parsed: Signature,
    timestamp: str,
    payload: str,
    key: SigningKey,
    signature: str,
    errors: AuthErrors,
) -> None:
    """Compare signatures, under each reading of the path that honest clients sign. `signature` is 64 hex digits."""
    tail = f"{canonical_query(query)}\n{canonical_headers(parsed, request.headers, errors)}\n{payload}"
    first = ("", "")
    for path in canonical_paths(request.path, errors.s3):
        canonical = f"{request.method}\n{path}\n{tail}"
        digest = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
        string_to_sign = f"{ALGORITHM}\n{timestamp}\n{parsed.scope}\n{digest}"
        if hmac.compare_digest(key.sign(string_to_sign.encode()), signature):
            return
        first = first if first[0] else (string_to_sign, canonical)
    raise errors.mismatch(parsed.access_key_id, first[0], signature, first[1])
