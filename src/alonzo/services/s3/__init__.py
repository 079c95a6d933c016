"""Amazon S3: buckets, objects, multipart uploads, versions and notifications.

The folder: `operations/` are the handlers by noun, `store/` all SQL, `access.py` the permissions, `events.py` the
notifications, `cors.py` what browsers are told; `bodies.py` moves contents and `writing.py` places objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.dispatch import Handler, Params, Parts, Result, Service, bind
from alonzo.engine.queue import Queue
from alonzo.services.s3 import operations
from alonzo.services.s3.access import access_of
from alonzo.services.s3.checksums import crt
from alonzo.services.s3.cors import cors_headers
from alonzo.services.s3.errors import insufficient_storage, internal_error
from alonzo.services.s3.state import State
from alonzo.services.s3.store import extents
from alonzo.services.s3.writing import refuse_unsupported
from alonzo.storage import DiskFull, StorageError

__all__ = ["S3Service", "build", "cors_headers"]


@dataclass(frozen=True)
class S3Service(Service):
    """What the edge may ask S3 beside its operations."""

    state: State | None = None

    def cors_rules(self, bucket: str) -> Sequence[Mapping[str, Any]] | None:
        """A bucket's CORS rules for `cors_headers`: empty where it has none, None where there is no such bucket."""
        assert self.state is not None
        found = self.state.find_bucket(bucket)
        return None if found is None else found.config.get("cors") or ()

    def bucket_region(self, bucket: str) -> str | None:
        """Where a bucket is, for x-amz-bucket-region; None where there is no such bucket."""
        assert self.state is not None
        found = self.state.find_bucket(bucket)
        return None if found is None else found.region


def build(parts: Parts, queue: Queue) -> S3Service:
    """The service, to be added to the dispatcher."""
    state = State(parts, queue)

    async def start() -> None:
        state.start()

    async def prepare() -> None:
        """Load the checksums a while after a bucket was first made or used, not in the way of what comes with that."""
        await state.used.wait()
        await state.clock.sleep(1.0)
        await asyncio.to_thread(crt)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(prepare())
            group.create_task(state.reap())

    async def stop() -> None:
        await state.remove_retired(now=True)

    async def live_blobs() -> set[str]:
        return await state.db.scan(extents.live_blobs)

    return S3Service(
        name="s3",
        handlers=bind("s3", state, operations.MODULES, around=_guarded),
        access=partial(access_of, state),
        denied_code="AccessDenied",
        start=start,
        run=run,
        stop=stop,
        live_blobs=live_blobs,
        state=state,
    )


def _guarded(handler: Handler) -> Handler:
    """Refuse what would be ignored; answer a full disk (507) and a failing one (500) in S3's form."""

    async def call(ctx: Context, params: Params) -> Result:
        refuse_unsupported(params)
        try:
            return await handler(ctx, params)
        except DiskFull as error:
            raise insufficient_storage(str(error)) from error
        except StorageError as error:
            raise internal_error(str(error)) from error

    return call
