"""The promises: what is measured, what it must reach, and what it should."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """A promised number. `at_most` or `at_least` is the promise, `aim` the wish; `how` says what is measured."""

    name: str
    unit: str
    how: str
    at_most: float | None = None
    at_least: float | None = None
    aim: float | None = None


@dataclass(slots=True)
class Measured:
    """A figure's value in this run."""

    figure: Figure
    value: float
    detail: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        if self.figure.at_most is not None:
            return self.value <= self.figure.at_most
        assert self.figure.at_least is not None
        return self.value >= self.figure.at_least


def percentile(values: list[float], p: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))]
