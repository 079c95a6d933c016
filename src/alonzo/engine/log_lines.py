"""The platform's log lines, exactly as AWS writes them, as text or as JSON.

Source: execution-environment contract §4 (recorded on AWS);
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from alonzo.engine.outcome import Failure

_LEVELS = {"DEBUG": 0, "INFO": 1, "WARN": 2}


def iso_ms(epoch_s: float) -> str:
    """`2026-01-31T12:00:00.123Z`."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(epoch_s * 1000) % 1000:03d}Z"


class Restored(NamedTuple):
    """How long restoring a snapshot took, in milliseconds; `billed_ms` is what the runtime and its hooks took of it.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-monitoring.html
    """

    duration_ms: float
    billed_ms: float


class Report:
    """What REPORT says. Times in milliseconds, memory in MiB. One for every invocation, so no frozen dataclass, whose
    making takes three times as long.

    Initialisation is billed with the first invocation.
    Source: https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
    """

    __slots__ = (
        "billed_ms",
        "billed_restore_ms",
        "duration_ms",
        "failure",
        "init_ms",
        "max_memory_mib",
        "memory_mib",
        "request_id",
        "restore_ms",
    )

    def __init__(
        self,
        request_id: str,
        duration_ms: float,
        init_ms: float | None,
        memory_mib: int,
        max_memory_mib: int,
        failure: Failure | None = None,
        restored: Restored | None = None,
    ) -> None:
        self.request_id = request_id
        self.duration_ms = duration_ms
        self.init_ms = init_ms
        self.memory_mib = memory_mib
        self.max_memory_mib = max_memory_mib
        self.failure = failure
        self.restore_ms: float | None = None
        self.billed_restore_ms: int | None = None
        if restored is not None:
            self.restore_ms, self.billed_restore_ms = restored.duration_ms, math.ceil(restored.billed_ms)
        billed = duration_ms if init_ms is None else duration_ms + init_ms
        self.billed_ms = math.ceil(round(billed, 2)) or 1

    def metrics(self) -> dict[str, Any]:
        """As the JSON log and the Telemetry API name them."""
        found: dict[str, Any] = {
            "durationMs": round(self.duration_ms, 3),
            "billedDurationMs": self.billed_ms,
            "memorySizeMB": self.memory_mib,
            "maxMemoryUsedMB": self.max_memory_mib,
        }
        if self.init_ms is not None:
            found["initDurationMs"] = round(self.init_ms, 3)
        if self.restore_ms is not None:
            found["restoreDurationMs"] = round(self.restore_ms, 3)
            found["billedRestoreDurationMs"] = self.billed_restore_ms
        return found


class TextLines:
    """LogFormat Text. Every method answers the messages to store, in order."""

    def init_start(self, runtime_version: str, runtime_version_arn: str, **_: Any) -> list[str]:
        return [f"INIT_START Runtime Version: {runtime_version}\tRuntime Version ARN: {runtime_version_arn}\n"]

    def init_report(self, init_ms: float, phase: str, failure: Failure) -> list[str]:
        line = f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: {phase}\tStatus: {failure.status}"
        return [line + (f"\tError Type: {failure.error_type}\n" if failure.status == "error" else "\n")]

    def snapshot_taken(self, init_ms: float) -> list[str]:
        return [f"INIT_REPORT Init Duration: {init_ms:.2f} ms\n"]

    def restore_start(self, runtime_version: str, runtime_version_arn: str, **_: Any) -> list[str]:
        return [f"RESTORE_START Runtime Version: {runtime_version}\tRuntime Version ARN: {runtime_version_arn}\n"]

    def restore_report(self, restore_ms: float, failure: Failure | None) -> list[str]:
        line = f"RESTORE_REPORT Restore Duration: {restore_ms:.2f} ms"
        if failure is not None:
            line += f"\tStatus: {failure.status}"
            line += f"\tError Type: {failure.error_type}" if failure.status == "error" else ""
        return [line + "\n"]

    def extension(self, record: dict[str, Any]) -> list[str]:
        line = f"EXTENSION\tName: {record['name']}\tState: {record['state']}\tEvents: [{', '.join(record['events'])}]"
        return [line + (f"\tError Type: {record['errorType']}\n" if "errorType" in record else "\n")]

    def subscription(self, api: str, record: dict[str, Any]) -> list[str]:
        kinds = ", ".join(kind.capitalize() for kind in record["types"])
        return [f"{api.upper()}\tName: {record['name']}\tState: {record['state']}\tTypes: [{kinds}]\n"]

    def start(self, request_id: str, version: str) -> list[str]:
        return [f"START RequestId: {request_id} Version: {version}\n"]

    def failed(self, request_id: str, failure: Failure, now: float) -> list[str]:
        if not failure.message:
            return []
        if failure.status == "timeout":
            return [f"{iso_ms(now)} {request_id} {failure.message}\n\n"]
        return [f"RequestId: {request_id} Error: {failure.message}\n{failure.error_type}\n"]

    def end(self, report: Report, version: str) -> list[str]:
        del version
        line = (
            f"REPORT RequestId: {report.request_id}\tDuration: {report.duration_ms:.2f} ms"
            f"\tBilled Duration: {report.billed_ms} ms\tMemory Size: {report.memory_mib} MB"
            f"\tMax Memory Used: {report.max_memory_mib} MB\t"
        )
        if report.init_ms is not None:
            line += f"Init Duration: {report.init_ms:.2f} ms\t"
        if report.restore_ms is not None:
            line += f"Restore Duration: {report.restore_ms:.2f} ms\t"
            line += f"Billed Restore Duration: {report.billed_restore_ms} ms\t"
        failure = report.failure
        if failure is not None and failure.payload is None:
            line += f"Status: {failure.status}"
            if failure.status == "error":
                line += f"\tError Type: {failure.report_type or failure.error_type}"
        return [f"END RequestId: {report.request_id}\n", line + "\n"]


class JsonLines:
    """LogFormat JSON: platform events, filtered by the system log level."""

    def __init__(self, system_level: str) -> None:
        self._least = _LEVELS.get(system_level, 1)

    def _event(self, level: str, kind: str, record: dict[str, Any], now: float | None = None) -> list[str]:
        if _LEVELS[level] < self._least:
            return []
        moment = iso_ms(now) if now is not None else datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        return [orjson.dumps({"time": moment, "type": f"platform.{kind}", "record": record}).decode() + "\n"]

    def init_start(
        self, runtime_version: str, runtime_version_arn: str, *, function: str = "", version: str = ""
    ) -> list[str]:
        return self._event(
            "INFO",
            "initStart",
            {
                "initializationType": "on-demand",
                "phase": "init",
                "runtimeVersion": runtime_version,
                "runtimeVersionArn": runtime_version_arn,
                "functionName": function,
                "functionVersion": version,
            },
        )

    def init_report(self, init_ms: float, phase: str, failure: Failure) -> list[str]:
        record: dict[str, Any] = {
            "initializationType": "on-demand",
            "phase": phase,
            "status": failure.status,
            "metrics": {"durationMs": round(init_ms, 3)},
        }
        if failure.status == "error":
            record["errorType"] = failure.error_type
        return self._event("WARN", "initReport", record)

    def snapshot_taken(self, init_ms: float) -> list[str]:
        record = {"phase": "init", "status": "success", "metrics": {"durationMs": round(init_ms, 3)}}
        return self._event("INFO", "initReport", {"initializationType": "snap-start", **record})

    def restore_start(
        self, runtime_version: str, runtime_version_arn: str, *, function: str = "", version: str = ""
    ) -> list[str]:
        versions = {"runtimeVersion": runtime_version, "runtimeVersionArn": runtime_version_arn}
        return self._event("INFO", "restoreStart", {**versions, "functionName": function, "functionVersion": version})

    def restore_report(self, restore_ms: float, failure: Failure | None) -> list[str]:
        record: dict[str, Any] = {"status": "success" if failure is None else failure.status}
        if failure is not None and failure.status == "error":
            record["errorType"] = failure.error_type
        record["metrics"] = {"durationMs": round(restore_ms, 3)}
        return self._event("INFO" if failure is None else "WARN", "restoreReport", record)

    def extension(self, record: dict[str, Any]) -> list[str]:
        return self._event("INFO", "extension", record)

    def subscription(self, api: str, record: dict[str, Any]) -> list[str]:
        return self._event("INFO", f"{api}Subscription", record)

    def start(self, request_id: str, version: str) -> list[str]:
        return self._event("INFO", "start", {"requestId": request_id, "version": version})

    def failed(self, request_id: str, failure: Failure, now: float) -> list[str]:
        if not failure.message:
            return []
        return TextLines().failed(request_id, failure, now)

    def end(self, report: Report, version: str) -> list[str]:
        del version
        failure = report.failure
        status = "success" if failure is None else failure.status
        level = "INFO" if failure is None else "WARN"
        record: dict[str, Any] = {"requestId": report.request_id, "metrics": report.metrics(), "status": status}
        if failure is not None and failure.error_type:
            record["errorType"] = failure.report_type or failure.error_type
        done: dict[str, Any] = {
            "requestId": report.request_id,
            "status": status,
            "metrics": {"durationMs": round(report.duration_ms, 3)},
        }
        return [
            *self._event("DEBUG" if failure is None else "WARN", "runtimeDone", done),
            *self._event(level, "report", record),
        ]


Lines = TextLines | JsonLines


def lines_of(log_format: str, system_level: str) -> Lines:
    return JsonLines(system_level) if log_format == "JSON" else TextLines()
