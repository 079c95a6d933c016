"""Tells the engine what is reserved and provisioned: at the start, and after each change of a function."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from sqlalchemy import Connection

from alonzo.engine.function import FunctionVersion
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.names import FunctionRef
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import functions, provisioned
from alonzo.services.lambda_.store.functions import Key
from alonzo.services.lambda_.targets import engine_version

log = logging.getLogger(__name__)

Wanted = dict[str, tuple[FunctionVersion, int]]


def refuse_snap_start(connection: Connection, key: Key, numbers: Iterable[str]) -> None:
    """Raise InvalidParameterValueException where one of a function's versions has SnapStart.

    AWS documents that there is not both; its text is not recorded, and this one follows those about other features.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-limitations
    """
    for number in numbers:
        version = functions.get_version(connection, key, number)
        if version is not None and version.body.config["SnapStart"]["ApplyOn"] != "None":
            raise invalid("Provisioned Concurrency is not supported for SnapStart enabled functions.")


class Provisioning:
    """`changed` is told of every write, and `tidy` is part of it; `run` brings the engine up to date."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._keys: set[Key] = set()
        self._waiting: asyncio.Queue[Key] = asyncio.Queue()

    async def resume(self) -> None:
        """Tell the engine what was configured before the server's start."""
        for account_id, region, name, reserved in await self._state.read(provisioned.reservations):
            self._state.engine.reserve(account_id, region, FunctionRef(account_id, region, name).arn, reserved)
        self._keys = await self._state.read(provisioned.keys)
        for key in self._keys:
            self._waiting.put_nowait(key)

    def add(self, key: Key) -> None:
        """The function has a configuration from now on."""
        self._keys.add(key)

    def tidy(self, connection: Connection, key: Key) -> None:
        if key in self._keys:
            provisioned.remove_orphans(connection, key)

    def changed(self, key: Key) -> None:
        if key in self._keys:
            self._waiting.put_nowait(key)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            key = await self._waiting.get()
            try:
                await self._sync(key)
            except Exception:
                log.exception("provisioned concurrency was not brought up to date function=%s", key[2])

    async def _sync(self, key: Key) -> None:
        def read(connection: Connection) -> tuple[Wanted, list[str]]:
            function = functions.get_function(connection, key)
            configs = provisioned.of_function(connection, key)
            if function is None:
                return {}, []
            wanted: Wanted = {}
            for number, count in (share for config in configs for share in config.shares):
                version = functions.get_version(connection, key, number)
                if version is not None and version.state.name == "Active":
                    before = wanted[number][1] if number in wanted else 0
                    wanted[number] = (engine_version(connection, function, version, version.running), before + count)
            return wanted, [config.qualifier for config in configs]

        wanted, qualifiers = await self._state.read(read)
        self._state.engine.provision(key[0], key[1], FunctionRef(*key).arn, wanted)
        for qualifier in qualifiers:
            self._state.targets.prepare(FunctionRef(*key, qualifier))
        if not qualifiers and self._waiting.empty():
            self._keys.discard(key)
