"""The service behind a real dispatcher and database; the engine, the runtimes, S3, STS and the authorizer are fakes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from alonzo.config import Settings
from alonzo.core.clock import SystemClock
from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Access, Dispatcher, Parts, Service
from alonzo.engine.function import FunctionVersion, Invocation, InvokeResult
from alonzo.engine.queue import AsyncEvent
from alonzo.runtimes import RuntimeUnavailable
from alonzo.services import lambda_
from alonzo.storage import Blobs, Database

ACCOUNT = "111111111111"
REGION = "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"


def archive(text: str = "def handler(event, context): return event", name: str = "handler.py") -> bytes:
    """A zip with one module."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo(name), text)  # without the time of day: equal texts are equal archives
    return buffer.getvalue()


class FakeInvoker:
    def __init__(self) -> None:
        self.calls: list[tuple[FunctionVersion, Invocation]] = []
        self.answer = InvokeResult(b'{"ok":true}', "$LATEST")

    async def invoke(self, version: FunctionVersion, invocation: Invocation) -> InvokeResult:
        self.calls.append((version, invocation))
        return replace(self.answer, executed_version=version.version)


class FakeQueue:
    def __init__(self) -> None:
        self.events: dict[str, AsyncEvent] = {}

    async def accept(self, job: AsyncEvent) -> None:
        self.events.setdefault(job.id, job)

    def accept_nowait(self, job: AsyncEvent, stored: Callable[[BaseException | None], None]) -> None:
        self.events.setdefault(job.id, job)
        stored(None)


@dataclass(frozen=True)
class FakeRoot:
    runtime_version_arn: str


class FakeRuntimes:
    """`gate` holds preparations back while it is cleared; `broken` maps runtimes to why they are unavailable."""

    def __init__(self) -> None:
        self.prepared: list[FunctionVersion] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: dict[str, str] = {}
        self.live: list[set[str]] = []

    async def root(self, function: FunctionVersion) -> FakeRoot:
        await self.gate.wait()
        if function.runtime in self.broken:
            raise RuntimeUnavailable(function.runtime, self.broken[function.runtime])
        self.prepared.append(function)
        return FakeRoot(self.version_arn(function.runtime, function.region))

    def version_arn(self, runtime: str, region: str) -> str:
        return f"arn:aws:lambda:{region}::runtime:{hashlib.sha256(runtime.encode()).hexdigest()}"

    async def forget(self, live: set[str]) -> int:
        self.live.append(live)
        return 0


class FakePollers:
    """Remembers which mappings run; `problems` are what they complain of."""

    def __init__(self) -> None:
        self.running: dict[str, Any] = {}
        self.problems: dict[str, str] = {}

    async def apply(self, mapping: Any) -> None:
        self.running[mapping.uuid] = mapping

    async def remove(self, uuid: str) -> None:
        self.running.pop(uuid, None)

    def problem(self, uuid: str) -> str:
        return self.problems.get(uuid, "")


@dataclass
class FakeEngine:
    invoker: FakeInvoker = field(default_factory=FakeInvoker)
    queue: FakeQueue = field(default_factory=FakeQueue)
    pollers: FakePollers = field(default_factory=FakePollers)
    functions: Any = None
    retired: list[tuple[str, str]] = field(default_factory=list)
    in_use: set[str] = field(default_factory=set)
    reserved: dict[str, int | None] = field(default_factory=dict)
    wanted: dict[str, Any] = field(default_factory=dict)
    prepared: list[str] = field(default_factory=list)

    def retire(self, function_arn: str, version: str = "") -> None:
        self.retired.append((function_arn, version))

    def forget(self, account_id: str, region: str, function_arn: str) -> None:
        self.retired.append((function_arn, ""))

    def reserve(self, account_id: str, region: str, function_arn: str, reserved: int | None) -> None:
        self.reserved[function_arn] = reserved

    def provision(self, account_id: str, region: str, function_arn: str, wanted: Any) -> None:
        self.wanted[function_arn] = wanted

    def provisioned(self, function_arn: str, version: str) -> Any:
        return None

    def leaving(self, function_arn: str, kept: Any) -> tuple[int, int]:
        return 0, 0

    async def prepare(self, version: FunctionVersion) -> None:
        self.prepared.append(version.arn)

    def code_in_use(self) -> set[str]:
        return self.in_use


class Judge:
    """Allows everything but the actions in `denied`; remembers what it was asked."""

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.asked: list[Access] = []

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        self.asked.append(access)
        if access.action in self.denied:
            raise ServiceError(denied_code, f"not authorized to perform: {access.action}", status=403)


async def _anyone(ctx: Context, operation: str, params: dict[str, Any]) -> tuple[Access, ...]:
    return ()


def _service(name: str, **handlers: Callable[[Context, dict[str, Any]], Awaitable[dict[str, Any]]]) -> Service:
    return Service(name, handlers, _anyone)


class World:
    """Everything a test needs; `call` is the client."""

    def __init__(self, folder: Path, *, ephemeral: bool = True) -> None:
        self.folder = folder
        self.engine = FakeEngine()
        self.runtimes = FakeRuntimes()
        self.judge = Judge()
        self.objects: dict[tuple[str, str], bytes] = {}
        self.bad_roles: set[str] = set()
        self.settings = Settings()
        self.ctx = Context(ACCOUNT, REGION, Principal.root(ACCOUNT), "00000000-0000-4000-8000-000000000000")
        self._runner: asyncio.Task[None] | None = None

    async def start(self) -> None:
        ids = Ids()
        self.blobs = Blobs(self.folder / "blobs", ids, durable=False)
        self.blobs.open()
        self.db = Database(self.folder / "db.sqlite", durable=False)
        self.db.open()
        dispatcher = self.dispatcher = Dispatcher()
        dispatcher.use(self.judge)
        self.parts = Parts(self.settings, SystemClock(), ids, self.db, self.blobs, dispatcher)
        built = lambda_.build(self.parts, self.engine, self.runtimes)
        self.service, self.code_link = built.service, built.code_link
        for service in (
            self.service,
            _service("s3", GetObject=self._get_object),
            _service("sts", AssumeRole=self._assume_role),
        ):
            dispatcher.add(service)
        await self.service.start()
        assert self.service.run is not None
        self._runner = asyncio.create_task(self.service.run())

    async def stop(self) -> None:
        assert self._runner is not None
        self._runner.cancel()
        await asyncio.gather(self._runner, return_exceptions=True)
        await self.db.close()

    async def _get_object(self, ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
        if not any(bucket == params["Bucket"] for bucket, _ in self.objects):
            raise ServiceError("NoSuchBucket", "The specified bucket does not exist", status=404)
        body = self.objects.get((params["Bucket"], params["Key"]))
        if body is None:
            raise ServiceError("NoSuchKey", "The specified key does not exist.", status=404)
        return {"Body": body}

    async def _assume_role(self, ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
        assert ctx.principal.name == "lambda.amazonaws.com"
        if params["RoleArn"] in self.bad_roles:
            raise ServiceError("AccessDenied", "no", status=403)
        return {}

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        return await self.dispatcher.call(self.ctx, "lambda", operation, params)

    async def fails(self, operation: str, /, **params: Any) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await self.call(operation, **params)
        return caught.value

    async def create(self, name: str = "f", *, wait: bool = True, **more: Any) -> dict[str, Any]:
        params = {
            "Runtime": "python3.12",
            "Role": ROLE,
            "Handler": "handler.handler",
            "Code": {"ZipFile": archive()},
            **more,
        }
        answer = await self.call("CreateFunction", FunctionName=name, **params)
        if wait:
            await self.active(name)
        return answer

    async def active(self, name: str = "f", qualifier: str = "$LATEST") -> dict[str, Any]:
        """Wait as boto3's waiters do."""
        async with asyncio.timeout(5):
            while True:
                shown = await self.call("GetFunctionConfiguration", FunctionName=name, Qualifier=qualifier)
                if shown["State"] != "Pending" and shown.get("LastUpdateStatus") != "InProgress":
                    return shown
                await asyncio.sleep(0.002)

    async def until_active(self, name: str = "f") -> dict[str, Any]:
        """Wait for a function that has failed to come right."""
        async with asyncio.timeout(5):
            while (shown := await self.active(name))["State"] != "Active":
                await asyncio.sleep(0.002)
        return shown

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what happens in the background."""
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)

    def blob_count(self) -> int:
        return sum(1 for path in (self.folder / "blobs").rglob("*") if path.is_file())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.start()
    yield world
    await world.stop()


@pytest.fixture
def new_world() -> type[World]:
    """For tests that start and stop servers themselves."""
    return World


@pytest.fixture
def make_zip() -> Callable[..., bytes]:
    return archive


# -- what AWS answered: placeholders in the recordings stand for one value throughout a scenario ----------------------

FOLDER = Path(__file__).resolve().parents[3] / ".." / "shared" / "reference" / "aws-recordings" / "lambda"
PREFIX = "tests/aws/services/lambda_/"
_PLACEHOLDER = re.compile(r"<[^<>]+>")
_RUNTIME_SET = re.compile(r"\[(nodejs20\.x, [^\]]*)\]")
_PATTERN = re.compile(r"pattern: \(*arn:.*", re.DOTALL)
_FIXED = {"<partition>": "aws", "<region>": "us-east-1"}
#: Members whose recorded value was masked altogether.
_MASKED = {"date", "datetime", "<code-size>", "<location>", "<layer-location>", "code-sha256", "log-result"}
_MASKED |= {"lambda-url", "function-url"}


def load(file: str, scenario: str) -> dict[str, Any]:
    """The responses of a scenario, by step."""
    found: dict[str, Any] = _read(file)[PREFIX + scenario]["recorded-content"]
    return found


_cache: dict[str, Any] = {}


def _read(file: str) -> Any:
    if file not in _cache:
        _cache[file] = json.loads((FOLDER / file).read_text())
    return _cache[file]


class Replay:
    """The recorded side of one scenario; `check` compares one step and binds the placeholders it meets."""

    def __init__(self, recorded: dict[str, Any], *, newer: frozenset[str] = frozenset()) -> None:
        self._recorded = recorded
        self._newer = newer
        self.bound: dict[str, str] = {}

    def check(self, step: str, answer: dict[str, Any] | ServiceError) -> None:
        expected = self._recorded[step]
        if "CreateFunctionResponse" in expected:
            expected = expected["CreateFunctionResponse"]
        expected = {name: value for name, value in expected.items() if name != "ResponseMetadata"}
        if isinstance(answer, ServiceError):
            self._check_error(step, expected, answer)
        else:
            assert "Error" not in expected, f"{step}: AWS answered {expected['Error']}"
            self._same(step, expected, _plain(answer))

    def _check_error(self, step: str, expected: dict[str, Any], error: ServiceError) -> None:
        assert "Error" in expected, f"{step}: AWS accepted what got {error}"
        assert expected["Error"]["Code"] == error.code, f"{step}: {error}"
        self._same(f"{step}.Message", expected["Error"].get("Message", ""), error.message)
        for member in ("Type", "Reason"):
            assert expected.get(member) == error.fields.get(member), f"{step}: {member}"

    def _same(self, path: str, expected: Any, actual: Any) -> None:
        if isinstance(expected, dict):
            assert isinstance(actual, dict), f"{path}: {actual!r}"
            different = set(expected) ^ set(actual)
            assert different <= self._newer, f"{path}: {different}"
            for name in set(expected) & set(actual):
                self._same(f"{path}.{name}", expected[name], actual[name])
        elif isinstance(expected, list):
            assert isinstance(actual, list) and len(expected) == len(actual), f"{path}: {actual!r}"
            for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
                self._same(f"{path}[{index}]", one, other)
        elif isinstance(expected, str) and (expected in _MASKED):
            assert actual not in (None, ""), path
        elif isinstance(expected, str):
            self._same_text(path, expected, str(actual))
        else:
            assert expected == actual, f"{path}: {expected!r} != {actual!r}"

    def _same_text(self, path: str, expected: str, actual: str) -> None:
        # The model knows more runtimes than there were when the texts were recorded.
        listed = _RUNTIME_SET.search(expected), _RUNTIME_SET.search(actual)
        if listed[0] and listed[1]:
            assert set(listed[0][1].split(", ")) <= set(listed[1][1].split(", ")), path
            expected, actual = (_RUNTIME_SET.sub("[runtimes]", text) for text in (expected, actual))
        # And its patterns have grown with the services.
        expected, actual = (_PATTERN.sub("pattern: ...", text) for text in (expected, actual))
        expected = _PLACEHOLDER.sub(lambda found: _FIXED.get(found[0], found[0]), expected)
        names = _PLACEHOLDER.findall(expected)
        pattern = "".join(
            f"(?P<p{index // 2}>.+?)" if index % 2 else re.escape(part)
            for index, part in enumerate(re.split(f"({_PLACEHOLDER.pattern})", expected))
        )
        match = re.fullmatch(pattern, actual, re.DOTALL)
        assert match, f"{path}: {expected!r} != {actual!r}"
        for index, name in enumerate(names):
            value = match[f"p{index}"]
            known = self.bound.setdefault(name, value)
            assert known == value, f"{path}: {name} was {known!r}, is {value!r}"


def _plain(value: Any) -> Any:
    """As the recordings hold it: policies and statements decoded, times as text."""
    if isinstance(value, dict):
        return {
            name: _plain(json.loads(one) if name in ("Policy", "Statement") and isinstance(one, str) else one)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode()
    return value


#: Members that AWS has added since the oldest recordings were made.
_ADDED_SINCE = frozenset({"SnapStart", "LoggingConfig", "RuntimeVersionConfig"})


class Scenario:
    """One recorded scenario over a world: each call is compared with the step it is named after ("" for none)."""

    def __init__(self, world: World, name: str, file: str) -> None:
        self.world = world
        self.seen: set[str] = set()
        self.steps = load(file, name)
        old = int(_read(file)[PREFIX + name]["recorded-date"][6:10]) < 2024
        self.replay = Replay(self.steps, newer=_ADDED_SINCE if old else frozenset())

    async def __call__(self, step: str, operation: str, /, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] | ServiceError
        try:
            answer = await self.world.call(operation, **params)
        except ServiceError as error:
            answer = error
        if step:
            self.replay.check(step, answer)
            self.seen.add(step)
        elif isinstance(answer, ServiceError):
            raise answer
        return {} if isinstance(answer, ServiceError) else answer


@pytest.fixture
def scenario(world: World) -> Callable[..., Scenario]:
    """Begin a scenario; skips where the recordings are not beside this checkout."""

    def begin(name: str, file: str = "api.json") -> Scenario:
        if not FOLDER.is_dir():
            pytest.skip("the recordings are not beside this checkout")
        return Scenario(world, name, file)

    return begin
