"""Listing objects."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from sqlalchemy import insert

from alonzo.services.s3.store.tables import objects


async def _fill(s3_: Any, keys: list[str]) -> None:
    """Rows straight into the table: a put each would take long."""
    rows = [
        {
            "id": n,
            "bucket": "bkt",
            "key": key.encode(),
            "version_id": None,
            "current": 1,
            "delete_marker": 0,
            "size": 0,
            "etag": "0" * 32,
            "modified_ms": 0,
            "storage_class": "STANDARD",
            "extents": 0,
            "owner": "000000000000",
            "details": "{}",
            "tags": None,
            "data": None,
        }
        for n, key in enumerate(keys, 1)
    ]
    await s3_.db.write(lambda connection: connection.execute(insert(objects), rows))


def _expected(keys: list[str], prefix: str, delimiter: str, after: str) -> list[tuple[str, str]]:
    """The whole listing, the plain way."""
    found: list[tuple[str, str]] = []
    for key in sorted(keys, key=str.encode):
        if not key.startswith(prefix):
            continue
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        entry = ("prefix", key[: cut + len(delimiter)]) if cut >= 0 else ("key", key)
        if entry[1].encode() > after.encode() and entry not in found:
            found.append(entry)
    return found


def _entries(page: dict[str, Any]) -> list[tuple[str, str]]:
    both = [("key", one["Key"]) for one in page["Contents"]]
    both += [("prefix", one["Prefix"]) for one in page.get("CommonPrefixes", [])]
    return sorted(both, key=lambda one: one[1].encode())


@pytest.mark.parametrize("seed", range(6))
async def test_against_the_plain_way(s3_: Any, seed: int) -> None:
    """Whatever prefix, delimiter, start and page size: the pages of both versions join to what a plain loop finds."""
    rng = random.Random(seed)
    alphabet = ["a", "b", "/", "//", "é", "\U0001f5dd", "\x00", "~"]
    keys = list({"".join(rng.choices(alphabet, k=rng.randint(1, 6))) for _ in range(150)})
    await _fill(s3_, keys)
    for _ in range(25):
        prefix = "".join(rng.choices(alphabet, k=rng.randint(0, 2)))
        delimiter = rng.choice(["", "/", "//", "a", "b/"])
        after = "".join(rng.choices(alphabet, k=rng.randint(0, 3)))
        size = rng.choice([1, 2, 7, 1000])
        asked = {"Bucket": "bkt", "Prefix": prefix, "Delimiter": delimiter, "MaxKeys": size}
        wanted = _expected(keys, prefix, delimiter, after)
        found: list[tuple[str, str]] = []
        page = await s3_("ListObjectsV2", **asked, StartAfter=after)
        found += _entries(page)
        while page["IsTruncated"]:
            assert page["KeyCount"] == size
            page = await s3_("ListObjectsV2", **asked, ContinuationToken=page["NextContinuationToken"])
            found += _entries(page)
        assert found == wanted
        found, marker = [], after
        while True:
            page = await s3_("ListObjects", **asked, Marker=marker)
            found += _entries(page)
            if not page["IsTruncated"]:
                break
            marker = page.get("NextMarker") or page["Contents"][-1]["Key"]
        assert found == wanted


@pytest.mark.slow
async def test_delimiter_skips(s3_: Any) -> None:
    """100,000 keys below one prefix are stepped over, not loaded."""
    await _fill(s3_, [f"big/{n:06}" for n in range(100_000)] + ["zzz", "aaa"])
    begun = time.thread_time()
    for _ in range(20):
        await s3_("ListObjectsV2", Bucket="bkt", MaxKeys=1000)
    loaded = time.thread_time() - begun  # a fifth of them
    begun = time.thread_time()
    page = await s3_("ListObjectsV2", Bucket="bkt", Delimiter="/", MaxKeys=10)
    assert time.thread_time() - begun < loaded / 2
    assert _entries(page) == [("key", "aaa"), ("prefix", "big/"), ("key", "zzz")]
    page = await s3_("ListObjectsV2", Bucket="bkt", Prefix="big/", StartAfter="big/099998")
    assert _entries(page) == [("key", "big/099999")]


async def test_encoding(s3_: Any) -> None:
    """With encoding-type=url every name is percent-encoded, so that XML can carry it."""
    await _fill(s3_, ["a b+c", "x\x00/y", "é"])
    page = await s3_("ListObjectsV2", Bucket="bkt", EncodingType="url", StartAfter=" ", Delimiter="/")
    assert [one["Key"] for one in page["Contents"]] == ["a+b%2Bc", "%C3%A9"]
    assert page["CommonPrefixes"] == [{"Prefix": "x%00/"}]
    assert (page["EncodingType"], page["StartAfter"]) == ("url", "+")
    await s3_.fails("InvalidArgument", "ListObjectsV2", Bucket="bkt", EncodingType="base64")


async def test_page_sizes(s3_: Any) -> None:
    """At most 1,000 keys come at once, none where none are asked for; bad sizes and foreign tokens are refused."""
    await _fill(s3_, [f"{n:04}" for n in range(1500)])
    page = await s3_("ListObjectsV2", Bucket="bkt", MaxKeys=5000)
    assert (page["KeyCount"], page["MaxKeys"], page["IsTruncated"]) == (1000, 1000, True)
    page = await s3_("ListObjectsV2", Bucket="bkt", MaxKeys=0)
    assert (page["KeyCount"], page["IsTruncated"]) == (0, False)
    await s3_.fails("InvalidArgument", "ListObjectsV2", Bucket="bkt", MaxKeys=-1)
    error = await s3_.fails("InvalidArgument", "ListObjectsV2", Bucket="bkt", ContinuationToken="nope!")
    assert error.message == "The continuation token provided is incorrect"


async def test_what_an_entry_tells(s3_: Any) -> None:
    """An entry has size, quoted entity tag, class and checksum algorithm; the owner only where asked for."""
    put = await s3_("PutObject", Bucket="bkt", Key="k", Body=b"123")
    (entry,) = (await s3_("ListObjectsV2", Bucket="bkt"))["Contents"]
    assert (entry["Size"], entry["ETag"], entry["StorageClass"]) == (3, put["ETag"], "STANDARD")
    assert entry["ChecksumAlgorithm"] == ["CRC64NVME"] and "Owner" not in entry
    (entry,) = (await s3_("ListObjectsV2", Bucket="bkt", FetchOwner=True))["Contents"]
    assert len(entry["Owner"]["ID"]) == 64
    conditions = {"s3:prefix": "p", "s3:delimiter": "/", "s3:max-keys": "7"}
    await s3_("ListObjectsV2", Bucket="bkt", Prefix="p", Delimiter="/", MaxKeys=7)
    assert dict(s3_.authorizer.asked[-1].conditions) == conditions
