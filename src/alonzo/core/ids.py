"""Identifiers: chance is a parameter too, so that tests can hold it still."""

from __future__ import annotations

import os
import random
import string
import uuid

_UPPER_DIGITS = string.ascii_uppercase + string.digits
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Ids:
    """Makes every random identifier. Give a seed to make them repeatable (never outside tests)."""

    def __init__(self, seed: int | None = None) -> None:
        self._seed = seed
        self._rng: random.Random = random.SystemRandom() if seed is None else random.Random(seed)

    def token_bytes(self, n: int) -> bytes:
        return os.urandom(n) if self._seed is None else self._rng.randbytes(n)

    def uuid(self) -> str:
        """A version 4 UUID, lower case with hyphens: request ids, revision ids."""
        return str(uuid.UUID(bytes=self.token_bytes(16), version=4))

    def hex(self, n: int) -> str:
        """`n` hexadecimal digits."""
        return self.token_bytes((n + 1) // 2).hex()[:n]

    def upper(self, n: int) -> str:
        """`n` characters of A-Z and 0-9."""
        return "".join(self._rng.choices(_UPPER_DIGITS, k=n))

    def unique_id(self, prefix: str) -> str:
        """An IAM unique identifier: a four-letter prefix (AROA, AIDA, ANPA, ASIA, AKIA) and 17 more characters.

        Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
        """
        return prefix + "".join(self._rng.choices(_BASE32, k=16))

    def secret(self) -> str:
        """A 40-character secret access key."""
        return "".join(self._rng.choices(string.ascii_letters + string.digits + "+/", k=40))
