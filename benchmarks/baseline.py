"""What the machine gives in the same run: a bare HTTP server on the same library, under the same generator."""

from __future__ import annotations

import multiprocessing
import socket
from multiprocessing.connection import Connection

from benchmarks import load


def _serve(pipe: Connection) -> None:
    import asyncio

    import uvloop

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(answer)  # type: ignore[attr-defined]

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        await asyncio.get_running_loop().create_server(Bare, sock=listener)
        pipe.send(listener.getsockname()[1])
        await asyncio.Event().wait()

    uvloop.run(main())


def bare_server(connections: int, seconds: float = 2.0) -> load.Outcome:
    """Requests per second of a server that does nothing, with this many connections."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        endpoint = f"http://127.0.0.1:{ours.recv()}"
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        return load.run(endpoint, [request], connections=connections, seconds=seconds)
    finally:
        process.terminate()
        process.join()
