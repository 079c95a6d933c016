"""What AWS says when it does not accept a signature: code, text and status depend on the service's protocol.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html,
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and each service's page of common errors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from alonzo.core.errors import ServiceError

_NO_MATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)


def stamp(seconds: float) -> str:
    """20250102T030405Z"""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class AuthErrors:
    """The errors of one family: `s3`, or a protocol's name (`json`, `rest-json`, `query`, `rest-xml`, …)."""

    def __init__(self, family: str) -> None:
        self.s3 = family == "s3"
        self._xml = family in ("query", "ec2", "rest-xml")
        # The JSON protocols' services answer 400 where the others answer 403.
        self._status = 400 if family in ("json", "rpc-v2-cbor", "smithy-rpc-v2-cbor") else 403

    def _named(self, xml: str, json: str, message: str, status: int | None = None) -> ServiceError:
        return ServiceError(xml if self._xml else json, message, status=status or self._status)

    def _s3(self, code: str, message: str, status: int, fields: Mapping[str, object] | None = None) -> ServiceError:
        return ServiceError(code, message, status=status, fields=fields)

    def mismatch(self, key_id: str, string_to_sign: str, given: str, canonical: str) -> ServiceError:
        if not self.s3:
            return self._named("SignatureDoesNotMatch", "InvalidSignatureException", _NO_MATCH)
        return self._s3(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided."
            " Check your key and signing method.",
            403,
            {
                "AWSAccessKeyId": key_id,
                "StringToSign": string_to_sign,
                "SignatureProvided": given,
                "StringToSignBytes": string_to_sign.encode("utf-8", "replace").hex(" "),
                "CanonicalRequest": canonical,
                "CanonicalRequestBytes": canonical.encode("utf-8", "replace").hex(" "),
            },
        )

    def unknown_key(self, key_id: str) -> ServiceError:
        if self.s3:
            return self._s3(
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
                403,
                {"AWSAccessKeyId": key_id},
            )
        return self._named(
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )

    def bad_token(self, key_id: str, token: str) -> ServiceError:
        if self.s3:
            return self._s3(
                "InvalidToken",
                "The provided token is malformed or otherwise invalid.",
                400,
                {"Token-0": token[:2048]},
            )
        return self.unknown_key(key_id)

    def expired_token(self, token: str) -> ServiceError:
        if self.s3:
            return self._s3("ExpiredToken", "The provided token has expired.", 400, {"Token-0": token[:2048]})
        return self._named(
            "ExpiredToken", "ExpiredTokenException", "The security token included in the request is expired"
        )

    def skewed(self, signed_at: float, now: float, allowed_s: float) -> ServiceError:
        if self.s3:
            return self._s3(
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
                403,
                {
                    "RequestTime": stamp(signed_at),
                    "ServerTime": _iso(now),
                    "MaxAllowedSkewMilliseconds": str(int(allowed_s * 1000)),
                },
            )
        minutes = f"{allowed_s / 60:g} min."
        if signed_at < now:
            text = (
                f"Signature expired: {stamp(signed_at)} is now earlier than {stamp(now - allowed_s)}"
                f" ({stamp(now)} - {minutes})"
            )
        else:
            text = (
                f"Signature not yet current: {stamp(signed_at)} is still later than {stamp(now + allowed_s)}"
                f" ({stamp(now)} + {minutes})"
            )
        return self._named("SignatureDoesNotMatch", "InvalidSignatureException", text)

    def presign_expired(self, expires_s: int, ended: float, now: float) -> ServiceError:
        if self.s3:
            return self._s3(
                "AccessDenied",
                "Request has expired",
                403,
                {"X-Amz-Expires": str(expires_s), "Expires": _iso(ended), "ServerTime": _iso(now)},
            )
        text = f"Signature expired: {stamp(ended - expires_s)} is now earlier than {stamp(now - expires_s)}"
        return self._named("SignatureDoesNotMatch", "InvalidSignatureException", text)

    def link_expired(self, ended: float, now: float) -> ServiceError:
        """A link of Signature Version 2, which only S3 takes."""
        return self._s3("AccessDenied", "Request has expired", 403, {"Expires": _iso(ended), "ServerTime": _iso(now)})

    def not_yet_valid(self, signed_at: float, now: float, allowed_s: float) -> ServiceError:
        if self.s3:
            return self._s3("AccessDenied", "Request is not yet valid", 403, {"ServerTime": _iso(now)})
        return self.skewed(signed_at, now, allowed_s)

    def missing(self) -> ServiceError:
        if self.s3:
            return self._s3("AccessDenied", "Access Denied", 403)
        return self._named(
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "Request is missing Authentication Token" if self._xml else "Missing Authentication Token",
        )

    def incomplete(self, message: str, s3_message: str = "") -> ServiceError:
        """A malformed Authorization header; S3 has texts of its own."""
        if self.s3:
            text = s3_message or f"The authorization header is malformed; {message}"
            return self._s3("AuthorizationHeaderMalformed", text, 400)
        return self._named("IncompleteSignature", "IncompleteSignatureException", message, 400)

    def bad_query(self, message: str) -> ServiceError:
        """Malformed X-Amz-… query parameters."""
        if self.s3:
            return self._s3("AuthorizationQueryParametersError", message, 400)
        return self._named("IncompleteSignature", "IncompleteSignatureException", message, 400)

    def unsupported(self, mechanism: str) -> ServiceError:
        """SigV2 and SigV4A: known, but not taken."""
        if self.s3:
            text = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
            return self._s3("InvalidRequest", text, 400)
        return self.incomplete(f"{mechanism} is not supported here. Please sign with AWS4-HMAC-SHA256 (Signature V4).")

    def payload_mismatch(self, declared: str, computed: str) -> ServiceError:
        if not self.s3:
            return self._named("SignatureDoesNotMatch", "InvalidSignatureException", _NO_MATCH)
        return self._s3(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            400,
            {"ClientComputedContentSHA256": declared, "S3ComputedContentSHA256": computed},
        )

    def bad_payload_header(self, value: str) -> ServiceError:
        if not value:
            text = "Missing required header for this request: x-amz-content-sha256"
        else:
            text = (
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER,"
                " STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER,"
                " STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"
                " or a valid sha256 value."
            )
        return ServiceError("InvalidRequest" if not value else "InvalidArgument", text, status=400)
