"""What a warm request costs the server, counted in calls of Python functions: the same on every machine."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import threading
from collections import Counter
from types import FrameType
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

import alonzo
from alonzo.app import App
from alonzo.config import Settings

from .conftest import BASIC, RUNTIME, TRUST, zip_of

pytestmark = pytest.mark.slow

INVOKES = 200
#: Functions of ours called for one warm, signed Invoke, from its arrival to its log lines in the database: 68 when this
#: was written. A task, a second parse or a walk through the model costs ten and more.
MOST = 80
#: The same for messages: 67, 77 and 67 when this was written. Here each is a group of its own; many would share some.
MOST_OF_MESSAGES = {"SendMessage": 75, "ReceiveMessage": 85, "DeleteMessage": 75}


def signed(endpoint: str, path: str, body: bytes, service: str = "lambda", **headers: str) -> bytes:
    request = AWSRequest("POST", endpoint + path, data=body, headers=headers)
    SigV4Auth(Credentials("test", "test"), service, "us-east-1").add_auth(request)
    fields = {"Host": endpoint.partition("//")[2], "Content-Length": str(len(body)), **dict(request.headers.items())}
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + body


def drive(endpoint: str, requests: list[bytes]) -> list[bytes]:
    """Send requests one after the other on one connection; the bodies of the answers."""
    bodies = []
    with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), 30) as connection:
        for request in requests:
            connection.sendall(request)
            head, body, length = b"", b"", None
            while length is None or len(body) < length:
                data = connection.recv(65_536)
                assert data, "the server has closed the connection"
                if length is None:
                    head, _, body = (head + data).partition(b"\r\n\r\n")
                    found = re.search(rb"content-length: (\d+)", head)
                    length = int(found[1]) if found is not None else None
                else:
                    body += data
            assert head.startswith(b"HTTP/1.1 200"), head + body
            bodies.append(body)
    return bodies


def client(endpoint: str, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


def make_function(endpoint: str) -> None:
    iam, functions = client(endpoint, "iam"), client(endpoint, "lambda")
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    iam.attach_role_policy(RoleName="r", PolicyArn=BASIC)
    code = zip_of({"app.py": "def handler(event, context):\n    return {'ok': 1}\n"})
    functions.create_function(
        FunctionName="f", Runtime=RUNTIME, Handler="app.handler", Role=role, Code={"ZipFile": code}
    )
    functions.get_waiter("function_active_v2").wait(FunctionName="f", WaiterConfig={"Delay": 1})


class Counted:
    """Counts the calls of the server's functions, in this process and on this thread, while it is entered."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._package = alonzo.__path__[0]

    def __enter__(self) -> Counted:
        assert threading.current_thread() is threading.main_thread()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self._package):
            self.calls[f"{code.co_filename[len(self._package) :]}:{code.co_qualname}"] += 1

    def check(self, requests: int, most: float) -> None:
        each = sum(self.calls.values()) / requests
        assert 30 < each <= most, [each, *(f"{n / requests:.1f} {name}" for name, n in self.calls.most_common(60))]


async def test_a_warm_invocation_makes_few_calls() -> None:
    """An invocation that is known in every respect takes at most MOST calls of the server's functions."""
    async with App(Settings(ephemeral=True, port=0)) as app:
        endpoint = f"http://127.0.0.1:{app.port}"
        await asyncio.to_thread(make_function, endpoint)
        path = "/2015-03-31/functions/f/invocations"
        bodies = [b'{"n": %d}' % n for n in range(2 * INVOKES)]
        requests = await asyncio.to_thread(lambda: [signed(endpoint, path, body) for body in bodies])
        await asyncio.to_thread(drive, endpoint, requests[:INVOKES])
        await asyncio.sleep(0.5)
        with Counted() as counted:
            answers = await asyncio.to_thread(drive, endpoint, requests[INVOKES:])
            await asyncio.sleep(0.5)
    assert set(answers) == {b'{"ok": 1}'}
    counted.check(INVOKES, MOST)


async def test_messages_make_few_calls() -> None:
    """A message is sent, received and deleted in at most so many calls of the server's functions."""
    async with App(Settings(ephemeral=True, port=0)) as app:
        endpoint = f"http://127.0.0.1:{app.port}"

        def request(operation: str, **params: str) -> bytes:
            headers = {"X-Amz-Target": f"AmazonSQS.{operation}", "Content-Type": "application/x-amz-json-1.0"}
            return signed(endpoint, "/", json.dumps({"QueueUrl": url, **params}).encode(), "sqs", **headers)

        async def run(operation: str, requests: list[bytes]) -> list[bytes]:
            before = await asyncio.to_thread(drive, endpoint, requests[:INVOKES])
            with Counted() as counted:
                after = await asyncio.to_thread(drive, endpoint, requests[INVOKES:])
            counted.check(INVOKES, MOST_OF_MESSAGES[operation])
            return before + after

        queues = await asyncio.to_thread(client, endpoint, "sqs")
        url = (await asyncio.to_thread(queues.create_queue, QueueName="q"))["QueueUrl"]
        await run("SendMessage", [request("SendMessage", MessageBody=str(n)) for n in range(2 * INVOKES)])
        answers = await run("ReceiveMessage", [request("ReceiveMessage")] * (2 * INVOKES))
        messages = [json.loads(answer)["Messages"][0] for answer in answers]
        assert [one["Body"] for one in messages] == [str(n) for n in range(2 * INVOKES)]
        handles = [one["ReceiptHandle"] for one in messages]
        await run("DeleteMessage", [request("DeleteMessage", ReceiptHandle=handle) for handle in handles])
