"""An engine over the process sandbox and AWS's own runtime client, with everything around it recorded.

The tests of a module with `pytestmark = BOTH_CLIENTS` run over our transport for that client, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from alonzo.config import Settings
from alonzo.core.clock import Clock, SystemClock
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Dispatcher, Parts
from alonzo.engine import Engine, EventConfig
from alonzo.engine.function import CodeRef, FunctionVersion, Invocation, InvokeResult
from alonzo.engine.runs import Settled
from alonzo.runtimes import bootstraps
from alonzo.runtimes.root import Root
from alonzo.sandbox.process import ProcessSandbox
from alonzo.storage import Blobs, Database

ACCOUNT = "000000000000"
REGION = "us-east-1"
BOTH_CLIENTS = pytest.mark.parametrize("transport", ["aws", "lean"], indirect=True)


@pytest.fixture(scope="session")
def awslambdaric(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AWS's own runtime client, installed into a folder of its own."""
    target = tmp_path_factory.mktemp("awslambdaric")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(target),
    ]
    subprocess.run([*command, "awslambdaric"], check=True, timeout=180)
    for name in ("client", "answers"):
        shutil.copy(Path(bootstraps.__file__).with_name(f"{name}.py"), target / f"_alonzo_{name}.py")
    return target


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> str:
    """Who speaks to the Runtime API for AWS's client: its own extension (`aws`), or ours (`lean`)."""
    return str(getattr(request, "param", "aws"))


class Recorder(Dispatcher):
    """Answers what the engine asks of services, and remembers it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.calls: list[tuple[Context, str, str, dict[str, Any]]] = []
        self.answers: dict[str, Callable[[Context, dict[str, Any]], Any]] = {}
        self.credential_life_s = 3600.0

    async def call(self, ctx: Context, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((ctx, service, operation, params))
        answer = self.answers.get(f"{service}.{operation}") or self.answers.get(service)
        if answer is not None:
            result = answer(ctx, params)
            if asyncio.iscoroutine(result):
                result = await result
            return result or {}
        if operation == "AssumeRole":
            n = len(self.of("AssumeRole"))
            role = params["RoleArn"].rpartition("/")[2]
            return {
                "Credentials": {
                    "AccessKeyId": f"ASIA{n:016d}",
                    "SecretAccessKey": "secret",
                    "SessionToken": "token",
                    "Expiration": self.clock.now() + self.credential_life_s,
                },
                "AssumedRoleUser": {
                    "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{params['RoleSessionName']}",
                    "AssumedRoleId": f"AROA0000000000000000:{params['RoleSessionName']}",
                },
            }
        return {}

    def of(self, operation: str) -> list[dict[str, Any]]:
        return [params for _, _, name, params in self.calls if name == operation]

    def log(self, stream: int | None = None) -> list[str]:
        """The messages stored so far; of one stream (in order of creation) if wanted."""
        puts = self.of("PutLogEvents")
        names = list(dict.fromkeys(put["logStreamName"] for put in puts))
        return [
            event["message"]
            for put in puts
            if stream is None or put["logStreamName"] == names[stream]
            for event in put["logEvents"]
        ]


class Runtimes:
    """Roots of functions whose code is a folder; the program is given per runtime name."""

    def __init__(self, code: Path, client: Path, transport: str = "aws") -> None:
        self.code = code
        self.client = client
        self.transport = transport
        self.error: Exception | None = None

    async def root(self, function: Any) -> Root:
        if self.error is not None:
            raise self.error
        task = self.code / function.name
        env = {"PATH": "/usr/bin:/bin", "LAMBDA_TASK_ROOT": "/var/task", "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11"}
        if function.runtime == "provided.al2023":
            argv: tuple[str, ...] = ("/var/task/bootstrap",)
        elif function.runtime == "raw":
            argv = (sys.executable, "-I", "-S", "/var/task/main.py")
        else:
            ours = "import _alonzo_client, sys; _alonzo_client.main()(sys.argv)"
            program = ("-c", ours) if self.transport == "lean" else ("-m", "awslambdaric")
            argv = (sys.executable, "-s", *program, function.handler)
            env["PYTHONPATH"] = str(self.client)
        arn = "arn:aws:lambda:us-east-1::runtime:0123456789abcdef"
        return Root(argv, ((task, "/var/task"),), env, "python:3.11.v1", arn)


class Functions:
    """A FunctionSource over dictionaries."""

    def __init__(self) -> None:
        self.versions: dict[str, FunctionVersion] = {}
        self.configs: dict[str, EventConfig] = {}

    def resolve(self, account_id: str, region: str, name: str, qualifier: str) -> FunctionVersion:
        if name not in self.versions:
            arn = f"arn:aws:lambda:{region}:{account_id}:function:{name}"
            raise ServiceError("ResourceNotFoundException", f"Function not found: {arn}", status=404)
        return self.versions[name]

    def event_config(self, account_id: str, region: str, name: str, qualifier: str) -> EventConfig:
        return self.configs.get(name, EventConfig())


@dataclass
class World:
    """The engine and its surroundings."""

    parts: Parts
    engine: Engine
    sandbox: ProcessSandbox
    dispatcher: Recorder
    runtimes: Runtimes
    functions: Functions
    code: Path
    served: list[FunctionVersion] = field(default_factory=list)

    def run_events_by(self, invoke: Callable[[FunctionVersion, Invocation], Awaitable[InvokeResult]]) -> None:
        """What the queue begins is run by this, in place of the invoker."""
        running = set[asyncio.Task[None]]()

        async def run(fv: FunctionVersion, invocation: Invocation, settled: Settled) -> None:
            try:
                result = await invoke(fv, invocation)
            except Exception as error:
                settled(None, error)
            else:
                settled(result, None)

        class Invoker:
            def begin(self, *asked: Any) -> None:
                task = asyncio.ensure_future(run(*asked))
                running.add(task)
                task.add_done_callback(running.discard)

        self.engine._deliverer._invoker = Invoker()  # type: ignore[assignment]

    def function(self, name: str, source: str, *, file: str = "main.py", **changes: Any) -> FunctionVersion:
        """Write a function's code and describe it."""
        folder = self.code / name
        folder.mkdir(exist_ok=True)
        (folder / file).write_text(source)
        (folder / file).chmod(0o755)
        fv = FunctionVersion(
            account_id=ACCOUNT,
            region=REGION,
            name=name,
            version="$LATEST",
            arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}",
            revision="1",
            runtime="python3.11",
            handler="main.handler",
            role_arn=f"arn:aws:iam::{ACCOUNT}:role/{name}-role",
            code=CodeRef("blob", "0" * 64),
        )
        fv = replace(fv, **changes)
        self.functions.versions[name] = fv
        return fv

    async def invoke(self, fv: FunctionVersion, payload: bytes = b"{}", **changes: Any) -> InvokeResult:
        return await self.engine.invoker.invoke(fv, self.invocation(fv, payload, **changes))

    def invocation(self, fv: FunctionVersion, payload: bytes = b"{}", **changes: Any) -> Invocation:
        return replace(Invocation(self.parts.ids.uuid(), payload, fv.arn), **changes)

    async def log(self, stream: int | None = None) -> list[str]:
        await self.engine.logs.drain()
        return self.dispatcher.log(stream)


@contextlib.asynccontextmanager
async def make_world(
    path: Path,
    client: Path,
    *,
    clock: Clock | None = None,
    database: Path | None = None,
    transport: str = "aws",
    **settings: Any,
) -> AsyncIterator[World]:
    clock = clock or SystemClock()
    path.mkdir(exist_ok=True)
    ids = Ids()
    dispatcher = Recorder(clock)
    db = Database(database or path / "state.db")
    db.open()
    blobs = Blobs(path / "blobs", ids)
    defaults: dict[str, Any] = {"data_dir": path, "log_flush_ms": 5, "freeze_after_ms": 50}
    parts = Parts(Settings(**{**defaults, **settings}), clock, ids, db, blobs, dispatcher)
    sandbox = ProcessSandbox()
    await sandbox.start()
    code = path / "functions"
    code.mkdir(exist_ok=True)
    runtimes = Runtimes(code, client, transport)
    functions = Functions()
    served: list[FunctionVersion] = []

    async def serve_aws(listener: Any, fv: FunctionVersion) -> Any:
        served.append(fv)

        async def stop() -> None:
            served.remove(fv)

        return stop

    engine = Engine(parts, sandbox=sandbox, runtimes=runtimes, serve_aws=serve_aws, functions=functions)
    await engine.start()
    running = asyncio.create_task(engine.run())
    world = World(parts, engine, sandbox, dispatcher, runtimes, functions, code, served)
    try:
        yield world
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await engine.stop()
        await sandbox.stop()
        await db.close()


@pytest.fixture
async def world(tmp_path: Path, awslambdaric: Path, transport: str) -> AsyncIterator[World]:
    async with make_world(tmp_path / "w", awslambdaric, transport=transport) as made:
        yield made


@pytest.fixture
def make(tmp_path: Path, awslambdaric: Path, transport: str) -> Iterator[Callable[..., Any]]:
    """Make worlds with settings of their own."""
    yield lambda **settings: make_world(tmp_path / "w", awslambdaric, transport=transport, **settings)
