"""How often a delivery is tried: AWS's rules for its own services, and the delivery policies of HTTP endpoints.

Source: https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from alonzo.services.sns.errors import invalid

DEFAULT: Mapping[str, Any] = {
    "minDelayTarget": 20,
    "maxDelayTarget": 20,
    "numRetries": 3,
    "numMaxDelayRetries": 0,
    "numNoDelayRetries": 0,
    "numMinDelayRetries": 0,
    "backoffFunction": "linear",
}
_FUNCTIONS = ("linear", "arithmetic", "geometric", "exponential")
_MAX_DELAY_S = 3600
_MAX_RETRIES = 100
#: SNS goes on for 23 days; here a message that reaches no queue and no function for six hours is given up.
_AWS_AGE_S = 21_600.0


def aws_delay_s(attempt: int, age_s: float) -> float | None:
    """After the given attempt at one of AWS's own services has failed: the time to the next one, None to give up."""
    if age_s > _AWS_AGE_S:
        return None
    if attempt <= 3:
        return 0.0
    if attempt <= 5:
        return 1.0
    if attempt <= 15:
        return float(20 ** ((attempt - 5) / 10))
    return 20.0


def http_delay_s(policy: Mapping[str, Any], attempt: int) -> float | None:
    """After the given attempt at an HTTP endpoint has failed: the time to the next one, None to give up.

    The phases come in this order: without delay, with the least, backing off, with the longest.
    """
    if attempt > policy["numRetries"]:
        return None
    least, most = float(policy["minDelayTarget"]), float(policy["maxDelayTarget"])
    at = attempt - policy["numNoDelayRetries"]
    if at <= 0:
        return 0.0
    at -= policy["numMinDelayRetries"]
    if at <= 0:
        return least
    steps = (
        policy["numRetries"] - policy["numNoDelayRetries"] - policy["numMinDelayRetries"] - policy["numMaxDelayRetries"]
    )
    if at > steps:
        return most
    return _between(policy["backoffFunction"], least, most, at / steps if steps else 1.0)


def _between(function: str, least: float, most: float, part: float) -> float:
    if function == "arithmetic":
        part = part**2
    elif function == "geometric":
        return least * (most / least) ** part if least else most * part
    elif function == "exponential":
        part = (math.exp(3 * part) - 1) / (math.exp(3) - 1)
    return least + (most - least) * part


# -- policies ---------------------------------------------------------------------------------------------------------


def effective_policy(topic_policy: str | None) -> dict[str, Any]:
    """A topic's policy with the defaults filled in."""
    http = (json.loads(topic_policy) if topic_policy else {}).get("http") or {}
    return {
        "http": {
            "defaultHealthyRetryPolicy": {**DEFAULT, **(http.get("defaultHealthyRetryPolicy") or {})},
            "disableSubscriptionOverrides": bool(http.get("disableSubscriptionOverrides", False)),
            **({"defaultThrottlePolicy": http["defaultThrottlePolicy"]} if http.get("defaultThrottlePolicy") else {}),
            "defaultRequestPolicy": {
                "headerContentType": "text/plain; charset=UTF-8",
                **(http.get("defaultRequestPolicy") or {}),
            },
        }
    }


def subscription_policy(topic_policy: str | None, own_policy: str | None) -> dict[str, Any]:
    """What holds for one subscription: its own policy, unless the topic forbids that."""
    http = effective_policy(topic_policy)["http"]
    own = json.loads(own_policy) if own_policy and not http["disableSubscriptionOverrides"] else {}
    return {
        "healthyRetryPolicy": {**http["defaultHealthyRetryPolicy"], **(own.get("healthyRetryPolicy") or {})},
        "sicklyRetryPolicy": None,
        "throttlePolicy": own.get("throttlePolicy") or http.get("defaultThrottlePolicy"),
        "requestPolicy": {**http["defaultRequestPolicy"], **(own.get("requestPolicy") or {})},
        "guaranteed": False,
    }


def check_topic_policy(text: str) -> None:
    """Raises InvalidParameter."""
    if not text:
        return
    document = _object(text)
    http = document.get("http")
    if not isinstance(http, dict):
        raise invalid("DeliveryPolicy: http must be specified")
    _known(
        http,
        "defaultHealthyRetryPolicy",
        "disableSubscriptionOverrides",
        "defaultThrottlePolicy",
        "defaultRequestPolicy",
    )
    _check(http.get("defaultHealthyRetryPolicy"), http.get("defaultThrottlePolicy"), http.get("defaultRequestPolicy"))


def check_subscription_policy(text: str) -> None:
    """Raises InvalidParameter."""
    if not text:
        return
    document = _object(text)
    _known(document, "healthyRetryPolicy", "sicklyRetryPolicy", "throttlePolicy", "requestPolicy", "guaranteed")
    _check(document.get("healthyRetryPolicy"), document.get("throttlePolicy"), document.get("requestPolicy"))


def _object(text: str) -> dict[str, Any]:
    if len(text) > 30_720:
        raise invalid("DeliveryPolicy: the policy is too long")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise invalid("DeliveryPolicy: failed to parse JSON.") from None
    if not isinstance(document, dict):
        raise invalid("DeliveryPolicy: must be a JSON object")
    return document


def _known(found: Mapping[str, Any], *names: str) -> None:
    for name in found:
        if name not in names:
            raise invalid(f'DeliveryPolicy: Unrecognized field "{name}"')


def _check(retry: Any, throttle: Any, request: Any) -> None:
    if retry is not None:
        _check_retry(retry)
    if throttle is not None:
        rate = throttle.get("maxReceivesPerSecond") if isinstance(throttle, dict) else None
        if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
            raise invalid("DeliveryPolicy: throttlePolicy.maxReceivesPerSecond must be an integer of at least 1")
    if request is not None:
        kind = request.get("headerContentType") if isinstance(request, dict) else None
        if not isinstance(kind, str) or not kind.isprintable() or not kind.isascii() or not 0 < len(kind) <= 256:
            raise invalid("DeliveryPolicy: requestPolicy.headerContentType is not a content type")


def _check_retry(retry: Any) -> None:
    if not isinstance(retry, dict):
        raise invalid("DeliveryPolicy: healthyRetryPolicy must be an object")
    _known(retry, *DEFAULT)
    for name, value in retry.items():
        if name == "backoffFunction":
            if value not in _FUNCTIONS:
                raise invalid(f"DeliveryPolicy: backoffFunction must be one of {', '.join(_FUNCTIONS)}")
        elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise invalid(f"DeliveryPolicy: {name} must be greater than or equal to zero")
    full = {**DEFAULT, **retry}
    if full["numRetries"] > _MAX_RETRIES:
        raise invalid(f"DeliveryPolicy: numRetries must be less than or equal to {_MAX_RETRIES}")
    if full["maxDelayTarget"] > _MAX_DELAY_S:
        raise invalid(f"DeliveryPolicy: maxDelayTarget must be less than or equal to {_MAX_DELAY_S}")
    if full["minDelayTarget"] > full["maxDelayTarget"]:
        raise invalid("DeliveryPolicy: minDelayTarget must be less than or equal to maxDelayTarget")
    if full["numRetries"] < full["numNoDelayRetries"] + full["numMinDelayRetries"] + full["numMaxDelayRetries"]:
        raise invalid(
            "DeliveryPolicy: numRetries must be greater than or equal to the sum of the retries of all phases"
        )
