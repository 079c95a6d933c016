"""Environments: reuse, scaling, freezing, expiry, retirement, credentials, variables and concurrency."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from alonzo.core.errors import ServiceError
from alonzo.engine import invoker as invoker_module
from alonzo.testing.clock import FakeClock

COUNT = "import os\nn = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return [os.getpid(), n]\n"
SLEEP = "import os, time\ndef handler(e, c):\n    time.sleep(e)\n    return os.getpid()\n"


async def soon(check: Any) -> bool:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.005)
    return True


async def answer(world: Any, fv: Any, payload: bytes = b"{}") -> Any:
    return json.loads((await world.invoke(fv, payload)).payload)


async def test_an_environment_is_used_again(world: Any) -> None:
    """Invocations one after another run in one process, without a pause between them."""
    fv = world.function("f", COUNT)
    answers = [await answer(world, fv) for _ in range(20)]
    assert [n for _, n in answers] == list(range(1, 21))
    assert len({pid for pid, _ in answers}) == 1


@pytest.mark.slow
async def test_concurrent_requests_get_environments_of_their_own(world: Any) -> None:
    """Three requests at the same time run in three processes, one log stream each."""
    fv = world.function("f", SLEEP)
    pids = await asyncio.gather(*(answer(world, fv, b"0.1") for _ in range(3)))
    assert len(set(pids)) == 3
    await world.log()
    assert len({put["logStreamName"] for put in world.dispatcher.of("PutLogEvents")}) == 3


async def test_idle_environments_freeze_and_thaw(make: Any) -> None:
    """An idle environment's processes stop after freeze_after_ms, and go on for the next invocation."""
    async with make(freeze_after_ms=10) as world:
        fv = world.function("f", COUNT)
        pid, _ = await answer(world, fv)

        def state() -> str:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0]

        assert await soon(lambda: state() == "T")
        assert await answer(world, fv) == [pid, 2]
        assert await soon(lambda: state() == "T")


async def test_idle_environments_expire(make: Any) -> None:
    """After idle_timeout_s of no use an environment ends, and nothing of it is left."""
    clock = FakeClock()
    async with make(clock=clock, idle_timeout_s=300) as world:
        fv = world.function("f", COUNT)
        pid, _ = await answer(world, fv)
        await soon(lambda: clock.sleepers >= 1)
        await clock.advance(299)
        assert len(world.served) == 1
        await clock.advance(2)
        assert await soon(lambda: not world.served and not world.sandbox._environments)
        assert (await answer(world, fv))[0] != pid


async def test_environments_of_a_busy_function_are_not_kept_long(make: Any) -> None:
    """Where nearly all calls follow within a second, what has been idle for 15 seconds is not needed again."""
    clock = FakeClock()
    async with make(clock=clock, idle_timeout_s=300, freeze_after_ms=1) as world:
        fv, rare = world.function("f", COUNT), world.function("rare", COUNT)
        pid, _ = await answer(world, fv)
        await answer(world, rare)
        environment = next(iter(world.engine.pools._pool(fv).all))
        for _ in range(25):
            assert await soon(lambda: environment.frozen)
            await clock.advance(0.5)
            assert (await answer(world, fv))[0] == pid
        assert len(world.served) == 2
        assert await soon(lambda: environment.frozen)
        await clock.advance(16)
        assert await soon(lambda: len(world.served) == 1)
        assert (await answer(world, rare))[1] == 2  # of which little is known


async def test_a_new_revision_retires_the_old_environments(world: Any) -> None:
    """After a change of code or configuration no old environment takes an invocation, and the old ones end."""
    fv = world.function("f", COUNT)
    assert (await answer(world, fv))[1] == 1
    world.function("f", COUNT.replace("[os.getpid(), n]", "['new', n]"))
    assert await answer(world, replace(fv, revision="2")) == ["new", 1]
    assert await soon(lambda: len(world.served) == 1)


@pytest.mark.slow
async def test_retiring_lets_the_running_invocation_end(world: Any) -> None:
    """A deleted function's running invocation is answered; then its environment ends."""
    fv = world.function("f", SLEEP)
    running = asyncio.create_task(answer(world, fv, b"0.2"))
    await soon(lambda: world.engine.concurrency.running(fv.arn) == 1 and world.served)
    world.engine.forget(fv.account_id, fv.region, fv.arn)
    assert isinstance(await running, int)
    assert await soon(lambda: not world.served)


async def test_variables_are_awss(world: Any) -> None:
    """A function sees AWS's variables; its own replace no reserved ones, and those with an underscore are dropped."""
    own = {"MINE": "1", "_HIDDEN": "1", "AWS_REGION": "mars", "TZ": "Europe/Paris", "LANG": "C"}
    fv = world.function(
        "f",
        "import os\ndef handler(e, c):\n    return [dict(os.environ), c.log_stream_name]\n",
        environment=own,
        memory_mib=256,
    )
    seen, stream = await answer(world, fv)
    expected = {
        "AWS_ACCESS_KEY_ID": "ASIA0000000000000001",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "_HANDLER": "main.handler",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
        "MINE": "1",
        "TZ": "Europe/Paris",
        "LANG": "C",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert "_HIDDEN" not in seen
    assert seen["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert seen["AWS_LAMBDA_RUNTIME_API"].startswith("127.0.0.1:")
    day, _, rest = stream.partition("[")
    assert len(day.split("/")) == 4 and rest.startswith("$LATEST]") and len(rest) == 8 + 1 + 31


async def test_credentials_are_assumed_once_and_renewed(make: Any) -> None:
    """One AssumeRole, named after the function, serves many environments; old credentials end their environments."""
    clock = FakeClock()
    async with make(clock=clock, idle_timeout_s=100_000) as world:
        fv = world.function("fn", "import os\ndef handler(e, c):\n    return os.environ['AWS_ACCESS_KEY_ID']\n")
        assert await answer(world, fv) == "ASIA0000000000000001"
        assert await answer(world, fv) == "ASIA0000000000000001"
        assert world.dispatcher.of("AssumeRole") == [
            {"RoleArn": fv.role_arn, "RoleSessionName": "fn", "DurationSeconds": 3600}
        ]
        ctx = next(ctx for ctx, _, operation, _ in world.dispatcher.calls if operation == "AssumeRole")
        assert ctx.principal.name == "lambda.amazonaws.com"
        await clock.advance(3600 - 200)
        assert await answer(world, fv) == "ASIA0000000000000002"


@pytest.mark.slow
async def test_reserved_concurrency(world: Any) -> None:
    """One more request than reserved is 429 with AWS's reason; the place is free again after the answer."""
    fv = world.function("f", SLEEP, reserved_concurrency=1)
    running = asyncio.create_task(answer(world, fv, b"0.2"))
    await asyncio.sleep(0)
    with pytest.raises(ServiceError) as caught:
        await world.invoke(fv, b"0")
    assert (caught.value.code, caught.value.status, caught.value.message) == (
        "TooManyRequestsException",
        429,
        "Rate Exceeded.",
    )
    assert caught.value.fields == {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Type": "User"}
    await running
    for _ in range(5):
        await world.invoke(fv, b"0")


@pytest.mark.slow
async def test_account_concurrency(make: Any) -> None:
    """The account's limit, less what is reserved, is shared by the functions without a reservation."""
    async with make(account_concurrency=3) as world:
        reserved = world.function("r", SLEEP, reserved_concurrency=2)
        free = world.function("f", SLEEP)
        running = [asyncio.create_task(answer(world, fv, b"0.2")) for fv in (reserved, free)]
        await asyncio.sleep(0)
        with pytest.raises(ServiceError) as caught:
            await world.invoke(free, b"0")
        assert caught.value.fields["Reason"] == "ConcurrentInvocationLimitExceeded"
        await world.invoke(reserved, b"0")
        await asyncio.gather(*running)
        await world.invoke(free, b"0")


@pytest.mark.slow
async def test_the_number_of_environments_is_bounded(make: Any) -> None:
    """At max_environments an idle environment of another function makes room; if all are busy it is 429."""
    async with make(max_environments=1) as world:
        first, second = world.function("a", SLEEP), world.function("b", SLEEP)
        await world.invoke(first, b"0")
        await soon(lambda: len(world.engine.pools._pool(first).idle) == 1)
        running = asyncio.create_task(answer(world, second, b"0.2"))
        await soon(lambda: world.engine.concurrency.running(second.arn) == 1 and len(world.served) == 1)
        with pytest.raises(ServiceError) as caught:
            await world.invoke(first, b"0")
        assert caught.value.status == 429
        await running
        assert world.engine.pools.count == 1


@pytest.mark.slow
async def test_slow_initialisation_runs_again_within_the_invocation(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the limit for initialisation it starts again on the function's own time-out, and may succeed there."""
    monkeypatch.setattr(invoker_module, "INIT_LIMIT_S", 0.1)
    fv = world.function("f", "import time\ntime.sleep(0.3)\ndef handler(e, c):\n    return 1\n", timeout_s=5)
    assert (await world.invoke(fv, log_tail=True)).payload == b"1"
    log = await world.log()
    assert log[1] == "INIT_REPORT Init Duration: 100.00 ms\tPhase: init\tStatus: timeout\n"
    duration = float(log[-1].split("\tDuration: ")[1].split(" ms")[0])
    assert duration > 300
    assert "Init Duration" not in log[-1]
    slow = world.function("g", "import time\ntime.sleep(5)\n", timeout_s=1)
    body = await answer(world, slow)
    assert body["errorType"] == "Sandbox.Timedout"
    assert body["errorMessage"].endswith(" Error: Task timed out after 1.00 seconds")


async def test_a_stop_ends_every_environment_and_keeps_the_log(make: Any) -> None:
    """Stopping fails what runs with 503, ends the processes, and stores every line written so far."""
    async with make(log_flush_ms=100_000) as world:
        fv = world.function("f", "import time\ndef handler(e, c):\n    print('before')\n    time.sleep(e)\n")
        await world.invoke(fv, b"0")
        running = asyncio.create_task(world.invoke(fv, b"20"))
        await soon(lambda: world.engine.concurrency.running(fv.arn) == 1)
        await world.engine.stop()
        with pytest.raises(ServiceError) as caught:
            await running
        assert caught.value.status == 503
        assert not world.served and not world.sandbox._environments
        assert "before\n" in world.dispatcher.log()
        with pytest.raises(ServiceError):
            await world.invoke(fv, b"0")


async def test_json_log_format(world: Any) -> None:
    """With LogFormat JSON the platform's lines are AWS's events."""
    fv = world.function("f", "def handler(e, c):\n    return 1\n", log_format="JSON")
    await world.invoke(fv)
    await world.invoke(fv, log_tail=True)
    events = [json.loads(line) for line in await world.log()]
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["platform.initStart", "platform.start", "platform.report"]
    report = events[2]["record"]
    assert report["status"] == "success"
    assert set(report["metrics"]) == {
        "durationMs",
        "billedDurationMs",
        "memorySizeMB",
        "maxMemoryUsedMB",
        "initDurationMs",
    }


async def test_a_stop_during_initialisation(make: Any) -> None:
    """A server that stops while an environment initialises answers 503 at once and leaves no process."""
    async with make() as world:
        fv = world.function("f", "import time\ntime.sleep(30)\n")
        running = asyncio.create_task(world.invoke(fv))
        await soon(lambda: world.engine.pools.starting)
        async with asyncio.timeout(2):
            await world.engine.stop()
        with pytest.raises(ServiceError) as caught:
            await running
        assert caught.value.status == 503
        assert not world.served and not world.sandbox._environments


async def test_a_lie_about_the_time_does_not_lose_the_log(world: Any) -> None:
    """A telemetry frame dated the year 9000 is stored as of now."""
    fv = world.function(
        "f",
        "import os, struct\n"
        "fd = max(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')\n"
        "         and os.readlink(f'/proc/self/fd/{n}').startswith('pipe'))\n"
        "def handler(e, c):\n"
        "    os.write(fd, struct.pack('>IIQ', 0xa55a0003, 5, 221845392000000000) + b'later')\n",
    )
    await world.invoke(fv, log_tail=True)
    await world.log()
    events = [event for put in world.dispatcher.of("PutLogEvents") for event in put["logEvents"]]
    (event,) = [event for event in events if event["message"] == "later"]
    assert abs(event["timestamp"] - world.parts.clock.now() * 1000) < 60_000
