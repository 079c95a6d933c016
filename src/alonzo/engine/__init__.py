"""Runs functions: environments, the Runtime API, concurrency, the durable queue and what it delivers."""

from alonzo.engine.engine import Engine
from alonzo.engine.source import EventConfig, FunctionSource

__all__ = ["Engine", "EventConfig", "FunctionSource"]
