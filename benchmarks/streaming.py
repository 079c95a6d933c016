"""How soon a streamed response's bytes are there, what a large one costs, and whether one reader holds up another."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Measured, percentile
from benchmarks.setup import Peak, durable_server, function, memory_mb

#: Python's managed runtime has no streaming, so this module speaks the Runtime API itself.
STREAMER = r"""
import json, os, socket, time

host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
PREFIX = "/2018-06-01/runtime/invocation/"
connection = socket.create_connection((host, int(port)))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
reader = connection.makefile("rb")


def read_answer():
    reader.readline()
    headers = {}
    while (line := reader.readline()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return headers, reader.read(int(headers.get("content-length", 0)))


def write(data):
    connection.sendall(b"%x\r\n" % len(data) + data + b"\r\n")


piece = b"x" * 1_000_000
while True:
    connection.sendall(f"GET {PREFIX}next HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    headers, body = read_answer()
    megabytes = int(json.loads(body)["rawPath"].strip("/"))
    request_id = headers["lambda-runtime-aws-request-id"]
    connection.sendall(
        f"POST {PREFIX}{request_id}/response HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
        "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    time.sleep(0.005)
    write(b"%.7f" % time.time())
    for _ in range(megabytes):
        write(piece)
    connection.sendall(b"0\r\n\r\n")
    read_answer()
"""


def streaming() -> Iterator[Measured]:
    """Streamed responses of a function URL: the first byte, 200 MB, and readers that stall."""
    with durable_server(stream_rate_mib="0") as server:
        function(server, "streamer", STREAMER, Timeout=300)
        client = server.client("lambda")
        url = client.create_function_url_config(FunctionName="streamer", AuthType="NONE", InvokeMode="RESPONSE_STREAM")
        client.add_permission(
            FunctionName="streamer",
            StatementId="url",
            Action="lambda:InvokeFunctionUrl",
            Principal="*",
            FunctionUrlAuthType="NONE",
        )
        host = url["FunctionUrl"].removeprefix("http://").rstrip("/")
        for _ in range(20):
            _first_byte_ms(host)
        alone = [_first_byte_ms(host) for _ in range(300)]
        how = "from the handler's write to the client's read, 300 responses of a function URL"
        detail = {"p99 ms": percentile(alone, 99)}
        yield Measured(
            Figure("streamed first byte p95", "ms", how, at_most=5.0, aim=1.0), percentile(alone, 95), detail
        )

        assert server.process is not None
        before = memory_mb(server.process.pid)
        watch = Peak(server.process.pid)
        watch.start()
        took = time.perf_counter()
        connection, response = _visit(host, 200)
        received = 0
        while piece := response.read1(1 << 20):
            received += len(piece)
        connection.close()
        took = time.perf_counter() - took
        growth = watch.end() - before
        assert received > 200_000_000
        yield Measured(
            Figure(
                "memory growth, 200 MB streamed", "MB", "peak PSS, function included, over the idle one", at_most=16
            ),
            growth,
            {"MB/s": 200 / took},
        )

        stalled = [_visit(host, 100) for _ in range(20)]
        for _ in range(5):
            _first_byte_ms(host)
        beside = [_first_byte_ms(host) for _ in range(100)]
        for connection, _ in stalled:
            connection.close()
        yield Measured(
            Figure("first byte p95 beside 20 stalled readers", "ms", "as before, 100 responses", at_most=5.0),
            percentile(beside, 95),
        )


def _visit(host: str, megabytes: int) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", int(host.partition(":")[2]), timeout=60)
    connection.request("GET", f"/{megabytes}", headers={"Host": host})
    return connection, connection.getresponse()


def _first_byte_ms(host: str) -> float:
    """Milliseconds since the handler wrote what was read first: the time of its writing."""
    connection, response = _visit(host, 0)
    written = float(response.read1(100))
    elapsed = (time.time() - written) * 1000
    response.read()
    connection.close()
    return elapsed
