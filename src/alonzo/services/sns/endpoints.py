"""What may be subscribed, and which addresses an HTTP endpoint may have.

A notification is a request that this server makes, with a path, a query and a host of the subscriber's choice. A
developer's own server may be on this machine, so whoever administers the account (its root, or an IAM user) may
subscribe any address. Roles are what functions act as: their endpoints must have public addresses, as seen when the
subscription is made and again at every delivery, whatever the name resolves to by then. Otherwise a function that may
subscribe could have this server send a request that it signed for itself to the server's own port.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from alonzo.core.arn import parse_arn
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.services.sns.errors import invalid, unsupported
from alonzo.services.sns.models import Topic

PROTOCOLS = ("http", "https", "email", "email-json", "sms", "sqs", "lambda", "application", "firehose")
_RESOLVE_S = 10.0
#: Translators of IPv6 reach the IPv4 address in its last four bytes. Source: RFC 6052
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PHONE = re.compile(r"^\+?[0-9][0-9-]{0,18}[0-9]\Z")
_EMAIL = re.compile(r"^[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,255}\Z")


class BadAddress(Exception):
    """An endpoint whose address may not be used, or cannot be found."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        #: Whether it may be different later.
        self.passing = passing


def may_be_private(ctx: Context) -> bool:
    return ctx.principal.kind in ("root", "user")


def check_endpoint(ctx: Context, topic: Topic, protocol: str, endpoint: str) -> None:
    """Raises InvalidParameter in AWS's words."""
    if protocol not in PROTOCOLS:
        raise invalid(f"Amazon SNS does not support this protocol string: {protocol}")
    if protocol in ("application", "firehose"):
        raise unsupported(f"subscriptions with the protocol {protocol}")
    if not endpoint or len(endpoint) > 2048:
        raise invalid("Endpoint")
    if protocol in ("http", "https"):
        _check_url(ctx, protocol, endpoint)
    elif protocol == "sms":
        if not _PHONE.match(endpoint):
            raise invalid_sms(endpoint)
    elif protocol in ("email", "email-json"):
        if not _EMAIL.match(endpoint):
            raise invalid("Email address")
    else:
        _check_arn(topic, protocol, endpoint)
    if topic.fifo and protocol != "sqs":
        raise invalid("Invalid parameter: Protocol Reason: FIFO SNS topics can only have Amazon SQS subscriptions")


def invalid_sms(endpoint: str) -> ServiceError:

    return ServiceError("InvalidParameter", f"Invalid SMS endpoint: {endpoint}")


def check_phone(number: str) -> None:
    if not _PHONE.match(number):
        raise invalid(f"PhoneNumber Reason: {number} is not valid to publish to")


def _check_arn(topic: Topic, protocol: str, endpoint: str) -> None:
    what = "SQS endpoint ARN" if protocol == "sqs" else "Lambda endpoint ARN"
    try:
        target = parse_arn(endpoint)
    except ValueError:
        raise invalid(what) from None
    if target.service != protocol or not target.region or not target.account_id.isdigit() or not target.resource:
        raise invalid(what)
    if protocol == "lambda" and not target.resource.startswith("function:"):
        raise invalid(what)
    if protocol == "sqs" and target.resource.endswith(".fifo") and not topic.fifo:
        raise invalid(
            "Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics"
        )


def _check_url(ctx: Context, protocol: str, endpoint: str) -> None:
    parts = split(endpoint)
    if parts is None or parts.scheme != protocol:
        raise invalid("Endpoint must match the specified protocol" if parts else "Endpoint")
    if not may_be_private(ctx):
        try:
            address = ipaddress.ip_address(parts.hostname or "")
        except ValueError:
            return  # a name: looked up at each delivery
        if not is_public(str(address)):
            raise invalid(_ROLES)


_ROLES = "Endpoint Reason: A role may only subscribe endpoints with public addresses"


def split(endpoint: str) -> SplitResult | None:
    """A URL that can be delivered to, or None."""
    if not endpoint.isascii() or any(ord(char) <= 32 or ord(char) == 127 for char in endpoint):
        return None
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname and port != 0 else None


def is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


async def addresses(host: str, port: int, *, private: bool) -> Sequence[str]:
    """Where to connect to. Raises BadAddress."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise BadAddress(f"cannot find {host}: {error}", passing=True) from None
    names = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not private and not all(is_public(name) for name in names):
        raise BadAddress(f"{host} has an address that is not public", passing=False)
    return names
