"""The bill: what the metered invocations would have cost on AWS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.engine import pricing
from alonzo.engine.metering import MeterRow
from alonzo.services.alonzo.state import Machine


async def get_cost_report(state: Machine, ctx: Context, params: Params) -> Result:
    """By function, for days from StartDate to EndDate, both included (UTC); this month by default.

    The free tier is an account's, once for each calendar month, so it is taken off the total only.
    """
    today = datetime.fromtimestamp(state.parts.clock.now(), UTC).date()
    end = _day(params.get("EndDate")) or today
    start = _day(params.get("StartDate")) or end.replace(day=1)
    if start > end:
        raise ServiceError("InvalidParameterException", f"StartDate {start} is after EndDate {end}.")
    rows = await state.engine.meter.rows(
        ctx.account_id,
        region="" if params.get("AllRegions") else ctx.region,
        since=start.isoformat(),
        until=end.isoformat(),
        function_name=params.get("FunctionName", ""),
    )
    by_function: dict[tuple[str, str], list[MeterRow]] = {}
    for row in rows:
        by_function.setdefault((row.function_name, row.region), []).append(row)
    functions = [
        {"FunctionName": name, "Region": region, **_sums(of_function)}
        for (name, region), of_function in sorted(by_function.items())
    ]
    free = sum((_free(list(of_month)) for _, of_month in groupby(rows, lambda row: row.day[:7])), Decimal(0))
    total = _sums(rows)
    return {
        "StartDate": start.isoformat(),
        "EndDate": end.isoformat(),
        "Currency": "USD",
        "PriceRegion": "us-east-1",
        "Functions": functions,
        "Total": total,
        "FreeTier": float(free),
        "Due": float(_total(rows) - free),
    }


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ServiceError("InvalidParameterException", f"{text!r} is no day; write it as 2026-01-31.") from None


def _usage(architecture: str, rows: Iterable[MeterRow]) -> pricing.Usage:
    rows = list(rows)
    return pricing.Usage(
        architecture,
        sum(row.requests for row in rows),
        sum(row.mib_ms for row in rows),
        sum(row.storage_mib_ms for row in rows),
    )


def _usages(rows: Sequence[MeterRow]) -> list[pricing.Usage]:
    """One for each architecture."""
    architectures = sorted({row.architecture for row in rows})
    return [_usage(one, (row for row in rows if row.architecture == one)) for one in architectures]


def _free(rows: Sequence[MeterRow]) -> Decimal:
    return pricing.month(_usages(rows)).free


def _total(rows: Sequence[MeterRow]) -> Decimal:
    return sum((pricing.cost(usage).total for usage in _usages(rows)), Decimal(0))


def _sums(rows: Sequence[MeterRow]) -> dict[str, Any]:
    usages = _usages(rows)
    costs = [pricing.cost(usage) for usage in usages]
    return {
        "Requests": sum(row.requests for row in rows),
        "Errors": sum(row.errors for row in rows),
        "ColdStarts": sum(row.cold_starts for row in rows),
        "BilledMs": sum(row.billed_ms for row in rows),
        "GBSeconds": float(sum((usage.gb_seconds for usage in usages), Decimal(0))),
        "StorageGBSeconds": float(sum((usage.storage_gb_seconds for usage in usages), Decimal(0))),
        "RequestCharge": float(sum((one.requests for one in costs), Decimal(0))),
        "DurationCharge": float(sum((one.compute for one in costs), Decimal(0))),
        "StorageCharge": float(sum((one.storage for one in costs), Decimal(0))),
        "TotalCharge": float(sum((one.total for one in costs), Decimal(0))),
    }
