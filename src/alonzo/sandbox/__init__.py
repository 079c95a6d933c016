"""Isolated execution environments; the only code that starts processes."""
