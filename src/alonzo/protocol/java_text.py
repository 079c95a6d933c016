"""Values as Java prints them, because AWS's validation texts are printed by Java."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any


def java_name(name: str) -> str:
    """A member in AWS's texts: only the first letter becomes small (`KMSKeyArn` -> `kMSKeyArn`)."""
    return name[:1].lower() + name[1:]


def java_text(value: Any) -> str:
    """`toString()` of a parameter."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(java_text(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={java_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, datetime):
        return value.strftime("%a %b %d %H:%M:%S UTC %Y")
    return str(value)


def hash_order(values: Iterable[str]) -> list[str]:
    """The values in the order in which a Java HashSet or HashMap yields them."""
    listed = list(values)
    size = 16
    while size < len(listed) / 0.75 + 1:
        size *= 2
    buckets: dict[int, list[str]] = {}
    for value in listed:
        buckets.setdefault(_spread_hash(value) & (size - 1), []).append(value)
    return [value for bucket in sorted(buckets) for value in buckets[bucket]]


def enum_set(values: Iterable[str]) -> str:
    """`[b, a]`: an enum's values as AWS prints them."""
    return f"[{', '.join(hash_order(values))}]"


def _spread_hash(text: str) -> int:
    """`String.hashCode`, spread as HashMap does."""
    code = 0
    for unit in memoryview(text.encode("utf-16-le")).cast("H"):
        code = (31 * code + unit) & 0xFFFFFFFF
    return code ^ (code >> 16)
