"""What survives: the database (one writer, readers) and blobs."""

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
