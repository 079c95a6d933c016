"""Event source mappings of queues: parameters, states, lists. What AWS recorded is in the conformance tests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alonzo.core.context import Context
from alonzo.dispatch import Service

ACCOUNT = "111111111111"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:q"


async def _anyone(ctx: Context, operation: str, params: dict[str, Any]) -> tuple[()]:
    return ()


@pytest.fixture
async def mapped(world: Any) -> Any:
    """A world with queues of 30 seconds' visibility, and a function."""

    async def attributes(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
        return {"Attributes": {"VisibilityTimeout": "30"}}

    world.dispatcher.add(Service("sqs", {"GetQueueAttributes": attributes}, _anyone))
    await world.create("f")
    return world


async def _create(world: Any, **more: Any) -> dict[str, Any]:
    made = await world.call("CreateEventSourceMapping", **{"FunctionName": "f", "EventSourceArn": QUEUE, **more})
    return dict(await _settled(world, made["UUID"]))


async def _settled(world: Any, uuid: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}

    async def look() -> bool:
        shown.update(await world.call("GetEventSourceMapping", UUID=uuid))
        return shown["State"] in ("Enabled", "Disabled")

    for _ in range(2_000):
        if await look():
            return shown
        await world.parts.clock.sleep(0.001)
    raise AssertionError(shown)


async def test_what_is_asked_for_reaches_the_poller(mapped: Any) -> None:
    """Sizes, filters, answers and concurrency are shown again and are what the engine runs."""
    pattern = '{"body": {"x": [1]}}'
    shown = await _create(
        mapped,
        BatchSize=100,
        MaximumBatchingWindowInSeconds=5,
        FilterCriteria={"Filters": [{"Pattern": pattern}]},
        ScalingConfig={"MaximumConcurrency": 3},
        FunctionResponseTypes=["ReportBatchItemFailures"],
        MetricsConfig={"Metrics": ["EventCount"]},
        KMSKeyArn=f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k",
    )
    assert shown["FilterCriteria"] == {"Filters": [{"Pattern": pattern}]}
    assert shown["MetricsConfig"] == {"Metrics": ["EventCount"]} and shown["KMSKeyArn"].endswith("key/k")
    running = mapped.engine.pollers.running[shown["UUID"]]
    assert (running.batch_size, running.window_s, running.max_concurrency) == (100, 5, 3)
    assert (running.filters, running.report_failures) == ((pattern,), True)


async def test_provisioned_pollers(mapped: Any) -> None:
    """ProvisionedPollerConfig bounds the pollers; it excludes MaximumConcurrency."""
    shown = await _create(mapped, ProvisionedPollerConfig={"MinimumPollers": 3, "MaximumPollers": 7})
    running = mapped.engine.pollers.running[shown["UUID"]]
    assert (running.min_pollers, running.max_pollers) == (3, 7)
    error = await mapped.fails("UpdateEventSourceMapping", UUID=shown["UUID"], ScalingConfig={"MaximumConcurrency": 5})
    assert error.code == "InvalidParameterValueException"


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"EventSourceArn": QUEUE + ".fifo", "BatchSize": 100, "MaximumBatchingWindowInSeconds": 5}, "Batching window"),
        ({"EventSourceArn": QUEUE + ".fifo", "BatchSize": 11}, "Maximum batch window in seconds must be"),
        ({"BatchSize": 11}, "Maximum batch window in seconds must be greater than 0"),
        ({"ParallelizationFactor": 2}, "Unsupported ParallelizationFactor parameter for given event source mapping"),
        ({"StartingPosition": "LATEST"}, "Unsupported StartingPosition parameter"),
        ({"DestinationConfig": {"OnFailure": {"Destination": QUEUE}}}, "Unsupported DestinationConfig parameter"),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"body": {"x": 1}}'}]}}, "Invalid filter pattern definition."),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{}"}] * 11}}, "at most 10 filters"),
        ({"ProvisionedPollerConfig": {"MinimumPollers": 9, "MaximumPollers": 8}}, "ProvisionedPollerConfig of a queue"),
        ({"FunctionName": "f:nobody"}, "Function does not exist"),
        ({"FunctionName": "222222222222:f"}, "Function does not exist"),
        ({"EventSourceArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:q?x"}, "Unrecognized event source."),
        ({"EventSourceArn": "arn:aws:s3:::bucket"}, "Unrecognized event source."),
    ],
)
async def test_bad_parameters(mapped: Any, params: dict[str, Any], text: str) -> None:
    """Each bad parameter has its error, and no mapping stays behind."""
    good = {"FunctionName": "f", "EventSourceArn": QUEUE}
    error = await mapped.fails("CreateEventSourceMapping", **{**good, **params})
    assert (error.code, text in error.message) == ("InvalidParameterValueException", True), error
    assert (await mapped.call("ListEventSourceMappings"))["EventSourceMappings"] == []


async def test_concurrency_below_two(mapped: Any) -> None:
    """MaximumConcurrency is at least 2, as the model has it."""
    one = {"ScalingConfig": {"MaximumConcurrency": 1}}
    error = await mapped.fails("CreateEventSourceMapping", FunctionName="f", EventSourceArn=QUEUE, **one)
    assert error.code == "ValidationException"


async def test_other_sources_are_refused_clearly(mapped: Any) -> None:
    """A source that is not polled yet is answered with 501 and its name."""
    source = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s"
    error = await mapped.fails(
        "CreateEventSourceMapping", FunctionName="f", EventSourceArn=source, StartingPosition="LATEST"
    )
    assert (error.status, "Kinesis" in error.message) == (501, True)


async def test_the_role_is_asked(mapped: Any) -> None:
    """The execution role must be allowed to receive, delete and look at the queue."""

    async def access(ctx: Context, operation: str, params: dict[str, Any]) -> Any:
        from alonzo.dispatch import Access

        assert ctx.principal.role_arn.endswith("role/worker")
        return (Access(f"sqs:{operation.lower()}", QUEUE),)

    mapped.dispatcher.add(Service("sqs", mapped.dispatcher.services["sqs"].handlers, access))
    for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
        mapped.judge.denied = {f"sqs:{action.lower()}"}
        error = await mapped.fails("CreateEventSourceMapping", FunctionName="f", EventSourceArn=QUEUE)
        assert error.message == f"The provided execution role does not have permissions to call {action} on SQS"


async def test_lists(mapped: Any) -> None:
    """Lists are paged and narrowed by source and function."""
    await mapped.create("g")
    uuids = set()
    for n in range(3):
        uuids.add((await _create(mapped, EventSourceArn=f"{QUEUE}{n}"))["UUID"])
    other = (await _create(mapped, FunctionName="g"))["UUID"]
    found, marker = [], {}
    while True:
        page = await mapped.call("ListEventSourceMappings", MaxItems=2, **marker)
        found += [one["UUID"] for one in page["EventSourceMappings"]]
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    assert found == sorted({*uuids, other})

    async def listed(**narrow: Any) -> set[str]:
        return {one["UUID"] for one in (await mapped.call("ListEventSourceMappings", **narrow))["EventSourceMappings"]}

    assert await listed(FunctionName="f") == uuids
    assert await listed(EventSourceArn=QUEUE) == await listed(FunctionName="g") == {other}
    assert await listed(FunctionName="f", EventSourceArn=QUEUE) == set()


async def test_states(mapped: Any) -> None:
    """A mapping is Disabled or Enabled as asked, runs only while enabled, and is in use while it changes."""
    uuid = (await _create(mapped, Enabled=False))["UUID"]
    pollers, gate = mapped.engine.pollers, asyncio.Event()
    running, apply = pollers.running, pollers.apply
    assert uuid not in running

    async def held(mapping: Any) -> None:
        await gate.wait()
        await apply(mapping)

    pollers.apply = held
    assert (await mapped.call("UpdateEventSourceMapping", UUID=uuid, Enabled=True))["State"] == "Enabling"
    for operation in ("UpdateEventSourceMapping", "DeleteEventSourceMapping"):
        assert (await mapped.fails(operation, UUID=uuid)).code == "ResourceInUseException"
    gate.set()
    assert (await _settled(mapped, uuid))["State"] == "Enabled" and uuid in running
    assert (await mapped.call("UpdateEventSourceMapping", UUID=uuid, BatchSize=5))["State"] == "Updating"
    assert (await _settled(mapped, uuid))["BatchSize"] == running[uuid].batch_size == 5
    assert (await mapped.call("UpdateEventSourceMapping", UUID=uuid, Enabled=False))["State"] == "Disabling"
    assert (await _settled(mapped, uuid))["State"] == "Disabled" and uuid not in running
    assert (await mapped.call("DeleteEventSourceMapping", UUID=uuid))["State"] == "Deleting"
    for _ in range(2_000):
        if not (await mapped.call("ListEventSourceMappings"))["EventSourceMappings"]:
            break
        await mapped.parts.clock.sleep(0.001)
    assert (await mapped.fails("GetEventSourceMapping", UUID=uuid)).code == "ResourceNotFoundException"


async def test_problems_are_shown(mapped: Any) -> None:
    """What the poller complains of is the LastProcessingResult."""
    shown = await _create(mapped)
    assert "LastProcessingResult" not in shown
    mapped.engine.pollers.problems[shown["UUID"]] = "PROBLEM: no"
    assert (await mapped.call("GetEventSourceMapping", UUID=shown["UUID"]))["LastProcessingResult"] == "PROBLEM: no"


async def test_a_start_takes_mappings_up(mapped: Any, new_world: Any) -> None:
    """After a crash mappings go on from where their rows say: enabled ones run, those being deleted go."""
    from alonzo.services.lambda_.store import mappings

    kept = (await _create(mapped))["UUID"]
    gone = (await _create(mapped, EventSourceArn=f"{QUEUE}2"))["UUID"]
    key = (ACCOUNT, "us-east-1")
    await mapped.db.write(lambda c: mappings.move_state(c, (*key, kept), "Enabled", "Creating"))
    await mapped.db.write(lambda c: mappings.move_state(c, (*key, gone), "Enabled", "Deleting"))
    await mapped.stop()
    again = new_world(mapped.folder)
    await again.start()
    try:
        assert (await _settled(again, kept))["State"] == "Enabled"
        await again.until(lambda: list(again.engine.pollers.running) == [kept])
        async with asyncio.timeout(30):  # the other goes by itself, sooner or later than that
            while [one["UUID"] for one in (await again.call("ListEventSourceMappings"))["EventSourceMappings"]] != [
                kept
            ]:
                await asyncio.sleep(0.01)
    finally:
        await again.stop()
        await mapped.start()  # the fixture stops it
