"""What decisions need of IAM's rows, kept in memory until the next write."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.arn import parse_arn
from alonzo.core.context import Principal
from alonzo.core.dataclasses import dataclass
from alonzo.core.identity import RoleView, account_in_key
from alonzo.core.policy import Policy, compile_policy
from alonzo.services.iam import store
from alonzo.services.iam.managed import AwsPolicies
from alonzo.services.iam.models import Entity, Kind
from alonzo.storage import Database

#: Principals whose policies are kept compiled.
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Permissions:
    """The policies that speak about a principal. `exists` is False where the user or role has been deleted."""

    exists: bool
    identity: tuple[Policy, ...] = ()
    boundary: Policy | None = None
    tags: tuple[tuple[str, str], ...] = ()


_NOBODY = Permissions(False)


class Identities:
    """Reads IAM for those who authenticate and decide. `changed` must be called after every write."""

    def __init__(self, db: Database, aws: AwsPolicies) -> None:
        self._db = db
        self._aws = aws
        self._permissions: dict[tuple[str, str, str], Permissions] = {}
        self._roles: dict[str, RoleView | None] = {}
        #: Grows with every write; whoever keeps a decision compares it.
        self.generation = 0

    def changed(self) -> None:
        self.generation += 1
        self._permissions.clear()
        self._roles.clear()

    # -- for STS ------------------------------------------------------------------------------------------------------

    def role(self, role_arn: str) -> RoleView | None:
        try:
            return self._roles[role_arn]
        except KeyError:
            pass
        if len(self._roles) >= _KEPT:
            self._roles.clear()
        found = self._roles[role_arn] = self._load_role(role_arn)
        return found

    def _load_role(self, role_arn: str) -> RoleView | None:
        entity = self._by_arn(role_arn, "role")
        if entity is None or entity.arn != role_arn:
            return None
        return RoleView(
            entity.arn,
            entity.entity_id,
            entity.name,
            entity.account_id,
            entity.trust,
            entity.max_session_s,
            entity.tags,
        )

    def managed_policy(self, policy_arn: str) -> str | None:
        return self._db.read_nowait(lambda c: self.document(c, policy_arn))

    def account_of_key(self, access_key_id: str) -> str | None:
        account_id = account_in_key(access_key_id)
        if account_id is None:
            return None
        found = self._db.read_nowait(lambda c: store.find_key(c, account_id, access_key_id))
        return account_id if found is not None else None

    # -- for the authorizer -------------------------------------------------------------------------------------------

    def permissions(self, principal: Principal) -> Permissions:
        """The policies of a user or of the role behind a session."""
        arn = principal.role_arn or principal.arn
        owner = principal.user_id.partition(":")[0]
        key = (principal.kind, arn, owner)
        found = self._permissions.get(key)
        if found is None:
            kind: Kind = "role" if principal.kind == "role" else "user"
            found = self._load(arn, kind, owner)
            if len(self._permissions) >= _KEPT:
                self._permissions.clear()
            self._permissions[key] = found
        return found

    def _load(self, arn: str, kind: Kind, entity_id: str) -> Permissions:
        entity = self._by_arn(arn, kind)
        # A role that was deleted and made anew under the same name is another role.
        if entity is None or (entity_id and entity.entity_id != entity_id):
            return _NOBODY
        return self._db.read_nowait(lambda c: self._collect(c, entity))

    def _collect(self, c: Connection, entity: Entity) -> Permissions:
        sources = [entity]
        if entity.kind == "user":
            sources += store.groups_of(c, entity.account_id, entity.name)
        documents: list[str] = []
        for source in sources:
            documents += store.inline_of(c, source).values()
            documents += [text for arn in store.attached(c, source) if (text := self.document(c, arn)) is not None]
        boundary = self.document(c, entity.boundary) if entity.boundary else None
        return Permissions(
            True,
            tuple(compile_policy(text) for text in documents),
            compile_policy(boundary) if boundary is not None else None,
            entity.tags,
        )

    def _by_arn(self, arn: str, kind: Kind) -> Entity | None:
        try:
            parts = parse_arn(arn)
        except ValueError:
            return None
        name = parts.resource.rpartition("/")[2]
        if parts.service != "iam" or not parts.resource.startswith(kind + "/"):
            return None
        return self._db.read_nowait(lambda c: store.find(c, parts.account_id, kind, name))

    def document(self, c: Connection, policy_arn: str) -> str | None:
        """The default version of a managed policy."""
        own = self._aws.document(policy_arn)
        if own is not None:
            return own
        try:
            parts = parse_arn(policy_arn)
        except ValueError:
            return None
        policy = store.find_policy(c, parts.account_id, parts.resource.rpartition("/")[2])
        if policy is None or policy.arn != policy_arn:
            return None
        return next((one.document for one in store.versions_of(c, policy) if one.number == policy.default), None)
