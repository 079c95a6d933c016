"""Reads deployment packages, which anybody may have made: everything is checked before anything is written."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from alonzo.core.dataclasses import dataclass
from alonzo.runtimes.errors import CodeError

#: Function and layers together, unpacked. Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_UNZIPPED = 262_144_000
#: Ours, against packages whose folders cost more than their files; AWS states no number.
MAX_ENTRIES = 100_000
_MAX_DIRECTORY_BYTES = 32 << 20
_MAX_NAME = 255
_MAX_PATH = 4096 - len("/var/task/")
#: Folders within folders; ours too.
_MAX_DEPTH = 128
_MAX_LINK = 4095
_CHUNK = 1 << 18
#: Where absolute links may point: places that the package's own function sees.
_INSIDE = ("/var/task", "/opt")

#: What the standard library raises for damaged or unsupported contents.
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)

BROKEN = "Could not unzip uploaded file. Please check your file, then try to upload again."
TOO_LARGE = f"Unzipped size must be smaller than {MAX_UNZIPPED} bytes"
EMPTY = "Uploaded file must be a non-empty zip"


@dataclass(frozen=True, slots=True)
class ZipInfo:
    """What a package holds. `unzipped_size` is in bytes, `entries` counts files, links and folders."""

    unzipped_size: int
    entries: int


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    info: zipfile.ZipInfo
    kind: str  # "file", "folder" or "link"
    mode: int


def inspect_zip(package: bytes | Path) -> ZipInfo:
    """Check a package by its central directory and links alone. Raises CodeError with AWS's text."""
    with _open(package) as archive:
        entries = _entries(archive)
    return ZipInfo(sum(entry.info.file_size for entry in entries.values()), len(entries))


def check_size(function: int, layers: Iterable[int]) -> None:
    """Unzipped sizes of a function and its layers against the limit on their sum. Raises CodeError with AWS's text."""
    layers_size = sum(layers)
    if layers_size > MAX_UNZIPPED:
        raise CodeError(f"Layers consume more than the available size of {MAX_UNZIPPED} bytes")
    if function + layers_size > MAX_UNZIPPED:
        raise CodeError(
            f"Function code combined with layers exceeds the maximum allowed size of {MAX_UNZIPPED} bytes. "
            f"The actual size is {function + layers_size} bytes."
        )


def extract(package: Path, target: Path) -> ZipInfo:
    """Unpack into the empty folder `target`. Raises CodeError; what is in `target` then is the caller's to remove.

    Files keep their executable bit and become readable for all. Links are made last, so nothing is written through one.
    """
    with _open(package) as archive:
        entries = _entries(archive)
        made = {"": target}
        left = MAX_UNZIPPED
        links: list[_Entry] = []
        for entry in entries.values():
            if entry.kind == "folder":
                _folder(made, target, entry.path)
                continue
            parent, _, name = entry.path.rpartition("/")
            folder = _folder(made, target, parent)
            if entry.kind == "link":
                links.append(entry)
            else:
                left -= _extract_file(archive, entry, folder / name, left)
        for entry in links:
            (target / entry.path).symlink_to(_link_target(archive, entry))
    for path in made.values():
        path.chmod(0o755)
    return ZipInfo(MAX_UNZIPPED - left, len(entries))


def _open(package: bytes | Path) -> zipfile.ZipFile:
    try:
        if isinstance(package, bytes):
            if not package:
                raise CodeError(EMPTY)
            _check_directory(io.BytesIO(package), len(package))
            return zipfile.ZipFile(io.BytesIO(package))
        with package.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise CodeError(EMPTY)
            _check_directory(file, size)
        return zipfile.ZipFile(package)
    except _DAMAGED as error:
        raise CodeError(BROKEN) from error


def _check_directory(file: io.BufferedIOBase, size: int) -> None:
    """Refuse a central directory that would take too long, or too much memory, to read.

    The end record is a fixed part and a comment of at most 64 KiB; with zip64 another record lies right before it.
    """
    tail_size = min(size, 22 + 65535 + 20 + 56)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise CodeError(BROKEN)
    count, directory_size = struct.unpack("<HL", tail[at + 10 : at + 16])
    if count == 0xFFFF or directory_size == 0xFFFFFFFF:
        at64 = tail.rfind(b"PK\x06\x06", 0, at)
        if at64 >= 0 and len(tail) - at64 >= 56:
            count, directory_size = struct.unpack("<QQ", tail[at64 + 32 : at64 + 48])
    if directory_size > min(size, _MAX_DIRECTORY_BYTES) or count > MAX_ENTRIES:
        raise CodeError(BROKEN)


def _entries(archive: zipfile.ZipFile) -> dict[str, _Entry]:
    """Every entry by its path; of several with one path the last counts, as unzip does. Raises CodeError."""
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise CodeError(BROKEN)
    entries: dict[str, _Entry] = {}
    for info in infos:
        entry = _entry(info)
        if entry is not None:
            entries.pop(entry.path, None)
            entries[entry.path] = entry
    if not entries:
        raise CodeError(EMPTY)
    if sum(entry.info.file_size for entry in entries.values()) > MAX_UNZIPPED:
        raise CodeError(TOO_LARGE)
    _check_parents(entries)
    for entry in entries.values():
        if entry.kind == "link":
            _link_target(archive, entry)
    return entries


def _encoded_size(name: str) -> int:
    return len(name.encode(errors="surrogateescape"))


def _entry(info: zipfile.ZipInfo) -> _Entry | None:
    name = info.filename
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts and not name.startswith("/"):
        return None  # "./", the folder itself
    size = len if name.isascii() else _encoded_size
    if (
        name.startswith("/")
        or ".." in parts
        or "\0" in info.orig_filename
        or size(name) > _MAX_PATH
        or len(parts) > _MAX_DEPTH
        or max(map(size, parts), default=0) > _MAX_NAME
        or info.header_offset < 0
        or info.flag_bits & 0x1  # encrypted
        or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    ):
        raise CodeError(BROKEN)
    # Only UNIX systems write a mode; elsewhere the upper half means something else.
    mode = info.external_attr >> 16 if info.create_system == 3 else 0
    kind = stat.S_IFMT(mode)
    if name.endswith("/") or kind == stat.S_IFDIR:
        return _Entry("/".join(parts), info, "folder", 0o755)
    if kind == stat.S_IFLNK:
        return _Entry("/".join(parts), info, "link", 0)
    if kind not in (0, stat.S_IFREG):
        raise CodeError(BROKEN)
    return _Entry("/".join(parts), info, "file", 0o755 if mode & 0o111 else 0o644)


def _check_parents(entries: dict[str, _Entry]) -> None:
    """Nothing lies below a file or a link."""
    checked = {""}
    for path in entries:
        parent = path.rpartition("/")[0]
        while parent not in checked:
            checked.add(parent)
            above = entries.get(parent)
            if above is not None and above.kind != "folder":
                raise CodeError(BROKEN)
            parent = parent.rpartition("/")[0]


def _link_target(archive: zipfile.ZipFile, entry: _Entry) -> str:
    """Where a link points: inside its own tree, or at what the function sees of its package. Raises CodeError."""
    if not 0 < entry.info.file_size <= _MAX_LINK:
        raise CodeError(BROKEN)
    try:
        text = _read(archive, entry.info).decode()
    except UnicodeDecodeError as error:
        raise CodeError(BROKEN) from error
    absolute = text.startswith("/")
    # A path that goes up after going down could step through another link; no archiver writes such.
    ups = list(PurePosixPath(text).parts)
    while ups and ups[0] in ("..", "/"):
        ups.pop(0)
    depth = entry.path.count("/")
    climbs = sum(part == ".." for part in PurePosixPath(text).parts)
    if "\0" in text or ".." in ups or (absolute and climbs) or climbs > depth:
        raise CodeError(BROKEN)
    if absolute and not any(text == place or text.startswith(place + "/") for place in _INSIDE):
        raise CodeError(BROKEN)
    return text


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(info)
    except _DAMAGED as error:
        raise CodeError(BROKEN) from error


def _folder(made: dict[str, Path], target: Path, path: str) -> Path:
    known = made.get(path)
    if known is not None:
        return known
    parent, _, name = path.rpartition("/")
    folder = _folder(made, target, parent) / name
    folder.mkdir()
    made[path] = folder
    return folder


def _extract_file(archive: zipfile.ZipFile, entry: _Entry, path: Path, left: int) -> int:
    """Write one file of at most `left` bytes; returns its size."""
    written = 0
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, entry.mode)
        with archive.open(entry.info) as source, os.fdopen(fd, "wb") as sink:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > left:
                    raise CodeError(TOO_LARGE)
                sink.write(chunk)
            os.fchmod(sink.fileno(), entry.mode)
    except _DAMAGED as error:
        raise CodeError(BROKEN) from error
    if written != entry.info.file_size:
        raise CodeError(BROKEN)
    return written
