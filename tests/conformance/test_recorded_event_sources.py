"""Scenarios recorded on AWS, replayed: event source mappings of queues, from the API and from within functions."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

ACCOUNT = "111111111111"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:"
API = "test_lambda_api.py::"
SQS = "event_source_mapping/test_lambda_integration_sqs.py::"
SQS_FILE = "event_source_mapping__integration_sqs.json"
#: Recorded values that stand for a moment, a person or a duration, and so for another one in each place.
_LOOSE = re.compile(
    r"<datetime>|sent-timestamp|sender-id|<sender-id:\d+>|<approximate-first-receive-timestamp>"
    r"|maximum-batching-window-in-seconds"
)
#: Sends what it got to the queue that the message names, and fails as often as the message says.
INTEGRATION = """
import boto3, json
sqs = boto3.client("sqs")

def handler(event, context):
    [record] = event["Records"]
    message = json.loads(record["body"])
    failing = int(record["attributes"]["ApproximateReceiveCount"]) <= message["fail_attempts"]
    report = {"error": "failed attempt" if failing else None, "event": event}
    sqs.send_message(QueueUrl=message["destination"], MessageBody=json.dumps(report))
    if failing:
        raise Exception("failed attempt")
"""
#: Answers ANSWER, or where there is none the messages that are to fail, and sends event and answer to OUT.
REPORTING = """
import boto3, json, os
sqs = boto3.client("sqs")

def handler(event, context):
    if "ANSWER" in os.environ:
        result = json.loads(os.environ["ANSWER"])
    else:
        failed = [
            {"itemIdentifier": record["messageId"]}
            for record in event["Records"]
            if int(record["attributes"]["ApproximateReceiveCount"]) <= json.loads(record["body"])["fail_attempts"]
        ]
        result = {"batchItemFailures": failed}
    body = json.dumps({"event": event, "result": result})
    sqs.send_message(QueueUrl=os.environ["OUT"], MessageBody=body)
    return result
"""
#: Sends the event alone, or with what tells versions apart.
ECHO = """
import boto3, json, os
sqs = boto3.client("sqs")

def handler(event, context):
    if "CUSTOM_VAR" in os.environ:
        told = {"function_version": context.function_version, "CUSTOM_VAR": os.environ["CUSTOM_VAR"]}
        event = {**told, "event": event}
    sqs.send_message(QueueUrl=os.environ["OUT"], MessageBody=json.dumps(event))
"""


def masked(value: Any) -> Any:
    if isinstance(value, str):
        return "date" if _LOOSE.fullmatch(value) else value
    if isinstance(value, dict):
        return {name: masked(one) for name, one in value.items()}
    return [masked(one) for one in value] if isinstance(value, list) else value


def opened(expected: Any, actual: Any) -> Any:
    """The recordings hold JSON texts as what they say; do the same where they do."""
    if isinstance(actual, str) and isinstance(expected, dict | list):
        actual = json.loads(actual)
    if isinstance(expected, dict) and isinstance(actual, dict):
        return {name: opened(expected.get(name), one) for name, one in actual.items()}
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [opened(one, other) for one, other in zip(expected, actual, strict=True)]
    return actual


class Replayed:
    """A scenario with queues."""

    def __init__(self, world: Any, scenario: Any, name: str, file: str = SQS_FILE) -> None:
        self.world = world
        self.s = scenario((API if file == "api.json" else SQS) + name, file)
        self.s.steps = masked(self.s.steps)
        self.s.replay._recorded = self.s.steps

    async def __call__(self, step: str, operation: str, /, **params: Any) -> Any:
        """One call, compared with a step."""
        answer: Any
        try:
            answer = await self.world.call(operation, **params)
        except Exception as error:
            if not hasattr(error, "code"):
                raise
            answer = error
        self.check(step, answer)
        status = self.s.steps[step].get("ResponseMetadata", {}).get("HTTPStatusCode")
        assert status in (None, self.world.status), step
        return answer

    def check(self, step: str, answer: Any) -> None:
        """Compare what came with a step."""
        expected = self.s.steps[step]
        if isinstance(expected, list):
            self.s.replay._same(step, expected, opened(expected, answer))
        else:
            self.s.replay.check(step, opened(expected, answer) if isinstance(answer, dict) else answer)
        self.s.seen.add(step)

    async def queue(self, name: str, **attributes: str) -> str:
        """A queue's URL."""
        made = await self.world.call("CreateQueue", service="sqs", QueueName=name, Attributes=attributes)
        return str(made["QueueUrl"])

    async def found(self, name: str) -> None:
        """The step in which a queue's URL is asked for."""
        await self("get_destination_queue_url", "GetQueueUrl", service="sqs", QueueName=name)

    async def function(self, source: str, name: str = "fn-1", **variables: str) -> None:
        from_zip = {"Code": {"ZipFile": self.world.zipped(source)}, "Environment": {"Variables": variables}}
        await self.world.create(name, Timeout=2, **from_zip)

    async def send(self, url: str, body: Any, **more: Any) -> Any:
        text = body if isinstance(body, str) else json.dumps(body)
        return await self.world.call("SendMessage", service="sqs", QueueUrl=url, MessageBody=text, **more)

    async def receive(self, url: str, wait_s: int = 15, **more: Any) -> dict[str, Any]:
        """One message, taken away."""
        answer = await self.world.call("ReceiveMessage", service="sqs", QueueUrl=url, WaitTimeSeconds=wait_s, **more)
        for message in answer.get("Messages", ()):
            handle = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
            await self.world.call("DeleteMessage", service="sqs", **handle)
        return dict(answer)

    async def event(self, url: str, wait_s: int = 15) -> Any:
        answer = await self.receive(url, wait_s)
        assert answer.get("Messages"), "no event came"
        return json.loads(answer["Messages"][0]["Body"])

    async def settled(self, uuid: str, state: str = "Enabled") -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                shown = await self.world.call("GetEventSourceMapping", UUID=uuid)
                if shown["State"] == state:
                    return dict(shown)
                await asyncio.sleep(0.02)

    async def deleted(self, uuid: str) -> None:
        await self.settled(uuid)
        await self.world.call("DeleteEventSourceMapping", UUID=uuid)
        async with asyncio.timeout(20):
            while (await self.world.call("ListEventSourceMappings"))["EventSourceMappings"]:
                await asyncio.sleep(0.02)


@pytest.fixture
def replay(world: Any, scenario: Any, make_zip: Any) -> Any:
    world.zipped = make_zip
    return lambda *about: Replayed(world, scenario, *about)


async def test_exceptions(replay: Any, world: Any) -> None:
    """TestLambdaEventSourceMappings::test_event_source_mapping_exceptions"""
    s = replay("TestLambdaEventSourceMappings::test_event_source_mapping_exceptions", "api.json")
    nobody = {"UUID": "01234567-89ab-4def-8123-456789abcdef"}
    await s("get_unknown_uuid", "GetEventSourceMapping", **nobody)
    await s("delete_unknown_uuid", "DeleteEventSourceMapping", **nobody)
    await s("update_unknown_uuid", "UpdateEventSourceMapping", **nobody, Enabled=False)
    create = "CreateEventSourceMapping"
    await s("create_no_event_source_arn", create, FunctionName="doesnotexist")
    await s("create_unknown_params", create, FunctionName="doesnotexist", EventSourceArn=f"{QUEUE}unknown")
    await world.create("fn-1")
    success = {"DestinationConfig": {"OnSuccess": {"Destination": f"{QUEUE}dest"}}}
    await s("destination_config_failure", create, FunctionName="fn-1", EventSourceArn=f"{QUEUE}q", **success)
    assert s.s.seen == set(s.s.steps)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("test_create_event_source_validation", f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/t/stream/s"),
        ("test_create_event_source_validation_kinesis", f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s"),
    ],
)
async def test_starting_positions(replay: Any, world: Any, name: str, source: str) -> None:
    """TestLambdaEventSourceMappings::test_create_event_source_validation, …_kinesis"""
    s = replay(f"TestLambdaEventSourceMappings::{name}", "api.json")
    await world.create("fn-1")
    create = {"FunctionName": "fn-1", "EventSourceArn": source}
    await s("no_starting_position", "CreateEventSourceMapping", **create)
    await s("invalid_starting_position", "CreateEventSourceMapping", **create, StartingPosition="invalid")
    if "incompatible_starting_position" in s.s.steps:
        at = {"StartingPosition": "AT_TIMESTAMP"}
        await s("incompatible_starting_position", "CreateEventSourceMapping", **create, **at)


async def test_self_managed(replay: Any, world: Any) -> None:
    """TestLambdaEventSourceMappings::test_create_event_source_self_managed, its first step"""
    s = replay("TestLambdaEventSourceMappings::test_create_event_source_self_managed", "api.json")
    endpoints = {"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka:1000"]}}}
    await s("missing-source-access-configuration", "CreateEventSourceMapping", FunctionName="fn-1", **endpoints)


async def test_function_names(replay: Any, world: Any) -> None:
    """TestLambdaEventSourceMappings::test_function_name_variations"""
    s = replay("TestLambdaEventSourceMappings::test_function_name_variations", "api.json")
    await world.create("fn-1", Publish=True)
    await world.active("fn-1", "1")
    await world.call("CreateAlias", FunctionName="fn-1", Name="myalias", FunctionVersion="1")
    await s.queue("q-1")
    full = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:fn-1"
    names = {
        "name_only": "fn-1",
        "partial_arn_latest": f"{ACCOUNT}:function:fn-1:$LATEST",
        "partial_arn_version": f"{ACCOUNT}:function:fn-1:1",
        "partial_arn_alias": f"{ACCOUNT}:function:fn-1:myalias",
        "full_arn_latest": full,
        "full_arn_version": f"{full}:1",
        "full_arn_alias": f"{full}:myalias",
    }
    for step, name in names.items():
        made = await s(
            f"{step}_create_esm", "CreateEventSourceMapping", FunctionName=name, EventSourceArn=f"{QUEUE}q-1"
        )
        await s.deleted(made["UUID"])
    assert s.s.seen == set(s.s.steps)


async def test_tags(replay: Any, world: Any) -> None:
    """TestLambdaTag::test_tag_lifecycle[event_source_mapping], test_tag_exceptions[event_source_mapping], …_create"""
    s = replay("TestLambdaTag::test_tag_lifecycle[event_source_mapping]", "api.json")
    await world.create("fn-1")
    await s.queue("q-1")
    made = await world.call("CreateEventSourceMapping", FunctionName="fn-1", EventSourceArn=f"{QUEUE}q-1")
    arn = made["EventSourceMappingArn"]
    await s.settled(made["UUID"])
    for step, tags in {
        "tag_single_response": {"A": "tag-a"},
        "tag_multiple_response": {"B": "tag-b", "C": "tag-c"},
        "tag_overlap_response": {"C": "tag-c-newsuffix", "D": "tag-d"},
    }.items():
        await s(step, "TagResource", Resource=arn, Tags=tags)
        await s(f"{step}_listtags", "ListTags", Resource=arn)
    for step, keys in {
        "untag_single_response": ["A"],
        "untag_multiple_response": ["B", "C"],
        "untag_nonexisting_response": ["F"],
        "untag_existing_and_nonexisting_response": ["D", "F"],
    }.items():
        await s(step, "UntagResource", Resource=arn, TagKeys=keys)
        await s(f"{step}_listtags", "ListTags", Resource=arn)
    assert s.s.seen == set(s.s.steps)
    s = replay("TestLambdaTag::test_create_tag_on_esm_create", "api.json")
    await s.queue("q-2")
    tagged = {"EventSourceArn": f"{QUEUE}q-2", "Tags": {"testtag": "mine"}}
    made = await world.call("CreateEventSourceMapping", FunctionName="fn-1", **tagged)
    await s.settled(made["UUID"])
    shown = await world.call("GetEventSourceMapping", UUID=made["UUID"])
    s.s.compare("get_event_source_mapping_with_tag", shown["EventSourceMappingArn"] == made["EventSourceMappingArn"])
    await s("list_tags_result", "ListTags", Resource=made["EventSourceMappingArn"])
    assert s.s.seen == set(s.s.steps)
    s = replay("TestLambdaTag::test_tag_exceptions[event_source_mapping]", "api.json")
    gone = f"arn:aws:lambda:us-east-1:{ACCOUNT}:event-source-mapping:01234567-89ab-4def-8123-456789abcdef"
    await s("not_found_exception_tag", "TagResource", Resource=gone, Tags={"A": "B"})
    await s("not_found_exception_untag", "UntagResource", Resource=gone, TagKeys=["A"])
    await s("not_found_exception_list", "ListTags", Resource=gone)
    await s("aliased_arn_exception", "TagResource", Resource=f"{gone}:alias", Tags={"A": "B"})
    await s("invalid_arn_exception", "TagResource", Resource=gone.replace("event-source-mapping", "foobar"), Tags={})


async def test_missing_queue(replay: Any, world: Any) -> None:
    """test_esm_with_not_existing_sqs_queue"""
    s = replay("test_esm_with_not_existing_sqs_queue")
    await world.create("fn-1")
    await s("error", "CreateEventSourceMapping", FunctionName="fn-1", EventSourceArn=f"{QUEUE}none")


async def test_defaults_and_batching_window(replay: Any, world: Any) -> None:
    """TestSQSEventSourceMapping::test_event_source_mapping_default_batch_size, test_duplicate_event_source_mappings"""
    s = replay("TestSQSEventSourceMapping::test_event_source_mapping_default_batch_size")
    await world.create("fn-1")
    await s.queue("q-1")
    await s.queue("q-2")
    create = {"FunctionName": "fn-1", "EventSourceArn": f"{QUEUE}q-1"}
    made = await s("create-event-source-mapping", "CreateEventSourceMapping", **create)
    await s.settled(made["UUID"])
    await s("invalid-update-event-source-mapping", "UpdateEventSourceMapping", UUID=made["UUID"], BatchSize=15)
    other = {"FunctionName": "fn-1", "EventSourceArn": f"{QUEUE}q-2", "BatchSize": 15}
    await s("invalid-create-event-source-mapping", "CreateEventSourceMapping", **other)
    assert s.s.seen == set(s.s.steps)
    await s.deleted(made["UUID"])
    s = replay("TestSQSEventSourceMapping::test_duplicate_event_source_mappings")
    await s("create", "CreateEventSourceMapping", **create)
    await s("error", "CreateEventSourceMapping", **create)
    assert s.s.seen == set(s.s.steps)


@pytest.mark.parametrize(
    ("case", "pattern"),
    [
        ("None", None),
        ("simple string", "simple string"),
        ("invalid_filter2", '{"eventSource": "aws:sqs"}'),
        ("invalid_filter3", '{"eventSource": ["aws:sqs", ]}'),
    ],
)
async def test_invalid_filters(replay: Any, world: Any, case: str, pattern: str | None) -> None:
    """TestSQSEventSourceMapping::test_sqs_invalid_event_filter"""
    s = replay(f"TestSQSEventSourceMapping::test_sqs_invalid_event_filter[{case}]")
    await world.create("fn-1")
    await s.queue("q-1")
    bad = {"Filters": [{"Pattern": pattern if pattern is not None else json.dumps(None)}]}
    create = {"FunctionName": "fn-1", "EventSourceArn": f"{QUEUE}q-1", "FilterCriteria": bad}
    await s("create_event_source_mapping_exception", "CreateEventSourceMapping", **create)


async def test_attributes(replay: Any, world: Any) -> None:
    """test_message_body_and_attributes_passed_correctly"""
    s = replay("test_message_body_and_attributes_passed_correctly")
    out, url = await s.queue("dest-queue-1"), await s.queue("q-1")
    await s.found("dest-queue-1")
    await s.function(INTEGRATION)
    await world.call("CreateEventSourceMapping", FunctionName="fn-1", EventSourceArn=f"{QUEUE}q-1", BatchSize=1)
    attributes = {
        "Title": {"DataType": "String", "StringValue": "The Whistler"},
        "Author": {"DataType": "String", "StringValue": "John Grisham"},
        "WeeksOn": {"DataType": "Number", "StringValue": "6"},
    }
    body = {"destination": out, "fail_attempts": 0}
    await s.send(url, body, MessageAttributes=attributes)
    s.check("first_attempt", await s.receive(out))


#: What each filter leaves out; what it lets through is in the recording.
FILTERS: dict[str, Any] = {
    "single-filter": {"testItem": "tesWER"},
    "or-filter": {"testItem": "tesWER"},
    "and-filter": {"testItem": "test24"},
    "exists-filter": {"test5": "74545"},
    "numeric-bigger": {"my-number": 100},
    "numeric-smaller": {"my-number": 100},
    "numeric-range": {"my-number": 99},
    "numeric-prefix": {"test2": "eu-1-48454"},
    "prefix": {"my-key": "no-value"},
    "single": {"my-key": "other-value"},
    "or": {"my-key": "other-value"},
    "and": {"my-key-one": "other-filter"},
    "exists": {"other-key": "any-value-two"},
    "valid-json-filter": "this is a test string",
    "filter0-item_matching0-item_not_matching0": {"testItem": "tesWER"},
    "filter1-item_matching1-item_not_matching1": {"testItem": "tesWER"},
    "filter2-item_matching2-item_not_matching2": {"testItem": "test67", "test2": "go"},
    "filter3-item_matching3-item_not_matching3": {"test5": "74545"},
    "filter4-item_matching4-this is a test string": "this is a test string",
    "filter5-item_matching5-item_not_matching5": {"test2": 102},
    "filter6-item_matching6-item_not_matching6": {"test2": 200},
    "filter7-item_matching7-item_not_matching7": {"test2": "eu-1-48454"},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FILTERS)
async def test_filters(replay: Any, world: Any, case: str) -> None:
    """TestSQSEventSourceMapping::test_sqs_event_filter"""
    s = replay(f"TestSQSEventSourceMapping::test_sqs_event_filter[{case}]")
    out, url = await s.queue("dest-queue-1"), await s.queue("q-1")
    await s.function(ECHO, OUT=out)
    created = s.s.steps["create_event_source_mapping_response"]
    patterns = [one["Pattern"] for one in created["FilterCriteria"]["Filters"]]
    await s(
        "create_event_source_mapping_response",
        "CreateEventSourceMapping",
        FunctionName="fn-1",
        EventSourceArn=f"{QUEUE}q-1",
        MaximumBatchingWindowInSeconds=1,
        FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)} for pattern in patterns]},
    )
    [[recorded]] = [event["Records"] for event in s.s.steps["invocation_events"]]
    await s.send(url, recorded["body"])
    await s.send(url, FILTERS[case])
    s.check("invocation_events", [await s.event(out)])
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    async with asyncio.timeout(10):  # the one that was filtered out is gone too
        while True:
            shown = await world.call("GetQueueAttributes", service="sqs", QueueUrl=url, AttributeNames=counts)
            if set(shown["Attributes"].values()) == {"0"}:
                break
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_mapping_and_update(replay: Any, world: Any, make_zip: Any) -> None:
    """TestSQSEventSourceMapping::test_sqs_event_source_mapping, test_sqs_event_source_mapping_update"""
    s = replay("TestSQSEventSourceMapping::test_sqs_event_source_mapping_update")
    out, url = await s.queue("dest-queue-1"), await s.queue("q-1")
    await s.function(ECHO, OUT=out, CUSTOM_VAR="a")
    await world.call("PublishVersion", FunctionName="fn-1")
    variables = {"OUT": out, "CUSTOM_VAR": "b"}
    await world.call("UpdateFunctionConfiguration", FunctionName="fn-1", Environment={"Variables": variables})
    await world.active("fn-1")
    await world.call("PublishVersion", FunctionName="fn-1")
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:fn-1"
    made = await s(
        "create-event-source-mapping-response",
        "CreateEventSourceMapping",
        FunctionName=f"{arn}:1",
        EventSourceArn=f"{QUEUE}q-1",
        MaximumBatchingWindowInSeconds=1,
    )
    await s.send(url, {"foo": "bar"})
    first = await s.event(out)
    s.check("events", [first])
    await s.settled(made["UUID"])
    await s("updated_esm", "UpdateEventSourceMapping", UUID=made["UUID"], FunctionName=f"{arn}:2")
    s.check("updated_event_source_mapping", await s.settled(made["UUID"]))
    await s.send(url, {"foo": "bar2"})
    s.check("events_postupdate", [first, await s.event(out)])
    assert s.s.seen == set(s.s.steps)


@pytest.mark.slow
async def test_mapping(replay: Any, world: Any) -> None:
    """TestSQSEventSourceMapping::test_sqs_event_source_mapping"""
    s = replay("TestSQSEventSourceMapping::test_sqs_event_source_mapping")
    out, url = await s.queue("dest-queue-1"), await s.queue("q-1")
    await s.function(ECHO, OUT=out)
    await s(
        "create-event-source-mapping-response",
        "CreateEventSourceMapping",
        FunctionName="fn-1",
        EventSourceArn=f"{QUEUE}q-1",
        MaximumBatchingWindowInSeconds=1,
    )
    await s.send(url, {"foo": "bar"})
    s.check("events", [await s.event(out)])
    assert s.s.seen == set(s.s.steps)


@pytest.mark.slow
@pytest.mark.parametrize("size", [15, 100, 1000, 10000])
async def test_batch_sizes(replay: Any, world: Any, size: int) -> None:
    """TestSQSEventSourceMapping::test_sqs_event_source_mapping_batch_size"""
    s = replay(f"TestSQSEventSourceMapping::test_sqs_event_source_mapping_batch_size[{size}]")
    out, url = await s.queue("dest-queue-1"), await s.queue("q-1")
    await s.function(ECHO, OUT=out)
    recorded = s.s.steps["Records"]
    for step in ("send-message-batch-result-10", "send-message-batch-result-5"):
        ids = [one["Id"] for one in s.s.steps[step]["Successful"]]
        entries = [{"Id": one, "MessageBody": f"{one}-message-{one.split('-')[0]}"} for one in ids]
        answer = await world.call("SendMessageBatch", service="sqs", QueueUrl=url, Entries=entries)
        assert not answer.pop("Failed", None)
        s.check(step, answer)
    await s(
        "create-event-source-mapping-response",
        "CreateEventSourceMapping",
        FunctionName="fn-1",
        EventSourceArn=f"{QUEUE}q-1",
        BatchSize=size,
        MaximumBatchingWindowInSeconds=2,
    )
    records = (await s.event(out))["Records"]
    assert len(records) == 15, "one batch"
    s.check("Records", sorted(records, key=lambda one: _place(recorded, one["body"])))
    assert s.s.seen == set(s.s.steps)


def _place(recorded: list[dict[str, Any]], body: str) -> int:
    return [one["body"] for one in recorded].index(body)


@pytest.mark.slow
async def test_reserved_concurrency(replay: Any, world: Any) -> None:
    """TestSQSEventSourceMapping::test_sqs_event_source_mapping_batching_reserved_concurrency"""
    s = replay("TestSQSEventSourceMapping::test_sqs_event_source_mapping_batching_reserved_concurrency")
    out, url = await s.queue("dest-queue-1"), await s.queue("q-1")
    await s.function(ECHO, OUT=out)
    reserve = {"FunctionName": "fn-1", "ReservedConcurrentExecutions": 2}
    await s("put_concurrency_resp", "PutFunctionConcurrency", **reserve)
    recorded = s.s.steps["Records"]
    bodies = sorted(one["body"] for one in recorded)
    for start in range(0, len(bodies), 10):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])]
        await world.call("SendMessageBatch", service="sqs", QueueUrl=url, Entries=entries)
    await s(
        "create-event-source-mapping-response",
        "CreateEventSourceMapping",
        FunctionName="fn-1",
        EventSourceArn=f"{QUEUE}q-1",
        BatchSize=20,
        MaximumBatchingWindowInSeconds=1,
        ScalingConfig={"MaximumConcurrency": 2},
    )
    batches = [(await s.event(out))["Records"], (await s.event(out))["Records"]]
    assert not (await s.receive(out, 0)).get("Messages")
    s.check("batch_info", {"total_batches_received": len(batches)})
    records = [record for batch in batches for record in batch]
    s.check("Records", sorted(records, key=lambda one: _place(recorded, one["body"])))
    assert s.s.seen == set(s.s.steps)


async def test_dead_letter_queue(replay: Any, world: Any) -> None:
    """test_sqs_queue_as_lambda_dead_letter_queue"""
    s = replay("test_sqs_queue_as_lambda_dead_letter_queue")
    dlq = await s.queue("dlq-1")
    source = "def handler(event, context): raise Exception('Test exception (this is intentional)')"
    made = await world.create(
        "fn-1", Code={"ZipFile": world.zipped(source)}, DeadLetterConfig={"TargetArn": f"{QUEUE}dlq-1"}
    )
    s.check("lambda-response-dlq-config", made["DeadLetterConfig"])
    await world.call("PutFunctionEventInvokeConfig", FunctionName="fn-1", MaximumRetryAttempts=0)
    invoke = {"InvocationType": "Event", "Payload": json.dumps({"raise_error": 1})}
    await world.call("Invoke", FunctionName="fn-1", **invoke)
    s.check("messages", await s.receive(dlq, MessageAttributeNames=["All"]))


@pytest.mark.slow
async def test_retries(replay: Any, world: Any) -> None:
    """test_failing_lambda_retries_after_visibility_timeout"""
    s = replay("test_failing_lambda_retries_after_visibility_timeout")
    out, url = await s.queue("dest-queue-1"), await s.queue("q-1", VisibilityTimeout="2")
    await s.found("dest-queue-1")
    await s.function(INTEGRATION)
    create = {"FunctionName": "fn-1", "EventSourceArn": f"{QUEUE}q-1", "BatchSize": 1}
    made = await world.call("CreateEventSourceMapping", **create)
    s.check("event_source_mapping", await s.settled(made["UUID"]))
    await s.send(url, {"destination": out, "fail_attempts": 1})
    s.check("first_attempt", await s.receive(out))
    assert not (await s.receive(out, 1)).get("Messages"), "before the visibility timeout"
    s.check("second_attempt", await s.receive(out))


@pytest.mark.slow
async def test_redrive(replay: Any, world: Any) -> None:
    """test_redrive_policy_with_failing_lambda"""
    s = replay("test_redrive_policy_with_failing_lambda")
    out, dlq = await s.queue("dest-queue-1"), await s.queue("dlq-1")
    redrive = json.dumps({"deadLetterTargetArn": f"{QUEUE}dlq-1", "maxReceiveCount": 2})
    url = await s.queue("q-1", VisibilityTimeout="2", RedrivePolicy=redrive)
    await s.found("dest-queue-1")
    await s.function(INTEGRATION)
    await world.call("CreateEventSourceMapping", FunctionName="fn-1", EventSourceArn=f"{QUEUE}q-1", BatchSize=1)
    await s.send(url, {"destination": out, "fail_attempts": 2})
    s.check("first_attempt", await s.receive(out))
    s.check("second_attempt", await s.receive(out))
    s.check("dlq_response", await s.receive(dlq))


@pytest.mark.slow
async def test_batch_item_failures(replay: Any, world: Any) -> None:
    """test_report_batch_item_failures"""
    s = replay("test_report_batch_item_failures")
    fifo = {"FifoQueue": "true"}
    out, dlq = await s.queue("dest-queue-1"), await s.queue("dlq-1.fifo", **fifo)
    redrive = json.dumps({"deadLetterTargetArn": f"{QUEUE}dlq-1.fifo", "maxReceiveCount": 2})
    url = await s.queue("q-1.fifo", VisibilityTimeout="2", RedrivePolicy=redrive, **fifo)
    await s.found("dest-queue-1")
    await s.function(REPORTING, OUT=out)
    entries = [
        {
            "Id": f"message-{n}",
            "MessageBody": json.dumps({"message": n, "fail_attempts": fails}),
            "MessageGroupId": "1",
            "MessageDeduplicationId": f"dedup-{n}",
        }
        for n, fails in ((1, 0), (2, 1), (3, 1), (4, 2))
    ]
    answer = await world.call("SendMessageBatch", service="sqs", QueueUrl=url, Entries=entries)
    assert not answer.pop("Failed", None)
    for one in answer["Successful"]:
        if one["Id"] == "message-4":  # the recording calls its digest as another's
            one["MD5OfMessageBody"] = "masked"
    s.check("send_message_batch", answer)
    create = {"FunctionName": "fn-1", "EventSourceArn": f"{QUEUE}q-1.fifo", "BatchSize": 10}
    report = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
    await s("create_event_source_mapping", "CreateEventSourceMapping", **create, **report)
    s.s.replay.bound = {name: value for name, value in s.s.replay.bound.items() if "m-d5" not in name}
    s.check("first_invocation", await s.receive(out))
    s.s.replay.bound = {name: value for name, value in s.s.replay.bound.items() if "m-d5" not in name}
    s.check("second_invocation", await s.receive(out))
    s.s.replay.bound = {name: value for name, value in s.s.replay.bound.items() if "m-d5" not in name}
    s.check("dlq_response", await s.receive(dlq))


@pytest.mark.slow
async def test_invalid_answer(replay: Any, world: Any) -> None:
    """test_report_batch_item_failures_invalid_result_json_batch_fails"""
    s = replay("test_report_batch_item_failures_invalid_result_json_batch_fails")
    out, dlq = await s.queue("dest-queue-1"), await s.queue("dlq-1")
    redrive = json.dumps({"deadLetterTargetArn": f"{QUEUE}dlq-1", "maxReceiveCount": 2})
    url = await s.queue("q-1", VisibilityTimeout="2", RedrivePolicy=redrive)
    await s.found("dest-queue-1")
    await s.function(REPORTING, OUT=out, ANSWER='{"batchItemFailures": [{"foo": "notvalid"}]}')
    report = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
    await world.call("CreateEventSourceMapping", FunctionName="fn-1", EventSourceArn=f"{QUEUE}q-1", **report)
    await s.send(url, {"message": 1, "fail_attempts": 0})
    s.check("first_invocation", await s.receive(out))
    s.check("second_invocation", await s.receive(out))
    s.check("dlq_response", await s.receive(dlq))


@pytest.mark.slow
async def test_failing_batch(replay: Any, world: Any) -> None:
    """test_report_batch_item_failures_on_lambda_error"""
    s = replay("test_report_batch_item_failures_on_lambda_error")
    out, dlq = await s.queue("dest-queue-1"), await s.queue("dlq-1")
    redrive = json.dumps({"deadLetterTargetArn": f"{QUEUE}dlq-1", "maxReceiveCount": 1})
    url = await s.queue("q-1", VisibilityTimeout="2", RedrivePolicy=redrive)
    await s.function(REPORTING, OUT=out)
    bodies = ["{not a json body", json.dumps({"message": 2, "fail_attempts": 0})]
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
    await world.call("SendMessageBatch", service="sqs", QueueUrl=url, Entries=entries)
    report = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
    await world.call("CreateEventSourceMapping", FunctionName="fn-1", EventSourceArn=f"{QUEUE}q-1", **report)
    found = [(await s.receive(dlq))["Messages"][0] for _ in bodies]
    s.check("dlq_messages", sorted(found, key=lambda message: bodies.index(message["Body"])))


@pytest.mark.slow
async def test_empty_answer(replay: Any, world: Any) -> None:
    """test_report_batch_item_failures_empty_json_batch_succeeds"""
    s = replay("test_report_batch_item_failures_empty_json_batch_succeeds")
    out, url = await s.queue("dest-queue-1"), await s.queue("q-1", VisibilityTimeout="2")
    await s.found("dest-queue-1")
    await s.function(REPORTING, OUT=out, ANSWER="{}")
    report = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
    await world.call("CreateEventSourceMapping", FunctionName="fn-1", EventSourceArn=f"{QUEUE}q-1", **report)
    await s.send(url, {"message": 1, "fail_attempts": 0})
    s.check("first_invocation", await s.receive(out))
    assert not (await s.receive(out, 3)).get("Messages"), "it was deleted"


async def test_fifo_enabling(replay: Any, world: Any) -> None:
    """test_fifo_message_group_parallelism: the states; that groups run side by side is tested end to end"""
    s = replay("test_fifo_message_group_parallelism")
    await world.create("fn-1")
    await s.queue("q-1.fifo", FifoQueue="true")
    create = {"FunctionName": "fn-1", "EventSourceArn": f"{QUEUE}q-1.fifo", "BatchSize": 1, "Enabled": False}
    made = await s("create_esm_disabled", "CreateEventSourceMapping", **create)
    await s("update_esm_enabling", "UpdateEventSourceMapping", UUID=made["UUID"], Enabled=True)
    s.check("get_esm_enabled", await s.settled(made["UUID"]))
    assert s.s.seen == set(s.s.steps)
