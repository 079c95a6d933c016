"""A batch of events as one row: encoding and decoding.

A fresh chunk is what one PutLogEvents brought: its events' sequence numbers follow from the row's id, and all were
ingested at one time. A merged chunk (see background.py) carries sequence numbers and ingestion times of its own, so
that event ids stay what they were.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import orjson

from alonzo.services.logs.models import LogEvent

#: A batch holds at most this many events (the model's limit): sequence = row id * this + index.
EVENTS_PER_CHUNK = 10_000
#: Below this, compressing costs the one who puts more time than the disk is worth; merging compresses later.
COMPRESS_FROM = 32_768


def encode(timestamps: Sequence[int], messages: Sequence[str]) -> bytes:
    """A fresh chunk."""
    try:
        return _pack(orjson.dumps((timestamps, messages)))
    except TypeError:  # a lone surrogate: JSON allows it in a request, UTF-8 does not
        return _pack(orjson.dumps((timestamps, [m.encode("utf-8", "replace").decode() for m in messages])))


def encode_merged(events: Sequence[LogEvent]) -> bytes:
    """A merged chunk; events in order."""
    columns = (
        [event.timestamp_ms for event in events],
        [event.message for event in events],
        [event.sequence for event in events],
        [event.ingested_ms for event in events],
    )
    return _pack(orjson.dumps(columns), 0)


def decode(chunk_id: int, stream_id: int, ingested_ms: int, data: bytes) -> Iterator[LogEvent]:
    """The events of a chunk, in order."""
    columns = orjson.loads(data if data[:1] == b"[" else zlib.decompress(data))
    if len(columns) == 2:
        first = chunk_id * EVENTS_PER_CHUNK
        for index, (timestamp, message) in enumerate(zip(*columns, strict=True)):
            yield LogEvent(timestamp, first + index, message, ingested_ms, stream_id)
    else:
        for timestamp, message, sequence, ingested in zip(*columns, strict=True):
            yield LogEvent(timestamp, sequence, message, ingested, stream_id)


def _pack(data: bytes, compress_from: int = COMPRESS_FROM) -> bytes:
    # JSON begins with "[", zlib's header with 0x78: the first byte tells them apart.
    return data if len(data) < compress_from else zlib.compress(data, 1)
