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
from typing import Protocol

from alonzo.core.clock import Clock
from alonzo.core.ids import Ids
from alonzo.engine.extensions import INVOKE, MAX_EXTENSIONS, SHUTDOWN, Extension, Extensions, State, message, refusal
from alonzo.engine.function import FunctionVersion
from alonzo.engine.log_lines import Lines, Report
from alonzo.engine.log_output import Output
from alonzo.engine.log_shipper import LogStream
from alonzo.engine.outcome import Failure, entrypoint_failure, exit_words
from alonzo.engine.platform_events import PlatformEvents
from alonzo.engine.subscriptions import Malformed, parse
from alonzo.engine.tasks import Tasks
from alonzo.engine.telemetry import Telemetry
from alonzo.sandbox.base import Companion, Environment, ExecError, SandboxError

#: How long the end of an environment may take with external extensions, and with internal ones only, in seconds; and
#: how much of it the runtime has after its SIGTERM.
_EXTERNAL_S, _INTERNAL_S, _RUNTIME_S = 2.0, 0.5, 0.3
#: An extension that reports an error is expected to end; AWS names its exit and waits for it as long as it takes.
_LEAVE_S = 1.0
_REGISTER = b"/2020-01-01/extension/register"
_NEXT = b"/2020-01-01/extension/event/next"
_ERRORS = {b"/2020-01-01/extension/init/error": State.INIT_ERROR, b"/2020-01-01/extension/exit/error": State.EXIT_ERROR}
_SUBSCRIBE = {b"/2022-07-01/telemetry": "telemetry", b"/2020-08-15/logs": "logs"}
_METHODS = {_REGISTER: b"POST", _NEXT: b"GET", **dict.fromkeys(_ERRORS, b"POST"), **dict.fromkeys(_SUBSCRIBE, b"PUT")}
_WRONG_METHOD = message("405 Method Not Allowed", b"")
#: What extensions do not see. Source: execution-environment contract §6.
_HIDDEN = {"AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_RUNTIME_DIR"}
_HIDDEN |= {"LAMBDA_TASK_ROOT", "AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS"}
_FAILURES = {
    State.INIT_ERROR: "Extension.InitError",
    State.EXIT_ERROR: "Extension.ExitError",
    State.LAUNCH_ERROR: "Extension.LaunchError",
}


class Owner(Protocol):
    """The environment."""

    fv: FunctionVersion
    lines: Lines
    stream: LogStream

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
        self.telemetry = Telemetry(clock, tasks, self._connect, structured=fv.log_format == "JSON")
        #: Told by the environment what happens in it.
        self.events = PlatformEvents(self.telemetry, fv, owner.stream.name, clock, ids)
        #: Which of the two APIs an extension has subscribed with: it may not use both.
        self._apis: dict[str, str] = {}
        self._subscribing = True
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
        for name in names[: MAX_EXTENSIONS + 1]:
            self.extensions.expect(name)
        for index, name in enumerate(names):
            if index >= MAX_EXTENSIONS:
                self._not_launched(self.extensions.all[name], "TooManyExtensions", "ErrorTooManyExtensions")
                return
            if not await self._launch(name, seen):
                return
        self._check_registered()
        await self._registered.wait()
        if self._ending:
            return
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
            denied = isinstance(error, ExecError) and error.errno == errno.EACCES
            self._not_launched(extension, "PermissionDenied" if denied else "UnknownError", str(error))
            return False
        self._companions[name] = companion

        def written(at_ms: int | None, text: str) -> None:
            self._owner.log_output(at_ms, text)
            self.telemetry.emit("extension", "extension", text, at_ms)

        self._outputs.append(Output(companion.output, -1, written, self._owner.log_full))
        self._tasks.start(self._watch(extension, companion))
        return True

    def _not_launched(self, extension: Extension, error_type: str, text: str) -> None:
        if not self._ending:
            extension.state = State.LAUNCH_ERROR
            extension.error_type = error_type
            self._fail(extension, text)

    async def _watch(self, extension: Extension, companion: Companion) -> None:
        ended = await companion.wait()
        extension.ended = True
        if not self._ending:
            # The log says 0 in words of its own.
            self._fail(extension, "exit code 0" if ended.code == 0 else exit_words(ended))

    def _fail(self, extension: Extension, text: str) -> None:
        """An extension is through with the environment, and so the environment is with everything."""
        if not self._ending:
            self._owner.company_failed(Failure("error", _FAILURES.get(extension.state, "Extension.Crash"), text))

    def _check_registered(self) -> None:
        if self.extensions.registered:
            self._registered.set()

    def runtime_ready(self) -> None:
        """The runtime has asked for its first event: nobody registers any more."""
        self.extensions.open = False

    def initialised(self, init_ms: float, failure: Failure | None = None) -> None:
        """Initialisation is over, or has failed: nobody subscribes any more."""
        self._subscribing = False
        records = [extension.record for extension in self.extensions.all.values()]
        for record in records:
            self._owner.log_lines(self._owner.lines.extension(record))
        if not self.alone:
            self.events.init_ended(init_ms, failure, records)
        self.telemetry.initialised()

    def resume_output(self) -> None:
        """The log has room again."""
        for output in self._outputs:
            output.resume()

    # -- extensions.Listener ------------------------------------------------------------------------------------------

    def extension_registered(self, extension: Extension) -> None:
        self._check_registered()

    def extension_waits(self, extension: Extension) -> None:
        self._owner.company_waits()

    def extension_failed(self, extension: Extension) -> None:
        wait_s = _LEAVE_S if extension.external else 0.0
        asyncio.get_running_loop().call_later(wait_s, self._fail, extension, extension.error_type)

    # -- the API ------------------------------------------------------------------------------------------------------

    def serve(
        self, method: bytes, url: bytes, header: Callable[[bytes], bytes], body: bytes, answer: Callable[[bytes], None]
    ) -> bool:
        """Answer a request, now or later; False if it is not for us."""
        path = url.partition(b"?")[0].rstrip(b"/")
        wanted = _METHODS.get(path)
        if wanted is None:
            return False

        def of(name: bytes) -> str:
            return header(name).decode("utf-8", "replace")

        if method != wanted:
            answer(_WRONG_METHOD)
            return True
        if path == _REGISTER:
            features = of(b"lambda-extension-accept-feature")
            answer(self.extensions.register(of(b"lambda-extension-name"), body, features))
            return True
        extension = self.extensions.find(of(b"lambda-extension-identifier"))
        if isinstance(extension, bytes):
            answer(extension)
        elif path == _NEXT:
            self.extensions.next(extension, answer)
        elif path in _ERRORS:
            error_type = of(b"lambda-extension-function-error-type")
            answer(self.extensions.failed(extension, _ERRORS[path], error_type))
        else:
            answer(self._subscribe(_SUBSCRIBE[path], extension, body))
        return True

    def _subscribe(self, api: str, extension: Extension, body: bytes) -> bytes:
        title = api.capitalize()
        if not self._subscribing:
            return refusal(f"{title}.SubscriptionClosed", f"{title} API subscription is closed already")
        other = self._apis.get(extension.name, api)
        if other != api:
            text = (
                f"The extension {extension.name} is already subscribed to the {other.capitalize()}API."
                " You must either subscribe to the LogsAPI or the TelemetryAPI"
            )
            return refusal(f"{title}.AccessDenied", text, "400 Bad Request")
        try:
            request = parse(api, body)
            new = self.telemetry.subscribe(extension.name, request)
        except Malformed as error:
            # The two documents name it differently.
            kind = "Logs.ValidationError" if api == "logs" else "ValidationError"
            return refusal(kind, str(error), "400 Bad Request")
        self._apis[extension.name] = api
        state = "Subscribed" if new else "Already subscribed"
        record = {"name": extension.name, "state": state, "types": list(request.kinds)}
        self._owner.log_lines(self._owner.lines.subscription(api, record))
        self.events.subscribed(api, record)
        return message("200 OK", b'"OK"' if new else b'"AlreadySubscribed"')

    # -- invocations --------------------------------------------------------------------------------------------------

    def invoked(self, request_id: str, deadline_ms: int, invoked_arn: str, trace: str) -> None:
        self.telemetry.resume()
        self.events.began(request_id, trace)
        self.extensions.send(
            INVOKE,
            {
                "deadlineMs": deadline_ms,
                "requestId": request_id,
                "invokedFunctionArn": invoked_arn,
                "tracing": {"type": "X-Amzn-Trace-Id", "value": trace},
            },
        )

    def reported(self, report: Report) -> None:
        wanted = any(INVOKE in extension.events for extension in self.extensions.all.values())
        self.events.reported(report, wanted)

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
            async with asyncio.timeout(_RUNTIME_S if self._companions else budget_s):
                await sandbox.signal(signal.SIGTERM)
                await sandbox.wait()
        if not self._companions:
            return
        await sandbox.signal(signal.SIGKILL)
        await self.telemetry.flush((end - loop.time()) / 4)
        told: list[Companion] = []
        others: list[Companion] = []
        for name, companion in self._companions.items():
            (told if SHUTDOWN in self.extensions.all[name].events else others).append(companion)
        for companion in others:
            await companion.signal(signal.SIGKILL)
        deadline_ms = int((self._clock.now() + end - loop.time()) * 1000)
        self.extensions.send(SHUTDOWN, {"shutdownReason": reason, "deadlineMs": deadline_ms})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await asyncio.gather(*(companion.wait() for companion in told))

    def close(self) -> None:
        """Nothing of it runs any more."""
        self._ending = True
        self._registered.set()
        self.telemetry.close()
        for output in self._outputs:
            output.drain()
            output.close()
        self._outputs = []
