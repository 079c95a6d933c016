"""Alonzo's own API: the bill, the queue, the runtimes, the isolation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from alonzo.config import Settings
from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Access, Dispatcher, Parts
from alonzo.engine.function import CodeRef, FunctionVersion
from alonzo.engine.jobs import JobInfo
from alonzo.engine.metering import Meter
from alonzo.runtimes import RUNTIMES, RuntimeStatus, RuntimeUnavailable
from alonzo.sandbox.base import Enforcement
from alonzo.services import alonzo
from alonzo.storage import Blobs, Database

ACCOUNT, REGION = "123456789012", "eu-central-1"


class StillClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 31, 23, 0, tzinfo=UTC).timestamp()

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class FakeReport:
    """What the meter reads of an invocation's REPORT."""

    billed_ms: int
    duration_ms: float = 1.0
    init_ms: float | None = None
    failure: object | None = None
    billed_restore_ms: float | None = None


class FakeQueue:
    """Answers a fixed list of jobs."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, int]] = []
        self.jobs = [
            JobInfo("a", "event", "running", "f", ACCOUNT, REGION, 100.0, 0.0, 0, 0, 1, ""),
            JobInfo("b", "event", "retrying", "f", ACCOUNT, REGION, 101.0, 161.5, 1, 2, 3, "Unhandled"),
            JobInfo("c", "delivery", "waiting", "s3", ACCOUNT, REGION, 102.0, 0.0, 0, 0, 0, ""),
        ]

    async def list_jobs(
        self, account_id: str = "", region: str = "", function: str = "", *, limit: int = 1000
    ) -> Sequence[JobInfo]:
        self.asked.append((account_id, region, function, limit))
        return self.jobs[:limit]


@dataclass
class FakeEngine:
    meter: Meter
    queue: FakeQueue = field(default_factory=FakeQueue)


class FakeSandbox:
    summary = "namespaces as root"

    def enforcements(self) -> Sequence[Enforcement]:
        return [Enforcement("isolation", True, "namespaces"), Enforcement("tmp", False, "tmpfs", "install e2fsprogs")]


class FakeRuntimes:
    """Preparing waits for `go`, then succeeds or fails as told."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self.installs = 0

    async def install(self, runtime: str, progress: Callable[[str], None] | None = None) -> object:
        self.installs += 1
        assert progress is not None
        progress("Copying")
        await self.go.wait()
        if self.error:
            raise self.error
        return object()

    async def list_runtimes(self) -> list[RuntimeStatus]:
        return [
            RuntimeStatus(RUNTIMES["python3.12"], "/usr/bin/python3.12", "3.12.1"),
            RuntimeStatus(RUNTIMES["python3.14"], why_not="no CPython 3.14", mend="uv python install 3.14"),
        ]


class RecordingAuthorizer:
    def __init__(self) -> None:
        self.asked: list[Access] = []

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        self.asked.append(access)


class Own:
    """The service behind a dispatcher, with a real database and meter."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.authorizer, self.runtimes = StillClock(), RecordingAuthorizer(), FakeRuntimes()
        self.db = Database(folder / "alonzo.db")
        self.db.open()
        self.engine = FakeEngine(Meter(self.db, self.clock))
        ids = Ids(1)
        self.parts = Parts(Settings(), self.clock, ids, self.db, Blobs(folder / "b", ids), Dispatcher())
        self.service = alonzo.build(self.parts, self.engine, FakeSandbox(), self.runtimes)
        self.parts.dispatcher.add(self.service)
        self.parts.dispatcher.use(self.authorizer)

    async def call(self, operation: str, /, *, account: str = ACCOUNT, **params: Any) -> dict[str, Any]:
        ctx = Context(account, REGION, Principal.root(account), "request")
        return await self.parts.dispatcher.call(ctx, "alonzo", operation, params)

    def ran(self, name: str, billed_ms: int, *, memory_mib: int = 1024, tmp_mib: int = 512, **more: Any) -> None:
        """Meter one invocation."""
        version = FunctionVersion(
            account_id=ACCOUNT,
            region=more.pop("region", REGION),
            name=name,
            version="$LATEST",
            arn="arn",
            revision="1",
            runtime="python3.12",
            handler="h",
            role_arn="r",
            code=CodeRef("b", "0"),
            memory_mib=memory_mib,
            tmp_mib=tmp_mib,
            architecture=more.pop("architecture", "x86_64"),
        )
        self.engine.meter.record(version, FakeReport(billed_ms, **more))  # type: ignore[arg-type]


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Own]:
    made = Own(tmp_path)
    yield made
    await made.db.close()


async def test_the_bill_is_by_function_and_exact_to_the_millisecond(own: Own) -> None:
    """Requests, GB-seconds, charges and the free tier follow from what was metered, just now included."""
    own.ran("resize", 100)
    own.ran("resize", 23, init_ms=5.0)
    own.ran("big", 1000, memory_mib=2048, tmp_mib=1536, failure="x")
    report = await own.call("GetCostReport")
    assert [row["FunctionName"] for row in report["Functions"]] == ["big", "resize"]
    big, resize = report["Functions"]
    assert resize["Requests"] == 2
    assert resize["ColdStarts"] == 1
    assert resize["BilledMs"] == 123
    assert resize["GBSeconds"] == 0.123
    assert resize["RequestCharge"] == pytest.approx(4e-7, rel=1e-12)
    assert resize["DurationCharge"] == pytest.approx(0.123 * 0.0000166667, rel=1e-12)
    assert resize["StorageCharge"] == 0
    assert big["Errors"] == 1
    assert big["GBSeconds"] == 2.0
    assert big["StorageGBSeconds"] == 1.0
    assert big["StorageCharge"] == pytest.approx(0.0000000309)
    total = report["Total"]
    assert total["TotalCharge"] == pytest.approx(big["TotalCharge"] + resize["TotalCharge"])
    assert report["FreeTier"] == pytest.approx(total["RequestCharge"] + total["DurationCharge"])
    assert report["Due"] == pytest.approx(total["StorageCharge"], rel=1e-6)
    assert (report["StartDate"], report["EndDate"], report["Currency"]) == ("2026-03-01", "2026-03-31", "USD")


async def test_the_bill_is_of_the_days_asked_for(own: Own) -> None:
    """Days are UTC and both ends count; the month so far is the default; regions are apart unless all are asked for."""
    own.ran("f", 10)
    own.clock.time += 2 * 3600
    own.ran("f", 20)
    own.ran("f", 40, region="us-east-1")
    assert (await own.call("GetCostReport"))["Total"]["BilledMs"] == 20
    march = await own.call("GetCostReport", StartDate="2026-03-01", EndDate="2026-03-31")
    assert march["Total"]["BilledMs"] == 10
    both = await own.call("GetCostReport", StartDate="2026-03-31", EndDate="2026-04-01", AllRegions=True)
    assert both["Total"]["BilledMs"] == 70
    assert [row["Region"] for row in both["Functions"]] == ["eu-central-1", "us-east-1"]
    assert (await own.call("GetCostReport", FunctionName="other"))["Functions"] == []
    assert (await own.call("GetCostReport", account="999999999999"))["Functions"] == []


@pytest.mark.parametrize(
    "days",
    [{"StartDate": "2026-02-30"}, {"EndDate": "31.03.2026"}, {"StartDate": "2026-04-02", "EndDate": "2026-04-01"}],
)
async def test_wrong_days_are_refused(own: Own, days: dict[str, str]) -> None:
    """What is no day, or ends before it starts, gets an error that says so."""
    with pytest.raises(ServiceError):
        await own.call("GetCostReport", **days)


async def test_the_queue_is_listed(own: Own) -> None:
    """Each job with its state, attempts, next attempt and last error; states can be chosen."""
    found = (await own.call("ListEvents"))["Events"]
    assert [(one["Id"], one["Kind"], one["State"]) for one in found] == [
        ("a", "EVENT", "RUNNING"),
        ("b", "EVENT", "RETRYING"),
        ("c", "DELIVERY", "WAITING"),
    ]
    assert found[1]["NextAttemptTime"] == datetime.fromtimestamp(161.5, UTC)
    assert (found[1]["Attempts"], found[1]["Throttles"], found[1]["LastError"]) == (3, 2, "Unhandled")
    assert "NextAttemptTime" not in found[0]
    assert [one["Id"] for one in (await own.call("ListEvents", State="WAITING", Limit=1))["Events"]] == ["c"]
    await own.call("ListEvents", FunctionName="f", Limit=7)
    await own.call("ListEvents", AllRegions=True)
    assert own.engine.queue.asked[-2:] == [(ACCOUNT, REGION, "f", 7), (ACCOUNT, "", "", 100)]
    with pytest.raises(ServiceError, match="one region"):
        await own.call("ListEvents", AllRegions=True, FunctionName="f")


async def test_a_preparation_is_joined_and_followed(own: Own) -> None:
    """Installing tells its progress to whoever waits, runs once for all who ask, and ends ready."""
    work = asyncio.create_task(own.service.run())  # type: ignore[misc, arg-type]
    first = await own.call("InstallRuntime", Name="python3.12")
    assert first == {"Name": "python3.12", "State": "INSTALLING", "Progress": "Waiting"}
    news = await own.call("InstallRuntime", Name="python3.12", Seen="Waiting", WaitSeconds=10)
    assert news["Progress"] == "Copying"
    waiting = asyncio.create_task(own.call("InstallRuntime", Name="python3.12", Seen="Copying", WaitSeconds=10))
    await asyncio.sleep(0)
    own.runtimes.go.set()
    assert (await waiting)["State"] == "READY"
    assert own.runtimes.installs == 1
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeUnavailable("python3.12", "It is offline.", "Go online."), "It is offline. Go online."),
        (OSError("disk"), "OSError: disk"),
    ],
)
async def test_a_failed_preparation_says_why_and_can_be_tried_again(own: Own, error: Exception, reason: str) -> None:
    """The reason reaches the caller, other preparations go on, and the next call starts anew."""
    own.runtimes.go.set()
    own.runtimes.error = error
    work = asyncio.create_task(own.service.run())  # type: ignore[misc, arg-type]
    await own.call("InstallRuntime", Name="python3.12")
    job = await _ended(own)
    assert (job["State"], job["Reason"]) == ("FAILED", reason)
    own.runtimes.error = None
    assert (await _ended(own))["State"] == "READY"
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def _ended(own: Own) -> dict[str, Any]:
    answer = await own.call("InstallRuntime", Name="python3.12")
    while answer["State"] == "INSTALLING":
        answer = await own.call("InstallRuntime", Name="python3.12", Seen=answer["Progress"], WaitSeconds=10)
    return answer


async def test_an_unknown_runtime_is_not_prepared(own: Own) -> None:
    """A name that is in no table is refused with those that are."""
    with pytest.raises(ServiceError, match=r"There is no runtime 'cobol'. Choose one of python3.8"):
        await own.call("InstallRuntime", Name="cobol")
    assert own.runtimes.installs == 0


async def test_runtimes_are_listed_with_their_mend(own: Own) -> None:
    """What was found says where; what is missing says what helps."""
    found, missing = (await own.call("ListRuntimes"))["Runtimes"]
    assert found == {
        "Name": "python3.12",
        "Language": "python",
        "Available": True,
        "Prepared": False,
        "Interpreter": "/usr/bin/python3.12",
        "InterpreterVersion": "3.12.1",
        "DeprecationDate": date(2028, 10, 31).isoformat(),
    }
    assert (missing["Available"], missing["Mend"]) == (False, "uv python install 3.14")


async def test_isolation_is_described_line_by_line(own: Own) -> None:
    """Whether functions are isolated, and the mend for each line that is not enforced."""
    described = await own.call("DescribeIsolation")
    assert described["Isolated"] is True
    assert described["Enforcements"][1] == {
        "Name": "tmp",
        "Enforced": False,
        "Detail": "tmpfs",
        "Mend": "install e2fsprogs",
    }


async def test_health_names_version_services_and_age(own: Own) -> None:
    """The server says what it is and how long it has run."""
    own.clock.time += 12.5
    health = await own.call("GetHealth")
    assert (health["Status"], health["UptimeSeconds"]) == ("ok", 12.5)
    assert health["Services"] == [{"Name": "alonzo", "Operations": 6}]


async def test_every_operation_needs_its_permission(own: Own) -> None:
    """`alonzo:OPERATION` on the account's server is what a policy must allow."""
    await own.call("GetHealth")
    (asked,) = own.authorizer.asked
    assert (asked.action, asked.resource) == ("alonzo:GetHealth", f"arn:aws:alonzo:{REGION}:{ACCOUNT}:server")


async def test_what_handlers_answer_fits_the_model(own: Own) -> None:
    """Every answer survives serializing by our model and parsing by botocore's parser of it."""
    import botocore.loaders
    import botocore.parsers
    from botocore.model import ServiceModel

    from alonzo.protocol.model import OWN_MODELS, load_model
    from alonzo.protocol.serialize import serialize

    loader = botocore.loaders.Loader(extra_search_paths=[str(OWN_MODELS)])
    model = ServiceModel(loader.load_service_model("alonzo", "service-2"))
    own.ran("f", 5)
    for operation in model.operation_names:
        params = {"Name": "python3.12"} if operation == "InstallRuntime" else {}
        result = await own.call(operation, **params)
        response = serialize(load_model("alonzo"), operation, result, request_id="r")
        body = response.body
        assert isinstance(body, bytes)
        parsed = botocore.parsers.create_parser("json").parse(
            {"status_code": response.status, "headers": dict(response.headers), "body": body},
            model.operation_model(operation).output_shape,
        )
        parsed.pop("ResponseMetadata")
        assert parsed == result
