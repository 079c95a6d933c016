"""What the metered use would have cost on AWS, in US dollars: prices of us-east-1.

Source: https://aws.amazon.com/lambda/pricing/
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from alonzo.core.dataclasses import dataclass

PER_REQUEST = Decimal("0.20") / 1_000_000

#: Per GB-second and month: up to so many GB-seconds (None: all further ones) at this price.
Tiers = tuple[tuple[int | None, Decimal], ...]
GB_SECOND: dict[str, Tiers] = {
    "x86_64": (
        (6_000_000_000, Decimal("0.0000166667")),
        (9_000_000_000, Decimal("0.0000150000")),
        (None, Decimal("0.0000133334")),
    ),
    "arm64": (
        (7_500_000_000, Decimal("0.0000133334")),
        (11_250_000_000, Decimal("0.0000120001")),
        (None, Decimal("0.0000106667")),
    ),
}
#: Ephemeral storage over 512 MB, per GB-second.
STORAGE_GB_SECOND = Decimal("0.0000000309")
FREE_REQUESTS = 1_000_000
FREE_GB_SECONDS = 400_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Use of one architecture in one month. `mib_ms` is memory times billed time; so is `storage_mib_ms`."""

    architecture: str = "x86_64"
    requests: int = 0
    mib_ms: int = 0
    storage_mib_ms: int = 0

    @property
    def gb_seconds(self) -> Decimal:
        return Decimal(self.mib_ms) / (1024 * 1000)

    @property
    def storage_gb_seconds(self) -> Decimal:
        return Decimal(self.storage_mib_ms) / (1024 * 1000)


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars, before the free tier. `free` is what the free tier takes off the total."""

    requests: Decimal
    compute: Decimal
    storage: Decimal
    free: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        return self.requests + self.compute + self.storage

    @property
    def due(self) -> Decimal:
        return self.total - self.free


def cost(usage: Usage) -> Cost:
    """One usage's price by itself, without the free tier."""
    tiers = GB_SECOND.get(usage.architecture, GB_SECOND["x86_64"])
    return Cost(
        usage.requests * PER_REQUEST,
        _tiered(usage.gb_seconds, tiers),
        usage.storage_gb_seconds * STORAGE_GB_SECOND,
    )


def month(usages: Iterable[Usage]) -> Cost:
    """An account's month: tiers per architecture, the free tier once (taken from x86_64 first, as the dearer one)."""
    totals: dict[str, Usage] = {}
    for one in usages:
        sofar = totals.get(one.architecture, Usage(one.architecture))
        totals[one.architecture] = Usage(
            one.architecture,
            sofar.requests + one.requests,
            sofar.mib_ms + one.mib_ms,
            sofar.storage_mib_ms + one.storage_mib_ms,
        )
    costs = [cost(usage) for usage in totals.values()]
    free_requests = min(sum(usage.requests for usage in totals.values()), FREE_REQUESTS)
    free = free_requests * PER_REQUEST
    left = Decimal(FREE_GB_SECONDS)
    for architecture in sorted(totals, key=lambda name: GB_SECOND.get(name, GB_SECOND["x86_64"])[0][1], reverse=True):
        taken = min(left, totals[architecture].gb_seconds)
        free += taken * GB_SECOND.get(architecture, GB_SECOND["x86_64"])[0][1]
        left -= taken
    return Cost(
        sum((one.requests for one in costs), Decimal(0)),
        sum((one.compute for one in costs), Decimal(0)),
        sum((one.storage for one in costs), Decimal(0)),
        free,
    )


def _tiered(amount: Decimal, tiers: Tiers) -> Decimal:
    """Each tier's share at its own price; a tier's number is its width."""
    total = Decimal(0)
    for width, price in tiers:
        taken = amount if width is None else min(amount, Decimal(width))
        total += taken * price
        amount -= taken
        if amount <= 0:
            break
    return total
