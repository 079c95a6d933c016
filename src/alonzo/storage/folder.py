"""The data folder: one server at a time, and where in it everything lies."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from alonzo.config import Settings, SettingsError
from alonzo.core.dataclasses import dataclass
from alonzo.storage.errors import explain


@dataclass(slots=True)
class DataFolder:
    """An opened and locked data folder."""

    path: Path
    ephemeral: bool
    _lock: int

    @property
    def database(self) -> Path:
        return self.path / "alonzo.db"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    def close(self) -> None:
        """Give the folder back; an ephemeral one is removed."""
        if self.ephemeral:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def open_data_folder(settings: Settings) -> DataFolder:
    """Make the folder where it is missing and lock it. Raises SettingsError with the mend, StorageError."""
    path = _ephemeral_folder() if settings.ephemeral else settings.data_dir
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(
            f"The data folder {path} cannot be used: {error.strerror}. Choose one with --data-dir."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise SettingsError(
            f"Another Alonzo (process {holder}) uses the data folder {path}. Stop it, or choose another --data-dir."
        ) from None
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(lock)
        raise explain(error, path / "lock") from error
    return DataFolder(path, settings.ephemeral, lock)


def _ephemeral_folder() -> Path:
    """A folder in memory where the system has one; those that killed servers left behind are removed."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    for leftover in parent.glob(f"alonzo-{os.getuid()}-*"):
        _remove_if_abandoned(leftover)
    return Path(tempfile.mkdtemp(prefix=f"alonzo-{os.getuid()}-", dir=parent))


def _remove_if_abandoned(folder: Path) -> None:
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # its server is alive
    finally:
        os.close(lock)
