"""Receipt handles: which queue, which message, which receiving of it.

The last is 63 random bits that only who received the message has seen; the checksum tells rubbish from old handles.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib

from alonzo.services.sqs.errors import bad_handle

_FORM = struct.Struct(">3sQQQI")
#: Makes handles begin as AWS's do.
_MARK = b"\x01\x04\x01"
MAX_HANDLE = 1024


def write_handle(queue_id: int, seq: int, receipt: int) -> str:
    body = _FORM.pack(_MARK, queue_id, seq, receipt, 0)[:-4]
    return base64.b64encode(body + struct.pack(">I", zlib.crc32(body))).decode()


def read_handle(handle: str, queue_id: int) -> tuple[int, int]:
    """The message's number and its receipt. Raises ReceiptHandleIsInvalid where it is no handle of this queue."""
    try:
        data = base64.b64decode(handle, validate=True) if len(handle) <= MAX_HANDLE else b""
        mark, queue, seq, receipt, check = _FORM.unpack(data)
    except (binascii.Error, ValueError, struct.error):
        raise bad_handle(handle[:MAX_HANDLE]) from None
    if mark != _MARK or queue != queue_id or check != zlib.crc32(data[:-4]):
        raise bad_handle(handle)
    return seq, receipt
