"""The platform's events: shapes as AWS's schema reference has them, in order, for every way an invocation may go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from alonzo.core.clock import SystemClock
from alonzo.core.ids import Ids
from alonzo.engine.function import CodeRef, FunctionVersion
from alonzo.engine.log_lines import Report
from alonzo.engine.outcome import Failure, exit_failure, timeout_failure
from alonzo.engine.platform_events import PlatformEvents
from alonzo.sandbox.base import Exit

FV = FunctionVersion("1", "r", "f", "7", "arn", "1", "python3.11", "app.handler", "role", CodeRef("b", "0" * 64))
TRACE = "Root=1-62e900b2-710d76f009d6e7785905449a;Parent=0efbd19962d95b05;Sampled=1"


class Kept:
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def emit(self, kind: str, type: str, record: Any, at_ms: int | None = None) -> None:
        assert kind == "platform"
        self.events.append((type.removeprefix("platform."), record))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def __getitem__(self, name: str) -> Any:
        return next(record for each, record in self.events if each == name)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def make(kept: Kept, fv: FunctionVersion = FV) -> PlatformEvents:
    return PlatformEvents(kept, fv, "2026/01/01/[7]abc", SystemClock(), Ids(1))  # type: ignore[arg-type]


def report(failure: Failure | None = None, init_ms: float | None = None) -> Report:
    return Report("r", 12.34567, init_ms, 128, 36, failure)


def test_an_initialisation(kept: Kept) -> None:
    """initStart names function, instance and runtime; then initRuntimeDone, each extension, initReport."""
    events = make(kept)
    events.init_began("init", "python:3.11.v1", "arn:runtime")
    events.init_ended(110.12345, None, [{"name": "e", "state": "Ready", "events": ["INVOKE"]}])
    assert kept.names == ["initStart", "initRuntimeDone", "extension", "initReport"]
    assert kept["initStart"] == {
        "initializationType": "on-demand",
        "phase": "init",
        "functionName": "f",
        "functionVersion": "7",
        "instanceId": "2026/01/01/[7]abc",
        "instanceMaxMemory": 128,
        "runtimeVersion": "python:3.11.v1",
        "runtimeVersionArn": "arn:runtime",
    }
    assert kept["initRuntimeDone"] == {"initializationType": "on-demand", "phase": "init", "status": "success"}
    assert kept["initReport"] == {
        "initializationType": "on-demand",
        "phase": "init",
        "status": "success",
        "metrics": {"durationMs": 110.123},
    }


def test_a_restoring(kept: Kept) -> None:
    """restoreStart names function, instance and runtime; then restoreRuntimeDone, each extension, restoreReport."""
    events = make(kept, replace(FV, initialization_type="snap-start"))
    events.init_began("restore", "python:3.13.v1", "arn:runtime")
    events.init_ended(15.19251, None, [{"name": "e", "state": "Ready", "events": ["INVOKE"]}])
    assert kept.names == ["restoreStart", "restoreRuntimeDone", "extension", "restoreReport"]
    assert kept["restoreStart"] == {
        "functionName": "f",
        "functionVersion": "7",
        "instanceId": "2026/01/01/[7]abc",
        "instanceMaxMemory": 128,
        "runtimeVersion": "python:3.13.v1",
        "runtimeVersionArn": "arn:runtime",
    }
    assert kept["restoreRuntimeDone"] == {"status": "success"}
    assert kept["restoreReport"] == {"status": "success", "metrics": {"durationMs": 15.193}}


def test_a_restoring_that_fails(kept: Kept) -> None:
    """Both events name a hook's error; a time-out has none of its own in the report."""
    events = make(kept)
    events.init_began("restore", "", "")
    events.init_ended(5.0, Failure("error", "Runtime.AfterRestoreError"), [])
    error = {"status": "error", "errorType": "Runtime.AfterRestoreError"}
    assert kept["restoreRuntimeDone"] == error
    assert kept["restoreReport"] == {**error, "metrics": {"durationMs": 5.0}}
    kept.events.clear()
    events.init_ended(10_000.0, Failure("timeout", ""), [])
    assert kept["restoreReport"] == {"status": "timeout", "metrics": {"durationMs": 10_000.0}}


def test_a_snapshot_that_is_of_no_use(kept: Kept) -> None:
    """What began as a restoring goes on as an initialisation."""
    events = make(kept, replace(FV, initialization_type="snap-start"))
    events.init_began("restore", "", "")
    events.init_began("init", "", "")
    events.init_ended(5.0, None, [])
    assert kept.names == ["restoreStart", "initStart", "initRuntimeDone", "initReport"]
    assert kept["initReport"]["initializationType"] == "snap-start"


def test_a_failed_initialisation_within_an_invocation(kept: Kept) -> None:
    """The phase is invoke, and both events name the error; a time-out has no error of its own in the report."""
    events = make(kept, replace(FV, initialization_type="provisioned-concurrency"))
    events.init_began("invoke", "", "")
    events.init_ended(5.0, exit_failure(Exit(1, None)), [])
    assert "runtimeVersion" not in kept["initStart"]
    for name in ("initRuntimeDone", "initReport"):
        record = kept[name]
        assert (record["phase"], record["status"], record["errorType"]) == ("invoke", "error", "Runtime.ExitError")
        assert record["initializationType"] == "provisioned-concurrency"
    kept.events.clear()
    events.init_ended(10_000.0, Failure("timeout", ""), [])
    assert kept["initRuntimeDone"]["errorType"] == "Runtime.Unknown"
    assert kept["initReport"]["status"] == "timeout"
    assert "errorType" not in kept["initReport"]


def test_an_invocation_has_spans_and_tracing(kept: Kept) -> None:
    """start, runtimeDone and report carry the same trace context; the spans follow one another."""
    events = make(kept)
    events.began("r", TRACE)
    events.responds()
    events.responded(16)
    events.runtime_done(None)
    events.reported(report(init_ms=100.0), extended=True)
    assert kept.names == ["start", "runtimeDone", "end", "report"]
    start, done, last = kept["start"], kept["runtimeDone"], kept["report"]
    assert (start["requestId"], start["version"]) == ("r", "7")
    assert start["tracing"]["value"] == TRACE
    assert start["tracing"]["type"] == "X-Amzn-Trace-Id"
    assert len(start["tracing"]["spanId"]) == 16
    assert start["tracing"] == done["tracing"] == last["tracing"]
    assert (done["status"], done["metrics"]["producedBytes"]) == ("success", 16)
    assert [span["name"] for span in done["spans"]] == ["responseLatency", "responseDuration", "runtimeOverhead"]
    assert all(span["durationMs"] >= 0 and span["start"].endswith("Z") for span in done["spans"])
    total = sum(span["durationMs"] for span in done["spans"])
    assert total == pytest.approx(done["metrics"]["durationMs"], abs=0.01)
    assert last["metrics"] == {
        "durationMs": 12.346,
        "billedDurationMs": 113,
        "memorySizeMB": 128,
        "maxMemoryUsedMB": 36,
        "initDurationMs": 100.0,
    }
    assert [span["name"] for span in last["spans"]] == ["extensionOverhead"]
    assert last["status"] == "success"


def test_what_was_not_seen_is_left_out(kept: Kept) -> None:
    """No trace, no tracing; no response, no spans; a tenant is named."""
    events = make(kept, replace(FV, tenant="blue"))
    events.began("r", "")
    events.reported(report(timeout_failure(3)), extended=False)
    assert kept.names == ["start", "runtimeDone", "fault", "end", "report"]
    assert kept["start"] == {"requestId": "r", "version": "7", "tenantId": "blue"}
    assert kept["runtimeDone"]["spans"] == []
    assert (kept["runtimeDone"]["status"], kept["report"]["status"]) == ("timeout", "timeout")
    assert "errorType" not in kept["runtimeDone"]
    assert "spans" not in kept["report"]
    assert kept["fault"].endswith("r Task timed out after 3.00 seconds\n\n")


@pytest.mark.parametrize(
    ("failure", "status", "error_type", "fault"),
    [
        (
            exit_failure(Exit(None, 9)),
            "error",
            "Runtime.ExitError",
            "RequestId: r Error: Runtime exited with error: signal: killed\nRuntime.ExitError\n",
        ),
        (
            exit_failure(Exit(None, 9, oom=True)),
            "error",
            "Runtime.OutOfMemory",
            "RequestId: r Error: Runtime exited with error: signal: killed\nRuntime.ExitError\n",
        ),
        (
            Failure("error", "Extension.Crash", "exit code 0"),
            "error",
            "Extension.Crash",
            "RequestId: r Error: exit code 0\nExtension.Crash\n",
        ),
        (
            Failure("error", "Sandbox.Failure", "gone"),
            "failure",
            "Sandbox.Failure",
            "RequestId: r Error: gone\nSandbox.Failure\n",
        ),
        # The function reported it itself: no fault of the platform.
        (Failure("error", "Function.Unknown", payload=b"{}"), "error", "Function.Unknown", None),
    ],
)
def test_failures_are_named(kept: Kept, failure: Failure, status: str, error_type: str, fault: str | None) -> None:
    """runtimeDone and report have status and type; platform.fault is the log's line."""
    events = make(kept)
    events.began("r", TRACE)
    events.reported(report(failure), extended=True)
    for name in ("runtimeDone", "report"):
        assert (kept[name]["status"], kept[name]["errorType"]) == (status, error_type)
    assert [record for name, record in kept.events if name == "fault"] == ([fault] if fault else [])


def test_every_invocation_is_done_once(kept: Kept) -> None:
    """runtime_done twice, or after the report, says nothing more."""
    events = make(kept)
    events.began("r", TRACE)
    events.runtime_done(None)
    events.runtime_done(None)
    events.reported(report(), extended=False)
    events.reported(report(), extended=False)
    events.runtime_done(None)
    assert kept.names == ["start", "runtimeDone", "end", "report"]
