"""Small files that only their owner may read: keys, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from alonzo.storage.errors import explain


def read_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's bytes; where there is none, write what `make` returns (mode 0600, on disk before it has its name).

    Raises StorageError with a sentence where it cannot be written; nothing of it stays then.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    data = make()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(draft, data)
        # A link never replaces: of two that start at once, the first one's key is everybody's.
        os.link(draft, path)
    except FileExistsError:
        return path.read_bytes()
    except OSError as error:
        raise explain(error, path) from error
    finally:
        draft.unlink(missing_ok=True)
    return data


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
