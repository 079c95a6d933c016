"""Unpacked packages: each content once, shared read-only by every environment that uses it.

    <folder>/<sha256>/          a function's package, or one layer
    <folder>/opt-<digest>/      several layers laid over one another; `.json` beside it names them
    <folder>/.boot              the machine's boot id

All of it can be made again from the blobs. It is not fsynced: after a power cut the boot id differs and it is dropped.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from alonzo.runtimes.errors import CodeError, RuntimesError
from alonzo.runtimes.packages import MAX_UNZIPPED, check_size, extract
from alonzo.storage import DiskFull

_SHA256 = re.compile(r"[0-9a-f]{64}")


class CodeCache:
    """The folder of unpacked packages of one server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._busy: dict[str, asyncio.Task[Path]] = {}

    def open(self) -> None:
        """Make the folder; drop half-done work of an earlier run, and everything if the machine was restarted since."""
        self._folder.mkdir(parents=True, exist_ok=True)
        boot = _boot_id()
        marker = self._folder / ".boot"
        same = marker.exists() and marker.read_text() == boot
        for path in self._folder.iterdir():
            if path != marker and (not same or path.name.startswith(".")):
                _remove(path)
        if not same:
            marker.write_text(boot)

    async def unpack(self, package: Path, sha256: str) -> Path:
        """The unpacked folder of a package. Any number of callers; the first does the work. Raises CodeError."""
        _check_name(sha256)

        def build(temporary: Path) -> None:
            extract(package, temporary)

        return await self._once(sha256, build)

    async def merge(self, layers: Sequence[tuple[Path, str]]) -> Path:
        """The folder to show at /opt for layers (package, sha256) in order: later files replace earlier ones."""
        folders = [await self.unpack(package, sha256) for package, sha256 in layers]
        if len(folders) == 1:
            return folders[0]
        names = [sha256 for _, sha256 in layers]
        key = "opt-" + hashlib.sha256(" ".join(names).encode()).hexdigest()
        note = self._folder / f"{key}.json"

        def build(temporary: Path) -> None:
            for folder in folders:
                lay_over(folder, temporary)
            note.write_text(json.dumps(names))

        return await self._once(key, build)

    async def check_total(self, function: Path, layers: Sequence[Path]) -> None:
        """Function and layers against the limit on their sum, as they really are on disk. Raises CodeError."""

        def measure() -> None:
            check_size(_size(function), [_size(layer) for layer in layers])

        await asyncio.to_thread(measure)

    async def forget(self, live: set[str]) -> int:
        """Remove what no function needs. `live` holds the sha256 of every package that a function version or a running
        environment uses: an environment loses files that are removed under it. Returns how many folders went."""

        def sweep() -> int:
            removed = 0
            for path in list(self._folder.iterdir()):
                if path.name.startswith(".") or path.suffix == ".json" or path.name in self._busy:
                    continue
                if path.name.startswith("opt-"):
                    note = path.with_name(path.name + ".json")
                    needed = note.exists() and live.issuperset(json.loads(note.read_text()))
                else:
                    note, needed = None, path.name in live
                if not needed:
                    _remove(path)
                    if note is not None:
                        note.unlink(missing_ok=True)
                    removed += 1
            return removed

        return await asyncio.to_thread(sweep)

    async def _once(self, name: str, build: Callable[[Path], None]) -> Path:
        target = self._folder / name
        if target.is_dir():
            return target
        task = self._busy.get(name)
        if task is None:
            task = asyncio.ensure_future(asyncio.to_thread(self._publish, target, build))
            self._busy[name] = task
            task.add_done_callback(lambda _: self._busy.pop(name, None))
        # One caller that gives up must not take the others' work along.
        return await asyncio.shield(task)

    def _publish(self, target: Path, build: Callable[[Path], None]) -> Path:
        temporary = self._folder / f".{target.name[:16]}-{secrets.token_hex(6)}"
        try:
            temporary.mkdir(mode=0o755)
            build(temporary)
            temporary.chmod(0o755)
            temporary.rename(target)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY) and target.is_dir():
                return target  # another process was first
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"No space is left on the disk that holds {self._folder}.") from error
            raise RuntimesError(f"Cannot unpack into {self._folder}: {error.strerror}.") from error
        finally:
            _remove(temporary)
        return target


def lay_over(source: Path, target: Path) -> None:
    """Add the tree `source` to the tree `target`, replacing what is there; follows no link, hard-links files."""
    for entry in os.scandir(source):
        place = target / entry.name
        there = _lstat_mode(place)
        if entry.is_dir(follow_symlinks=False):
            if not stat.S_ISDIR(there):
                if there:
                    place.unlink()
                place.mkdir(mode=0o755)
                place.chmod(0o755)
            lay_over(Path(entry.path), place)
            continue
        if there:
            _remove(place)
        if entry.is_symlink():
            place.symlink_to(Path(entry.path).readlink())
        else:
            try:
                os.link(entry.path, place, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENOTSUP):
                    raise
                shutil.copy2(entry.path, place, follow_symlinks=False)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        total += sum(Path(parent, file).lstat().st_size for file in files)
        if total > 2 * MAX_UNZIPPED:
            break
    return total


def _lstat_mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


def _remove(path: Path) -> None:
    if stat.S_ISDIR(_lstat_mode(path)):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _check_name(sha256: str) -> None:
    if _SHA256.fullmatch(sha256) is None:
        raise CodeError(f"A package is named by 64 hexadecimal digits, not {sha256[:80]!r}.", "ServiceException")


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
