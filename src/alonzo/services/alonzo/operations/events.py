"""What is in the durable queue."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.alonzo.state import Job, Machine

#: Jobs looked at for one answer.
_LOOKED_AT = 10_000


async def list_events(state: Machine, ctx: Context, params: Params) -> Result:
    """Jobs of the account in the order they came. Payloads are not shown."""
    everywhere, function = params.get("AllRegions", False), params.get("FunctionName", "")
    if everywhere and function:
        raise ServiceError("InvalidParameterException", "FunctionName names a function of one region, not of all.")
    limit, wanted = params.get("Limit", 100), params.get("State")
    jobs = await state.engine.queue.list_jobs(
        ctx.account_id, "" if everywhere else ctx.region, function, limit=_LOOKED_AT if wanted else limit
    )
    shown = [job for job in jobs if wanted is None or job.state.upper() == wanted]
    return {"Events": [_describe(job) for job in shown[:limit]]}


def _describe(job: Job) -> dict[str, Any]:
    described: dict[str, Any] = {
        "Id": job.id,
        "Kind": job.kind.upper(),
        "State": job.state.upper(),
        "Lane": job.lane,
        "Region": job.region,
        "Attempts": job.tries,
        "Throttles": job.throttles,
        "EnqueuedTime": datetime.fromtimestamp(job.enqueued_at, UTC),
    }
    if job.due_at > 0:
        described["NextAttemptTime"] = datetime.fromtimestamp(job.due_at, UTC)
    if job.last_error:
        described["LastError"] = job.last_error
    return described
