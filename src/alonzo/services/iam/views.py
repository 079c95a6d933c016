"""Rows as IAM shows them. Policy documents go over the wire percent-encoded, as AWS sends them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from alonzo.services.iam.models import AccessKey, Entity, ManagedPolicy, Version
from alonzo.services.iam.state import moment, tag_list

_NAME = {"user": "UserName", "role": "RoleName", "group": "GroupName"}
_ID = {"user": "UserId", "role": "RoleId", "group": "GroupId"}


def document(text: str) -> str:
    return quote(text, safe="-_.~")


def brief(entity: Entity) -> dict[str, Any]:
    """As lists show it: without tags and boundary."""
    shown: dict[str, Any] = {
        "Path": entity.path,
        _NAME[entity.kind]: entity.name,
        _ID[entity.kind]: entity.entity_id,
        "Arn": entity.arn,
        "CreateDate": moment(entity.created_at),
    }
    if entity.kind == "role":
        shown["AssumeRolePolicyDocument"] = document(entity.trust)
        shown["MaxSessionDuration"] = entity.max_session_s
        if entity.description:
            shown["Description"] = entity.description
    return shown


def full(entity: Entity) -> dict[str, Any]:
    shown = brief(entity)
    if entity.boundary:
        shown["PermissionsBoundary"] = {
            "PermissionsBoundaryType": "Policy",
            "PermissionsBoundaryArn": entity.boundary,
        }
    if entity.tags:
        shown["Tags"] = tag_list(entity.tags)
    return shown


def policy(one: ManagedPolicy, attached: int, boundaries: int, *, detail: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "PolicyName": one.name,
        "PolicyId": one.policy_id,
        "Arn": one.arn,
        "Path": one.path,
        "DefaultVersionId": f"v{one.default}",
        "AttachmentCount": attached,
        "PermissionsBoundaryUsageCount": boundaries,
        "IsAttachable": True,
        "CreateDate": moment(one.created_at),
        "UpdateDate": moment(one.updated_at),
    }
    if detail:
        if one.description:
            shown["Description"] = one.description
        shown["Tags"] = tag_list(one.tags)
    return shown


def version(one: Version, default: int, *, with_document: bool = False) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "VersionId": one.name,
        "IsDefaultVersion": one.number == default,
        "CreateDate": moment(one.created_at),
    }
    if with_document:
        shown["Document"] = document(one.document)
    return shown


def access_key(one: AccessKey) -> dict[str, Any]:
    return {
        "UserName": one.user,
        "AccessKeyId": one.access_key_id,
        "Status": "Active" if one.active else "Inactive",
        "CreateDate": moment(one.created_at),
    }


def attached_policy(arn: str) -> dict[str, str]:
    return {"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn}
