"""What others wrote, made safe for a terminal."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Without control characters: a hostile function must not command the terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(char)[0] == "C" and char not in "\t\n" else char for char in text)
