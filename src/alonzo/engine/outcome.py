"""What a client gets when a function fails, and how the log says so.

Source: execution-environment contract §4 and §5 (recorded on AWS).
"""

from __future__ import annotations

import signal as signals

import orjson

from alonzo.core.dataclasses import dataclass
from alonzo.engine.runtime_state import MAX_RESPONSE
from alonzo.engine.streaming import MAX_STREAMED
from alonzo.sandbox.base import Exit

UNHANDLED = "Unhandled"

#: Go's names of signals, which AWS's texts use.
_SIGNALS = {
    signals.SIGABRT: "aborted",
    signals.SIGBUS: "bus error",
    signals.SIGFPE: "floating point exception",
    signals.SIGHUP: "hangup",
    signals.SIGILL: "illegal instruction",
    signals.SIGINT: "interrupt",
    signals.SIGKILL: "killed",
    signals.SIGPIPE: "broken pipe",
    signals.SIGQUIT: "quit",
    signals.SIGSEGV: "segmentation fault",
    signals.SIGTERM: "terminated",
    signals.SIGTRAP: "trace/breakpoint trap",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an invocation (or an initialisation) failed.

    `status` is REPORT's: "error" or "timeout"; `error_type` what the log names. `payload` is the client's answer, or
    None where it is made from `error_type` and `message` with the request id. `message` "" means that the log has no
    line of its own (the function reported the error itself). `report_type` is REPORT's error type where it differs.
    """

    status: str
    error_type: str
    message: str = ""
    payload: bytes | None = None
    report_type: str = ""

    def answer(self, request_id: str) -> bytes:
        if self.payload is not None:
            return self.payload
        return orjson.dumps(
            {"errorType": self.error_type, "errorMessage": f"RequestId: {request_id} Error: {self.message}"}
        )


def exit_words(ended: Exit) -> str:
    """How a process ended, in Go's words: `exit status 3`, `signal: killed`."""
    if ended.signal is None:
        return f"exit status {ended.code}"
    try:
        return f"signal: {_SIGNALS.get(signals.Signals(ended.signal), f'signal {ended.signal}')}"
    except ValueError:
        return f"signal: signal {ended.signal}"


def exit_failure(ended: Exit) -> Failure:
    """The runtime process ended by itself, or memory ended it."""
    if ended.oom:
        # The client's answer and the crash line name the exit; only REPORT names the memory.
        return Failure(
            "error",
            "Runtime.ExitError",
            "Runtime exited with error: signal: killed",
            report_type="Runtime.OutOfMemory",
        )
    if ended.signal is None and not ended.code:
        return Failure("error", "Runtime.ExitError", "Runtime exited without providing a reason")
    return Failure("error", "Runtime.ExitError", f"Runtime exited with error: {exit_words(ended)}")


def timeout_failure(timeout_s: float) -> Failure:
    return Failure("timeout", "Sandbox.Timedout", f"Task timed out after {timeout_s:.2f} seconds")


def entrypoint_failure(message: str) -> Failure:
    return Failure("error", "Runtime.InvalidEntrypoint", message)


TOO_LARGE = Failure(
    "error",
    "Function.ResponseSizeTooLarge",
    payload=orjson.dumps(
        {
            "errorMessage": f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes).",
            "errorType": "Function.ResponseSizeTooLarge",
        }
    ),
)

STREAM_TOO_LARGE = Failure(
    "error",
    "Function.ResponseSizeTooLarge",
    payload=orjson.dumps(
        {
            "errorMessage": f"Response payload size exceeded maximum allowed payload size ({MAX_STREAMED} bytes).",
            "errorType": "Function.ResponseSizeTooLarge",
        }
    ),
)

#: The runtime's connection ended in the middle of a streamed response.
TRUNCATED = Failure("error", "Runtime.TruncatedResponse", "Response payload was truncated")
