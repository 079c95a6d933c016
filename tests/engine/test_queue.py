"""The durable queue and the delivery of its jobs, with real functions where a function matters."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from sqlalchemy import text

from alonzo.core.errors import ServiceError
from alonzo.engine import EventConfig
from alonzo.engine.function import Invocation, InvokeResult
from alonzo.engine.growth import Machine
from alonzo.engine.jobs import decode, encode
from alonzo.engine.queue import AsyncEvent, Delivery
from alonzo.storage import StorageError
from alonzo.testing.clock import FakeClock

ACCOUNT, REGION = "000000000000", "us-east-1"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:out"


class Script:
    """In place of the invoker: answers by script, and remembers when it was asked."""

    def __init__(self, world: Any, answer: Callable[[Invocation, int], InvokeResult]) -> None:
        self.world = world
        self.answer = answer
        self.calls: list[tuple[float, Invocation]] = []
        self.closing = False

    async def invoke(self, fv: Any, invocation: Invocation) -> InvokeResult:
        self.calls.append((self.world.parts.clock.now(), invocation))
        return self.answer(invocation, len(self.calls))


def script(world: Any, answer: Callable[[Invocation, int], InvokeResult]) -> Script:
    made = Script(world, answer)
    world.run_events_by(made.invoke)
    return made


def event(n: int | str = 1, name: str = "f", payload: bytes = b'{"n": 1}') -> AsyncEvent:
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    return AsyncEvent(f"{arn}/{n}", ACCOUNT, REGION, name, "", arn, f"request-{n}", payload)


async def until(check: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.005)


async def run_out(world: Any, clock: FakeClock) -> None:
    """Let time pass, from retry to retry, until the queue is empty."""
    queue = world.engine.queue
    while rows(world):
        await until(lambda: not rows(world) or (not queue._loaded and clock.now() < queue._next_due < math.inf))
        if rows(world):
            await clock.advance(queue._next_due - clock.now())


def rows(world: Any) -> int:
    return int(world.parts.db.read_nowait(lambda c: c.execute(text("SELECT count(*) FROM engine_jobs")).scalar()))


FAILED = InvokeResult(b'{"errorMessage": "no", "errorType": "E"}', "$LATEST", "Unhandled")
FINE = InvokeResult(b'{"ok": true}', "$LATEST")


async def test_an_accepted_event_runs_the_function_once(world: Any) -> None:
    """An event that was accepted runs the real function with its payload and request id, and then is gone."""
    world.function("f", "def handler(event, context):\n    print('ran', event['n'], context.aws_request_id)\n")
    await world.engine.queue.accept(event())
    await until(lambda: rows(world) == 0)
    assert "ran 1 request-1\n" in await world.log()


def hold_back(world: Any) -> tuple[asyncio.Event, list[str]]:
    """Let every invocation wait for the event; the list tells which ran, in their order."""
    gate = asyncio.Event()
    ran: list[str] = []

    class Invoker:
        async def invoke(self, fv: Any, invocation: Invocation) -> InvokeResult:
            await gate.wait()
            ran.append(invocation.request_id)
            return FINE

    world.run_events_by(Invoker().invoke)
    return gate, ran


async def test_an_id_is_enqueued_once(world: Any) -> None:
    """Enqueueing an id that waits already does nothing."""
    world.function("f", "")
    ran = script(world, lambda *_: FINE)
    await world.parts.db.write(lambda c: world.engine.queue.enqueue(c, event(), event(), event(2)))
    world.engine.queue.wake()
    await until(lambda: rows(world) == 0)
    assert sorted(call.request_id for _, call in ran.calls) == ["request-1", "request-2"]


async def test_events_without_an_id_are_all_different(world: Any) -> None:
    """Events that nobody can hand over again run each, whatever else they have in common, and are shown by request."""
    world.function("f", "")
    gate, ran = hold_back(world)
    bare = event(1)._replace(id="")
    await asyncio.gather(*(world.engine.queue.accept(bare) for _ in range(3)))
    assert [job.id for job in await world.engine.queue.list_jobs()] == ["request-1"] * 3
    gate.set()
    await until(lambda: rows(world) == 0)
    assert ran == ["request-1"] * 3


async def test_those_without_a_coroutine_are_told(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    """`accept_nowait` tells each caller once its job is on disk or why it is not, also where another caller fails."""
    world.function("f", "")
    queue, told = world.engine.queue, list[tuple[int, BaseException | None, int]]()
    queue.close()  # nothing runs, so that the rows stay

    def fails(_error: BaseException | None) -> None:
        raise LookupError("gone")

    queue.accept_nowait(event(0), fails)
    for n in range(1, 4):
        queue.accept_nowait(event(n), lambda error, n=n: told.append((n, error, rows(world))))
    await until(lambda: len(told) == 3)
    assert told == [(1, None, 4), (2, None, 4), (3, None, 4)]
    assert "an accepted job's caller failed" in caplog.text
    await world.parts.db.write(lambda c: c.execute(text("ALTER TABLE engine_jobs RENAME TO away")))
    queue.accept_nowait(event(4), lambda error: told.append((4, error, 0)))
    await until(lambda: len(told) == 4)
    await world.parts.db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO engine_jobs")))
    assert isinstance(told[3][1], StorageError)


@pytest.mark.parametrize("payload", [b"", b"[1]", b"\n\n{}\n", bytes(range(256))])
def test_an_event_is_what_its_row_says(payload: bytes) -> None:
    """Every field comes back from a row's body, whatever the payload is; so it does from one of an older server."""
    one = AsyncEvent("i\n", ACCOUNT, REGION, "f", "1", "arn", 'r"[', payload, "{\n}", "Root=1\u00e4", "tenant")
    assert decode("E", encode(one)) == decode("E", cbor2.dumps(tuple(one))) == one


async def test_what_keeps_coming_is_written_together(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that come in rounds of the loop one after another share a transaction, up to a number; one alone waits for
    nothing."""
    monkeypatch.setattr("alonzo.engine.queue._GATHER_S", 60.0)
    monkeypatch.setattr("alonzo.engine.queue._GATHERED", 5)
    queue, store, sizes = world.engine.queue, world.engine.queue._store, list[int]()
    queue.close()  # nothing runs
    insert = store.insert

    def counted(connection: Any, jobs: list[AsyncEvent], now: float) -> Any:
        sizes.append(len(jobs))
        return insert(connection, jobs, now)

    monkeypatch.setattr(store, "insert", counted)
    accepted = []
    for n in range(7):
        accepted.append(asyncio.ensure_future(queue.accept(event(n))))
        await asyncio.sleep(0)
    await asyncio.gather(*accepted)
    assert (sum(sizes), sizes[0], rows(world)) == (7, 5, 7)
    await queue.accept(event(7))
    assert sizes[-1] == 1


async def test_an_accepted_job_is_not_read_back(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was accepted runs from memory; only beside jobs of other transactions the table is asked."""
    world.function("f", "")
    ran = script(world, lambda *_: FINE)
    queue, read = world.engine.queue, world.parts.db.read_nowait
    await until(lambda: queue._next_due == math.inf)
    reads: list[Any] = []

    def counted(query: Any) -> Any:
        reads.append(query)
        return read(query)

    monkeypatch.setattr(world.parts.db, "read_nowait", counted)
    for n in range(20):
        await asyncio.gather(queue.accept(event(n)), queue.accept(event(100 + n)._replace(id="")))
    await until(lambda: len(ran.calls) == 40)
    assert not reads
    # A job of another transaction comes first and is not announced: none may be passed over.
    await world.parts.db.write(lambda c: queue.enqueue(c, event(200)))
    await queue.accept(event(201))
    await queue.accept(event(201, "g"))
    await until(lambda: rows(world) == 0)
    assert reads
    assert sorted(call.request_id for _, call in ran.calls[40:]) == ["request-200", "request-201"]


async def test_more_than_memory_holds_waits_in_the_table(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs accepted while memory is full are found in the table, in their order, once there is room."""
    monkeypatch.setattr("alonzo.engine.queue._LOADED", 8)
    gate, ran = hold_back(world)
    for name in ("f", "g"):
        world.function(name, "", reserved_concurrency=1)
    await asyncio.gather(*(world.engine.queue.accept(event(n, "fg"[n % 2])) for n in range(100)))
    await world.engine.queue.accept(event(100))
    assert len(world.engine.queue._loaded) == 8
    gate.set()
    await until(lambda: rows(world) == 0)
    assert [int(one[8:]) for one in ran if int(one[8:]) % 2 == 0] == list(range(0, 101, 2))
    assert len(ran) == 101


async def test_what_a_full_memory_kept_out_is_taken_up_later(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs left in the table are found again, in their order, though nothing of their function runs any more."""
    for where in ("lanes", "queue"):
        monkeypatch.setattr(f"alonzo.engine.{where}.LANE_JOBS", 2)
    monkeypatch.setattr("alonzo.engine.queue._LOADED", 4)
    monkeypatch.setattr("alonzo.engine.settling._GATHER_S", 60.0)
    gates, ran = {"f": asyncio.Event(), "g": asyncio.Event()}, list[str]()

    async def invoke(fv: Any, invocation: Invocation) -> InvokeResult:
        await gates[fv.name].wait()
        ran.append(invocation.request_id)
        return FINE

    world.run_events_by(invoke)
    for name in ("f", "g"):
        world.function(name, "", reserved_concurrency=1)
    queue = world.engine.queue
    for n in range(8):
        await queue.accept(event(n))
    await queue.accept(event(8, "g"))
    gates["f"].set()
    await until(lambda: len(ran) == 3)
    assert len(queue._loaded) == 4  # none of them is settled yet, and the last one waits
    while len(ran) < 8:
        await queue.flush()
        await asyncio.sleep(0)
    assert ran == [f"request-{n}" for n in range(8)]
    gates["g"].set()
    await until(lambda: len(ran) == 9)


async def test_a_rolled_back_job_never_runs(world: Any) -> None:
    """A job whose transaction failed does not run, though memory had seen it."""
    world.function("f", "")
    ran = script(world, lambda *_: FINE)

    def fails(connection: Any) -> None:
        world.engine.queue.enqueue(connection, event(1))
        raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError):
        await world.parts.db.write(fails)
    await world.engine.queue.accept(event(2))
    await until(lambda: len(ran.calls) == 1 and rows(world) == 0)
    assert ran.calls[0][1].request_id == "request-2"


async def test_failures_are_retried_after_one_and_two_minutes(make: Any) -> None:
    """A failing event runs three times, one and then two minutes apart, under one request id; then OnFailure hears."""
    clock = FakeClock()
    async with make(clock=clock) as world:
        fv = world.function("f", "")
        world.functions.configs["f"] = EventConfig(on_failure=QUEUE, dead_letter=QUEUE + "-dlq")
        ran = script(world, lambda *_: FAILED)
        await world.engine.queue.accept(event())
        await run_out(world, clock)
        times = [at for at, _ in ran.calls]
        assert [round(at - times[0]) for at in times] == [0, 60, 180]
        assert {call.request_id for _, call in ran.calls} == {"request-1"}
        sent = {params["QueueUrl"].rpartition("/")[2]: params for params in world.dispatcher.of("SendMessage")}
        body = json.loads(sent["out"]["MessageBody"])
        del body["timestamp"]
        assert body == {
            "version": "1.0",
            "requestContext": {
                "requestId": "request-1",
                "functionArn": f"{fv.arn}:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
            },
            "requestPayload": {"n": 1},
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": {"errorMessage": "no", "errorType": "E"},
        }
        assert sent["out-dlq"]["MessageBody"] == '{"n": 1}'
        assert sent["out-dlq"]["MessageAttributes"] == {
            "RequestID": {"DataType": "String", "StringValue": "request-1"},
            "ErrorCode": {"DataType": "Number", "StringValue": "200"},
            "ErrorMessage": {"DataType": "String", "StringValue": "no"},
        }


async def test_success_goes_to_its_destination_as_the_functions_role(world: Any) -> None:
    """OnSuccess gets AWS's document, sent with the permissions of the function's role."""
    fv = world.function("f", "")
    world.functions.configs["f"] = EventConfig(on_success=QUEUE)
    script(world, lambda *_: FINE)
    await world.engine.queue.accept(event())
    await until(lambda: rows(world) == 0)
    (call,) = [call for call in world.dispatcher.calls if call[2] == "SendMessage"]
    body = json.loads(call[3]["MessageBody"])
    assert (body["requestContext"]["condition"], body["requestContext"]["approximateInvokeCount"]) == ("Success", 1)
    assert body["responsePayload"] == {"ok": True}
    assert body["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert (call[0].principal.kind, call[0].principal.role_arn) == ("role", fv.role_arn)


@pytest.mark.slow
async def test_throttles_back_off_until_the_event_is_too_old(make: Any) -> None:
    """A throttled event is tried after 1, 2, 4 … at most 300 seconds, and given up when it is six hours old."""
    clock = FakeClock()
    async with make(clock=clock) as world:
        world.function("f", "")
        world.functions.configs["f"] = EventConfig(on_failure=QUEUE)

        def throttled(*_: Any) -> InvokeResult:
            raise ServiceError("TooManyRequestsException", "Rate Exceeded.", status=429)

        ran = script(world, throttled)
        await world.engine.queue.accept(event())
        await run_out(world, clock)
        times = [at for at, _ in ran.calls]
        gaps = [round(b - a) for a, b in itertools.pairwise(times)]
        assert gaps[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
        assert set(gaps[9:-1]) == {300}
        assert 21_000 < times[-1] - times[0] <= 21_601
        body = json.loads(world.dispatcher.of("SendMessage")[0]["MessageBody"])
        assert body["requestContext"]["condition"] == "EventAgeExceeded"
        assert "responsePayload" not in body


async def test_a_reservation_of_zero_fails_at_once(world: Any) -> None:
    """With reserved concurrency 0 an event goes to OnFailure without having run."""
    world.function("f", "", reserved_concurrency=0)
    world.functions.configs["f"] = EventConfig(on_failure=QUEUE)
    ran = script(world, lambda *_: FINE)
    await world.engine.queue.accept(event())
    await until(lambda: rows(world) == 0)
    context = json.loads(world.dispatcher.of("SendMessage")[0]["MessageBody"])["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("ZeroReservedConcurrency", 0)
    assert not ran.calls


async def test_a_function_gets_no_more_events_at_a_time_than_are_reserved_for_it(world: Any) -> None:
    """A backlog of a function with a reservation runs without a single throttle."""
    world.function("f", "", reserved_concurrency=2)
    at_once: list[int] = []
    running = 0

    class Invoker:
        async def invoke(self, fv: Any, invocation: Invocation) -> InvokeResult:
            nonlocal running
            running += 1
            at_once.append(running)
            await asyncio.sleep(0.001)
            running -= 1
            return FINE

    world.run_events_by(Invoker().invoke)
    await world.parts.db.write(lambda c: world.engine.queue.enqueue(c, *(event(n) for n in range(100))))
    world.engine.queue.wake()
    await until(lambda: rows(world) == 0)
    assert (len(at_once), max(at_once)) == (100, 2)


async def test_an_event_of_a_deleted_function_is_dropped(world: Any) -> None:
    """An event whose function is gone leaves the queue."""
    await world.engine.queue.accept(event(name="gone"))
    await until(lambda: rows(world) == 0)


async def test_a_delivery_is_tried_again_while_its_failure_may_pass(make: Any) -> None:
    """A delivery answered 500 is tried again as the same service with the same request id; a 403 ends it."""
    clock = FakeClock()
    async with make(clock=clock) as world:
        answers = [
            ServiceError("InternalError", "later", status=500),
            ServiceError("TooManyRequestsException", "later", status=429),
            None,
        ]

        def answer(_ctx: Any, _params: Any) -> dict[str, Any]:
            error = answers.pop(0)
            if error is not None:
                raise error
            return {}

        world.dispatcher.answers["lambda.Invoke"] = answer
        params = {"FunctionName": "f", "Payload": b"\x00\xff"}
        delivery = Delivery("d-1", ACCOUNT, REGION, "lambda", "Invoke", params, "s3.amazonaws.com", "arn:aws:s3:::b")
        await world.engine.queue.accept(delivery)
        await run_out(world, clock)
        calls = [call for call in world.dispatcher.calls if call[2] == "Invoke"]
        assert len(calls) == 3
        for ctx, _, _, sent in calls:
            assert sent == params
            assert (ctx.principal.name, ctx.request_id, ctx.source_arn) == ("s3.amazonaws.com", "d-1", "arn:aws:s3:::b")
        answers.append(ServiceError("AccessDeniedException", "no", status=403))
        await world.engine.queue.accept(
            Delivery("d-2", ACCOUNT, REGION, "lambda", "Invoke", params, "s3.amazonaws.com")
        )
        await until(lambda: rows(world) == 0)
        assert len([call for call in world.dispatcher.calls if call[2] == "Invoke"]) == 4


async def test_a_hand_over_that_is_repeated_runs_once(world: Any) -> None:
    """An event that ran stays known until the delivery that handed it over is settled."""
    world.function("f", "")
    ran = script(world, lambda *_: FINE)
    queue = world.engine.queue
    first = asyncio.Event()
    again = asyncio.Event()

    async def hand_over(ctx: Any, _params: Any) -> dict[str, Any]:
        await queue.accept(event(ctx.request_id.removeprefix("request-")))
        first.set()
        await again.wait()
        await queue.accept(event(ctx.request_id.removeprefix("request-")))
        return {}

    world.dispatcher.answers["sns.Publish"] = hand_over
    await queue.accept(Delivery("request-9", ACCOUNT, REGION, "sns", "Publish", {}, "s3.amazonaws.com"))
    await first.wait()
    await until(lambda: len(ran.calls) == 1)
    await queue.flush()
    assert rows(world) == 2  # the delivery, and the event that has run
    again.set()
    await until(lambda: rows(world) == 0)
    assert len(ran.calls) == 1


def notification(world: Any, monkeypatch: pytest.MonkeyPatch, gather_s: float) -> Delivery:
    """A delivery that hands an event of function `f` over, twice even; outcomes are gathered for so long."""
    monkeypatch.setattr("alonzo.engine.settling._GATHER_S", gather_s)

    async def hand_over(ctx: Any, _params: Any) -> dict[str, Any]:
        for _ in range(2):
            await world.engine.queue.accept(event(ctx.request_id.removeprefix("request-")))
        return {}

    world.function("f", "")
    world.dispatcher.answers["lambda.Invoke"] = hand_over
    return Delivery("request-9", ACCOUNT, REGION, "lambda", "Invoke", {}, "s3.amazonaws.com")


async def kinds(world: Any) -> list[tuple[str, int]]:
    def read(connection: Any) -> list[tuple[str, int]]:
        return [tuple(row) for row in connection.execute(text("SELECT kind, done FROM engine_jobs ORDER BY seq"))]

    return list(await world.parts.db.read(read))


async def test_an_event_handed_over_needs_no_row_before_it_runs(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The delivery's row stands for its event until both outcomes are written, in one transaction."""
    delivery = notification(world, monkeypatch, 60.0)
    ran = script(world, lambda *_: FINE)
    await world.engine.queue.accept(delivery)
    await until(lambda: len(world.engine.queue._settling._waiting) == 2)
    assert len(ran.calls) == 1
    # A server that is killed now does both again.
    assert await kinds(world) == [("D", 0)]
    await world.engine.queue.flush()
    assert await kinds(world) == []
    assert not world.engine.queue._loaded and not world.engine.queue._bytes and len(ran.calls) == 1


async def test_an_event_handed_over_that_takes_longer_gets_a_row(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The delivery's row goes and the event's comes in one transaction; it goes when the event has run, once."""
    delivery = notification(world, monkeypatch, 0.001)
    gate, calls = asyncio.Event(), list[str]()

    class Invoker:
        async def invoke(self, fv: Any, invocation: Invocation) -> InvokeResult:
            calls.append(invocation.request_id)
            await gate.wait()
            return FINE

    world.run_events_by(Invoker().invoke)
    queue = world.engine.queue
    await queue.accept(delivery)
    seen: list[tuple[str, int]] = []
    async with asyncio.timeout(10):
        while seen != [("E", 0)]:
            seen = await kinds(world)
            assert len(seen) == 1
            await asyncio.sleep(0.001)
    queue.wake()  # its row is seen, and is not run a second time
    [shown] = await queue.list_jobs()
    assert (shown.id, shown.kind, shown.state) == ("request-9", "event", "running")
    gate.set()
    await until(lambda: rows(world) == 0)
    assert calls == ["request-9"]


async def test_an_event_handed_over_is_retried_and_delivered(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails at first is in the table with its time, and its success goes to the destination."""
    clock = FakeClock()
    async with make(clock=clock) as world:
        delivery = notification(world, monkeypatch, 0.02)
        world.functions.configs["f"] = EventConfig(on_success=QUEUE)
        ran = script(world, lambda _, n: FAILED if n == 1 else FINE)
        await world.engine.queue.accept(delivery)
        await run_out(world, clock)
        assert [round(at - ran.calls[0][0]) for at, _ in ran.calls] == [0, 60]
        [sent] = world.dispatcher.of("SendMessage")
        assert json.loads(sent["MessageBody"])["requestContext"]["approximateInvokeCount"] == 2


async def test_a_delivery_that_fails_after_handing_over_hands_over_again(make: Any) -> None:
    """Its event does not run before the delivery has ended well; the second time it is stored as any other."""
    clock = FakeClock()
    async with make(clock=clock) as world:
        world.function("f", "")
        ran = script(world, lambda *_: FINE)
        failures = [ServiceError("InternalError", "later", status=500)]

        async def hand_over(ctx: Any, _params: Any) -> dict[str, Any]:
            await world.engine.queue.accept(event(9))
            if failures:
                raise failures.pop()
            return {}

        world.dispatcher.answers["lambda.Invoke"] = hand_over
        await world.engine.queue.accept(
            Delivery("request-9", ACCOUNT, REGION, "lambda", "Invoke", {}, "s3.amazonaws.com")
        )
        await until(lambda: not failures)
        await world.engine.queue.flush()
        assert not ran.calls
        await run_out(world, clock)
        assert len(ran.calls) == 1


@pytest.mark.slow
async def test_a_stuck_function_does_not_hold_up_another(make: Any) -> None:
    """With more events of a stuck function than memory holds, another function's event runs at once."""
    async with make(account_concurrency=64) as world:
        world.function("stuck", "")
        world.function("quick", "")
        gate = asyncio.Event()
        done: list[str] = []

        class Invoker:
            async def invoke(self, fv: Any, invocation: Invocation) -> InvokeResult:
                if fv.name == "stuck":
                    await gate.wait()
                done.append(fv.name)
                return FINE

        world.run_events_by(Invoker().invoke)
        queue = world.engine.queue
        queue_most = world.engine._deliverer._lane_most = 16
        await world.parts.db.write(lambda c: queue.enqueue(c, *(event(n, "stuck") for n in range(1_500))))
        queue.wake()
        await asyncio.sleep(0)
        await queue.accept(event(1, "quick"))
        await until(lambda: done == ["quick"], 5)
        assert queue_most < 64
        gate.set()
        await until(lambda: rows(world) == 0, 30)
        assert len(done) == 1_501


async def test_what_waits_can_be_listed(make: Any) -> None:
    """Jobs show as running, waiting for their retry, or waiting, with their last error."""
    async with make() as world:
        world.function("f", "")
        gate = asyncio.Event()

        class Invoker:
            async def invoke(self, fv: Any, invocation: Invocation) -> InvokeResult:
                if invocation.request_id == "request-1":
                    return FAILED
                await gate.wait()
                return FINE

        world.run_events_by(Invoker().invoke)
        await world.engine.queue.accept(event(1))
        await world.engine.queue.accept(event(2))
        await asyncio.sleep(0.05)
        listed = await world.engine.queue.list_jobs(ACCOUNT, REGION, "f")
        assert [(job.state, job.tries) for job in listed] == [("retrying", 1), ("running", 0)]
        assert "no" in listed[0].last_error
        gate.set()


async def test_places_grow_with_what_the_machine_says(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that wait run few at a time while environments are starting, and many once processors are idle."""
    monkeypatch.setattr("alonzo.engine.delivery.LOOK_S", 0.01)
    monkeypatch.setattr("alonzo.engine.growth.LOOK_S", 0.01)
    gate, starting, times = asyncio.Event(), [0], itertools.count(0, 100)
    running = 0

    class Invoker:
        async def invoke(self, fv: Any, invocation: Invocation) -> InvokeResult:
            nonlocal running
            running += 1
            await gate.wait()
            return FINE

    deliverer = world.engine._deliverer
    world.run_events_by(Invoker().invoke)
    deliverer._machine = Machine(lambda: starting[0], 2, lambda: f"cpu 0 0 0 {next(times)} 0 0 0 0")
    world.function("f", "")
    starting[0] = 16
    await asyncio.gather(*(world.engine.queue.accept(event(n)) for n in range(100)))
    await until(lambda: next(times) > 1_500)  # looked at again and again
    assert running == 1
    starting[0] = 0
    await until(lambda: running == deliverer._lane_most)
    gate.set()
    await until(lambda: rows(world) == 0)
    assert running == 100
    # Jobs that come while every place is taken are noticed, too.
    gate.clear()
    await world.engine.queue.accept(event(100))
    await until(lambda: running == 101)
    deliverer._growing = deliverer._growing and deliverer._growing.cancel()
    await asyncio.gather(*(world.engine.queue.accept(event(n)) for n in range(101, 110)))
    await until(lambda: running == 110)
    gate.set()
    await until(lambda: rows(world) == 0)
