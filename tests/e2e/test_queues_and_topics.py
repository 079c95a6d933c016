"""Functions fed from queues, and outcomes that go to queues and topics, on a real server."""

from __future__ import annotations

import json
import uuid
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise

import pytest

from alonzo.testing import Server

ROLE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["sqs:*", "sns:*", "lambda:*", "s3:*"], "Resource": "*"}],
}
#: Reports what it was called with to the queue in OUT.
REPORTER = """
import boto3, json, os
sqs = boto3.client("sqs")

def handler(event, context):
    sqs.send_message(QueueUrl=os.environ["OUT"], MessageBody=json.dumps(event))
    bodies = [record["body"] for record in event["Records"]]
    if any("raise" in body for body in bodies):
        raise Exception("intended")
    return {"batchItemFailures": [{"itemIdentifier": r["messageId"]} for r in event["Records"] if "fail" in r["body"]]}
"""


class Queues:
    """Makes queues, and functions that read them."""

    def __init__(self, server: Server, make) -> None:
        self.make = make
        self.sqs = server.client("sqs")
        self.functions = server.client("lambda")

    def queue(self, name: str | None = None, **attributes: str) -> tuple[str, str]:
        """(url, arn)"""
        name = name or f"q-{uuid.uuid4().hex[:8]}"
        url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def reporter(self, **more) -> tuple[str, str]:
        """(function's name, url of the queue it reports to)"""
        out, _ = self.queue()
        name = self.make.function(
            REPORTER, role=self.make.role(inline=ROLE), Environment={"Variables": {"OUT": out}}, **more
        )
        return name, out

    def reporter_of_topics(self) -> tuple[str, str]:
        """The same for any event."""
        out, _ = self.queue()
        source = """
import boto3, json, os

def handler(event, context):
    boto3.client("sqs").send_message(QueueUrl=os.environ["OUT"], MessageBody=json.dumps(event))
"""
        variables = {"Variables": {"OUT": out}}
        return self.make.function(source, role=self.make.role(inline=ROLE), Environment=variables), out

    def receive(self, url: str, seconds: int = 15) -> dict:
        found = self.sqs.receive_message(
            QueueUrl=url, WaitTimeSeconds=seconds, AttributeNames=["All"], MessageAttributeNames=["All"]
        ).get("Messages")
        assert found, "no message came"
        self.sqs.delete_message(QueueUrl=url, ReceiptHandle=found[0]["ReceiptHandle"])
        return found[0]

    def report(self, url: str, seconds: int = 15) -> list[dict]:
        """The records of the next invocation."""
        return json.loads(self.receive(url, seconds)["Body"])["Records"]

    def count(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)


@pytest.fixture(scope="session")
def queues(alonzo: Server, make) -> Queues:
    return Queues(alonzo, make)


def _shared(request: pytest.FixtureRequest):
    """The tests' conftest, which is no package."""
    spec = spec_from_file_location("e2e_conftest", request.config.rootpath / "tests" / "e2e" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def wait(request):
    return _shared(request).wait_for


@pytest.fixture(scope="session")
def make_on(request):
    """Makes things on a server of the test's own."""
    return _shared(request).Maker


def test_a_message_runs_the_function_and_is_deleted(queues: Queues, wait) -> None:
    """A message sent to a mapped queue reaches the function in AWS's form, and is gone once it has succeeded."""
    name, out = queues.reporter()
    url, arn = queues.queue()
    made = queues.functions.create_event_source_mapping(EventSourceArn=arn, FunctionName=name)
    assert made["State"] == "Creating"
    attributes = {"Author": {"DataType": "String", "StringValue": "John"}}
    sent = queues.sqs.send_message(QueueUrl=url, MessageBody="hello", MessageAttributes=attributes)
    [record] = queues.report(out)
    assert record["messageId"] == sent["MessageId"]
    assert record["body"] == "hello"
    assert record["md5OfBody"] == sent["MD5OfMessageBody"]
    assert record["md5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert record["messageAttributes"] == {
        "Author": {"stringValue": "John", "stringListValues": [], "binaryListValues": [], "dataType": "String"}
    }
    assert (record["eventSource"], record["eventSourceARN"], record["awsRegion"]) == ("aws:sqs", arn, "us-east-1")
    wait(lambda: queues.count(url) == 0)
    mapping = queues.functions.get_event_source_mapping(UUID=made["UUID"])
    assert mapping["State"] == "Enabled" and "LastProcessingResult" not in mapping


def _policy(arn: str, action: str, bucket: str) -> str:
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "s3.amazonaws.com"},
                    "Action": action,
                    "Resource": arn,
                    "Condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"}},
                }
            ],
        }
    )


def test_a_bucket_notifies_a_queue_and_a_topic(alonzo: Server, queues: Queues) -> None:
    """S3 sends its test event and then events to a queue and a topic whose policies let this bucket, and no other."""
    s3, sns = alonzo.client("s3"), alonzo.client("sns")
    bucket, other = f"b-{uuid.uuid4().hex[:8]}", f"b-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=other)
    url, arn = queues.queue()
    heard, heard_arn = queues.queue()
    topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex[:8]}")["TopicArn"]
    allow = json.loads(_policy(heard_arn, "sqs:SendMessage", bucket))
    allow["Statement"][0] |= {"Principal": {"Service": "sns.amazonaws.com"}}
    allow["Statement"][0]["Condition"]["ArnLike"]["aws:SourceArn"] = topic
    queues.sqs.set_queue_attributes(QueueUrl=heard, Attributes={"Policy": json.dumps(allow)})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=heard_arn, Attributes={"RawMessageDelivery": "true"})

    def rule(prefix: str) -> dict:
        return {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}

    wanted = {
        "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": rule("q/")}],
        "TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"], "Filter": rule("t/")}],
    }
    with pytest.raises(s3.exceptions.ClientError) as refused:
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=wanted)
    error = refused.value.response["Error"]
    assert error["Message"] == "Unable to validate the following destination configurations"
    assert "do not allow S3 to publish notifications from this bucket" in str(refused.value.response)
    policy = _policy(arn, "sqs:SendMessage", bucket)
    queues.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    sns.set_topic_attributes(
        TopicArn=topic, AttributeName="Policy", AttributeValue=_policy(topic, "SNS:Publish", bucket)
    )
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=wanted)
    with pytest.raises(s3.exceptions.ClientError):
        s3.put_bucket_notification_configuration(Bucket=other, NotificationConfiguration=wanted)
    for target in (url, heard):
        hello = json.loads(queues.receive(target)["Body"])
        assert (hello["Service"], hello["Event"], hello["Bucket"]) == ("Amazon S3", "s3:TestEvent", bucket)
    s3.put_object(Bucket=bucket, Key="q/1", Body=b"1")
    s3.put_object(Bucket=bucket, Key="t/2", Body=b"22")
    for target, key in ((url, "q/1"), (heard, "t/2")):
        [record] = json.loads(queues.receive(target)["Body"])["Records"]
        assert (record["eventName"], record["s3"]["object"]["key"]) == ("ObjectCreated:Put", key)


def test_a_topic_runs_a_function(alonzo: Server, queues: Queues, make) -> None:
    """A message published to a topic reaches a subscribed function that lets the topic invoke it."""
    sns = alonzo.client("sns")
    name, out = queues.reporter_of_topics()
    topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex[:8]}")["TopicArn"]
    function = queues.functions.get_function_configuration(FunctionName=name)["FunctionArn"]
    queues.functions.add_permission(
        FunctionName=name,
        StatementId="topic",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=topic,
    )
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
    sns.publish(TopicArn=topic, Subject="hi", Message="hello")
    [record] = json.loads(queues.receive(out)["Body"])["Records"]
    assert (record["EventSource"], record["Sns"]["Message"], record["Sns"]["Subject"]) == ("aws:sns", "hello", "hi")


def test_groups_of_a_fifo_queue_keep_their_order_side_by_side(queues: Queues, make, wait) -> None:
    """Each group's messages are handled in order, one batch at a time, while other groups are handled beside them."""
    source = """
import boto3, json, os, time
sqs = boto3.client("sqs")

def handler(event, context):
    began = time.time()
    time.sleep(0.1)
    for record in event["Records"]:
        told = [record["attributes"]["MessageGroupId"], int(record["body"][1:]), began, time.time()]
        sqs.send_message(QueueUrl=os.environ["OUT"], MessageBody=json.dumps(told))
"""
    out, _ = queues.queue()
    name = make.function(source, role=make.role(inline=ROLE), Environment={"Variables": {"OUT": out}})
    url, arn = queues.queue(f"q-{uuid.uuid4().hex[:8]}.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    for number in range(4):
        for group in ("a", "b", "c"):
            queues.sqs.send_message(QueueUrl=url, MessageBody=f"{group}{number}", MessageGroupId=group)
    queues.functions.create_event_source_mapping(EventSourceArn=arn, FunctionName=name, BatchSize=1)
    told = [json.loads(queues.receive(out)["Body"]) for _ in range(12)]
    spans = {g: sorted(((s, e, n) for group, n, s, e in told if group == g)) for g in "abc"}
    for span in spans.values():
        assert [n for _, _, n in span] == [0, 1, 2, 3]
        assert all(end <= following for (_, end, _), (following, _, _) in pairwise(span))
    assert any(a[0] < b[1] and b[0] < a[1] for a in spans["a"] for b in spans["b"]), "groups ran one after another"


def test_disabled_mappings_rest_and_deleted_ones_go(queues: Queues, wait) -> None:
    """A disabled mapping takes nothing, an enabled one goes on with what waited, a deleted one is gone."""
    name, out = queues.reporter()
    url, arn = queues.queue()
    functions = queues.functions
    made = functions.create_event_source_mapping(EventSourceArn=arn, FunctionName=name, Enabled=False)
    assert made["State"] == "Disabled"
    queues.sqs.send_message(QueueUrl=url, MessageBody="waits")
    shown = queues.sqs.receive_message(QueueUrl=url, VisibilityTimeout=0, WaitTimeSeconds=0)["Messages"]
    assert shown[0]["Body"] == "waits"
    assert functions.update_event_source_mapping(UUID=made["UUID"], Enabled=True)["State"] == "Enabling"
    assert queues.report(out)[0]["body"] == "waits"
    wait(lambda: functions.get_event_source_mapping(UUID=made["UUID"])["State"] == "Enabled")
    assert functions.delete_event_source_mapping(UUID=made["UUID"])["State"] == "Deleting"
    wait(lambda: not functions.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"])
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.get_event_source_mapping(UUID=made["UUID"])


def test_what_vanishes_stops_its_own_mapping_only(alonzo: Server, queues: Queues, make, wait) -> None:
    """A mapping whose function, queue or role is gone says so, and others go on; it recovers with what it lacks."""
    healthy, out = queues.reporter()
    url, arn = queues.queue()
    queues.functions.create_event_source_mapping(EventSourceArn=arn, FunctionName=healthy)
    role = f"role-{uuid.uuid4().hex[:8]}"
    lost = {"queue": queues.reporter()[0], "function": queues.reporter()[0]}
    lost["role"] = make.function("def handler(e, c): pass", role=make.role(name=role, inline=ROLE))
    mappings, urls = {}, {}
    for kind, name in lost.items():
        urls[kind], its_arn = queues.queue()
        made = queues.functions.create_event_source_mapping(EventSourceArn=its_arn, FunctionName=name)
        mappings[kind] = made["UUID"]
        wait(lambda u=made["UUID"]: queues.functions.get_event_source_mapping(UUID=u)["State"] == "Enabled")
    queues.sqs.delete_queue(QueueUrl=urls["queue"])
    queues.functions.delete_function(FunctionName=lost["function"])
    make.iam.delete_role_policy(RoleName=role, PolicyName="inline")
    for kind in ("function", "role"):
        queues.sqs.send_message(QueueUrl=urls[kind], MessageBody="kept")

    def problem(kind: str) -> str:
        shown = queues.functions.get_event_source_mapping(UUID=mappings[kind])
        assert shown["State"] == "Enabled"
        return shown.get("LastProcessingResult", "")

    wait(lambda: problem("queue").startswith("PROBLEM: "))
    wait(lambda: problem("function").startswith("PROBLEM: Function not found"))
    wait(lambda: problem("role").startswith("PROBLEM: "))
    queues.sqs.send_message(QueueUrl=url, MessageBody="healthy")
    assert queues.report(out)[0]["body"] == "healthy"
    assert queues.count(urls["function"]) == queues.count(urls["role"]) == 1, "nothing is lost"


def test_permissions_are_checked_when_a_mapping_is_made(queues: Queues, make) -> None:
    """A role that may not receive, a queue shorter than the function, and an unknown source are refused as on AWS."""
    functions, client = queues.functions, queues.functions.exceptions
    _, arn = queues.queue(VisibilityTimeout="5")
    poor = make.function("def handler(e, c): pass", Timeout=3)
    rich = make.function("def handler(e, c): pass", role=make.role(inline=ROLE), Timeout=6)
    for name, message in (
        (poor, "The provided execution role does not have permissions to call ReceiveMessage on SQS"),
        (rich, "Queue visibility timeout: 5 seconds is less than Function timeout: 6 seconds"),
    ):
        with pytest.raises(client.InvalidParameterValueException, match=message):
            functions.create_event_source_mapping(EventSourceArn=arn, FunctionName=name)
    with pytest.raises(client.ClientError, match="does not poll DocumentDB yet"):
        functions.create_event_source_mapping(
            EventSourceArn="arn:aws:rds:us-east-1:000000000000:cluster:x", FunctionName=rich
        )
    for where, text in (
        ({"DeadLetterConfig": {"TargetArn": arn}}, "does not have permissions to call SendMessage on SQS"),
    ):
        with pytest.raises(client.InvalidParameterValueException, match=text):
            functions.update_function_configuration(FunctionName=poor, **where)
    with pytest.raises(client.InvalidParameterValueException, match=f"permissions to call SendMessage on {arn}"):
        functions.put_function_event_invoke_config(
            FunctionName=poor, DestinationConfig={"OnFailure": {"Destination": arn}}
        )
    with pytest.raises(client.InvalidParameterValueException, match="cannot deliver to events yet"):
        functions.put_function_event_invoke_config(
            FunctionName=rich,
            DestinationConfig={"OnFailure": {"Destination": "arn:aws:events:us-east-1:000000000000:event-bus/b"}},
        )


def test_failures_go_to_topics_functions_and_buckets(alonzo: Server, queues: Queues, make, wait) -> None:
    """What a function failed with reaches each kind of destination, as the function's role, with one document."""
    s3, sns = alonzo.client("s3"), alonzo.client("sns")
    out, out_arn = queues.queue()
    topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex[:8]}")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=out_arn, Attributes={"RawMessageDelivery": "true"})
    allow = json.loads(_policy(out_arn, "sqs:SendMessage", "x"))
    allow["Statement"][0] |= {"Principal": {"Service": "sns.amazonaws.com"}}
    del allow["Statement"][0]["Condition"]
    queues.sqs.set_queue_attributes(QueueUrl=out, Attributes={"Policy": json.dumps(allow)})
    bucket = f"b-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    listener, heard = queues.reporter_of_topics()
    listener_arn = queues.functions.get_function_configuration(FunctionName=listener)["FunctionArn"]
    failing = make.function("def handler(e, c): raise Exception('no')", role=make.role(inline=ROLE))

    def fail_into(destination: str) -> None:
        queues.functions.put_function_event_invoke_config(
            FunctionName=failing,
            MaximumRetryAttempts=0,
            DestinationConfig={"OnFailure": {"Destination": destination}},
        )
        queues.functions.invoke(FunctionName=failing, InvocationType="Event", Payload=b'{"n": 1}')

    fail_into(topic)
    found = [json.loads(queues.receive(out)["Body"])]
    fail_into(listener_arn)
    found.append(json.loads(queues.receive(heard)["Body"]))
    fail_into(f"arn:aws:s3:::{bucket}")
    [entry] = wait(lambda: s3.list_objects_v2(Bucket=bucket).get("Contents"))
    assert entry["Key"].startswith(f"aws/lambda/async/{failing}/2")
    found.append(json.loads(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()))
    for document in found:
        assert document["requestContext"]["condition"] == "RetriesExhausted"
        assert document["requestPayload"] == {"n": 1}
        assert document["responsePayload"]["errorMessage"] == "no"


@pytest.mark.slow
def test_a_crash_loses_no_message(tmp_path, make_on, wait) -> None:
    """Whatever was sent before the server was killed is handled after it has started again."""
    with Server(tmp_path) as server:
        queues = Queues(server, make_on(server))
        name, out = queues.reporter()
        url, arn = queues.queue(VisibilityTimeout="10")
        made = queues.functions.create_event_source_mapping(EventSourceArn=arn, FunctionName=name, BatchSize=1)
        wait(lambda: queues.functions.get_event_source_mapping(UUID=made["UUID"])["State"] == "Enabled")
        for start in range(0, 60, 10):
            entries = [{"Id": str(n), "MessageBody": str(start + n)} for n in range(10)]
            queues.sqs.send_message_batch(QueueUrl=url, Entries=entries)
        server.kill()
        server.process.wait()
    with Server(tmp_path) as server:
        queues = Queues(server, make_on(server))
        url = queues.sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
        out = queues.sqs.get_queue_url(QueueName=out.rpartition("/")[2])["QueueUrl"]
        assert queues.functions.get_event_source_mapping(UUID=made["UUID"])["State"] == "Enabled"
        seen: set[int] = set()
        while len(seen) < 60:
            seen |= {int(record["body"]) for record in queues.report(out, 20)}
        assert seen == set(range(60))
        wait(lambda: queues.count(url) == 0, 30)
