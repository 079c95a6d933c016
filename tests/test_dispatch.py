"""The only way to an operation."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import pytest

from alonzo.core.errors import NotImplementedOperation
from alonzo.dispatch import Dispatcher, Service, bind
from alonzo.protocol.model import load_model


def test_what_is_prepared_is_read_once() -> None:
    """In whatever thread that is done, a first call then finds the model and the operation's checks."""
    module = ModuleType("operations")

    async def create_log_group(state: object, ctx: object, params: Any) -> dict[str, Any]:
        return {}

    create_log_group.__module__ = "operations"
    module.create_log_group = create_log_group  # type: ignore[attr-defined]

    async def access(*_: object) -> tuple[()]:
        return ()

    dispatcher = Dispatcher()
    dispatcher.prepare("logs", "CreateLogGroup")  # a service that is not there needs nothing
    dispatcher.add(Service("logs", bind("logs", None, [module]), access))
    load_model("logs").cache.pop(("validate", "CreateLogGroup"), None)
    thread = threading.Thread(target=dispatcher.prepare, args=("logs", "CreateLogGroup"))
    thread.start()
    thread.join(30)
    assert ("validate", "CreateLogGroup") in load_model("logs").cache
    with pytest.raises(NotImplementedOperation):
        dispatcher.prepare("logs", "DeleteLogGroup")
