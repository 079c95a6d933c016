"""Subscriptions: what may be subscribed, and their attributes."""

from __future__ import annotations

import json

import pytest

from alonzo.core.context import Principal

from .conftest import ACCOUNT, FUNCTION, QUEUE, REGION, SnsUnderTest


async def test_a_subscription_and_its_attributes(api: SnsUnderTest) -> None:
    """A subscription of one's own queue is confirmed at once and shows what AWS shows."""
    topic = await api.topic()
    arn = await api.subscribe(topic, QUEUE + "q")
    assert (await api.call("GetSubscriptionAttributes", SubscriptionArn=arn))["Attributes"] == {
        "ConfirmationWasAuthenticated": "true",
        "Endpoint": QUEUE + "q",
        "Owner": ACCOUNT,
        "PendingConfirmation": "false",
        "Protocol": "sqs",
        "RawMessageDelivery": "false",
        "SubscriptionArn": arn,
        "SubscriptionPrincipal": f"arn:aws:iam::{ACCOUNT}:root",
        "TopicArn": topic,
    }


async def test_subscribing_again(api: SnsUnderTest) -> None:
    """The same endpoint is subscribed once, and not with other attributes."""
    topic = await api.topic()
    arn = await api.subscribe(topic, QUEUE + "q", RawMessageDelivery="true")
    assert await api.subscribe(topic, QUEUE + "q") == arn
    assert await api.subscribe(topic, QUEUE + "q", RawMessageDelivery="true") == arn
    assert await api.refused(
        "Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=QUEUE + "q", Attributes={"RawMessageDelivery": "false"}
    ) == (
        "InvalidParameter",
        "Invalid parameter: Attributes Reason: Subscription already exists with different attributes",
    )


@pytest.mark.parametrize(
    ("protocol", "endpoint", "message"),
    [
        ("test-protocol", "x", "Amazon SNS does not support this protocol string: test-protocol"),
        ("sqs", "http://localhost/1/q", "SQS endpoint ARN"),
        ("sqs", FUNCTION + "f", "SQS endpoint ARN"),
        ("lambda", QUEUE + "q", "Lambda endpoint ARN"),
        ("sqs", QUEUE + "q.fifo", "Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to"
         " standard SNS topics"),
        ("http", "https://example.com/", "Endpoint must match the specified protocol"),
        ("http", "http://", "Endpoint"),
        ("http", "http://a b/", "Endpoint"),
        ("http", "http://a/\r\nx: y", "Endpoint"),
        ("http", "http://a:99999/", "Endpoint"),
        ("http", "http://[::1/", "Endpoint"),
        ("http", "file:///etc/passwd", "Endpoint"),
        ("email", "nobody", "Email address"),
        ("sqs", "", "Endpoint"),
        ("http", "http://a/" + "x" * 3000, "Endpoint"),
    ],
)  # fmt: skip
async def test_endpoints_are_checked(api: SnsUnderTest, protocol: str, endpoint: str, message: str) -> None:
    """What is no endpoint of its protocol is refused."""
    topic = await api.topic()
    refused = await api.refused("Subscribe", TopicArn=topic, Protocol=protocol, Endpoint=endpoint)
    assert refused == ("InvalidParameter", f"Invalid parameter: {message}")


async def test_protocols_that_are_not_there(api: SnsUnderTest) -> None:
    """Firehose and mobile push say that they are not implemented."""
    topic = await api.topic()
    for protocol in ("firehose", "application"):
        code, message = await api.refused("Subscribe", TopicArn=topic, Protocol=protocol, Endpoint="arn:x")
        assert code == "NotImplementedException" and protocol in message


async def test_fifo_topics_take_queues_only(api: SnsUnderTest) -> None:
    """Functions and addresses cannot be subscribed to a FIFO topic."""
    topic = await api.fifo()
    refused = await api.refused("Subscribe", TopicArn=topic, Protocol="lambda", Endpoint=FUNCTION + "f")
    assert refused[0] == "InvalidParameter"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fake", "x", "AttributeName"),
        ("RawMessageDelivery", "test-ValUe", "RawMessageDelivery: Invalid value [test-ValUe]. Must be true or false."),
        ("RawMessageDelivery", "", "RawMessageDelivery: Invalid value []. Must be true or false."),
        ("RedrivePolicy", '{"deadLetterTargetArn":"fake"}', "RedrivePolicy: deadLetterTargetArn is an invalid arn"),
        ("RedrivePolicy", "{}", "RedrivePolicy: deadLetterTargetArn is an invalid arn"),
        (
            "RedrivePolicy",
            "{invalidjson}",
            "RedrivePolicy: failed to parse JSON. Unexpected character ('i' (code 105)): was expecting double-quote to"
            " start field name\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled);"
            " line: 1, column: 2]",
        ),
        (
            "FilterPolicy",
            "{invalidjson}",
            "FilterPolicy: failed to parse JSON. Unexpected character ('i' (code 105)): was expecting double-quote to"
            " start field name\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled);"
            " line: 1, column: 2]",
        ),
        (
            "FilterPolicy",
            '{"key_a":"value_one"}',
            'FilterPolicy: "key_a" must be an object or an array\n at [Source: (String)"{"key_a":"value_one"}"; line:'
            " 1, column: 11]",
        ),
        (
            "FilterPolicy",
            '{"a":{"b":["x"]}}',
            "Filter policy scope MessageAttributes does not support nested filter policy",
        ),
        (
            "FilterPolicyScope",
            "RandomValue",
            "FilterPolicyScope: Invalid value [RandomValue]. Please use either MessageBody or MessageAttributes",
        ),
        ("FilterPolicy", json.dumps({f"k{n}": ["x"] for n in range(6)}),
         "FilterPolicy: Filter policy can not have more than 5 keys"),
        ("FilterPolicy", json.dumps({"a": [str(n) for n in range(151)]}),
         "FilterPolicy: Filter policy is too complex"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
async def test_attributes_are_checked(api: SnsUnderTest, name: str, value: str, message: str) -> None:
    """Attributes are refused with AWS's recorded texts, and Subscribe says that it was about its attributes."""
    topic = await api.topic()
    arn = await api.subscribe(topic, QUEUE + "q")
    assert await api.refused(
        "SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName=name, AttributeValue=value
    ) == ("InvalidParameter", f"Invalid parameter: {message}")
    reason = message if "nested" in message else f"Attributes Reason: {message}"
    assert await api.refused(
        "Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=QUEUE + "r", Attributes={name: value}
    ) == ("InvalidParameter", f"Invalid parameter: {reason}")


async def test_filter_policies_are_set_and_cleared(api: SnsUnderTest) -> None:
    """The scope is shown with a policy only; a nested one needs the body's scope; an empty one is none."""
    topic = await api.topic()
    arn = await api.subscribe(topic, QUEUE + "q")

    async def put(name: str, value: str) -> dict[str, str]:
        await api.call("SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName=name, AttributeValue=value)
        return dict((await api.call("GetSubscriptionAttributes", SubscriptionArn=arn))["Attributes"])

    assert "FilterPolicyScope" not in await put("FilterPolicyScope", "MessageBody")
    found = await put("FilterPolicy", '{"a": {"b": ["x"]}}')
    assert (found["FilterPolicy"], found["FilterPolicyScope"]) == ('{"a": {"b": ["x"]}}', "MessageBody")
    refused = await api.refused(
        "SetSubscriptionAttributes",
        SubscriptionArn=arn,
        AttributeName="FilterPolicyScope",
        AttributeValue="MessageAttributes",
    )
    assert "does not support nested" in refused[1]
    assert "FilterPolicy" not in await put("FilterPolicy", "{}")


async def test_fifo_dead_letter_queues(api: SnsUnderTest) -> None:
    """The dead-letter queue of a FIFO subscription is a FIFO queue."""
    topic = await api.fifo()
    refused = await api.refused(
        "Subscribe",
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=QUEUE + "q.fifo",
        Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": QUEUE + "dead"})},
    )
    assert refused[1].endswith("must use a FIFO queue as DLQ for a FIFO Subscription to a FIFO Topic.")


@pytest.mark.slow
async def test_listing(api: SnsUnderTest) -> None:
    """Subscriptions are listed a hundred at a time, by topic and of the account."""
    topic = await api.topic()
    for n in range(130):
        await api.subscribe(topic, f"{QUEUE}q{n}")
    for operation, scope in (("ListSubscriptionsByTopic", {"TopicArn": topic}), ("ListSubscriptions", {})):
        first = await api.call(operation, **scope)
        second = await api.call(operation, NextToken=first["NextToken"], **scope)
        found = first["Subscriptions"] + second["Subscriptions"]
        assert len({one["SubscriptionArn"] for one in found}) == 130 and "NextToken" not in second
    assert set(found[0]) == {"Endpoint", "Owner", "Protocol", "SubscriptionArn", "TopicArn"}


async def test_ending(api: SnsUnderTest) -> None:
    """A subscription that is ended is not found any more; ending it again is no error."""
    topic = await api.topic()
    arn = await api.subscribe(topic, QUEUE + "q")
    await api.call("Unsubscribe", SubscriptionArn=arn)
    await api.call("Unsubscribe", SubscriptionArn=arn)
    assert await api.refused("GetSubscriptionAttributes", SubscriptionArn=arn) == (
        "NotFound",
        "Subscription does not exist",
    )
    attributes = (await api.call("GetTopicAttributes", TopicArn=topic))["Attributes"]
    assert (attributes["SubscriptionsConfirmed"], attributes["SubscriptionsDeleted"]) == ("0", "1")
    assert (await api.refused("Unsubscribe", SubscriptionArn=topic))[0] == "InvalidParameter"


@pytest.mark.slow
async def test_limits(api: SnsUnderTest) -> None:
    """A FIFO topic has a hundred subscriptions, a topic two hundred filter policies."""
    topic = await api.fifo()
    for n in range(100):
        await api.subscribe(topic, f"{QUEUE}q{n}.fifo")
    refused = await api.refused("Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=QUEUE + "more.fifo")
    assert refused[0] == "SubscriptionLimitExceeded"


# -- confirming -------------------------------------------------------------------------------------------------------


async def test_another_accounts_queue_must_confirm(api: SnsUnderTest, anonymous: Principal) -> None:
    """A queue of another account gets the question first, and messages only after whoever reads it has confirmed."""
    topic = await api.topic()
    endpoint = f"arn:aws:sqs:{REGION}:999999999999:q"
    answer = await api.call("Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=endpoint)
    assert answer["SubscriptionArn"] == "pending confirmation"
    listed = (await api.call("ListSubscriptionsByTopic", TopicArn=topic))["Subscriptions"]
    assert [one["SubscriptionArn"] for one in listed] == ["PendingConfirmation"]
    await api.publish(topic)
    await api.idle()
    (question,) = api.receivers.bodies("q")
    assert question["Type"] == "SubscriptionConfirmation" and "/?Action=ConfirmSubscription" in question["SubscribeURL"]
    confirmed = await api.call("ConfirmSubscription", who=anonymous, TopicArn=topic, Token=question["Token"])
    again = await api.call("ConfirmSubscription", who=anonymous, TopicArn=topic, Token=question["Token"])
    assert confirmed == again
    await api.publish(topic, "after")
    await api.idle()
    assert api.receivers.bodies("q")[1]["Message"] == "after"
    shown = await api.call("GetSubscriptionAttributes", SubscriptionArn=confirmed["SubscriptionArn"])
    assert shown["Attributes"]["ConfirmationWasAuthenticated"] == "false"


async def test_wrong_tokens(api: SnsUnderTest) -> None:
    """Tokens that are none, and tokens of other topics, confirm nothing."""
    topic = await api.topic()
    for token, message in (("x", "Invalid parameter: Token"), ("0" * 128, "Invalid token")):
        assert await api.refused("ConfirmSubscription", TopicArn=topic, Token=token) == ("InvalidParameter", message)


async def test_mails_are_confirmed_by_what_is_recorded(api: SnsUnderTest) -> None:
    """The question to a mail address is recorded, with the link that confirms it."""
    topic = await api.topic()
    await api.subscribe(topic, "me@example.com", "email")
    (row,) = api.service.recorded(ACCOUNT, REGION)
    token = str(row["body"]).partition("&Token=")[2].partition("&")[0]
    await api.call("ConfirmSubscription", TopicArn=topic, Token=token)
    await api.publish(topic, "text", Subject="s")
    latest = next(iter(api.service.recorded(ACCOUNT, REGION)))
    assert (latest["protocol"], latest["subject"], latest["body"]) == ("email", "s", "text")


@pytest.mark.slow
async def test_who_may_unsubscribe(api: SnsUnderTest, anonymous: Principal) -> None:
    """The link in a message ends a subscription, unless it was confirmed with AuthenticateOnUnsubscribe."""
    topic = await api.topic()
    arn = await api.subscribe(topic, QUEUE + "q")
    await api.call("Unsubscribe", who=anonymous, SubscriptionArn=arn)
    assert (await api.call("ListSubscriptions"))["Subscriptions"] == []
    endpoint = f"arn:aws:sqs:{REGION}:999999999999:q"
    pending = await api.subscribe(topic, endpoint)
    await api.idle()
    token = api.receivers.bodies("q")[0]["Token"]
    await api.call("ConfirmSubscription", TopicArn=topic, Token=token, AuthenticateOnUnsubscribe="true")
    api.allow.denied.add("SNS:Unsubscribe")
    assert (await api.refused("Unsubscribe", who=anonymous, SubscriptionArn=pending))[0] == "AuthorizationError"


async def test_permissions(api: SnsUnderTest, role: Principal) -> None:
    """Every operation asks for its permission on the topic, and a denial is SNS's AuthorizationError."""
    topic = await api.topic()
    api.allow.denied.add("SNS:Subscribe")
    refused = await api.refused("Subscribe", who=role, TopicArn=topic, Protocol="sqs", Endpoint=QUEUE + "q")
    assert refused[0] == "AuthorizationError"
    _, asked = api.allow.asked[-1]
    assert (asked.resource, asked.conditions) == (topic, {"sns:Protocol": "sqs", "sns:Endpoint": QUEUE + "q"})
