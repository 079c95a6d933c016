"""Identifiers: chance is a parameter too, so that tests can hold it still."""

from __future__ import annotations

import os
import random
import string
import threading

_UPPER_DIGITS = string.ascii_uppercase + string.digits
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
#: Random bytes fetched from the system at once: every request takes some, and the call costs more than they do.
_POOL = 4096


class Ids:
    """Makes every random identifier. Give a seed to make them repeatable (never outside tests)."""

    def __init__(self, seed: int | None = None) -> None:
        self._seed = seed
        self._rng: random.Random = random.SystemRandom() if seed is None else random.Random(seed)
        self._lock = threading.Lock()  # transactions run on the writer's thread
        self._pool = b""
        self._used = 0

    def token_bytes(self, n: int) -> bytes:
        """`n` random bytes, fit for secrets: each byte is handed out once."""
        if self._seed is not None:
            return self._rng.randbytes(n)
        with self._lock:
            start, end = self._used, self._used + n
            if end > len(self._pool):
                self._pool, start, end = os.urandom(max(_POOL, n)), 0, n
            self._used = end
            return self._pool[start:end]

    def uuid(self) -> str:
        """A version 4 UUID, lower case with hyphens: request ids, revision ids."""
        digits = self.token_bytes(16).hex()
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"

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
        return prefix + "".join(self._rng.choices(_BASE32, k=17))

    def secret(self) -> str:
        """A 40-character secret access key."""
        return "".join(self._rng.choices(string.ascii_letters + string.digits + "+/", k=40))
