"""SNS's errors, in its words."""

from __future__ import annotations

from alonzo.core.errors import ServiceError


def invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameter", f"Invalid parameter: {message}")


def attribute_value(message: str) -> ServiceError:
    return ServiceError("ParameterValueInvalid", message)


def no_topic() -> ServiceError:
    return ServiceError("NotFound", "Topic does not exist", status=404)


def no_subscription() -> ServiceError:
    return ServiceError("NotFound", "Subscription does not exist", status=404)


def no_resource() -> ServiceError:
    return ServiceError("ResourceNotFound", "Resource does not exist", status=404)


def unsupported(what: str) -> ServiceError:
    return ServiceError("NotImplementedException", f"Alonzo does not implement {what} yet.", status=501)
