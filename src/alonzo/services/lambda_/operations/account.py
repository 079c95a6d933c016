"""The account's limits and what it uses of them, in one region."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import models
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import code as code_store
from alonzo.services.lambda_.store import functions, provisioned


async def get_account_settings(state: State, ctx: Context, params: Params) -> Result:
    concurrent = state.parts.settings.account_concurrency

    def read(connection: Connection) -> tuple[int, int, int]:
        return (
            functions.reserved_total(connection, ctx.account_id, ctx.region)
            + provisioned.pooled_total(connection, ctx.account_id, ctx.region),
            functions.count_functions(connection, ctx.account_id, ctx.region),
            code_store.sizes_used(connection, ctx.account_id, ctx.region),
        )

    reserved, count, used = await state.parts.db.scan(read)
    return {
        "AccountLimit": {
            "TotalCodeSize": models.MAX_TOTAL_CODE,
            "CodeSizeUnzipped": models.MAX_UNZIPPED,
            "CodeSizeZipped": models.MAX_ZIPPED,
            "ConcurrentExecutions": concurrent,
            "UnreservedConcurrentExecutions": concurrent - reserved,
        },
        "AccountUsage": {"TotalCodeSize": used, "FunctionCount": count},
    }
