"""URLs under which a code archive can be fetched for ten minutes, as GetFunction gives them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

from alonzo.core.clock import Clock
from alonzo.core.ids import Ids
from alonzo.core.streams import FileBody
from alonzo.storage import Blobs

LIFETIME_S = 600
#: The gateway answers GET below this path with the archive, or 403 where `resolve` gives None.
PREFIX = "/_alonzo/code/"


class CodeLinks:
    """Signs and opens tokens. The key lives as long as the process, so a restart ends every link."""

    def __init__(self, blobs: Blobs, clock: Clock, ids: Ids) -> None:
        self._blobs = blobs
        self._clock = clock
        self._key = ids.token_bytes(32)

    def url(self, endpoint: str, blob_id: str) -> str:
        """A URL for a blob, valid from now on."""
        facts = f"{blob_id}.{int(self._clock.now()) + LIFETIME_S}"
        return f"{endpoint}{PREFIX}{facts}.{self._sign(facts)}"

    async def open(self, token: str) -> FileBody | None:
        """The archive that a token names, to be sent; None like `resolve`."""
        path = self.resolve(token)
        if path is None:
            return None
        return FileBody(path, 0, path.stat().st_size)

    def resolve(self, token: str) -> Path | None:
        """The archive that a token names; None if the token is forged or expired, or the archive gone."""
        facts, _, signature = token.rpartition(".")
        if not facts or not hmac.compare_digest(signature.encode(), self._sign(facts).encode()):
            return None
        blob_id, _, expires = facts.partition(".")
        if int(expires) < self._clock.now():
            return None
        path = self._blobs.path(blob_id)
        return path if path.is_file() else None

    def _sign(self, facts: str) -> str:
        digest = hmac.digest(self._key, facts.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
