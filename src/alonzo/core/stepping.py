"""Running a coroutine without a task: for those that wait once or twice, on futures, and of which there are many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


def step(coroutine: Coroutine[Any, Any, None], done: Callable[[BaseException | None], None]) -> None:
    """Run `coroutine` as far as it goes now, and on whenever what it waits for is there; then tell `done`.

    It has no task: it can neither be cancelled nor use `asyncio.timeout` or a TaskGroup.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        done(None)
        return
    except (Exception, asyncio.CancelledError) as error:
        done(error)
        return
    if awaited is None:  # a bare yield, as of asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(step, coroutine, done)
        return
    awaited._asyncio_future_blocking = False  # what a task does: it says that the future has been awaited
    awaited.add_done_callback(lambda _: step(coroutine, done))
