"""AWS's own errors of S3: code, status, text and the fields its XML carries.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from collections.abc import Mapping

from alonzo.core.errors import ServiceError


def no_such_bucket(bucket: str) -> ServiceError:
    return ServiceError(
        "NoSuchBucket", "The specified bucket does not exist", status=404, fields={"BucketName": bucket}
    )


def no_such_key(key: str, headers: Mapping[str, str] | None = None) -> ServiceError:
    return ServiceError(
        "NoSuchKey", "The specified key does not exist.", status=404, fields={"Key": key}, headers=headers
    )


def no_such_version(key: str, version_id: str) -> ServiceError:
    return ServiceError(
        "NoSuchVersion",
        "The specified version does not exist.",
        status=404,
        fields={"Key": key, "VersionId": version_id},
    )


def delete_marker_not_allowed(method: str, headers: Mapping[str, str]) -> ServiceError:
    """A version that is a delete marker was asked for by its id."""
    return ServiceError(
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
        status=405,
        fields={"Method": method, "ResourceType": "DeleteMarker"},
        headers={"allow": "DELETE", **headers},
    )


def no_such_upload(upload_id: str) -> ServiceError:
    return ServiceError(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or"
        " completed.",
        status=404,
        fields={"UploadId": upload_id},
    )


def invalid_argument(message: str, name: str, value: object) -> ServiceError:
    return ServiceError("InvalidArgument", message, fields={"ArgumentName": name, "ArgumentValue": str(value)})


def invalid_request(message: str) -> ServiceError:
    return ServiceError("InvalidRequest", message)


def malformed_xml() -> ServiceError:
    return ServiceError(
        "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"
    )


def precondition_failed(condition: str) -> ServiceError:
    return ServiceError(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        status=412,
        fields={"Condition": condition},
    )


def entity_too_large(size: int, limit: int) -> ServiceError:
    return ServiceError(
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size",
        fields={"ProposedSize": size, "MaxSizeAllowed": limit},
    )


def incomplete_body() -> ServiceError:
    return ServiceError(
        "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header"
    )


def access_denied() -> ServiceError:
    return ServiceError("AccessDenied", "Access Denied", status=403)


def not_implemented(header: str) -> ServiceError:
    """A parameter that Alonzo does not have: refused, never ignored."""
    return ServiceError(
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
        status=501,
        fields={"Header": header},
    )


def insufficient_storage(message: str) -> ServiceError:
    return ServiceError("InsufficientStorage", message, status=507)


def internal_error(message: str) -> ServiceError:
    return ServiceError("InternalError", message, status=500)
