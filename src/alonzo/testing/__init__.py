"""What users import in their tests: a server of their own, a clock that jumps."""

from alonzo.testing.server import Server

__all__ = ["Server"]
