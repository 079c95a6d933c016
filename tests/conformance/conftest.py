"""Scenarios recorded on AWS, replayed through boto3 on a whole server: the same calls, the answers compared.

The server runs in a thread of this process so that one thing can be exchanged: where a runtime is not installed here,
functions that name it are prepared with the Python that is (the scenarios name runtimes of every language, and most of
them never invoke), and those of Node.js, where a test runs them (`nodes`), with one version of it. Each test has an
account of its own; the recordings' account stands for it in what is compared.

What was replayed is kept in `scenarios.json`, from which the page of conformance is made: `test_table.py` fails where
it is not what this run replayed. `ALONZO_CONFORMANCE=write` writes it anew, after a whole run.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from alonzo.app import App
from alonzo.config import Settings
from alonzo.core.errors import ServiceError
from alonzo.runtimes import RUNTIMES as MANAGED
from alonzo.runtimes import runtime_variables

HERE = Path(__file__).parent
TABLE = HERE / "scenarios.json"
RUNTIME = f"python3.{sys.version_info.minor}"
NODE = "nodejs20.x"
RECORDED_ACCOUNT = "111111111111"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def _comparing() -> Any:
    """The part that compares is shared with the service's own tests."""
    spec = importlib.util.spec_from_file_location("comparing", HERE.parent / "services" / "lambda_" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["comparing"] = module
    spec.loader.exec_module(module)
    return module


comparing = _comparing()
archive = comparing.archive


class Gate:
    """Holds preparations back while it is cleared. `set` and `clear` come from the tests' thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open = asyncio.Event()
        self._open.set()

    def clear(self) -> None:
        asyncio.run_coroutine_threadsafe(self._do(self._open.clear), self._loop).result(5)

    def set(self) -> None:
        asyncio.run_coroutine_threadsafe(self._do(self._open.set), self._loop).result(5)

    async def wait(self) -> None:
        await self._open.wait()

    @staticmethod
    async def _do(what: Callable[[], None]) -> None:
        what()


class Server:
    """The application in a thread."""

    def __init__(self) -> None:
        #: Whether functions of Node.js run.
        self.nodes = False
        self._ready: threading.Event = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._ready.wait(60)
        if self._error is not None:
            raise self._error

    async def _run(self) -> None:
        try:
            async with App(Settings(ephemeral=True, port=0)) as self.app:
                self.loop = asyncio.get_running_loop()
                self.gate = Gate(self.loop)
                await self._exchange_runtimes(self.app.runtimes)
                self._ready.set()
                await self.app.wait()
        except BaseException as error:
            self._error = error
            self._ready.set()
            raise

    async def _exchange_runtimes(self, runtimes: Any) -> None:
        real, gate = runtimes.root, self.gate

        async def root(function: Any) -> Any:
            await gate.wait()
            is_node = self.nodes and function.runtime.startswith("nodejs")
            made = await real(replace(function, runtime=NODE if is_node else RUNTIME))
            named = MANAGED.get(function.runtime)
            if named is None or named.language != ("nodejs" if is_node else "python"):
                return made
            # Another version is in its place, with the variables that it has on AWS.
            return replace(made, env=runtime_variables(named, function.handler))

        arn = runtimes.version_arn
        runtimes.root = root
        runtimes.version_arn = lambda _, region: arn(RUNTIME, region)
        await runtimes.install(RUNTIME)

    def install(self, runtime: str) -> None:
        asyncio.run_coroutine_threadsafe(self.app.runtimes.install(runtime), self.loop).result(300)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.app.port}"

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.app.request_stop)
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def whole_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def node_installed(whole_server: Server) -> None:
    whole_server.install(NODE)


@pytest.fixture
def nodes(whole_server: Server, node_installed: None) -> Iterator[None]:
    """Functions of Node.js run, all on one version of it."""
    whole_server.nodes = True
    yield
    whole_server.nodes = False


class Objects:
    """`objects[bucket, key] = bytes` puts an object."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._made: set[str] = set()

    def __setitem__(self, where: tuple[str, str], body: bytes) -> None:
        s3, bucket = self._world.client("s3"), self._world.bucket(where[0])
        if bucket not in self._made:
            s3.create_bucket(Bucket=bucket)
            self._made.add(bucket)
        s3.put_object(Bucket=bucket, Key=where[1], Body=body)


_session = botocore.session.get_session()
_accounts = itertools.count(300_000_000_001)


class World:
    """One account. `call` sends what boto3 would, without its own validation, and undoes the change of account."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.account = str(next(_accounts))
        self._clients: dict[str, Any] = {}
        self.objects = Objects(self)
        self.runtimes = type("Runtimes", (), {"gate": server.gate})
        self.status = 0
        iam = self.client("iam")
        iam.create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(TRUST))
        iam.put_role_policy(RoleName="worker", PolicyName="all", PolicyDocument=json.dumps(ANYTHING))
        self.role = f"arn:aws:iam::{RECORDED_ACCOUNT}:role/worker"

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = _session.create_client(
                service,
                region_name="us-east-1",
                endpoint_url=self.server.endpoint,
                aws_access_key_id=self.account,
                aws_secret_access_key="test",
                config=Config(parameter_validation=False, retries={"max_attempts": 0}, read_timeout=60),
            )
        return self._clients[service]

    def bucket(self, name: str) -> str:
        return f"{name}-{self.account}"

    async def call(self, operation: str, /, *, service: str = "lambda", **params: Any) -> dict[str, Any]:
        """Raises ServiceError with what arrived."""
        sent = _swap(params, RECORDED_ACCOUNT, self.account)
        if sent.get("S3Bucket") == "bucket":
            sent["S3Bucket"] = self.bucket("bucket")
        for member in ("Code", "Content"):
            if isinstance(sent.get(member), dict) and sent[member].get("S3Bucket") == "bucket":
                sent[member]["S3Bucket"] = self.bucket("bucket")
        try:
            answer = await asyncio.to_thread(self.client(service)._make_api_call, operation, sent)
        except ClientError as error:
            response = _swap(error.response, self.account, RECORDED_ACCOUNT)
            self.status = response["ResponseMetadata"]["HTTPStatusCode"]
            fields = {name: response[name] for name in ("Type", "Reason") if name in response}
            raise ServiceError(
                response["Error"]["Code"], response["Error"].get("Message", ""), status=self.status, fields=fields
            ) from None
        self.status = answer.pop("ResponseMetadata")["HTTPStatusCode"]
        if "Payload" in answer:
            answer["Payload"] = answer["Payload"].read().replace(self.account.encode(), RECORDED_ACCOUNT.encode())
        received: dict[str, Any] = _swap(answer, self.account, RECORDED_ACCOUNT)
        return received

    async def fails(self, operation: str, /, **params: Any) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await self.call(operation, **params)
        return caught.value

    async def create(self, name: str = "f", *, wait: bool = True, **more: Any) -> dict[str, Any]:
        params = {"Runtime": "python3.12", "Role": self.role, "Handler": "handler.handler", **more}
        params.setdefault("Code", {"ZipFile": archive()})
        answer = await self.call("CreateFunction", FunctionName=name, **params)
        if wait:
            await self.active(name)
        return answer

    async def active(self, name: str = "f", qualifier: str = "$LATEST") -> dict[str, Any]:
        """Wait as boto3's waiters do."""
        async with asyncio.timeout(60):
            while True:
                shown = await self.call("GetFunctionConfiguration", FunctionName=name, Qualifier=qualifier)
                if shown["State"] != "Pending" and shown.get("LastUpdateStatus") != "InProgress":
                    return shown
                await asyncio.sleep(0.01)

    def clean_up(self) -> None:
        """Leave no function behind; everything else goes with the server."""
        functions = self.client("lambda")
        for page in functions.get_paginator("list_functions").paginate():
            for function in page["Functions"]:
                functions.delete_function(FunctionName=function["FunctionName"])


def _swap(value: Any, old: str, new: str) -> Any:
    """The same with one account in the place of another."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {_swap(name, old, new): _swap(one, old, new) for name, one in value.items()}
    if isinstance(value, list):
        return [_swap(one, old, new) for one in value]
    return value


@pytest.fixture
def world(whole_server: Server) -> Iterator[World]:
    made = World(whole_server)
    yield made
    whole_server.gate.set()
    made.clean_up()


@pytest.fixture
def make_zip() -> Callable[..., bytes]:
    made: Callable[..., bytes] = archive
    return made


# -- what was replayed ------------------------------------------------------------------------------------------------

#: Steps compared in this run, by file and scenario; only of tests that passed.
replayed: dict[tuple[str, str], set[str]] = {}
_passed = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    outcome: Any = yield
    if outcome.get_result().when == "call":
        item.stash[_passed] = outcome.get_result().passed


@pytest.fixture
def scenario(world: World, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Begin a scenario; skips where the recordings are not beside this checkout."""
    begun: list[tuple[str, str, Any]] = []

    def begin(name: str, file: str = "api.json") -> Any:
        if not comparing.FOLDER.is_dir():
            pytest.skip("the recordings are not beside this checkout")
        made = Scenario(world, name, file)
        begun.append((file, comparing.PREFIX + name, made))
        return made

    yield begin
    if request.node.stash.get(_passed, False):
        for file, name, made in begun:
            replayed.setdefault((file, name), set()).update(made.seen)


_ENUM = re.compile(r"(?<=enum value set: )\[([^\]]*)\]")


class Replay(comparing.Replay):  # type: ignore[misc]
    """As in the service's own tests; the values of an enumeration stand in a text in an order of AWS's own."""

    def _same_text(self, path: str, expected: str, actual: str) -> None:
        theirs, ours = _ENUM.search(expected), _ENUM.search(actual)
        if theirs and ours and set(theirs[1].split(", ")) == set(ours[1].split(", ")):
            actual = actual.replace(ours[0], theirs[0])
        super()._same_text(path, expected, actual)


class Scenario(comparing.Scenario):  # type: ignore[misc]
    """As in the service's own tests, and the HTTP status is compared too."""

    def __init__(self, world: World, name: str, file: str) -> None:
        super().__init__(world, name, file)
        self.replay = Replay(self.steps, newer=self.replay._newer)

    def compare(self, step: str, value: Any) -> None:
        """Compare what a step holds where that is no operation's answer: log lines, what a function returned."""
        self.replay._same(step, self.steps[step], value)
        self.seen.add(step)

    async def __call__(self, step: str, operation: str, /, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any]
        if step and operation == "Invoke" and not isinstance(self.steps[step].get("Payload", ""), str):
            # The recordings hold payloads that are objects parsed.
            answer = await self.world.call(operation, **params)
            self.replay.check(step, {**answer, "Payload": json.loads(answer["Payload"])})
            self.seen.add(step)
        else:
            answer = await super().__call__(step, operation, **params)
        if step:
            recorded = self.steps[step]
            recorded = recorded.get("CreateFunctionResponse", recorded)
            status = (recorded.get("ResponseMetadata") or {}).get("HTTPStatusCode")
            assert status in (None, self.world.status), f"{step}: status {self.world.status}, AWS's was {status}"
        return answer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The table is looked at when everything has been replayed."""
    items.sort(key=lambda item: item.path == HERE / "test_table.py")


def recorded() -> dict[str, int]:
    """Every scenario that was recorded, as `file scenario`, and how many steps it has."""
    found = {}
    for path in sorted(comparing.FOLDER.glob("*.json")):
        for name, one in json.loads(path.read_text()).items():
            found[f"{path.name} {name}"] = len(one["recorded-content"])
    return found


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if os.environ.get("ALONZO_CONFORMANCE") == "write":
        table = {
            "recorded": recorded(),
            "replayed": {f"{file} {name}": sorted(steps) for (file, name), steps in sorted(replayed.items()) if steps},
        }
        TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=True) + "\n")


@pytest.fixture(scope="session")
def this_run(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What this run has replayed, what is recorded, and whether the run is a whole one."""
    asked = request.config.option
    files = {item.path.name for item in request.session.items if item.path.parent == HERE}
    whole = not asked.keyword and not asked.markexpr and files == {path.name for path in HERE.glob("test_*.py")}
    return {
        "replayed": {f"{file} {name}": sorted(steps) for (file, name), steps in replayed.items() if steps},
        "recorded": recorded(),
        "whole": whole,
        "table": json.loads(TABLE.read_text()),
        "there": comparing.FOLDER.is_dir(),
    }
