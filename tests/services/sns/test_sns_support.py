"""The support table, and permissions of every operation."""

from __future__ import annotations

import tomllib
from pathlib import Path

import alonzo.services.sns
from alonzo.core.context import Context, Principal
from alonzo.protocol.model import load_model
from alonzo.services.sns.access import access_of

from .conftest import ACCOUNT, QUEUE, REGION, SnsUnderTest


async def test_every_parameter_is_listed(api: SnsUnderTest) -> None:
    """The support table names every operation that has a handler, and each of its parameters once."""
    table = tomllib.loads((Path(alonzo.services.sns.__file__).parent / "support.toml").read_text())
    assert set(table) == set(api.service.handlers)
    model = load_model("sns")
    for name, kinds in table.items():
        assert set(kinds) <= {"enforced", "stored", "unsupported"}
        listed = [parameter for parameters in kinds.values() for parameter in parameters]
        shape = model.operation(name).input
        assert sorted(listed) == sorted(shape.members if shape is not None else [])


async def test_every_operation_has_a_permission(api: SnsUnderTest) -> None:
    """No handler but ConfirmSubscription, which asks for a token, is reached without a permission being asked for."""
    topic = await api.topic()
    subscription = await api.subscribe(topic, QUEUE + "q")
    ctx = Context(ACCOUNT, REGION, Principal.root(ACCOUNT), "request")
    params = {"TopicArn": topic, "ResourceArn": topic, "SubscriptionArn": subscription, "Name": "t", "Token": "x"}
    assert api.service.state is not None
    for operation in api.service.handlers:
        asked = await access_of(api.service.state, ctx, operation, params)
        assert all(one.action.startswith("SNS:") for one in asked)
        assert asked or operation == "ConfirmSubscription"


async def test_what_is_not_there_says_so(api: SnsUnderTest) -> None:
    """Operations without a handler answer 501 and their name; jobs are no operations."""
    code, message = await api.refused("CheckIfPhoneNumberIsOptedOut", phoneNumber="+491511234567")
    assert code == "NotImplementedException" and "CheckIfPhoneNumberIsOptedOut" in message
    assert not set(api.service.jobs) & set(api.service.handlers)
