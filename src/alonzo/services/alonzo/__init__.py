"""Alonzo's own API: the bill, the queue, the runtimes, the isolation. Called as any AWS service is."""

from __future__ import annotations

from functools import partial

from alonzo.dispatch import Parts, Service, bind
from alonzo.services.alonzo.access import access
from alonzo.services.alonzo.installing import Installer
from alonzo.services.alonzo.operations import cost, events, machine, runtimes
from alonzo.services.alonzo.state import Engine, Machine, Runtimes, Sandbox


def build(parts: Parts, engine: Engine, sandbox: Sandbox, prepared: Runtimes) -> Service:
    installer = Installer(prepared)
    state = Machine(parts, engine, sandbox, prepared, installer, parts.clock.monotonic())
    return Service(
        name="alonzo",
        handlers=bind("alonzo", state, (cost, events, machine, runtimes)),
        access=access,
        run=partial(installer.run),
    )
