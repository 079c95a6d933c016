"""CORS: checking a configuration, and the headers it gives a browser's request.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alonzo.services.s3.errors import invalid_request, malformed_xml
from alonzo.services.s3.models import MAX_CORS_RULES

_METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")


def check_cors(configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules of a configuration. Raises InvalidRequest, MalformedXML."""
    rules = [dict(rule) for rule in configuration.get("CORSRules") or []]
    if not rules or len(rules) > MAX_CORS_RULES:
        raise malformed_xml()
    for rule in rules:
        if not rule.get("AllowedMethods") or not rule.get("AllowedOrigins"):
            raise malformed_xml()
        for method in rule["AllowedMethods"]:
            if method not in _METHODS:
                raise invalid_request(f"Found unsupported HTTP method in CORS config. Unsupported method is {method}")
        for origin in rule["AllowedOrigins"]:
            if origin.count("*") > 1:
                raise invalid_request(f'AllowedOrigin "{origin}" can not have more than one wildcard.')
        for header in rule.get("AllowedHeaders") or []:
            if header.count("*") > 1:
                raise invalid_request(f'AllowedHeader "{header}" can not have more than one wildcard.')
        for header in rule.get("ExposeHeaders") or []:
            if "*" in header:
                raise invalid_request(
                    f'ExposeHeader "{header}" contains wildcard. We currently do not support wildcard for ExposeHeader.'
                )
    return rules


def cors_headers(
    rules: Sequence[Mapping[str, Any]], origin: str, method: str, request_headers: Sequence[str] = ()
) -> dict[str, str] | None:
    """The response headers of the first rule that allows the request, or None where none does.

    For a preflight `method` is Access-Control-Request-Method and `request_headers` the names of
    Access-Control-Request-Headers: None means 403. For the request itself pass no headers: None means no CORS headers.
    """
    wanted = [name.strip().lower() for name in request_headers if name.strip()]
    for rule in rules:
        if method not in rule["AllowedMethods"]:
            continue
        pattern = next((one for one in rule["AllowedOrigins"] if _matches(one, origin)), None)
        if pattern is None:
            continue
        allowed = [one.lower() for one in rule.get("AllowedHeaders") or []]
        if not all(any(_matches(one, name) for one in allowed) for name in wanted):
            continue
        anyone = pattern == "*"
        answer = {
            "access-control-allow-origin": "*" if anyone else origin,
            "access-control-allow-methods": ", ".join(rule["AllowedMethods"]),
        }
        if wanted:
            answer["access-control-allow-headers"] = ", ".join(wanted)
        if rule.get("ExposeHeaders"):
            answer["access-control-expose-headers"] = ", ".join(rule["ExposeHeaders"])
        if rule.get("MaxAgeSeconds") is not None:
            answer["access-control-max-age"] = str(rule["MaxAgeSeconds"])
        if not anyone:
            answer["access-control-allow-credentials"] = "true"
        answer["vary"] = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
        return answer
    return None


def _matches(pattern: str, value: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == value
    return len(value) >= len(before) + len(after) and value.startswith(before) and value.endswith(after)
