"""Versioning: Enabled, Suspended, delete markers, the null version."""

from __future__ import annotations

from typing import Any

import pytest

BIG = b"z" * 100_000


async def _versioning(s3_: Any, status: str) -> None:
    await s3_("PutBucketVersioning", Bucket="bkt", VersioningConfiguration={"Status": status})


async def _listed(s3_: Any, **params: Any) -> list[tuple[str, str, bool, bool]]:
    answer = await s3_("ListObjectVersions", Bucket="bkt", **params)
    rows = [(one["Key"], one["VersionId"], one["IsLatest"], False) for one in answer["Versions"]]
    rows += [(one["Key"], one["VersionId"], one["IsLatest"], True) for one in answer["DeleteMarkers"]]
    return sorted(rows)


async def test_versions_are_kept(s3_: Any) -> None:
    """Each put makes a version; all can be read, and the one from before versioning is null."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"0")
    await _versioning(s3_, "Enabled")
    assert await s3_("GetBucketVersioning", Bucket="bkt") == {"Status": "Enabled"}
    first = (await s3_("PutObject", Bucket="bkt", Key="k", Body=b"1"))["VersionId"]
    second = (await s3_("PutObject", Bucket="bkt", Key="k", Body=b"2"))["VersionId"]
    assert len(first) == 32 and first != second
    for version, data in ((first, b"1"), (second, b"2"), ("null", b"0")):
        got = await s3_("GetObject", Bucket="bkt", Key="k", VersionId=version)
        assert (got["Body"], got["VersionId"]) == (data, version)
    assert (await s3_("GetObject", Bucket="bkt", Key="k"))["VersionId"] == second
    assert await _listed(s3_) == sorted(
        [("k", first, False, False), ("k", second, True, False), ("k", "null", False, False)]
    )


async def test_delete_marker(s3_: Any) -> None:
    """Deleting puts a marker on top: the key is gone, the versions are not, and removing the marker brings it back."""
    await _versioning(s3_, "Enabled")
    version = (await s3_("PutObject", Bucket="bkt", Key="k", Body=BIG))["VersionId"]
    deleted = await s3_("DeleteObject", Bucket="bkt", Key="k")
    assert deleted["DeleteMarker"] is True
    error = await s3_.fails("NoSuchKey", "GetObject", Bucket="bkt", Key="k")
    assert error.headers["x-amz-delete-marker"] == "true"
    assert error.headers["x-amz-version-id"] == deleted["VersionId"]
    error = await s3_.fails("MethodNotAllowed", "GetObject", Bucket="bkt", Key="k", VersionId=deleted["VersionId"])
    assert error.status == 405 and error.headers["allow"] == "DELETE"
    assert (await s3_("ListObjectsV2", Bucket="bkt"))["Contents"] == []
    assert await s3_.body(Bucket="bkt", Key="k", VersionId=version) == BIG
    again = await s3_("DeleteObject", Bucket="bkt", Key="k", VersionId=deleted["VersionId"])
    assert again == {"DeleteMarker": True, "VersionId": deleted["VersionId"]}
    assert await s3_.body(Bucket="bkt", Key="k") == BIG
    await s3_("DeleteObject", Bucket="bkt", Key="k", VersionId=version)
    await s3_.service.stop()
    assert s3_.files() == []


async def test_suspended(s3_: Any) -> None:
    """Suspended, puts and deletes replace the null version only."""
    await _versioning(s3_, "Enabled")
    kept = (await s3_("PutObject", Bucket="bkt", Key="k", Body=b"kept"))["VersionId"]
    await _versioning(s3_, "Suspended")
    for data in (b"a", BIG, b"b"):
        assert (await s3_("PutObject", Bucket="bkt", Key="k", Body=data))["VersionId"] == "null"
    assert await _listed(s3_) == sorted([("k", kept, False, False), ("k", "null", True, False)])
    assert (await s3_("DeleteObject", Bucket="bkt", Key="k")) == {"DeleteMarker": True, "VersionId": "null"}
    assert await _listed(s3_) == sorted([("k", kept, False, False), ("k", "null", True, True)])
    await _versioning(s3_, "Enabled")
    newest = (await s3_("PutObject", Bucket="bkt", Key="k", Body=b"new"))["VersionId"]
    await _versioning(s3_, "Suspended")
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"null again")
    assert await _listed(s3_) == sorted(
        [("k", kept, False, False), ("k", newest, False, False), ("k", "null", True, False)]
    )
    await s3_.service.stop()
    assert s3_.files() == []


async def test_unknown_versions(s3_: Any) -> None:
    """A version that is not there is NoSuchVersion, what is none InvalidArgument; deleting one is no error."""
    await s3_("PutObject", Bucket="bkt", Key="k", Body=b"")
    error = await s3_.fails("NoSuchVersion", "GetObject", Bucket="bkt", Key="k", VersionId="x" * 32)
    assert error.status == 404 and error.fields["VersionId"] == "x" * 32
    error = await s3_.fails("InvalidArgument", "GetObject", Bucket="bkt", Key="k", VersionId="nope")
    assert error.message == "Invalid version id specified"
    assert await s3_("DeleteObject", Bucket="bkt", Key="k", VersionId="x" * 32) == {"VersionId": "x" * 32}


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_pages(s3_: Any, size: int) -> None:
    """Pages of versions join to the whole, and exactly the newest version of each key is the latest."""
    await _versioning(s3_, "Enabled")
    wanted = []
    for key in ("a", "b/1", "b/2", "c"):
        versions = [(await s3_("PutObject", Bucket="bkt", Key=key, Body=b""))["VersionId"] for _ in range(3)]
        wanted += [(key, version, n == 0) for n, version in enumerate(reversed(versions))]
    found: list[tuple[str, str, bool]] = []
    markers: dict[str, str] = {}
    while True:
        page = await s3_("ListObjectVersions", Bucket="bkt", MaxKeys=size, **markers)
        found += [(one["Key"], one["VersionId"], one["IsLatest"]) for one in page["Versions"]]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    assert found == wanted
    rolled = await s3_("ListObjectVersions", Bucket="bkt", Delimiter="/", KeyMarker="a")
    assert [one["Key"] for one in rolled["Versions"]] == ["c"] * 3
    assert rolled["CommonPrefixes"] == [{"Prefix": "b/"}]


async def test_permissions_of_versions(s3_: Any) -> None:
    """A request that names a version needs the permission for versions."""
    await _versioning(s3_, "Enabled")
    version = (await s3_("PutObject", Bucket="bkt", Key="k", Body=b""))["VersionId"]
    await s3_("GetObject", Bucket="bkt", Key="k", VersionId=version)
    assert s3_.authorizer.asked[-1].action == "s3:GetObjectVersion"
    assert s3_.authorizer.asked[-1].conditions["s3:VersionId"] == version
    await s3_("GetObjectTagging", Bucket="bkt", Key="k", VersionId=version)
    assert s3_.authorizer.asked[-1].action == "s3:GetObjectVersionTagging"
    await s3_("DeleteObject", Bucket="bkt", Key="k", VersionId=version)
    assert s3_.authorizer.asked[-1].action == "s3:DeleteObjectVersion"
