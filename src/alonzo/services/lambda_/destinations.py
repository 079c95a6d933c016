"""Where outcomes of asynchronous invocations may go: what Alonzo cannot deliver to is refused when it is configured."""

from __future__ import annotations

from alonzo.core.arn import parse_arn
from alonzo.services.lambda_.configuration import Config
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.state import State

#: Services of destinations, by the ARN's service part, and the operation that delivers.
_DELIVERED = {"lambda": "Invoke", "sqs": "SendMessage", "sns": "Publish", "events": "PutEvents"}


def check_dead_letter(state: State, config: Config) -> None:
    """Raise for a dead-letter target that is none of SQS and SNS, or whose service is not there."""
    target = (config.get("DeadLetterConfig") or {}).get("TargetArn")
    if not target:
        return
    service = parse_arn(target).service
    if service not in ("sqs", "sns"):
        raise invalid(f"The provided target ARN {target} is not valid: give the ARN of an SQS queue or SNS topic.")
    _check_service(state, service, target)


def check_destination(state: State, target: str, described: str) -> None:
    """Raise for a destination that is of no known kind (`described` is the text AWS shows), or cannot be reached."""
    service = parse_arn(target).service
    if service not in (*_DELIVERED, "s3"):
        raise invalid(f"The provided destination config {described} is invalid.")
    _check_service(state, service, target)


def _check_service(state: State, service: str, target: str) -> None:
    found = state.parts.dispatcher.services.get(service)
    if found is None or _DELIVERED.get(service) not in found.handlers:
        raise invalid(f"The destination {target} cannot be used: Alonzo cannot deliver to {service} yet.")
