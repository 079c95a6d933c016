"""From a request to a response: route, verify the signature, make the context, parse, dispatch, serialize."""

from __future__ import annotations

import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import orjson

from alonzo import __version__
from alonzo.core.context import ANONYMOUS, Context, Principal
from alonzo.core.dataclasses import dataclass, field, replace
from alonzo.core.dataplane import DataPlane, Visit
from alonzo.core.errors import InternalFailure, ServiceError
from alonzo.core.http import Headers, Request, Response
from alonzo.core.identity import Credential, Credentials
from alonzo.core.streams import BodyTooLarge, BytesStream, ByteStream, FileBody
from alonzo.dispatch import Parts
from alonzo.gateway.cors import Cors
from alonzo.gateway.prompt import Prompting
from alonzo.gateway.routing import Route, known_host, route
from alonzo.gateway.sigv4 import verify
from alonzo.protocol.model import ServiceModel, load_model
from alonzo.protocol.parse import detect_protocol, parse
from alonzo.protocol.serialize import serialize, serialize_error
from alonzo.storage import DiskFull

log = logging.getLogger("alonzo.gateway")

#: Bodies that are held in memory: CreateFunction with a 50 MB zip in Base64 is the largest that AWS takes.
MAX_BODY = 70_167_211


class IssuedOnly:
    """Credentials without the customary pairs (test/test, twelve digits): inside a function they would be a way out."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def find(self, access_key_id: str, session_token: str | None = None) -> Credential | None:
        if not access_key_id.startswith(("AKIA", "ASIA")):
            return None
        return await self._credentials.find(access_key_id, session_token)

    def remembered(self, access_key_id: str, session_token: str | None) -> Credential | None:
        if not access_key_id.startswith(("AKIA", "ASIA")):
            return None
        return self._credentials.remembered(access_key_id, session_token)


@dataclass(frozen=True, slots=True)
class Extras:
    """What the gateway serves beside the AWS services, handed in by the composition root."""

    health: Callable[[], Mapping[str, object]]
    code_link: Callable[[str], Awaitable[FileBody | None]]
    #: The certificate (PEM) that SNS signs with, under the name that SigningCertURL ends with.
    certificate: Callable[[str], bytes | None]
    #: What customers publish under host names of their own, by the route's service.
    data_planes: Mapping[str, DataPlane] = field(default_factory=dict)


class Gateway:
    """Handles requests. One for clients, one (`inside`) for functions, who may not use the customary credentials."""

    def __init__(
        self, parts: Parts, credentials: Credentials, cors: Cors, extras: Extras, *, inside: bool = False
    ) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._credentials: Credentials = IssuedOnly(credentials) if inside else credentials
        self._cors = cors
        self._extras = extras
        self._inside = inside
        self._bases = tuple(base.strip() for base in parts.settings.base_domains.split(",") if base.strip())
        #: What an edge asks first.
        self.prompt = Prompting(
            parts, self._credentials, self._failure, self._bases, any_host=inside or not parts.settings.loopback_only
        )

    async def handle(self, request: Request) -> Response:
        """Answer a request; never raises but for cancellation."""
        request_id = self._parts.ids.uuid()
        if self._settings.loopback_only and not self._inside and not known_host(request.host, self._bases):
            return _plain(
                403,
                f"Host {request.host!r} is none of this server's names. "
                "Add it to ALONZO_BASE_DOMAINS if it should be one.\n",
            )
        if request.path.startswith("/_alonzo/"):
            return await self._own(request)
        found = route(request, self._bases)
        plane = self._extras.data_planes.get(found.service)
        if plane is not None:
            return await self._visit(plane, found, request, request_id)
        origin = request.headers.get("origin")
        if origin is not None:
            preflight = await self._cors.preflight(found, origin)
            if preflight is not None:
                return preflight
        response = await self._answer(found, request, request_id)
        if origin is not None:
            response.headers.extend(await self._cors.headers(found, origin))
        return response

    async def _answer(self, found: Route, received: Request, request_id: str) -> Response:
        try:
            model = load_model(found.service)
        except LookupError:
            return _plain(501, f"Alonzo does not implement the service {found.service!r} yet.\n")
        operation: str | None = None
        protocol: str | None = detect_protocol(model, found.request)
        try:
            ctx, request = await self._identify(found, received, model, request_id)
            if found.service != "s3" and request.headers.get("content-encoding") == "gzip":
                request.body = BytesStream(_gunzip(await request.body.read(MAX_BODY)))
            parsed = await parse(model, request, max_body=MAX_BODY)
            operation, protocol = parsed.operation, parsed.protocol
            result = await self._parts.dispatcher.call(ctx, found.service, operation, parsed.params)
            return serialize(model, operation, result, request_id=request_id, protocol=protocol)
        except BodyTooLarge:
            error = await _too_large(model, found.request)
            return self._failure(model, operation, error, request_id, protocol)
        except Exception as error:
            return self._failure(model, operation, error, request_id, protocol)

    def _failure(
        self, model: ServiceModel, operation: str | None, error: BaseException, request_id: str, protocol: str | None
    ) -> Response:
        """The answer of an error, whatever it is."""
        if isinstance(error, ServiceError):
            shown = error
        elif isinstance(error, DiskFull):
            log.error("request_id=%s disk full: %s", request_id, error)
            shown = ServiceError("InternalError", str(error), status=507)
        else:
            log.error("request_id=%s service=%s operation=%s failed", request_id, model.name, operation, exc_info=error)
            shown = InternalFailure(request_id)
        return serialize_error(model, operation, shown, request_id=request_id, protocol=protocol)

    async def _identify(
        self, found: Route, request: Request, model: ServiceModel, request_id: str
    ) -> tuple[Context, Request]:
        """Who asks, and the request to parse: its body decoded, with the header fields that its query carried.

        `request` is as received: what is signed of a virtual-hosted name is not its path-style form.
        """
        verified = await verify(
            request,
            self._credentials,
            self._parts.clock,
            self._settings,
            service=found.service,
            protocol=model.protocol,
            body_limit=MAX_BODY,
            resource=found.request.path,
        )
        principal = verified.principal
        region = verified.region or found.region or self._settings.region
        ctx = self._context(request, request_id, region, principal)
        parsed = found.request
        parsed.body = verified.body
        if verified.headers:
            parsed.headers = Headers([*parsed.headers.items, *verified.headers])
        return ctx, parsed

    async def _visit(self, plane: DataPlane, found: Route, request: Request, request_id: str) -> Response:
        ctx = self._context(request, request_id, found.region or self._settings.region, ANONYMOUS)

        async def identify(signing_name: str, body_limit: int) -> tuple[Context, ByteStream]:
            verified = await verify(
                request,
                self._credentials,
                self._parts.clock,
                self._settings,
                service=signing_name,
                protocol="rest-json",
                body_limit=body_limit,
            )
            account_id = verified.principal.account_id or ctx.account_id
            return replace(ctx, account_id=account_id, principal=verified.principal), verified.body

        try:
            return await plane(Visit(found.label, found.region, request, ctx, identify))
        except Exception:
            log.exception("request_id=%s service=%s label=%s failed", request_id, found.service, found.label)
            return Response(500, [("content-type", "application/json")], b'{"Message":"Internal Server Error"}')

    def _context(self, request: Request, request_id: str, region: str, principal: Principal) -> Context:
        return Context(
            account_id=principal.account_id or self._settings.account_id,
            region=region,
            principal=principal,
            request_id=request_id,
            endpoint=f"{request.scheme}://{request.host or 'localhost'}",
            trace_header=request.headers.get("x-amzn-trace-id") or "",
            client_ip=request.client,
            user_agent=request.headers.get("user-agent") or "",
            secure=request.scheme == "https",
        )

    async def _own(self, request: Request) -> Response:
        """What is under /_alonzo/: health, and the archives that GetFunction's links name."""
        path = request.path.removeprefix("/_alonzo/")
        if request.method not in ("GET", "HEAD"):
            return _plain(405, "Only GET is answered here.\n")
        if path == "health":
            state = orjson.dumps({"version": __version__, **self._extras.health()}, option=orjson.OPT_INDENT_2)
            return Response(200, [("content-type", "application/json")], state + b"\n")
        if path.startswith("code/"):
            archive = await self._extras.code_link(path.removeprefix("code/"))
            if archive is not None:
                return Response(200, [("content-type", "application/zip")], archive)
            return _plain(403, "This link has expired or was never made: call GetFunction again.\n")
        if path.startswith("sns/"):
            certificate = self._extras.certificate(path.removeprefix("sns/"))
            if certificate is not None:
                return Response(200, [("content-type", "application/x-pem-file")], certificate)
        return _plain(404, "Nothing is here; /_alonzo/health answers.\n")


class _Oversized:
    """Stands for a body of which too much was read to tell whose it is."""

    length = None
    trailers: Mapping[str, str] = {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        raise BodyTooLarge
        yield b""

    async def read(self, limit: int) -> bytes:
        raise BodyTooLarge


async def _too_large(model: ServiceModel, request: Request) -> ServiceError:
    """The error with its operation's name, which is known only once the request is parsed."""
    request.body = _Oversized()
    try:
        await parse(model, request, max_body=MAX_BODY)
    except ServiceError as error:
        return error
    return ServiceError("RequestEntityTooLargeException", f"Request must be smaller than {MAX_BODY} bytes", status=413)


def _plain(status: int, text: str) -> Response:
    return Response(status, [("content-type", "text/plain; charset=utf-8")], text.encode())


def _gunzip(data: bytes) -> bytes:
    """Decompress a request body within the limit of bodies. Raises BodyTooLarge, or ServiceError if it is broken."""
    decoder = zlib.decompressobj(wbits=31)
    try:
        plain = decoder.decompress(data, MAX_BODY)
    except zlib.error:
        raise ServiceError("SerializationException", "The gzip encoding of the request body is broken.") from None
    if decoder.unconsumed_tail:
        raise BodyTooLarge
    if not decoder.eof:
        raise ServiceError("SerializationException", "The gzip encoding of the request body is truncated.")
    return plain
