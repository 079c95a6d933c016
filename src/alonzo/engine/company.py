"""What runs beside the runtime in one environment: its extensions, who subscribed to its telemetry, and their end.

Source: execution-environment contract §2 and §3; https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from alonzo.core.clock import Clock
from alonzo.core.ids import Ids
from alonzo.engine.extensions import INVOKE, SHUTDOWN, Extension, Extensions, State, message, refusal
from alonzo.engine.function import FunctionVersion
from alonzo.engine.log_lines import Lines, Report
from alonzo.engine.log_output import Output
from alonzo.engine.outcome import Failure, entrypoint_failure
from alonzo.engine.tasks import Tasks
from alonzo.engine.telemetry import Malformed, Telemetry, parse
from alonzo.sandbox.base import Companion, Environment, ExecError, Exit, SandboxError

#: How long the end of an environment may take with external extensions, and with internal ones only, in seconds; and
#: how much of it the runtime has after its SIGTERM.
_EXTERNAL_S, _INTERNAL_S, _RUNTIME_S = 2.0, 0.5, 0.3
_PREFIXES = (b"/2020-01-01/extension/", b"/2022-07-01/telemetry", b"/2020-08-15/logs")
#: What extensions do not see. Source: execution-environment contract §6.
_HIDDEN = {"AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_RUNTIME_DIR"}
_HIDDEN |= {"LAMBDA_TASK_ROOT", "AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS"}


class Owner(Protocol):
    """The environment."""

    fv: FunctionVersion
    lines: Lines

    def company_waits(self) -> None:
        """An extension has asked for its next event."""

    def company_failed(self, failure: Failure) -> None:
        """An extension ended or gave up: the environment cannot go on."""

    def log_lines(self, messages: list[str]) -> None: ...
    def log_output(self, at_ms: int | None, message: str) -> None: ...
    def log_full(self) -> bool: ...


class Company:
    """See the module."""

    def __init__(self, owner: Owner, clock: Clock, tasks: Tasks, ids: Ids) -> None:
        fv = owner.fv
        described = {"functionName": fv.name, "functionVersion": fv.version, "handler": fv.handler}
        self.extensions = Extensions(self, ids, described, fv.account_id)
        self.telemetry = Telemetry(clock, tasks, self._connect)
        self._owner = owner
        self._clock = clock
        self._tasks = tasks
        self._sandbox: Environment | None = None
        self._companions: dict[str, Companion] = {}
        self._outputs: list[Output] = []
        self._registered = asyncio.Event()
        self._ending = False

    @property
    def alone(self) -> bool:
        """Whether there is nobody."""
        return not self.extensions.all

    @property
    def busy(self) -> bool:
        return self.extensions.busy

    async def _connect(self, port: int) -> socket.socket:
        sandbox = self._sandbox
        if sandbox is None:
            raise SandboxError("the environment has not been started")
        inside = sandbox.runtime_api_address.rpartition(":")[0]
        problem: OSError | None = None
        for host in dict.fromkeys((inside, "127.0.0.1")):
            made = await sandbox.open_socket()
            try:
                await asyncio.get_running_loop().sock_connect(made, (host, port))
                return made
            except OSError as error:
                made.close()
                problem = error
            except BaseException:
                made.close()
                raise
        raise problem or OSError(errno.ECONNREFUSED, "nobody listens")

    # -- beginning ----------------------------------------------------------------------------------------------------

    def attach(self, sandbox: Environment) -> None:
        self._sandbox = sandbox

    async def bring_up(self, names: tuple[str, ...], env: Mapping[str, str]) -> None:
        """Start external extensions, then, when all have registered, the runtime."""
        assert self._sandbox is not None
        seen = {name: value for name, value in env.items() if name not in _HIDDEN and not name.startswith("_")}
        for name in names:
            self.extensions.expect(name)
        for name in names:
            if not await self._launch(name, seen):
                return
        self._check_registered()
        await self._registered.wait()
        try:
            await self._sandbox.go()
        except ExecError as error:
            self._owner.company_failed(entrypoint_failure(str(error)))
        except SandboxError as error:
            if not self._ending:
                self._owner.company_failed(Failure("error", "Sandbox.Failure", str(error)))

    async def _launch(self, name: str, env: Mapping[str, str]) -> bool:
        assert self._sandbox is not None
        extension = self.extensions.all[name]
        try:
            companion = await self._sandbox.spawn((f"/opt/extensions/{name}",), env, "/")
        except SandboxError as error:
            if self._ending:
                return False
            denied = isinstance(error, ExecError) and error.errno == errno.EACCES
            extension.state = State.LAUNCH_ERROR
            extension.error_type = "PermissionDenied" if denied else "UnknownError"
            self._say(extension)
            self._owner.company_failed(Failure("error", "Extension.LaunchError", str(error)))
            return False
        self._companions[name] = companion

        def written(at_ms: int | None, text: str) -> None:
            self._owner.log_output(at_ms, text)
            self.telemetry.emit("extension", "extension", text, at_ms)

        self._outputs.append(Output(companion.output, -1, written, self._owner.log_full))
        self._tasks.start(self._watch(extension, companion))
        return True

    async def _watch(self, extension: Extension, companion: Companion) -> None:
        ended = await companion.wait()
        reported = extension.state in (State.INIT_ERROR, State.EXIT_ERROR)
        if not reported:
            extension.state = State.EXITED
        if not self._ending and not reported:
            self._owner.company_failed(Failure("error", "Extension.Crash", _how(ended)))

    def _check_registered(self) -> None:
        if self.extensions.registered:
            self._registered.set()

    def began(self, runtime_version: str, runtime_version_arn: str) -> None:
        fv = self._owner.fv
        record = {
            "initializationType": fv.initialization_type,
            "phase": "init",
            "runtimeVersion": runtime_version,
            "runtimeVersionArn": runtime_version_arn,
            "functionName": fv.name,
            "functionVersion": fv.version,
        }
        self.telemetry.emit("platform", "platform.initStart", record)

    def initialised(self, init_ms: float) -> None:
        """Initialisation is over: nobody registers or subscribes any more."""
        self.extensions.open = False
        if not self.alone:
            record: dict[str, Any] = {"initializationType": self._owner.fv.initialization_type, "phase": "init"}
            self.telemetry.emit("platform", "platform.initRuntimeDone", {**record, "status": "success"})
            metrics = {"durationMs": round(init_ms, 3)}
            self.telemetry.emit("platform", "platform.initReport", {**record, "metrics": metrics})
        for extension in self.extensions.all.values():
            self._say(extension)
        self.telemetry.initialised()

    def _say(self, extension: Extension) -> None:
        record = {"name": extension.name, "state": extension.state.value, "events": list(extension.events)}
        if extension.error_type:
            record["errorType"] = extension.error_type
        self._owner.log_lines(self._owner.lines.extension(record))
        self.telemetry.emit("platform", "platform.extension", record)

    # -- extensions.Listener ------------------------------------------------------------------------------------------

    def extension_registered(self, extension: Extension) -> None:
        self._check_registered()

    def extension_waits(self, extension: Extension) -> None:
        self._owner.company_waits()

    def extension_failed(self, extension: Extension, kind: str, error_type: str) -> None:
        self._say(extension)
        self._owner.company_failed(Failure("error", kind, error_type[:256]))

    # -- the API ------------------------------------------------------------------------------------------------------

    def serve(
        self, method: bytes, url: bytes, header: Callable[[bytes], bytes], body: bytes, answer: Callable[[bytes], None]
    ) -> bool:
        """Answer a request, now or later; False if it is not for us."""
        path = url.partition(b"?")[0]
        if not path.startswith(_PREFIXES):
            return False

        def of(name: bytes) -> str:
            return header(name).decode("latin-1")

        if (method, path) == (b"POST", _PREFIXES[0] + b"register"):
            features = of(b"lambda-extension-accept-feature")
            answer(self.extensions.register(of(b"lambda-extension-name"), body, features))
            return True
        extension = self.extensions.find(of(b"lambda-extension-identifier"))
        error_type = of(b"lambda-extension-function-error-type")
        if isinstance(extension, bytes):
            answer(extension)
        elif (method, path) == (b"GET", _PREFIXES[0] + b"event/next"):
            self.extensions.next(extension, answer)
        elif (method, path) == (b"POST", _PREFIXES[0] + b"init/error"):
            answer(self.extensions.failed(extension, "Extension.InitError", error_type))
        elif (method, path) == (b"POST", _PREFIXES[0] + b"exit/error"):
            answer(self.extensions.failed(extension, "Extension.ExitError", error_type))
        elif method == b"PUT" and path in _PREFIXES[1:]:
            answer(self._subscribe("telemetry" if path == _PREFIXES[1] else "logs", extension, body))
        else:
            return False
        return True

    def _subscribe(self, api: str, extension: Extension, body: bytes) -> bytes:
        title = api.capitalize()
        if not self.extensions.open:
            text = f"{title} API subscription is closed already"
            return refusal(f"{title}.SubscriptionClosed", text)
        try:
            request = parse(api, body)
        except Malformed as error:
            return refusal("ValidationError", str(error), "400 Bad Request")
        self.telemetry.subscribe(extension.name, request)
        record = {"name": extension.name, "state": "Subscribed", "types": list(request.kinds)}
        self._owner.log_lines(self._owner.lines.subscription(api, record))
        self.telemetry.emit("platform", f"platform.{api}Subscription", record)
        return message("200 OK", b"OK", "text/plain; charset=utf-8")

    # -- invocations --------------------------------------------------------------------------------------------------

    def invoked(self, request_id: str, deadline_ms: int, invoked_arn: str, trace: str) -> None:
        self.telemetry.resume()
        tracing = {"type": "X-Amzn-Trace-Id", "value": trace}
        document = {"requestId": request_id, "version": self._owner.fv.version}
        self.telemetry.emit("platform", "platform.start", document)
        self.extensions.send(
            INVOKE,
            {
                "deadlineMs": deadline_ms,
                "requestId": request_id,
                "invokedFunctionArn": invoked_arn,
                "tracing": tracing,
            },
        )

    def runtime_done(self, request_id: str, duration_ms: float, failure: Failure | None, produced: int) -> None:
        record: dict[str, Any] = {"requestId": request_id, "status": "success" if failure is None else failure.status}
        if failure is not None and failure.error_type:
            record["errorType"] = failure.error_type
        record["metrics"] = {"durationMs": round(duration_ms, 3), "producedBytes": produced}
        self.telemetry.emit("platform", "platform.runtimeDone", record)

    def reported(self, report: Report) -> None:
        metrics: dict[str, Any] = {
            "durationMs": round(report.duration_ms, 3),
            "billedDurationMs": report.billed_ms,
            "memorySizeMB": report.memory_mib,
            "maxMemoryUsedMB": report.max_memory_mib,
        }
        if report.init_ms is not None:
            metrics["initDurationMs"] = round(report.init_ms, 3)
        status = "success" if report.failure is None else report.failure.status
        record = {"requestId": report.request_id, "metrics": metrics, "status": status}
        self.telemetry.emit("platform", "platform.report", record)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def shut_down(self, reason: str) -> None:
        """Let runtime and extensions end within their time; whatever is left is killed by the caller."""
        self._ending = True
        self._registered.set()
        sandbox = self._sandbox
        if sandbox is None or self.alone:
            return
        self.telemetry.resume()
        budget_s = _EXTERNAL_S if self._companions else _INTERNAL_S
        loop = asyncio.get_running_loop()
        end = loop.time() + budget_s
        with contextlib.suppress(TimeoutError, SandboxError):
            if reason == "spindown":
                await sandbox.signal(signal.SIGTERM)
                async with asyncio.timeout(_RUNTIME_S if self._companions else budget_s):
                    await sandbox.wait()
        if not self._companions:
            return
        await sandbox.signal(signal.SIGKILL)
        await self.telemetry.flush((end - loop.time()) / 4)
        deadline_ms = int((self._clock.now() + end - loop.time()) * 1000)
        self.extensions.send(SHUTDOWN, {"shutdownReason": reason, "deadlineMs": deadline_ms})
        waiting = [
            companion.wait()
            for name, companion in self._companions.items()
            if SHUTDOWN in self.extensions.all[name].events
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await asyncio.gather(*waiting)

    def close(self) -> None:
        """Nothing of it runs any more."""
        self._ending = True
        self._registered.set()
        self.telemetry.close()
        for output in self._outputs:
            output.drain()
            output.close()
        self._outputs = []


def _how(ended: Exit) -> str:
    return f"signal: {signal.Signals(ended.signal).name}" if ended.signal is not None else f"exit code {ended.code}"
