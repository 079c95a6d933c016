"""Runs one invocation: a place in the concurrency limits, an environment, the answer."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from alonzo.core.errors import ServiceError
from alonzo.engine.concurrency import Concurrency
from alonzo.engine.environments import ExecutionEnvironment, Surroundings
from alonzo.engine.function import FunctionVersion, Invocation, InvokeResult
from alonzo.engine.hosts import Host
from alonzo.engine.log_lines import Restored
from alonzo.engine.outcome import Failure, exit_failure, timeout_failure
from alonzo.engine.pools import Pool, Pools
from alonzo.engine.runs import Run, Settled, into
from alonzo.engine.streaming import ResponseStream
from alonzo.sandbox.base import Exit

#: Initialisation gets ten seconds; after that it is run again within the invocation, on the function's own time-out.
#: Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
INIT_LIMIT_S = 10.0
_INIT_TIMEOUT = Failure("timeout", "")


def stopping() -> ServiceError:
    """What an invocation gets that the server's stop cuts off."""
    return ServiceError("ServiceException", "The server is stopping.", status=503, fields={"Type": "Service"})


class Invoker:
    """See the module."""

    def __init__(
        self, pools: Pools, host: Host, concurrency: Concurrency, shared: Surroundings, *, stream_rate: float = 0.0
    ) -> None:
        """`stream_rate` is what a streamed response may take after its burst, in bytes a second (0: no limit)."""
        self._pools = pools
        self._host = host
        self._concurrency = concurrency
        self._shared = shared
        self._stream_rate = stream_rate
        self.closing = False

    async def invoke(self, fv: FunctionVersion, invocation: Invocation) -> InvokeResult:
        """Run the function once and wait for its answer. Cancelling the caller does not stop the function.

        Raises ServiceError: TooManyRequestsException (429; decided here and nowhere else), or why no environment can
        be made. What the function itself did wrong is in the result (`function_error`).
        """
        future: asyncio.Future[InvokeResult] = asyncio.get_running_loop().create_future()
        self.begin(fv, invocation, into(future))
        return await future

    def begin(self, fv: FunctionVersion, invocation: Invocation, settled: Settled) -> None:
        """As `invoke`, without waiting: `settled` is told the answer, or the error that `invoke` would raise.

        What is decided at once (429 above all) is raised, and then `settled` is told nothing.
        """
        if self.closing or fv.tenant_isolation:
            self._check(fv)
        run = Run(invocation, settled, self._concurrency.acquire(fv, rated=not invocation.queued))
        environment = self._pools.take_nowait(fv)
        if environment is not None and not environment.frozen:
            environment.run(run)
        else:
            self._launch(fv, run, environment)

    async def stream(self, fv: FunctionVersion, invocation: Invocation) -> ResponseStream:
        """As `invoke`, but returns as soon as the response begins, with what there is of it then."""
        self._check(fv)
        stream = ResponseStream(self._stream_rate)
        run = Run(invocation, None, self._concurrency.acquire(fv, rated=not invocation.queued), stream)
        self._launch(fv, run, self._pools.take_nowait(fv))
        try:
            await stream.began
        except BaseException:
            stream.abandon()
            raise
        return stream

    def _check(self, fv: FunctionVersion) -> None:
        if self.closing:
            raise stopping()
        if fv.tenant_isolation and not fv.tenant:
            raise ServiceError(
                "InvalidParameterValueException",
                "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and"
                " try again.",
                fields={"Type": "User"},
            )

    def _launch(self, fv: FunctionVersion, run: Run, environment: ExecutionEnvironment | None) -> None:
        if environment is None:
            if not self._pools.wait_nowait(fv, run, partial(self._begin, fv)):
                self._begin(fv, run)
        elif environment.frozen:
            self._begin(fv, run, environment)
        else:
            environment.run(run)

    def _begin(self, fv: FunctionVersion, run: Run, environment: ExecutionEnvironment | None = None) -> None:
        self._shared.tasks.start(self._run_later(fv, run, environment))

    async def _run_later(self, fv: FunctionVersion, run: Run, environment: ExecutionEnvironment | None) -> None:
        """The ways that wait: for a frozen environment, or for a new one."""
        try:
            while environment is not None:
                await environment.thaw()
                if environment.usable:
                    environment.run(run)
                    return
                environment = self._pools.take_nowait(fv)
            await self._cold(fv, run)
        except BaseException as error:
            run.release()
            run.fail(_as_service_error(error))
            if not isinstance(error, ServiceError):
                raise

    async def _cold(self, fv: FunctionVersion, run: Run) -> None:
        self._concurrency.scale(fv)
        with self._pools.room(fv) as pool:
            environment = await self._start_for(run, fv, pool)
            if environment is None:
                self._concurrency.unscale(fv)
                return
            try:
                failure = await _initialised(environment, self._pools.starting, INIT_LIMIT_S, _INIT_TIMEOUT)
                init_ms = (time.perf_counter() - environment.began) * 1000
                was_taken = environment.snap_start is not None and environment.snap_start.taken is not None
                if was_taken:
                    run.restored = _restored(environment, failure)
                elif failure is None:
                    run.init_ms = init_ms
                if failure is not None:
                    if was_taken:
                        self._host.distrust(environment)
                        run.restored = None
                    else:
                        environment.log_init_report(min(init_ms, INIT_LIMIT_S * 1000), "init", failure)
                    environment.discard()
                    environment, failure = await self._init_again(fv, run, environment)
                if failure is None:
                    await environment.ready()
            except BaseException:
                environment.discard(keep_tmp=False)
                self._shared.tasks.start(environment.release())
                raise
            if failure is not None:
                environment.fail_run(run, failure)
                environment.discard()
                pool.bequeath(environment)
                return
            pool.add(environment)
            if environment.usable:
                environment.run(run)
            else:  # the process ended between its first `next` and now
                environment.fail_run(run, environment.death or exit_failure(Exit(0, None)))

    async def _start_for(self, run: Run, fv: FunctionVersion, pool: Pool) -> ExecutionEnvironment | None:
        """A new environment for `run`; None: while that waited for its turn, one that had become idle took the run."""
        heir = pool.inherit()
        taken = pool.queue(run) if heir is None else None
        try:
            return await self._start(fv, heir, taken)
        except BaseException:
            if taken is None or taken.cancel() or taken.cancelled():
                raise
            return None

    async def _init_again(
        self, fv: FunctionVersion, run: Run, failed: ExecutionEnvironment
    ) -> tuple[ExecutionEnvironment, Failure | None]:
        """Initialisation within the invocation: what it takes counts against the function's own time-out."""
        environment = await self._start(fv, failed)
        limit_s = float(fv.timeout_s)
        try:
            failure = await _initialised(environment, self._pools.starting, limit_s, timeout_failure(limit_s))
        except BaseException:
            environment.discard(keep_tmp=False)
            self._shared.tasks.start(environment.release())
            raise
        run.spent_ms = (time.perf_counter() - environment.began) * 1000
        if failure is not None:
            environment.log_init_report(min(run.spent_ms, limit_s * 1000), "invoke", failure)
        return environment, failure

    async def _start(
        self,
        fv: FunctionVersion,
        heir_of: ExecutionEnvironment | None,
        needless: asyncio.Future[None] | None = None,
    ) -> ExecutionEnvironment:
        if heir_of is None:
            environment = await self._host.start(fv, needless=needless)
        else:
            await asyncio.shield(heir_of.ended)
            try:
                environment = await self._host.start(fv, heir_of)
            finally:
                self._shared.tasks.start(heir_of.release())
        if self.closing:
            environment.discard(keep_tmp=False)
            self._shared.tasks.start(environment.release())
            raise stopping()
        self._pools.starting.add(environment)
        return environment


async def _initialised(
    environment: ExecutionEnvironment, starting: set[ExecutionEnvironment], limit_s: float, late: Failure
) -> Failure | None:
    """None once the runtime is ready; otherwise why it is not. `limit_s` counts from the environment's start."""
    try:
        return await environment.wait_initialised(limit_s, late)
    finally:
        starting.discard(environment)


def _restored(environment: ExecutionEnvironment, failure: Failure | None) -> Restored:
    """How long it took; raises what an invocation gets whose environment failed in a hook, or took too long over it.

    Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors
    """
    assert environment.snap_start is not None
    restored = environment.snap_start.restored(environment.began)
    if failure is not None:
        environment.not_initialised(restored.duration_ms, failure)
    environment.log_lines(environment.lines.restore_report(restored.duration_ms, failure))
    if failure is not None and failure is environment.snap_start.error:
        text = "The afterRestore() runtime hook encountered an error. For more information, check the CloudWatch logs."
        raise ServiceError("SnapStartException", text, status=400, fields={"Type": "User"})
    if failure is _INIT_TIMEOUT:
        text = "Lambda couldn't restore the snapshot within the timeout limit."
        raise ServiceError("SnapStartTimeoutException", text, status=408, fields={"Type": "User"})
    return restored


def _as_service_error(error: BaseException) -> BaseException:
    if isinstance(error, asyncio.CancelledError):
        return stopping()
    return error
