"""The error a client sees. Handlers raise it; only the gateway renders it."""

from __future__ import annotations

from collections.abc import Mapping


class ServiceError(Exception):
    """An error of a service's model.

    `code` is the error's code or shape name (the protocol layer finds the other from the model); `message` is AWS's own
    text; `status` is used where the model does not give one; `fields` are further members of the error's shape
    (`Type`, `Reason`, …), put into the body, or into headers where the model says so.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        fields: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.fields: Mapping[str, object] = fields or {}
        self.headers: Mapping[str, str] = headers or {}


class NotImplementedOperation(ServiceError):
    """The service's model has this operation, Alonzo has no handler for it: answered with status 501."""

    def __init__(self, service: str, operation: str) -> None:
        super().__init__(
            "NotImplemented" if service == "s3" else "NotImplementedException",
            f"Alonzo does not implement {service}:{operation} yet.",
            status=501,
        )


class InternalFailure(ServiceError):
    """Something unforeseen; its traceback is in the server's log under the request id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            "InternalFailure",
            f"An unforeseen error happened inside Alonzo; see its log for request {request_id}.",
            status=500,
        )
