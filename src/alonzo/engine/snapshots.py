"""SnapStart: which versions have a snapshot of their initialised process, and the making of those that should.

A snapshot is taken when a version is published and lives with the server: after a restart, or when too many are kept,
the next start of the version is an ordinary one and has it taken again in the background. A snapshot from which an
environment could not go on is given up until then, too; a process that cannot be copied is not tried again.
Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.engine.function import FunctionVersion
from alonzo.engine.outcome import Failure
from alonzo.engine.tasks import Tasks
from alonzo.sandbox.base import Snapshot

log = logging.getLogger(__name__)

KIND = "snap-start"
#: Each is a file on disk, without a name, and a descriptor of the sandbox host.
_MOST = 256
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot; `token` is what its process fetches credentials with."""

    snapshot: Snapshot
    token: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What taking one came to: it is `taken`; initialisation failed; or `refusal` says why there is none."""

    taken: Taken | None = None
    failure: Failure | None = None
    refusal: str = ""


@dataclass(slots=True, eq=False)
class _Entry:
    revision: str
    taken: Taken | None = None
    taking: asyncio.Future[Outcome] | None = None
    refused: bool = False

    def discard(self) -> None:
        if self.taken is not None:
            self.taken.snapshot.discard()
            self.taken = None


class Snapshots:
    """Those of one host; `take` initialises a version and copies it."""

    def __init__(self, take: Callable[[FunctionVersion], Awaitable[Outcome]], tasks: Tasks) -> None:
        self._take = take
        self._tasks = tasks
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()

    def _entry(self, fv: FunctionVersion) -> _Entry:
        key = (fv.arn, fv.version)
        entry = self._entries.get(key)
        if entry is None or entry.revision != fv.revision:
            if entry is not None:
                entry.discard()
            entry = self._entries[key] = _Entry(fv.revision)
        self._entries.move_to_end(key)
        return entry

    def find(self, fv: FunctionVersion) -> Taken | None:
        """The version's snapshot. None: it has none now, and if it can have one that is being taken."""
        entry = self._entry(fv)
        if entry.taken is None and entry.taking is None and not entry.refused:
            self._tasks.start(self._take_again(fv))
        return entry.taken

    async def _take_again(self, fv: FunctionVersion) -> None:
        try:
            failure = await self.make(fv)
        except ServiceError as error:
            log.info("no snapshot was taken of %s: %s", fv.qualified_arn, error)
        else:
            if failure is not None:
                log.info("no snapshot was taken of %s: its initialisation failed", fv.qualified_arn)

    async def make(self, fv: FunctionVersion) -> Failure | None:
        """Have the version's snapshot, where it can have one; why its initialisation failed, if it did.

        Raises ServiceError where it cannot even begin.
        """
        entry = self._entry(fv)
        if entry.taken is not None:
            return None
        if entry.taking is None:
            entry.taking = asyncio.get_running_loop().create_future()
            try:
                outcome = await self._take(fv)
            except BaseException as error:
                entry.taking.set_exception(error if isinstance(error, ServiceError) else asyncio.CancelledError())
                entry.taking.exception()
                entry.taking = None
                raise
            taking, entry.taking = entry.taking, None
            self._keep(fv, entry, outcome)
            taking.set_result(outcome)
            return outcome.failure
        return (await asyncio.shield(entry.taking)).failure

    def _keep(self, fv: FunctionVersion, entry: _Entry, outcome: Outcome) -> None:
        entry.taken, entry.refused = outcome.taken, bool(outcome.refusal)
        if outcome.refusal:
            log.warning(
                "Environments of %s are initialised one by one, without SnapStart: %s.",
                fv.qualified_arn,
                outcome.refusal,
            )
        if self._entries.get((fv.arn, fv.version)) is not entry:  # deleted meanwhile
            entry.discard()
        kept = [key for key, each in self._entries.items() if each.taken is not None]
        for key in kept[: max(0, len(kept) - _MOST)]:
            self._entries.pop(key).discard()

    def has(self, fv: FunctionVersion) -> bool:
        """Whether the version has a snapshot now."""
        entry = self._entries.get((fv.arn, fv.version))
        return entry is not None and entry.revision == fv.revision and entry.taken is not None

    def distrust(self, fv: FunctionVersion, taken: Taken) -> None:
        """An environment could not go on from it."""
        entry = self._entries.get((fv.arn, fv.version))
        if entry is not None and entry.taken is taken:
            entry.discard()
            entry.refused = True
            log.warning("The snapshot of %s is given up: an environment could not go on from it.", fv.qualified_arn)

    def forget(self, function_arn: str, version: str = "") -> None:
        """A function, or one of its versions, is no more."""
        for key in [key for key in self._entries if key[0] == function_arn and version in ("", key[1])]:
            self._entries.pop(key).discard()

    def close(self) -> None:
        for entry in self._entries.values():
            entry.discard()
        self._entries.clear()
