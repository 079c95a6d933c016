"""What survives: the database (one writer, readers) and blobs.

Its modules are imported when something of theirs is: the database's imports are a quarter of a start, and the data
folder is locked before them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alonzo.storage.blobs import BlobRef, Blobs, BlobWriter
    from alonzo.storage.database import Database, metadata, only_where
    from alonzo.storage.errors import DiskFull, StorageError
    from alonzo.storage.statements import ForKeys, InsertMany, run_each

__all__ = [
    "BlobRef",
    "BlobWriter",
    "Blobs",
    "Database",
    "DiskFull",
    "ForKeys",
    "InsertMany",
    "StorageError",
    "metadata",
    "only_where",
    "run_each",
]
_MODULES = {
    "blobs": ("BlobRef", "BlobWriter", "Blobs"),
    "database": ("Database", "metadata", "only_where"),
    "errors": ("DiskFull", "StorageError"),
    "statements": ("ForKeys", "InsertMany", "run_each"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
