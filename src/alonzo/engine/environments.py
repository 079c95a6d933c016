"""One execution environment: a sandboxed runtime process, its Runtime API, its log stream, and what it is doing.

An environment runs one invocation at a time. Everything on the warm path is plain callbacks: the Runtime API tells the
environment what the runtime did, the environment settles the invocation and tells its pool.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Protocol

from alonzo.core.clock import Clock
from alonzo.core.dataclasses import dataclass
from alonzo.core.ids import Ids
from alonzo.engine.company import Company
from alonzo.engine.credentials import RoleCredentials
from alonzo.engine.function import FunctionVersion, InvokeResult
from alonzo.engine.log_lines import Lines, Report
from alonzo.engine.log_output import Output
from alonzo.engine.log_shipper import LogShipper, LogStream
from alonzo.engine.metering import Meter
from alonzo.engine.outcome import (
    STREAM_TOO_LARGE,
    TOO_LARGE,
    TRUNCATED,
    UNHANDLED,
    Failure,
    exit_failure,
    timeout_failure,
)
from alonzo.engine.runs import Run
from alonzo.engine.runtime_api import RuntimeApi
from alonzo.engine.runtime_messages import event_message
from alonzo.engine.runtime_state import RuntimeState, State
from alonzo.engine.snap_start import SnapStart
from alonzo.engine.streaming import Flow, ResponseStream
from alonzo.engine.tasks import Tasks
from alonzo.sandbox.base import Environment as SandboxEnvironment
from alonzo.sandbox.base import SandboxError

log = logging.getLogger(__name__)

#: The memory peak is read after an invocation of at least so many milliseconds, and otherwise every so many seconds: it
#: only grows, reading it costs more than the rest of REPORT, and memory takes time to fill.
_PEAK_AFTER_MS = 20.0
_PEAK_EVERY_S = 0.1
_TAIL_BYTES = 4_096
#: The loop's clock counts milliseconds: a timer may ring that much too soon.
_CLOSE_S = 0.002
#: How far the time that a runtime puts on a message may be off.
_BELIEVED_MS = 3_600_000
_MIB = 1 << 20


class Phase(Enum):
    INIT = "init"
    IDLE = "idle"
    BUSY = "busy"
    DEAD = "dead"


# Looking a member up in its class costs more than the comparisons it is for.
_IDLE, _BUSY = Phase.IDLE, Phase.BUSY


class Keeper(Protocol):
    """Who is told what became of an environment: the pool of its function version."""

    def environment_answered(self, environment: ExecutionEnvironment) -> None:
        """The client has its answer; the runtime will soon ask for the next invocation."""

    def environment_idle(self, environment: ExecutionEnvironment) -> None:
        """It can take an invocation."""

    def environment_gone(self, environment: ExecutionEnvironment) -> None:
        """It ended, or must not be used again."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every environment of an engine shares."""

    clock: Clock
    ids: Ids
    tasks: Tasks
    logs: LogShipper
    meter: Meter


class ExecutionEnvironment:
    """See the module. Made by a host, used by one pool."""

    def __init__(
        self,
        fv: FunctionVersion,
        shared: Surroundings,
        *,
        stream: LogStream,
        lines: Lines,
        credentials: RoleCredentials,
        snap_start: SnapStart | None = None,
    ) -> None:
        self.fv = fv
        self.stream = stream
        self.lines = lines
        self.credentials = credentials
        self.snap_start = snap_start
        self.phase = Phase.INIT
        self.keeper: Keeper | None = None
        self.idle_since = 0.0
        #: Whether the freezer has it on its list.
        self.resting = False
        self.frozen = False
        self.keep_tmp = True
        #: Whether it is one of those that provisioned concurrency keeps.
        self.provisioned = False
        #: Why the process ended by itself, if it did.
        self.death: Failure | None = None
        self.began = time.perf_counter()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: None: initialised. Otherwise why not.
        self.initialised: asyncio.Future[Failure | None] = asyncio.get_running_loop().create_future()
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._state = RuntimeState(self)
        self._api = RuntimeApi(self._state, offers=fv.runtime.startswith(("python", "nodejs")))
        #: None once it is sure that there is nobody.
        self._company: Company | None = Company(self, shared.clock, shared.tasks, shared.ids)
        self._api.beside = self._company.serve
        self._api.forget = self._company.extensions.forget
        self._reason = "spindown"
        self.sandbox: SandboxEnvironment | None = None
        self._stop_aws: Callable[[], Awaitable[None]] | None = None
        self._output: Output | None = None
        self._run: Run | None = None
        #: Rings at `_timer_at`, which is never after `_due`, the end of the run's time (both of the loop's clock).
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._due = 0.0
        self._peak_bytes = 0
        self._peak_read = 0.0
        self._moving: asyncio.Task[None] | None = None
        self._released = False

    @property
    def usable(self) -> bool:
        return self.phase is Phase.IDLE

    @property
    def age_ms(self) -> float:
        """Since its making began."""
        return (time.perf_counter() - self.began) * 1000

    async def wait_initialised(self, limit_s: float, late: Failure) -> Failure | None:
        """None once the runtime is ready; otherwise why it is not. `limit_s` counts from the environment's start."""
        try:
            async with asyncio.timeout(max(limit_s - self.age_ms / 1000, 0)):
                return await asyncio.shield(self.initialised)
        except TimeoutError:
            return late

    @property
    def id(self) -> str:
        return self.sandbox.id if self.sandbox is not None else ""

    async def attach(self, sandbox: SandboxEnvironment, stop_aws: Callable[[], Awaitable[None]]) -> None:
        """The process has been started: serve its Runtime API, read its output, watch its end."""
        self.sandbox = sandbox
        self._stop_aws = stop_aws
        self._output = Output(sandbox.output, sandbox.telemetry, self._log_function, self.log_full)
        self.stream.resume = self._resume_output
        if self._company is not None:
            self._company.attach(sandbox)
        if self.snap_start is not None:
            await self.snap_start.attach(self._api, sandbox, self.initialised)
        await self._api.serve(sandbox.runtime_api)
        self._shared.tasks.start(self._watch(sandbox))

    async def bring_up(self, extensions: tuple[str, ...], env: Mapping[str, str]) -> None:
        """Start external extensions and then the gated runtime."""
        assert self._company is not None
        await self._company.bring_up(extensions, env)

    # -- invoking -----------------------------------------------------------------------------------------------------

    def run(self, run: Run) -> None:
        """Give the runtime an invocation. Only an idle, thawed environment takes one."""
        invocation, fv = run.invocation, self.fv
        request_id = invocation.request_id
        timeout_s = fv.timeout_s - run.spent_ms / 1000
        self.phase = _BUSY
        self._run = run
        run.started = time.perf_counter()
        now = self._shared.clock.now()
        self._log(self.lines.start(request_id, fv.version), run, now)
        due = self._due = self._loop.time() + timeout_s
        if self._timer is None or self._timer_at > due:
            self._arm(due)
        deadline_ms = int((now + timeout_s) * 1000)
        if self._company is not None:
            trace, arn = invocation.trace_header, invocation.invoked_arn
            self._company.invoked(request_id, deadline_ms, arn, trace)
        self._state.dispatch(
            request_id,
            event_message(
                request_id=request_id,
                deadline_ms=deadline_ms,
                invoked_arn=invocation.invoked_arn,
                trace_header=invocation.trace_header,
                client_context=invocation.client_context,
                payload=invocation.payload or b"{}",
                tenant=fv.tenant,
            ),
        )

    def _arm(self, due: float) -> None:
        """See to it that `_ring` is called at the run's end. A timer that rings too soon is left as it is: one that is
        set and taken back for each invocation costs more than one that finds nothing to do now and then."""
        self._disarm()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._run is None:
            return
        if self._due - self._loop.time() > _CLOSE_S:
            self._timer_at = self._due
            self._timer = self._loop.call_at(self._due, self._ring)
        else:
            self._timed_out()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def fail_run(self, run: Run, failure: Failure) -> None:
        """Settle an invocation that never reached the runtime: its initialisation failed within it."""
        self._run = run
        run.started = time.perf_counter()
        self._log(self.lines.start(run.invocation.request_id, self.fv.version))
        if self._company is not None:
            self._company.events.began(run.invocation.request_id, run.invocation.trace_header)
        self._fail(failure)

    # -- what the runtime did (runtime_state.Listener) ----------------------------------------------------------------

    def runtime_ready(self) -> None:
        if self.phase is Phase.INIT:
            self._check_initialised()
            return
        if self.phase is not _BUSY or self._run is None:
            return
        if self._run.failure is TRUNCATED:
            request_id = self._run.invocation.request_id
            self._answer(InvokeResult(TRUNCATED.answer(request_id), self.fv.version, UNHANDLED), TRUNCATED)
        if self._company is not None:
            self._company.events.runtime_done(self._run.failure)
            if self._company.busy:
                return
        self._complete()

    def _complete(self) -> None:
        self._finish()
        self.phase = _IDLE
        if self.keeper is not None:
            self.keeper.environment_idle(self)

    # -- what extensions did (company.Owner) --------------------------------------------------------------------------

    def _check_initialised(self) -> None:
        company = self._company
        if self.initialised.done() or self._state.state is not State.READY:
            return
        if company is not None:
            company.runtime_ready()
            if company.busy:
                return
            company.initialised(self.age_ms)
            if company.alone:
                self._company = None
        self.initialised.set_result(None)

    def company_waits(self) -> None:
        if self.phase is Phase.INIT:
            self._check_initialised()
        elif self.phase is Phase.BUSY and self._run is not None and self._state.state is State.READY:
            self._complete_unless_busy()

    def _complete_unless_busy(self) -> None:
        if self._company is None or not self._company.busy:
            self._complete()

    def company_failed(self, failure: Failure) -> None:
        if self.phase is Phase.DEAD:
            return
        self._reason = "failure"
        self.death = failure
        if not self.initialised.done():
            self.initialised.set_result(failure)
            return  # whoever waits for the initialisation discards the environment
        self._fail(failure)
        self.discard()

    def runtime_response(self, body: bytes) -> None:
        self._answer(InvokeResult(body, self.fv.version))

    def runtime_response_too_large(self) -> None:
        self._answer(InvokeResult(TOO_LARGE.answer(""), self.fv.version, UNHANDLED), TOO_LARGE)

    def runtime_error(self, error_type: str, body: bytes) -> None:
        self._answer(InvokeResult(body, self.fv.version, UNHANDLED), Failure("error", error_type, payload=body))

    def runtime_init_error(self, error_type: str, body: bytes) -> None:
        if not self.initialised.done():
            self.initialised.set_result(Failure("error", error_type, payload=body))

    def runtime_rests(self, frame: int, refusal: str, go: Callable[[], None]) -> None:
        assert self.snap_start is not None
        self.snap_start.rested(frame, refusal, go, alone=self._company is None or self._company.alone)

    def runtime_stream(self, content_type: str, flow: Flow) -> ResponseStream | None:
        run = self._run
        if run is None or run.stream is None or run.answered is not None:
            return None
        run.stream.begin(self.fv.version, content_type, flow)
        if self._company is not None:
            self._company.events.responds()
        return run.stream

    def runtime_streamed(self, error_type: str, body: bytes) -> None:
        if error_type:
            self.runtime_error(error_type, body)
        else:
            self._answer(InvokeResult(b"", self.fv.version))

    def runtime_stream_too_large(self) -> None:
        self._answer(InvokeResult(STREAM_TOO_LARGE.answer(""), self.fv.version, UNHANDLED), STREAM_TOO_LARGE)

    def runtime_stream_broken(self) -> None:
        # The process may just have ended, which is the better reason; it shows, or the runtime goes on.
        if self._run is not None and self._run.answered is None:
            self._run.failure = TRUNCATED

    def _answer(self, result: InvokeResult, failure: Failure | None = None) -> None:
        run = self._run
        if run is None or run.answered is not None:
            return
        run.answered = result
        run.failure = failure
        if self._company is not None:
            streamed = run.stream.size if run.stream is not None else 0
            self._company.events.responded(len(result.payload) or streamed)
        # The client may ask again at once, and then waits for this environment.
        if self.keeper is not None:
            self.keeper.environment_answered(self)
        if run.tail is None:
            if self._company is None:  # else it is free only when the extensions are through
                run.release()
                run.over = True
            run.settle(result)

    # -- the end of an invocation -------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """END and REPORT, the bill, and the answer where it waits for the log's tail."""
        run, self._run = self._run, None
        assert run is not None
        now, fv = time.perf_counter(), self.fv
        if self._output is not None:
            self._output.drain()
        duration_ms = (now - run.started) * 1000 + run.spent_ms
        if run.failure is not None and run.failure.status == "timeout":
            duration_ms = fv.timeout_s * 1000.0
        if duration_ms >= _PEAK_AFTER_MS or now - self._peak_read >= _PEAK_EVERY_S:
            self._read_peak(now)
        report = Report(
            run.invocation.request_id,
            duration_ms,
            run.init_ms,
            fv.memory_mib,
            -(-self._peak_bytes // _MIB),
            run.failure,
            run.restored,
        )
        self._log(self.lines.end(report, fv.version), run)
        if self._company is not None:
            self._company.reported(report)
        self._shared.meter.record(fv, report)
        if run.over:
            return
        run.release()
        if run.answered is not None:
            result = run.answered
            if run.tail is not None:
                tail = "".join(run.tail).encode()[-_TAIL_BYTES:]
                result = InvokeResult(result.payload, result.executed_version, result.function_error, tail)
            run.settle(result)

    def _fail(self, failure: Failure) -> None:
        """End the current invocation because the environment ends (or never came to life)."""
        run = self._run
        if run is None:
            return
        if self._output is not None:
            self._output.drain()
        request_id = run.invocation.request_id
        self._log(self.lines.failed(request_id, failure, self._shared.clock.now()))
        run.failure = failure
        if run.answered is None:
            run.answered = InvokeResult(failure.answer(request_id), self.fv.version, UNHANDLED)
        self._finish()

    def _timed_out(self) -> None:
        self._reason = "timeout"
        self._fail(timeout_failure(self.fv.timeout_s))
        self.discard()

    async def _watch(self, sandbox: SandboxEnvironment) -> None:
        """Wait for the end of the process, by itself or by us."""
        ended = await sandbox.wait()
        if self.phase is Phase.DEAD:
            return
        failure = self.death = exit_failure(ended)
        self._reason = "failure"
        if self._output is not None:
            self._output.drain()
        if not self.initialised.done():
            self.initialised.set_result(failure)
            return  # whoever waits for the initialisation discards the environment
        self._fail(failure)
        self.discard()

    # -- freezing and ending ------------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Apply the CPU share after initialisation; the environment is idle from now on."""
        assert self.sandbox is not None
        await self.sandbox.limit_cpu()
        if self.phase is Phase.INIT:
            self.phase = Phase.IDLE

    def freeze(self) -> None:
        """Stop the processes while nothing is asked of them."""
        if self.phase is Phase.IDLE and not self.frozen and self.sandbox is not None:
            self.frozen = True
            if self._company is not None:
                self._company.telemetry.pause()
            self._moving = self._shared.tasks.start(self._stop_still(self.sandbox))

    async def _stop_still(self, sandbox: SandboxEnvironment) -> None:
        try:
            await sandbox.freeze()
        except SandboxError as error:
            # It has just ended, or cannot be frozen; either way its next use shows.
            log.info("environment %s was not frozen: %s", sandbox.id, error)

    async def thaw(self) -> None:
        """Let them go on; also where the freezing is still under way."""
        assert self.sandbox is not None
        if self._moving is not None and not self._moving.done():
            await asyncio.wait((self._moving,))
        if not self.frozen:
            return
        try:
            await self.sandbox.thaw()
            self.frozen = False
        except SandboxError as error:
            log.warning("environment %s cannot go on: %s", self.id, error)
            self.discard()

    def abandon(self, error: Exception) -> None:
        """The server stops: the invocation under way, if any, fails with `error`."""
        run, self._run = self._run, None
        if run is not None:
            run.release()
            run.fail(error)
        self.discard(keep_tmp=False)

    def discard(self, *, keep_tmp: bool = True) -> None:
        """Never use it again: kill it in the background, and tell the pool."""
        if self.phase is Phase.DEAD:
            return
        self.phase = Phase.DEAD
        self.keep_tmp = keep_tmp
        self._disarm()
        if not self.initialised.done():
            self.initialised.cancel()
        if self.keeper is not None:
            self.keeper.environment_gone(self)
        self._shared.tasks.start(self._end())

    async def _end(self) -> None:
        try:
            if self.sandbox is not None:
                await self._shut_down(self.sandbox)
                await self.sandbox.kill()
        finally:
            if self._company is not None:
                self._company.close()
            if self._output is not None:
                self._output.drain()
                self._output.close()
            self.stream.resume = None
            self._api.close()
            if self._stop_aws is not None:
                await self._stop_aws()
            if not self.ended.done():
                self.ended.set_result(None)

    async def _shut_down(self, sandbox: SandboxEnvironment) -> None:
        if self._company is None or self._company.alone:
            return
        try:
            if self._moving is not None and not self._moving.done():
                await asyncio.wait((self._moving,))
            if self.frozen:
                await sandbox.thaw()
            await self._company.shut_down(self._reason)
        except SandboxError as error:
            log.info("environment %s could not be shut down in order: %s", sandbox.id, error)

    async def release(self) -> None:
        """Give everything back, /tmp included. Call it after `discard`, once no successor will take the /tmp."""
        await asyncio.shield(self.ended)
        if not self._released and self.sandbox is not None:
            self._released = True
            await self.sandbox.release()

    # -- the log ------------------------------------------------------------------------------------------------------

    def log_init_start(self, runtime_version: str, runtime_version_arn: str, again: bool = False) -> None:
        """`again`: within an invocation, after an environment before it has ended. The log has no line for that."""
        build, restored = (runtime_version, runtime_version_arn), self.snap_start is not None and self.snap_start.taken
        if self._company is not None:
            self._company.events.init_began("restore" if restored else "invoke" if again else "init", *build)
        if restored or not again:
            begun = self.lines.restore_start if restored else self.lines.init_start
            self._log(begun(*build, function=self.fv.name, version=self.fv.version))

    def log_init_report(self, init_ms: float, phase: str, failure: Failure) -> None:
        self.not_initialised(init_ms, failure)
        self._log(self.lines.init_report(init_ms, phase, failure))

    def not_initialised(self, after_ms: float, failure: Failure) -> None:
        self._reason = "timeout" if failure.status == "timeout" else "failure"
        if self._company is not None:
            self._company.initialised(after_ms, failure)

    def _log(self, messages: list[str], run: Run | None = None, now: float | None = None) -> None:
        run = run or self._run
        shared = self._shared
        shared.logs.extend(self.stream, int((shared.clock.now() if now is None else now) * 1000), messages)
        if run is not None and run.tail is not None:
            run.tail += messages

    def log_lines(self, messages: list[str]) -> None:
        self._log(messages)

    def _log_function(self, at_ms: int | None, message: str) -> None:
        self.log_output(at_ms, message)
        if self._company is not None:
            self._company.telemetry.emit("function", "function", message)

    def log_output(self, at_ms: int | None, message: str) -> None:
        if at_ms is not None and abs(at_ms - self._shared.clock.now() * 1000) > _BELIEVED_MS:
            at_ms = None  # the function wrote it, so it may say anything; the log would refuse the whole batch
        self._shared.logs.append(self.stream, at_ms, message)
        run = self._run
        if run is not None and run.tail is not None:
            tail = run.tail
            tail.append(message if message.endswith("\n") else message + "\n")
            if len(tail) > _TAIL_BYTES:
                # Every message has at least one byte: older ones can no longer be in the tail.
                del tail[: -_TAIL_BYTES // 2]

    def _resume_output(self) -> None:
        if self._output is not None:
            self._output.resume()
        if self._company is not None:
            self._company.resume_output()

    def log_full(self) -> bool:
        return self._shared.logs.full(self.stream)

    def _read_peak(self, now: float) -> None:
        if self.sandbox is not None:
            self._peak_read = now
            self._peak_bytes = max(self._peak_bytes, self.sandbox.memory_peak())
