"""The meter and the prices."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from alonzo.engine.pricing import Usage, cost, month


async def test_what_reports_say_is_what_is_metered(make: Any, tmp_path: Any) -> None:
    """The meter's sums are those of the REPORT lines, and survive a restart."""
    async with make() as world:
        fv = world.function("f", "def handler(e, c):\n    if e:\n        raise ValueError\n", tmp_mib=1024)
        for payload in (b"0", b"0", b"1"):
            await world.invoke(fv, payload, log_tail=True)
        reports = [line for line in await world.log() if line.startswith("REPORT")]
        billed = sum(int(re.search(r"Billed Duration: (\d+)", line)[1]) for line in reports)  # type: ignore[index]
    async with make() as world:
        (row,) = await world.engine.meter.rows("000000000000")
        assert (row.requests, row.errors, row.cold_starts, row.billed_ms) == (3, 1, 1, billed)
        assert (row.function_name, row.version, row.memory_mib, row.architecture) == ("f", "$LATEST", 128, "x86_64")
        assert row.mib_ms == billed * 128
        assert row.storage_mib_ms == billed * 512
        assert row.init_us > 0
        assert await world.engine.meter.rows("000000000000", until="2000-01-01") == []
        assert await world.engine.meter.rows("111111111111") == []


async def test_counts_add_up_over_several_writes(world: Any) -> None:
    """Later counts of the same day are added to the row."""
    fv = world.function("f", "def handler(e, c):\n    pass\n")
    for n in range(1, 4):
        await world.invoke(fv, log_tail=True)
        (row,) = await world.engine.meter.rows("000000000000", function_name="f")
        assert row.requests == n


def test_prices_are_awss_example() -> None:
    """AWS's own example: 3 million requests of 120 ms at 1,536 MB cost 2.73 dollars of compute and 0.40 of requests.

    Source: https://aws.amazon.com/lambda/pricing/ (example 1).
    """
    bill = month([Usage("x86_64", 3_000_000, 3_000_000 * 120 * 1536)])
    assert bill.requests == Decimal("0.6")
    assert round(bill.compute, 2) == Decimal("9.00")
    assert round(bill.due, 2) == Decimal("2.73")


def test_tiers_and_storage() -> None:
    """Beyond a tier's width the next price holds; storage over 512 MB has its own."""
    gb_second = 1024 * 1000
    usage = Usage("x86_64", 0, 7_000_000_000 * gb_second, 1_000_000 * gb_second)
    assert cost(usage).compute == 6_000_000_000 * Decimal("0.0000166667") + 1_000_000_000 * Decimal("0.0000150000")
    assert cost(usage).storage == 1_000_000 * Decimal("0.0000000309")
    assert cost(Usage("arm64", 0, gb_second)).compute == Decimal("0.0000133334")
