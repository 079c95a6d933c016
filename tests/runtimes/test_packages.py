"""Deployment packages are hostile: each is refused in AWS's words and leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import json
import os
import re
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from alonzo.runtimes import CodeError, check_size, inspect_zip
from alonzo.runtimes.code import CodeCache
from alonzo.storage import DiskFull

BROKEN = "Could not unzip uploaded file. Please check your file, then try to upload again."
TOO_LARGE = "Unzipped size must be smaller than 262144000 bytes"


def entry(name: str, mode: int = 0o100644, system: int = 3) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = system, mode << 16
    return info


def archive(*members: tuple[zipfile.ZipInfo | str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for info, content in members:
            made.writestr(info, content, compress_type=method)
    return buffer.getvalue()


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, str]:
    return entry(name, 0o120777), target


def renamed(package: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new) and package.count(old) == 2
    return package.replace(old, new)


def flagged(package: bytes) -> bytes:
    """The package with its only entry marked as encrypted."""
    at = package.index(b"PK\x01\x02")
    return package[:6] + b"\x01\x00" + package[8 : at + 8] + b"\x01\x00" + package[at + 10 :]


def sized(package: bytes, size: int) -> bytes:
    """The package with the size of its only entry changed in the central directory."""
    at = package.index(b"PK\x01\x02") + 24
    return package[:at] + struct.pack("<L", size) + package[at + 4 :]


GOOD = archive(("a.txt", "hello" * 10))
HOSTILE = {
    "no zip": b"not a zip at all",
    "cut off": GOOD[:-30],
    "no end": GOOD[:20],
    "directory beyond the file": GOOD[:-10] + struct.pack("<L", 1 << 30) + GOOD[-6:],
    "directory offset beyond the file": GOOD[:-6] + struct.pack("<L", 1 << 30) + GOOD[-2:],
    "directory overwritten": GOOD.replace(b"PK\x01\x02", b"PK\x07\x07"),
    "content overwritten": GOOD[:40] + b"\xff\xff\xff" + GOOD[43:],
    "other content than declared": sized(GOOD, 5),
    "parent": renamed(archive(("xx/evil", "")), b"xx/evil", b"../evil"),
    "parent in the middle": renamed(archive(("a/xx/xx/evil", "")), b"a/xx/xx/evil", b"a/../../evil"),
    "absolute": renamed(archive(("xtmp/evil", "")), b"xtmp/evil", b"/tmp/evil"),
    "only a slash": renamed(archive(("x/", "")), b"x/", b"//"),
    "long name": archive(("n" * 256, "")),
    "long path": archive(("/".join(["d" * 200] * 25), "")),
    "deep": archive(("/".join(["d"] * 1500), "")),
    "encrypted": flagged(GOOD),
    "bzip2": archive(("a", "x"), method=zipfile.ZIP_BZIP2),
    "lzma": archive(("a", "x"), method=zipfile.ZIP_LZMA),
    "device": archive((entry("dev", 0o020666), "")),
    "pipe": archive((entry("pipe", 0o010666), "")),
    "below a file": archive(("a", "x"), ("a/b", "y")),
    "below a link": archive(link("a", "b"), ("b/c", ""), ("a/x", "y")),
    "link to the machine": archive(link("a", "/etc/passwd")),
    "link to a place that only begins alike": archive(link("a", "/optional/x")),
    "link up from inside": archive(link("a", "/opt/../etc/passwd")),
    "link out": archive(link("d/a", "../../etc/passwd")),
    "link out through a link": archive(link("d/s", ".."), link("d/a", "s/../../etc")),
    "link without target": archive(link("a", "")),
    "endless link": archive(link("a", "x" * 5000)),
    "link with odd bytes": archive((entry("a", 0o120777), b"\xff\xfe")),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_package_is_refused_and_leaves_nothing(tmp_path, name):
    """A broken or hostile package is refused in AWS's words, and neither inside nor outside is a file of it left."""
    cache = CodeCache(tmp_path / "below" / "code")
    cache.open()
    package = tmp_path / "package"
    package.write_bytes(HOSTILE[name])
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(CodeError) as refused:
        await cache.unpack(package, "0" * 64)
    assert (refused.value.code, refused.value.message) == ("InvalidParameterValueException", BROKEN)
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", [name for name in HOSTILE if "content" not in name])
def test_inspection_refuses_the_same(name):
    """What unpacking would refuse is refused at upload already, but for damaged contents, which only reading shows."""
    with pytest.raises(CodeError, match=re.escape(BROKEN)):
        inspect_zip(HOSTILE[name])


def test_empty_packages():
    """No bytes, and a zip without any entry, are told apart from a broken one."""
    for package in (b"", archive()):
        with pytest.raises(CodeError, match="Uploaded file must be a non-empty zip"):
            inspect_zip(package)


def test_many_entries_are_refused_before_they_are_read():
    """A directory of more entries than the limit is refused by its count alone."""
    package = GOOD[:-12] + struct.pack("<H", 0xFFFF) + GOOD[-10:]
    count = struct.pack("<QQ", 100_001, 60)
    record = b"PK\x06\x06" + struct.pack("<QHHLLQ", 44, 45, 45, 0, 0, 100_001) + count + struct.pack("<Q", 0)
    assert len(record) == 56
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, 0, 1)
    at = package.rindex(b"PK\x05\x06")
    with pytest.raises(CodeError, match=re.escape(BROKEN)):
        inspect_zip(package[:at] + record + locator + package[at:])


def test_bomb_is_refused_by_its_declared_size():
    """More than 262,144,000 bytes in sum are refused, one byte fewer is not; a few kilobytes can claim that much."""
    at_limit = sized(archive(("a", b"\0" * 1000)), 262_144_000)
    assert inspect_zip(at_limit).unzipped_size == 262_144_000
    with pytest.raises(CodeError, match=TOO_LARGE):
        inspect_zip(sized(at_limit, 262_144_001))


async def test_bomb_that_lies_is_stopped_while_unpacking(tmp_path):
    """An entry that holds more than it declares is never written beyond what it declared."""
    cache = CodeCache(tmp_path / "code")
    cache.open()
    (tmp_path / "p").write_bytes(sized(archive(("a", b"\0" * 50_000_000)), 1000))
    with pytest.raises(CodeError, match=re.escape(BROKEN)):
        await cache.unpack(tmp_path / "p", "1" * 64)
    assert [path.name for path in (tmp_path / "code").iterdir()] == [".boot"]


def test_sum_with_layers():
    """Function and layers together have one limit, with AWS's two texts."""
    check_size(144_000, [262_000_000])
    with pytest.raises(CodeError) as refused:
        check_size(144_001, [200_000_000, 62_000_000])
    assert refused.value.message == (
        "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. "
        "The actual size is 262144001 bytes."
    )
    with pytest.raises(CodeError, match=r"^Layers consume more than the available size of 262144000 bytes$"):
        check_size(0, [262_144_001])


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    made = CodeCache(tmp_path / "code")
    made.open()
    return made


def store(tmp_path: Path, package: bytes) -> tuple[Path, str]:
    sha256 = hashlib.sha256(package).hexdigest()
    path = tmp_path / f"{sha256}.zip"
    path.write_bytes(package)
    return path, sha256


async def test_modes_links_and_folders(cache, tmp_path):
    """Executable bits and links inside the tree survive, everything is readable for all, whatever the umask."""
    package = archive(
        (entry("run.sh", 0o100700), "#!/bin/sh"),
        (entry("secret", 0o100600), "x"),
        (entry("setuid", 0o104755), "x"),
        (entry("dos.exe", 0, system=0), "x"),
        (entry("empty/", 0o040700), ""),
        ("deep/er/file", "y"),
        link("deep/link", "er/file"),
        link("up", "deep/../run.sh".removeprefix("deep/../")),
        link("deep/er/two", "../../run.sh"),
        link("layer", "/opt/python/x"),
    )
    old = os.umask(0o077)
    try:
        root = await cache.unpack(*store(tmp_path, package))
    finally:
        os.umask(old)
    modes = {p.relative_to(root).as_posix(): oct(stat.S_IMODE(p.lstat().st_mode)) for p in root.rglob("*")}
    assert oct(stat.S_IMODE(root.stat().st_mode)) == "0o755"
    assert modes["run.sh"] == modes["setuid"] == "0o755"
    assert modes["secret"] == modes["dos.exe"] == modes["deep/er/file"] == "0o644"
    assert modes["empty"] == modes["deep"] == modes["deep/er"] == "0o755"
    assert (root / "deep/link").read_text() == "y"
    assert (root / "deep/er/two").read_text() == "#!/bin/sh"
    assert os.readlink(root / "layer") == "/opt/python/x"


async def test_last_of_several_entries_counts(cache, tmp_path):
    """Of two entries with one name the last is unpacked, as unzip does."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        package = archive(("a", "first"), ("a", "second"), ("./b//c", "odd"))
    root = await cache.unpack(*store(tmp_path, package))
    assert (root / "a").read_text() == "second"
    assert (root / "b/c").read_text() == "odd"


async def test_one_unpacking_for_many_callers(cache, tmp_path):
    """Callers at the same time share one folder, and a caller that gives up takes nothing from the others."""
    stored = store(tmp_path, archive(*((f"f{i}", "x" * 100) for i in range(200))))
    impatient = asyncio.ensure_future(cache.unpack(*stored))
    others = [asyncio.ensure_future(cache.unpack(*stored)) for _ in range(10)]
    await asyncio.sleep(0)
    impatient.cancel()
    assert len(set(await asyncio.gather(*others))) == 1
    assert len(list((tmp_path / "code").iterdir())) == 2


async def test_layers_lie_over_one_another(cache, tmp_path):
    """Later layers replace files, links and folders of earlier ones; the layers themselves stay as they were."""
    first = store(tmp_path, archive(("a", "1"), ("dir/x", "1"), ("file", "1"), link("ln", "a"), ("keep", "1")))
    second = store(tmp_path, archive(("a", "2"), ("dir", "2"), ("file/y", "2"), ("ln", "2")))
    merged = await cache.merge([first, second])
    assert {p.relative_to(merged).as_posix(): p.read_text() for p in merged.rglob("*") if p.is_file()} == {
        "a": "2",
        "dir": "2",
        "file/y": "2",
        "ln": "2",
        "keep": "1",
    }
    assert not (merged / "ln").is_symlink()
    alone = await cache.unpack(*first)
    assert ((alone / "a").read_text(), os.readlink(alone / "ln")) == ("1", "a")
    other = await cache.merge([second, first])
    assert other != merged and (other / "a").read_text() == "1"
    assert await cache.merge([first]) == alone


async def test_link_of_an_earlier_layer_is_not_written_through(cache, tmp_path):
    """A folder of a later layer replaces an earlier layer's link of that name instead of filling what it points to."""
    first = store(tmp_path, archive(link("python", "other"), ("other/o", "1")))
    second = store(tmp_path, archive(("python/m.py", "2")))
    merged = await cache.merge([first, second])
    assert [p.name for p in (merged / "other").iterdir()] == ["o"]
    assert (merged / "python/m.py").read_text() == "2"


async def test_forget(cache, tmp_path):
    """Folders of packages that nothing uses go, merged ones with the first of their layers."""
    one, two, three = (store(tmp_path, archive((f"f{i}", "x"))) for i in range(3))
    merged = await cache.merge([one, two])
    kept = await cache.merge([two, three])
    assert await cache.forget({two[1], three[1]}) == 2
    assert not merged.exists() and kept.exists()
    names = {path.name for path in (tmp_path / "code").iterdir()}
    assert names == {".boot", two[1], three[1], kept.name, kept.name + ".json"}


async def test_restart_of_the_machine_drops_everything(cache, tmp_path):
    """After another boot nothing unpacked is trusted; after a mere restart only half-done work goes."""
    root = await cache.unpack(*store(tmp_path, GOOD))
    (tmp_path / "code" / ".half-done").mkdir()
    CodeCache(tmp_path / "code").open()
    assert root.exists() and not (tmp_path / "code" / ".half-done").exists()
    (tmp_path / "code" / ".boot").write_text("another")
    CodeCache(tmp_path / "code").open()
    assert not root.exists()


async def test_full_disk(cache, tmp_path, monkeypatch):
    """A full disk is called that, and leaves nothing."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("alonzo.runtimes.code.extract", full)
    with pytest.raises(DiskFull, match="No space is left on the disk"):
        await cache.unpack(*store(tmp_path, GOOD))
    assert [path.name for path in (tmp_path / "code").iterdir()] == [".boot"]


@pytest.mark.parametrize("name", ["../../etc", "", "A" * 64, "0" * 63 + "/"])
async def test_folder_names_are_digests(cache, tmp_path, name):
    """Nothing but a digest names a folder."""
    with pytest.raises(CodeError, match="64 hexadecimal digits"):
        await cache.unpack(store(tmp_path, GOOD)[0], name)


RECORDED = (
    Path(__file__).resolve().parents[2] / ".." / "shared" / "reference" / "aws-recordings" / "lambda" / "api.json"
)


@pytest.mark.skipif(not RECORDED.exists(), reason="the recordings lie beside the repository")
def test_texts_are_those_recorded_on_aws():
    """The texts for a broken and for a too large package are the recorded ones."""
    texts = json.dumps(json.loads(RECORDED.read_text()))
    assert BROKEN in texts
    assert TOO_LARGE in texts
