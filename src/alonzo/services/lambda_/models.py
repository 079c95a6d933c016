"""What the service keeps, and its limits.

Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alonzo.core.arn import arn
from alonzo.core.dataclasses import dataclass

LATEST = "$LATEST"
#: The published version without a number, which publishing replaces.
LATEST_PUBLISHED = "$LATEST.PUBLISHED"

MAX_ZIPPED = 52_428_800
MAX_UNZIPPED = 262_144_000
MAX_CREATE_REQUEST = 70_167_211
MAX_TOTAL_CODE = 80_530_636_800
MAX_ENVIRONMENT = 4_096
MAX_LAYERS = 5
MAX_TAGS = 50
MAX_POLICY = 20_480
MAX_TIMEOUT_S = 900
MAX_MEMORY_MIB = 10_240
MAX_TMP_MIB = 10_240
MAX_SYNC_PAYLOAD = 6_291_456
MAX_ASYNC_PAYLOAD = 1_048_576
MAX_CLIENT_CONTEXT = 3_583
MIN_UNRESERVED = 100

#: The order is that of AWS's own message.
RUNTIMES = (
    "nodejs20.x",
    "python3.14",
    "provided.al2023",
    "python3.12",
    "python3.13",
    "nodejs24.x",
    "nodejs22.x",
    "java25",
    "python3.10",
    "python3.11",
    "java21",
    "ruby3.3",
    "ruby3.4",
    "ruby3.2",
    "python3.8",
    "python3.9",
    "java17",
    "nodejs16.x",
    "dotnet10",
    "dotnet8",
    "java11",
    "dotnet6",
    "nodejs18.x",
    "provided.al2",
    "java8.al2",
)

#: Known to AWS once, refused for new functions with a text of its own.
RETIRED_RUNTIMES = frozenset(
    {
        "java8",
        "go1.x",
        "provided",
        "ruby2.5",
        "ruby2.7",
        "nodejs",
        "nodejs4.3",
        "nodejs6.10",
        "nodejs8.10",
        "nodejs10.x",
        "nodejs12.x",
        "nodejs14.x",
        "python2.7",
        "python3.6",
        "python3.7",
        "dotnetcore1.0",
        "dotnetcore2.0",
        "dotnetcore2.1",
        "dotnetcore3.1",
    }
)

#: Names that a function's environment may not define.
#: Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
RESERVED_VARIABLES = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
    }
)


@dataclass(frozen=True, slots=True)
class Code:
    """A zip archive: hexadecimal SHA-256, size in bytes, and the size of its content."""

    account_id: str
    sha256: str
    size: int
    unzipped: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer version as a function refers to it."""

    arn: str
    code: Code


@dataclass(frozen=True, slots=True)
class Body:
    """What a function runs: configuration members shaped as the API names them, code and layers.

    `generation` is new whenever any of it changes; environments are reused only for the same one.
    """

    config: Mapping[str, Any]
    code: Code
    layers: tuple[Layer, ...]
    generation: str


@dataclass(frozen=True, slots=True)
class Status:
    """A state (`Pending`, `Active`, `Failed`; or `InProgress`, `Successful`, `Failed`) and why."""

    name: str
    reason: str = ""
    code: str = ""


CREATING = "The function is being created."
#: Reason codes of versions that could not be prepared. The first two are tried again: a runtime can be installed,
#: a disk emptied. A broken package stays broken.
NO_RUNTIME = "InvalidRuntime"
NO_ROOM = "InternalError"
BAD_ZIP = "InvalidZipFileException"
BAD_CODE = "InvalidConfiguration"
#: A version with SnapStart whose initialisation failed.
INIT_FAILED, BAD_INIT = "An error occurred during function initialization.", "FunctionError"
WORTH_ANOTHER_TRY = (NO_RUNTIME, NO_ROOM)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a function, `$LATEST`, `$LATEST.PUBLISHED` or a number.

    `previous` is what one of the first two goes on running while an update is being prepared, or after one that failed.
    """

    account_id: str
    region: str
    name: str
    version: str
    revision_id: str
    body: Body
    modified: float
    state: Status
    update: Status
    previous: Body | None = None

    @property
    def running(self) -> Body:
        return self.previous or self.body


@dataclass(frozen=True, slots=True)
class Function:
    """What belongs to a function whatever its version. `last_version` is the highest number published, 0 if none."""

    account_id: str
    region: str
    name: str
    last_version: int
    reserved_concurrency: int | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Alias:
    account_id: str
    region: str
    name: str
    alias: str
    version: str
    description: str
    weights: Mapping[str, float]
    revision_id: str


@dataclass(frozen=True, slots=True)
class LayerVersion:
    account_id: str
    region: str
    name: str
    version: int
    code: Code
    description: str
    created: float
    runtimes: tuple[str, ...] | None
    architectures: tuple[str, ...] | None
    license: str
    policy: tuple[Mapping[str, Any], ...] = ()
    policy_revision: str = ""


@dataclass(frozen=True, slots=True)
class EventConfig:
    """What an asynchronous invocation of one qualifier may do. None: the default (2 retries, 6 hours)."""

    account_id: str
    region: str
    name: str
    qualifier: str
    retries: int | None
    max_age_s: int | None
    on_success: str
    on_failure: str
    modified: float


@dataclass(frozen=True, slots=True)
class CodeSigning:
    """A code signing configuration. `policy` is what becomes of code that is not signed: `Warn` or `Enforce`."""

    account_id: str
    region: str
    id: str
    description: str
    publishers: tuple[str, ...]
    policy: str
    modified: float
    tags: Mapping[str, str]

    @property
    def arn(self) -> str:
        return arn("lambda", self.region, self.account_id, f"code-signing-config:{self.id}")


@dataclass(frozen=True, slots=True)
class UrlConfig:
    """A function URL. `qualifier` is "" or an alias; `invoke_mode` "" where it was never given."""

    account_id: str
    region: str
    name: str
    qualifier: str
    url_id: str
    auth_type: str
    cors: Mapping[str, Any] | None
    invoke_mode: str
    created: float
    modified: float

    @property
    def mode(self) -> str:
        return self.invoke_mode or "BUFFERED"
