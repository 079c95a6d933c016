"""Streamed responses and function URLs, on a real server."""

from __future__ import annotations

import http.client
import json
import time
from urllib.parse import urlsplit

import pytest

#: A module that speaks the Runtime API itself: Python's managed runtime has no streaming of its own.
STREAMER = r'''
import base64, json, os, socket, time

host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
PREFIX = "/2018-06-01/runtime/invocation/"


def read_answer(reader):
    status = int(reader.readline().split()[1])
    headers = {}
    while (line := reader.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, reader.read(int(headers.get("content-length", 0)))


class Stream:
    def __init__(self, request_id, kind):
        connection.sendall(
            f"POST {PREFIX}{request_id}/response HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n".encode()
        )

    def write(self, data):
        connection.sendall(b"%x\r\n" % len(data) + data + b"\r\n")

    def end(self, error=None):
        trailers = ""
        if error is not None:
            body = base64.b64encode(json.dumps(error).encode()).decode()
            name = "Lambda-Runtime-Function-Error"
            trailers = f"{name}-Type: Function.{error['errorType']}\r\n{name}-Body: {body}\r\n"
        connection.sendall(f"0\r\n{trailers}\r\n".encode())
        assert read_answer(reader)[0] == 202


connection = socket.create_connection((host, int(port)))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
reader = connection.makefile("rb")
while True:
    connection.sendall(f"GET {PREFIX}next HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    _, headers, body = read_answer(reader)
    event = json.loads(body)
    order = event.get("order") or json.loads(event.get("body") or "{}")
    stream = Stream(headers["lambda-runtime-aws-request-id"], order.get("type", "text/plain"))
    if "prelude" in order:
        stream.write(json.dumps(order["prelude"]).encode() + b"\0" * 8)
    for text in order.get("texts", ()):
        stream.write(text.encode() if text else b"%.6f;" % time.time())
        time.sleep(order.get("pause", 0))
    for _ in range(order.get("pieces", 0)):
        stream.write(b"x" * 1_000_000)
    if order.get("exit"):
        os._exit(1)
    stream.end(order.get("error"))
'''


@pytest.fixture(scope="session")
def streamer(make) -> str:
    return make.function(STREAMER, Timeout=30, MemorySize=512)


def stream(make, name, order, **more):
    """(the stream's events as they come, with the time of each)."""
    answer = make.functions.invoke_with_response_stream(
        FunctionName=name, Payload=json.dumps({"order": order}), **more
    )
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/vnd.amazon.eventstream"
    assert answer["ExecutedVersion"] == "$LATEST"
    for event in answer["EventStream"]:
        yield event, time.time()


def test_the_bytes_come_while_the_function_runs(make, streamer: str) -> None:
    """Each chunk of InvokeWithResponseStream is at the client within 50 ms of its writing, long before the end."""
    list(stream(make, streamer, {"texts": [""]}))
    delays = []
    for event, at in stream(make, streamer, {"texts": ["", "", ""], "pause": 0.07}, LogType="Tail"):
        if "PayloadChunk" in event:
            delays.append(at - float(event["PayloadChunk"]["Payload"].rstrip(b";")))
    assert len(delays) == 3
    assert max(delays) < 0.05
    assert set(event["InvokeComplete"]) == {"LogResult"}


def test_a_buffered_function_answers_through_the_stream(make) -> None:
    """A function that returns a value streams it as one chunk; an exception is in InvokeComplete."""
    name = make.function("def handler(event, context):\n    return 1 / event['order']['by']\n")
    events = [event for event, _ in stream(make, name, {"by": 2})]
    assert events == [{"PayloadChunk": {"Payload": b"0.5"}}, {"InvokeComplete": {}}]
    (failed,) = [event for event, _ in stream(make, name, {"by": 0})]
    assert failed["InvokeComplete"]["ErrorCode"] == "Unhandled"
    assert json.loads(failed["InvokeComplete"]["ErrorDetails"])["errorType"] == "ZeroDivisionError"


def test_errors_in_the_middle_of_a_stream(make, streamer: str) -> None:
    """What came before the error arrives; trailers and the end of the process are told in InvokeComplete."""
    error = {"errorType": "Broken", "errorMessage": "half way"}
    events = [event for event, _ in stream(make, streamer, {"texts": ["half"], "error": error})]
    assert events[0] == {"PayloadChunk": {"Payload": b"half"}}
    assert json.loads(events[-1]["InvokeComplete"]["ErrorDetails"]) == error
    events = [event for event, _ in stream(make, streamer, {"texts": ["half"], "pause": 0.05, "exit": True})]
    assert events[0] == {"PayloadChunk": {"Payload": b"half"}}
    assert json.loads(events[-1]["InvokeComplete"]["ErrorDetails"])["errorType"] == "Runtime.ExitError"


def test_invoke_collects_a_stream(make, streamer: str) -> None:
    """Invoke of a streaming function answers the whole response."""
    answer = make.functions.invoke(FunctionName=streamer, Payload=json.dumps({"order": {"texts": ["a", "b"]}}))
    assert answer["Payload"].read() == b"ab"
