"""Event source mappings at work: a poller for each takes what its source holds and runs the function with it."""

from alonzo.engine.pollers.base import Mapping, Poller, Tools
from alonzo.engine.pollers.running import Pollers

__all__ = ["Mapping", "Poller", "Pollers", "Tools"]
