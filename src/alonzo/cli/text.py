"""What others wrote, made safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Without control characters: a hostile function must not command the terminal."""
    return "".join(char if char.isprintable() or char in "\t\n" else "\ufffd" for char in text)
