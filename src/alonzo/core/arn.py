"""Amazon Resource Names."""

from __future__ import annotations

from alonzo.core.dataclasses import dataclass

PARTITION = "aws"


@dataclass(frozen=True, slots=True)
class Arn:
    """The six parts of an ARN; `resource` keeps every colon and slash after the fifth."""

    partition: str
    service: str
    region: str
    account_id: str
    resource: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account_id}:{self.resource}"


def parse_arn(text: str) -> Arn:
    """Split an ARN. Raises ValueError where it is none."""
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn":
        raise ValueError(f"not an ARN: {text!r}")
    return Arn(parts[1], parts[2], parts[3], parts[4], parts[5])


def arn(service: str, region: str, account_id: str, resource: str) -> str:
    """Write an ARN of the `aws` partition."""
    return f"arn:{PARTITION}:{service}:{region}:{account_id}:{resource}"
