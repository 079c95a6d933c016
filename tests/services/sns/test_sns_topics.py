"""Topics: making, changing, listing and deleting them."""

from __future__ import annotations

import json

import pytest

from .conftest import ACCOUNT, QUEUE, REGION, SnsUnderTest


async def test_a_topic_and_its_attributes(api: SnsUnderTest) -> None:
    """A new topic has AWS's attributes, its policy and its effective delivery policy among them."""
    arn = await api.topic("t", DisplayName="Shown")
    assert arn == f"arn:aws:sns:{REGION}:{ACCOUNT}:t"
    found = (await api.call("GetTopicAttributes", TopicArn=arn))["Attributes"]
    assert set(found) == {
        "TopicArn", "Owner", "Policy", "DisplayName", "SubscriptionsConfirmed", "SubscriptionsPending",
        "SubscriptionsDeleted", "EffectiveDeliveryPolicy",
    }  # fmt: skip
    assert found["DisplayName"] == "Shown"
    assert json.loads(found["Policy"])["Statement"][0]["Condition"] == {"StringEquals": {"AWS:SourceOwner": ACCOUNT}}
    assert json.loads(found["EffectiveDeliveryPolicy"])["http"]["defaultHealthyRetryPolicy"]["numRetries"] == 3


async def test_creating_again(api: SnsUnderTest) -> None:
    """The same topic may be created again, but not with other attributes or tags."""
    arn = await api.topic("t", DisplayName="a")
    assert await api.topic("t") == arn
    assert await api.topic("t", DisplayName="a") == arn
    assert await api.refused("CreateTopic", Name="t", Attributes={"DisplayName": "b"}) == (
        "InvalidParameter",
        "Invalid parameter: Attributes Reason: Topic already exists with different attributes",
    )
    assert await api.refused("CreateTopic", Name="t", Tags=[{"Key": "k", "Value": "v"}]) == (
        "InvalidParameter",
        "Invalid parameter: Tags Reason: Topic already exists with different tags",
    )


async def test_names(api: SnsUnderTest) -> None:
    """Names are checked, and only FIFO topics end with .fifo."""
    for name in ("", "a b", "a" * 257, "a.fifo", "ä", "a\n"):
        assert await api.refused("CreateTopic", Name=name) == ("InvalidParameter", "Invalid parameter: Topic Name")
    code, message = await api.refused("CreateTopic", Name="a", Attributes={"FifoTopic": "true"})
    assert code == "InvalidParameter" and "must end with .fifo" in message
    await api.fifo("a.fifo")


async def test_unknown_topics_and_arns(api: SnsUnderTest) -> None:
    """What is no topic is not found, and what is no ARN is told in AWS's words."""
    assert await api.refused("GetTopicAttributes", TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:no") == (
        "NotFound",
        "Topic does not exist",
    )
    assert await api.refused("GetTopicAttributes", TopicArn="no") == (
        "InvalidParameter",
        "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1",
    )
    assert (await api.refused("Publish", TopicArn=f"arn:aws:sns:us-west-2:{ACCOUNT}:no", Message="x"))[0] == "NotFound"


async def test_setting_attributes(api: SnsUnderTest) -> None:
    """Attributes are changed one by one, and values that mean nothing are refused."""
    arn = await api.topic()
    await api.call("SetTopicAttributes", TopicArn=arn, AttributeName="SignatureVersion", AttributeValue="2")
    assert (await api.call("GetTopicAttributes", TopicArn=arn))["Attributes"]["SignatureVersion"] == "2"
    for name, value in [
        ("Nonsense", "x"), ("SignatureVersion", "3"), ("TracingConfig", "x"), ("Policy", "{"), ("Policy", "[]"),
        ("Policy", json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*",
                   "Principal": "*", "Resource": "*"}]})),
        ("DeliveryPolicy", "{"), ("DeliveryPolicy", '{"http": {"defaultHealthyRetryPolicy": {"numRetries": 101}}}'),
        ("DeliveryPolicy", '{"http": {"defaultHealthyRetryPolicy": {"minDelayTarget": 21}}}'),
        ("DeliveryPolicy", '{"http": {"defaultRequestPolicy": {"headerContentType": "a\\r\\nb"}}}'),
        ("DeliveryPolicy", "[" * 20_000), ("HTTPSuccessFeedbackSampleRate", "101"),
        ("ContentBasedDeduplication", "true"), ("FifoTopic", "true"), ("DisplayName", "x" * 101),
    ]:  # fmt: skip
        code, message = await api.refused("SetTopicAttributes", TopicArn=arn, AttributeName=name, AttributeValue=value)
        assert code == "InvalidParameter" and message.startswith("Invalid parameter: "), (name, value)
    code, _ = await api.refused("SetTopicAttributes", TopicArn=arn, AttributeName="ArchivePolicy", AttributeValue="{}")
    assert code in ("NotImplementedException", "InvalidParameter")


@pytest.mark.slow
async def test_listing_pages(api: SnsUnderTest) -> None:
    """Topics come a hundred at a time, and a token that is none is refused."""
    names = [f"t{n:03d}" for n in range(120)]
    for name in names:
        await api.topic(name)
    first = await api.call("ListTopics")
    second = await api.call("ListTopics", NextToken=first["NextToken"])
    assert [one["TopicArn"].rpartition(":")[2] for one in first["Topics"] + second["Topics"]] == names
    assert "NextToken" not in second
    for token in ("x", "W10=", "WzFd", "e30="):
        assert await api.refused("ListTopics", NextToken=token) == ("InvalidParameter", "Invalid parameter: NextToken")


async def test_deleting_takes_the_subscriptions_along(api: SnsUnderTest) -> None:
    """A deleted topic leaves no row, and deleting again is no error."""
    arn = await api.topic()
    await api.subscribe(arn, QUEUE + "q")
    await api.call("DeleteTopic", TopicArn=arn)
    await api.call("DeleteTopic", TopicArn=arn)
    assert (await api.refused("Publish", TopicArn=arn, Message="x"))[0] == "NotFound"
    assert [await api.rows(table) for table in ("sns_topics", "sns_subscriptions")] == [0, 0]


async def test_tags(api: SnsUnderTest) -> None:
    """Tags are added, replaced and removed; fifty are the most."""
    arn = await api.topic()
    await api.call("TagResource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    await api.call("TagResource", ResourceArn=arn, Tags=[{"Key": "b", "Value": "3"}])
    await api.call("UntagResource", ResourceArn=arn, TagKeys=["a", "none"])
    assert (await api.call("ListTagsForResource", ResourceArn=arn))["Tags"] == [{"Key": "b", "Value": "3"}]
    twice = [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
    assert await api.refused("TagResource", ResourceArn=arn, Tags=twice) == (
        "InvalidParameter",
        "Invalid parameter: Duplicated keys are not allowed.",
    )
    many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
    assert (await api.refused("TagResource", ResourceArn=arn, Tags=many))[0] == "TagLimitExceeded"
    assert (await api.refused("ListTagsForResource", ResourceArn=arn + "x"))[0] == "ResourceNotFound"


async def test_permissions_become_statements(api: SnsUnderTest) -> None:
    """AddPermission writes a statement into the policy, RemovePermission takes it out, the policy is what decides."""
    arn = await api.topic()
    added = {"TopicArn": arn, "Label": "l", "AWSAccountId": ["111111111111"], "ActionName": ["Publish"]}
    await api.call("AddPermission", **added)
    policy = json.loads((await api.call("GetTopicAttributes", TopicArn=arn))["Attributes"]["Policy"])
    assert policy["Statement"][-1] == {
        "Sid": "l",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
        "Action": "SNS:Publish",
        "Resource": arn,
    }
    assert await api.refused("AddPermission", **added) == (
        "InvalidParameter",
        "Invalid parameter: Statement already exists",
    )
    api.allow.asked.clear()
    await api.publish(arn)
    (asked,) = [access for _, access in api.allow.asked]
    assert (asked.action, asked.resource, json.loads(asked.resource_policy)) == ("SNS:Publish", arn, policy)
    await api.call("RemovePermission", TopicArn=arn, Label="l")
    policy = json.loads((await api.call("GetTopicAttributes", TopicArn=arn))["Attributes"]["Policy"])
    assert len(policy["Statement"]) == 1
