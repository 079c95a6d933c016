"""What an extension asks of the Telemetry API (2022-07-01) or the Logs API (2020-08-15), and what its schema shows.

Source: https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html and runtimes-logs-api.html. Both print
one refusal, `URI port is not provided; types should not be empty`; the other texts are in its manner.
"""

from __future__ import annotations

from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import orjson

from alonzo.core.dataclasses import dataclass
from alonzo.sandbox.base import AWS_PORT, RUNTIME_API_PORT

_KINDS = ("platform", "function", "extension")
#: Least, most, default. Source: https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html#telemetry-api-buffering
_LIMITS = {
    "maxBytes": (262_144, 1_048_576, 262_144),
    "maxItems": (1_000, 10_000, 10_000),
    "timeoutMs": (25, 30_000, 1_000),
}
_HOSTS = ("sandbox.localdomain", "sandbox")
_MAX_URI = 1_024
_METHODS = ("POST", "PUT")


class Schema(Enum):
    """How events look to a subscriber."""

    LOGS = "2020-08-15"
    #: With platform.runtimeDone.
    LOGS_DONE = "2021-03-18"
    #: Every log line is a string.
    TEXT = "2022-07-01"
    #: A log line that is a JSON object (log format JSON) is shown as one.
    STRUCTURED = "2022-12-13"
    #: The same, and the only one of managed instances.
    MANAGED = "2025-01-29"


_SCHEMAS = {"logs": (Schema.LOGS, Schema.LOGS_DONE), "telemetry": (Schema.TEXT, Schema.STRUCTURED, Schema.MANAGED)}
#: The platform's events that the Logs API knows, and the two that only it knows.
_LOGS_EVENTS = {"start", "end", "report", "fault", "extension", "logsSubscription", "logsDropped"}
_LOGS_ONLY = {"end", "fault"}


class Malformed(Exception):
    """A subscription that is not one; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A subscription as asked for; two alike are the same subscription. `path` is "" for TCP."""

    schema: Schema
    kinds: tuple[str, ...]
    port: int
    path: str
    max_items: int
    max_bytes: int
    timeout_s: float
    method: str = "POST"


def parse(api: str, body: bytes) -> Request:
    """Check a subscription's document; `api` is "telemetry" or "logs". Raises Malformed with all that is wrong."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"failed to parse JSON: {error}") from None
    if not isinstance(document, dict):
        raise Malformed("the subscription is not an object")
    wrong: list[str] = []
    schema = _schema(api, document, wrong)
    port, path, method = _destination(document.get("destination"), wrong)
    kinds = _types(document.get("types"), wrong)
    sizes = _buffering(document.get("buffering"), wrong)
    if wrong:
        raise Malformed("; ".join(wrong))
    return Request(
        schema, kinds, port, path, sizes["maxItems"], sizes["maxBytes"], sizes["timeoutMs"] / 1000, method=method
    )


def _schema(api: str, document: dict[str, Any], wrong: list[str]) -> Schema:
    known = _SCHEMAS[api]
    # The Logs API has a default; the Telemetry API wants to be told.
    version = document.get("schemaVersion", known[0].value if api == "logs" else None)
    for schema in known:
        if schema.value == version:
            return schema
    wrong.append(f"schemaVersion should be one of {', '.join(schema.value for schema in known)}")
    return known[0]


def _types(kinds: Any, wrong: list[str]) -> tuple[str, ...]:
    if not isinstance(kinds, list) or not kinds:
        wrong.append("types should not be empty")
        return ()
    if any(kind not in _KINDS for kind in kinds):
        wrong.append(f"types should be of {', '.join(_KINDS)}")
    elif len(set(kinds)) != len(kinds):
        wrong.append("types should be unique")
    return tuple(kind for kind in kinds if isinstance(kind, str))


def _destination(destination: Any, wrong: list[str]) -> tuple[int, str, str]:
    if not isinstance(destination, dict):
        wrong.append("destination is not provided")
        return 0, "", ""
    protocol, method = destination.get("protocol"), destination.get("method", "POST")
    port: Any
    if protocol == "TCP":
        port, path = destination.get("port"), ""
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65_536:
            wrong.append("port should be between 1 and 65535")
            return 0, "", ""
    elif protocol == "HTTP":
        port, path = _http(destination.get("URI"), wrong)
    else:
        wrong.append("protocol should be HTTP or TCP")
        return 0, "", ""
    if method not in _METHODS:
        wrong.append(f"method should be {' or '.join(_METHODS)}")
    if port in (RUNTIME_API_PORT, AWS_PORT):
        wrong.append(f"port {port} is reserved")
    return port, path, str(method)


def _http(uri: Any, wrong: list[str]) -> tuple[int, str]:
    if not isinstance(uri, str) or not uri:
        wrong.append("URI is not provided")
        return 0, ""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        wrong.append("URI is not valid")
        return 0, ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if len(uri) > _MAX_URI or any(not "!" <= character <= "~" for character in uri) or not path.startswith("/"):
        wrong.append("URI is not valid")
    elif parts.scheme != "http":
        wrong.append("URI scheme should be http")
    elif parts.hostname not in _HOSTS or parts.username is not None:
        wrong.append(f"URI host should be {_HOSTS[0]}")
    elif not port:
        wrong.append("URI port is not provided")
    return port or 0, path


def _buffering(buffering: Any, wrong: list[str]) -> dict[str, int]:
    sizes = {name: default for name, (_, _, default) in _LIMITS.items()}
    if buffering is None:
        return sizes
    if not isinstance(buffering, dict):
        wrong.append("buffering is not an object")
        return sizes
    for name, (least, most, default) in _LIMITS.items():
        value = buffering.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            wrong.append(f"{name} should be between {least} and {most}")
        else:
            sizes[name] = value
    return sizes


def shown(schema: Schema, type: str, record: Any, structured: bool) -> Any:
    """The record of an event as a schema shows it; None where it does not know such events.

    `structured`: the function's log format is JSON.
    """
    logs = schema in _SCHEMAS["logs"]
    name = type.removeprefix("platform.")
    if name == type:
        return _object(record) if structured and schema in (Schema.STRUCTURED, Schema.MANAGED) else record
    if not logs:
        return None if name in _LOGS_ONLY else record
    if name == "runtimeDone" and schema is Schema.LOGS_DONE:
        # This schema knows success, failure and timeout only.
        status = "failure" if record["status"] == "error" else record["status"]
        return {"requestId": record["requestId"], "status": status}
    if name not in _LOGS_EVENTS:
        return None
    if name == "start":
        return {"requestId": record["requestId"], "version": record["version"]}
    if name == "report":
        return {"requestId": record["requestId"], "metrics": record["metrics"]}
    return record


def _object(line: str) -> Any:
    if not line.startswith("{"):
        return line
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
