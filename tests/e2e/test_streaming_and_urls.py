"""Streamed responses and function URLs, on a real server."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import pytest

from alonzo.cli.runtime import local_runtimes

from .conftest import wait_for

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "function-url"

#: A module that speaks the Runtime API itself: Python's managed runtime has no streaming of its own.
STREAMER = r"""
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
"""


@pytest.fixture(scope="session")
def streamer(make) -> str:
    return make.function(STREAMER, Timeout=30, MemorySize=512)


def stream(make, name, order, **more):
    """(the stream's events as they come, with the time of each)."""
    answer = make.functions.invoke_with_response_stream(FunctionName=name, Payload=json.dumps({"order": order}), **more)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/vnd.amazon.eventstream"
    assert answer["ExecutedVersion"] == "$LATEST"
    for event in answer["EventStream"]:
        yield event, time.time()


def test_the_bytes_come_while_the_function_runs(make, streamer: str) -> None:
    """The chunks of InvokeWithResponseStream are at the client within 50 ms of their writing, long before the end."""
    list(stream(make, streamer, {"texts": [""]}))
    delays = []
    for event, at in stream(make, streamer, {"texts": ["", "", ""], "pause": 0.07}, LogType="Tail"):
        if "PayloadChunk" in event:
            delays.append(at - float(event["PayloadChunk"]["Payload"].rstrip(b";")))
    assert len(delays) == 3
    assert median(delays) < 0.05
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


# -- function URLs ----------------------------------------------------------------------------------------------------

ECHO = "def handler(event, context):\n    return {'statusCode': 200, 'body': __import__('json').dumps(event)}\n"
RETURN = (
    "import json\ndef handler(event, context):\n    if event['body'] == 'raise':\n        raise ValueError('no')\n"
    "    return json.loads(event['body'])\n"
)


class Url:
    """A function URL and a plain HTTP client for it."""

    def __init__(self, make, name: str, *, auth="NONE", allow=True, **config) -> None:
        self.make = make
        made = make.functions.create_function_url_config(FunctionName=name, AuthType=auth, **config)
        self.url = made["FunctionUrl"]
        if allow:
            make.functions.add_permission(
                FunctionName=name,
                StatementId="url",
                Action="lambda:InvokeFunctionUrl",
                Principal="*",
                FunctionUrlAuthType=auth,
            )

    def ask(self, method="GET", path="/", body=None, headers=None):
        """(status, header fields in lower case, body)."""
        host = urlsplit(self.url)
        connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=20)
        connection.request(method, path, body, {"Host": host.netloc, **(headers or {})})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, data


@contextmanager
def posted(url, order):
    """The response to an order, while it comes."""
    host = urlsplit(url.url)
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=10)
    connection.request("POST", "/", json.dumps(order), {"Host": host.netloc, "Content-Type": "application/json"})
    yield connection.getresponse()
    connection.close()


def test_the_event_of_a_request(make) -> None:
    """A request becomes the event of payload format 2.0."""
    url = Url(make, make.function(ECHO))
    status, headers, body = url.ask(
        "POST",
        "/a%20b/c?x=1&y=2&x=%203&z",
        "{}",
        {"Content-Type": "application/json", "Cookie": "a=1; b=2", "X-Two": "Zwei", "User-Agent": "test"},
    )
    event = json.loads(body)
    host = urlsplit(url.url).hostname
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert event["version"] == "2.0"
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == "/a%20b/c"
    assert event["rawQueryString"] == "x=1&y=2&x=%203&z"
    assert event["queryStringParameters"] == {"x": "1, 3", "y": "2", "z": ""}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["x-two"] == "Zwei"
    assert "cookie" not in event["headers"]
    assert event["headers"]["x-forwarded-proto"] == "http"
    assert event["body"] == "{}"
    assert event["isBase64Encoded"] is False
    context = event["requestContext"]
    assert context["accountId"] == "anonymous"
    assert context["domainName"] == host
    assert context["apiId"] == context["domainPrefix"] == host.split(".")[0]
    assert len(context["apiId"]) == 32
    assert context["http"]["method"] == "POST"
    assert context["http"]["userAgent"] == "test"
    assert context["requestId"] == headers["x-amzn-requestid"]
    _, _, body = url.ask("PUT", "/", b"\xff\x00", {"Content-Type": "application/octet-stream"})
    assert (json.loads(body)["body"], json.loads(body)["isBase64Encoded"]) == ("/wA=", True)
    bare = json.loads(url.ask()[2])
    assert not {"body", "cookies", "queryStringParameters"} & set(bare)


def test_what_a_function_may_return(make) -> None:
    """Objects with a status become responses, everything else the body of a 200, failures a 502."""
    url = Url(make, make.function(RETURN))

    def returned(value):
        return url.ask(
            "POST", "/", value if isinstance(value, str) else json.dumps(value), {"Content-Type": "text/plain"}
        )

    status, headers, body = returned(
        {
            "statusCode": "418",
            "headers": {"X-Custom": "Custom Value", "Content-Type": "text/html", "Connection": "close"},
            "cookies": ["a=1; Secure"],
            "body": "dGVh",
            "isBase64Encoded": True,
        }
    )
    assert (status, body) == (418, b"tea")
    assert headers["x-custom"] == "Custom Value"
    assert headers["content-type"] == "text/html"
    assert headers["set-cookie"] == "a=1; Secure"
    assert headers["x-amzn-remapped-connection"] == "close"
    for value, expected in (("hello", b"hello"), (3.1, b"3.1"), (True, b"true"), (["a", 1], b'["a",1]')):
        status, headers, body = returned(json.dumps(value))
        assert (status, body, headers["content-type"]) == (200, expected, "application/json")
    for malformed in ({"statusCode": 99}, {"statusCode": 200, "headers": ["x"]}, {"statusCode": 200, "cookies": "a"}):
        assert returned(malformed)[::2] == (502, b"Internal Server Error")
    assert returned("raise")[::2] == (502, b"Internal Server Error")
    status, _, body = url.ask("POST", "/", "x" * 6_291_457, {"Content-Type": "text/plain"})
    assert status == 413
    status, headers, body = url.ask("HEAD", "/", '"four"', {"Content-Type": "text/plain"})
    assert (status, headers["content-length"], body) == (200, "4", b"")


def test_who_may_use_a_url(make) -> None:
    """Also a URL without authentication needs a policy; with AWS_IAM the signature's principal is judged."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    name = make.function(ECHO)
    closed = Url(make, name, allow=False)
    status, headers, body = closed.ask()
    assert status == 403
    assert headers["x-amzn-errortype"] == "AccessDeniedException"
    assert json.loads(body)["Message"].startswith("Forbidden. For troubleshooting Function URL authorization issues")
    other = closed.url.replace("://", "://0")
    assert urlsplit(other).hostname
    closed.url = other
    assert closed.ask()[::2] == (403, b'{"Message":null}')
    make.functions.update_function_url_config(FunctionName=name, AuthType="AWS_IAM")
    closed.url = make.functions.get_function_url_config(FunctionName=name)["FunctionUrl"]
    assert closed.ask()[0] == 403

    def signed(key, secret, data=b'{"a": 1}'):
        request = AWSRequest("POST", closed.url, {"Content-Type": "application/json"}, data)
        SigV4Auth(Credentials(key, secret), "lambda", "us-east-1").add_auth(request)
        return closed.ask("POST", "/", data, dict(request.headers))

    status, _, body = signed("test", "test")
    assert status == 200
    event = json.loads(body)
    assert event["requestContext"]["authorizer"]["iam"]["userArn"] == "arn:aws:iam::000000000000:root"
    assert event["requestContext"]["accountId"] == "000000000000"
    assert "authorization" not in event["headers"]
    user = f"user-{name}"
    make.iam.create_user(UserName=user)
    key = make.iam.create_access_key(UserName=user)["AccessKey"]
    assert signed(key["AccessKeyId"], "wrong")[0] == 403
    assert signed("test", "test", b"x" * 6_291_457)[0] == 413
    assert signed(key["AccessKeyId"], key["SecretAccessKey"])[0] == 403
    arn = make.functions.get_function_configuration(FunctionName=name)["FunctionArn"]
    statement = {
        "Effect": "Allow",
        "Action": "lambda:InvokeFunctionUrl",
        "Resource": arn,
        "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    make.iam.put_user_policy(UserName=user, PolicyName="url", PolicyDocument=policy)
    assert signed(key["AccessKeyId"], key["SecretAccessKey"])[0] == 200


def test_cors_of_a_url(make) -> None:
    """Preflights are answered without the function; the configuration's fields stand in for the function's."""
    name = make.function(
        "def handler(event, context):\n"
        "    return {'statusCode': 200, 'headers': {'Access-Control-Allow-Origin': 'https://mine'}, 'body': 'x'}\n"
    )
    cors = {
        "AllowOrigins": ["https://app.example", "https://*.example.org"],
        "AllowMethods": ["GET", "PUT"],
        "AllowHeaders": ["x-a"],
        "ExposeHeaders": ["x-b"],
        "AllowCredentials": True,
        "MaxAge": 60,
    }
    url = Url(make, name, Cors=cors)
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    status, headers, body = url.ask("OPTIONS", "/", headers=asked)
    assert (status, body) == (200, b"")
    assert headers["access-control-allow-origin"] == "https://app.example"
    assert headers["access-control-allow-methods"] == "GET,PUT"
    assert headers["access-control-allow-headers"] == "x-a"
    assert headers["access-control-max-age"] == "60"
    assert headers["access-control-allow-credentials"] == "true"
    _, headers, _ = url.ask("OPTIONS", "/", headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in headers
    _, headers, body = url.ask(headers={"Origin": "https://x.example.org"})
    assert body == b"x"
    assert headers["access-control-allow-origin"] == "https://x.example.org"
    assert headers["access-control-expose-headers"] == "x-b"
    make.functions.update_function_url_config(FunctionName=name, Cors={})
    assert url.ask(headers={"Origin": "https://app.example"})[1]["access-control-allow-origin"] == "https://mine"


def test_a_url_in_response_stream_mode(make) -> None:
    """Status and fields come from the prelude, bytes while the function runs; what breaks off is seen to."""
    name = make.function(STREAMER, Timeout=10, MemorySize=512)
    url = Url(make, name, InvokeMode="RESPONSE_STREAM")
    prelude = {
        "statusCode": 201,
        "headers": {"X-Way": "streamed", "Content-Type": "text/event-stream"},
        "cookies": ["a=1"],
    }
    order = {
        "type": "application/vnd.awslambda.http-integration-response",
        "prelude": prelude,
        "texts": ["", "", ""],
        "pause": 0.07,
    }
    url.ask("POST", "/", json.dumps(order), {"Content-Type": "application/json"})
    with posted(url, order) as response:
        assert response.status == 201
        assert response.getheader("x-way") == "streamed"
        assert response.getheader("set-cookie") == "a=1"
        assert response.getheader("content-type") == "text/event-stream"
        delays = []
        while piece := response.read1(100):
            delays += [time.time() - float(part) for part in piece.decode().rstrip(";").split(";")]
    assert len(delays) == 3
    assert median(delays) < 0.05
    status, headers, body = url.ask("POST", "/", '{"texts": ["plain"]}', {"Content-Type": "application/json"})
    assert (status, headers["content-type"], body) == (200, "text/plain", b"plain")
    failing = {"texts": ["half"], "error": {"errorType": "Broken"}}
    with posted(url, failing) as response, pytest.raises(http.client.IncompleteRead) as caught:
        response.read()
    assert caught.value.partial == b"half"
    bad = {"type": order["type"], "texts": ["no prelude"]}
    assert url.ask("POST", "/", json.dumps(bad), {"Content-Type": "application/json"})[0] == 502


def test_a_buffered_function_in_response_stream_mode(make) -> None:
    """What a buffered function returns is streamed as it is: its JSON, not the response it describes."""
    url = Url(make, make.function(ECHO), InvokeMode="RESPONSE_STREAM")
    status, headers, body = url.ask("POST", "/custom", "text", {"Content-Type": "text/plain"})
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(json.loads(body)["body"])["body"] == "text"


def test_a_url_outlives_its_alias_and_throttling_is_told(make) -> None:
    """After the alias has gone its URL answers 403; a function without concurrency answers 429 with the reason."""
    name = make.function(ECHO)
    version = make.functions.publish_version(FunctionName=name)["Version"]
    make.functions.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    made = make.functions.create_function_url_config(FunctionName=name, Qualifier="live", AuthType="NONE")
    permission = {"Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"}
    make.functions.add_permission(FunctionName=name, Qualifier="live", StatementId="s", **permission)
    url = Url.__new__(Url)
    url.url = made["FunctionUrl"]
    assert url.ask()[0] == 200
    make.functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    status, headers, body = url.ask()
    assert (status, headers["x-amzn-errortype"]) == (429, "TooManyRequestsException")
    assert json.loads(body)["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    make.functions.delete_alias(FunctionName=name, Name="live")
    status, headers, body = url.ask()
    assert (status, headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
    assert json.loads(body)["Message"].startswith("Forbidden.")
    make.functions.delete_function(FunctionName=name)
    assert url.ask()[::2] == (403, b'{"Message":null}')


def test_a_client_that_leaves_does_not_stop_the_function(make) -> None:
    """After its client has gone a function writes to its end, no longer held back by the rate of streams."""
    name = make.function(STREAMER, Timeout=20, MemorySize=512)
    url = Url(make, name, InvokeMode="RESPONSE_STREAM")
    url.ask("POST", "/", "{}", {"Content-Type": "application/json"})
    with posted(url, {"pieces": 60}) as response:
        assert response.read1(10) == b"x" * 10
        response.close()
    reports = wait_for(lambda: (found := [m for m in make.log(name) if m.startswith("REPORT")])[1:] and found, 10)
    assert "Status: timeout" not in reports[-1]


def test_head_of_a_streamed_url(make) -> None:
    """HEAD answers status and fields, and the function is free again at once."""
    source = STREAMER.replace('json.loads(event.get("body") or "{}")', '{"texts": ["x"]}')
    url = Url(make, make.function(source, Timeout=5), InvokeMode="RESPONSE_STREAM")
    for _ in range(2):
        status, headers, body = url.ask("HEAD")
        assert (status, headers["content-type"], body) == (200, "text/plain", b"")


NODE = """
import { setTimeout } from "node:timers/promises";
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const order = JSON.parse(event.body);
  const prelude = { statusCode: 202, headers: { "x-way": "node" }, cookies: ["a=1"] };
  stream = awslambda.HttpResponseStream.from(stream, prelude);
  for (let i = 0; i < 3; i++) {
    stream.write(`${Date.now() / 1000};`);
    await setTimeout(70);
  }
  if (order.fail) throw new Error("half way");
  stream.end();
});
"""


@pytest.mark.slow
def test_node_streams_through_a_url(make) -> None:
    """streamifyResponse and HttpResponseStream work as on AWS; an error in the middle breaks the response off."""
    asyncio.run(local_runtimes(None).install("nodejs22.x"))
    name = make.function(files={"index.mjs": NODE}, Runtime="nodejs22.x", Handler="index.handler", MemorySize=512)
    url = Url(make, name, InvokeMode="RESPONSE_STREAM")
    with posted(url, {}) as response:
        response.read()
    with posted(url, {}) as response:
        assert (response.status, response.getheader("x-way"), response.getheader("set-cookie")) == (202, "node", "a=1")
        delays = []
        while piece := response.read1(100):
            delays += [time.time() - float(part) for part in piece.decode().rstrip(";").split(";")]
    assert len(delays) == 3
    assert median(delays) < 0.06
    with posted(url, {"fail": True}) as response, pytest.raises(http.client.IncompleteRead):
        response.read()


def test_the_example(make) -> None:
    """The example's page, JSON and methods answer as its README says."""
    url = Url(make, make.function((EXAMPLE / "app.py").read_text(), Handler="app.lambda_handler"))
    status, headers, body = url.ask(headers={"Cookie": "a=1; b=2"})
    assert (status, headers["content-type"], headers["set-cookie"]) == (200, "text/html", "visit=1; HttpOnly")
    assert b"Visit number 1, from 127.0.0.1. You sent 2 cookies." in body
    assert url.ask("POST", "/visits", "3", {"Content-Type": "text/plain"})[::2] == (201, b'{"visits": 4}')
    assert url.ask("POST", "/visits", "2", {"Content-Type": "x/y"})[::2] == (201, b'{"visits": 6}')
    assert url.ask("GET", "/visits")[::2] == (200, b'{"visits":6}')
    assert url.ask("DELETE", "/visits")[:1] == (405,)
    assert url.ask("GET", "/else")[0] == 404


@pytest.mark.slow
def test_the_streaming_example(make) -> None:
    """The example's lines come one by one."""
    asyncio.run(local_runtimes(None).install("nodejs22.x"))
    files = {"stream.mjs": (EXAMPLE / "stream.mjs").read_text()}
    name = make.function(files=files, Runtime="nodejs22.x", Handler="stream.handler", MemorySize=512)
    times = []
    with posted(Url(make, name, InvokeMode="RESPONSE_STREAM"), {}) as response:
        while line := response.readline():
            assert line.startswith(f"{len(times) + 1} at ".encode())
            times.append(time.monotonic())
    assert len(times) == 10
    assert times[-1] - times[0] > 1.5
