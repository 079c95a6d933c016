"""Putting, reading and deleting objects."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alonzo.core.errors import ServiceError
from alonzo.services.s3.models import MAX_PUT_BYTES

BIG = bytes(range(256)) * 1000  # 256,000 bytes: a blob
SMALL = b"hello world"


@pytest.mark.parametrize("data", [b"", SMALL, BIG])
async def test_round_trip(s3_: Any, data: bytes) -> None:
    """What was put comes back, with its MD5 as entity tag and a CRC64NVME nobody asked for."""
    put = await s3_(
        "PutObject", Bucket="bkt", Key="a/b c.txt", Body=data, ContentType="text/plain", Metadata={"x": "1"}
    )
    assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert put["ChecksumType"] == "FULL_OBJECT" and len(base64.b64decode(put["ChecksumCRC64NVME"])) == 8
    assert "VersionId" not in put
    got = await s3_("GetObject", Bucket="bkt", Key="a/b c.txt")
    assert (got["ContentLength"], got["ContentType"], got["Metadata"]) == (len(data), "text/plain", {"x": "1"})
    assert got["ServerSideEncryption"] == "AES256" and "ChecksumCRC64NVME" not in got
    assert await s3_.body(Bucket="bkt", Key="a/b c.txt") == data
    head = await s3_("HeadObject", Bucket="bkt", Key="a/b c.txt", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == put["ChecksumCRC64NVME"] and "Body" not in head


@pytest.mark.parametrize("data", [SMALL, BIG])
async def test_overwriting_and_deleting_leave_no_file(s3_: Any, data: bytes) -> None:
    """Neither what was overwritten nor what was deleted stays on disk."""
    for _ in range(3):
        await s3_("PutObject", Bucket="bkt", Key="k", Body=data)
    await s3_("DeleteObject", Bucket="bkt", Key="k")
    assert await s3_("DeleteObject", Bucket="bkt", Key="k") == {}
    await s3_.service.stop()
    assert s3_.files() == []


async def test_retired_blob_waits_for_its_reader(s3_: Any) -> None:
    """A blob being sent stays until its grace has passed, then the background work removes it."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=BIG)
    got = await s3_("GetObject", Bucket="bkt", Key="k")
    run = asyncio.ensure_future(s3_.service.run())
    await s3_("DeleteObject", Bucket="bkt", Key="k")
    await asyncio.sleep(0.01)
    assert got["Body"].path.read_bytes() == BIG
    await s3_.clock.advance(6)
    for _ in range(100):
        if not s3_.files():
            break
        await asyncio.sleep(0.002)
    assert s3_.files() == []
    run.cancel()


async def test_missing(s3_: Any) -> None:
    """A missing key is NoSuchKey for who may list the bucket, and AccessDenied for others."""
    error = await s3_.fails("NoSuchKey", "GetObject", Bucket="bkt", Key="none")
    assert error.status == 404 and error.fields == {"Key": "none"}
    s3_.authorizer.denied.add("s3:ListBucket")
    error = await s3_.fails("AccessDenied", "GetObject", Bucket="bkt", Key="none")
    assert error.status == 403
    await s3_.fails("NoSuchBucket", "PutObject", Bucket="nonexistent", Key="none", Body=b"")


@pytest.mark.parametrize("data", [SMALL, BIG])
@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("bytes=0-3", 0, 4), ("bytes=4-", 4, None), ("bytes=-3", -3, None), ("bytes=5-999999999", 5, None)],
)
async def test_ranges(s3_: Any, read_body: Any, data: bytes, header: str, start: int, end: int | None) -> None:
    """A single range answers its bytes and says where they lie."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=data)
    got = await s3_("GetObject", Bucket="bkt", Key="k", Range=header)
    wanted = data[start:end]
    first = start % len(data)
    assert await read_body(got["Body"]) == wanted
    assert got["ContentLength"] == len(wanted)
    assert got["ContentRange"] == f"bytes {first}-{first + len(wanted) - 1}/{len(data)}"


async def test_ranges_outside_and_unknown(s3_: Any) -> None:
    """A range outside is 416; malformed ones and several at once answer everything."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=SMALL)
    error = await s3_.fails("InvalidRange", "GetObject", Bucket="bkt", Key="k", Range="bytes=11-")
    assert error.status == 416
    assert error.fields == {"RangeRequested": "bytes=11-", "ActualObjectSize": 11}
    await s3_.fails("InvalidRange", "GetObject", Bucket="bkt", Key="k", Range="bytes=-0")
    for header in ("bytes=3-1", "lines=1-2", "bytes=0-1,3-4", "bytes=-", "bytes=" + "9" * 5000 + "-"):
        got = await s3_("GetObject", Bucket="bkt", Key="k", Range=header)
        assert got["Body"] == SMALL and "ContentRange" not in got


async def test_conditions_on_reading(s3_: Any) -> None:
    """Entity tags decide before dates, and the answers are 412 and 304."""
    put = await s3_("PutObject", Bucket="bkt", Key="k", Body=SMALL)
    at = (await s3_("HeadObject", Bucket="bkt", Key="k"))["LastModified"]
    before, after = at - timedelta(days=1), at + timedelta(days=1)
    ask: dict[str, Any] = {"Bucket": "bkt", "Key": "k"}
    assert (await s3_.fails("PreconditionFailed", "GetObject", **ask, IfMatch='"x"')).status == 412
    await s3_("GetObject", **ask, IfMatch=put["ETag"], IfUnmodifiedSince=before)
    await s3_.fails("PreconditionFailed", "GetObject", **ask, IfUnmodifiedSince=before)
    error = await s3_.fails("NotModified", "GetObject", **ask, IfNoneMatch=f'"x", {put["ETag"]}')
    assert error.status == 304 and error.headers["etag"] == put["ETag"]
    await s3_.fails("NotModified", "GetObject", **ask, IfNoneMatch=put["ETag"], IfModifiedSince=before)
    await s3_("GetObject", **ask, IfNoneMatch='"x"', IfModifiedSince=after)
    await s3_.fails("NotModified", "HeadObject", **ask, IfModifiedSince=at)
    await s3_("GetObject", **ask, IfModifiedSince=before)


async def test_conditional_writes(s3_: Any) -> None:
    """If-None-Match: * puts only what is not there, If-Match only over the version it names."""
    put = await s3_("PutObject", Bucket="bkt", Key="k", Body=b"1", IfNoneMatch="*")
    error = await s3_.fails("PreconditionFailed", "PutObject", Bucket="bkt", Key="k", Body=BIG, IfNoneMatch="*")
    assert error.status == 412 and error.fields == {"Condition": "If-None-Match"}
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"2", IfMatch=put["ETag"])
    await s3_.fails("PreconditionFailed", "PutObject", Bucket="bkt", Key="k", Body=b"3", IfMatch=put["ETag"])
    await s3_.fails("NoSuchKey", "PutObject", Bucket="bkt", Key="none", Body=b"3", IfMatch=put["ETag"])
    assert await s3_.body(Bucket="bkt", Key="k") == b"2"
    await s3_.service.stop()
    assert s3_.files() == []


async def test_racing_creators(s3_: Any) -> None:
    """Of many that put the same key with If-None-Match: * exactly one wins."""
    outcomes = await asyncio.gather(
        *(s3_("PutObject", Bucket="bkt", Key="k", Body=b"%d" % n, IfNoneMatch="*") for n in range(20)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, dict) for one in outcomes) == 1
    assert sum(isinstance(one, ServiceError) and one.status == 412 for one in outcomes) == 19


async def test_response_overrides(s3_: Any) -> None:
    """response-… parameters change the headers of the answer only."""
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    await s3_(
        "PutObject", Bucket="bkt", Key="k", Body=b"", CacheControl="no-cache", ContentEncoding="gzip", Expires=expires
    )
    got = await s3_("GetObject", Bucket="bkt", Key="k", ResponseContentType="x/y", ResponseCacheControl="max-age=1")
    assert (got["ContentType"], got["CacheControl"], got["ContentEncoding"]) == ("x/y", "max-age=1", "gzip")
    assert got["Expires"] == expires
    assert (await s3_("GetObject", Bucket="bkt", Key="k"))["ContentType"] == "binary/octet-stream"


async def test_hostile_keys(s3_: Any, tmp_path: Any) -> None:
    """Keys are only names: path tricks, NUL and other characters stay inside, and come back."""
    keys = ["../../etc/passwd", "/etc/shadow", "a\x00b", "\x01\x02", "..", "a//b", "ключ 🗝", "x" * 1024, "%2e%2e/"]
    for key in keys:
        await s3_("PutObject", Bucket="bkt", Key=key, Body=key.encode())
    for key in keys:
        assert await s3_.body(Bucket="bkt", Key=key) == key.encode()
    listed = (await s3_("ListObjectsV2", Bucket="bkt"))["Contents"]
    assert [one["Key"] for one in listed] == sorted(keys, key=str.encode)
    assert s3_.files() == []


async def test_limits(s3_: Any, chunks: Any) -> None:
    """Long keys, much metadata and bodies over 5 GiB are refused with AWS's errors."""
    error = await s3_.fails("KeyTooLongError", "PutObject", Bucket="bkt", Key="x" * 1023 + "é", Body=b"")
    assert error.fields == {"Size": 1025, "MaxSizeAllowed": 1024}
    error = await s3_.fails(
        "MetadataTooLarge", "PutObject", Bucket="bkt", Key="k", Body=b"", Metadata={"a": "b" * 2048}
    )
    assert error.fields == {"Size": 2049, "MaxSizeAllowed": 2048}
    body = chunks(length=MAX_PUT_BYTES + 1)
    await s3_.fails("EntityTooLarge", "PutObject", Bucket="bkt", Key="k", Body=body)
    await s3_.fails("InvalidURI", "GetObject", Bucket="bkt", Key="\udcff")
    await s3_.fails("InvalidStorageClass", "PutObject", Bucket="bkt", Key="k", Body=b"", StorageClass="CHEAP")


async def test_storage_class(s3_: Any) -> None:
    """The storage class is kept and shown, except for STANDARD."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"", StorageClass="GLACIER_IR")
    assert (await s3_("HeadObject", Bucket="bkt", Key="k"))["StorageClass"] == "GLACIER_IR"
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"")
    assert "StorageClass" not in await s3_("HeadObject", Bucket="bkt", Key="k")


async def test_broken_uploads_leave_nothing(s3_: Any, chunks: Any) -> None:
    """A client that goes away, sends too little, or is cancelled leaves no object and no file."""
    gone = chunks(BIG, BIG, BIG, BIG, BIG, length=9_999_999, error=ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        await s3_("PutObject", Bucket="bkt", Key="k", Body=gone)
    short = chunks(BIG, length=len(BIG) + 1)
    await s3_.fails("IncompleteBody", "PutObject", Bucket="bkt", Key="k", Body=short)
    await s3_.fails("IncompleteBody", "PutObject", Bucket="bkt", Key="k", Body=chunks(b"1", length=2))

    async def endless() -> Any:
        while True:
            yield BIG
            await asyncio.sleep(0)

    body = chunks()
    body.__class__ = type("Endless", (type(body),), {"__aiter__": lambda self: endless()})
    task = asyncio.ensure_future(s3_("PutObject", Bucket="bkt", Key="k", Body=body))
    while not any(path.stat().st_size > len(BIG) for path in s3_.files()):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await s3_.fails("NoSuchKey", "HeadObject", Bucket="bkt", Key="k")
    await s3_.service.stop()
    assert s3_.files() == []


async def test_full_disk(s3_: Any, chunks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is 507 in S3's form, and what was written is taken back."""
    import errno
    import os

    def full(fd: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        body = chunks(*[BIG] * 10, length=len(BIG) * 10)
        error = await s3_.fails("InsufficientStorage", "PutObject", Bucket="bkt", Key="k", Body=body)
    assert error.status == 507
    assert s3_.files() == []
    await s3_("PutObject", Bucket="bkt", Key="k", Body=BIG)
    assert await s3_.body(Bucket="bkt", Key="k") == BIG


async def test_full_database(s3_: Any) -> None:
    """No room for a row is 507 too; what was there stays, and puts go on once there is room."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=SMALL)

    def limit(pages: int) -> Any:
        return s3_.db.write(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar())

    await limit(await limit(0) and 1)
    error = await s3_.fails("InsufficientStorage", "PutObject", Bucket="bkt", Key="new", Body=b"x" * 60_000)
    assert error.status == 507
    stored = 0
    with pytest.raises(ServiceError, match="InsufficientStorage"):
        while stored < 100:  # rows of blobs are small: some fit still
            await s3_("PutObject", Bucket="bkt", Key=f"{stored}" + "x" * 1000, Body=BIG)
            stored += 1
    await limit(1_000_000)
    assert await s3_.body(Bucket="bkt", Key="k") == SMALL
    await s3_("PutObject", Bucket="bkt", Key="new", Body=BIG)
    await s3_.service.stop()
    assert len(s3_.files()) == stored + 1


async def test_chunked_coding_is_not_kept(s3_: Any) -> None:
    """aws-chunked is how a body came; what else the content's coding says is kept."""
    for given, kept in (("aws-chunked", None), ("aws-chunked,gzip", "gzip"), ("gzip, br", "gzip,br")):
        await s3_("PutObject", Bucket="bkt", Key="k", Body=b"", ContentEncoding=given)
        assert (await s3_("HeadObject", Bucket="bkt", Key="k")).get("ContentEncoding") == kept


async def test_crash_between_blob_and_row(s3_: Any) -> None:
    """A blob that no row names is not live, so that the sweep at the next start removes it."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=BIG)
    orphan = await s3_.blobs.put(BIG)
    live = await s3_.service.live_blobs()
    assert orphan.id not in live and len(live) == 1
    assert s3_.blobs.sweep(live, older_than=2**40) == 1
    assert await s3_.body(Bucket="bkt", Key="k") == BIG


async def test_bucket_deleted_meanwhile(s3_: Any, chunks: Any) -> None:
    """A put whose bucket goes while the body comes is NoSuchBucket, and leaves no blob."""
    body = chunks(BIG)

    async def slow() -> Any:
        yield BIG
        await s3_("DeleteBucket", Bucket="bkt")

    body.__class__ = type("Slow", (type(body),), {"__aiter__": lambda self: slow()})
    await s3_.fails("NoSuchBucket", "PutObject", Bucket="bkt", Key="k", Body=body)
    await s3_.service.stop()
    assert s3_.files() == []


async def test_multi_delete(s3_: Any) -> None:
    """DeleteObjects answers each key by itself: deleted, denied, conditions that fail; Quiet leaves out the deleted."""
    for key in ("a", "b", "c"):
        await s3_("PutObject", Bucket="bkt", Key=key, Body=BIG)
    wanted = [{"Key": "a"}, {"Key": "none"}, {"Key": "b", "ETag": '"other"'}, {"Key": "x" * 2000}]
    answer = await s3_("DeleteObjects", Bucket="bkt", Delete={"Objects": wanted})
    assert answer["Deleted"] == [{"Key": "a"}, {"Key": "none"}]
    assert {one["Code"] for one in answer["Errors"]} == {"PreconditionFailed", "KeyTooLongError"}
    s3_.authorizer.denied.add("s3:DeleteObject")
    answer = await s3_("DeleteObjects", Bucket="bkt", Delete={"Objects": [{"Key": "b"}]})
    assert answer["Errors"][0]["Code"] == "AccessDenied" and "Deleted" not in answer
    s3_.authorizer.denied.clear()
    assert await s3_("DeleteObjects", Bucket="bkt", Delete={"Objects": [{"Key": "b"}], "Quiet": True}) == {}
    listed = [one["Key"] for one in (await s3_("ListObjectsV2", Bucket="bkt"))["Contents"]]
    assert listed == ["c"]
    too_many = [{"Key": str(n)} for n in range(1001)]
    await s3_.fails("MalformedXML", "DeleteObjects", Bucket="bkt", Delete={"Objects": too_many})


# -- checksums ---------------------------------------------------------------------------------------------------------


def _crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


@pytest.mark.parametrize("data", [SMALL, BIG])
async def test_checksums_of_all_kinds(s3_: Any, data: bytes) -> None:
    """Each algorithm's checksum is verified, kept, and shown on demand."""
    values = {
        "CRC32": _crc32(data),
        "SHA1": base64.b64encode(hashlib.sha1(data).digest()).decode(),
        "SHA256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
    }
    for name, value in values.items():
        member = f"Checksum{name}"
        put = await s3_("PutObject", Bucket="bkt", Key="k", Body=data, **{member: value})
        assert put[member] == value and "ChecksumCRC64NVME" not in put
        assert (await s3_("GetObject", Bucket="bkt", Key="k", ChecksumMode="ENABLED"))[member] == value
        wrong = base64.b64encode(bytes(len(base64.b64decode(value)))).decode()
        error = await s3_.fails("BadDigest", "PutObject", Bucket="bkt", Key="k", Body=data, **{member: wrong})
        assert error.message == f"The {name} you specified did not match the calculated checksum."
        error = await s3_.fails("InvalidRequest", "PutObject", Bucket="bkt", Key="k", Body=data, **{member: "nope"})
        assert error.message == f"Value for x-amz-checksum-{name.lower()} header is invalid."
    for name in ("CRC32C", "CRC64NVME"):
        put = await s3_("PutObject", Bucket="bkt", Key="k", Body=data, ChecksumAlgorithm=name)
        await s3_("PutObject", Bucket="bkt", Key="k", Body=data, **{f"Checksum{name}": put[f"Checksum{name}"]})
    await s3_.service.stop()
    assert len(s3_.files()) == (1 if data == BIG else 0)


async def test_known_crc_values(s3_: Any) -> None:
    """CRC32C and CRC64NVME of the customary check string are the published ones."""
    put = await s3_("PutObject", Bucket="bkt", Key="k", Body=b"123456789", ChecksumAlgorithm="CRC32C")
    assert base64.b64decode(put["ChecksumCRC32C"]).hex() == "e3069283"
    put = await s3_("PutObject", Bucket="bkt", Key="k", Body=b"123456789")
    assert base64.b64decode(put["ChecksumCRC64NVME"]).hex() == "ae8b14860a799888"


@pytest.mark.parametrize("data", [SMALL, BIG])
async def test_trailers(s3_: Any, chunks: Any, data: bytes) -> None:
    """A checksum that comes after the body counts, announced or not; a wrong or missing one is refused."""
    put: Any = {"Bucket": "bkt", "Key": "k"}
    good = {"x-amz-checksum-crc32": _crc32(data)}
    answer = await s3_("PutObject", **put, Body=chunks(data, trailers=good), ChecksumAlgorithm="CRC32")
    assert answer["ChecksumCRC32"] == _crc32(data)
    answer = await s3_("PutObject", **put, Body=chunks(data, trailers=good))
    assert answer["ChecksumCRC32"] == _crc32(data)
    wrong = {"x-amz-checksum-crc32": _crc32(b"other")}
    await s3_.fails("BadDigest", "PutObject", **put, Body=chunks(data, trailers=wrong), ChecksumAlgorithm="CRC32")
    await s3_.fails("BadDigest", "PutObject", **put, Body=chunks(data, trailers=wrong))
    error = await s3_.fails("InvalidRequest", "PutObject", **put, Body=chunks(data), ChecksumAlgorithm="CRC32")
    assert error.message.startswith("x-amz-sdk-checksum-algorithm specified, but no corresponding")
    await s3_.fails(
        "InvalidRequest",
        "PutObject",
        **put,
        Body=b"",
        ChecksumCRC32=_crc32(b""),
        ChecksumSHA1="2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
    )
    await s3_.service.stop()
    assert len(s3_.files()) == (1 if data == BIG else 0)


async def test_content_md5(s3_: Any) -> None:
    """Content-MD5 is verified: BadDigest for another content's, InvalidDigest for what is none."""
    right = base64.b64encode(hashlib.md5(SMALL).digest()).decode()
    await s3_("PutObject", Bucket="bkt", Key="k", Body=SMALL, ContentMD5=right)
    error = await s3_.fails("BadDigest", "PutObject", Bucket="bkt", Key="k", Body=b"other", ContentMD5=right)
    assert error.message == "The Content-MD5 you specified did not match what we received."
    await s3_.fails("InvalidDigest", "PutObject", Bucket="bkt", Key="k", Body=SMALL, ContentMD5="nope")


async def test_attributes(s3_: Any) -> None:
    """GetObjectAttributes answers what was asked for, the entity tag without quotes."""
    put = await s3_("PutObject", Bucket="bkt", Key="k", Body=SMALL)
    got = await s3_(
        "GetObjectAttributes",
        Bucket="bkt",
        Key="k",
        ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass", "ObjectParts"],
    )
    assert got["ETag"] == put["ETag"].strip('"') and got["ObjectSize"] == 11 and got["StorageClass"] == "STANDARD"
    assert got["Checksum"]["ChecksumCRC64NVME"] == put["ChecksumCRC64NVME"]
    assert "ObjectParts" not in got


# -- tags --------------------------------------------------------------------------------------------------------------


async def test_tags(s3_: Any) -> None:
    """Tags come with the put or afterwards, are counted, limited, and given to policies as conditions."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"", Tagging="a=1&b=x%20y")
    got = await s3_("GetObjectTagging", Bucket="bkt", Key="k")
    assert got["TagSet"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "x y"}]
    assert (await s3_("HeadObject", Bucket="bkt", Key="k"))["TagCount"] == 2
    assert s3_.authorizer.asked[-1].conditions["s3:ExistingObjectTag/b"] == "x y"
    await s3_("PutObjectTagging", Bucket="bkt", Key="k", Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
    assert s3_.authorizer.asked[-1].conditions["s3:RequestObjectTag/c"] == "3"
    assert (await s3_("GetObjectTagging", Bucket="bkt", Key="k"))["TagSet"] == [{"Key": "c", "Value": "3"}]
    await s3_("DeleteObjectTagging", Bucket="bkt", Key="k")
    assert (await s3_("GetObjectTagging", Bucket="bkt", Key="k"))["TagSet"] == []
    eleven = "&".join(f"k{n}=v" for n in range(11))
    error = await s3_.fails("BadRequest", "PutObject", Bucket="bkt", Key="k", Body=b"", Tagging=eleven)
    assert error.message == "Object tags cannot be greater than 10"
    await s3_.fails("InvalidArgument", "PutObject", Bucket="bkt", Key="k", Body=b"", Tagging="a=1&a=2")
    await s3_.fails("InvalidTag", "PutObject", Bucket="bkt", Key="k", Body=b"", Tagging="aws:x=1")
    await s3_.fails("InvalidTag", "PutObject", Bucket="bkt", Key="k", Body=b"", Tagging="a=" + "v" * 257)
