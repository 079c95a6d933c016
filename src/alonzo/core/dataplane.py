"""Requests to what a customer has published under a host name of its own, as a function URL: no service's API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.core.http import Request, Response
from alonzo.core.streams import ByteStream


@dataclass(frozen=True, slots=True)
class Visit:
    """One request. `label` is the host's first label, `region` "" where the host names none.

    `ctx` is nobody's; `identify` takes a signing name and how many bytes the body may have, and says who signed the
    request for that service, with the body to read from then on. It raises ServiceError where nobody did, or not well,
    and BodyTooLarge.
    """

    label: str
    region: str
    request: Request
    ctx: Context
    identify: Callable[[str, int], Awaitable[tuple[Context, ByteStream]]]


#: Answers a visit; raises ServiceError or answers errors itself, as the published thing does.
DataPlane = Callable[[Visit], Awaitable[Response]]
