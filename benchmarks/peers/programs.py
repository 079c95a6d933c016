"""Alonzo and its peers: how each is fetched, started and given its functions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alonzo import __version__
from alonzo.testing import Server
from benchmarks import requests
from benchmarks.peers import fetch
from benchmarks.peers.peer import Peer, ProcessPeer, await_answer, end, free_port
from benchmarks.peers.work import SMALL, Package
from benchmarks.setup import TRUST

_ROLE = "arn:aws:iam::000000000000:role/bench"


def create_functions(client: Any, role: str, functions: Mapping[str, Package]) -> None:
    """Create the functions through Lambda's API, and wait until they are active."""
    for name, package in functions.items():
        client.create_function(
            FunctionName=name,
            Runtime=package.runtime,
            Handler=package.handler,
            Role=role,
            Code={"ZipFile": package.zipped()},
            MemorySize=1769,
            Timeout=30,
            Environment={"Variables": dict(package.variables)},
        )
    deadline = time.monotonic() + 300
    for name in functions:
        while (state := client.get_function_configuration(FunctionName=name)).get("State", "Active") == "Pending":
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} is still pending")
            time.sleep(0.05)
        if state.get("State", "Active") != "Active":
            raise RuntimeError(f"{name}: {state.get('StateReason')}")


class Alonzo(Peer):
    """This program, as `alonzo up` starts it: isolated, durable, signed, authorised."""

    name = "Alonzo"
    about = "`alonzo up` with a data folder on disk; isolation, signatures, permissions and durability on"

    def __init__(self) -> None:
        super().__init__()
        self._server: Server | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def fetch(self) -> str:
        return __version__

    def start(self, functions: Mapping[str, Package]) -> None:
        cache = Path(".cache")
        cache.mkdir(exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="alonzo-bench-", dir=cache.resolve())
        self._server = Server(Path(self._folder.name) / "data", {"account_concurrency": "3000"}, timeout_s=120)
        self._server.start()
        self.endpoint = self._server.endpoint
        self.process = self._server.process  # type: ignore[assignment]
        await_answer(self.endpoint, self.process)  # type: ignore[arg-type]
        if functions:
            create_functions(self.client("lambda"), self._role(), functions)

    def _role(self) -> str:
        """A role whose functions may log and use queues."""
        iam = self.client("iam")
        allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]}
        arn = str(iam.create_role(RoleName="bench", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"])
        basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
        iam.attach_role_policy(RoleName="bench", PolicyArn=basic)
        iam.put_role_policy(RoleName="bench", PolicyName="sqs", PolicyDocument=json.dumps(allow))
        return arn

    def stop(self) -> None:
        if self._server is not None and self._server.process is not None:
            try:
                self._server.stop(20)
            except subprocess.TimeoutExpired:
                self._server.kill()
        if self._folder is not None:
            self._folder.cleanup()
        self._server = self._folder = self.process = None


class Emulator(ProcessPeer):
    """AWS's Runtime Interface Emulator: one function per process, no service around it."""

    name = "AWS RIE"
    about = (
        "AWS's Runtime Interface Emulator with `python -m awslambdaric`, one emulator per function; the emulator is "
        "already listening when a cold start is measured"
    )
    lacks = ("isolation", "limits", "signatures", "permissions", "services", "several functions", "concurrency")
    _NONE = "it emulates the runtime's interface alone, without other services"
    cannot = {
        "many": "it takes one request at a time and breaks off under more",
        "node": "AWS's Node client has to be compiled for it",
        "s3_event": _NONE,
        "sqs_event": _NONE,
        "s3_put": _NONE,
        "sqs_send": _NONE,
    }

    def __init__(self) -> None:
        super().__init__()
        self._running: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}

    def fetch(self) -> str:
        self._program, self._python = fetch.emulator(), fetch.python()
        return f"of {fetch.SAM[0]} {fetch.SAM[1]}, awslambdaric {fetch.PYTHON_PACKAGES['awslambdaric']}"

    def start(self, functions: Mapping[str, Package]) -> None:
        for name, package in functions.items():
            _unpack(package, self.home / name)
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        (self.home / "none").mkdir()
        self.launch(*self._command(self.endpoint, "none"), self.home / "none")

    def _command(self, endpoint: str, name: str) -> tuple[list[str], dict[str, str]]:
        addresses = ["--runtime-interface-emulator-address", endpoint.removeprefix("http://")]
        addresses += ["--runtime-api-address", f"127.0.0.1:{free_port()}", "--log-level", "error"]
        variables = {"AWS_LAMBDA_FUNCTION_NAME": name, "LAMBDA_TASK_ROOT": str(self.home / name)}
        variables |= {"AWS_LAMBDA_FUNCTION_TIMEOUT": "30", "PYTHONPATH": str(self.home / name)}
        command = [str(self._program), *addresses, str(self._python), "-m", "awslambdaric", "app.handler"]
        return command, fetch.environment(**variables)

    def ready(self, name: str) -> None:
        endpoint = f"http://127.0.0.1:{free_port()}"
        command, environment = self._command(endpoint, name)
        process = subprocess.Popen(
            command,
            cwd=self.home / name,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._running[name] = endpoint, process
        await_answer(endpoint, process)

    def done(self, name: str) -> None:
        if name in self._running:
            end(self._running.pop(name)[1])

    def request(self, name: str, **headers: str) -> tuple[str, bytes]:
        endpoint = self._running[name][0]
        return endpoint, requests.invoke(endpoint, "function", **headers)

    def stop(self) -> None:
        for name in list(self._running):
            self.done(name)
        super().stop()


class Ministack(ProcessPeer):
    """ministack, with its functions as plain local processes."""

    name = "ministack"
    about = "`ministack` with its default executor `local`: functions are processes of the same user"
    lacks = ("isolation", "limits", "signature checks, permissions and durability, which are off by default")

    def fetch(self) -> str:
        self._python = fetch.python()
        return fetch.PYTHON_PACKAGES["ministack"]

    def start(self, functions: Mapping[str, Package]) -> None:
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        variables = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR"}
        path = f"{self._python.parent}:{os.environ['PATH']}"
        self.launch([str(self._python), "-m", "ministack"], fetch.environment(**variables) | {"PATH": path})
        create_functions(self.client("lambda"), _ROLE, functions)


class ServerlessOffline(ProcessPeer):
    """serverless-offline, the plugin of the Serverless Framework."""

    name = "serverless-offline"
    about = "`serverless offline` with its Lambda endpoint; Python functions are child processes, Node ones threads"
    lacks = ("isolation", "limits", "signature checks", "permissions", "services of its own", "Lambda's other API")
    _NONE = "it has no such service of its own"
    cannot = {"s3_event": _NONE, "sqs_event": _NONE, "s3_put": _NONE, "sqs_send": _NONE}

    def fetch(self) -> str:
        self._node, self._python = fetch.node(), fetch.python()
        return f"{fetch.NODE_PACKAGES['serverless-offline']} on serverless {fetch.NODE_PACKAGES['serverless']}"

    def start(self, functions: Mapping[str, Package]) -> None:
        functions = functions or {"small": Package({"app.py": SMALL.encode()})}  # without one it listens nowhere
        for name, package in functions.items():
            _unpack(package, self.home / name)
        (self.home / "node_modules").symlink_to(self._node / "node_modules")
        service = {
            "service": "bench",
            "frameworkVersion": "3",
            "provider": {"name": "aws", "region": "us-east-1", "timeout": 30},
            "plugins": ["serverless-offline"],
            "functions": {
                name: {"name": name, "handler": f"{name}/{package.handler}", "runtime": package.runtime}
                for name, package in functions.items()
            },
        }
        (self.home / "serverless.json").write_text(json.dumps(service))
        port, more = free_port(), [free_port(), free_port(), free_port()]
        self.endpoint = f"http://127.0.0.1:{port}"
        ports = ["--lambdaPort", str(port), "--httpPort", str(more[0]), "--websocketPort", str(more[1])]
        command = ["node", str(self._node / "node_modules/serverless/bin/serverless.js"), "offline", *ports]
        variables = {"SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off", "CI": "1"}
        variables |= {"VIRTUAL_ENV": str(self._python.parents[1]), "AWS_REGION": "us-east-1"}
        quiet = ["--host", "127.0.0.1", "--albPort", str(more[2]), "--noSponsor", "--terminateIdleLambdaTime", "900"]
        self.launch([*command, *quiet], fetch.environment(**variables))


class Moto(ProcessPeer):
    """moto's server: the services around functions; functions themselves need Docker there."""

    name = "moto"
    about = "`moto_server`; it runs functions in Docker containers only, so it takes part where none is needed"
    lacks = ("functions without Docker", "signature checks", "permissions by default", "durability")
    _DOCKER = "it runs functions in Docker containers only"
    cannot = dict.fromkeys(("python", "package", "boto3", "node", "warm", "many", "s3_event", "sqs_event"), _DOCKER)

    def fetch(self) -> str:
        self._python = fetch.python()
        return fetch.PYTHON_PACKAGES["moto[server]"]

    def start(self, functions: Mapping[str, Package]) -> None:
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        command = [str(self._python.parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        self.launch(command, fetch.environment())

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
        super().stop()


PEERS: tuple[type[Peer], ...] = (Alonzo, Emulator, Ministack, ServerlessOffline, Moto)

#: Looked at and left out, with the reason.
LEFT_OUT = {
    "fakecloud": "runs functions in Docker or Podman containers only",
    "Floci": "not in a package registry; runs functions in Docker containers",
    "LocalStack": "its package starts a Docker image",
    "`sam local`": "runs functions in Docker containers only; the emulator inside those containers is AWS RIE above",
    "serverless-offline 14": "needs the Serverless Framework 4, which downloads itself and asks for a login",
}


def _unpack(package: Package, folder: Path) -> None:
    for path, content in package.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
