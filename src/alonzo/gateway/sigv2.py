"""Links that were presigned with Signature Version 2.

boto3 and the AWS CLI make them by default for S3 at an endpoint of one's own, unless `signature_version` says s3v4.
Headers signed with it are not taken: no tool sends them unasked.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
"""

from __future__ import annotations

import base64
import hmac
from urllib.parse import unquote, unquote_plus

from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.core.http import Headers, Request
from alonzo.gateway.sigv4_errors import AuthErrors

#: Query parameters that are signed.
_SIGNED = frozenset(
    {
        "accelerate",
        "acl",
        "analytics",
        "cors",
        "defaultObjectAcl",
        "delete",
        "inventory",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "partNumber",
        "policy",
        "replication",
        "requestPayment",
        "restore",
        "select",
        "select-type",
        "storageClass",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
    }
)
#: Those that are not, and change no more than which part of a listing is shown. Any other could make the request
#: another operation than the link's maker meant.
_FREE = frozenset(
    {
        "prefix",
        "delimiter",
        "marker",
        "max-keys",
        "encoding-type",
        "list-type",
        "continuation-token",
        "start-after",
        "fetch-owner",
        "key-marker",
        "version-id-marker",
        "upload-id-marker",
        "max-uploads",
        "max-parts",
        "part-number-marker",
    }
)
_OWN = frozenset({"AWSAccessKeyId", "Signature", "Expires"})


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says. `headers` are header fields that it carries as query parameters."""

    access_key_id: str
    signature: str
    expires: int
    token: str | None
    headers: tuple[tuple[str, str], ...]
    string_to_sign: str


def is_link(query: str) -> bool:
    return "Signature=" in query and "AWSAccessKeyId=" in query and "X-Amz-Signature=" not in query


def parse_link(request: Request, path: str, errors: AuthErrors) -> Link:
    """`path` begins with the bucket's name. Raises ServiceError where a part is missing, broken or not signed."""
    own: dict[str, str] = {}
    carried: dict[str, str] = {}
    parts: list[tuple[str, str]] = []
    for pair in request.query.split("&"):
        name, equals, value = pair.partition("=")
        lowered = name.lower()
        if name in _OWN:
            own.setdefault(name, unquote(value))
        elif lowered.startswith("x-amz-") or lowered in ("content-md5", "content-type"):
            if lowered in carried:
                raise _forbidden("The query repeats a header field.")
            carried[lowered] = unquote_plus(value)
        elif name in _SIGNED:
            parts.append((name, f"{name}={unquote(value)}" if equals else name))
        elif name and name not in _FREE:
            raise errors.unsupported("Signature Version 2")
    if len(own) != len(_OWN):
        raise _forbidden("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
    expires = own["Expires"]
    if not expires.isascii() or not expires.isdigit() or len(expires) > 12:
        raise _forbidden(f"Invalid date (should be seconds since epoch): {expires[:64]}")
    parts.sort()
    signed = path + ("?" + "&".join(text for _, text in parts) if parts else "")
    fields = f"{_standard(request.headers, carried)}\n{expires}\n{_custom(request.headers, carried)}"
    text = f"{request.method}\n{fields}{signed}"
    headers = tuple((name, value) for name, value in carried.items() if name not in request.headers)
    token = carried.get("x-amz-security-token") or request.headers.get("x-amz-security-token")
    return Link(own["AWSAccessKeyId"], own["Signature"], int(expires), token, headers, text)


def check_link(link: Link, secret: str, errors: AuthErrors) -> None:
    """Raises SignatureDoesNotMatch."""
    digest = hmac.digest(secret.encode(), link.string_to_sign.encode("utf-8", "replace"), "sha1")
    if not hmac.compare_digest(base64.b64encode(digest), link.signature.encode()):
        raise errors.mismatch(link.access_key_id, link.string_to_sign, link.signature, "")


def _standard(headers: Headers, carried: dict[str, str]) -> str:
    names = ("content-md5", "content-type")
    return "\n".join((headers.get(name) or carried.get(name) or "").strip() for name in names)


def _custom(headers: Headers, carried: dict[str, str]) -> str:
    """Every x-amz- field, from the header and from the query: none can be added to a link."""
    found: dict[str, list[str]] = {}
    for name, value in headers.items:
        if name.startswith("x-amz-"):
            found.setdefault(name, []).append(value.strip())
    for name, value in carried.items():
        if name.startswith("x-amz-") and name not in found:
            found[name] = [value.strip()]
    return "".join(f"{name}:{','.join(values)}\n" for name, values in sorted(found.items()))


def _forbidden(message: str) -> ServiceError:
    return ServiceError("AccessDenied", message, status=403)
