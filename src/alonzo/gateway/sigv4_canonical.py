"""The canonical request and the key that signs it: pure functions of what was sent.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.core.http import Headers
from alonzo.gateway.sigv4_errors import AuthErrors

ALGORITHM = "AWS4-HMAC-SHA256"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9\-._~/%]*")
_PLAIN_QUERY = re.compile(r"[A-Za-z0-9\-._~%&=]*")
_SPACES = re.compile(r"  +")
#: Headers that some clients add after they have signed.
MAY_BE_UNSIGNED = frozenset({"x-amz-user-agent", "x-amz-cf-id"})


@dataclass(frozen=True, slots=True)
class Signature:
    """What a request says about its signature."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    scope: str
    joined: str
    #: The same, and what a presigned request may leave unsigned.
    names: frozenset[str]


@lru_cache(maxsize=1024)
def parse_head(head: str) -> Signature | None:
    """`AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, `: everything but the signature, the same for a whole day."""
    if not head.startswith(ALGORITHM + " "):
        return None
    fields: dict[str, str] = {}
    for part in head[len(ALGORITHM) + 1 :].split(","):
        name, _, value = part.strip().partition("=")
        if name:
            fields[name] = value
    return parse_fields(fields.get("Credential", ""), fields.get("SignedHeaders", ""))


def parse_fields(credential: str, signed_headers: str, *, presigned: bool = False) -> Signature | None:
    scope = credential.rsplit("/", 4)
    names = tuple(signed_headers.split(";"))
    if len(scope) != 5 or scope[4] != "aws4_request" or not all(scope) or not all(names) or len(names) > 128:
        return None
    if len(scope[1]) != 8 or not scope[1].isdigit():
        return None
    lowered = tuple(name.lower() for name in names)
    unsigned = ("x-amz-content-sha256",) if presigned else ()
    return Signature(
        scope[0],
        scope[1],
        scope[2],
        scope[3],
        lowered,
        "/".join(scope[1:]),
        ";".join(lowered),
        frozenset((*lowered, *unsigned)),
    )


def canonical_headers(signature: Signature, headers: Headers, errors: AuthErrors) -> str:
    """The signed headers and the list of their names.

    `host` and every x-amz- header must be signed, or a middleman could add what changes the request's meaning.
    """
    names, found = signature.names, dict[str, str]()
    for name, value in headers.items:
        if name in found:
            found[name] = f"{found[name].strip()},{value.strip()}"
            continue
        found[name] = value
        if name not in names and name.startswith("x-amz-") and name not in MAY_BE_UNSIGNED:
            raise _unsigned_header(name, errors)
    if "host" not in names:
        raise _unsigned_header("host", errors)
    lines = "".join([f"{name}:{found.get(name, '').strip()}\n" for name in signature.signed_headers])
    if "  " in lines:
        lines = _SPACES.sub(" ", lines)
    return f"{lines}\n{signature.joined}"


def _unsigned_header(name: str, errors: AuthErrors) -> ServiceError:
    if errors.s3:
        text = "There were headers present in the request which were not signed"
        return ServiceError("AccessDenied", text, status=403, fields={"HeadersNotSigned": name})
    return errors.incomplete(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")


class SigningKey:
    """A derived key with its HMAC half done: copying two hash states costs half of a new HMAC."""

    __slots__ = ("_inner", "_outer", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def sign(self, text: bytes) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.hexdigest()


@lru_cache(maxsize=2048)
def signing_key(secret: str, date: str, region: str, service: str) -> SigningKey:
    key = hmac.digest(b"AWS4" + secret.encode(), date.encode(), "sha256")
    for part in (region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return SigningKey(key)


@lru_cache(maxsize=256)
def canonical_paths(path: str, s3: bool) -> tuple[str, ...]:
    """The path as signed: S3 signs it as sent, the others encode it once more after removing empty and dot segments."""
    path = path or "/"
    if not s3:
        return (quote(_normalized(path), safe="/-_.~"),)
    plain = path if _PLAIN_PATH.fullmatch(path) else quote(path, safe="/-_.~%")
    strict = quote(unquote_to_bytes(path), safe="/-_.~")
    return (plain,) if plain == strict else (plain, strict)


def _normalized(path: str) -> str:
    if "//" not in path and "/." not in path:
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part and part != ".":
            parts.append(part)
    return "/" + "/".join(parts) + ("/" if parts and path.endswith("/") else "")


def canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs: list[tuple[str, str]] = []
    plain = _PLAIN_QUERY.fullmatch(query) is not None
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if not plain:
            name, value = (quote(unquote_to_bytes(text), safe="-_.~") for text in (name, value))
        pairs.append((name, value))
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])
