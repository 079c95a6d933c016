"""What IAM keeps, and how much of it.

Source of the limits: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

from __future__ import annotations

from typing import Literal

from alonzo.core.arn import PARTITION
from alonzo.core.dataclasses import dataclass

Kind = Literal["user", "role", "group"]
Tags = tuple[tuple[str, str], ...]

#: Entities of an account.
QUOTA = {"user": 5000, "role": 1000, "group": 300, "policy": 1500}
QUOTA_NAME = {"user": "UsersPerAccount", "role": "RolesPerAccount", "group": "GroupsPerAccount"}
#: Inline policies of one entity together, characters without white space.
INLINE_SIZE = {"user": 2048, "role": 10240, "group": 5120}
MANAGED_SIZE = 6144
TRUST_SIZE = 2048
ATTACHED = 10
VERSIONS = 5
ACCESS_KEYS = 2
GROUPS_OF_USER = 10
TAGS = 50
MIN_SESSION_S, MAX_SESSION_S = 3600, 43200
#: First letters of unique ids.
PREFIX = {"user": "AIDA", "role": "AROA", "group": "AGPA", "policy": "ANPA"}


@dataclass(frozen=True, slots=True)
class Entity:
    """A user, role or group. `created_at` is epoch seconds; `trust` is a role's document."""

    account_id: str
    kind: Kind
    name: str
    path: str
    entity_id: str
    created_at: float
    tags: Tags = ()
    boundary: str = ""
    trust: str = ""
    description: str = ""
    max_session_s: int = 3600

    @property
    def arn(self) -> str:
        return f"arn:{PARTITION}:iam::{self.account_id}:{self.kind}{self.path}{self.name}"


@dataclass(frozen=True, slots=True)
class ManagedPolicy:
    """`account_id` is `aws` for AWS's own. `default` is the number of the default version."""

    account_id: str
    name: str
    path: str
    policy_id: str
    created_at: float
    updated_at: float
    default: int
    description: str = ""
    tags: Tags = ()
    next_version: int = 2

    @property
    def arn(self) -> str:
        return f"arn:{PARTITION}:iam::{self.account_id}:policy{self.path}{self.name}"


@dataclass(frozen=True, slots=True)
class Version:
    number: int
    document: str
    created_at: float

    @property
    def name(self) -> str:
        return f"v{self.number}"


@dataclass(frozen=True, slots=True)
class AccessKey:
    account_id: str
    user: str
    access_key_id: str
    secret: str
    active: bool
    created_at: float
