"""The service's errors with AWS's texts."""

from __future__ import annotations

from alonzo.core.errors import ServiceError

_USER = {"Type": "User"}

STALE_FUNCTION = (
    "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the"
    " latest Revision Id"
)
STALE_POLICY = (
    "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest"
    " Revision Id"
)
STALE_RESOURCE_POLICY = (
    "The Revision Id provided does not match the latest Revision Id. Call the GetResourcePolicy API to retrieve the"
    " latest Revision Id"
)
STALE_LAYER = (
    "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the latest"
    " Revision Id"
)


def invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameterValueException", message, fields=_USER)


def untyped(message: str) -> ServiceError:
    """InvalidParameterValueException of those checks that AWS answers without a Type."""
    return ServiceError("InvalidParameterValueException", message, fields={"Type": None})


def validation(value: object, member: str, constraint: str) -> ServiceError:
    """The text AWS's request validation writes for one member."""
    return ServiceError(
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}",
    )


def not_found(message: str) -> ServiceError:
    return ServiceError("ResourceNotFoundException", message, status=404, fields=_USER)


def function_not_found(function_arn: str) -> ServiceError:
    return not_found(f"Function not found: {function_arn}")


def conflict(message: str) -> ServiceError:
    return ServiceError("ResourceConflictException", message, status=409, fields=_USER)


def stale(message: str) -> ServiceError:
    return ServiceError("PreconditionFailedException", message, status=412, fields=_USER)


def too_large(message: str) -> ServiceError:
    """For the size of a request to the control plane; the model has no shape for it."""
    return ServiceError("RequestEntityTooLargeException", message, status=413)
