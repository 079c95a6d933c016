"""Finding the secret behind an access key id."""

from __future__ import annotations

import configparser
import io
from collections import OrderedDict
from pathlib import Path

from alonzo.config import Settings
from alonzo.core.context import Principal
from alonzo.core.dataclasses import dataclass
from alonzo.core.identity import Credential, Sessions, account_in_key, make_access_key_id
from alonzo.core.ids import Ids
from alonzo.services.iam import store
from alonzo.services.iam.identities import Identities
from alonzo.storage import Database
from alonzo.storage.private import read_or_create

#: Credentials kept in memory.
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class AdminKey:
    """The administrator's key that the first start makes."""

    access_key_id: str
    secret: str


def admin_key_path(data_dir: Path) -> Path:
    return data_dir / "credentials"


def ensure_admin_key(settings: Settings, ids: Ids) -> AdminKey:
    """The administrator's key: read from the data folder, or made and kept there (mode 0600, AWS's INI style).

    An ephemeral server keeps it nowhere. Raises ValueError where the file is broken.
    """
    made = AdminKey(make_access_key_id(ids, "AKIA", settings.account_id), ids.secret())
    if settings.ephemeral:
        return made
    path = admin_key_path(settings.data_dir)
    return _parse(read_or_create(path, lambda: _write(made, settings.region)), path)


def read_admin_key(data_dir: Path) -> AdminKey | None:
    """The key of a server that has been started on this folder, for `alonzo env`; None before the first start."""
    path = admin_key_path(data_dir)
    return _parse(path.read_bytes(), path) if path.exists() else None


def _write(key: AdminKey, region: str) -> bytes:
    text = io.StringIO()
    parser = configparser.RawConfigParser()
    parser["default"] = {
        "aws_access_key_id": key.access_key_id,
        "aws_secret_access_key": key.secret,
        "region": region,
    }
    parser.write(text)
    return text.getvalue().encode()


def _parse(data: bytes, path: Path) -> AdminKey:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(data.decode())
        section = parser["default"]
        return AdminKey(section["aws_access_key_id"], section["aws_secret_access_key"])
    except (configparser.Error, KeyError, UnicodeDecodeError):
        raise ValueError(
            f"The file {path} holds no access key. Delete it, and the next start makes a new administrator's key."
        ) from None


class IamCredentials:
    """core.identity.Credentials over users' keys, STS's sessions, and the customary keys of loopback."""

    def __init__(self, db: Database, identities: Identities, settings: Settings) -> None:
        self._db = db
        self._identities = identities
        self._settings = settings
        self._sessions: Sessions | None = None
        self._admin: Credential | None = None
        self._kept: OrderedDict[tuple[str, str | None], Credential] = OrderedDict()
        self._generation = -1

    def use_sessions(self, sessions: Sessions) -> None:
        """STS's side, handed over by the composition root."""
        self._sessions = sessions

    def use_admin(self, key: AdminKey) -> None:
        principal = Principal.root(self._settings.account_id, key.access_key_id)
        self._admin = Credential(key.access_key_id, key.secret, None, principal)
        self._kept.clear()

    async def find(self, access_key_id: str, session_token: str | None = None) -> Credential | None:
        """The credential, expired or not; None where it is unknown, disabled or its token forged."""
        if self._generation != self._identities.generation:
            self._kept.clear()
            self._generation = self._identities.generation
        key = (access_key_id, session_token)
        found = self._kept.get(key)
        if found is None:
            found = self._look_up(access_key_id, session_token)
            if found is not None:
                self._kept[key] = found
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return found

    def remembered(self, access_key_id: str, session_token: str | None) -> Credential | None:
        if self._generation != self._identities.generation:
            return None
        return self._kept.get((access_key_id, session_token))

    def _look_up(self, access_key_id: str, session_token: str | None) -> Credential | None:
        if self._settings.loopback_only and not access_key_id.startswith(("AKIA", "ASIA")):
            return self._customary(access_key_id)
        if self._admin is not None and access_key_id == self._admin.access_key_id:
            return self._admin
        if access_key_id.startswith("ASIA"):
            if self._sessions is None or not session_token:
                return None
            return self._sessions.find(access_key_id, session_token)
        return self._long_term(access_key_id)

    def _customary(self, access_key_id: str) -> Credential | None:
        """`test`/`test`, and account numbers: what people's tools send to local servers."""
        if access_key_id == "test":
            principal = Principal.root(self._settings.account_id, "test")
            return Credential("test", "test", None, principal, strict_token=False)
        if len(access_key_id) == 12 and access_key_id.isascii() and access_key_id.isdigit():
            principal = Principal.root(access_key_id, access_key_id)
            return Credential(access_key_id, "", None, principal, check_signature=False, strict_token=False)
        return None

    def _long_term(self, access_key_id: str) -> Credential | None:
        account_id = account_in_key(access_key_id)
        if account_id is None:
            return None
        key = self._db.read_nowait(lambda c: store.find_key(c, account_id, access_key_id))
        if key is None or not key.active:
            return None
        user = self._db.read_nowait(lambda c: store.find(c, account_id, "user", key.user))
        if user is None:
            return None
        principal = Principal("user", account_id, user.arn, user.entity_id, access_key_id, name=user.name)
        return Credential(access_key_id, key.secret, None, principal)
