"""What a function writes: stdout and stderr by lines, the runtime's telemetry pipe by frames, each one log event.

Source: execution-environment contract §4 (the framing); the pipes are written by hostile code: sizes are bounded.
"""

from __future__ import annotations

import asyncio
import os
import select
import struct
from collections.abc import Callable

#: Bytes of one log event: CloudWatch Logs' limit of 256 KB less its overhead per event.
MAX_EVENT = 262_144 - 26
_CHUNK = 65_536
#: Bytes taken in one go, so that one function's flood does not hold up the others.
_BUDGET = 1 << 20
_HEADER = struct.Struct(">IIQ")
_MAGIC = 0xA55A0000
_MAGIC_MASK = 0xFFFF0000

#: Called with the time in milliseconds (None: now) and the message.
Sink = Callable[[int | None, str], None]


class LineSplitter:
    """Bytes to lines. A line longer than MAX_EVENT is cut."""

    __slots__ = ("_sink", "lines", "rest")

    def __init__(self, sink: Sink) -> None:
        #: What has no end of its line yet.
        self.rest = b""
        #: Where lines without an end wait: here.
        self.lines = self
        self._sink = sink

    def feed(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        lines = data.splitlines(keepends=True) if b"\r" not in data else data.replace(b"\r\n", b"\n").split(b"\n")
        if b"\r" in data:
            lines = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
        self.rest = b""
        for line in lines:
            if line.endswith(b"\n"):
                self._emit(line)
            else:
                self.rest = line
        if len(self.rest) > MAX_EVENT:
            self.flush()

    def flush(self) -> None:
        """What came without a line end counts as a line."""
        rest, self.rest = self.rest, b""
        if rest:
            self._emit(rest)

    def _emit(self, line: bytes) -> None:
        for start in range(0, len(line), MAX_EVENT):
            self._sink(None, line[start : start + MAX_EVENT].decode("utf-8", "replace"))


class FrameSplitter:
    """Telemetry frames to messages; what is no frame is taken for text."""

    __slots__ = ("_rest", "_sink", "lines")

    def __init__(self, sink: Sink) -> None:
        self._rest = bytearray()
        self._sink = sink
        self.lines = LineSplitter(sink)

    def feed(self, data: bytes) -> None:
        self._rest += data
        rest = self._rest
        while len(rest) >= _HEADER.size:
            kind, length, micros = _HEADER.unpack_from(rest)
            if kind & _MAGIC_MASK != _MAGIC:
                self.lines.feed(bytes(rest))
                rest.clear()
                return
            taken = min(length, MAX_EVENT)
            if len(rest) < _HEADER.size + taken:
                return
            message = bytes(rest[_HEADER.size : _HEADER.size + taken])
            # A frame over the limit is cut; the rest of it arrives as text.
            del rest[: _HEADER.size + taken]
            self._sink(micros // 1000, message.decode("utf-8", "replace"))

    def flush(self) -> None:
        self.lines.flush()


class Output:
    """Reads both pipes of an environment."""

    def __init__(self, output: int, telemetry: int, sink: Sink, full: Callable[[], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipes: list[tuple[int, LineSplitter | FrameSplitter]] = []
        self._full = full
        self._reading: set[int] = set()
        self._poll = select.poll()
        for fd, splitter in ((output, LineSplitter(sink)), (telemetry, FrameSplitter(sink))):
            if fd >= 0:
                os.set_blocking(fd, False)
                self._pipes.append((fd, splitter))
                self._poll.register(fd, select.POLLIN)
        self.resume()

    def resume(self) -> None:
        """Read again after the log had been full."""
        for fd, splitter in self._pipes:
            if fd not in self._reading:
                self._reading.add(fd)
                self._loop.add_reader(fd, self._readable, fd, splitter)

    def _pause(self, fd: int) -> None:
        if fd in self._reading:
            self._reading.discard(fd)
            self._loop.remove_reader(fd)

    def _readable(self, fd: int, splitter: LineSplitter | FrameSplitter) -> None:
        if self._full():
            # The function now waits at its full pipe until the log has been stored.
            self._pause(fd)
            return
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            splitter.flush()
            self._forget(fd)
            return
        splitter.feed(data)

    def _forget(self, fd: int) -> None:
        self._pause(fd)
        self._poll.unregister(fd)
        self._pipes = [pipe for pipe in self._pipes if pipe[0] != fd]

    def drain(self) -> None:
        """Take what is in the pipes now (at most 1 MiB of each); a line without an end counts as one."""
        # One system call tells that both are empty, as they are after most invocations.
        ready = self._poll.poll(0) if self._pipes else ()
        if not ready:
            for _, splitter in self._pipes:
                if splitter.lines.rest:
                    splitter.flush()
            return
        waiting = {fd for fd, _ in ready}
        for fd, splitter in self._pipes:
            taken = 0
            while fd in waiting and taken < _BUDGET:
                try:
                    data = os.read(fd, _CHUNK)
                except OSError:
                    break
                if not data:
                    break
                taken += len(data)
                splitter.feed(data)
                if len(data) < _CHUNK:
                    break
            splitter.flush()

    def close(self) -> None:
        """Stop reading; the pipes stay their owner's to close."""
        for fd, _ in tuple(self._pipes):
            self._forget(fd)
