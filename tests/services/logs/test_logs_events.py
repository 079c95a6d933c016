"""Putting events and getting them back."""

from __future__ import annotations

from typing import Any

import pytest

from alonzo.core.errors import ServiceError

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
LogsUnderTest = Any  # the fixture's class in conftest.py


def messages(result: dict[str, Any]) -> list[str]:
    return [event["message"] for event in result["events"]]


async def test_what_was_put_is_got_in_order(api: LogsUnderTest) -> None:
    """Events come back with their time and message, and the time they were taken in."""
    await api.stream()
    await api.put((0, "one"), (1, "two"), (1, "drei ü 漢"))
    result = await api.get(startFromHead=True)
    assert result["events"] == [
        {"timestamp": NOW_MS, "message": "one", "ingestionTime": NOW_MS},
        {"timestamp": NOW_MS + 1, "message": "two", "ingestionTime": NOW_MS},
        {"timestamp": NOW_MS + 1, "message": "drei ü 漢", "ingestionTime": NOW_MS},
    ]
    assert messages(await api.get()) == ["one", "two", "drei ü 漢"]


async def test_paging_forward_ends_with_the_same_token(api: LogsUnderTest) -> None:
    """At the end the forward token repeats itself, and later goes on with what has come since."""
    await api.stream()
    await api.put(*((n, str(n)) for n in range(5)))
    first = await api.get(startFromHead=True, limit=3)
    assert messages(first) == ["0", "1", "2"]
    second = await api.get(nextToken=first["nextForwardToken"], startFromHead=True, limit=3)
    assert messages(second) == ["3", "4"]
    end = await api.get(nextToken=second["nextForwardToken"], startFromHead=True)
    assert messages(end) == []
    assert end["nextForwardToken"] == second["nextForwardToken"]
    await api.put((9, "late"))
    assert messages(await api.get(nextToken=end["nextForwardToken"], startFromHead=True)) == ["late"]
    assert messages(await api.get(nextToken=end["nextBackwardToken"], limit=2)) == ["3", "4"]


async def test_paging_backward_ends_with_the_same_token(api: LogsUnderTest) -> None:
    """Without startFromHead the last events come first, pages go back, and the backward token repeats at the start."""
    await api.stream()
    for n in range(5):
        await api.put((n, str(n)))
    last = await api.get(limit=2)
    assert messages(last) == ["3", "4"]
    middle = await api.get(nextToken=last["nextBackwardToken"], limit=2)
    assert messages(middle) == ["1", "2"]
    assert messages(await api.get(nextToken=middle["nextForwardToken"], limit=2)) == ["3", "4"]
    first = await api.get(nextToken=middle["nextBackwardToken"], limit=2)
    assert messages(first) == ["0"]
    start = await api.get(nextToken=first["nextBackwardToken"], limit=2)
    assert messages(start) == []
    assert start["nextBackwardToken"] == first["nextBackwardToken"]


async def test_a_time_range_includes_its_start_and_excludes_its_end(api: LogsUnderTest) -> None:
    """GetLogEvents leaves out events at endTime; FilterLogEvents returns them."""
    await api.stream()
    await api.put((0, "a"), (10, "b"), (20, "c"))
    assert messages(await api.get(startTime=NOW_MS + 10, endTime=NOW_MS + 20)) == ["b"]
    assert messages(await api.filter(startTime=NOW_MS + 10, endTime=NOW_MS + 20)) == ["b", "c"]


async def test_batches_that_overlap_in_time_are_interleaved(api: LogsUnderTest) -> None:
    """Order is by time over all batches, whichever came first, in both directions."""
    await api.stream()
    await api.put((0, "0"), (10, "10"), (20, "20"))
    await api.put((-5, "-5"), (5, "5"), (15, "15"))
    await api.put((10, "10b"))
    expected = ["-5", "0", "5", "10", "10b", "15", "20"]
    assert messages(await api.get(startFromHead=True)) == expected
    assert messages(await api.get()) == expected
    assert messages(await api.filter(startFromHead=False)) == expected[::-1]
    walked: list[str] = []
    token = None
    while len(walked) < len(expected):
        page = await api.get(limit=2, **({"nextToken": token} if token else {}))
        walked = messages(page) + walked
        token = page["nextBackwardToken"]
    assert walked == expected


async def test_out_of_order_batches_are_refused(api: LogsUnderTest) -> None:
    """AWS's text for events that go back in time; nothing is stored."""
    await api.stream()
    with pytest.raises(ServiceError) as error:
        await api.put((5, "later"), (0, "earlier"))
    assert error.value.code == "InvalidParameterException"
    assert error.value.message == "Log events in a single PutLogEvents request must be in chronological order."
    assert messages(await api.get()) == []


async def test_a_batch_spans_at_most_a_day(api: LogsUnderTest) -> None:
    """24 hours are accepted, a millisecond more is not."""
    await api.stream()
    await api.put((-24 * HOUR_MS, "a"), (0, "b"))
    with pytest.raises(ServiceError, match="cannot span more than 24 hours"):
        await api.put((-24 * HOUR_MS - 1, "a"), (0, "b"))
    late = await api.put((-15 * 24 * HOUR_MS, "too old to count"), (0, "c"))
    assert late["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}


async def test_a_batch_holds_at_most_a_megabyte(api: LogsUnderTest) -> None:
    """UTF-8 bytes and 26 for each event count; one event may take all of it."""
    await api.stream()
    whole = 1_048_576 - 26
    await api.put((0, "x" * whole))
    with pytest.raises(ServiceError, match="Log event too large: 1048577 bytes exceeds limit of 1048576"):
        await api.put((0, "x" * (whole + 1)))
    with pytest.raises(ServiceError, match="Upload too large: 1048603 bytes exceeds limit of 1048576"):
        await api.put((0, "x" * whole), (0, "y"))
    with pytest.raises(ServiceError, match="too large"):
        await api.put((0, "ü" * (whole // 2 + 1)))


async def test_events_too_old_or_too_new_are_left_out_and_reported(api: LogsUnderTest) -> None:
    """14 days back and 2 hours ahead are the limits; the indexes say which events were left out."""
    await api.stream()
    old = await api.put((-15 * 24 * HOUR_MS, "old"), (-14 * 24 * HOUR_MS - HOUR_MS, "old"), (-14 * 24 * HOUR_MS, "in"))
    assert old["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 2}
    new = await api.put((0, "now"), (2 * HOUR_MS, "in"), (2 * HOUR_MS + 1, "new"))
    assert new["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 2}
    all_new = await api.put((3 * HOUR_MS, "new"))
    assert all_new["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 0}
    assert messages(await api.get()) == ["in", "now", "in"]


async def test_a_sequence_token_is_ignored(api: LogsUnderTest) -> None:
    """Any token is accepted, as on AWS since 2023, and the answer still carries one."""
    await api.stream()
    assert (await api.put((0, "a"), sequenceToken="nonsense"))["nextSequenceToken"]


async def test_a_missing_group_and_a_missing_stream_are_told_apart(api: LogsUnderTest) -> None:
    """AWS's texts for each, from putting and getting."""
    for call in (api.put((0, "a")), api.get(), api.filter(), api.put((9 * HOUR_MS, "too new"))):
        with pytest.raises(ServiceError) as error:
            await call
        assert error.value.message == "The specified log group does not exist."
    await api.call("CreateLogGroup", logGroupName="/aws/lambda/f")
    for call in (api.put((0, "a")), api.get(), api.filter(logStreamNames=["s"]), api.put((9 * HOUR_MS, "too new"))):
        with pytest.raises(ServiceError) as error:
            await call
        assert error.value.message == "The specified log stream does not exist."


@pytest.mark.parametrize(
    "token", ["x", "f/1", "f/" + "9" * 56, "g/" + "0" * 56, "f/" + "٣" * 56, "b/" + "-" * 56, "f/" + "0" * 56 + "/t"]
)
async def test_a_wrong_token_is_refused(api: LogsUnderTest, token: str) -> None:
    """What is no token of ours gets AWS's text."""
    await api.stream()
    with pytest.raises(ServiceError, match="The specified nextToken is invalid"):
        await api.get(nextToken=token)
    with pytest.raises(ServiceError, match="The specified nextToken is invalid"):
        await api.filter(nextToken=token)


async def test_a_page_is_at_most_a_megabyte(api: LogsUnderTest) -> None:
    """Large events end a page early; the token goes on without loss."""
    await api.stream()
    for n in range(3):
        await api.put((n, str(n) + "x" * 600_000))
    first = await api.get(startFromHead=True)
    assert [m[0] for m in messages(first)] == ["0"]
    second = await api.get(startFromHead=True, nextToken=first["nextForwardToken"])
    assert [m[0] for m in messages(second)] == ["1"]


async def test_lone_surrogates_are_replaced(api: LogsUnderTest) -> None:
    """A message that UTF-8 cannot hold is stored with a replacement instead of failing the batch."""
    await api.stream()
    await api.put((0, "bad \ud800"))
    assert messages(await api.get()) == ["bad ?"]


async def test_filter_reads_all_streams_by_time(api: LogsUnderTest) -> None:
    """FilterLogEvents interleaves streams, names each event's stream, and limits to names or a prefix."""
    await api.stream(stream="a1")
    await api.stream(stream="a2")
    await api.stream(stream="b")
    await api.put((0, "x"), (20, "y"), stream="a1")
    await api.put((10, "z"), stream="b")
    await api.put((15, "w"), stream="a2")
    found = await api.filter()
    assert [(e["logStreamName"], e["message"]) for e in found["events"]] == [
        ("a1", "x"),
        ("b", "z"),
        ("a2", "w"),
        ("a1", "y"),
    ]
    assert len({e["eventId"] for e in found["events"]}) == 4
    assert all(len(e["eventId"]) == 56 for e in found["events"])
    assert messages(await api.filter(logStreamNamePrefix="a")) == ["x", "w", "y"]
    assert messages(await api.filter(logStreamNames=["b", "a2"])) == ["z", "w"]
    with pytest.raises(ServiceError, match="mutually exclusive"):
        await api.filter(logStreamNames=["b"], logStreamNamePrefix="a")


async def test_filter_pages_without_loss_or_repetition(api: LogsUnderTest) -> None:
    """Pages of every size give the same events, in both directions."""
    await api.stream()
    for n in range(0, 30, 3):
        await api.put(*((k // 4, f"line {k}") for k in range(n, n + 3)))
    for forward in (True, False):
        whole = messages(await api.filter(startFromHead=forward, filterPattern="line"))
        walked: list[str] = []
        token: dict[str, str] = {}
        while True:
            direction = {} if token else {"startFromHead": forward}  # a token keeps its direction
            page = await api.filter(limit=7, filterPattern="line", **direction, **token)
            walked += messages(page)
            if "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
        assert walked == whole
        assert len(whole) == 30


async def test_a_filter_token_is_bound_to_its_question(api: LogsUnderTest) -> None:
    """A token used with another pattern is refused instead of giving nonsense."""
    await api.stream()
    await api.put((0, "a"), (1, "a"))
    token = (await api.filter(limit=1))["nextToken"]
    with pytest.raises(ServiceError, match="nextToken is invalid"):
        await api.filter(limit=1, filterPattern="b", nextToken=token)


async def test_filter_by_arn(api: LogsUnderTest) -> None:
    """logGroupIdentifier takes the group's ARN; another account's ARN is not found."""
    await api.stream()
    await api.put((0, "a"))
    arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/f"
    assert messages(await api.call("FilterLogEvents", logGroupIdentifier=arn)) == ["a"]
    with pytest.raises(ServiceError, match="does not exist"):
        await api.call("FilterLogEvents", logGroupIdentifier=arn.replace("123456789012", "999999999999"))
    with pytest.raises(ServiceError, match="Exactly one"):
        await api.call("FilterLogEvents")


async def test_accounts_do_not_see_each_other(api: LogsUnderTest) -> None:
    """Another account's group of the same name is another group."""
    await api.stream()
    await api.put((0, "mine"))
    with pytest.raises(ServiceError, match="log group does not exist"):
        await api.call("GetLogEvents", account="999999999999", logGroupName="/aws/lambda/f", logStreamName="s")
    assert (await api.call("DescribeLogGroups", account="999999999999"))["logGroups"] == []


async def test_each_operation_asks_for_its_own_permission(api: LogsUnderTest) -> None:
    """Actions and resources are those that AWS's policies are written for."""
    await api.stream()
    await api.put((0, "a"))
    await api.filter()
    group = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/f"
    await api.call("TagResource", resourceArn=group, tags={"a": "b"})
    asked = {(access.action, access.resource) for access in api.authorizer.asked}
    assert asked >= {
        ("logs:DescribeLogGroups", "arn:aws:logs:eu-central-1:123456789012:log-group::log-stream:"),
        ("logs:CreateLogGroup", f"{group}:log-stream:"),
        ("logs:CreateLogStream", f"{group}:log-stream:s"),
        ("logs:PutLogEvents", f"{group}:log-stream:s"),
        ("logs:FilterLogEvents", f"{group}:log-stream:"),
        ("logs:TagResource", group),
    }
