"""What IAM's operations share."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from alonzo.core.arn import PARTITION
from alonzo.core.policy import MalformedPolicy, check_identity, check_trust, compile_policy
from alonzo.dispatch import Params, Parts, Result
from alonzo.services.iam import errors, store
from alonzo.services.iam.authorizer import IamAuthorizer
from alonzo.services.iam.identities import Identities
from alonzo.services.iam.managed import AwsPolicies
from alonzo.services.iam.models import TAGS, TRUST_SIZE, Entity, Kind, Tags

T = TypeVar("T")


class State:
    """Reads and writes IAM; every write makes cached decisions void before it returns."""

    def __init__(self, parts: Parts, identities: Identities, aws: AwsPolicies, authorizer: IamAuthorizer) -> None:
        self.parts = parts
        self.identities = identities
        self.aws = aws
        self.authorizer = authorizer

    async def read(self, query: Callable[[Connection], T]) -> T:
        return await self.parts.db.read(query)

    async def write(self, transaction: Callable[[Connection], T]) -> T:
        try:
            return await self.parts.db.write(transaction)
        finally:
            self.identities.changed()

    def now(self) -> float:
        """Whole seconds, as IAM's dates are."""
        return float(int(self.parts.clock.now()))


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def entity(c: Connection, account_id: str, kind: Kind, name: str) -> Entity:
    """Raises NoSuchEntity."""
    found = store.find(c, account_id, kind, name)
    if found is None:
        raise errors.missing(kind, name)
    return found


def tags_of(params: Params) -> Tags:
    """The parameter Tags. Raises InvalidInput where a key comes twice (their case is ignored)."""
    tags = tuple((tag["Key"], tag["Value"]) for tag in params.get("Tags", ()))
    check_tags(tags)
    return tags


def check_tags(tags: Tags) -> None:
    if len({key.lower() for key, _ in tags}) != len(tags):
        raise errors.invalid_input("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    if len(tags) > TAGS:
        raise errors.limit("The number of tags has reached the maximum limit.")
    if any(key.lower().startswith("aws:") for key, _ in tags):
        raise errors.invalid_input("Tag keys beginning with aws: are reserved for system use.")


def merged(old: Tags, new: Tags) -> Tags:
    """`new` replaces what `old` says under the same key."""
    replaced = {key.lower() for key, _ in new}
    tags = (*(tag for tag in old if tag[0].lower() not in replaced), *new)
    check_tags(tags)
    return tags


def without(old: Tags, keys: Sequence[str]) -> Tags:
    gone = {key.lower() for key in keys}
    return tuple(tag for tag in old if tag[0].lower() not in gone)


def tag_list(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags]


def size_of(document: str) -> int:
    """Characters that count towards a quota: white space does not."""
    return len("".join(document.split()))


def check_document(document: str, *, managed: bool = False) -> None:
    try:
        check_identity(document, managed=managed)
    except MalformedPolicy as error:
        raise errors.malformed(error) from None


def check_trust_document(document: str) -> None:
    if size_of(document) > TRUST_SIZE:
        raise errors.quota("ACLSizePerRole", TRUST_SIZE)
    try:
        check_trust(document)
    except MalformedPolicy as error:
        raise errors.malformed(error) from None


def check_trusted(c: Connection, account_id: str, document: str) -> None:
    """Users and roles of this account that a trust policy names must exist. Raises MalformedPolicyDocument."""
    for statement in compile_policy(document).statements:
        for value in sorted((statement.principals or {}).get("AWS", ())):
            kind, _, path = value.removeprefix(f"arn:{PARTITION}:iam::{account_id}:").partition("/")
            if kind not in ("user", "role"):
                continue
            found = store.find(c, account_id, "user" if kind == "user" else "role", path.rpartition("/")[2])
            if found is None or found.arn != value:
                raise errors.malformed(MalformedPolicy(f'Invalid principal in policy: "AWS":"{value}"'))


# -- paging -----------------------------------------------------------------------------------------------------------


def after(params: Params) -> str:
    """The key behind the parameter Marker. Raises ValidationError."""
    marker = params.get("Marker")
    if marker is None:
        return ""
    try:
        return base64.b64decode(marker, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise errors.invalid("Invalid Marker.") from None


def size(params: Params) -> int:
    return int(params.get("MaxItems", 100))


def paged(member: str, items: Sequence[T], key: Callable[[T], str], show: Callable[[T], Any], params: Params) -> Result:
    """One page of `items`, which are in order of `key` (a name, compared without case)."""
    start, limit = after(params), size(params)
    rest = [item for item in items if key(item).lower() > start] if start else list(items)
    result: Result = {member: [show(item) for item in rest[:limit]], "IsTruncated": len(rest) > limit}
    if len(rest) > limit:
        result["Marker"] = base64.urlsafe_b64encode(key(rest[limit - 1]).lower().encode()).decode()
    return result
