"""Which permission each operation needs: `alonzo:OPERATION` on the account's `arn:aws:alonzo:…:server`."""

from __future__ import annotations

from collections.abc import Sequence

from alonzo.core.arn import arn
from alonzo.core.context import Context
from alonzo.dispatch import Access, Params


async def access(ctx: Context, operation: str, params: Params) -> Sequence[Access]:
    return [Access(f"alonzo:{operation}", arn("alonzo", ctx.region, ctx.account_id, "server"), ctx.account_id)]
