"""The composition root: builds every object from Settings, wires them, starts and stops them in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from alonzo import __version__
from alonzo.begin import Begun, begin
from alonzo.config import Settings
from alonzo.core.clock import Clock, SystemClock
from alonzo.core.ids import Ids
from alonzo.dispatch import Dispatcher, Parts, Service
from alonzo.engine import Engine
from alonzo.engine.function import FunctionVersion
from alonzo.gateway.cors import BucketCors, Cors
from alonzo.gateway.edge import Edge
from alonzo.gateway.server import Extras, Gateway
from alonzo.runtimes import Runtimes
from alonzo.services import alonzo as alonzo_service
from alonzo.services import iam, lambda_, logs, s3, sns, sqs, sts
from alonzo.storage import Blobs, Database
from alonzo.storage.folder import DataFolder

log = logging.getLogger("alonzo")


class App:
    """A running server. `async with App(settings) as app: await app.wait()`. What has been begun already is given."""

    def __init__(self, given: Settings | Begun, clock: Clock | None = None) -> None:
        self._given = given
        self._clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        self._stopping = asyncio.Event()
        self._background: asyncio.Task[None] | None = None

    async def __aenter__(self) -> App:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # -- starting -----------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        begun = self._given if isinstance(self._given, Begun) else begin(self._given)
        self.settings, self.folder, listener, self.sandbox = begun.settings, begun.folder, begun.listener, begun.sandbox
        self.port = self.settings.port
        self._stack.callback(self.folder.close)
        self._stack.callback(listener.close)
        self._stack.push_async_callback(self.sandbox.stop)
        # Its host sets up the machine while we do the rest.
        starting = asyncio.create_task(self.sandbox.start())
        try:
            await asyncio.sleep(0)  # until it has been started
            self._build(self.settings, self.folder)
        finally:
            await starting
        await self._start_services()
        await self.edge.serve(listener)
        self._stack.push_async_callback(self.edge.close)
        self._background = asyncio.create_task(self._run_background())
        self._stack.push_async_callback(self._end_background)

    def _build(self, settings: Settings, folder: DataFolder) -> None:
        ids = Ids()
        database = Database(folder.database, durable=not folder.ephemeral)
        blobs = Blobs(folder.blobs, ids, durable=not folder.ephemeral)
        blobs.open()
        database.open()
        self._stack.push_async_callback(database.close)
        parts = self.parts = Parts(settings, self._clock, ids, database, blobs, Dispatcher())
        identities = iam.build(parts)
        tokens = sts.build(parts, identities)

        self.credentials = tokens.credentials
        self.runtimes = Runtimes(parts)
        self.engine = Engine(parts, sandbox=self.sandbox, runtimes=self.runtimes, serve_aws=self._serve_aws)
        functions = lambda_.build(parts, self.engine, self.runtimes)
        objects = s3.build(parts, self.engine.queue)
        topics = sns.build(parts, self.engine.queue)
        self.services: list[Service] = [
            identities.service,
            tokens.service,
            logs.build(parts),
            functions.service,
            objects,
            sqs.build(parts),
            topics,
            alonzo_service.build(parts, self.engine, self.sandbox, self.runtimes),
        ]
        parts.dispatcher.use(identities.authorizer)
        for service in self.services:
            parts.dispatcher.add(service)
        cors = Cors([o.strip() for o in settings.cors_origins.split(",") if o.strip()], _bucket_cors(objects))
        extras = Extras(self._health, functions.code_link, topics.certificate, {"lambda-url": functions.function_urls})
        outside = Gateway(parts, self.credentials, cors, extras)
        inside = Gateway(parts, self.credentials, cors, extras, inside=True)
        self.edge = Edge(outside.handle, outside.prompt)
        self._inside = Edge(inside.handle, inside.prompt)

    async def _start_services(self) -> None:
        for service in self.services:
            await service.start()
            self._stack.push_async_callback(service.stop)
        await self.engine.start()
        self._stack.push_async_callback(self._inside.close)
        self._stack.push_async_callback(self.engine.stop)

    async def _serve_aws(self, listener: socket.socket, _function: FunctionVersion) -> Callable[[], Awaitable[None]]:
        return await self._inside.serve(listener)

    # -- running ------------------------------------------------------------------------------------------------------

    async def _run_background(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.engine.run())
            group.create_task(self._sweep_blobs())
            for service in self.services:
                if service.run is not None:
                    group.create_task(_background(service.run))

    async def _end_background(self) -> None:
        assert self._background is not None
        self._background.cancel()
        await asyncio.gather(self._background, return_exceptions=True)

    async def _sweep_blobs(self) -> None:
        """Remove what a crash left between a blob and its row."""
        started = self._clock.now()
        live: set[str] = set()
        for service in self.services:
            if service.live_blobs is not None:
                live |= await service.live_blobs()
        await asyncio.to_thread(self.parts.blobs.sweep, live, started)

    async def wait(self) -> None:
        """Until `request_stop`, or until a part of the background work fails (then its error is raised)."""
        assert self._background is not None
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({stopping, self._background}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._background.done() and not self._stopping.is_set():
            self._background.result()

    def request_stop(self) -> None:
        self._stopping.set()

    # -- saying what it is --------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        host = "localhost" if self.settings.loopback_only else self.settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def ready_line(self) -> str:
        where = "memory" if self.folder.ephemeral else str(self.folder.path)
        return f"Alonzo {__version__} is ready at {self.endpoint} · data in {where} · isolation: {self.sandbox.summary}"

    def _health(self) -> Mapping[str, object]:
        return {
            "status": "ok",
            "endpoint": self.endpoint,
            "isolation": self.sandbox.summary,
            "services": {
                name: len(service.handlers) for name, service in sorted(self.parts.dispatcher.services.items())
            },
        }


async def _background(run: Callable[[], Awaitable[None]]) -> None:
    await run()


def _bucket_cors(objects: s3.S3Service) -> BucketCors:
    """A bucket's CORS rules, applied."""

    async def apply(bucket: str, origin: str, method: str, asked: Sequence[str]) -> list[tuple[str, str]] | None:
        rules = objects.cors_rules(bucket)
        found = s3.cors_headers(rules, origin, method, asked) if rules else None
        return None if found is None else list(found.items())

    return apply


async def serve(begun: Begun, ready: Callable[[str], None]) -> None:
    """Run a server until SIGTERM or SIGINT; `ready` gets the ready line once requests are answered."""
    loop = asyncio.get_running_loop()
    async with App(begun) as app:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, app.request_stop)
        # What was built until now stays, and hardly anything of it is garbage: the collector need not look at it, not
        # even once (a twentieth of the start). Requests leave hardly any cycles, so it may look less often; both
        # together are a tenth of the time of a warm invocation.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        gc.enable()
        ready(app.ready_line())
        await app.wait()


def run(begun: Begun, ready: Callable[[str], None]) -> None:
    """`serve` on uvloop. Raises StorageError or SandboxError with a sentence that says what to do."""
    import uvloop

    logging.basicConfig(
        level=begun.settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(begun, ready))
