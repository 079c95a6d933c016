"""Checksums: which were asked for, computing them, and those of several parts together.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

from alonzo.core.errors import ServiceError
from alonzo.services.s3.errors import invalid_request


class Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


@cache
def crt() -> Any:
    """AWS's own checksums. Loaded on first use: 40 ms, and 5 MB."""
    from awscrt import checksums

    return checksums


def _crc32() -> Callable[[bytes, int], int]:
    """AWS's where it has been loaded: it is the faster one. What boto3 sends need not wait for that."""
    loaded: Callable[[bytes, int], int] = crt().crc32 if crt.cache_info().currsize else binascii.crc32
    return loaded


class _Crc:
    """A CRC as a digest: big-endian bytes."""

    __slots__ = ("_function", "_size", "_value")

    def __init__(self, function: Callable[[bytes, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


_MAKE: dict[str, Callable[[], Digest]] = {
    "CRC64NVME": lambda: _Crc(crt().crc64nvme, 8),
    "CRC32": lambda: _Crc(_crc32(), 4),
    "CRC32C": lambda: _Crc(crt().crc32c, 4),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
}
_SIZES = {"CRC64NVME": 8, "CRC32": 4, "CRC32C": 4, "SHA1": 20, "SHA256": 32}
_COMBINE: dict[str, Callable[[int, int, int], int]] = {
    "CRC64NVME": lambda a, b, size: crt().combine_crc64nvme(a, b, size),
    "CRC32": lambda a, b, size: crt().combine_crc32(a, b, size),
    "CRC32C": lambda a, b, size: crt().combine_crc32c(a, b, size),
}

#: What AWS computes where the client gave none.
DEFAULT = "CRC64NVME"
ALGORITHMS = tuple(_MAKE)
#: In the model, but not in Alonzo: refused.
UNSUPPORTED = ("SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128")
#: Which kinds of checksum of several parts each algorithm has.
TYPES = {
    "CRC64NVME": ("FULL_OBJECT",),
    "CRC32": ("COMPOSITE", "FULL_OBJECT"),
    "CRC32C": ("COMPOSITE", "FULL_OBJECT"),
    "SHA1": ("COMPOSITE",),
    "SHA256": ("COMPOSITE",),
}


def member(algorithm: str) -> str:
    """The model's member for an algorithm's value."""
    return f"Checksum{algorithm}"


def header(algorithm: str) -> str:
    return f"x-amz-checksum-{algorithm.lower()}"


def encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def new(algorithm: str) -> Digest:
    return _MAKE[algorithm]()


def compute(algorithm: str, data: bytes) -> str:
    digest = _MAKE[algorithm]()
    digest.update(data)
    return encode(digest.digest())


def check_supported(algorithm: str) -> None:
    """Raises InvalidRequest for an algorithm that Alonzo does not compute."""
    if algorithm and algorithm not in _MAKE:
        raise invalid_request(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
            "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
        )


def supplied(params: Mapping[str, Any]) -> tuple[str, str] | None:
    """The algorithm and value that came as a header. Raises InvalidRequest: several, unknown, malformed."""
    found = None
    for name, value in params.items():
        if not name.startswith("Checksum") or name in ("ChecksumAlgorithm", "ChecksumType", "ChecksumMode"):
            continue
        if not isinstance(value, str):
            continue
        algorithm = name.removeprefix("Checksum")
        check_supported(algorithm)
        if found is not None:
            raise invalid_request("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
        found = (algorithm, value)
    if found is not None:
        check_form(*found)
    return found


def check_form(algorithm: str, value: str, *, parts: bool = False) -> None:
    """Raises InvalidRequest unless `value` is base64 of the right length (with `-N` after it where `parts`)."""
    raw = value.partition("-")[0] if parts else value
    try:
        valid = len(base64.b64decode(raw, validate=True)) == _SIZES[algorithm]
    except (binascii.Error, ValueError):
        valid = False
    if not valid:
        raise invalid_request(f"Value for {header(algorithm)} header is invalid.")


def from_trailers(trailers: Mapping[str, str]) -> tuple[str, str] | None:
    """The checksum that came after the body."""
    for name, value in trailers.items():
        if name.startswith("x-amz-checksum-"):
            algorithm = name.removeprefix("x-amz-checksum-").upper()
            check_supported(algorithm)
            check_form(algorithm, value.strip())
            return algorithm, value.strip()
    return None


def mismatch(algorithm: str) -> ServiceError:
    return ServiceError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")


def type_mismatch(expected: str, actual: str) -> ServiceError:
    return invalid_request(
        f"Checksum Type mismatch occurred, expected checksum Type: {expected.lower()}, actual checksum Type:"
        f" {actual.lower()}"
    )


def check_md5(given: str | None, digest: bytes) -> None:
    """Content-MD5. Raises InvalidDigest where it is none, BadDigest where it is another's."""
    if given is None:
        return
    try:
        wanted = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        wanted = b""
    if len(wanted) != 16:
        raise ServiceError("InvalidDigest", "The Content-MD5 you specified was invalid.", fields={"Content-MD5": given})
    if wanted != digest:
        raise ServiceError(
            "BadDigest",
            "The Content-MD5 you specified did not match what we received.",
            fields={"ExpectedDigest": wanted.hex(), "CalculatedDigest": encode(digest)},
        )


def composite(algorithm: str, values: Sequence[str]) -> str:
    """The checksum of the parts' checksums, with their number."""
    digest = new(algorithm)
    for value in values:
        digest.update(base64.b64decode(value))
    return f"{encode(digest.digest())}-{len(values)}"


def full_object(algorithm: str, values: Iterable[tuple[str, int]]) -> str:
    """The checksum of the whole from (checksum, size) of its parts, without reading them."""
    combine = _COMBINE[algorithm]
    total = 0
    for value, size in values:
        total = combine(total, int.from_bytes(base64.b64decode(value), "big"), size)
    return encode(total.to_bytes(_SIZES[algorithm], "big"))
