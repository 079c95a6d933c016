"""Which permission each operation needs.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from alonzo.core.arn import arn
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Access, Params
from alonzo.services.lambda_.models import LATEST
from alonzo.services.lambda_.names import FunctionRef, function_ref, layer_ref
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import attachments, layers

#: Operations on no resource in particular.
_ACCOUNT = frozenset(
    {"ListFunctions", "GetAccountSettings", "ListLayers", "CreateCodeSigningConfig", "ListCodeSigningConfigs"}
)
#: Actions that are called otherwise than their operation.
_ACTIONS = {"InvokeAsync": "InvokeFunction", "GetLayerVersionByArn": "GetLayerVersion"}
#: Operations whose permission is one on the function, whatever qualifier is named.
_UNQUALIFIED = frozenset(
    {
        "AddPermission",
        "RemovePermission",
        "CreateAlias",
        "DeleteAlias",
        "GetAlias",
        "ListAliases",
        "UpdateAlias",
        "PublishVersion",
        "ListVersionsByFunction",
    }
)


class AccessRules:
    """The service's `access` hook."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, ctx: Context, operation: str, params: Params) -> Sequence[Access]:
        if operation in ("Invoke", "InvokeWithResponseStream"):
            return self._invoke(ctx, params["FunctionName"], params.get("Qualifier"))
        if operation == "InvokeAsync":
            return self._invoke(ctx, params["FunctionName"], None)
        action = f"lambda:{_ACTIONS.get(operation, operation)}"
        if operation in _ACCOUNT:
            return (Access(action, "*", resource_account=ctx.account_id, conditions=_tag_conditions(params)),)
        if "LayerName" in params or operation == "GetLayerVersionByArn":
            return (await self._layer(ctx, action, operation, params),)
        if "EventSourceMapping" in operation:
            return (_mapping(ctx, action, params),)
        if "ResourceArn" in params:
            return (await self._policy(ctx, action, params["ResourceArn"]),)
        if "Resource" in params:
            return (Access(action, params["Resource"], resource_account=params["Resource"].split(":")[4]),)
        signing: tuple[Access, ...] = ()
        if "CodeSigningConfigArn" in params and operation != "CreateFunction":
            config_arn = params["CodeSigningConfigArn"]
            signing = (Access(action, config_arn, resource_account=config_arn.split(":")[4]),)
        if "FunctionName" not in params:
            return signing
        return (*signing, await self._function(ctx, action, operation, params))

    def _invoke(self, ctx: Context, name: str, qualifier: str | None) -> Sequence[Access]:
        try:
            return self._state.targets.find(ctx, name, qualifier).access
        except ServiceError as error:
            if error.code != "ResourceNotFoundException":
                raise
            # Who may not invoke it is not told whether it exists.
            ref = function_ref(ctx, name, qualifier)
            return (Access("lambda:InvokeFunction", ref.qualified_arn, resource_account=ref.account_id),)

    async def _function(self, ctx: Context, action: str, operation: str, params: Params) -> Access:
        ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))
        if operation in _UNQUALIFIED:
            ref = FunctionRef(ref.account_id, ref.region, ref.name)
        qualifier = "" if ref.qualifier == LATEST else ref.qualifier

        def read(connection: Connection) -> str | None:
            return attachments.policy_text(attachments.get_policy(connection, ref.key, qualifier))

        return Access(
            action,
            ref.qualified_arn,
            resource_account=ref.account_id,
            resource_policy=await self._state.read(read),
            conditions={**_tag_conditions(params), **_url_conditions(params)},
        )

    async def _policy(self, ctx: Context, action: str, resource: str) -> Access:
        """A policy decides about itself too, so a statement may give away who changes it."""
        if ":function:" in resource:
            return await self._function(ctx, action, "", {"FunctionName": resource})
        return Access(action, resource, resource_account=resource.split(":")[4])

    async def _layer(self, ctx: Context, action: str, operation: str, params: Params) -> Access:
        if operation == "GetLayerVersionByArn":
            ref = layer_ref(ctx, params["Arn"])
        else:
            ref = layer_ref(ctx, params["LayerName"], params.get("VersionNumber"))
        key = (ref.account_id, ref.region, ref.name)
        if ref.version is None:
            resource = arn("lambda", ref.region, ref.account_id, f"layer:{ref.name}")
            return Access(action, resource, resource_account=ref.account_id)
        number = ref.version
        layer = await self._state.read(lambda connection: layers.get_version(connection, key, number))
        policy = attachments.policy_document(layer.policy) if layer is not None else None
        return Access(action, ref.version_arn, resource_account=ref.account_id, resource_policy=policy)


def _mapping(ctx: Context, action: str, params: Params) -> Access:
    """Mappings that are not there yet have no name, so Create and List are about any."""
    name = params.get("FunctionName")
    conditions: dict[str, str | Sequence[str]] = dict(_tag_conditions(params))
    if name:
        conditions["lambda:FunctionArn"] = function_ref(ctx, name).arn
    resource = "*"
    if "UUID" in params:
        resource = arn("lambda", ctx.region, ctx.account_id, f"event-source-mapping:{params['UUID']}")
    return Access(action, resource, resource_account=ctx.account_id, conditions=conditions)


def _url_conditions(params: Params) -> dict[str, str]:
    auth_type = params.get("AuthType") or params.get("FunctionUrlAuthType")
    return {"lambda:FunctionUrlAuthType": auth_type} if isinstance(auth_type, str) else {}


def _tag_conditions(params: Params) -> dict[str, str | Sequence[str]]:
    tags = params.get("Tags")
    if not isinstance(tags, dict) or not tags:
        return {}
    conditions: dict[str, str | Sequence[str]] = {f"aws:RequestTag/{name}": value for name, value in tags.items()}
    conditions["aws:TagKeys"] = list(tags)
    return conditions
