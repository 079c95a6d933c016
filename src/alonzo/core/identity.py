"""What those who verify, issue and decide on identities hand to one another.

IAM keeps users, roles and long-term keys; STS issues temporary ones. Services never import one another, so the
composition root gives each what it needs of the other as one of these small protocols.
"""

from __future__ import annotations

import base64
from typing import Protocol

from alonzo.core.context import Principal
from alonzo.core.dataclasses import dataclass
from alonzo.core.ids import Ids


@dataclass(frozen=True, slots=True)
class Credential:
    """An access key and whom it stands for.

    `session_token` is what the request must carry beside the key, None for long-term keys. `expires_at` is epoch
    seconds. `check_signature` is False only for the 12-digit keys that loopback allows.
    """

    access_key_id: str
    secret: str
    session_token: str | None
    principal: Principal
    expires_at: float | None = None
    check_signature: bool = True
    #: Whether a session token beside a key that needs none is an error, as it is on AWS.
    strict_token: bool = True


class Credentials(Protocol):
    """Finds the credential that a request was signed with."""

    async def find(self, access_key_id: str, session_token: str | None = None) -> Credential | None:
        """The credential, expired or not; None where there is none, it is disabled, or the token is not its own."""

    def remembered(self, access_key_id: str, session_token: str | None) -> Credential | None:
        """What `find` has found and would find again, without looking; None says nothing."""


class Sessions(Protocol):
    """STS's side: opens the session tokens it sealed."""

    def find(self, access_key_id: str, session_token: str) -> Credential | None:
        """The credential that a token seals, expired or not; None where the token is forged or another key's."""


@dataclass(frozen=True, slots=True)
class RoleView:
    """What STS must know of a role. `trust_policy` is its JSON document; `tags` are the role's own."""

    arn: str
    role_id: str
    name: str
    account_id: str
    trust_policy: str
    max_session_duration_s: int
    tags: tuple[tuple[str, str], ...] = ()


class Identities(Protocol):
    """IAM's side, as STS sees it."""

    def role(self, role_arn: str) -> RoleView | None: ...

    def managed_policy(self, policy_arn: str) -> str | None:
        """The default version's JSON document of a customer's or AWS's managed policy."""

    def account_of_key(self, access_key_id: str) -> str | None:
        """The account of a long-term key, whether active or not."""


class SessionTaker(Credentials, Protocol):
    """Credentials that also ask STS for its sessions."""

    def use_sessions(self, sessions: Sessions) -> None: ...


class IdentitySource(Protocol):
    """What STS is built from: IAM, without importing it."""

    @property
    def identities(self) -> Identities: ...

    @property
    def credentials(self) -> SessionTaker: ...


def make_access_key_id(ids: Ids, prefix: str, account_id: str) -> str:
    """An access key id (AKIA…, ASIA…) that carries its account the way AWS's do.

    Sixteen base-32 characters are ten bytes; the account is bits 1 to 40 of the first six.
    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    """
    rest = ids.token_bytes(5)
    head = (1 << 47) | (int(account_id) << 7) | (rest[0] & 0x7F)
    return prefix + base64.b32encode(head.to_bytes(6, "big") + rest[1:]).decode()


def account_in_key(access_key_id: str) -> str | None:
    """The account that `make_access_key_id` put into a key id; None where it holds none."""
    try:
        raw = base64.b32decode(access_key_id[4:20])
    except ValueError:
        return None
    if len(access_key_id) != 20 or not raw[0] & 0x80:
        return None
    account = (int.from_bytes(raw[:6], "big") & 0x7FFFFFFFFF80) >> 7
    return f"{account:012d}" if account < 10**12 else None
