"""The log shipper while the store of logs fails."""

from __future__ import annotations

from typing import Any, cast

from alonzo.core.context import Context, Principal
from alonzo.core.ids import Ids
from alonzo.dispatch import Dispatcher
from alonzo.engine.log_shipper import STREAM_LIMIT, LogShipper, LogStream
from alonzo.storage import DiskFull
from alonzo.testing.clock import FakeClock


class Store:
    """Stands for the dispatcher: keeps what is put, unless its disk is full."""

    def __init__(self) -> None:
        self.full = False
        self.kept: list[str] = []

    async def call(self, ctx: Context, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        if self.full:
            raise DiskFull("No space.")
        self.kept += [event["message"] for event in params.get("logEvents", ())]
        return {}


def stream() -> LogStream:
    return LogStream("000000000000", "us-east-1", "/aws/lambda/f", "s", Principal.root("000000000000"))


async def test_lines_wait_for_room_and_keep_their_order() -> None:
    """What cannot be stored is kept, tried again after a second, and comes before what was written meanwhile."""
    store, clock, one = Store(), FakeClock(), stream()
    shipper = LogShipper(cast(Dispatcher, store), clock, Ids(), 100)
    shipper.append(one, None, "first\n")
    store.full = True
    await shipper.flush()
    shipper.append(one, None, "second\n")
    store.full = False
    await shipper.flush()
    assert store.kept == []  # not yet: a full disk is not asked all the time
    await clock.advance(1.1)
    await shipper.flush()
    assert store.kept == ["first\n", "second\n"]


async def test_a_store_that_fails_stops_no_function() -> None:
    """A function need not wait for a store that fails: what is over the bound is dropped, and counted once it works."""
    store, clock, one = Store(), FakeClock(), stream()
    shipper = LogShipper(cast(Dispatcher, store), clock, Ids(), 100)
    shipper.append(one, None, "x" * 1000)
    store.full = True
    await shipper.flush()
    for _ in range(3 * STREAM_LIMIT // 1000):
        shipper.append(one, None, "y" * 1000)
        assert not shipper.full(one)
    assert one.pending_bytes <= 2 * STREAM_LIMIT
    store.full = False
    await clock.advance(1.1)
    await shipper.flush()
    assert store.kept[0] == "x" * 1000
    assert "log events were dropped" in store.kept[-1]
    assert one.pending_bytes == 0


async def test_a_clean_stop_stores_what_was_held() -> None:
    """The last call before the end does not wait for the second to pass."""
    store, one = Store(), stream()
    shipper = LogShipper(cast(Dispatcher, store), FakeClock(), Ids(), 100)
    shipper.append(one, None, "held\n")
    store.full = True
    await shipper.flush()
    store.full = False
    await shipper.drain()
    assert store.kept == ["held\n"]
