"""The prompt way answers as the ordinary one does, and takes nothing that it does not know in every respect."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote, unquote

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Keys

from alonzo.config import Settings
from alonzo.core.clock import SystemClock
from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.http import Request
from alonzo.core.identity import Credential
from alonzo.core.ids import Ids
from alonzo.dispatch import Access, Call, Dispatcher, Params, Parts, Result, Service
from alonzo.gateway.cors import Cors
from alonzo.gateway.edge import Edge
from alonzo.gateway.prompt import _MAX_PART, _MAX_PLANS, Prompting
from alonzo.gateway.prompt_forms import Form, form_of
from alonzo.gateway.server import Extras, Gateway
from alonzo.protocol.model import ServiceModel

KEY = "AKIA2222222222222222"
PATH = "/2015-03-31/functions/f/invocations"
ACCESS = Access("lambda:InvokeFunction", "arn:aws:lambda:us-east-1:111111111111:function:f")


class Known:
    """Credentials; `kept` says whether they are remembered."""

    def __init__(self) -> None:
        self.credential = Credential(KEY, "secret", None, Principal.root("111111111111", KEY))
        self.kept = True

    async def find(self, access_key_id: str, session_token: str | None = None) -> Credential | None:
        return self.credential if access_key_id == KEY else None

    def remembered(self, access_key_id: str, session_token: str | None) -> Credential | None:
        return self.credential if self.kept and access_key_id == KEY else None


class Lambda:
    """Invoke in both ways: the answer is the payload, which also says what else is to happen."""

    def __init__(self) -> None:
        self.prompt: list[Call] = []
        self.ordinary: list[tuple[Context, Params]] = []
        self.willing = True
        self.names = {"f"}
        self.held: list[Callable[[], None]] = []
        self.hold = False

    @property
    def access(self) -> tuple[Access, ...]:
        return (ACCESS,)

    def _result(self, payload: bytes) -> Result:
        if payload == b'"broken"':
            raise ServiceError("TooManyRequestsException", "Rate Exceeded.", status=429, fields={"Reason": "R"})
        if payload == b'"bug"':
            raise ZeroDivisionError
        result: Result = {"StatusCode": 200, "ExecutedVersion": "$LATEST", "Payload": payload}
        return result | ({"FunctionError": "Unhandled"} if payload == b'"error"' else {})

    async def invoke(self, ctx: Context, params: Params) -> Result:
        self.ordinary.append((ctx, params))
        return self._result(params.get("Payload", b""))

    def find(self, call: Call) -> Lambda | None:
        return self if call.params["FunctionName"] in self.names else None

    def run(self, call: Call, target: Lambda) -> bool:
        assert target is self
        if not self.willing:
            return False
        self.prompt.append(call)

        def answer() -> None:
            try:
                call.done(self._result(call.payload), None)
            except Exception as error:
                call.done(None, error)

        if self.hold:
            self.held.append(answer)
        else:
            answer()
        return True


class Judge:
    def __init__(self) -> None:
        self.allows = True
        self.asked: list[tuple[Principal, Access, str]] = []

    def allows_nowait(self, principal: Principal, access: Access, account_id: str) -> bool:
        self.asked.append((principal, access, account_id))
        return self.allows

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        return None


class World:
    """Two edges over one service: `prompt` says by which of them a request goes."""

    async def start(self) -> None:
        self.known, self.service, self.judge = Known(), Lambda(), Judge()
        dispatcher = Dispatcher()
        dispatcher.use(self.judge)

        async def access(ctx: Context, operation: str, params: Params) -> tuple[Access, ...]:
            return (ACCESS,)

        handlers = {"Invoke": self.service.invoke}
        dispatcher.add(Service("lambda", handlers, access, prompt={"Invoke": self.service}))
        self.clock = SystemClock()
        parts = Parts(Settings(), self.clock, Ids(), cast(Any, None), cast(Any, None), dispatcher)

        async def nothing(_: str) -> None:
            return None

        cors = Cors([], cast(Any, nothing))
        gateway = Gateway(parts, self.known, cors, Extras(dict, nothing, lambda _: None))
        self.edges = [Edge(gateway.handle), Edge(gateway.handle, gateway.prompt)]
        self.ports = []
        for edge in self.edges:
            listener = socket.create_server(("127.0.0.1", 0))
            self.ports.append(listener.getsockname()[1])
            await edge.serve(listener)

    async def stop(self) -> None:
        for edge in self.edges:
            await edge.close(0.1)

    async def open(self, *, prompt: bool = True) -> Connection:
        return Connection(*await asyncio.open_connection("127.0.0.1", self.ports[prompt]))

    async def both(self, data: bytes) -> tuple[bytes, bytes]:
        """The answers of the ordinary and of the prompt way, without what differs between any two."""
        found = []
        for way in (False, True):
            connection = await self.open(prompt=way)
            connection.writer.write(data)
            answer = await connection.answer()
            answer = re.sub(rb"[0-9a-f]{8}-[0-9a-f-]{27}", b"ID", answer)
            found.append(re.sub(rb"date: [^\r]*", b"date", answer))
            connection.writer.close()
        return found[0], found[1]


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> bytes:
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            return head + await self.reader.readexactly(int(length[1]))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.start()
    yield made
    await made.stop()


def signed(
    body: bytes = b"{}",
    path: str = PATH,
    *,
    at: float = 0.0,
    token: str | None = None,
    secret: str = "secret",
    **more: str,
) -> bytes:
    """A request as botocore signs it; `at` moves its time by seconds."""
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    request = AWSRequest("POST", "http://localhost:4566" + path, data=body, headers=headers)
    signer = SigV4Auth(Keys(KEY, secret, token), "lambda", "us-east-1")
    moment = datetime.now(UTC).timestamp() + at
    stamp = datetime.fromtimestamp(moment, UTC)
    kept = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *_: stamp.replace(tzinfo=None)
    try:
        signer.add_auth(request)
    finally:
        botocore.auth.get_current_datetime = kept
    fields = {"Host": "localhost:4566", "Content-Length": str(len(body)), **dict(request.headers.items())}
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + body


@pytest.mark.parametrize("body", [b"{}", b"", b'"error"', b'"broken"', b'"bug"', b"[" + b" " * 100_000 + b"]"])
async def test_the_answer_is_the_same(world: World, body: bytes) -> None:
    """Status, header fields and their order, body: of results, function errors, refusals and failures."""
    ordinary, prompt = await world.both(signed(body))
    assert len(world.service.ordinary) == len(world.service.prompt) == 1
    assert prompt == ordinary
    assert ordinary.startswith(
        b"HTTP/1.1 429" if b"broken" in body else b"HTTP/1.1 500" if b"bug" in body else b"HTTP/1.1 200"
    )


async def test_the_call_is_the_same(world: World) -> None:
    """Who, for which account and region, which parameters, which trace: as the ordinary handler sees them."""
    data = signed(b"[1]", PATH + "?Qualifier=prod", X_Amz_Invocation_Type="Event", X_Amzn_Trace_Id="Root=1-a")
    await world.both(data)
    [(ctx, params)], [call] = world.service.ordinary, world.service.prompt
    assert call.params == {name: value for name, value in params.items() if name != "Payload"}
    assert call.params == {"FunctionName": "f", "Qualifier": "prod", "InvocationType": "Event"}
    assert call.payload == params["Payload"] == b"[1]"
    assert (call.principal, call.account_id, call.region) == (ctx.principal, ctx.account_id, ctx.region)
    assert (call.trace_header, call.client_ip) == (ctx.trace_header, ctx.client_ip) == ("Root=1-a", "127.0.0.1")
    assert world.judge.asked == [(ctx.principal, ACCESS, ctx.account_id)]


async def test_what_is_remembered_is_nobodys(world: World) -> None:
    """The same request with other parameters in its head, path or key is another one."""
    for data in (
        signed(path="/2015-03-31/functions/g/invocations"),
        signed(X_Amz_Invocation_Type="Nonsense"),
    ):
        await world.both(signed())
        before = len(world.service.prompt)
        ordinary, prompt = await world.both(data)
        assert prompt == ordinary
        assert len(world.service.prompt) == before
    await world.both(signed(X_Amz_Log_Type="Tail"))
    assert world.service.prompt[-1].params["LogType"] == "Tail"
    await world.both(signed())
    assert "LogType" not in world.service.prompt[-1].params


def _tampered(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


MUTATIONS: dict[str, Callable[[], bytes]] = {
    "wrong secret": lambda: signed(secret="other"),
    "unknown key": lambda: _tampered(signed(), KEY.encode(), b"AKIA3333333333333333"),
    "another body": lambda: _tampered(signed(b"[1]"), b"[1]", b"[2]"),
    "another path": lambda: _tampered(signed(), b"functions/f/", b"functions/h/"),
    "another query": lambda: _tampered(signed(path=PATH + "?Qualifier=1"), b"Qualifier=1", b"Qualifier=2"),
    "another host": lambda: _tampered(signed(), b"localhost:4566", b"localhost:4567"),
    "an unknown host": lambda: _tampered(signed(), b"localhost:4566", b"example.com"),
    "an unsigned field": lambda: _tampered(signed(), b"Host:", b"X-Amz-Tenant-Id: t\r\nHost:"),
    "too old": lambda: signed(at=-1_000),
    "too new": lambda: signed(at=1_000),
    "a declared hash of another body": lambda: signed(b"[1]", X_Amz_Content_SHA256="0" * 64),
    "a token that is not the key's": lambda: signed(token="token"),
    "a page of another origin": lambda: signed(Origin="http://example.com"),
    "no signature": lambda: re.sub(rb"Authorization: [^\r]*\r\n", b"", signed()),
    "half a signature": lambda: re.sub(rb"Signature=[0-9a-f]{32}", b"Signature=", signed()),
    "two spaces": lambda: signed(X_Amz_Client_Context="e30=", X_Amz_Meta="a  b"),
    "packed": lambda: signed(gzip.compress(b"{}", mtime=0), Content_Encoding="gzip"),
}


@pytest.mark.parametrize("name", MUTATIONS)
async def test_whatever_is_not_as_it_should_be_goes_the_ordinary_way(world: World, name: str) -> None:
    """Also on what has been remembered of good requests; and the answer, mostly a refusal, is the ordinary one's."""
    await world.both(signed())
    await world.both(signed(path=PATH + "?Qualifier=1"))
    calls = len(world.service.prompt)
    ordinary, prompt = await world.both(MUTATIONS[name]())
    assert len(world.service.prompt) == calls
    stamps = rb"\d{8}T\d{6}Z"
    assert re.sub(stamps, b"", prompt) == re.sub(stamps, b"", ordinary)


async def test_another_method_is_another_request(world: World) -> None:
    """Also where signatures, which would tell them apart, are not checked."""
    world.known.credential = replace(world.known.credential, check_signature=False)
    await world.both(signed())
    calls = len(world.service.prompt)
    for method in (b"GET", b"PUT", b"DELETE"):
        ordinary, prompt = await world.both(_tampered(signed(), b"POST", method))
        assert prompt == ordinary and len(world.service.prompt) == calls


ALIKE = [
    "g",
    "g:1",
    "g%3A1",
    "g:$LATEST",
    "a-b_c",
    "arn:aws:lambda:us-east-1:111111111111:function:g:prod",
    "0",
    "g" * 170,
]
#: Names that can be read, or signed, in more ways than one, and some that no function can have.
UNLIKE = [
    "a.b",
    ".",
    "..",
    "%2E%2E",
    "a%2Fb",
    "g%3a1",
    "x%20y",
    "%67",
    "a//b",
    "g:",
    "\u00e9",
    "a;b",
    "",
    "g/x",
]


@pytest.mark.parametrize("name", [*ALIKE, *UNLIKE])
async def test_what_is_known_of_one_function_is_known_of_the_next(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that names another function is read and checked as the ordinary way would, and only if it is as plain
    is that not worked out anew."""
    await world.both(signed())
    worked_out: list[Request] = []

    def form(model: ServiceModel, request: Request) -> Form | None:
        worked_out.append(request)
        return form_of(model, request)

    monkeypatch.setattr("alonzo.gateway.prompt.form_of", form)
    world.service.names = {unquote(name)}
    data = signed(path=quote(f"/2015-03-31/functions/{name}/invocations", safe="/-_.~%:$;"))
    ordinary, prompt = await world.both(data)
    assert prompt == ordinary
    assert not worked_out if name in ALIKE else len(worked_out) <= 1
    called = [call.params for call in world.service.prompt[1:]]
    asked = [{"FunctionName": params["FunctionName"]} for _, params in world.service.ordinary[1:]]
    assert called == asked if name in ALIKE else called in ([], asked)
    taken = len(world.service.prompt)
    ordinary, prompt = await world.both(data.replace(b"/invocations", b"0/invocations", 1))
    assert ordinary.startswith((b"HTTP/1.1 403", b"HTTP/1.1 404")) and len(world.service.prompt) == taken
    assert re.sub(rb"\d{8}T\d{6}Z", b"", prompt) == re.sub(rb"\d{8}T\d{6}Z", b"", ordinary)


async def test_a_name_that_no_function_can_have_is_refused_as_always(world: World) -> None:
    """What is known of other functions does not stand for the check of a name."""
    await world.both(signed())
    ordinary, prompt = await world.both(signed(path="/2015-03-31/functions/a:b:c:d/invocations"))
    assert prompt == ordinary and ordinary.startswith(b"HTTP/1.1 400")
    assert len(world.service.prompt) == 1


async def test_what_may_change_is_asked_each_time(world: World) -> None:
    """Permission, credential, its token and expiry, and the service's own memory: each can take the prompt way away."""
    token = replace(world.known.credential, session_token="token", expires_at=world.clock.now() + 60)

    async def taken(**more: Any) -> bool:
        before = len(world.service.prompt)
        await world.both(signed(**more))
        return len(world.service.prompt) > before

    assert await taken()
    world.judge.allows = False
    assert not await taken()
    world.judge.allows = True
    world.known.kept = False
    assert not await taken()
    world.known.kept = True
    world.service.willing = False
    assert not await taken()
    world.service.willing = True
    world.known.credential = replace(world.known.credential, secret="new")
    assert not await taken()
    assert await taken(secret="new")
    world.known.credential = token
    assert await taken(token="token")
    assert not await taken() and not await taken(token="other")
    world.known.credential = replace(token, expires_at=world.clock.now() - 1)
    assert not await taken(token="token")


async def test_answers_keep_their_order(world: World) -> None:
    """Requests that come while one is under way wait for it, whichever way they go."""
    world.service.hold = True
    connection = await world.open()
    connection.writer.write(signed(b"[1]"))
    while not world.service.held:
        await asyncio.sleep(0.001)
    connection.writer.write(signed(b"[2]") + signed(b"[3]"))
    await asyncio.sleep(0.02)
    assert not world.service.ordinary
    world.service.held.pop()()
    assert [(await connection.answer())[-3:] for _ in range(3)] == [b"[1]", b"[2]", b"[3]"]
    connection.writer.close()


async def test_a_client_that_goes_away_harms_nobody(world: World) -> None:
    """Its answer comes to nothing; the next client is served."""
    world.service.hold = True
    connection = await world.open()
    connection.writer.write(signed())
    while not world.service.held:
        await asyncio.sleep(0.001)
    connection.writer.transport.abort()
    await asyncio.sleep(0.02)
    world.service.hold = False
    world.service.held.pop()()
    other = await world.open()
    other.writer.write(signed(b"[4]"))
    assert (await other.answer()).endswith(b"[4]")
    other.writer.close()


async def test_a_stop_waits_for_what_is_under_way(world: World) -> None:
    """An edge that closes lets a prompt request end, and says that the connection closes."""
    world.service.hold = True
    connection = await world.open()
    connection.writer.write(signed(b"[5]"))
    while not world.service.held:
        await asyncio.sleep(0.001)
    closing = asyncio.create_task(world.edges[True].close(5))
    await asyncio.sleep(0.03)
    assert not closing.done()
    world.service.held.pop()()
    answer = await connection.answer()
    assert b"\r\nconnection: close\r\n" in answer and answer.endswith(b"[5]")
    await closing
    assert await connection.reader.read() == b""
    connection.writer.close()


def test_the_memory_is_bounded() -> None:
    """Constant parts of requests are kept up to a number, and none that is long."""
    made = Prompting(
        cast(Any, SimpleNamespace(settings=Settings())), Known(), cast(Any, None), ("localhost",), any_host=False
    )
    for n in range(_MAX_PLANS + 5):
        made._remember(("POST", f"/{n}", "", "", ()), None)
    assert len(made._plans) <= _MAX_PLANS
    made._remember(("POST", "/" + "x" * _MAX_PART, "", "", ()), None)
    assert all(len(key[1]) < _MAX_PART for key in made._plans)
