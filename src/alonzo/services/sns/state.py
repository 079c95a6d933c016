"""What the handlers share: the parts, the topics that are in use, the signer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.patterns import Matcher, compile_pattern
from alonzo.dispatch import Parts
from alonzo.engine.queue import Queue
from alonzo.services.sns import store
from alonzo.services.sns.errors import no_topic
from alonzo.services.sns.models import Key, Subscription, Topic
from alonzo.services.sns.ordering import Groups
from alonzo.services.sns.signing import Signer

T = TypeVar("T")

#: Topics in memory, each with its subscriptions and their compiled filters.
_MAX_TOPICS = 1_000


class State:
    """One per server."""

    def __init__(self, parts: Parts, queue: Queue) -> None:
        self.parts = parts
        self.clock = parts.clock
        self.ids = parts.ids
        self.db = parts.db
        self.dispatcher = parts.dispatcher
        self.queue = queue
        self.signer = Signer(parts.db)
        self.groups = Groups()
        self._topics: dict[Key, Topic] = {}

    # -- topics -------------------------------------------------------------------------------------------------------

    def find_topic(self, key: Key) -> Topic | None:
        """A topic with its subscriptions, from memory or from the database. `write` keeps it up to date."""
        topic = self._topics.get(key)
        if topic is None:
            topic = self.db.read_nowait(lambda connection: _load(connection, key))
            if topic is not None:
                if len(self._topics) >= _MAX_TOPICS:
                    self._topics.clear()
                self._topics[key] = topic
        return topic

    def topic(self, key: Key) -> Topic:
        """Raises NotFound."""
        topic = self.find_topic(key)
        if topic is None:
            raise no_topic()
        return topic

    def find_subscription(self, key: Key, subscription_id: str) -> Subscription | None:
        topic = self.find_topic(key)
        return None if topic is None else topic.by_id.get(subscription_id)

    async def write(self, key: Key, work: Callable[[Connection], T]) -> T:
        """Change a topic or its subscriptions."""
        try:
            return await self.db.write(work)
        finally:
            self._topics.pop(key, None)

    async def write_subscription(self, key: Key, work: Callable[[Connection], Subscription]) -> Subscription:
        """Add a subscription: the others of the topic are not read again.

        Commits are reported in their order, so what is in memory is the state before this one, or already after it.
        """
        try:
            subscription = await self.db.write(work)
        except BaseException:
            self._topics.pop(key, None)
            raise
        topic = self._topics.get(key)
        if topic is not None and subscription.id not in topic.by_id:
            new = replace(subscription, matcher=matcher_of(subscription))
            self._topics[key] = topic.having((*topic.subscriptions, new))
        return subscription

    # -- where this server is -----------------------------------------------------------------------------------------

    def endpoint(self, ctx: Context) -> str:
        """For links: as the client reached this server; for what services publish, as it listens."""
        if ctx.principal.kind != "service" and ctx.client_ip:
            return ctx.endpoint
        settings = self.parts.settings
        host = "localhost" if settings.loopback_only else settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _load(connection: Connection, key: Key) -> Topic | None:
    topic = store.get_topic(connection, key)
    if topic is None:
        return None
    found = store.subscriptions_of(connection, key)
    return topic.having(tuple(replace(one, matcher=matcher_of(one)) for one in found))


def matcher_of(subscription: Subscription) -> Matcher | None:
    policy = subscription.attributes.get("FilterPolicy")
    return compile_pattern(policy, "sns", nested=subscription.filters_body) if policy else None
