"""STS: temporary credentials for roles and users, and who somebody is."""

from __future__ import annotations

from alonzo.core.dataclasses import dataclass
from alonzo.core.identity import IdentitySource, SessionTaker
from alonzo.dispatch import Parts, Service, bind
from alonzo.services.sts import operations
from alonzo.services.sts.access import access_of
from alonzo.services.sts.sessions import SealedSessions
from alonzo.services.sts.state import State
from alonzo.storage.private import read_or_create

__all__ = ["Sts", "build"]


@dataclass(frozen=True, slots=True)
class Sts:
    """The service, and the credentials that now know its sessions too."""

    service: Service
    sessions: SealedSessions
    credentials: SessionTaker


def build(parts: Parts, iam: IdentitySource) -> Sts:
    """Reads or makes the key that seals sessions (`sessions.key` in the data folder, mode 0600)."""
    key = (
        parts.ids.token_bytes(32)
        if parts.settings.ephemeral
        else read_or_create(parts.settings.data_dir / "sessions.key", lambda: parts.ids.token_bytes(32))
    )
    sessions = SealedSessions(key, parts.ids)
    iam.credentials.use_sessions(sessions)
    state = State(parts, iam.identities, sessions)
    service = Service(
        name="sts",
        handlers=bind("sts", state, (operations,)),
        access=access_of(state),
        denied_code="AccessDenied",
    )
    return Sts(service, sessions, iam.credentials)
