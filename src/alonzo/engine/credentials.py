"""Temporary credentials of execution roles: assumed once per role and function, and again before they run out."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime

from alonzo.core.arn import arn
from alonzo.core.clock import Clock
from alonzo.core.context import Context, Principal
from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Dispatcher
from alonzo.engine.function import FunctionVersion

#: Life asked for, in seconds: what every role allows.
_DURATION_S = 3_600
#: An environment starts only with credentials that live at least this long.
_FRESH_S = 1_800
_ENTRIES = 4_096
_SESSION_NAME = re.compile(r"[^\w+=,.@-]")


@dataclass(frozen=True, slots=True)
class RoleCredentials:
    """One set. `expires_at` is in epoch seconds; `principal` is whom the function acts as."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: float
    principal: Principal


class Credentials:
    """A cache over sts AssumeRole. The session is named after the function, as on AWS."""

    def __init__(self, dispatcher: Dispatcher, clock: Clock, ids: Ids) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._ids = ids
        self._cache: dict[tuple[str, str], RoleCredentials] = {}
        self._assuming: dict[tuple[str, str], asyncio.Lock] = {}

    async def of(self, fv: FunctionVersion) -> RoleCredentials:
        """Credentials with enough life for a new environment. Raises ServiceError AccessDeniedException."""
        key = (fv.arn, fv.role_arn)
        found = self._cache.get(key)
        if found is not None and found.expires_at - self._clock.now() >= _FRESH_S:
            return found
        lock = self._assuming.setdefault(key, asyncio.Lock())
        async with lock:
            found = self._cache.get(key)
            if found is None or found.expires_at - self._clock.now() < _FRESH_S:
                found = await self._assume(fv)
                if len(self._cache) >= _ENTRIES:
                    self._cache.clear()
                    self._assuming.clear()
                self._cache[key] = found
            return found

    def forget(self, fv: FunctionVersion) -> None:
        """The role may have changed."""
        self._cache.pop((fv.arn, fv.role_arn), None)

    async def _assume(self, fv: FunctionVersion) -> RoleCredentials:
        ctx = Context(
            fv.account_id,
            fv.region,
            Principal.service("lambda.amazonaws.com", fv.account_id),
            self._ids.uuid(),
            source_arn=fv.arn,
            source_account=fv.account_id,
        )
        session = _SESSION_NAME.sub("-", fv.name)[:64]
        if len(session) < 2:
            session = f"{session}@lambda_function"  # as recorded on AWS: a session's name has two characters or more
        params = {"RoleArn": fv.role_arn, "RoleSessionName": session, "DurationSeconds": _DURATION_S}
        try:
            result = await self._dispatcher.call(ctx, "sts", "AssumeRole", params)
        except ServiceError as error:
            if error.status >= 500:
                raise
            raise ServiceError(
                "AccessDeniedException",
                "The role defined for the function cannot be assumed by Lambda.",
                status=403,
                fields={"Type": "User"},
            ) from error
        given = result["Credentials"]
        who = result.get("AssumedRoleUser", {})
        return RoleCredentials(
            given["AccessKeyId"],
            given["SecretAccessKey"],
            given["SessionToken"],
            _epoch(given["Expiration"]),
            role_principal(fv, session, str(who.get("Arn", "")), str(who.get("AssumedRoleId", ""))),
        )


def role_principal(fv: FunctionVersion, session: str, session_arn: str = "", user_id: str = "") -> Principal:
    """The function's role as a principal."""
    role_name = fv.role_arn.rpartition("/")[2]
    account_id = fv.role_arn.split(":")[4] if fv.role_arn.count(":") >= 5 else fv.account_id
    return Principal(
        "role",
        account_id,
        session_arn or arn("sts", "", account_id, f"assumed-role/{role_name}/{session}"),
        user_id,
        role_arn=fv.role_arn,
        name=role_name,
    )


def _epoch(when: datetime | float | str) -> float:
    if isinstance(when, datetime):
        return when.timestamp()
    return float(when)
