"""A function's layers: from ARNs to archives."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Access
from alonzo.services.lambda_ import models
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.models import Layer
from alonzo.services.lambda_.names import LayerRef, layer_ref
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import attachments, layers


async def resolve_layers(state: State, ctx: Context, arns: Sequence[str]) -> tuple[Layer, ...]:
    """The layers, in order, that the caller may read. Raises AWS's texts."""
    if len(arns) > models.MAX_LAYERS:
        raise invalid(f"Cannot reference more than {models.MAX_LAYERS} layers.")
    refs = [layer_ref(ctx, arn) for arn in arns]
    seen: dict[str, LayerRef] = {}
    found = []
    for ref in refs:
        if ref.region != ctx.region:
            raise invalid(
                f"Layers are not in the same region as the function. Layers are expected to be in region {ctx.region}."
            )
        if ref.arn in seen:
            raise invalid(
                "Two different versions of the same layer are not allowed to be referenced in the same function."
                f" {seen[ref.arn].version_arn} and {ref.version_arn} are versions of the same layer."
            )
        seen[ref.arn] = ref
        found.append(await _resolve(state, ctx, ref))
    return tuple(found)


async def _resolve(state: State, ctx: Context, ref: LayerRef) -> Layer:
    key = (ref.account_id, ref.region, ref.name)

    def read(connection: Connection) -> models.LayerVersion | None:
        return layers.get_version(connection, key, ref.version or 0)

    layer = await state.read(read)
    access = Access(
        "lambda:GetLayerVersion",
        ref.version_arn,
        resource_account=ref.account_id,
        resource_policy=attachments.policy_document(layer.policy) if layer is not None else None,
    )
    await state.parts.dispatcher.authorize(ctx, access, denied_code="AccessDeniedException")
    if layer is None:
        raise invalid(f"Layer version {ref.version_arn} does not exist.")
    return Layer(ref.version_arn, layer.code)
