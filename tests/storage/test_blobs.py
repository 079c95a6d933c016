"""Blobs: written once, whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from alonzo.core.ids import Ids
from alonzo.storage import Blobs, DiskFull


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path, Ids(seed=1))
    made.open()
    return made


def _files(blobs: Blobs) -> list[Path]:
    return [path for path in blobs.temporary.parent.rglob("*") if path.is_file()]


async def test_round_trip(blobs: Blobs) -> None:
    """What was written in pieces is read back, with its size and SHA-256."""
    pieces = [bytes([n]) * 700_000 for n in range(5)]
    async with blobs.create() as writer:
        for piece in pieces:
            await writer.write(piece)
        reference = await writer.finish()
    whole = b"".join(pieces)
    assert (reference.size, reference.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert await blobs.read(reference.id) == whole
    await blobs.delete(reference.id, "0" * 32)
    assert _files(blobs) == []


async def test_digest_of_the_callers_own(blobs: Blobs) -> None:
    """A digest given is fed every byte in order, off the event loop's thread; SHA-256 can be left out."""
    digest, threads = hashlib.md5(), set()

    def update(data: bytes) -> None:
        threads.add(threading.get_ident())
        digest.update(data)

    async with blobs.create(update, sha256=False) as writer:
        for n in range(4):
            await writer.write(bytes([n]) * 900_000)
        reference = await writer.finish()
    assert reference.sha256 == ""
    assert digest.digest() == hashlib.md5(await blobs.read(reference.id)).digest()
    assert threading.get_ident() not in threads


async def test_unfinished_leaves_nothing(blobs: Blobs) -> None:
    """Left without finish, by an error or not, nothing remains."""
    async with blobs.create() as writer:
        await writer.write(b"x" * 3_000_000)
    with pytest.raises(RuntimeError):
        async with blobs.create() as writer:
            await writer.write(b"x" * 3_000_000)
            raise RuntimeError
    assert _files(blobs) == []


async def test_cancelled_while_a_thread_writes(blobs: Blobs) -> None:
    """Cancelled in the middle of a write, the descriptor stays open until the thread is done, and nothing remains."""
    begun, go_on = threading.Event(), threading.Event()
    seen: list[bool] = []

    def slow(data: bytes) -> None:
        begun.set()
        go_on.wait(5)
        seen.append(bool(_files(blobs)))

    async def write() -> None:
        async with blobs.create(slow) as writer:
            for _ in range(4):
                await writer.write(b"x" * 1_100_000)

    task = asyncio.ensure_future(write())
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.01)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [True]
    assert _files(blobs) == []


@pytest.mark.parametrize("when", ["write", "fsync", "rename"])
async def test_full_disk(blobs: Blobs, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """A full disk is DiskFull wherever it shows, and what was written is taken back."""
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if when == "rename":
            patch.setattr(Path, "rename", full)
        else:
            patch.setattr(os, when, full)
        with pytest.raises(DiskFull):
            async with blobs.create() as writer:
                await writer.write(b"x" * 2_000_000)
                await writer.write(b"x" * 2_000_000)
                await writer.finish()
    assert _files(blobs) == []


async def test_sweep(blobs: Blobs) -> None:
    """The sweep removes what no row names, unless it is too young; opening removes what was being written."""
    kept, orphan = await blobs.put(b"1"), await blobs.put(b"2")
    assert blobs.sweep({kept.id}, older_than=0) == 0
    assert blobs.sweep({kept.id}, older_than=2**40) == 1
    assert [path.name for path in _files(blobs)] == [kept.id] and orphan.id != kept.id
    (blobs.temporary / "half").write_bytes(b"")
    blobs.open()
    assert len(_files(blobs)) == 1
