"""What the engine knows of a function, and what one invocation asks and answers."""

from __future__ import annotations

from collections.abc import Mapping

from alonzo.core.dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CodeRef:
    """A zip archive in the blob store. `sha256` is hexadecimal and names the unpacked folder; `label` is for people."""

    blob_id: str
    sha256: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """One version of a function, immutable: `$LATEST` gets a new `revision` whenever code or configuration changes.

    Environments are reused only for the same (`arn`, `version`, `revision`, `tenant`). `arn` is unqualified, `version`
    is `$LATEST` or digits.
    """

    account_id: str
    region: str
    name: str
    version: str
    arn: str
    revision: str
    runtime: str
    handler: str
    role_arn: str
    code: CodeRef
    layers: tuple[CodeRef, ...] = ()
    memory_mib: int = 128
    timeout_s: int = 3
    tmp_mib: int = 512
    environment: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "x86_64"
    log_group: str = ""
    log_format: str = "Text"
    application_log_level: str = ""
    system_log_level: str = ""
    tracing: str = "PassThrough"
    internet: bool = True
    reserved_concurrency: int | None = None
    initialization_type: str = "on-demand"
    #: Whether a chain of calls may lead back to it as often as it likes.
    loops_allowed: bool = False
    #: Whether each tenant has environments of its own; then `tenant` says whose, and nothing runs without one.
    tenant_isolation: bool = False
    tenant: str = ""
    #: Whether it is initialised when it is published, and environments go on from a snapshot of that.
    snap_start: bool = False

    @property
    def qualified_arn(self) -> str:
        return f"{self.arn}:{self.version}"


@dataclass(slots=True)
class Invocation:
    """One request for a function to run. `payload` is passed on untouched (b"" means no body: the function gets {}).

    This and the result are not frozen, only because it takes three times as long to make them if they are.
    """

    request_id: str
    payload: bytes
    invoked_arn: str
    client_context: str = ""
    trace_header: str = ""
    log_tail: bool = False
    #: It comes from a queue (an accepted event, a mapping): the rate of requests does not count it.
    queued: bool = False


@dataclass(slots=True)
class InvokeResult:
    """What the function answered. `function_error` is "" or "Unhandled"; `log_tail` the last 4 KB of the log."""

    payload: bytes
    executed_version: str
    function_error: str = ""
    log_tail: bytes = b""
