"""The Invoke operation."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import replace
from typing import Any

import pytest

from alonzo.core.context import Principal
from alonzo.core.errors import ServiceError
from alonzo.core.streams import BytesStream
from alonzo.dispatch import Call
from alonzo.engine.function import InvokeResult

ARN = "arn:aws:lambda:us-east-1:111111111111:function:f"


async def test_request_response(world: Any) -> None:
    """The payload goes to the engine untouched, with the ARN that was invoked; its answer comes back."""
    await world.create()
    answer = await world.call("Invoke", FunctionName="f", Payload=BytesStream(b' {"a": 1}'))
    assert answer == {"StatusCode": 200, "ExecutedVersion": "$LATEST", "Payload": b'{"ok":true}'}
    version, invocation = world.engine.invoker.calls[0]
    assert (version.name, version.timeout_s, version.memory_mib) == ("f", 3, 128)
    assert invocation.payload == b' {"a": 1}' and invocation.invoked_arn == ARN
    assert invocation.request_id == world.ctx.request_id


async def test_function_error_and_log_tail(world: Any) -> None:
    """FunctionError passes through; LogType=Tail gives the last 4 KB in base64."""
    await world.create()
    world.engine.invoker.answer = InvokeResult(b"{}", "", "Unhandled", b"x" * 5000)
    answer = await world.call("Invoke", FunctionName="f", LogType="Tail")
    assert answer["FunctionError"] == "Unhandled"
    assert base64.b64decode(answer["LogResult"]) == b"x" * 4096
    assert world.engine.invoker.calls[0][1].log_tail


async def test_event_is_stored_once_per_request(world: Any) -> None:
    """An Event invocation is one stored event, however often the same request is handed over."""
    await world.create()
    await world.call("PublishVersion", FunctionName="f")
    service = replace(world.ctx, principal=Principal.service("s3.amazonaws.com", "111111111111"))
    params = {"FunctionName": "f", "InvocationType": "Event", "Payload": b"[1]", "Qualifier": "1"}
    for _ in range(2):
        answer = await world.dispatcher.call(service, "lambda", "Invoke", params)
        assert answer == {"StatusCode": 202, "Payload": b""}
    [event] = world.engine.queue.events.values()
    assert (event.function_name, event.qualifier, event.payload) == ("f", "1", b"[1]")
    assert event.invoked_arn == f"{ARN}:1" and event.request_id == world.ctx.request_id
    assert not world.engine.invoker.calls


async def test_what_a_connection_brought_is_never_repeated(world: Any) -> None:
    """An Event invocation of a client's needs no key against repetition: its request id was made for it alone."""
    await world.create()
    client = replace(world.ctx, client_ip="127.0.0.1")
    await world.dispatcher.call(client, "lambda", "Invoke", {"FunctionName": "f", "InvocationType": "Event"})
    [event] = world.engine.queue.events.values()
    assert (event.id, event.request_id) == ("", world.ctx.request_id)


async def test_dry_run_runs_nothing(world: Any) -> None:
    """DryRun answers 204 and neither runs nor stores anything."""
    await world.create()
    assert await world.call("Invoke", FunctionName="f", InvocationType="DryRun") == {"StatusCode": 204, "Payload": b""}
    assert not world.engine.invoker.calls and not world.engine.queue.events


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "limit"), [("RequestResponse", 6_291_456), ("Event", 1_048_576)])
async def test_payload_limits(world: Any, kind: str, limit: int) -> None:
    """A payload of exactly the limit passes; one byte more is refused with AWS's text, streamed or in memory."""
    await world.create()
    largest = b'"' + b"x" * (limit - 2) + b'"'
    assert (await world.call("Invoke", FunctionName="f", InvocationType=kind, Payload=largest))["StatusCode"] in (
        200,
        202,
    )
    for payload in (largest + b" ", BytesStream(largest + b" ")):
        error = await world.fails("Invoke", FunctionName="f", InvocationType=kind, Payload=payload)
        assert (error.code, error.status) == ("RequestEntityTooLargeException", 413)
        if kind == "Event":
            text = "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"
        else:
            text = "Request must be smaller than 6291456 bytes for the InvokeFunction operation"
        assert error.message == text


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"hello", "Unrecognized token 'hello': was expecting (JSON String, Number"),
        (b"{]", "Unexpected character (']' (code 93))"),
        (b'{"a": ', "Unexpected end-of-input"),
        (b"NaN", "Unrecognized token 'NaN'"),
        (b'"\xff"', "Invalid UTF-8 start byte 0xff"),
        (b"\x99\xeb", "Unexpected character ((CTRL-CHAR, code 153)): expected a valid value"),
    ],
)
async def test_payload_must_be_json(world: Any, payload: bytes, text: str) -> None:
    """A payload that is no JSON gets InvalidRequestContentException with the place of the mistake."""
    await world.create()
    error = await world.fails("Invoke", FunctionName="f", Payload=payload)
    assert error.code == "InvalidRequestContentException"
    prefix = "Could not parse request body into json: Could not parse payload into json: "
    assert error.message.startswith(prefix + text)
    assert "; line: 1, column: " in error.message
    assert not world.engine.invoker.calls


async def test_client_context(world: Any) -> None:
    """A client context reaches the engine decoded; broken or oversized ones are refused."""
    await world.create()
    context = base64.b64encode(b'{"custom":{"a":1}}').decode()
    await world.call("Invoke", FunctionName="f", ClientContext=context)
    assert world.engine.invoker.calls[0][1].client_context == '{"custom":{"a":1}}'
    for bad in ("%%%", base64.b64encode(b"no").decode(), base64.b64encode(b'"' + b"x" * 3000 + b'"').decode()):
        assert (await world.fails("Invoke", FunctionName="f", ClientContext=bad)).status == 400


@pytest.mark.parametrize("member", ["DurableExecutionName", "TenantId"])
async def test_what_is_not_supported_is_refused(world: Any, member: str) -> None:
    """Durable execution names and tenant ids are refused, not ignored."""
    await world.create()
    assert (await world.fails("Invoke", FunctionName="f", **{member: "x"})).code == "InvalidParameterValueException"


async def test_alias_and_weighted_alias(world: Any, make_zip: Any) -> None:
    """An alias runs its version under the alias's ARN; weights share the calls between two versions."""
    await world.create(Publish=True)
    await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=make_zip("a = 1"), Publish=True)
    await world.active("f", "2")
    await world.active()
    await world.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    assert (await world.call("Invoke", FunctionName="f:live"))["ExecutedVersion"] == "1"
    assert world.engine.invoker.calls[-1][1].invoked_arn == f"{ARN}:live"
    await world.call(
        "UpdateAlias", FunctionName="f", Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}}
    )
    seen = {(await world.call("Invoke", FunctionName=f"{ARN}:live"))["ExecutedVersion"] for _ in range(64)}
    assert seen == {"1", "2"}
    await world.call("UpdateAlias", FunctionName="f", Name="live", FunctionVersion="2", RoutingConfig={})
    assert {(await world.call("Invoke", FunctionName="f:live"))["ExecutedVersion"] for _ in range(8)} == {"2"}


async def test_invoking_is_judged_by_the_qualifiers_policy(world: Any) -> None:
    """The permission asked for is lambda:InvokeFunction on the qualified ARN with that qualifier's own policy."""
    await world.create(Publish=True)
    await world.active("f", "1")
    await world.call(
        "AddPermission", FunctionName="f", StatementId="all", Action="lambda:InvokeFunction", Principal="*"
    )
    await world.call("Invoke", FunctionName="f")
    plain = world.judge.asked[-1]
    await world.call("Invoke", FunctionName="f", Qualifier="1")
    versioned = world.judge.asked[-1]
    assert plain.action == versioned.action == "lambda:InvokeFunction"
    assert plain.resource == ARN and '"Sid":"all"' in plain.resource_policy
    assert versioned.resource == f"{ARN}:1" and versioned.resource_policy is None
    await world.call("RemovePermission", FunctionName="f", StatementId="all")
    await world.call("Invoke", FunctionName="f")
    assert world.judge.asked[-1].resource_policy is None


async def test_who_may_not_invoke_does_not_learn_what_exists(world: Any) -> None:
    """Without permission an unknown function is denied like a known one; with permission it is not found."""
    error = await world.fails("Invoke", FunctionName="nothing")
    assert error.message == "Function not found: arn:aws:lambda:us-east-1:111111111111:function:nothing:$LATEST"
    world.judge.denied.add("lambda:InvokeFunction")
    assert (await world.fails("Invoke", FunctionName="nothing")).code == "AccessDeniedException"


async def test_engine_sees_functions_through_the_source(world: Any) -> None:
    """The source resolves qualifiers, gives the event configuration, and reports what is missing."""
    await world.create()
    await world.call(
        "PutFunctionEventInvokeConfig", FunctionName="f", MaximumRetryAttempts=1, MaximumEventAgeInSeconds=60
    )
    await world.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=7)
    source = world.engine.functions
    version = source.resolve("111111111111", "us-east-1", "f", "")
    assert (version.version, version.reserved_concurrency) == ("$LATEST", 7)
    config = source.event_config("111111111111", "us-east-1", "f", "")
    assert (config.max_retries, config.max_age_s) == (1, 60)
    assert source.event_config("111111111111", "us-east-1", "f", "1").max_retries == 2
    with pytest.raises(Exception, match=r"Function not found: .*:f:9"):
        source.resolve("111111111111", "us-east-1", "f", "9")


async def test_the_source_remembers_until_the_function_changes(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again the source reads nothing, and every kind of change shows in its next answer."""
    await world.create()
    await world.call("PublishVersion", FunctionName="f")
    await world.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    source, reads = world.engine.functions, 0
    read = world.db.read_nowait

    def counted(query: Any) -> Any:
        nonlocal reads
        reads += 1
        return read(query)

    monkeypatch.setattr(world.db, "read_nowait", counted)

    async def seen(qualifier: str = "") -> tuple[Any, ...]:
        where = ("111111111111", "us-east-1", "f", qualifier)
        version, config = source.resolve(*where), source.event_config(*where)
        return version.version, version.timeout_s, version.reserved_concurrency, config.max_retries

    before = -1
    async with asyncio.timeout(5):
        while reads != before:  # the writes that make both versions Active have to end
            await asyncio.sleep(0.01)
            before = reads
            assert await seen() == ("$LATEST", 3, None, 2)
    await world.call("Invoke", FunctionName="f")
    assert reads == before
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
    async with asyncio.timeout(5):
        while await seen() != ("$LATEST", 9, None, 2):  # the old configuration runs until the new one is prepared
            await asyncio.sleep(0.01)
    await world.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=7)
    await world.call("PutFunctionEventInvokeConfig", FunctionName="f", MaximumRetryAttempts=0)
    assert await seen() == ("$LATEST", 9, 7, 0)
    await world.call("DeleteFunctionEventInvokeConfig", FunctionName="f")
    assert (await seen())[3] == 2
    assert (await seen("live"))[:2] == ("1", 3)
    await world.call("PublishVersion", FunctionName="f")
    await world.call("UpdateAlias", FunctionName="f", Name="live", FunctionVersion="2")
    assert (await seen("live"))[:2] == ("2", 9)
    await world.call("DeleteFunction", FunctionName="f")
    with pytest.raises(ServiceError, match="Function not found"):
        await seen()


@pytest.mark.slow
async def test_a_warm_invoke_costs_little(world: Any) -> None:
    """Finding the function, its permission and checking a small payload stay far below the budget of the hot path."""
    await world.create()
    await asyncio.sleep(0.05)  # the write that made it Active has to end: nothing below gives way to it
    service = world.service
    params = {"FunctionName": "f", "Payload": b'{"key": "value"}'}
    rounds = 5000

    async def once() -> None:
        await service.access(world.ctx, "Invoke", params)
        await service.handlers["Invoke"](world.ctx, params)

    best = 1.0
    for _ in range(5):
        begin = time.process_time()
        for _ in range(rounds):
            await once()
        best = min(best, (time.process_time() - begin) / rounds)
        world.engine.invoker.calls.clear()
    print(f"warm Invoke handler: {best * 1e6:.1f} us")
    assert best < 100e-6


def known(world: Any, named: dict[str, str]) -> Any:
    """What a prompt invocation would find, which asks nobody."""
    call = Call(world.ctx.principal, "111111111111", "us-east-1", named, b"", "r", "", "", lambda *_: None)
    return world.dispatcher.services["lambda"].prompt["Invoke"].find(call)


async def test_a_function_is_known_before_its_first_invocation(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking it up is done when it has become active: the first call reads nothing of it, by name or by ARN."""
    await world.create()
    await world.db.write(lambda connection: None)  # the one that made it Active has been told so before this one
    for _ in range(10):  # and what followed from it is done
        await asyncio.sleep(0)
    await world.until(lambda: known(world, {"FunctionName": "f"}))
    read: list[object] = []
    reads = world.db.read_nowait
    monkeypatch.setattr(world.db, "read_nowait", lambda query: read.append(query) or reads(query))
    for name in ("f", ARN):
        await world.call("Invoke", FunctionName=name)
    assert read == []
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)  # and no old one is kept
    while (await world.call("GetFunctionConfiguration", FunctionName="f"))["LastUpdateStatus"] == "InProgress":
        await asyncio.sleep(0.01)
    await world.call("Invoke", FunctionName="f")
    assert world.engine.invoker.calls[-1][0].timeout_s == 9


async def test_a_provisioned_version_is_known_before_anybody_calls_it(world: Any) -> None:
    """However its first caller names it, the database need not be asked; after a change it must be."""
    await world.create()
    await world.call("PublishVersion", FunctionName="f")
    names: list[dict[str, str]] = [
        {"FunctionName": "f", "Qualifier": "1"},
        {"FunctionName": "f:1"},
        {"FunctionName": f"{ARN}:1"},
        {"FunctionName": "111111111111:function:f", "Qualifier": "1"},
    ]

    def found() -> list[Any]:
        return [known(world, name) for name in names]

    assert found() == [None] * 4
    await world.call(
        "PutProvisionedConcurrencyConfig", FunctionName="f", Qualifier="1", ProvisionedConcurrentExecutions=1
    )
    await world.until(lambda: found()[1])
    [target, *others] = found()
    assert target.ref.qualified_arn == f"{ARN}:1" and all(other is target for other in others)
    names += [{"FunctionName": "f:1", "Qualifier": "2"}, {"FunctionName": "arn:aws:lambda:eu-west-1:1:function:f:1"}]
    assert found()[4:] == [None, None]
    await world.call("DeleteFunction", FunctionName="f")
    assert found() == [None] * 6
