"""What a warm invocation costs the server, counted in calls of Python functions: the same on every machine."""

from __future__ import annotations

import asyncio
import json
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
#: Functions of ours called for one warm, signed Invoke, from its arrival to its log lines in the database: 81 when this
#: was written. A task, a second parse or a walk through the model costs ten and more.
MOST = 90


def signed(endpoint: str, path: str, body: bytes) -> bytes:
    request = AWSRequest("POST", endpoint + path, data=body)
    SigV4Auth(Credentials("test", "test"), "lambda", "us-east-1").add_auth(request)
    fields = {"Host": endpoint.partition("//")[2], "Content-Length": str(len(body)), **dict(request.headers.items())}
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + body


def drive(endpoint: str, requests: list[bytes]) -> None:
    """Send requests one after the other on one connection."""
    with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), 30) as connection:
        for request in requests:
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b'{"ok": 1}'):
                answer += connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200"), answer


def make_function(endpoint: str) -> None:
    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )

    iam, functions = client("iam"), client("lambda")
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    iam.attach_role_policy(RoleName="r", PolicyArn=BASIC)
    code = zip_of({"app.py": "def handler(event, context):\n    return {'ok': 1}\n"})
    functions.create_function(
        FunctionName="f", Runtime=RUNTIME, Handler="app.handler", Role=role, Code={"ZipFile": code}
    )
    functions.get_waiter("function_active_v2").wait(FunctionName="f", WaiterConfig={"Delay": 1})


async def test_a_warm_invocation_makes_few_calls() -> None:
    """An invocation that is known in every respect takes at most MOST calls of the server's functions."""
    calls: Counter[str] = Counter()
    package = alonzo.__path__[0]

    def count(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(package):
            calls[f"{code.co_filename[len(package) :]}:{code.co_qualname}"] += 1

    async with App(Settings(ephemeral=True, port=0)) as app:
        endpoint = f"http://127.0.0.1:{app.port}"
        await asyncio.to_thread(make_function, endpoint)
        path = "/2015-03-31/functions/f/invocations"
        bodies = [b'{"n": %d}' % n for n in range(2 * INVOKES)]
        requests = await asyncio.to_thread(lambda: [signed(endpoint, path, body) for body in bodies])
        await asyncio.to_thread(drive, endpoint, requests[:INVOKES])
        await asyncio.sleep(0.5)
        assert threading.current_thread() is threading.main_thread()
        sys.setprofile(count)
        try:
            await asyncio.to_thread(drive, endpoint, requests[INVOKES:])
            await asyncio.sleep(0.5)
        finally:
            sys.setprofile(None)
    each = sum(calls.values()) / INVOKES
    assert 40 < each <= MOST, [f"{number / INVOKES:.1f} {name}" for name, number in calls.most_common(60)]
