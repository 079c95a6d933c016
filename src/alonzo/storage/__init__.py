"""What survives: the database (one writer, readers) and blobs."""

from alonzo.storage.blobs import BlobRef, Blobs, BlobWriter, DiskFull
from alonzo.storage.database import Database, StorageError, metadata

__all__ = ["BlobRef", "BlobWriter", "Blobs", "Database", "DiskFull", "StorageError", "metadata"]
