"""Executes the queue's jobs and settles them: one function decides what becomes of each.

An event: run the function; done (and what OnSuccess wants), or again after a minute, then two, or OnFailure and the
dead-letter queue; throttles and the service's own errors back off until the event is too old. A delivery: one call
through the dispatcher, again while it fails for reasons that may pass.
Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html, contract §11.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from alonzo.core.arn import arn, parse_arn
from alonzo.core.clock import Clock
from alonzo.core.context import Context, Principal
from alonzo.core.errors import NotImplementedOperation, ServiceError
from alonzo.core.tracing import MAX_LOOPS, loops_of
from alonzo.dispatch import Attempt, Dispatcher
from alonzo.engine.destinations import record, to_dead_letter, to_destination
from alonzo.engine.function import FunctionVersion, Invocation, InvokeResult
from alonzo.engine.growth import LOOK_S, Growth, Machine
from alonzo.engine.invoker import Invoker
from alonzo.engine.jobs import AsyncEvent, Delivery, Job, Settlement
from alonzo.engine.queue import Lane, Queue
from alonzo.engine.rush import Rush
from alonzo.engine.source import EventConfig, FunctionSource
from alonzo.engine.tasks import Tasks

log = logging.getLogger(__name__)

_LONGEST_BACKOFF_S = 300.0
#: A delivery is given up after this time. Source: AWS keeps trying an asynchronous hand-over for six hours.
_DELIVERY_AGE_S = 21_600.0
_CALL_DEADLINE_S = 120.0

#: Events of one function at a time, for each processor: at first, and at most, whatever helps (`growth`).
EVENTS_FIRST_PER_CPU = 2
LANE_MOST_PER_CPU = 32
#: Deliveries begin with more: they need no environments, and those that run together are written together.
DELIVERIES_FIRST_PER_CPU = 8


class Deliverer:
    """Takes jobs off the queue's lanes, in turn, and runs them."""

    def __init__(
        self,
        queue: Queue,
        invoker: Invoker,
        dispatcher: Dispatcher,
        clock: Clock,
        tasks: Tasks,
        functions: Callable[[], FunctionSource | None],
        *,
        retry_base_s: float,
        throttle_base_s: float,
        concurrency: int,
        machine: Machine | None = None,
    ) -> None:
        self._queue = queue
        self._invoker = invoker
        self._dispatcher = dispatcher
        self._clock = clock
        self._tasks = tasks
        self._functions = functions
        self._source: FunctionSource | None = None
        self._now = asyncio.get_running_loop().time
        self._retry_base_s = retry_base_s
        self._throttle_base_s = throttle_base_s
        self._limit = concurrency
        self._machine = machine or Machine(lambda: 0)
        self._lane_most = min(concurrency, LANE_MOST_PER_CPU * self._machine.processors)
        self._running = 0
        self._growing: asyncio.TimerHandle | None = None
        self._rush = Rush()
        self._rest: asyncio.TimerHandle | None = None
        self._pumping = False
        self._pump_soon = False
        self._closing = False
        queue.pump = self.pump
        queue.waits = self._watch

    # -- starting jobs ------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Start what may start, one job of each lane in turn."""
        ready = self._queue.ready
        if not ready or self._pumping:
            return
        self._rush.look(self._now(), self._queue.arrivals)
        self._pumping = True
        try:
            while ready and self._running < self._limit and not self._closing:
                if not self._rush.take():
                    if self._rest is None:
                        self._rest = asyncio.get_running_loop().call_at(self._rush.ends, self._rested)
                    return
                lane = ready.popleft()
                lane.queued = False
                if not lane.jobs or lane.running >= lane.limit:
                    continue
                job = lane.jobs.popleft()
                lane.running += 1
                self._running += 1
                self._start(job, lane)
                if lane.jobs:
                    self._queue.line_up(lane)
                    self._watch(lane)
        finally:
            self._pumping = False

    def _start(self, job: Job, lane: Lane) -> None:
        if isinstance(job.what, AsyncEvent):
            self._begin_event(job, job.what, lane)
        else:
            self._tasks.start(self._deliver(job, job.what, lane))

    def _ended(self, job: Job, lane: Lane, settlement: Settlement | None) -> None:
        """A job is through with; without a settlement it runs again at the next start of the server."""
        try:
            if settlement is not None:
                self._queue.settle(settlement)
        finally:
            self._running -= 1
            self._queue.finished(lane, job)
            if not self._pump_soon:
                # Not at once: the environment that has answered is about to say so to its pool.
                self._pump_soon = True
                asyncio.get_running_loop().call_soon(self._pump_later)

    def _pump_later(self) -> None:
        self._pump_soon = False
        self.pump()

    def _set_limits(self, lane: Lane, first: int, reserved: int | None) -> Growth:
        """A function never gets more at a time than is reserved for it: the rest would only be throttled."""
        most = self._lane_most if reserved is None else min(self._lane_most, reserved)
        growth = lane.growth
        if growth is None:
            growth = lane.growth = Growth(first, most, self._now())
            growth.limit = max(1, min(growth.limit, first - self._machine.starting()))
        elif growth.most == most:
            return growth
        growth.bound(most)
        self._set_limit(lane, growth.limit)
        self.pump()
        self._watch(lane)
        return growth

    def _set_limit(self, lane: Lane, limit: int) -> None:
        if limit != lane.limit:
            lane.limit = limit
            self._queue.line_up(lane)

    def _rested(self) -> None:
        self._rest = None
        self.pump()

    def _watch(self, lane: Lane) -> None:
        """If a lane has used up its places, begin to look whether more would help."""
        if self._growing is not None or self._closing:
            return
        growth = lane.growth
        if growth is not None and lane.jobs and lane.running >= lane.limit:
            # Nobody has looked lately: what was counted then, and how busy the machine was, is old.
            now = self._now()
            growth.again(now)
            self._machine.idle(now)
            self._look_later()

    def _look_later(self) -> None:
        self._growing = asyncio.get_running_loop().call_later(LOOK_S, self._grow)

    def _grow(self) -> None:
        """Look at every lane that has used up its places: see `growth`."""
        self._growing = None
        machine, now = self._machine, self._now()
        idle = machine.idle(now)
        room, starting = machine.room(idle), machine.starting()
        again = False
        # Those with the fewest places first: there may not be room for all.
        for lane in sorted(self._queue.lanes.values(), key=_places):
            growth = lane.growth
            if growth is None:
                continue
            if not lane.jobs or lane.running < lane.limit:
                growth.again(now)
                continue
            again = True
            growth.look(now, room=room, starting=starting, idle=idle)
            room -= max(growth.limit - lane.limit, 0)
            self._set_limit(lane, growth.limit)
        if again and not self._closing:
            self._look_later()
        self.pump()

    def close(self) -> None:
        """Start nothing more; what runs is settled if it ends in time, and runs again at the next start if not."""
        self._closing = True
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._growing is not None:
            self._growing.cancel()
            self._growing = None

    # -- events -------------------------------------------------------------------------------------------------------

    def _begin_event(self, job: Job, event: AsyncEvent, lane: Lane) -> None:
        """Run an event's function, without a task: `settled` is told how it ended."""
        checked = self._check(job, event, lane)
        if isinstance(checked, Settlement):
            self._ended(job, lane, checked)
            return
        fv, config, growth = checked
        began, epoch = self._now(), growth.epoch

        def settled(result: InvokeResult | None, error: BaseException | None) -> None:
            settlement: Settlement | None = None
            try:
                if result is not None:
                    growth.ran(epoch, self._now() - began)
                settlement = self._outcome(job, event, fv, config, result, error)
            finally:
                self._ended(job, lane, settlement)

        invocation = Invocation(
            event.request_id, event.payload, event.invoked_arn, event.client_context, event.trace_header, queued=True
        )
        try:
            self._invoker.begin(fv, invocation, settled)
        except Exception as error:
            settled(None, error)

    def _check(
        self, job: Job, event: AsyncEvent, lane: Lane
    ) -> tuple[FunctionVersion, EventConfig, Growth] | Settlement:
        """What an event's run needs; or what becomes of the event without one."""
        try:
            fv, config = self._resolve(event)
        except ServiceError as error:
            return self._unresolved(job, error)
        except Exception as error:
            log.exception("event %s cannot be resolved", event.request_id)
            return self._back_off(job, str(error), self._default_age_ends(job))
        if fv.reserved_concurrency == 0:
            return self._failed(job, event, fv, config, "ZeroReservedConcurrency", None, count=0)
        first = EVENTS_FIRST_PER_CPU * self._machine.processors
        growth = self._set_limits(lane, first, fv.reserved_concurrency)
        if self._clock.now() - job.enqueued_at > config.max_age_s:
            return self._failed(job, event, fv, config, "EventAgeExceeded", None)
        if not fv.loops_allowed and loops_of(event.trace_header, fv.arn) >= MAX_LOOPS:
            log.warning("event %s dropped: recursive loop function=%s", event.request_id, fv.arn)
            return self._failed(job, event, fv, config, "RecursiveInvocation", None, count=0)
        return replace(fv, tenant=event.tenant) if event.tenant else fv, config, growth

    def _outcome(
        self,
        job: Job,
        event: AsyncEvent,
        fv: FunctionVersion,
        config: EventConfig,
        result: InvokeResult | None,
        error: BaseException | None,
    ) -> Settlement | None:
        if result is None:
            if not isinstance(error, ServiceError):
                log.error("event %s failed", event.request_id, exc_info=error)
                return self._back_off(job, str(error), job.enqueued_at + config.max_age_s)
            if self._closing:
                return None  # stopped under way
            return self._not_run(job, event, fv, config, error)
        job.tries += 1
        if not result.function_error:
            follow_up = self._succeeded(event, fv, config, job, result) if config.on_success else ()
            return Settlement(job, follow_up=follow_up)
        return self._function_failed(job, event, fv, config, result)

    def _resolve(self, event: AsyncEvent) -> tuple[FunctionVersion, EventConfig]:
        functions = self._source
        if functions is None:
            functions = self._source = self._functions()
            if functions is None:
                raise RuntimeError("the engine has no source of functions")
        where = (event.account_id, event.region, event.function_name, event.qualifier)
        return functions.resolve(*where), functions.event_config(*where)

    def _unresolved(self, job: Job, error: ServiceError) -> Settlement:
        if error.status == 404:
            log.warning("event %s dropped: %s", job.what.id, error)
            return Settlement(job)  # the function has been deleted, and its destinations with it
        return self._back_off(job, str(error), self._default_age_ends(job))

    def _default_age_ends(self, job: Job) -> float:
        return job.enqueued_at + EventConfig().max_age_s

    def _not_run(
        self, job: Job, event: AsyncEvent, fv: FunctionVersion, config: EventConfig, error: ServiceError
    ) -> Settlement:
        """Throttled, or no environment could be made: again, until the event is too old."""
        too_old_at = job.enqueued_at + config.max_age_s
        if self._clock.now() >= too_old_at:
            return self._failed(job, event, fv, config, "EventAgeExceeded", None)
        return self._back_off(job, str(error), too_old_at)

    def _back_off(self, job: Job, why: str, too_old_at: float) -> Settlement:
        """One second, doubling to five minutes; the last try is when the event gets too old, so that it is reported."""
        now = self._clock.now()
        delay_s = min(self._throttle_base_s * 2 ** min(job.throttles, 30), _LONGEST_BACKOFF_S)
        job.throttles += 1
        job.last_error = why
        if now >= too_old_at:
            log.warning("%s dropped, too old: %s", job.what.id, why)
            return Settlement(job)
        return Settlement(job, max(min(now + delay_s, too_old_at + 0.001), now + 0.001))

    def _function_failed(
        self, job: Job, event: AsyncEvent, fv: FunctionVersion, config: EventConfig, result: InvokeResult
    ) -> Settlement:
        job.failures += 1
        job.last_error = result.payload[:500].decode("utf-8", "replace")
        if job.failures > config.max_retries:
            return self._failed(job, event, fv, config, "RetriesExhausted", result)
        now = self._clock.now()
        due_at = now + self._retry_base_s * 2 ** (job.failures - 1)
        if due_at > job.enqueued_at + config.max_age_s:
            return self._failed(job, event, fv, config, "EventAgeExceeded", result)
        return Settlement(job, max(due_at, now + 0.001))

    def _succeeded(
        self, event: AsyncEvent, fv: FunctionVersion, config: EventConfig, job: Job, result: InvokeResult
    ) -> tuple[Delivery, ...]:
        document = record(event, fv, "Success", job.tries, result, self._clock.now())
        return self._follow_up(lambda: to_destination(config.on_success, event, fv, document, success=True))

    def _failed(
        self,
        job: Job,
        event: AsyncEvent,
        fv: FunctionVersion,
        config: EventConfig,
        condition: str,
        result: InvokeResult | None,
        count: int | None = None,
    ) -> Settlement:
        """Given up: OnFailure's destination and the dead-letter queue both hear of it."""
        follow_up: tuple[Delivery, ...] = ()
        if config.on_failure:
            tries = job.tries if count is None else count
            document = record(event, fv, condition, tries, result, self._clock.now())
            follow_up += self._follow_up(lambda: to_destination(config.on_failure, event, fv, document, success=False))
        if config.dead_letter:
            follow_up += self._follow_up(lambda: to_dead_letter(config.dead_letter, event, fv, result))
        return Settlement(job, follow_up=follow_up)

    def _follow_up(self, make: Callable[[], Delivery]) -> tuple[Delivery, ...]:
        try:
            return (make(),)
        except ValueError as error:
            log.warning("outcome not delivered: %s", error)
            return ()

    # -- deliveries ---------------------------------------------------------------------------------------------------

    async def _deliver(self, job: Job, delivery: Delivery, lane: Lane) -> None:
        settlement: Settlement | None = None
        try:
            growth = self._set_limits(lane, DELIVERIES_FIRST_PER_CPU * self._machine.processors, None)
            settlement = await self._run_delivery(job, delivery, growth)
        finally:
            self._ended(job, lane, settlement)

    async def _run_delivery(self, job: Job, delivery: Delivery, growth: Growth) -> Settlement | None:
        job.tries += 1
        began, epoch = self._now(), growth.epoch
        again_s: float | None = None
        service = self._dispatcher.services.get(delivery.service)
        handler = service.jobs.get(delivery.operation) if service is not None else None
        try:
            async with asyncio.timeout(_CALL_DEADLINE_S):
                if handler is not None:
                    attempt = Attempt(job.tries, self._clock.now() - job.enqueued_at)
                    again_s = await handler(_context(delivery), dict(delivery.params), attempt)
                else:
                    call = self._dispatcher.call(
                        _context(delivery), delivery.service, delivery.operation, dict(delivery.params)
                    )
                    if delivery.service == "lambda" and job.tries == 1:
                        with self._queue.hand_over(job):
                            await call
                    else:
                        await call
        except ServiceError as error:
            if self._closing:
                return None
            if not _may_pass(error):
                log.warning("delivery %s to %s dropped: %s", delivery.id, delivery.service, error)
                return Settlement(job)
            return self._back_off(job, str(error), job.enqueued_at + _DELIVERY_AGE_S)
        except Exception as error:
            if self._closing:
                return None
            log.exception("delivery %s failed", delivery.id)
            return self._back_off(job, repr(error), job.enqueued_at + _DELIVERY_AGE_S)
        growth.ran(epoch, self._now() - began)
        return Settlement(job, None if again_s is None else self._clock.now() + max(again_s, 0.001))


def _places(lane: Lane) -> int:
    return lane.limit


def _may_pass(error: ServiceError) -> bool:
    if isinstance(error, NotImplementedOperation):
        return False
    return error.status >= 500 or error.status in (409, 429) or "Throttl" in error.code


def _context(delivery: Delivery) -> Context:
    return Context(
        delivery.account_id,
        delivery.region,
        _principal(delivery),
        delivery.id,
        source_arn=delivery.source_arn,
        source_account=delivery.account_id,
        trace_header=delivery.trace_header,
    )


def _principal(delivery: Delivery) -> Principal:
    if not delivery.principal.startswith("arn:"):
        return Principal.service(delivery.principal, delivery.account_id)
    role = parse_arn(delivery.principal)
    name = role.resource.rpartition("/")[2]
    session = arn("sts", "", role.account_id, f"assumed-role/{name}/{delivery.labels.get('function', 'lambda')}")
    return Principal("role", role.account_id, session, role_arn=delivery.principal, name=name)
