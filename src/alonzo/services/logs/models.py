"""Log groups, streams and events, their ARNs and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from alonzo.core.arn import arn, parse_arn
from alonzo.core.dataclasses import dataclass, field
from alonzo.core.errors import ServiceError

#: Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
MAX_BATCH_BYTES = 1_048_576
EVENT_OVERHEAD_BYTES = 26
MAX_SPAN_MS = 24 * 3600 * 1000
MAX_AGE_MS = 14 * 24 * 3600 * 1000
MAX_AHEAD_MS = 2 * 3600 * 1000

#: Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
MAX_PAGE_BYTES = 1_048_576
MAX_PAGE_EVENTS = 10_000

#: Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
MAX_TAGS = 50
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class LogGroup:
    """`retention_days` None keeps events for ever; `stored_bytes` counts messages and 26 bytes for each event."""

    id: int
    account_id: str
    region: str
    name: str
    created_ms: int
    retention_days: int | None = None
    group_class: str = "STANDARD"
    kms_key_id: str = ""
    protected: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    stored_bytes: int = 0

    @property
    def arn(self) -> str:
        return group_arn(self.account_id, self.region, self.name)

    def oldest_ms(self, now_ms: int) -> int:
        """Events before this time have expired."""
        return 0 if self.retention_days is None else now_ms - self.retention_days * DAY_MS


@dataclass(frozen=True, slots=True)
class LogStream:
    """Times are milliseconds since the epoch, None before the first event."""

    id: int
    group_id: int
    name: str
    created_ms: int
    first_event_ms: int | None = None
    last_event_ms: int | None = None
    last_ingestion_ms: int | None = None


class LogEvent(NamedTuple):
    """One line. Tuples order by time, then by arrival (`sequence` is unique in the database and never changes)."""

    timestamp_ms: int
    sequence: int
    message: str
    ingested_ms: int
    stream_id: int

    @property
    def position(self) -> int:
        """Where the event stands among all events: what page tokens hold."""
        return position(self.timestamp_ms, self.sequence)


def position(timestamp_ms: int, sequence: int = 0) -> int:
    return timestamp_ms << 64 | sequence


def digits(number: int) -> str:
    """A position as AWS writes event ids and tokens: 56 digits."""
    return f"{number:056d}"


def group_arn(account_id: str, region: str, name: str) -> str:
    return arn("logs", region, account_id, f"log-group:{name}")


def stream_arn(account_id: str, region: str, group: str, stream: str) -> str:
    """With an empty `stream`: what permissions on every operation of the group itself are checked against."""
    return f"{group_arn(account_id, region, group)}:log-stream:{stream}"


def group_name_of(identifier: str, account_id: str, region: str) -> str:
    """The name in a logGroupIdentifier or resourceArn (a name, or an ARN with or without `:*`).

    Raises ResourceNotFoundException where the ARN is of another account or region.
    """
    if not identifier.startswith("arn:"):
        return identifier
    try:
        parsed = parse_arn(identifier)
    except ValueError:
        raise ServiceError("InvalidParameterException", f"Invalid ARN: {identifier}") from None
    kind, _, name = parsed.resource.partition(":")
    if parsed.service != "logs" or kind != "log-group" or not name:
        raise ServiceError("InvalidParameterException", f"Invalid log group ARN: {identifier}")
    if (parsed.account_id, parsed.region) != (account_id, region):
        raise group_missing()
    return name.removesuffix(":*")


def group_missing() -> ServiceError:
    return ServiceError("ResourceNotFoundException", "The specified log group does not exist.")


def stream_missing() -> ServiceError:
    return ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
