"""One POST to an endpoint: no redirect is followed, nothing of the answer is kept but its status."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from urllib.parse import unquote

from alonzo.services.sns.endpoints import BadAddress, addresses, split

#: As long as SNS waits. Source: https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.prepare.html
TIMEOUT_S = 15.0
_MAX_HEAD = 64 * 1024


class PostFailed(Exception):
    """No good answer came. `passing`: it may come another time."""

    def __init__(self, message: str, *, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


async def post(url: str, headers: Mapping[str, str], body: bytes, *, private: bool) -> None:
    """Send a body. Raises PostFailed unless the answer's status is 2xx; 4xx but 429 does not pass."""
    parts = split(url)
    if parts is None or parts.hostname is None:
        raise PostFailed(f"{url} is no endpoint", passing=False)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await addresses(parts.hostname, port, private=private)
            status = await _exchange(found[0], port, parts.hostname if secure else None, _request(url, headers, body))
    except BadAddress as error:
        raise PostFailed(str(error), passing=error.passing) from None
    except TimeoutError:
        raise PostFailed(f"{url} did not answer within {TIMEOUT_S:g} s") from None
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise PostFailed(f"{url}: {error}") from None
    if not 200 <= status < 300:
        raise PostFailed(f"{url} answered {status}", passing=not (400 <= status < 500 and status != 429))


def _request(url: str, headers: Mapping[str, str], body: bytes) -> bytes:
    parts = split(url)
    assert parts is not None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    account, _, host = parts.netloc.rpartition("@")
    if account:
        headers = {**headers, "Authorization": "Basic " + base64.b64encode(unquote(account).encode()).decode()}
    lines = [f"POST {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body


async def _exchange(address: str, port: int, server_name: str | None, request: bytes) -> int:
    context = ssl.create_default_context() if server_name is not None else None
    reader, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname=server_name, limit=_MAX_HEAD
    )
    try:
        writer.write(request)
        await writer.drain()
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            words = head.split(b"\r\n", 1)[0].split(None, 2)
            if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
                raise OSError("the answer is not HTTP")
            if not words[1].startswith(b"1"):
                return int(words[1][:3])
    finally:
        writer.transport.abort()
