"""Resource policies of functions, versions and aliases: what the operations on them have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from alonzo.core.errors import ServiceError
from alonzo.services.lambda_.errors import function_not_found, not_found
from alonzo.services.lambda_.models import LATEST, MAX_POLICY, Alias
from alonzo.services.lambda_.names import FunctionRef, is_alias
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import attachments, functions

NONE_SHOWN = "The resource you requested does not exist."
NONE_TO_CHANGE = "No policy is associated with the given resource."


def revision(connection: Connection, ref: FunctionRef) -> str:
    """The revision of what a policy hangs on: they are the same. Raises where that is not there."""
    if is_alias(ref.qualifier):
        return _alias(connection, ref).revision_id
    version = functions.get_version(connection, ref.key, ref.qualifier or LATEST)
    if version is None:
        raise function_not_found(ref.qualified_arn)
    return version.revision_id


def replace(connection: Connection, state: State, ref: FunctionRef, document: Mapping[str, Any] | None) -> str:
    """Put a policy in the place of what is there, or remove it (None); returns the new revision.

    Raises PolicyLengthExceededException.
    """
    size = len(attachments.policy_text(document) or "")
    if size > MAX_POLICY:
        raise ServiceError(
            "PolicyLengthExceededException",
            f"The final policy size ({size}) is bigger than the limit ({MAX_POLICY}).",
            fields={"Type": "User"},
        )
    attachments.put_policy(connection, ref.key, ref.qualifier, document)
    new = state.new_id()
    if is_alias(ref.qualifier):
        attachments.touch_alias(connection, ref.key, ref.qualifier, new)
    else:
        functions.touch(connection, ref.key, ref.qualifier or LATEST, new)
    return new


def _alias(connection: Connection, ref: FunctionRef) -> Alias:
    found = attachments.get_alias(connection, ref.key, ref.qualifier)
    if found is None:
        # AWS tells a name that could be an alias from one that could not.
        if "$" in ref.qualifier:
            raise function_not_found(ref.qualified_arn)
        raise not_found(f"Cannot find alias arn: {ref.qualified_arn}")
    return found
