"""IAM and STS on a real database, called through the dispatcher."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from alonzo.config import Settings
from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Access, Dispatcher, Parts
from alonzo.services import iam, sts
from alonzo.storage import Blobs, Database

ACCOUNT = "000000000000"


class Clock:
    def __init__(self) -> None:
        self.value = 1_700_000_000.0

    def now(self) -> float:
        return self.value

    def monotonic(self) -> float:
        return self.value

    async def sleep(self, seconds: float) -> None:
        self.value += seconds


@dataclass
class World:
    parts: Parts
    iam: iam.Iam
    sts: sts.Sts
    clock: Clock
    root: Context

    async def call(self, operation: str, ctx: Context | None = None, service: str = "iam", **params: Any) -> Any:
        return await self.parts.dispatcher.call(ctx or self.root, service, operation, params)

    async def refused(self, operation: str, ctx: Context | None = None, service: str = "iam", **params: Any):
        with pytest.raises(ServiceError) as caught:
            await self.call(operation, ctx, service, **params)
        return caught.value.code, caught.value.message

    async def allowed(self, ctx: Context, action: str, resource: str, **kw: Any) -> bool:
        try:
            await self.iam.authorizer.authorize(ctx, Access(action, resource, **kw), denied_code="AccessDenied")
        except ServiceError as error:
            assert error.status == 403 and action in error.message
            return False
        return True

    async def user(self, name: str = "ann") -> Context:
        """A new user with a key, and a context that acts as it."""
        await self.call("CreateUser", UserName=name)
        key = (await self.call("CreateAccessKey", UserName=name))["AccessKey"]
        credential = await self.iam.credentials.find(key["AccessKeyId"])
        assert credential is not None and credential.secret == key["SecretAccessKey"]
        return replace(self.root, principal=credential.principal)

    async def role(self, name: str = "worker", trusted: Any = None, **kw: Any) -> str:
        trusted = trusted or {"Service": "lambda.amazonaws.com"}
        made = await self.call("CreateRole", RoleName=name, AssumeRolePolicyDocument=trust(trusted), **kw)
        return made["Role"]["Arn"]

    def service(self, name: str = "lambda.amazonaws.com") -> Context:
        return self.root.as_service(name)

    async def session(self, role_arn: str, ctx: Context | None = None, **kw: Any) -> Context:
        params = {"RoleArn": role_arn, "RoleSessionName": "session", **kw}
        found = (await self.call("AssumeRole", ctx or self.service(), "sts", **params))["Credentials"]
        credential = await self.sts.credentials.find(found["AccessKeyId"], found["SessionToken"])
        assert credential is not None and credential.secret == found["SecretAccessKey"]
        return replace(self.root, principal=credential.principal)


def trust(principal: Any, **kw: Any) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": ["sts:AssumeRole", "sts:TagSession"], **kw}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def allow(action: Any = "s3:*", resource: Any = "*", effect: str = "Allow", **kw: Any) -> str:
    statement = {"Effect": effect, "Action": action, "Resource": resource, **kw}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


async def open_world(folder: Path, clock: Clock, **settings: Any) -> World:
    ids = Ids()
    db = Database(folder / "alonzo.db", durable=False)
    db.open()
    blobs = Blobs(folder / "blobs", ids, durable=False)
    parts = Parts(Settings(data_dir=folder, **settings), clock, ids, db, blobs, Dispatcher())
    identities = iam.build(parts)
    tokens = sts.build(parts, identities)
    parts.dispatcher.use(identities.authorizer)
    for service in (identities.service, tokens.service):
        parts.dispatcher.add(service)
        await service.start()
    root = Context(ACCOUNT, "us-east-1", Principal.root(ACCOUNT), "request-1")
    return World(parts, identities, tokens, clock, root)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    found = await open_world(tmp_path, Clock())
    yield found
    await found.parts.db.close()
