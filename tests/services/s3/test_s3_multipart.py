"""Multipart uploads and copies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from typing import Any

import pytest

from alonzo.services.s3 import completing

MIB = 1024 * 1024
FIVE = b"\x01" * (5 * MIB)
SIX = b"\x02" * (6 * MIB)
TAIL = b"tail"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _crc32(data: bytes) -> str:
    return _b64(zlib.crc32(data).to_bytes(4, "big"))


async def _begin(s3_: Any, **params: Any) -> dict[str, Any]:
    answer = await s3_("CreateMultipartUpload", Bucket="bkt", Key="k", **params)
    return {"Bucket": "bkt", "Key": "k", "UploadId": answer["UploadId"]}


async def _parts(s3_: Any, upload: dict[str, Any], *data: bytes, **params: Any) -> list[dict[str, Any]]:
    found = []
    for number, one in enumerate(data, 1):
        answer = await s3_("UploadPart", **upload, PartNumber=number, Body=one, **params)
        found.append({"PartNumber": number, "ETag": answer["ETag"]})
    return found


@pytest.mark.slow
async def test_three_parts(s3_: Any, read_body: Any) -> None:
    """Parts become one object with AWS's entity tag; ranges and part numbers reach across them."""
    upload = await _begin(s3_, ContentType="x/y", Metadata={"m": "1"}, Tagging="t=1", StorageClass="STANDARD_IA")
    parts = await _parts(s3_, upload, FIVE, SIX, TAIL)
    listed = await s3_("ListParts", **upload)
    assert [one["Size"] for one in listed["Parts"]] == [len(FIVE), len(SIX), 4]
    done = await s3_("CompleteMultipartUpload", **upload, MultipartUpload={"Parts": parts})
    whole = FIVE + SIX + TAIL
    tags = b"".join(hashlib.md5(one).digest() for one in (FIVE, SIX, TAIL))
    assert done["ETag"] == f'"{hashlib.md5(tags).hexdigest()}-3"'
    assert done["Location"] == "http://localhost:4566/bkt/k"
    assert done["ChecksumType"] == "FULL_OBJECT"
    got = await s3_("GetObject", Bucket="bkt", Key="k", ChecksumMode="ENABLED")
    assert await read_body(got["Body"]) == whole
    assert (got["ContentType"], got["Metadata"], got["StorageClass"]) == ("x/y", {"m": "1"}, "STANDARD_IA")
    assert (got["TagCount"], got["ContentLength"]) == (1, len(whole))
    plain = await s3_("PutObject", Bucket="bkt", Key="plain", Body=whole)
    assert got["ChecksumCRC64NVME"] == done["ChecksumCRC64NVME"] == plain["ChecksumCRC64NVME"]
    edge = len(FIVE) + len(SIX)
    got = await s3_("GetObject", Bucket="bkt", Key="k", Range=f"bytes={edge - 3}-{edge + 1}")
    assert await read_body(got["Body"]) == whole[edge - 3 : edge + 2]
    got = await s3_("GetObject", Bucket="bkt", Key="k", PartNumber=2)
    assert await read_body(got["Body"]) == SIX
    assert got["PartsCount"] == 3 and got["ContentRange"] == f"bytes {len(FIVE)}-{edge - 1}/{len(whole)}"
    assert (await s3_.fails("InvalidPartNumber", "GetObject", Bucket="bkt", Key="k", PartNumber=4)).status == 416
    await s3_.fails("NoSuchUpload", "ListParts", **upload)
    again = await s3_("CompleteMultipartUpload", **upload, MultipartUpload={"Parts": parts})
    assert again["ETag"] == done["ETag"]
    for key in ("k", "plain"):
        await s3_("DeleteObject", Bucket="bkt", Key=key)
    await s3_.service.stop()
    assert s3_.files() == []


async def test_bad_completions(s3_: Any) -> None:
    """A wrong list of parts is refused as AWS refuses it, and the upload goes on."""
    upload = await _begin(s3_)
    one, two = await _parts(s3_, upload, b"small", b"last")
    complete = ("CompleteMultipartUpload",)

    def asked(*parts: dict[str, Any]) -> dict[str, Any]:
        return {**upload, "MultipartUpload": {"Parts": list(parts)}}

    error = await s3_.fails("EntityTooSmall", *complete, **asked(one, two))
    assert error.fields["ProposedSize"] == 5 and error.fields["MinSizeAllowed"] == 5 * MIB
    await s3_.fails("InvalidPartOrder", *complete, **asked(two, one))
    await s3_.fails("InvalidPartOrder", *complete, **asked(one, one))
    await s3_.fails("InvalidPart", *complete, **asked({**one, "PartNumber": 7}))
    await s3_.fails("InvalidPart", *complete, **asked({**one, "ETag": two["ETag"]}))
    await s3_.fails("MalformedXML", *complete, **upload, MultipartUpload={"Parts": []})
    await s3_.fails("InvalidRequest", *complete, **asked(two), MpuObjectSize=99)
    error = await s3_.fails("NoSuchUpload", *complete, **{**asked(two), "UploadId": "nope"})
    assert error.status == 404 and error.fields == {"UploadId": "nope"}
    await s3_.fails("NoSuchUpload", *complete, **{**asked(two), "Key": "other"})
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"there")
    await s3_.fails("PreconditionFailed", *complete, **asked(two), IfNoneMatch="*")
    assert await s3_.body(Bucket="bkt", Key="k") == b"there"
    await s3_(*complete, **asked(two), MpuObjectSize=4)
    assert await s3_.body(Bucket="bkt", Key="k") == b"last"


async def test_parts_left_out_replaced_and_aborted(s3_: Any) -> None:
    """Blobs of replaced, left out and aborted parts do not stay."""
    upload = await _begin(s3_)
    big = b"b" * 100_000
    await _parts(s3_, upload, big, big)
    parts = await _parts(s3_, upload, b"c" * 100_000, big)
    assert len(s3_.files()) == 4
    await s3_("CompleteMultipartUpload", **upload, MultipartUpload={"Parts": parts[:1]})
    assert await s3_.body(Bucket="bkt", Key="k") == b"c" * 100_000
    second = await _begin(s3_)
    await _parts(s3_, second, big)
    await s3_("AbortMultipartUpload", **second)
    await s3_.fails("NoSuchUpload", "AbortMultipartUpload", **second)
    await s3_.fails("NoSuchUpload", "UploadPart", **second, PartNumber=1, Body=big)
    await s3_.service.stop()
    assert len(s3_.files()) == 1


async def test_part_numbers_and_listing(s3_: Any) -> None:
    """Part numbers go from 1 to 10,000; lists of parts and of uploads are paged."""
    upload = await _begin(s3_)
    for number in (0, 10_001):
        await s3_.fails("InvalidArgument", "UploadPart", **upload, PartNumber=number, Body=b"")
    for number in (10_000, 3, 1):
        await s3_("UploadPart", **upload, PartNumber=number, Body=b"x")
    page = await s3_("ListParts", **upload, MaxParts=2)
    assert [one["PartNumber"] for one in page["Parts"]] == [1, 3]
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, 3)
    rest = await s3_("ListParts", **upload, PartNumberMarker=3)
    assert [one["PartNumber"] for one in rest["Parts"]] == [10_000] and not rest["IsTruncated"]
    for key in ("a/1", "a/2", "k"):
        await s3_("CreateMultipartUpload", Bucket="bkt", Key=key)
    found: list[str] = []
    markers: dict[str, str] = {}
    while True:
        page = await s3_("ListMultipartUploads", Bucket="bkt", MaxUploads=1, **markers)
        found += [one["Key"] for one in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert found == ["a/1", "a/2", "k", "k"]
    rolled = await s3_("ListMultipartUploads", Bucket="bkt", Delimiter="/")
    assert rolled["CommonPrefixes"] == [{"Prefix": "a/"}]


@pytest.mark.slow
async def test_ten_thousand_parts(s3_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload of 10,000 parts completes, and reads back whole and in the middle."""
    monkeypatch.setattr(completing, "MIN_PART_BYTES", 1)
    upload = await _begin(s3_)
    parts: list[dict[str, Any]] = [{} for _ in range(10_000)]

    async def put(first: int) -> None:
        for number in range(first, 10_001, 50):
            answer = await s3_("UploadPart", **upload, PartNumber=number, Body=b"%05d" % number)
            parts[number - 1] = {"PartNumber": number, "ETag": answer["ETag"]}

    await asyncio.gather(*(put(first) for first in range(1, 51)))
    done = await s3_("CompleteMultipartUpload", **upload, MultipartUpload={"Parts": parts})
    assert done["ETag"].endswith('-10000"')
    whole = b"".join(b"%05d" % number for number in range(1, 10_001))
    assert await s3_.body(Bucket="bkt", Key="k") == whole
    assert await s3_.body(Bucket="bkt", Key="k", Range="bytes=24998-25006") == whole[24998:25007]
    too_many = [*parts, {"PartNumber": 10_001, "ETag": "x"}]
    second = await _begin(s3_)
    await s3_.fails("MalformedXML", "CompleteMultipartUpload", **second, MultipartUpload={"Parts": too_many})


# -- checksums of parts ------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_composite_and_full_checksums(s3_: Any) -> None:
    """Composite checksums are those of the parts' with their number; full ones equal the whole content's."""
    crcs = [_crc32(FIVE), _crc32(TAIL)]
    upload = await _begin(s3_, ChecksumAlgorithm="CRC32")
    parts = []
    for number, data in enumerate((FIVE, TAIL), 1):
        answer = await s3_("UploadPart", **upload, PartNumber=number, Body=data, ChecksumCRC32=crcs[number - 1])
        parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": crcs[number - 1]})
    without = [{k: v for k, v in one.items() if k != "ChecksumCRC32"} for one in parts]
    error = await s3_.fails("InvalidRequest", "CompleteMultipartUpload", **upload, MultipartUpload={"Parts": without})
    assert error.message.startswith("The upload was created using a crc32 checksum.")
    composite = _crc32(b"".join(base64.b64decode(one) for one in crcs)) + "-2"
    listed = {"MultipartUpload": {"Parts": parts}}
    await s3_.fails("BadDigest", "CompleteMultipartUpload", **upload, **listed, ChecksumCRC32=crcs[0])
    await s3_.fails("BadDigest", "CompleteMultipartUpload", **upload, **listed, ChecksumType="FULL_OBJECT")
    done = await s3_("CompleteMultipartUpload", **upload, **listed, ChecksumCRC32=composite)
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == (composite, "COMPOSITE")
    for number, crc in enumerate(crcs, 1):
        got = await s3_("HeadObject", Bucket="bkt", Key="k", PartNumber=number, ChecksumMode="ENABLED")
        assert (got["ChecksumCRC32"], got["ChecksumType"]) == (crc, "COMPOSITE")
    attributes = await s3_(
        "GetObjectAttributes", Bucket="bkt", Key="k", ObjectAttributes=["ObjectParts", "Checksum"], MaxParts=1
    )
    assert attributes["ObjectParts"]["TotalPartsCount"] == 2 and attributes["ObjectParts"]["IsTruncated"] is True
    assert attributes["ObjectParts"]["Parts"] == [{"PartNumber": 1, "Size": len(FIVE), "ChecksumCRC32": crcs[0]}]
    assert attributes["Checksum"]["ChecksumCRC32"] == composite.partition("-")[0]

    upload = await _begin(s3_, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    parts = []
    for number, data in enumerate((FIVE, TAIL), 1):
        answer = await s3_("UploadPart", **upload, PartNumber=number, Body=data, ChecksumCRC32=crcs[number - 1])
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    done = await s3_("CompleteMultipartUpload", **upload, MultipartUpload={"Parts": parts})
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == (_crc32(FIVE + TAIL), "FULL_OBJECT")
    got = await s3_("HeadObject", Bucket="bkt", Key="k", PartNumber=1, ChecksumMode="ENABLED")
    assert "ChecksumCRC32" not in got


async def test_checksum_rules(s3_: Any) -> None:
    """An upload's algorithm binds its parts, and each algorithm has its kinds."""
    error = await s3_.fails(
        "InvalidRequest",
        "CreateMultipartUpload",
        Bucket="bkt",
        Key="k",
        ChecksumAlgorithm="SHA1",
        ChecksumType="FULL_OBJECT",
    )
    assert error.message == "The FULL_OBJECT checksum type cannot be used with the sha1 checksum algorithm."
    await s3_.fails("InvalidRequest", "CreateMultipartUpload", Bucket="bkt", Key="k", ChecksumType="COMPOSITE")
    await s3_.fails("InvalidRequest", "CreateMultipartUpload", Bucket="bkt", Key="k", ChecksumAlgorithm="XXHASH3")
    upload = await _begin(s3_, ChecksumAlgorithm="SHA256")
    for given, actual in (({"ChecksumCRC32": _crc32(TAIL)}, "crc32"), ({}, "null")):
        error = await s3_.fails("InvalidRequest", "UploadPart", **upload, PartNumber=1, Body=TAIL, **given)
        assert error.message == (
            f"Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum Type: {actual}"
        )
    right = _b64(hashlib.sha256(TAIL).digest())
    answer = await s3_("UploadPart", **upload, PartNumber=1, Body=TAIL, ChecksumSHA256=right)
    assert answer["ChecksumSHA256"] == right


# -- copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"small", b"b" * 300_000, b""])
async def test_copy_shares_the_blob(s3_: Any, data: bytes) -> None:
    """A copy has content, metadata and tags of its source, adds no file, and outlives it."""
    put = await s3_(
        "PutObject", Bucket="bkt", Key="a b/ü?", Body=data, Metadata={"m": "1"}, ContentType="x/y", Tagging="t=1"
    )
    before = len(s3_.files())
    copied = await s3_("CopyObject", Bucket="bkt", Key="copy", CopySource="bkt/a%20b/%C3%BC%3F")
    assert copied["CopyObjectResult"]["ETag"] == put["ETag"]
    assert len(s3_.files()) == before
    await s3_("DeleteObject", Bucket="bkt", Key="a b/ü?")
    await s3_.service.stop()
    got = await s3_("GetObject", Bucket="bkt", Key="copy")
    assert (got["ContentType"], got["Metadata"], got["TagCount"]) == ("x/y", {"m": "1"}, 1)
    assert await s3_.body(Bucket="bkt", Key="copy") == data
    await s3_("DeleteObject", Bucket="bkt", Key="copy")
    await s3_.service.stop()
    assert s3_.files() == []


async def test_copy_directives(s3_: Any) -> None:
    """REPLACE takes metadata and tags from the request; copying onto itself must change something."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"1", Metadata={"m": "1"}, Tagging="t=1")
    error = await s3_.fails("InvalidRequest", "CopyObject", Bucket="bkt", Key="k", CopySource="/bkt/k")
    assert error.message.startswith("This copy request is illegal because it is trying to copy an object to itself")
    await s3_(
        "CopyObject",
        Bucket="bkt",
        Key="k",
        CopySource="bkt/k",
        MetadataDirective="REPLACE",
        Metadata={"n": "2"},
        TaggingDirective="REPLACE",
        Tagging="u=2",
        ChecksumAlgorithm="SHA256",
    )
    got = await s3_("GetObject", Bucket="bkt", Key="k", ChecksumMode="ENABLED")
    assert got["Metadata"] == {"n": "2"}
    assert got["ChecksumSHA256"] == _b64(hashlib.sha256(b"1").digest())
    assert (await s3_("GetObjectTagging", Bucket="bkt", Key="k"))["TagSet"] == [{"Key": "u", "Value": "2"}]
    await s3_.fails("InvalidArgument", "CopyObject", Bucket="bkt", Key="k", CopySource="bkt")
    await s3_.fails("NoSuchKey", "CopyObject", Bucket="bkt", Key="k", CopySource="bkt/none")
    await s3_.fails("NoSuchBucket", "CopyObject", Bucket="bkt", Key="k", CopySource="nonexistent/none")


async def test_copy_conditions_and_permissions(s3_: Any) -> None:
    """The source's conditions are 412 each; reading the source and writing the target are two permissions."""
    put = await s3_("PutObject", Bucket="bkt", Key="k", Body=b"1")
    ask: dict[str, Any] = {"Bucket": "bkt", "Key": "new", "CopySource": "bkt/k"}
    await s3_.fails("PreconditionFailed", "CopyObject", **ask, CopySourceIfMatch='"x"')
    await s3_.fails("PreconditionFailed", "CopyObject", **ask, CopySourceIfNoneMatch=put["ETag"])
    s3_.authorizer.asked.clear()
    await s3_("CopyObject", **ask)
    asked = [(one.action, one.resource) for one in s3_.authorizer.asked]
    assert asked == [("s3:PutObject", "arn:aws:s3:::bkt/new"), ("s3:GetObject", "arn:aws:s3:::bkt/k")]
    s3_.authorizer.denied.add("s3:GetObject")
    await s3_.fails("AccessDenied", "CopyObject", **ask)


async def test_copy_versions(s3_: Any) -> None:
    """A copy may name the version to read; a delete marker's is refused."""
    await s3_("PutBucketVersioning", Bucket="bkt", VersioningConfiguration={"Status": "Enabled"})
    old = (await s3_("PutObject", Bucket="bkt", Key="k", Body=b"old"))["VersionId"]
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"new")
    answer = await s3_("CopyObject", Bucket="bkt", Key="c", CopySource=f"bkt/k?versionId={old}")
    assert answer["CopySourceVersionId"] == old and len(answer["VersionId"]) == 32
    assert await s3_.body(Bucket="bkt", Key="c") == b"old"
    marker = (await s3_("DeleteObject", Bucket="bkt", Key="k"))["VersionId"]
    await s3_.fails("NoSuchKey", "CopyObject", Bucket="bkt", Key="c", CopySource="bkt/k")
    error = await s3_.fails(
        "InvalidRequest", "CopyObject", Bucket="bkt", Key="c", CopySource=f"bkt/k?versionId={marker}"
    )
    assert "delete marker" in error.message


@pytest.mark.slow
async def test_part_copies(s3_: Any) -> None:
    """Parts copied from objects, with ranges across their parts, make the object; then no source is needed."""
    whole = bytes(range(256)) * 40_000  # about 10 MB
    await s3_("PutObject", Bucket="bkt", Key="source", Body=whole)
    upload = await _begin(s3_)
    first = await s3_(
        "UploadPartCopy", **upload, PartNumber=1, CopySource="bkt/source", CopySourceRange="bytes=100-6000099"
    )
    assert first["CopyPartResult"]["ETag"] == f'"{hashlib.md5(whole[100:6000100]).hexdigest()}"'
    second = await s3_("UploadPartCopy", **upload, PartNumber=2, CopySource="bkt/source")
    error = await s3_.fails(
        "InvalidArgument",
        "UploadPartCopy",
        **upload,
        PartNumber=3,
        CopySource="bkt/source",
        CopySourceRange=f"bytes=0-{len(whole)}",
    )
    assert error.message == f"Range specified is not valid for source object of size: {len(whole)}"
    assert len(s3_.files()) == 1
    parts = [{"PartNumber": n, "ETag": one["CopyPartResult"]["ETag"]} for n, one in ((1, first), (2, second))]
    done = await s3_("CompleteMultipartUpload", **upload, MultipartUpload={"Parts": parts})
    await s3_("DeleteObject", Bucket="bkt", Key="source")
    await s3_.service.stop()
    assert await s3_.body(Bucket="bkt", Key="k") == whole[100:6000100] + whole
    copied = await s3_("CopyObject", Bucket="bkt", Key="copy", CopySource="bkt/k")
    assert done["ETag"].endswith('-2"')
    assert copied["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(whole[100:6000100] + whole).hexdigest()}"'
    await s3_("DeleteObject", Bucket="bkt", Key="k")
    await s3_.service.stop()
    assert await s3_.body(Bucket="bkt", Key="copy", Range="bytes=5999990-6000010") == (
        whole[6000090:6000100] + whole[:11]
    )
