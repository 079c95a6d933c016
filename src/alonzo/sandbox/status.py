"""What an init says at the end; both sides of the sandbox host import it, so it must stay small."""

from __future__ import annotations

import struct

#: The first process's wait status, and its peak resident memory in bytes.
STATUS = struct.Struct("=iq")
