"""The queue's table and all its SQL.

A row belongs to an `owner` (a host) from the moment it is written, and the owner's lease is one row of its own: so a
claim costs no write per job, and when a host's lease has run out another host adopts what it left.
`due_at` 0 means at once; only retries have a time, and only they are in the index over it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import cbor2
import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from alonzo.core.dataclasses import dataclass, field
from alonzo.storage import ForKeys, InsertMany, metadata, only_where

Kind = Literal["E", "D"]

jobs = Table(
    "engine_jobs",
    metadata,
    Column("seq", Integer().with_variant(BigInteger, "postgresql"), primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("id", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("lane", String, nullable=False),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("enqueued_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("throttles", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("last_error", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("kind", "id"),
    Index("engine_jobs_due", "due_at", "seq", **only_where("due_at > 0")),
    Index("engine_jobs_done", "origin", **only_where("done = 1")),
)

owners = Table(
    "engine_owners",
    metadata,
    Column("owner", String, primary_key=True),
    Column("lease_until", Float, nullable=False),
)

_INSERT = InsertMany(
    "INSERT INTO engine_jobs (seq, kind, id, owner, lane, account_id, region, origin, enqueued_at, due_at, done,"
    " failures, throttles, tries, last_error, body)",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, '', ?)",
    "ON CONFLICT (kind, id) DO NOTHING",
)
_LIGHT = "seq, lane, length(body) AS size FROM engine_jobs WHERE done = 0 AND owner = :owner"
_NEW = text(f"SELECT {_LIGHT} AND seq > :after AND due_at = 0 ORDER BY seq LIMIT :limit")
_DUE = text(
    f"SELECT due_at, {_LIGHT} AND due_at > 0 AND due_at <= :now"
    " AND (due_at > :after OR (due_at = :after AND seq > :after_seq)) ORDER BY due_at, seq LIMIT :limit"
)
_LANE = text(f"SELECT {_LIGHT} AND lane = :lane AND seq >= :after AND due_at <= :now ORDER BY seq LIMIT :limit")
_NEXT_DUE = text(
    "SELECT min(due_at) FROM engine_jobs WHERE done = 0 AND owner = :owner AND due_at > 0 AND due_at > :after"
)
_LOAD = ForKeys(
    "SELECT seq, lane, kind, body, enqueued_at, failures, throttles, tries, last_error FROM engine_jobs"
    " WHERE seq IN (?) AND done = 0 ORDER BY seq"
)
_LIST = (
    "SELECT seq, kind, id, origin, lane, account_id, region, enqueued_at, due_at, failures, throttles, tries,"
    " last_error FROM engine_jobs WHERE done = 0"
)
# An event that a delivery handed over may be handed over again until that delivery is settled: until then its row
# stays, done, so that the second hand-over finds it.
_EVENT_DONE = text(
    "DELETE FROM engine_jobs WHERE seq = :seq AND NOT EXISTS"
    " (SELECT 1 FROM engine_jobs AS d WHERE d.kind = 'D' AND d.id = :origin)"
)
_EVENT_KEPT = text("UPDATE engine_jobs SET done = 1, due_at = 0, body = :empty WHERE seq = :seq")
_DONE = ForKeys("DELETE FROM engine_jobs WHERE seq IN (?)")
_DELIVERED = text("DELETE FROM engine_jobs WHERE done = 1 AND origin = :origin")
_RETRY = text(
    "UPDATE engine_jobs SET due_at = :due_at, failures = :failures, throttles = :throttles, tries = :tries,"
    " last_error = :last_error WHERE seq = :seq"
)
_LEASE = text(
    "INSERT INTO engine_owners (owner, lease_until) VALUES (:owner, :until)"
    " ON CONFLICT (owner) DO UPDATE SET lease_until = excluded.lease_until"
)
_ADOPT = text(
    "UPDATE engine_jobs SET owner = :owner WHERE owner <> :owner AND NOT EXISTS"
    " (SELECT 1 FROM engine_owners AS o WHERE o.owner = engine_jobs.owner AND o.lease_until > :now)"
)


#: What an event's row has beside its payload, in bytes, more or less.
_ABOUT = 512


class AsyncEvent(NamedTuple):
    """An accepted `Invoke(Event)`. `id` is the idempotence key: enqueueing an id that is there already does nothing.

    Where a Delivery hands an event over, `request_id` is the delivery's id: its row is kept until that is settled.
    `id` "" means that nobody will ever hand this event over again, which makes it much cheaper.

    A tuple, because it is made for every request and stored as one: the order of its fields is that of the rows.
    """

    id: str
    account_id: str
    region: str
    function_name: str
    qualifier: str
    invoked_arn: str
    request_id: str
    payload: bytes
    client_context: str = ""
    trace_header: str = ""
    tenant: str = ""


_PAYLOAD = AsyncEvent._fields.index("payload")


@dataclass(frozen=True, slots=True)
class Delivery:
    """An operation to call later, as a service: S3's notification (lambda Invoke), a destination (sqs SendMessage).

    `params` must survive JSON, except that bytes are kept as bytes. `principal` is a service's name, or the ARN of the
    role that the call is made as. The call's request id is the delivery's id. Deliveries of one source wait for each
    other; the label `lane` tells apart those that shall not.
    """

    id: str
    account_id: str
    region: str
    service: str
    operation: str
    params: Mapping[str, Any]
    principal: str
    source_arn: str = ""
    trace_header: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Job:
    """A row in memory."""

    seq: int
    lane: str
    what: AsyncEvent | Delivery
    enqueued_at: float
    size: int
    failures: int = 0
    throttles: int = 0
    tries: int = 0
    last_error: str = ""
    #: The event that this delivery has handed over, if that has no row yet: it gets one when the delivery's goes.
    carries: Job | None = None


@dataclass(frozen=True, slots=True)
class JobInfo:
    """One job for people. `state` is waiting, running or retrying; `due_at` 0 means at once."""

    id: str
    kind: str
    state: str
    lane: str
    account_id: str
    region: str
    enqueued_at: float
    due_at: float
    failures: int
    throttles: int
    tries: int
    last_error: str


@dataclass(slots=True)
class Settlement:
    """What became of a job: done (`due_at` None), or to be tried again. `follow_up` is enqueued with it."""

    job: Job
    due_at: float | None = None
    follow_up: tuple[Delivery, ...] = ()


def lane_of(what: AsyncEvent | Delivery) -> str:
    """Jobs of one lane may hold each other up, those of different lanes never."""
    if isinstance(what, AsyncEvent):
        return f"{what.account_id}/{what.region}/{what.function_name}"
    target = what.params.get("FunctionName", "") if what.service == "lambda" else what.labels.get("lane", "")
    return f"{what.account_id}/{what.region}/{what.service}.{what.operation}/{what.source_arn}/{target}"


def encode(what: AsyncEvent | Delivery) -> bytes:
    """A row's body. An event's: a line of JSON with all but the payload, and the payload as it is."""
    if isinstance(what, AsyncEvent):
        return orjson.dumps((*what[:_PAYLOAD], *what[_PAYLOAD + 1 :])) + b"\n" + what.payload
    return cbor2.dumps(
        (
            what.id,
            what.account_id,
            what.region,
            what.service,
            what.operation,
            dict(what.params),
            what.principal,
            what.source_arn,
            what.trace_header,
            dict(what.labels),
        )
    )


def decode(kind: str, body: bytes) -> AsyncEvent | Delivery:
    if body[:1] == b"[":
        head, _, payload = body.partition(b"\n")
        fields = orjson.loads(head)
        fields.insert(_PAYLOAD, payload)
        return AsyncEvent(*fields)
    fields = cbor2.loads(body)
    return AsyncEvent(*fields) if kind == "E" else Delivery(*fields)  # an event as it was written before


def _job(
    seq: int,
    lane: str,
    kind: str,
    body: bytes,
    enqueued_at: float,
    failures: int,
    throttles: int,
    tries: int,
    last_error: str,
) -> Job:
    """From the columns of `_LOAD`."""
    return Job(seq, lane, decode(kind, body), enqueued_at, len(body), failures, throttles, tries, last_error)


class JobStore:
    """Everything the queue asks of the database. Functions of a connection; none keeps anything but the counter."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._seq = itertools.count(1)

    def open(self, connection: Connection, now: float, lease_until: float) -> None:
        """At start: take the lease, adopt what owners without one left, forget done events that nothing waits for."""
        self.adopt(connection, now, lease_until)
        connection.execute(
            text(
                "DELETE FROM engine_jobs WHERE done = 1 AND NOT EXISTS"
                " (SELECT 1 FROM engine_jobs AS d WHERE d.kind = 'D' AND d.id = engine_jobs.origin)"
            )
        )
        last = connection.execute(text("SELECT max(seq) FROM engine_jobs")).scalar() or 0
        self._seq = itertools.count(last + 1)

    def adopt(self, connection: Connection, now: float, lease_until: float) -> int:
        """Renew the lease; take over the jobs of owners whose lease has run out. Returns how many."""
        connection.execute(_LEASE, {"owner": self.owner, "until": lease_until})
        return connection.execute(_ADOPT, {"owner": self.owner, "now": now}).rowcount

    def insert(
        self, connection: Connection, wanted: Iterable[AsyncEvent | Delivery], now: float
    ) -> tuple[list[Job], bool]:
        """Write new jobs. Those whose id is there already are left out of the table, but not of the answer's list; the
        answer's flag says that there were none."""
        made: list[Job] = []
        rows: list[tuple[Any, ...]] = []
        for what in wanted:
            body = encode(what)
            job = Job(next(self._seq), lane_of(what), what, now, len(body))
            rows.append(self._row(job, body))
            made.append(job)
        return made, _INSERT.run(connection, rows) == len(rows)

    def carried(self, event: AsyncEvent, now: float) -> Job:
        """A job that is in memory only; `settle` writes it with the outcome of the delivery that carries it."""
        return Job(next(self._seq), lane_of(event), event, now, len(event.payload) + _ABOUT)

    def _row(self, job: Job, body: bytes) -> tuple[Any, ...]:
        what = job.what
        if isinstance(what, AsyncEvent):
            # Without an id of its own a row's key grows with its number: a key by chance would change a page of the
            # index for every row, which costs twice as much as the row.
            kind, key, origin = "E", what.id or f"{job.seq:016x}", what.request_id
        else:
            kind, key, origin = "D", what.id, ""
        where = (what.account_id, what.region)
        return (job.seq, kind, key, self.owner, job.lane, *where, origin, job.enqueued_at, body)

    def new(self, connection: Connection, after: int, limit: int) -> Sequence[Any]:
        """(seq, lane, size) of jobs due at once, after a sequence number."""
        return connection.execute(_NEW, {"owner": self.owner, "after": after, "limit": limit}).fetchall()

    def due(self, connection: Connection, after: tuple[float, int], now: float, limit: int) -> Sequence[Any]:
        """(due_at, seq, lane, size) of retries whose time has come, after a place in their order."""
        return connection.execute(
            _DUE, {"owner": self.owner, "after": after[0], "after_seq": after[1], "now": now, "limit": limit}
        ).fetchall()

    def in_lane(self, connection: Connection, lane: str, after: int, now: float, limit: int) -> Sequence[Any]:
        """(seq, lane, size) of a lane's jobs that may run now, from a sequence number on."""
        return connection.execute(
            _LANE, {"owner": self.owner, "lane": lane, "after": after, "now": now, "limit": limit}
        ).fetchall()

    def next_due(self, connection: Connection, after: float) -> float | None:
        found = connection.execute(_NEXT_DUE, {"owner": self.owner, "after": after}).scalar()
        return None if found is None else float(found)

    def load(self, connection: Connection, seqs: Sequence[int]) -> list[Job]:
        """The jobs themselves, by their number; those that have gone are left out."""
        return [_job(*row) for row in _LOAD.run(connection, seqs)]

    def settle(self, connection: Connection, settlements: list[Settlement], now: float) -> list[Job]:
        """Outcomes and what follows from them, in the caller's one transaction. Returns the jobs that follow."""
        done: list[int] = []
        handed_over, deliveries, retries = [], [], []
        follow_up: list[Delivery] = []
        carried: dict[int, Job] = {}  # a delivery's outcome comes before its event's
        for settlement in settlements:
            job = settlement.job
            follow_up.extend(settlement.follow_up)
            if settlement.due_at is not None:
                retries.append(
                    {
                        "seq": job.seq,
                        "due_at": settlement.due_at,
                        "failures": job.failures,
                        "throttles": job.throttles,
                        "tries": job.tries,
                        "last_error": job.last_error[:500],
                    }
                )
            elif not isinstance(job.what, AsyncEvent):
                done.append(job.seq)
                deliveries.append({"origin": job.what.id})
                if job.carries is not None:
                    carried[job.carries.seq] = job.carries
            elif carried.pop(job.seq, None) is not None:
                pass  # it never had a row
            elif job.what.id:
                handed_over.append({"seq": job.seq, "origin": job.what.request_id, "empty": b""})
            else:
                done.append(job.seq)
        # Deliveries first: an event that is settled with its delivery, as most are, is then simply deleted.
        _DONE.run(connection, done)
        if deliveries:
            connection.execute(_DELIVERED, deliveries)
        if handed_over:
            connection.execute(_EVENT_DONE, handed_over)
            connection.execute(_EVENT_KEPT, handed_over)
        _INSERT.run(connection, [self._row(job, encode(job.what)) for job in carried.values()])
        if retries:
            connection.execute(_RETRY, retries)
        return self.insert(connection, follow_up, now)[0]

    def list(self, connection: Connection, account_id: str, region: str, function: str, limit: int) -> Sequence[Any]:
        where = ""
        params: dict[str, Any] = {"limit": limit}
        for name, value in (("account_id", account_id), ("region", region)):
            if value:
                where += f" AND {name} = :{name}"
                params[name] = value
        if function:
            where += " AND kind = 'E' AND lane = :lane"
            params["lane"] = f"{account_id}/{region}/{function}"
        return connection.execute(text(f"{_LIST}{where} ORDER BY seq LIMIT :limit"), params).fetchall()
