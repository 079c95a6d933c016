"""The platform's own telemetry: one environment's initialisation and invocations as events.

Source: https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html; platform.end and platform.fault
are the Logs API's (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-logs-api.html).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from alonzo.core.clock import Clock
from alonzo.core.ids import Ids
from alonzo.engine.function import FunctionVersion
from alonzo.engine.log_lines import Report, TextLines, iso_ms
from alonzo.engine.outcome import Failure
from alonzo.engine.telemetry import Telemetry


class _Invocation:
    """One under way. Moments are of `perf_counter`; 0.0: not yet."""

    __slots__ = ("began", "done", "first", "last", "produced", "request_id", "tracing", "wall")

    def __init__(self, request_id: str, tracing: dict[str, str] | None, wall: float) -> None:
        self.request_id = request_id
        self.tracing = tracing
        self.wall = wall
        self.began = time.perf_counter()
        #: The response's first and last byte, and the runtime's next request for an event.
        self.first = self.last = self.done = 0.0
        self.produced = 0


class PlatformEvents:
    """Emits them. Every moment of an invocation is told in order; what was not told is left out of the spans."""

    def __init__(self, telemetry: Telemetry, fv: FunctionVersion, instance_id: str, clock: Clock, ids: Ids) -> None:
        self._telemetry = telemetry
        self._fv = fv
        self._instance_id = instance_id
        self._clock = clock
        self._ids = ids
        self._phase = "init"
        self._now: _Invocation | None = None

    def _emit(self, name: str, record: Any) -> None:
        self._telemetry.emit("platform", f"platform.{name}", record)

    # -- initialisation -----------------------------------------------------------------------------------------------

    def init_began(self, phase: str, runtime_version: str, runtime_version_arn: str) -> None:
        """`phase` is "init", "invoke" for one that is repeated within an invocation, or "restore" from a snapshot."""
        self._phase = phase
        record = self._initialisation() | {
            "functionName": self._fv.name,
            "functionVersion": self._fv.version,
            "instanceId": self._instance_id,
            "instanceMaxMemory": self._fv.memory_mib,
        }
        if runtime_version:
            record["runtimeVersion"] = runtime_version
        if runtime_version_arn:
            record["runtimeVersionArn"] = runtime_version_arn
        self._emit("restoreStart" if phase == "restore" else "initStart", record)

    def _initialisation(self) -> dict[str, Any]:
        if self._phase == "restore":
            return {}
        return {"initializationType": self._fv.initialization_type, "phase": self._phase}

    def init_ended(self, init_ms: float, failure: Failure | None, extensions: Iterable[dict[str, Any]]) -> None:
        """The runtime and all extensions are ready, or not; `extensions` are platform.extension's records."""
        name = "restore" if self._phase == "restore" else "init"
        done: dict[str, Any] = {**self._initialisation(), "status": "success"}
        report = {**done, "metrics": {"durationMs": round(init_ms, 3)}}
        if failure is not None:
            # A time-out has no error of its own; AWS's emulator says that its platform does it so.
            late = failure.status == "timeout"
            done |= {"status": "error", "errorType": "Runtime.Unknown" if late else failure.error_type}
            report |= {"status": failure.status} | ({} if late else {"errorType": failure.error_type})
        self._emit(f"{name}RuntimeDone", done)
        for extension in extensions:
            self._emit("extension", extension)
        self._emit(f"{name}Report", report)

    # -- extensions ---------------------------------------------------------------------------------------------------

    def subscribed(self, api: str, record: dict[str, Any]) -> None:
        """`api` is "telemetry" or "logs"."""
        self._emit(f"{api}Subscription", record)

    # -- invocations --------------------------------------------------------------------------------------------------

    def began(self, request_id: str, trace: str) -> None:
        """An invocation has been handed to the runtime, or never will be because its initialisation failed in it."""
        tracing = {"spanId": self._ids.hex(16), "type": "X-Amzn-Trace-Id", "value": trace} if trace else None
        self._now = _Invocation(request_id, tracing, self._clock.now())
        record: dict[str, Any] = {"requestId": request_id, "version": self._fv.version}
        if self._fv.tenant:
            record["tenantId"] = self._fv.tenant
        self._emit("start", record | self._traced(self._now))

    @staticmethod
    def _traced(invocation: _Invocation) -> dict[str, Any]:
        return {"tracing": invocation.tracing} if invocation.tracing else {}

    def responds(self) -> None:
        """The first bytes of the response are there."""
        if self._now is not None and not self._now.first:
            self._now.first = time.perf_counter()

    def responded(self, produced: int) -> None:
        """All of it is."""
        self.responds()
        if self._now is not None:
            self._now.last = time.perf_counter()
            self._now.produced = produced

    def runtime_done(self, failure: Failure | None) -> None:
        """The runtime asks for the next event, or has ended."""
        now = self._now
        if now is None or now.done:
            return
        now.done = time.perf_counter()
        record: dict[str, Any] = {"requestId": now.request_id, **_status(failure)}
        record["metrics"] = {"durationMs": _ms(now.began, now.done), "producedBytes": now.produced}
        spans = []
        if now.first and now.last:
            spans = [
                self._span(now, "responseLatency", now.began, now.first),
                self._span(now, "responseDuration", now.first, now.last),
                self._span(now, "runtimeOverhead", now.last, now.done),
            ]
        self._emit("runtimeDone", record | self._traced(now) | {"spans": spans})

    def reported(self, report: Report, extended: bool) -> None:
        """The invocation is over; `extended`: extensions saw it."""
        self.runtime_done(report.failure)
        now, self._now = self._now, None
        if now is None:
            return
        failure = report.failure
        if failure is not None and failure.payload is None:
            for line in TextLines().failed(report.request_id, failure, self._clock.now()):
                self._emit("fault", line)
        self._emit("end", {"requestId": report.request_id})
        record: dict[str, Any] = {"requestId": report.request_id, "metrics": report.metrics(), **_status(failure)}
        if extended:
            record["spans"] = [self._span(now, "extensionOverhead", now.done, time.perf_counter())]
        self._emit("report", record | self._traced(now))

    @staticmethod
    def _span(invocation: _Invocation, name: str, start: float, end: float) -> dict[str, Any]:
        moment = invocation.wall + start - invocation.began
        return {"name": name, "start": iso_ms(moment), "durationMs": _ms(start, end)}


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)


def _status(failure: Failure | None) -> dict[str, str]:
    if failure is None:
        return {"status": "success"}
    if failure.status == "timeout":
        return {"status": "timeout"}
    error_type = failure.report_type or failure.error_type
    # What is the platform's fault is a failure. Source: AWS's emulator, handling a reset.
    return {"status": "failure" if error_type.startswith("Sandbox.") else failure.status, "errorType": error_type}
