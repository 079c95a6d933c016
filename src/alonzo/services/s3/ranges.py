"""The Range header.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
"""

from __future__ import annotations

import re

from alonzo.core.errors import ServiceError
from alonzo.services.s3.errors import invalid_argument

_SINGLE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*")
_COPY = re.compile(r"bytes=(\d{1,19})-(\d{1,19})")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(offset, length) of a single range, or None to send everything: no header, malformed, or several ranges.

    Raises InvalidRange (416) where the range lies outside.
    """
    match = _SINGLE.fullmatch(header) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise _unsatisfiable(header or "", size)
        return size - length, length
    start = int(match[1])
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < start:
        return None
    if start >= size:
        raise _unsatisfiable(header or "", size)
    return start, end - start + 1


def parse_copy_range(header: str, size: int) -> tuple[int, int]:
    """x-amz-copy-source-range: both ends are needed, and must lie within the source."""
    match = _COPY.fullmatch(header)
    if match is None:
        raise invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the"
            " zero-based offsets of the first and last bytes to copy",
            "x-amz-copy-source-range",
            header,
        )
    start, end = int(match[1]), int(match[2])
    if end < start or end >= size:
        raise invalid_argument(
            f"Range specified is not valid for source object of size: {size}", "x-amz-copy-source-range", header
        )
    return start, end - start + 1


def _unsatisfiable(header: str, size: int) -> ServiceError:
    return ServiceError(
        "InvalidRange",
        "The requested range is not satisfiable",
        status=416,
        fields={"RangeRequested": header, "ActualObjectSize": size},
    )
