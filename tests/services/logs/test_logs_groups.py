"""Log groups, streams, tags and retention."""

from __future__ import annotations

from typing import Any

import pytest

from alonzo.core.errors import ServiceError
from alonzo.services.logs import background, store
from alonzo.services.logs.state import Logs

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
ARN = "arn:aws:logs:eu-central-1:123456789012:log-group"
LogsUnderTest = Any  # the fixture's class in conftest.py


def state_of(api: LogsUnderTest) -> Logs:
    found = api.service.handlers["PutLogEvents"].args[0]
    assert isinstance(found, Logs)
    return found


async def count_chunks(api: LogsUnderTest) -> int:
    count: int = await api.parts.db.read(
        lambda c: c.exec_driver_sql("SELECT count(*) FROM logs_chunk").scalar()  # the test looks, the product does not
    )
    return count


async def test_a_group_is_described_as_on_aws(api: LogsUnderTest) -> None:
    """Names, both ARNs, class, times, and stored bytes with 26 for each event."""
    await api.call("CreateLogGroup", logGroupName="/aws/lambda/f", tags={"team": "a"})
    await api.call("CreateLogStream", logGroupName="/aws/lambda/f", logStreamName="s")
    await api.put((0, "12345"), (1, "ü"))
    await api.call("PutRetentionPolicy", logGroupName="/aws/lambda/f", retentionInDays=7)
    assert (await api.call("DescribeLogGroups"))["logGroups"] == [
        {
            "logGroupName": "/aws/lambda/f",
            "creationTime": NOW_MS,
            "retentionInDays": 7,
            "metricFilterCount": 0,
            "arn": f"{ARN}:/aws/lambda/f:*",
            "storedBytes": 5 + 2 + 2 * 26,
            "logGroupClass": "STANDARD",
            "logGroupArn": f"{ARN}:/aws/lambda/f",
            "deletionProtectionEnabled": False,
        }
    ]


async def test_groups_are_found_by_prefix_pattern_and_page(api: LogsUnderTest) -> None:
    """A prefix counts from the start, a pattern anywhere, both with their case; pages neither lose nor repeat."""
    for name in ("/aws/lambda/alpha", "/aws/lambda/Beta", "/custom/alphabet", "a_b", "axb"):
        await api.call("CreateLogGroup", logGroupName=name)

    async def names(**params: Any) -> list[str]:
        return [group["logGroupName"] for group in (await api.call("DescribeLogGroups", **params))["logGroups"]]

    assert await names(logGroupNamePrefix="/aws/") == ["/aws/lambda/Beta", "/aws/lambda/alpha"]
    assert await names(logGroupNamePattern="alpha") == ["/aws/lambda/alpha", "/custom/alphabet"]
    assert await names(logGroupNamePattern="beta") == []
    assert await names(logGroupNamePattern="a_") == ["a_b"]
    assert await names(logGroupNamePrefix="a_") == ["a_b"]
    assert await names(logGroupIdentifiers=["a_b", f"{ARN}:axb"]) == ["a_b", "axb"]
    first = await api.call("DescribeLogGroups", limit=3)
    rest = await api.call("DescribeLogGroups", limit=3, nextToken=first["nextToken"])
    assert len(first["logGroups"]) == 3
    assert len(rest["logGroups"]) == 2
    assert "nextToken" not in rest
    with pytest.raises(ServiceError, match="mutually exclusive"):
        await names(logGroupNamePrefix="a", logGroupNamePattern="a")
    with pytest.raises(ServiceError, match="nextToken is invalid"):
        await names(logGroupNamePrefix="a", nextToken=first["nextToken"])


async def test_names_are_taken_once(api: LogsUnderTest) -> None:
    """A second group or stream of the same name gets AWS's error."""
    await api.stream()
    with pytest.raises(ServiceError) as group:
        await api.call("CreateLogGroup", logGroupName="/aws/lambda/f")
    assert (group.value.code, group.value.message) == (
        "ResourceAlreadyExistsException",
        "The specified log group already exists",
    )
    with pytest.raises(ServiceError) as stream:
        await api.call("CreateLogStream", logGroupName="/aws/lambda/f", logStreamName="s")
    assert stream.value.message == "The specified log stream already exists"
    with pytest.raises(ServiceError, match="log group does not exist"):
        await api.call("CreateLogStream", logGroupName="other", logStreamName="s")


@pytest.mark.parametrize("name", ["", "a b", "a" * 513, "ü", "a*"])
async def test_wrong_group_names_are_refused(api: LogsUnderTest, name: str) -> None:
    """The service model's pattern and length hold."""
    with pytest.raises(ServiceError):
        await api.call("CreateLogGroup", logGroupName=name)


async def test_streams_are_listed_by_name_and_by_time(api: LogsUnderTest) -> None:
    """Both orders, both directions, with paging; a stream without events comes first by time."""
    for name in ("a", "b", "c", "d"):
        await api.stream(stream=name)
    await api.put((30, "x"), stream="a")
    await api.put((10, "x"), stream="b")
    await api.put((10, "x"), stream="c")

    async def walk(**params: Any) -> list[str]:
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = await api.call("DescribeLogStreams", logGroupName="/aws/lambda/f", limit=1, **params, **token)
            found += [stream["logStreamName"] for stream in page["logStreams"]]
            if "nextToken" not in page:
                return found
            token = {"nextToken": page["nextToken"]}

    assert await walk() == ["a", "b", "c", "d"]
    assert await walk(descending=True) == ["d", "c", "b", "a"]
    assert await walk(orderBy="LastEventTime") == ["d", "b", "c", "a"]
    assert await walk(orderBy="LastEventTime", descending=True) == ["a", "c", "b", "d"]
    assert await walk(logStreamNamePrefix="b") == ["b"]
    with pytest.raises(ServiceError, match="Cannot order by LastEventTime with a logStreamNamePrefix"):
        await walk(orderBy="LastEventTime", logStreamNamePrefix="b")


async def test_a_stream_knows_its_times(api: LogsUnderTest) -> None:
    """First and last event over all batches, whichever came first; nothing before the first event."""
    await api.stream()
    (empty,) = (await api.call("DescribeLogStreams", logGroupName="/aws/lambda/f"))["logStreams"]
    assert "lastEventTimestamp" not in empty
    await api.put((10, "x"), (20, "x"))
    await api.put((0, "x"), (5, "x"))
    (stream,) = (await api.call("DescribeLogStreams", logGroupName="/aws/lambda/f"))["logStreams"]
    assert (stream["firstEventTimestamp"], stream["lastEventTimestamp"]) == (NOW_MS, NOW_MS + 20)
    assert stream["lastIngestionTime"] == NOW_MS
    assert stream["arn"] == f"{ARN}:/aws/lambda/f:log-stream:s"
    assert stream["storedBytes"] == 0


async def test_a_deleted_group_takes_its_events_along(api: LogsUnderTest) -> None:
    """A new group of the same name is empty, and the sweep removes what the old one left."""
    await api.stream()
    await api.put((0, "secret"))
    await api.call("DeleteLogGroup", logGroupName="/aws/lambda/f")
    await api.stream()
    assert (await api.filter())["events"] == []
    assert (await api.get())["events"] == []
    await background.sweep(state_of(api))
    assert await count_chunks(api) == 0


async def test_a_deleted_stream_takes_its_events_along(api: LogsUnderTest) -> None:
    """Its events are gone from the group at once, and a new stream of the same name takes events again."""
    await api.stream()
    await api.put((0, "old"))
    await api.call("DeleteLogStream", logGroupName="/aws/lambda/f", logStreamName="s")
    assert (await api.filter())["events"] == []
    await api.stream()
    await api.put((0, "new"))
    assert [e["message"] for e in (await api.filter())["events"]] == ["new"]
    await background.sweep(state_of(api))
    assert await count_chunks(api) == 1
    with pytest.raises(ServiceError, match="log stream does not exist"):
        await api.call("DeleteLogStream", logGroupName="/aws/lambda/f", logStreamName="t")


async def test_deletion_protection_holds(api: LogsUnderTest) -> None:
    """A protected group is not deleted until the protection is taken off."""
    await api.call("CreateLogGroup", logGroupName="g", deletionProtectionEnabled=True)
    with pytest.raises(ServiceError, match="deletion protection"):
        await api.call("DeleteLogGroup", logGroupName="g")
    await api.call("PutLogGroupDeletionProtection", logGroupIdentifier="g", deletionProtectionEnabled=False)
    await api.call("DeleteLogGroup", logGroupName="g")


async def test_retention_is_enforced(api: LogsUnderTest) -> None:
    """Expired events are out of sight at once and out of the database after a sweep; putting them is reported."""
    await api.stream()
    await api.put((0, "first"))
    await api.call("PutRetentionPolicy", logGroupName="/aws/lambda/f", retentionInDays=1)
    api.clock.time += 86_400
    assert [e["message"] for e in (await api.get())["events"]] == ["first"]
    api.clock.time += 1
    await api.put((DAY_MS, "second"))
    assert [e["message"] for e in (await api.get())["events"]] == ["second"]
    assert [e["message"] for e in (await api.filter())["events"]] == ["second"]
    assert await count_chunks(api) == 2
    await background.sweep(state_of(api))
    assert await count_chunks(api) == 1
    (group,) = (await api.call("DescribeLogGroups"))["logGroups"]
    assert group["storedBytes"] == 6 + 26
    late = await api.put((0, "too late"), (DAY_MS, "third"))
    assert late["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    await api.call("DeleteRetentionPolicy", logGroupName="/aws/lambda/f")
    assert "rejectedLogEventsInfo" not in await api.put((0, "again"))


async def test_retention_takes_only_awss_numbers(api: LogsUnderTest) -> None:
    """Other numbers of days get the validation error."""
    await api.call("CreateLogGroup", logGroupName="g")
    with pytest.raises(ServiceError, match="enum value set"):
        await api.call("PutRetentionPolicy", logGroupName="g", retentionInDays=2)


async def test_merging_keeps_events_ids_and_order(api: LogsUnderTest) -> None:
    """After many small batches have become few rows, every answer is what it was before, tokens included."""
    await api.stream()
    for n in range(120):
        await api.put((n * 10, f"a{n}"), (n * 10 + 15, f"b{n}"))
    before, page = await api.filter(), await api.get(limit=50)
    assert await count_chunks(api) == 120
    await background.sweep(state_of(api))
    assert await count_chunks(api) < 40
    assert await api.filter() == before
    assert await api.get(limit=50) == page
    later = await api.get(nextToken=page["nextBackwardToken"], limit=10_000)
    assert len(later["events"]) + 50 == 240


@pytest.mark.slow
async def test_merging_leaves_apart_what_is_far_apart(api: LogsUnderTest) -> None:
    """Chunks of a sparse stream stay, dense ones after them are merged, and the sweep comes to its end."""
    await api.stream()
    for n in range(120):
        await api.put((n * 700_000 - 120 * 700_000, f"sparse {n}"))
    for n in range(50):
        await api.put((n, f"dense {n}"))
    before = [e["message"] for e in (await api.filter(startTime=0))["events"]]
    await background.sweep(state_of(api), 14 * DAY_MS)
    assert await count_chunks(api) == 121
    assert [e["message"] for e in (await api.filter(startTime=0))["events"]] == before
    await background.sweep(state_of(api), 14 * DAY_MS)
    assert await count_chunks(api) == 121


async def test_a_failed_sweep_is_logged_and_tried_again(
    api: LogsUnderTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails once (a full disk) does not end the background work."""
    import asyncio

    swept = asyncio.Event()
    failures = [OSError("disk full")]

    async def sweep(*_: Any) -> None:
        if failures:
            raise failures.pop()
        swept.set()

    monkeypatch.setattr(background, "sweep", sweep)
    task = asyncio.create_task(api.service.run())
    async with asyncio.timeout(10):
        await swept.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "the logs could not be swept" in caplog.text


async def test_the_background_work_sweeps_by_the_clock(api: LogsUnderTest) -> None:
    """`run` sweeps each half minute of the service's clock, and lets itself be cancelled."""
    import asyncio

    await api.stream()
    await api.put((0, "x"))
    await api.call("DeleteLogGroup", logGroupName="/aws/lambda/f")
    task = asyncio.create_task(api.service.run())
    async with asyncio.timeout(10):
        while await count_chunks(api):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_tags_by_arn_and_by_name_are_the_same(api: LogsUnderTest) -> None:
    """What one form sets, the other shows; keys can be removed; fifty is the limit."""
    await api.call("CreateLogGroup", logGroupName="g", tags={"a": "1"})
    arn = f"{ARN}:g"
    await api.call("TagResource", resourceArn=arn, tags={"b": "2", "a": "3"})
    assert (await api.call("ListTagsLogGroup", logGroupName="g"))["tags"] == {"a": "3", "b": "2"}
    await api.call("TagLogGroup", logGroupName="g", tags={"c": "4"})
    await api.call("UntagResource", resourceArn=arn, tagKeys=["a", "unknown"])
    await api.call("UntagLogGroup", logGroupName="g", tags=["b"])
    assert (await api.call("ListTagsForResource", resourceArn=arn))["tags"] == {"c": "4"}
    with pytest.raises(ServiceError) as error:
        await api.call("TagResource", resourceArn=arn, tags={f"k{n}": "" for n in range(50)})
    assert error.value.code == "TooManyTagsException"
    with pytest.raises(ServiceError, match="log group does not exist"):
        await api.call("ListTagsForResource", resourceArn=f"{ARN}:other")
    with pytest.raises(ServiceError, match="Invalid"):
        await api.call("ListTagsForResource", resourceArn="arn:aws:s3:::bucket")


async def test_metric_filters_are_refused_by_name(api: LogsUnderTest) -> None:
    """What is not implemented says so instead of being stored and ignored."""
    with pytest.raises(ServiceError, match="does not implement logs:PutSubscriptionFilter"):
        await api.call("PutSubscriptionFilter", logGroupName="g")
    tried = await api.call("TestMetricFilter", filterPattern="[a, b=2*]", logEventMessages=["x 20", "y 3"])
    assert tried["matches"] == [{"eventNumber": 1, "eventMessage": "x 20", "extractedValues": {"$a": "x", "$b": "20"}}]


async def test_many_puts_at_once_are_one_transaction(api: LogsUnderTest) -> None:
    """Puts of the same moment are stored together; one whose stream is missing fails alone."""
    import asyncio

    for n in range(20):
        await api.stream(stream=f"s{n}")
    calls = [api.put((n, f"m{n}"), stream=f"s{n}") for n in range(20)]
    results = await asyncio.gather(*calls, api.put((0, "lost"), stream="nowhere"), return_exceptions=True)
    assert isinstance(results[-1], ServiceError)
    assert not any(isinstance(result, BaseException) for result in results[:-1])
    assert [e["message"] for e in (await api.filter())["events"]] == [f"m{n}" for n in range(20)]


async def test_a_reader_sees_one_state_while_chunks_are_merged(api: LogsUnderTest) -> None:
    """A search under way finds each event once although its chunks are merged and removed beside it."""
    await api.stream()
    for n in range(100):
        await api.put((n, str(n)))
    group = await state_of(api).group(_context(), "/aws/lambda/f")

    def read_slowly(connection: Any) -> list[str]:
        with store.snapshot(connection):
            events = store.events_forward(connection, group.id, None, 0, NOW_MS + 1000)
            first = next(events)
            _merge_elsewhere(api)
            return [first.message, *(event.message for event in events)]

    assert await api.parts.db.scan(read_slowly) == [str(n) for n in range(100)]
    assert await count_chunks(api) < 40


def _context() -> Any:
    from alonzo.core.context import Context, Principal

    return Context("123456789012", "eu-central-1", Principal.root("123456789012"), "request")


def _merge_elsewhere(api: LogsUnderTest) -> None:
    """Merge now, on the writer's connection; called from a reader's thread."""
    import asyncio

    loop = api.parts.db._loop
    asyncio.run_coroutine_threadsafe(background.sweep(state_of(api)), loop).result(10)
