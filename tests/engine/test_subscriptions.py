"""What a subscription may say, how it is refused, and what each schema shows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alonzo.engine.subscriptions import Malformed, Schema, parse, shown

HTTP = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/in?x=1"}
GOOD: dict[str, Any] = {"schemaVersion": "2022-07-01", "types": ["platform", "function"], "destination": HTTP}


def read(api: str = "telemetry", **changes: Any) -> Any:
    document = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return parse(api, json.dumps(document).encode())


def test_what_is_not_said_has_defaults() -> None:
    """256 KB, 10,000 events, one second, POST."""
    request = read()
    assert (request.schema, request.kinds) == (Schema.TEXT, ("platform", "function"))
    assert (request.port, request.path, request.method) == (8080, "/in?x=1", "POST")
    assert (request.max_bytes, request.max_items, request.timeout_s) == (262_144, 10_000, 1.0)


def test_the_bounds_themselves_are_allowed() -> None:
    """Least and most of each size; TCP has a port and no path; the Logs API may want PUT and has a default schema."""
    least = read(buffering={"maxBytes": 262_144, "maxItems": 1_000, "timeoutMs": 25})
    most = read(buffering={"maxBytes": 1_048_576, "maxItems": 10_000, "timeoutMs": 30_000})
    assert (least.max_items, least.timeout_s, most.max_bytes, most.timeout_s) == (1_000, 0.025, 1_048_576, 30.0)
    tcp = read(destination={"protocol": "TCP", "port": 9000})
    assert (tcp.port, tcp.path) == (9000, "")
    logs = read("logs", schemaVersion=..., destination={**HTTP, "method": "PUT"})
    assert (logs.schema, logs.method) == (Schema.LOGS, "PUT")
    assert read(destination={"protocol": "HTTP", "URI": "http://sandbox:1"}).path == "/"
    for version in ("2022-07-01", "2022-12-13", "2025-01-29"):
        assert read(schemaVersion=version).schema.value == version


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        # The one refusal that AWS's documents print.
        (
            {"destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain"}, "types": []},
            "URI port is not provided; types should not be empty",
        ),
        ({"schemaVersion": ...}, "schemaVersion should be one of 2022-07-01, 2022-12-13, 2025-01-29"),
        ({"schemaVersion": "2020-08-15"}, "schemaVersion should be one of 2022-07-01, 2022-12-13, 2025-01-29"),
        ({"types": ...}, "types should not be empty"),
        ({"types": "platform"}, "types should not be empty"),
        ({"types": ["metrics"]}, "types should be of platform, function, extension"),
        ({"types": [["platform"]]}, "types should be of platform, function, extension"),
        ({"types": ["platform", "platform"]}, "types should be unique"),
        ({"destination": ...}, "destination is not provided"),
        ({"destination": {"protocol": "UDP"}}, "protocol should be HTTP or TCP"),
        ({"destination": {"protocol": "TCP"}}, "port should be between 1 and 65535"),
        ({"destination": {"protocol": "TCP", "port": True}}, "port should be between 1 and 65535"),
        ({"destination": {"protocol": "TCP", "port": 65_536}}, "port should be between 1 and 65535"),
        ({"destination": {"protocol": "TCP", "port": 9001}}, "port 9001 is reserved"),
        ({"destination": {**HTTP, "URI": "http://sandbox.localdomain:9001/"}}, "port 9001 is reserved"),
        ({"destination": {**HTTP, "URI": "http://sandbox.localdomain:4566/"}}, "port 4566 is reserved"),
        ({"destination": {**HTTP, "URI": 7}}, "URI is not provided"),
        ({"destination": {**HTTP, "URI": "https://sandbox.localdomain:80"}}, "URI scheme should be http"),
        ({"destination": {**HTTP, "URI": "http://example.com:80"}}, "URI host should be sandbox.localdomain"),
        ({"destination": {**HTTP, "URI": "http://127.0.0.1:80"}}, "URI host should be sandbox.localdomain"),
        ({"destination": {**HTTP, "URI": "http://me@sandbox:80"}}, "URI host should be sandbox.localdomain"),
        ({"destination": {**HTTP, "URI": "http://sandbox.localdomain:99999"}}, "URI is not valid"),
        ({"destination": {**HTTP, "URI": "http://sandbox:80/a\r\nHost: b"}}, "URI is not valid"),
        ({"destination": {**HTTP, "URI": "http://sandbox:80/" + "a" * 1_100}}, "URI is not valid"),
        ({"destination": {**HTTP, "method": "DELETE"}}, "method should be POST or PUT"),
        ({"buffering": []}, "buffering is not an object"),
        ({"buffering": {"maxBytes": 262_143}}, "maxBytes should be between 262144 and 1048576"),
        ({"buffering": {"maxItems": 1e4}}, "maxItems should be between 1000 and 10000"),
        (
            {"buffering": {"maxBytes": 1 << 40, "timeoutMs": 24}},
            "maxBytes should be between 262144 and 1048576; timeoutMs should be between 25 and 30000",
        ),
    ],
)
def test_what_is_wrong_is_said_together(changes: dict[str, Any], text: str) -> None:
    """Every fault is named, in the documents' manner."""
    with pytest.raises(Malformed) as refused:
        read(**changes)
    assert str(refused.value) == text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"OK"', b"null"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse("telemetry", body)


def test_the_logs_api_knows_fewer_events() -> None:
    """No initialisation, no spans, no tracing; runtimeDone only with 2021-03-18, and its error is a failure."""
    start = {"requestId": "r", "version": "7", "tracing": {"value": "Root=1"}}
    assert shown(Schema.LOGS, "platform.start", start, False) == {"requestId": "r", "version": "7"}
    report = {"requestId": "r", "metrics": {"durationMs": 1.5}, "status": "success", "spans": []}
    assert shown(Schema.LOGS, "platform.report", report, False) == {"requestId": "r", "metrics": {"durationMs": 1.5}}
    done = {"requestId": "r", "status": "error", "errorType": "Runtime.ExitError"}
    assert shown(Schema.LOGS, "platform.runtimeDone", done, False) is None
    assert shown(Schema.LOGS_DONE, "platform.runtimeDone", done, False) == {"requestId": "r", "status": "failure"}
    assert shown(Schema.LOGS, "platform.initStart", {}, False) is None
    assert shown(Schema.LOGS, "platform.telemetrySubscription", {}, False) is None
    for name in ("platform.restoreStart", "platform.restoreRuntimeDone", "platform.restoreReport"):
        assert shown(Schema.LOGS_DONE, name, {"status": "success"}, False) is None
        assert shown(Schema.TEXT, name, {"status": "success"}, False) == {"status": "success"}
    for name in ("platform.end", "platform.fault"):
        assert shown(Schema.LOGS, name, {"requestId": "r"}, False) == {"requestId": "r"}
        assert shown(Schema.TEXT, name, {"requestId": "r"}, False) is None


def test_log_lines_are_objects_where_log_format_and_schema_say_so() -> None:
    """2022-07-01 and the Logs API always show strings; what is no object stays one."""
    line = '{"level":"INFO","message":"m"}\n'
    for schema, structured, record in (
        (Schema.STRUCTURED, True, {"level": "INFO", "message": "m"}),
        (Schema.MANAGED, True, {"level": "INFO", "message": "m"}),
        (Schema.STRUCTURED, False, line),
        (Schema.TEXT, True, line),
        (Schema.LOGS, True, line),
    ):
        assert shown(schema, "function", line, structured) == record
    for other in ("plain\n", "{broken\n", "[1]\n"):
        assert shown(Schema.STRUCTURED, "extension", other, True) == other
