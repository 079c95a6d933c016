"""What STS's operations share."""

from __future__ import annotations

from alonzo.core.dataclasses import dataclass
from alonzo.core.identity import Identities
from alonzo.dispatch import Parts
from alonzo.services.sts.sessions import SealedSessions


@dataclass(frozen=True, slots=True)
class State:
    parts: Parts
    identities: Identities
    sessions: SealedSessions
