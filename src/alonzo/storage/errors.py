"""What goes wrong with state."""


class StorageError(Exception):
    """The database or a blob cannot be used; the message is a sentence with the mend."""


class DiskFull(StorageError):
    """No space is left. What was accepted before is untouched, what was being written is not."""
