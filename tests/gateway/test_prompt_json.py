"""The prompt way in the JSON protocol: the answers of the ordinary way, to what is known in every respect only."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Keys

from alonzo.config import Settings
from alonzo.core.clock import SystemClock
from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.identity import Credential
from alonzo.core.ids import Ids
from alonzo.dispatch import Access, Call, Dispatcher, Params, Parts, Result, Service
from alonzo.gateway.cors import Cors
from alonzo.gateway.edge import Edge
from alonzo.gateway.server import Extras, Gateway

KEY = "AKIA2222222222222222"
URL = "http://localhost:4566/111111111111/q"
ACCESS = Access("sqs:any", "arn:aws:sqs:us-east-1:111111111111:q")
PROMPT = ("SendMessage", "ReceiveMessage", "DeleteMessage")


class Queues:
    """Three operations in both ways; the parameters say what is answered, and are kept."""

    access = (ACCESS,)

    def __init__(self) -> None:
        self.prompt: list[tuple[str, Call]] = []
        self.ordinary: list[tuple[str, Context, Params]] = []

    def result(self, operation: str, params: Params) -> Result:
        if operation == "DeleteMessage":
            return {}
        if operation == "ReceiveMessage":
            message = {"MessageId": "1", "Body": "ä\n", "MessageAttributes": {"b": {"BinaryValue": b"\xff"}}}
            return {"Messages": [message]} if params.get("MaxNumberOfMessages") else {}
        if params["MessageBody"] == "refused":
            raise ServiceError("QueueDoesNotExist", "The specified queue does not exist.")
        if params["MessageBody"] == "bug":
            raise ZeroDivisionError
        return {"MessageId": "1", "MD5OfMessageBody": str(params), "SequenceNumber": None}

    def handler(self, operation: str) -> Callable[[Context, Params], Any]:
        async def handle(ctx: Context, params: Params) -> Result:
            self.ordinary.append((operation, ctx, params))
            return self.result(operation, params)

        return handle

    def promptly(self, operation: str) -> Any:
        return _Prompt(self, operation)


class _Prompt:
    def __init__(self, queues: Queues, operation: str) -> None:
        self._queues, self._operation = queues, operation

    def find(self, call: Call) -> Queues:
        return self._queues

    def run(self, call: Call, target: Queues) -> bool:
        self._queues.prompt.append((self._operation, call))
        try:
            call.done(target.result(self._operation, call.params), None)
        except Exception as error:
            call.done(None, error)
        return True


class World:
    """Two edges over one service: an ordinary one, and one that asks the prompt way first."""

    def __init__(self) -> None:
        self.credential = Credential(KEY, "secret", None, Principal.root("111111111111", KEY))
        self.service = Queues()

    async def find(self, access_key_id: str, session_token: str | None = None) -> Credential | None:
        return self.credential if access_key_id == KEY else None

    def remembered(self, access_key_id: str, session_token: str | None) -> Credential | None:
        return self.credential if access_key_id == KEY else None

    def allows_nowait(self, principal: Principal, access: Access, account_id: str) -> bool:
        return True

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        return None

    async def start(self) -> None:
        async def access(ctx: Context, operation: str, params: Params) -> tuple[Access, ...]:
            return (ACCESS,)

        async def nothing(_: str) -> None:
            return None

        dispatcher = Dispatcher()
        dispatcher.use(self)
        names = (*PROMPT, "PurgeQueue")
        handlers = {name: self.service.handler(name) for name in names}
        dispatcher.add(Service("sqs", handlers, access, prompt={name: self.service.promptly(name) for name in PROMPT}))
        parts = Parts(Settings(), SystemClock(), Ids(), cast(Any, None), cast(Any, None), dispatcher)
        gateway = Gateway(parts, self, Cors([], cast(Any, nothing)), Extras(dict, nothing, lambda _: None))
        self.edges = [Edge(gateway.handle), Edge(gateway.handle, gateway.prompt)]
        self.ports = []
        for edge in self.edges:
            listener = socket.create_server(("127.0.0.1", 0))
            self.ports.append(listener.getsockname()[1])
            await edge.serve(listener)

    async def both(self, data: bytes) -> tuple[bytes, bytes]:
        """The answers of the ordinary and of the prompt way, without what differs between any two."""
        found = []
        for port in self.ports:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            async with asyncio.timeout(5):
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None
                answer = head + (b"" if data.startswith(b"HEAD") else await reader.readexactly(int(length[1])))
            writer.close()
            answer = re.sub(rb"[0-9a-f]{8}-[0-9a-f-]{27}", b"ID", answer)
            found.append(re.sub(rb"date: [^\r]*|\d{8}T\d{6}Z", b"time", answer))
        return found[0], found[1]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.start()
    yield made
    for edge in made.edges:
        await edge.close(0.1)


def signed(
    params: Any,
    operation: str = "SendMessage",
    *,
    method: str = "POST",
    path: str = "/",
    scope: str = "sqs",
    **more: str,
) -> bytes:
    """A request as botocore signs it."""
    body = params if isinstance(params, bytes) else orjson.dumps(params)
    headers = {"X-Amz-Target": f"AmazonSQS.{operation}", "Content-Type": "application/x-amz-json-1.0"}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    request = AWSRequest(method, "http://localhost:4566" + path, data=body, headers=headers)
    SigV4Auth(Keys(KEY, "secret"), scope, "us-east-1").add_auth(request)
    fields = {"Host": "localhost:4566", "Content-Length": str(len(body)), **dict(request.headers.items())}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + body


SEND = {"QueueUrl": URL, "MessageBody": "hello"}
TAKEN: dict[str, tuple[Any, str]] = {
    "a result": (SEND, "SendMessage"),
    "members of every kind": (
        SEND | {"DelaySeconds": 1.0, "MessageAttributes": {"b": {"DataType": "Binary", "BinaryValue": "/w=="}}},
        "SendMessage",
    ),
    "members that mean nothing": (SEND | {"Nonsense": [1], "MessageGroupId": None}, "SendMessage"),
    "spaces around": (b" \n" + orjson.dumps(SEND) + b"\n ", "SendMessage"),
    "a refusal": (SEND | {"MessageBody": "refused"}, "SendMessage"),
    "a failure": (SEND | {"MessageBody": "bug"}, "SendMessage"),
    "a result with structures in it": ({"QueueUrl": URL, "MaxNumberOfMessages": 1}, "ReceiveMessage"),
    "an empty result": ({"QueueUrl": URL}, "ReceiveMessage"),
    "no result": ({"QueueUrl": URL, "ReceiptHandle": "h"}, "DeleteMessage"),
}


@pytest.mark.parametrize("name", TAKEN)
async def test_the_call_and_the_answer_are_the_same(world: World, name: str) -> None:
    """Parameters as the ordinary handler sees them; status, header fields and their order, and body as it answers."""
    params, operation = TAKEN[name]
    for _ in range(2):
        ordinary, prompt = await world.both(signed(params, operation, X_Amzn_Trace_Id="Root=1-a"))
        assert prompt == ordinary
    assert len(world.service.ordinary) == len(world.service.prompt) == 2
    for (asked, ctx, read), (also, call) in zip(world.service.ordinary, world.service.prompt, strict=True):
        assert (asked, read) == (also, call.params) and call.payload == b""
        assert (call.principal, call.account_id, call.region) == (ctx.principal, ctx.account_id, ctx.region)
        assert (call.trace_header, call.client_ip) == (ctx.trace_header, ctx.client_ip) == ("Root=1-a", "127.0.0.1")


def _tampered(old: bytes, new: bytes) -> bytes:
    data = signed(SEND)
    assert old in data
    return data.replace(old, new, 1)


NOT_TAKEN: dict[str, Callable[[], bytes]] = {
    "another body": lambda: _tampered(b"hello", b"jello"),
    "another operation": lambda: _tampered(b"AmazonSQS.SendMessage", b"AmazonSQS.DeleteMessage"),
    "no JSON": lambda: signed(b"{"),
    "JSON too deep": lambda: signed(b"[" * 200 + b"]" * 200),
    "no structure": lambda: signed(b"[]"),
    "a number for a text": lambda: signed(SEND | {"MessageBody": 1}),
    "a parameter missing": lambda: signed({"QueueUrl": URL}),
    "nothing at all": lambda: signed(b""),
    "an operation without a prompt handler": lambda: signed({"QueueUrl": URL}, "PurgeQueue"),
    "an unknown operation": lambda: signed({}, "Nonsense"),
    "a path": lambda: signed(SEND, path="/111111111111/q"),
    "a query": lambda: signed(SEND, path="/?Action=ListQueues"),
    "another method": lambda: signed(SEND, method="PUT"),
    "no body asked for": lambda: signed(SEND, method="HEAD"),
    "another protocol": lambda: signed(SEND, smithy_protocol="rpc-v2-cbor"),
    "another service's signature": lambda: signed(SEND, scope="lambda"),
    "a service that has no prompt handler": lambda: signed(SEND, scope="sns"),
    "a form": lambda: signed(b"Action=SendMessage&MessageBody=a", Content_Type="application/x-www-form-urlencoded"),
    "an unsigned target": lambda: re.sub(rb"(?<=;)x-amz-target", b"x-amz-date", signed(SEND), count=1),
}


@pytest.mark.parametrize("name", NOT_TAKEN)
@pytest.mark.parametrize("check", [True, False], ids=["signature", "any"])
async def test_whatever_is_not_as_it_should_be_goes_the_ordinary_way(world: World, name: str, check: bool) -> None:
    """Though good requests are remembered, and even where signatures are not checked."""
    world.credential = replace(world.credential, check_signature=check)
    await world.both(signed(SEND))
    await world.both(signed({"QueueUrl": URL, "ReceiptHandle": "h"}, "DeleteMessage"))
    calls = len(world.service.prompt)
    ordinary, prompt = await world.both(NOT_TAKEN[name]())
    assert prompt == ordinary
    if check or name not in ("another body", "another operation"):
        assert len(world.service.prompt) == calls
