"""The Runtime API's routes, states and bounds, over raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alonzo.engine.runtime_api import RuntimeApi
from alonzo.engine.runtime_messages import event_message
from alonzo.engine.runtime_state import MAX_RESPONSE, RuntimeState, filter_error_type

NEXT = "/2018-06-01/runtime/invocation/next"


class Told:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def runtime_ready(self) -> None:
        self.heard.append("ready")

    def runtime_response(self, body: bytes) -> None:
        self.heard.append(("response", body))

    def runtime_response_too_large(self) -> None:
        self.heard.append("too large")

    def runtime_error(self, error_type: str, body: bytes) -> None:
        self.heard.append(("error", error_type, body))

    def runtime_stream(self, content_type: str, flow: Any) -> None:
        return None

    def runtime_init_error(self, error_type: str, body: bytes) -> None:
        self.heard.append(("init error", error_type, body))


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n"
        if body is not None:
            head += f"Content-Length: {len(body)}\r\n"
        for name, value in headers.items():
            head += f"{name.replace('_', '-')}: {value}\r\n"
        self.writer.write(head.encode() + b"\r\n" + (body or b""))

    async def receive(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(5):
            status = int((await self.reader.readline()).split()[1])
            headers: dict[str, str] = {}
            while (line := await self.reader.readline()) != b"\r\n":
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            return status, headers, await self.reader.readexactly(int(headers.get("content-length", "0")))

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        self.send(method, path, body, **headers)
        status, got, answer = await self.receive()
        return status, json.loads(answer) if "json" in got.get("content-type", "") and answer else answer

    async def closed(self) -> bool:
        async with asyncio.timeout(5):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


class Served:
    """A Runtime API on a free port."""

    def __init__(self) -> None:
        self.told = Told()
        self.state = RuntimeState(self.told)
        self.api = RuntimeApi(self.state)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        self.clients: list[Client] = []

    async def client(self) -> Client:
        made = Client(*await asyncio.open_connection(*self.address, limit=16 << 20))
        self.clients.append(made)
        return made

    def dispatch(self, request_id: str = "id-1", payload: bytes = b'{"a":1}') -> None:
        message = event_message(
            request_id=request_id,
            deadline_ms=123,
            invoked_arn="arn",
            trace_header="Root=1\r\nEvil: yes",
            client_context="",
            payload=payload,
        )
        self.state.dispatch(request_id, message)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    await made.api.serve(made.listener)
    yield made
    made.api.close()
    for client in made.clients:
        client.writer.close()
        await asyncio.gather(client.writer.wait_closed(), return_exceptions=True)


async def ready(served: Served) -> Client:
    client = await served.client()
    client.send("GET", NEXT)
    while "ready" not in served.told.heard:
        await asyncio.sleep(0.001)
    return client


async def test_ping(served: Served) -> None:
    """GET /ping answers pong."""
    assert await (await served.client()).ask("GET", "/2018-06-01/ping") == (200, b"pong")


async def test_a_whole_invocation(served: Served) -> None:
    """next hands out the event with AWS's headers, response is accepted, and the next next makes it ready again."""
    client = await ready(served)
    served.dispatch()
    status, headers, body = await client.receive()
    assert (status, body) == (200, b'{"a":1}')
    assert headers == {
        "content-type": "application/json",
        "content-length": "7",
        "lambda-runtime-aws-request-id": "id-1",
        "lambda-runtime-deadline-ms": "123",
        "lambda-runtime-invoked-function-arn": "arn",
        "lambda-runtime-trace-id": "Root=1Evil: yes",
    }
    path = "/2018-06-01/runtime/invocation/id-1/response"
    assert await client.ask("POST", path, b"[1]") == (202, {"status": "OK"})
    client.send("GET", NEXT)
    while len(served.told.heard) < 3:
        await asyncio.sleep(0.001)
    assert served.told.heard == ["ready", ("response", b"[1]"), "ready"]


def response(request_id: str, body: bytes, length: int | None = None, more: str = "") -> bytes:
    """A response as AWS's Python client writes it."""
    size = len(body) if length is None else length
    head = f"POST /2018-06-01/runtime/invocation/{request_id}/response HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n"
    return f"{head}{more}content-type: application/json\r\ncontent-length: {size}\r\n\r\n".encode() + body


async def rounds(served: Served, client: Client, count: int) -> None:
    """Invocations whose requests differ in id and body only."""
    for n in range(count):
        served.dispatch(f"id-{n}")
        assert (await client.receive())[0] == 200
        client.writer.write(response(f"id-{n}", b"%d" % 10**n))
        assert (await client.receive())[0] == 202
        client.send("GET", NEXT)
        while served.told.heard[-1] != "ready":
            await asyncio.sleep(0.001)


async def test_requests_of_a_known_form_are_taken_alike(served: Served) -> None:
    """What was parsed once is known again by its bytes: ids, lengths and bodies may differ."""
    client = await ready(served)
    await rounds(served, client, 5)
    answers = [told[1] for told in served.told.heard if told[0] == "response"]
    assert answers == [b"1", b"10", b"100", b"1000", b"10000"]
    assert served.api.forms.nexts and served.api.forms.responses


async def test_a_known_form_is_no_way_round_the_checks(served: Served) -> None:
    """A wrong id, a second answer, too much after a body: refused as where the parser reads every byte."""
    client = await ready(served)
    await rounds(served, client, 2)
    served.dispatch("now")
    await client.receive()
    client.writer.write(response("id-1", b"1"))
    assert (await client.receive())[0] == 400
    client.writer.write(response("now", b"1"))
    assert (await client.receive())[0] == 202
    client.writer.write(response("now", b"1"))
    status, _, body = await client.receive()
    assert (status, json.loads(body)["errorType"]) == (403, "InvalidStateTransition")
    client.writer.write(response("now", b"1") + b"GET /2018-06-01/ping HTTP/1.1\r\n\r\n")
    assert (await client.receive())[0] == 403
    assert await client.closed()


async def test_a_known_form_in_pieces_is_put_together(served: Served) -> None:
    """A request that is cut anywhere is read to its end, also where a part looks like a whole one."""
    client = await ready(served)
    await rounds(served, client, 2)
    whole = response("now", b'"' + b"x" * 98 + b'"')
    for cut in (10, whole.index(b"content-length") + 17, whole.index(b"\r\n\r\n") + 2, len(whole) - 1):
        served.dispatch("now")
        await client.receive()
        client.writer.write(whole[:cut])
        await asyncio.sleep(0.01)
        client.writer.write(whole[cut:])
        assert (await client.receive())[0] == 202
        assert served.told.heard[-1] == ("response", whole[-100:])
        client.send("GET", NEXT)
        while served.told.heard[-1] != "ready":
            await asyncio.sleep(0.001)


async def test_forms_that_mean_more_are_not_remembered(served: Served) -> None:
    """Headers that change how a request is read, or what it says, leave nothing to know it by."""
    client = await ready(served)
    for more in ("Lambda-Runtime-Function-Response-Mode: streaming\r\n", "X-Other: content-length: 3\r\n"):
        served.dispatch("now")
        await client.receive()
        client.writer.write(response("now", b"12", more=more))
        assert (await client.receive())[0] == 202
        client.send("GET", NEXT)
        await asyncio.sleep(0.01)
    assert not served.api.forms.responses


async def test_next_while_running_gives_the_same_event(served: Served) -> None:
    """Asking again before answering gets the same event again."""
    client = await ready(served)
    served.dispatch()
    first = await client.receive()
    client.send("GET", NEXT)
    assert await client.receive() == first


async def test_an_event_survives_the_loss_of_the_waiting_connection(served: Served) -> None:
    """An event dispatched after the waiting connection broke goes to the next one that asks."""
    client = await ready(served)
    client.writer.close()
    await client.writer.wait_closed()
    await asyncio.sleep(0.02)
    served.dispatch()
    status, body = await (await served.client()).ask("GET", NEXT)
    assert (status, body) == (200, {"a": 1})


async def test_wrong_ids_and_states_are_refused(served: Served) -> None:
    """A wrong id is 400 whatever the state; a second response, an early one and a late init error are 403."""
    client = await served.client()
    respond = "/2018-06-01/runtime/invocation/{}/{}"
    wrong_id = (400, {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"})
    assert await client.ask("POST", respond.format("nope", "response"), b"1") == wrong_id
    running = await ready(served)
    served.dispatch()
    await running.receive()
    assert await client.ask("POST", respond.format("nope", "error"), b"1") == wrong_id
    assert (await client.ask("POST", respond.format("id-1", "response"), b"1"))[0] == 202
    message = (
        "State transition from RuntimeResponseSentState to {} failed for runtime."
        " Error: State transition is not allowed"
    )
    for action, target in (("response", "InvocationResponse"), ("error", "InvocationErrorResponse")):
        assert await client.ask("POST", respond.format("id-1", action), b"1") == (
            403,
            {"errorType": "InvalidStateTransition", "errorMessage": message.format(target)},
        )
    status, error = await client.ask("POST", "/2018-06-01/runtime/init/error", b"{}")
    assert (status, error["errorMessage"]) == (403, message.format("InitError"))
    assert served.told.heard == ["ready", ("response", b"1")]


async def test_errors_pass_through_untouched(served: Served) -> None:
    """error and init/error hand their bodies on as they came, with the type filtered as AWS filters it."""
    client = await served.client()
    status, _ = await client.ask(
        "POST", "/2018-06-01/runtime/init/error", b"no json", lambda_runtime_function_error_type="Runtime.NoSuchHandler"
    )
    assert status == 202
    assert served.told.heard == [("init error", "Runtime.NoSuchHandler", b"no json")]
    assert (await client.ask("GET", NEXT))[0] == 403
    assert filter_error_type("Function.Oops") == "Function.Oops"
    assert filter_error_type("os.Oops") == "Function.Unknown"


async def test_a_response_at_the_limit_passes_and_one_over_it_does_not(served: Served) -> None:
    """6,291,556 bytes are accepted; one more answers 413 and counts as the invocation's answer."""
    client = await ready(served)
    served.dispatch()
    await client.receive()
    path = "/2018-06-01/runtime/invocation/id-{}/response"
    assert (await client.ask("POST", path.format(1), b"x" * MAX_RESPONSE))[0] == 202
    client.send("GET", NEXT)
    while served.told.heard.count("ready") < 2:
        await asyncio.sleep(0.001)
    served.dispatch("id-2")
    await client.receive()
    assert await client.ask("POST", path.format(2), b"x" * (MAX_RESPONSE + 1)) == (
        413,
        {
            "errorType": "RequestEntityTooLarge",
            "errorMessage": "Exceeded maximum allowed payload size (6291556 bytes).",
        },
    )
    assert len(served.told.heard[1][1]) == MAX_RESPONSE
    assert served.told.heard[-1] == "too large"


async def test_chunked_and_expectant_clients(served: Served) -> None:
    """A chunked body is put together, and Expect: 100-continue gets its interim answer."""
    client = await ready(served)
    served.dispatch()
    await client.receive()
    path = "/2018-06-01/runtime/invocation/id-1/response"
    client.writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    assert await client.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert await client.reader.readline() == b"\r\n"
    client.writer.write(b"2\r\n[1\r\n2\r\n,2\r\n1\r\n]\r\n0\r\n\r\n")
    assert (await client.receive())[0] == 202
    assert served.told.heard[-1] == ("response", b"[1,2]")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/2018-06-01/runtime/invocation/x/y", 404),
        ("POST", NEXT, 405),
        ("GET", "/2018-06-01/runtime/invocation/x/response", 405),
        ("PUT", "/2022-07-01/telemetry", 404),
    ],
)
async def test_other_routes(served: Served, method: str, path: str, status: int) -> None:
    """Unknown paths are 404, known ones with a wrong method 405; extensions' part is not served alone."""
    assert (await (await served.client()).ask(method, path, b""))[0] == status


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 100, b"HELLO\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET  HTTP/1.1\r\nA\r\n\r\n"]
)
async def test_garbage_ends_the_connection_only(served: Served, garbage: bytes) -> None:
    """What is no HTTP loses its connection; the others go on."""
    client = await served.client()
    client.writer.write(garbage)
    assert await client.closed()
    assert (await (await served.client()).ask("GET", "/2018-06-01/ping"))[0] == 200


async def test_huge_headers_are_refused(served: Served) -> None:
    """Headers of more than 1.5 MB, or more than 128 of them, answer 431 and close."""
    client = await served.client()
    client.writer.write(b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: 1\r\n" % n for n in range(200)) + b"\r\n")
    assert (await client.receive())[0] == 431
    assert await client.closed()


async def test_pipelining_ends_the_connection(served: Served) -> None:
    """Requests sent without waiting for answers cannot make the server pile up answers."""
    client = await ready(served)
    served.dispatch(payload=b"x" * 1_000_000)
    await client.receive()
    client.writer.write(f"GET {NEXT} HTTP/1.1\r\n\r\n".encode() * 1_000)
    async with asyncio.timeout(5):
        try:
            got = len(await client.reader.read(100_000_000))
        except ConnectionError:
            got = 0
    assert got < 3_000_000


async def test_connections_are_bounded(served: Served) -> None:
    """The 65th open connection is closed at once."""
    for _ in range(64):
        client = await served.client()
        assert (await client.ask("GET", "/2018-06-01/ping"))[0] == 200
    assert await (await served.client()).closed()
    assert len(served.api.connections) == 64


async def test_unfinished_requests_are_bounded(served: Served) -> None:
    """Many connections with large unfinished bodies cannot fill the server's memory: the last ones are closed."""
    clients = [await served.client() for _ in range(4)]
    for client in clients:
        client.writer.write(b"POST /x HTTP/1.1\r\nContent-Length: 6000000\r\n\r\n" + b"x" * 5_900_000)
    closed = await asyncio.wait_for(
        asyncio.wait([asyncio.create_task(client.closed()) for client in clients], return_when="FIRST_COMPLETED"), 5
    )
    assert closed[0]
    for task in closed[1]:
        task.cancel()
    await asyncio.gather(*closed[1], return_exceptions=True)
    assert served.api.held < 16_000_000
    for client in clients:
        client.writer.transport.abort()
    async with asyncio.timeout(5):
        while served.api.connections:
            await asyncio.sleep(0.005)
    assert served.api.held == 0


RESPONSE = "/2018-06-01/runtime/invocation/{}/response"


async def first_event(served: Served) -> Client:
    """A connection that has its first event."""
    served.api.offers = True
    client = await ready(served)
    served.dispatch("id-0")
    status, headers, _ = await client.receive()
    ends = [client.writer.get_extra_info(name) for name in ("peername", "sockname")]
    assert (status, headers["alonzo-connection"]) == (200, " ".join(f"{host}:{port}" for host, port in ends))
    return client


async def heard(served: Served, count: int) -> None:
    async with asyncio.timeout(30):
        while len(served.told.heard) < count:
            await asyncio.sleep(0.001)


async def test_only_the_first_event_names_the_connection(served: Served) -> None:
    """Where it is offered at all, each connection is told its name once."""
    client = await first_event(served)
    assert await client.ask("POST", RESPONSE.format("id-0"), b"{}") == (202, {"status": "OK"})
    client.send("GET", NEXT)
    await heard(served, 3)
    served.dispatch("id-1")
    assert "alonzo-connection" not in (await client.receive())[1]
    other = await served.client()
    other.send("GET", NEXT)
    assert "alonzo-connection" in (await other.receive())[1]


async def test_an_answer_may_come_with_the_next_event(served: Served) -> None:
    """A response that says so is taken at once and answered before the next event, however the requests come."""
    client = await first_event(served)
    for number in range(6):
        client.send("POST", RESPONSE.format(f"id-{number}"), b"%d" % number, Alonzo_Answer="later")
        if number % 2:
            await heard(served, 2 * number + 2)
        client.send("GET", NEXT)
        await heard(served, 2 * number + 3)
        assert served.told.heard[-2:] == [("response", b"%d" % number), "ready"]
        size = 100_000 if number > 3 else 10
        served.dispatch(f"id-{number + 1}", b"x" * size)
        assert (await client.receive())[0] == 202
        status, headers, body = await client.receive()
        assert (status, headers["lambda-runtime-aws-request-id"], len(body)) == (200, f"id-{number + 1}", size)


async def test_a_refusal_comes_at_once(served: Served) -> None:
    """A response that is refused is answered whatever it says, after what is still owed."""
    client = await first_event(served)
    for _ in range(2):  # parsed, and known
        client.send("POST", RESPONSE.format("wrong"), b"{}", Alonzo_Answer="later")
        assert (await client.receive())[0] == 400
    for number in range(2):
        for _ in range(2):
            client.send("POST", RESPONSE.format(f"id-{number}"), b"{}", Alonzo_Answer="later")
        assert [(await client.receive())[0] for _ in range(2)] == [202, 403]
        client.send("GET", NEXT)
        await heard(served, 2 * number + 3)
        served.dispatch(f"id-{number + 1}")
        assert (await client.receive())[0] == 200
    assert [one for one in served.told.heard if one != "ready"] == [("response", b"{}")] * 2


async def test_more_than_one_request_behind_a_response_ends_the_connection(served: Served) -> None:
    """Nothing but one `next` may come before the answer."""
    client = await first_event(served)
    client.send("POST", RESPONSE.format("id-0"), b"{}", Alonzo_Answer="later")
    client.send("GET", NEXT)
    client.send("GET", NEXT)
    await client.reader.read()
    assert await client.closed()
    assert served.told.heard == ["ready", ("response", b"{}"), "ready"]
    assert not served.api.connections
