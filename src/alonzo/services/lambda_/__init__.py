"""AWS Lambda's API: functions and what belongs to them. Running them is the engine's work.

A customer takes outbound internet from a function with the tag `alonzo:internet` = `off` (TagResource, or Tags at
CreateFunction); without the tag it is on where the host allows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from alonzo.core.dataclasses import dataclass
from alonzo.core.dataplane import DataPlane
from alonzo.core.streams import FileBody
from alonzo.dispatch import Parts, Service, bind
from alonzo.services.lambda_.access import AccessRules
from alonzo.services.lambda_.code_links import CodeLinks
from alonzo.services.lambda_.dataplane import FunctionUrls
from alonzo.services.lambda_.mapping_keeper import MappingKeeper
from alonzo.services.lambda_.operations import MODULES
from alonzo.services.lambda_.operations.invoke import PromptInvoke
from alonzo.services.lambda_.ports import Engine, Runtimes
from alonzo.services.lambda_.preparation import Preparation
from alonzo.services.lambda_.provisioning import Provisioning
from alonzo.services.lambda_.source import Functions
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import code
from alonzo.services.lambda_.targets import Targets


@dataclass(frozen=True, slots=True)
class Lambda:
    """The service, and what the gateway serves beside it.

    `code_link` opens the token that GetFunction's Code.Location ends with, below `/_alonzo/code/` (None: forged,
    expired or gone). `function_urls` answers requests to function URLs.
    """

    service: Service
    code_link: Callable[[str], Awaitable[FileBody | None]]
    function_urls: DataPlane


def build(parts: Parts, engine: Engine, runtimes: Runtimes) -> Lambda:
    """The service. `engine.functions` is set to its source of functions."""
    links = CodeLinks(parts.blobs, parts.clock, parts.ids)
    state = State(parts, engine, runtimes, Targets(parts.db), links)
    preparation = Preparation(state)
    state.prepare = preparation.add
    state.sweep = preparation.ask_sweep
    engine.functions = Functions(state)
    provisioning = Provisioning(state)
    state.tidy, state.changed, state.provisioning = provisioning.tidy, provisioning.changed, provisioning.add

    keeper = MappingKeeper(state)
    state.mapping_changed = keeper.changed

    async def start() -> None:
        await preparation.resume()
        await provisioning.resume()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(preparation.run())
            group.create_task(provisioning.run())
            group.create_task(keeper.run())

    async def live_blobs() -> set[str]:
        return await parts.db.scan(code.live_blobs)

    service = Service(
        name="lambda",
        handlers=bind("lambda", state, MODULES),
        access=AccessRules(state),
        denied_code="AccessDeniedException",
        prompt={"Invoke": PromptInvoke(state)},
        start=start,
        run=run,
        live_blobs=live_blobs,
    )
    return Lambda(service, links.open, FunctionUrls(state).serve)
