"""Temporary credentials that nobody has to store: the session token is the session, sealed.

A token holds the principal, its policies and its end, and a MAC over them under a key of this data folder; the secret
is derived from the same bytes. So sessions survive a restart and cost no write, and what was issued cannot be altered.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import zlib
from typing import Any

import orjson

from alonzo.core.context import Principal
from alonzo.core.dataclasses import dataclass
from alonzo.core.identity import Credential, make_access_key_id
from alonzo.core.ids import Ids

_MAC = 32
_VERSION = b"\x01"
#: No token that we sealed is longer; nor is one unpacked beyond this.
MAX_TOKEN = 24_000
_MAX_PLAIN = 64_000


@dataclass(frozen=True, slots=True)
class Issued:
    """A new session. `expires_at` is epoch seconds; `packed_bytes` is what session policies and tags take."""

    access_key_id: str
    secret: str
    session_token: str
    expires_at: float
    packed_bytes: int


class SealedSessions:
    """core.identity.Sessions."""

    def __init__(self, key: bytes, ids: Ids) -> None:
        """`key`: 32 secret bytes."""
        self._mac_key = hmac.digest(key, b"session token", "sha256")
        self._secret_key = hmac.digest(key, b"session secret", "sha256")
        self._ids = ids

    def issue(self, principal: Principal, expires_at: float) -> Issued:
        key_id = make_access_key_id(self._ids, "ASIA", principal.account_id)
        session = {
            "k": key_id,
            "e": expires_at,
            "i": principal.issued_at,
            "t": principal.kind,
            "a": principal.account_id,
            "n": principal.name,
            "u": principal.user_id,
            "r": principal.arn,
            "o": principal.role_arn,
        }
        extra = {"p": principal.session_policies, "g": principal.tags}
        packed = len(zlib.compress(orjson.dumps(extra))) if any(extra.values()) else 0
        body = _VERSION + self._ids.token_bytes(8) + zlib.compress(orjson.dumps({**session, **extra}))
        token = base64.b64encode(hmac.digest(self._mac_key, body, "sha256") + body).decode()
        return Issued(key_id, self._secret(body), token, expires_at, packed)

    def find(self, access_key_id: str, session_token: str) -> Credential | None:
        """The credential of a token, expired or not; None where it is forged or another key's."""
        if len(session_token) > MAX_TOKEN:
            return None
        found = self._open(session_token)
        return found if found is not None and found.access_key_id == access_key_id else None

    def _open(self, token: str) -> Credential | None:
        try:
            raw = base64.b64decode(token, validate=True)
        except (binascii.Error, ValueError):
            return None
        mac, body = raw[:_MAC], raw[_MAC:]
        if not hmac.compare_digest(mac, hmac.digest(self._mac_key, body, "sha256")):
            return None
        if body[:1] != _VERSION:
            return None
        session: dict[str, Any] = orjson.loads(zlib.decompressobj().decompress(body[9:], _MAX_PLAIN))
        principal = Principal(
            kind=session["t"],
            account_id=session["a"],
            arn=session["r"],
            user_id=session["u"],
            access_key_id=session["k"],
            role_arn=session["o"],
            session_policies=tuple(session["p"]),
            name=session["n"],
            tags=tuple((key, value) for key, value in session["g"]),
            issued_at=session["i"],
        )
        return Credential(session["k"], self._secret(body), token, principal, session["e"])

    def _secret(self, body: bytes) -> str:
        return base64.b64encode(hmac.digest(self._secret_key, body, "sha256")[:30]).decode()
