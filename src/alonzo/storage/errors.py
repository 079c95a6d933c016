"""What goes wrong with state."""

from __future__ import annotations

import errno
from pathlib import Path


class StorageError(Exception):
    """The database or a blob cannot be used; the message is a sentence with the mend."""


class DiskFull(StorageError):
    """No space is left. What was accepted before is untouched, what was being written is not."""


def explain(error: OSError, path: Path) -> StorageError:
    """What kept the file `path` from being written, as a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"No space is left on the disk that holds {path.parent}.")
    return StorageError(f"Cannot write {path}: {error.strerror}.")
