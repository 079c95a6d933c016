"""Blobs: files with random names, written once, fsynced before the row that names them, unlinked after it has gone.

A crash between the two leaves a file that no row names; `sweep` removes those at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from alonzo.core.dataclasses import dataclass
from alonzo.core.ids import Ids
from alonzo.storage.errors import StorageError, explain

#: Bytes that a writer collects before it hands them to a thread.
_BATCH = 1 << 20


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A finished blob: its name, size in bytes and the SHA-256 of its content (hexadecimal, "" if not asked for)."""

    id: str
    size: int
    sha256: str


class BlobWriter:
    """Writes one blob. Leave its `async with` without `finish`, or be cancelled in it, and nothing remains.

    One batch is written on a thread while the next one is collected, so at most two are in memory.
    """

    def __init__(self, blobs: Blobs, blob_id: str, digest: Callable[[bytes], object] | None, sha256: bool) -> None:
        self._blobs = blobs
        self._id = blob_id
        self._temporary = blobs.temporary / blob_id
        self._sha256 = hashlib.sha256() if sha256 else None
        self._digest = digest
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._size = 0
        self._fd = -1
        self._work: asyncio.Future[None] | None = None
        self._finished = False

    async def __aenter__(self) -> BlobWriter:
        try:
            self._fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise explain(error, self._temporary) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work is None or self._work.done():
            self._close()
            return
        # The caller was cancelled while a thread uses the descriptor: closed now, its number could go to another file.
        self._work.add_done_callback(lambda _: self._close())
        with contextlib.suppress(StorageError):
            await asyncio.shield(self._work)

    def _close(self) -> None:
        if self._work is not None and self._work.done() and not self._work.cancelled():
            self._work.exception()  # seen: whoever awaits it has it, and nobody else needs it
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if not self._finished:
            self._temporary.unlink(missing_ok=True)
            self._blobs.path(self._id).unlink(missing_ok=True)

    async def write(self, chunk: bytes) -> None:
        """Append. Raises DiskFull, perhaps only on a later call."""
        self._pending.append(chunk)
        self._pending_size += len(chunk)
        if self._pending_size >= _BATCH:
            await self._flush()

    async def finish(self) -> BlobRef:
        """Make it durable and name it."""
        await self._flush()
        await self._run(self._publish)
        await self._settle()
        self._finished = True
        return BlobRef(self._id, self._size, self._sha256.hexdigest() if self._sha256 is not None else "")

    async def _flush(self) -> None:
        if not self._pending:
            return
        data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        self._size += len(data)
        await self._run(lambda: self._append(data))

    async def _run(self, work: Callable[[], None]) -> None:
        """Start `work` on a thread once what was started before has ended."""
        await self._settle()
        self._work = asyncio.get_running_loop().run_in_executor(None, work)

    async def _settle(self) -> None:
        if self._work is not None:
            await asyncio.shield(self._work)

    def _append(self, data: bytes) -> None:
        if self._sha256 is not None:
            self._sha256.update(data)
        if self._digest is not None:
            self._digest(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise explain(error, self._temporary) from error

    def _publish(self) -> None:
        target = self._blobs.path(self._id)
        try:
            if self._blobs.durable:
                os.fsync(self._fd)
            target.parent.mkdir(exist_ok=True)
            self._temporary.rename(target)
            if self._blobs.durable:
                _fsync_folder(target.parent)
        except OSError as error:
            raise explain(error, self._temporary) from error


class Blobs:
    """A folder of blobs, in 256 sub-folders by the first two digits of their names."""

    def __init__(self, root: Path, ids: Ids, *, durable: bool = True) -> None:
        self._root = root
        self._ids = ids
        self.durable = durable
        self.temporary = root / "incoming"

    def open(self) -> None:
        """Make the folder; what an earlier run was still writing is removed."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        for leftover in self.temporary.iterdir():
            leftover.unlink()

    def create(self, digest: Callable[[bytes], object] | None = None, *, sha256: bool = True) -> BlobWriter:
        """A writer of a new blob. `digest` gets every batch, in order, on a thread: for hashes of the caller's own."""
        return BlobWriter(self, self._ids.hex(32), digest, sha256)

    async def put(self, data: bytes) -> BlobRef:
        """Store bytes that are in memory."""
        async with self.create() as writer:
            await writer.write(data)
            return await writer.finish()

    def path(self, blob_id: str) -> Path:
        """Where a blob lies, for reading."""
        return self._root / blob_id[:2] / blob_id

    async def read(self, blob_id: str) -> bytes:
        return await asyncio.to_thread(self.path(blob_id).read_bytes)

    async def delete(self, *blob_ids: str) -> None:
        """Unlink; call it after the transaction that dropped the last row naming them. Missing ones are no error."""

        def unlink() -> None:
            for blob_id in blob_ids:
                self.path(blob_id).unlink(missing_ok=True)

        if blob_ids:
            await asyncio.to_thread(unlink)

    def sweep(self, live: set[str], older_than: float) -> int:
        """Remove blobs that no row names and that are older than the epoch time; returns how many."""
        removed = 0
        for folder in self._root.iterdir():
            if folder == self.temporary or not folder.is_dir():
                continue
            for file in folder.iterdir():
                if file.name not in live and file.stat().st_mtime < older_than:
                    file.unlink(missing_ok=True)
                    removed += 1
        return removed


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
