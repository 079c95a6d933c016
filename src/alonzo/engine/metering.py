"""The meter: every invocation counted, kept durably by function, version, memory, architecture and day."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, and_, select
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from alonzo.core.clock import Clock
from alonzo.core.dataclasses import dataclass
from alonzo.engine.function import FunctionVersion
from alonzo.engine.log_lines import Report
from alonzo.storage import Database, StorageError, metadata

log = logging.getLogger(__name__)

_FLUSH_S = 1.0
_KEYS = ("account_id", "region", "day", "function_name", "version", "memory_mib", "architecture", "tmp_mib")
_SUMS = ("requests", "errors", "billed_ms", "duration_us", "init_us", "cold_starts")

_meter = Table(
    "engine_meter",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("day", String, primary_key=True),
    Column("function_name", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("memory_mib", Integer, primary_key=True),
    Column("architecture", String, primary_key=True),
    Column("tmp_mib", Integer, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("billed_ms", BigInteger, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("init_us", BigInteger, nullable=False),
    Column("cold_starts", BigInteger, nullable=False),
)

_Key = tuple[str, str, str, str, str, int, str, int]


@dataclass(frozen=True, slots=True)
class MeterRow:
    """One day's use of one function version in one size. `day` is `YYYY-MM-DD` (UTC)."""

    account_id: str
    region: str
    day: str
    function_name: str
    version: str
    memory_mib: int
    architecture: str
    tmp_mib: int
    requests: int
    errors: int
    billed_ms: int
    duration_us: int
    init_us: int
    cold_starts: int

    @property
    def mib_ms(self) -> int:
        """Billed time times memory, exactly."""
        return self.billed_ms * self.memory_mib

    @property
    def storage_mib_ms(self) -> int:
        """Billed time times ephemeral storage over the 512 MB that are free."""
        return self.billed_ms * max(0, self.tmp_mib - 512)


class Meter:
    """`record` is a dictionary update; `run` writes what has come every second, and `flush` at the end."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._waiting: dict[_Key, list[int]] = {}
        #: Of the versions invoked since then, by identity: making a key costs as much as counting.
        self._known: dict[int, tuple[FunctionVersion, list[int]]] = {}
        self._wake = asyncio.Event()
        self._day = ""
        self._day_begins = self._day_ends = 0.0

    def record(self, fv: FunctionVersion, report: Report) -> None:
        """Count one invocation."""
        now = self._clock.now()
        if not self._day_begins <= now < self._day_ends:
            self._turn(now)
        known = self._known.get(id(fv))
        sums = known[1] if known is not None else self._sums(fv)
        sums[0] += 1
        if report.failure is not None:
            sums[1] += 1
        sums[2] += report.billed_ms + (report.billed_restore_ms or 0)
        sums[3] += int(report.duration_ms * 1000)
        if report.init_ms is not None:
            sums[4] += int(report.init_ms * 1000)
            sums[5] += 1

    def _sums(self, fv: FunctionVersion) -> list[int]:
        """Where the version's invocations are counted until they are written."""
        key = (
            fv.account_id,
            fv.region,
            self._day,
            fv.name,
            fv.version,
            fv.memory_mib,
            fv.architecture,
            fv.tmp_mib,
        )
        sums = self._waiting.setdefault(key, [0, 0, 0, 0, 0, 0])
        self._known[id(fv)] = (fv, sums)
        self._wake.set()
        return sums

    def _turn(self, now: float) -> None:
        self._known = {}
        self._day = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
        self._day_begins = now // 86_400 * 86_400
        self._day_ends = self._day_begins + 86_400

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(_FLUSH_S)
            self._wake.clear()
            try:
                await self.flush()
            except StorageError as error:
                log.error("the meter waits: %s", error)
                self._wake.set()
            except Exception:
                log.exception("the meter could not be written; it is tried again")
                self._wake.set()

    async def flush(self) -> None:
        """Make everything counted durable. What cannot be written stays counted."""
        waiting, self._waiting = self._waiting, {}
        self._known = {}
        if not waiting:
            return
        rows = [dict(zip((*_KEYS, *_SUMS), (*key, *sums), strict=True)) for key, sums in waiting.items()]
        try:
            await self._db.write(lambda connection: _add(connection, rows))
        except BaseException:
            for key, sums in waiting.items():
                kept = self._waiting.setdefault(key, [0, 0, 0, 0, 0, 0])
                for index, value in enumerate(sums):
                    kept[index] += value
            raise

    async def rows(
        self, account_id: str, *, region: str = "", since: str = "", until: str = "", function_name: str = ""
    ) -> list[MeterRow]:
        """The use of an account, by day; `since` and `until` are days, both included. Counts up to this moment."""
        await self.flush()
        where = [_meter.c.account_id == account_id]
        if region:
            where.append(_meter.c.region == region)
        if since:
            where.append(_meter.c.day >= since)
        if until:
            where.append(_meter.c.day <= until)
        if function_name:
            where.append(_meter.c.function_name == function_name)
        query = select(_meter).where(and_(*where)).order_by(_meter.c.day, _meter.c.region, _meter.c.function_name)
        return await self._db.scan(lambda connection: [MeterRow(*row) for row in connection.execute(query)])


def _add(connection: Connection, rows: list[dict[str, Any]]) -> None:
    make: Any = sqlite_insert
    if connection.dialect.name == "postgresql":  # importing it takes 20 ms, which every start would pay
        from sqlalchemy.dialects.postgresql import insert as make
    statement = make(_meter)
    added = {name: _meter.c[name] + statement.excluded[name] for name in _SUMS}
    connection.execute(statement.on_conflict_do_update(index_elements=list(_KEYS), set_=added), rows)
