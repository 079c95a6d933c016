"""The HTTP server: connections behind a thin seam that knows only `Request` and `Response`."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial

from alonzo.gateway.http11 import MAX_HEADER_BYTES, Connection, Connections, Handle, Prompt

__all__ = ["MAX_HEADER_BYTES", "Edge", "Handle"]


class Edge:
    """Accepts connections on any number of listening sockets. `handle` answers what `prompt` does not take."""

    def __init__(self, handle: Handle, prompt: Prompt | None = None) -> None:
        self._connections = Connections(handle, prompt)
        self._servers: set[asyncio.Server] = set()

    async def serve(self, listener: socket.socket) -> Callable[[], Awaitable[None]]:
        """Start accepting on a bound or listening socket; the returned function stops that and closes the socket."""
        self._connections.start()
        factory = partial(Connection, self._connections)
        server = await asyncio.get_running_loop().create_server(factory, sock=listener, backlog=2048)
        self._servers.add(server)

        async def stop() -> None:
            self._servers.discard(server)
            server.close()

        return stop

    async def close(self, grace_s: float = 2.0) -> None:
        """Accept no more, let requests under way end for `grace_s` seconds, then close every connection."""
        connections = self._connections
        connections.stop()
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(connections.open):
            connection.end()
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            if connections.tasks:
                await asyncio.wait(set(connections.tasks), timeout=0.05)
            elif any(connection.busy for connection in connections.open):
                await asyncio.sleep(0.01)
            else:
                break
        for task in list(connections.tasks):
            task.cancel()
        for connection in list(connections.open):
            connection.transport.abort()
