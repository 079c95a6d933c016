"""IAM's errors in AWS's words."""

from __future__ import annotations

from alonzo.core.errors import ServiceError
from alonzo.core.policy import MalformedPolicy


def missing(kind: str, name: str) -> ServiceError:
    """`kind` is user, role, group, or `role policy` and the like."""
    return ServiceError("NoSuchEntity", f"The {kind} with name {name} cannot be found.", status=404)


def missing_policy(arn: str) -> ServiceError:
    return ServiceError("NoSuchEntity", f"Policy {arn} was not found.", status=404)


def not_attachable(what: str) -> ServiceError:
    return ServiceError("NoSuchEntity", f"{what} does not exist or is not attachable.", status=404)


def missing_key(access_key_id: str) -> ServiceError:
    return ServiceError("NoSuchEntity", f"The Access Key with id {access_key_id} cannot be found.", status=404)


def exists(kind: str, name: str) -> ServiceError:
    return ServiceError("EntityAlreadyExists", f"{kind.capitalize()} with name {name} already exists.", status=409)


def conflict(message: str) -> ServiceError:
    return ServiceError("DeleteConflict", message, status=409)


def quota(name: str, limit: int) -> ServiceError:
    return ServiceError("LimitExceeded", f"Cannot exceed quota for {name}: {limit}", status=409)


def limit(message: str) -> ServiceError:
    return ServiceError("LimitExceeded", message, status=409)


def malformed(error: MalformedPolicy) -> ServiceError:
    return ServiceError("MalformedPolicyDocument", str(error), status=400)


def invalid(message: str) -> ServiceError:
    return ServiceError("ValidationError", message, status=400)


def invalid_input(message: str) -> ServiceError:
    return ServiceError("InvalidInput", message, status=400)
