"""Brings versions from Pending to Active and updates from InProgress to Successful, in the background."""

from __future__ import annotations

import asyncio
import errno
import logging
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from alonzo.core.errors import ServiceError
from alonzo.engine.function import FunctionVersion
from alonzo.runtimes import CodeError, RuntimeUnavailable
from alonzo.runtimes.packages import BROKEN
from alonzo.services.lambda_ import configuration
from alonzo.services.lambda_.models import (
    BAD_CODE,
    BAD_INIT,
    BAD_ZIP,
    INIT_FAILED,
    LATEST,
    NO_ROOM,
    NO_RUNTIME,
    Status,
    Version,
)
from alonzo.services.lambda_.names import FunctionRef
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import code as code_store
from alonzo.services.lambda_.store import functions
from alonzo.services.lambda_.store.code import Freed
from alonzo.services.lambda_.targets import engine_version

log = logging.getLogger(__name__)

_PARALLEL = 4
#: Versions that are initialised for a snapshot at the same time: each takes its own program's time.
_COPYING = 16
_SWEEP_DELAY_S = 1.0
#: How long after the start runtimes are warmed up, how many at most, and in how many functions they are looked for.
_WARM_UP_DELAY_S, _WARM_RUNTIMES, _LOOKED_AT = 0.5, 3, 100
_READY = Status("Active")
_DONE = Status("Successful")


class Preparation:
    """A queue of versions to prepare. What a crash interrupted is found in the database and resumed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: asyncio.Queue[tuple[functions.Key, str]] = asyncio.Queue()
        self._queued: set[tuple[functions.Key, str]] = set()
        self._to_copy: asyncio.Queue[tuple[functions.Key, Version, FunctionVersion, dict[str, Any]]] = asyncio.Queue()
        self._sweep = asyncio.Event()
        # Code that is being unpacked has a row already, but may not be swept by someone who read the rows earlier.
        self._unpacking = 0
        self._idle = asyncio.Condition()

    def add(self, key: functions.Key, version: str) -> None:
        """Have a version prepared, unless it waits for that already."""
        if (key, version) not in self._queued:
            self._queued.add((key, version))
            self._waiting.put_nowait((key, version))

    async def resume(self) -> None:
        """Queue what an earlier run left unfinished."""
        for version in await self._state.read(functions.unfinished):
            self.add((version.account_id, version.region, version.name), version.version)

    def ask_sweep(self) -> None:
        self._sweep.set()

    async def _warm_up(self) -> None:
        """After a start: have ready what the functions that were changed last are forked from, a runtime each."""
        await self._state.parts.clock.sleep(_WARM_UP_DELAY_S)
        seen: set[str] = set()
        for version in await self._state.read(lambda connection: functions.changed_last(connection, _LOOKED_AT)):
            runtime = str(version.body.config.get("Runtime", ""))
            if runtime in seen or len(seen) >= _WARM_RUNTIMES:
                continue
            seen.add(runtime)
            try:
                await self._state.engine.prepare(await self._state.read(partial(_for_engine, version)))
            except Exception as error:  # whoever invokes it is told
                log.info("not warmed up runtime=%s function=%s: %s", runtime, version.name, error)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._warm_up())
            group.create_task(self._sweep_code())
            for _ in range(_COPYING):
                group.create_task(self._copy())
            for _ in range(_PARALLEL):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key, version = await self._waiting.get()
            self._queued.discard((key, version))
            try:
                await self.prepare(key, version)
            except Exception:
                # The version stays unfinished and is resumed at the next start.
                log.exception("preparation failed function=%s version=%s", key[2], version)

    async def _sweep_code(self) -> None:
        """Remove unpacked code that neither a version nor a running environment needs."""
        while True:
            await self._sweep.wait()
            await self._state.parts.clock.sleep(_SWEEP_DELAY_S)
            self._sweep.clear()
            try:
                async with self._idle:
                    await self._idle.wait_for(lambda: self._unpacking == 0)
                    live = await self._state.read(code_store.live_contents)
                    await self._state.runtimes.forget(live | self._state.engine.code_in_use())
            except Exception:
                log.exception("unpacked code was not removed")

    async def prepare(self, key: functions.Key, number: str) -> None:
        """Prepare one version and record how it went."""

        def read(connection: Connection) -> tuple[Version, FunctionVersion] | None:
            function = functions.get_function(connection, key)
            version = functions.get_version(connection, key, number)
            if function is None or version is None:
                return None
            return version, engine_version(connection, function, version, version.body)

        async with self._idle:
            found = await self._state.read(read)
            self._unpacking += 1
        try:
            if found is not None:
                failure, shown = await self._unpack(key, found[1])
                if failure is None and found[1].snap_start:
                    self._to_copy.put_nowait((key, *found, shown))
                else:
                    await self._settle(key, found[0], failure, shown)
        finally:
            async with self._idle:
                self._unpacking -= 1
                self._idle.notify_all()

    async def _copy(self) -> None:
        """Initialise versions with SnapStart. That is their own time, so nobody else waits for it."""
        while True:
            key, version, fv, shown = await self._to_copy.get()
            failure: Status | None = None
            try:
                has_snapshot, problem = await self._state.engine.snapshot(fv)
                if problem is not None:
                    failure = Status("Failed", INIT_FAILED, BAD_INIT)
                elif has_snapshot:
                    shown = {**shown, configuration.SNAPSHOT: True}
            except ServiceError as error:
                failure = Status("Failed", error.message, BAD_CODE)
            except Exception:  # it can still be initialised when it is needed
                log.exception("no snapshot was taken function=%s version=%s", key[2], version.version)
            try:
                await self._settle(key, version, failure, shown)
            except Exception:
                log.exception("preparation failed function=%s version=%s", key[2], version.version)

    async def _unpack(self, key: functions.Key, version: FunctionVersion) -> tuple[Status | None, dict[str, Any]]:
        """None where the version can run now, else why it cannot; and what its configuration shows of that."""
        failure: Status | None = None
        try:
            root = await self._state.runtimes.root(version)
            await self._state.engine.prepare(version)
            return None, {configuration.RUNTIME_VERSION: root.runtime_version_arn}
        except RuntimeUnavailable as error:
            failure = Status("Failed", str(error), NO_RUNTIME)
        except (CodeError, ServiceError) as error:
            failure = Status("Failed", error.message, BAD_ZIP if error.message == BROKEN else BAD_CODE)
        except OSError as error:
            log.exception("cannot prepare function=%s version=%s", key[2], version.version)
            failure = Status("Failed", _what_the_system_refused(error), NO_ROOM)
        except Exception as error:
            log.exception("cannot prepare function=%s version=%s", key[2], version.version)
            failure = Status("Failed", f"Preparing the function failed: {error}", NO_ROOM)
        return failure, {}

    async def _settle(
        self, key: functions.Key, prepared: Version, failure: Status | None, found: dict[str, Any]
    ) -> None:
        revision_id = self._state.new_id()

        def settle(connection: Connection, freed: Freed) -> None:
            current = functions.get_version(connection, key, prepared.version)
            # Deleted, or updated again meanwhile: that has its own turn.
            if current is not None and current.body.generation == prepared.body.generation:
                functions.put_version(connection, _settled(current, failure, revision_id, found), freed)

        def retire(_: None) -> None:
            if prepared.previous is not None and failure is None:
                self._state.engine.retire(FunctionRef(*key).arn, prepared.version)

        await self._state.write(key, settle, retire)
        self._state.targets.prepare(FunctionRef(*key, "" if prepared.version == LATEST else prepared.version))


def _for_engine(version: Version, connection: Connection) -> FunctionVersion:
    function = functions.get_function(connection, (version.account_id, version.region, version.name))
    if function is None:
        raise ServiceError("ResourceNotFoundException", f"The function {version.name} has gone.", status=404)
    return engine_version(connection, function, version, version.body)


def _settled(version: Version, failure: Status | None, revision_id: str, found: dict[str, Any]) -> Version:
    if failure is None:
        body = replace(version.body, config={**version.body.config, **found})
        return replace(version, revision_id=revision_id, body=body, state=_READY, update=_DONE, previous=None)
    if version.state.name == "Active":
        return replace(version, revision_id=revision_id, update=failure)
    return replace(version, revision_id=revision_id, state=failure, update=Status(""))


def _what_the_system_refused(error: OSError) -> str:
    """A sentence with the mend, for whoever runs the server."""
    where = f" {error.filename!r}" if error.filename else ""
    reason = error.strerror or str(error)
    mends = {
        errno.EACCES: "let the user who runs Alonzo read and write it",
        errno.EPERM: "let the user who runs Alonzo read and write it",
        errno.ENOSPC: "free space on the disk of the data folder",
        errno.EDQUOT: "free space in that user's quota",
        errno.EROFS: "put the data folder on a file system that can be written",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
    }
    mend = mends.get(error.errno or 0, "see the server's log")
    return f"The system refused what preparing the function needs{where} ({reason}): {mend}, then update the function."
