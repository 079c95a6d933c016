"""Whether a Principal element names who asks, and how directly.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from alonzo.core.context import Principal


class Grant(IntEnum):
    """How a resource's policy names a principal; the more direct, the less can withhold what it allows.

    ACCOUNT leaves it to the account's own identity policies; ROLE is still bounded by the permissions boundary and the
    session's policies; DIRECT (a user, one session, a service, everyone) is bounded by explicit denials only.
    """

    NONE = 0
    ACCOUNT = 1
    ROLE = 2
    DIRECT = 3


def account_of(value: str) -> str:
    """The account that a principal's value names as a whole (its number, or the ARN of its root), or ''."""
    if len(value) == 12 and value.isascii() and value.isdigit():
        return value
    if value.startswith("arn:") and value.endswith(":root"):
        parts = value.split(":")
        if len(parts) == 6 and parts[2] == "iam":
            return parts[4]
    return ""


def named(principals: Mapping[str, frozenset[str]], who: Principal) -> Grant:
    """The most direct way in which `who` is named."""
    if "*" in principals:
        return Grant.DIRECT
    if who.kind == "service":
        services = principals.get("Service", frozenset())
        return (
            Grant.DIRECT if who.name in services or "*" in principals.get("AWS", ()) or "*" in services else Grant.NONE
        )
    values = principals.get("AWS", frozenset())
    if "*" in values:
        return Grant.DIRECT
    if who.kind == "anonymous" or not values:
        return Grant.NONE
    if who.arn in values or (who.user_id and who.user_id in values):
        return Grant.ACCOUNT if who.kind == "root" else Grant.DIRECT
    if who.role_arn and (who.role_arn in values or who.user_id.partition(":")[0] in values):
        return Grant.ROLE
    if any(account_of(value) == who.account_id for value in values):
        return Grant.ACCOUNT
    return Grant.NONE
