"""What every operation of the service works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from alonzo.core.dataclasses import dataclass, field
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Parts
from alonzo.services.lambda_ import models
from alonzo.services.lambda_.code_links import CodeLinks
from alonzo.services.lambda_.configuration import RUNTIME_VERSION
from alonzo.services.lambda_.errors import conflict, function_not_found
from alonzo.services.lambda_.models import LATEST, Function, Version
from alonzo.services.lambda_.names import FunctionRef
from alonzo.services.lambda_.ports import Engine, Runtimes
from alonzo.services.lambda_.store import code as code_store
from alonzo.services.lambda_.store import functions
from alonzo.services.lambda_.store.code import Freed
from alonzo.services.lambda_.targets import Targets

T = TypeVar("T")


@dataclass(slots=True)
class State:
    parts: Parts
    engine: Engine
    runtimes: Runtimes
    targets: Targets
    links: CodeLinks
    #: Hands a version to the preparer, once it is stored.
    prepare: Callable[[functions.Key, str], None] = field(default=lambda key, version: None)
    #: Part of every transaction about a function; and told when it has committed.
    tidy: Callable[[Connection, functions.Key], None] = field(default=lambda connection, key: None)
    changed: Callable[[functions.Key], None] = field(default=lambda key: None)
    #: The function gets a provisioned concurrency configuration.
    provisioning: Callable[[functions.Key], None] = field(default=lambda key: None)
    #: An event source mapping's row was written.
    mapping_changed: Callable[[functions.Key], None] = field(default=lambda key: None)
    #: Asks for unpacked code that nothing needs to be removed, soon.
    sweep: Callable[[], None] = field(default=lambda: None)

    def now(self) -> float:
        return self.parts.clock.now()

    def new_id(self) -> str:
        return self.parts.ids.uuid()

    def with_build(self, config: dict[str, Any], region: str) -> dict[str, Any]:
        """A configuration with the build of its runtime, where that is known before it is prepared."""
        if RUNTIME_VERSION in config:
            return config
        build = self.runtimes.version_arn(config["Runtime"], region)
        return {**config, RUNTIME_VERSION: build} if build else config

    async def read(self, query: Callable[[Connection], T]) -> T:
        return await self.parts.db.read(query)

    async def write(
        self,
        key: functions.Key,
        change: Callable[[Connection, Freed], T],
        then: Callable[[T], None] = lambda _: None,
    ) -> T:
        """Run a transaction about one function (or layer), forget what was remembered of it, and free its code.

        `then` runs once it has committed, even if the caller is cancelled meanwhile.
        """
        return await asyncio.shield(self._write(key, change, then))

    async def _write(
        self, key: functions.Key, change: Callable[[Connection, Freed], T], then: Callable[[T], None]
    ) -> T:
        freed: list[Freed] = []

        def transaction(connection: Connection) -> T:
            # A transaction may run twice; only what the last run freed counts.
            freed[:] = [Freed()]
            result = change(connection, freed[0])
            self.tidy(connection, key)
            return result

        with self.targets.changing(key):
            result = await self.parts.db.write(transaction)
        then(result)
        self.changed(key)
        await self.parts.blobs.delete(*freed[0].blob_ids)
        if freed[0].unpacked:
            self.sweep()
        return result


def need_function(connection: Connection, ref: FunctionRef, *, named: str = "") -> Function:
    """The function, or ResourceNotFoundException naming `named` (the unqualified ARN where that is "")."""
    function = functions.get_function(connection, ref.key)
    if function is None:
        raise function_not_found(named or ref.arn)
    return function


def need_version(connection: Connection, ref: FunctionRef, version: str = LATEST, *, named: str = "") -> Version:
    found = functions.get_version(connection, ref.key, version)
    if found is None:
        raise function_not_found(named or ref.qualified_arn)
    return found


def need_room(connection: Connection, key: functions.Key, size: int) -> None:
    """Raise CodeStorageExceededException where `size` more bytes of code are more than an account may have."""
    if code_store.sizes_used(connection, key[0], key[1]) + size > models.MAX_TOTAL_CODE:
        raise ServiceError("CodeStorageExceededException", "Code storage limit exceeded.", fields={"Type": "User"})


def need_idle(ref: FunctionRef, latest: Version) -> None:
    """Raise ResourceConflictException while `$LATEST` is being created or updated."""
    if latest.update.name == "InProgress":
        raise conflict(
            f"The operation cannot be performed at this time. An update is in progress for resource: {ref.arn}"
        )
    if latest.state.name == "Pending":
        raise conflict(
            "The operation cannot be performed at this time. The function is currently in the following state: Pending"
        )
