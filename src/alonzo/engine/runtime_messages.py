"""What the Runtime API answers: whole HTTP messages, most of them made once.

Source: execution-environment contract §1; https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import orjson

from alonzo.engine.runtime_state import MAX_RESPONSE, TransitionError
from alonzo.engine.streaming import MAX_STREAMED


def answer_of(status: str, body: bytes, content_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _error(status: str, error_type: str, message: str) -> bytes:
    return answer_of(status, orjson.dumps({"errorMessage": message, "errorType": error_type}) + b"\n")


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: How the answer to `next` begins.
EVENT = b"HTTP/1.1 200 OK\r\n"
ACCEPTED = answer_of("202 Accepted", b'{"status":"OK"}\n')
PONG = answer_of("200 OK", b"pong", "text/plain; charset=utf-8")
NOT_FOUND = answer_of("404 Not Found", b"404 page not found\n", "text/plain; charset=utf-8")
WRONG_METHOD = answer_of("405 Method Not Allowed", b"")
HEADERS_TOO_LARGE = answer_of("431 Request Header Fields Too Large", b"", "text/plain")
WRONG_ID = _error("400 Bad Request", "InvalidRequestID", "Invalid request ID")
WRONG_MODE = _error("400 Bad Request", "InvalidFunctionResponseMode", "Invalid function response mode")


def forbidden(error: TransitionError) -> bytes:
    return _error("403 Forbidden", "InvalidStateTransition", str(error))


def _too_large(limit: int) -> bytes:
    text = f"Exceeded maximum allowed payload size ({limit} bytes)."
    return _error("413 Request Entity Too Large", "RequestEntityTooLarge", text)


TOO_LARGE = _too_large(MAX_RESPONSE)
STREAM_TOO_LARGE = _too_large(MAX_STREAMED)


def event_message(
    *,
    request_id: str,
    deadline_ms: int,
    invoked_arn: str,
    trace_header: str,
    client_context: str,
    payload: bytes,
    tenant: str = "",
) -> bytes:
    """The whole HTTP response that hands an invocation to a runtime. Empty headers are left out, as AWS does."""
    trace = ""
    if trace_header:
        clean = trace_header if trace_header.isprintable() else _clean(trace_header)
        trace = f"Lambda-Runtime-Trace-Id: {clean}\r\n"
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        f"Lambda-Runtime-Aws-Request-Id: {request_id}\r\n"
        f"Lambda-Runtime-Deadline-Ms: {deadline_ms}\r\n"
        f"Lambda-Runtime-Invoked-Function-Arn: {invoked_arn}\r\n{trace}"
    )
    if client_context:
        head += f"Lambda-Runtime-Client-Context: {_clean(client_context)}\r\n"
    if tenant:
        head += f"Lambda-Runtime-Aws-Tenant-Id: {_clean(tenant)}\r\n"
    return f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload


def _clean(value: str) -> str:
    """A header value without line ends: what a caller sent must not become another header."""
    return value if value.isprintable() else "".join(c for c in value if c.isprintable())
