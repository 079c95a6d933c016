"""Bucket policies: checking one at its door, and whether it is public.

Evaluating it is the authorizer's; it gets the document with every `Access`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from alonzo.core.errors import ServiceError
from alonzo.core.policy import MalformedPolicy, check_resource
from alonzo.core.policy.patterns import Pattern
from alonzo.services.s3.models import MAX_POLICY_BYTES, Bucket

#: Conditions on fixed values of these keys make a statement for everybody non-public.
#: Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
_NARROWING = frozenset(
    {
        "aws:sourcearn",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:sourceowner",
        "aws:sourceaccount",
        "aws:sourceip",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:userid",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
        "s3:dataaccesspointarn",
        "s3:dataaccesspointaccount",
    }
)
_ACTION = re.compile(r"(?:\*|s3:[A-Za-z*?]+)", re.IGNORECASE)


def _malformed(message: str) -> ServiceError:
    return ServiceError("MalformedPolicy", message)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def check_policy(text: str, bucket: Bucket) -> dict[str, Any]:
    """The document. Raises MalformedPolicy with AWS's text."""
    if len(text.encode()) > MAX_POLICY_BYTES:
        raise _malformed("Policies must be less than 20 KB")  # AWS's limit on bucket policies
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _malformed("Policies must be valid JSON and the first byte must be '{'")
    if document.get("Version", "2008-10-17") not in ("2008-10-17", "2012-10-17"):
        raise _malformed("The policy must contain a valid version string")
    if unknown := set(document) - {"Version", "Id", "Statement"}:
        raise _malformed(f"Unknown field {min(unknown)}")
    statements = _listed(document.get("Statement"))
    if not statements or not all(isinstance(one, dict) for one in statements):
        raise _malformed("Missing required field Statement")
    for statement in statements:
        _check_statement(statement, bucket)
    try:
        check_resource(text)  # conditions, principals and all else that is the same for every resource
    except MalformedPolicy as error:
        raise _malformed(str(error)) from None
    return document


def _check_statement(statement: dict[str, Any], bucket: Bucket) -> None:
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise _malformed(
            "Invalid effect: " + str(statement.get("Effect"))
            if "Effect" in statement
            else "Missing required field Effect"
        )
    if "Principal" not in statement and "NotPrincipal" not in statement:
        raise _malformed("Missing required field Principal")
    principal = statement.get("Principal", statement.get("NotPrincipal"))
    if principal != "*" and not isinstance(principal, dict):
        raise _malformed("Invalid policy syntax.")
    if "Action" not in statement and "NotAction" not in statement:
        raise _malformed("Missing required field Action")
    for action in _listed(statement.get("Action", statement.get("NotAction"))):
        if not isinstance(action, str) or _ACTION.fullmatch(action) is None:
            raise _malformed("Policy has invalid action")
    if "Resource" not in statement and "NotResource" not in statement:
        raise _malformed("Missing required field Resource")
    for resource in _listed(statement.get("Resource", statement.get("NotResource"))):
        if not isinstance(resource, str) or not _within(resource, bucket.arn):
            raise _malformed("Policy has invalid resource")


def _within(resource: str, arn: str) -> bool:
    """Whether a resource names the bucket, or keys of it."""
    if resource == "*":
        return True
    head = resource.split("/", 1)[0]
    return Pattern(head, variables=False).matches(arn, lambda _key: None)


def is_public(document: Mapping[str, Any]) -> bool:
    """Whether some statement allows something to everybody, without a condition that narrows it."""
    return any(
        statement.get("Effect") == "Allow" and _everybody(statement) and not _narrowed(statement)
        for statement in _listed(document.get("Statement"))
    )


def _everybody(statement: Mapping[str, Any]) -> bool:
    if "NotPrincipal" in statement:
        return True
    principal = statement.get("Principal")
    if principal == "*":
        return True
    return isinstance(principal, dict) and "*" in _listed(principal.get("AWS"))


def _narrowed(statement: Mapping[str, Any]) -> bool:
    condition = statement.get("Condition")
    if not isinstance(condition, dict):
        return False
    return any(
        key.lower() in _NARROWING and _fixed(_listed(values))
        for operator, block in condition.items()
        if isinstance(block, dict) and "not" not in operator.lower()
        for key, values in block.items()
    )


def _fixed(values: Iterable[Any]) -> bool:
    return not any(str(value) in ("*", "0.0.0.0/0", "::/0") for value in values)
