"""What the operations share."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import unquote, urlsplit

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass, field
from alonzo.dispatch import Parts
from alonzo.services.sqs.errors import bad_address, missing, no_queue
from alonzo.services.sqs.live import LiveQueue, Queues
from alonzo.services.sqs.models import Key
from alonzo.services.sqs.timers import Timers
from alonzo.services.sqs.writer import Writer

_REGION = re.compile(r"(?:^|\.)sqs\.([a-z]{2}(?:-[a-z]+)+-\d)\.")
_ACCOUNT = re.compile(r"\d{12}")
_MAX_URL = 1024
#: Addresses remembered.
_KNOWN_URLS = 4096


@dataclass(slots=True)
class Sqs:
    """`lock` is held by whoever changes queues (not their messages). `deleted` is until when names are taken."""

    parts: Parts
    queues: Queues
    writer: Writer
    timers: Timers
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    deleted: dict[Key, int] = field(default_factory=dict)
    urls: dict[tuple[str, str], Key] = field(default_factory=dict)
    #: The server is stopping: who waits for messages is answered.
    closing: bool = False
    #: Set when there is a move task to run, or something to sweep.
    tasks_changed: asyncio.Event = field(default_factory=asyncio.Event)
    to_sweep: asyncio.Event = field(default_factory=asyncio.Event)

    def now_ms(self) -> int:
        return int(self.parts.clock.now() * 1000)

    def key(self, ctx: Context, url: str) -> Key:
        """The key in a QueueUrl. Raises InvalidAddress.

        Any host is ours; one named `sqs.REGION.…` says the region, else it is the request's.
        """
        known = self.urls.get((url, ctx.region))
        if known is None:
            known = _parse(url, ctx.region)
            if len(self.urls) >= _KNOWN_URLS:
                self.urls.clear()
            self.urls[url, ctx.region] = known
        return known

    def known(self, region: str, url: str) -> LiveQueue | None:
        """The queue of a QueueUrl that has been read before; None says nothing."""
        key = self.urls.get((url, region))
        return self.queues.find(key) if key is not None else None

    def live(self, ctx: Context, url: str) -> LiveQueue:
        """The queue of a QueueUrl. Raises QueueDoesNotExist."""
        found = self.queues.find(self.key(ctx, url))
        if found is None:
            raise no_queue()
        return found

    def live_by_arn(self, arn: str) -> LiveQueue | None:
        parts = arn.split(":")
        if len(parts) != 6 or parts[0] != "arn" or parts[2] != "sqs":
            return None
        return self.queues.find((parts[4], parts[3], parts[5]))


def _parse(url: str, region: str) -> Key:
    if not url:
        raise missing("QueueUrl")
    if len(url) > _MAX_URL:
        raise bad_address(url[:_MAX_URL])
    try:
        parsed = urlsplit(url)
        host = parsed.hostname or ""
    except ValueError:
        raise bad_address(url) from None
    parts = unquote(parsed.path).strip("/").split("/")
    if len(parts) < 2 or not _ACCOUNT.fullmatch(parts[-2]) or not parts[-1]:
        raise bad_address(url)
    named = _REGION.search(host)
    return (parts[-2], named[1] if named else region, parts[-1])


def queue_url(ctx: Context, account_id: str, name: str) -> str:
    return f"{ctx.endpoint}/{account_id}/{name}"
