"""IAM: users, roles, groups, policies, access keys; and the decisions that follow from them."""

from __future__ import annotations

from alonzo.core.dataclasses import dataclass
from alonzo.dispatch import Parts, Service, bind
from alonzo.services.iam.access import access_of
from alonzo.services.iam.authorizer import IamAuthorizer
from alonzo.services.iam.credentials import AdminKey, IamCredentials, ensure_admin_key, read_admin_key
from alonzo.services.iam.identities import Identities
from alonzo.services.iam.managed import AwsPolicies
from alonzo.services.iam.operations import account, attachments, groups, inline_policies, policies, roles, users
from alonzo.services.iam.state import State

__all__ = ["AdminKey", "Iam", "build", "ensure_admin_key", "read_admin_key"]


@dataclass(frozen=True, slots=True)
class Iam:
    """What the composition root hands on: the service, who decides, who finds secrets, and STS's view of it."""

    service: Service
    authorizer: IamAuthorizer
    credentials: IamCredentials
    identities: Identities


def build(parts: Parts) -> Iam:
    aws = AwsPolicies()
    identities = Identities(parts.db, aws)
    authorizer = IamAuthorizer(identities, parts.clock)
    credentials = IamCredentials(parts.db, identities, parts.settings)
    state = State(parts, identities, aws, authorizer)

    async def start() -> None:
        credentials.use_admin(ensure_admin_key(parts.settings, parts.ids))

    service = Service(
        name="iam",
        handlers=bind("iam", state, (users, roles, groups, policies, attachments, inline_policies, account)),
        access=access_of(state),
        denied_code="AccessDenied",
        start=start,
    )
    return Iam(service, authorizer, credentials, identities)
