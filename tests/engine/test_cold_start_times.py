"""How long an environment takes to start where it shall take as long as on AWS."""

from __future__ import annotations

import statistics

from alonzo.engine.hosts import aws_pause_s


def test_a_pause_grows_with_the_package() -> None:
    """The averages of the source, within a fifth; and no two alike."""
    for mebibytes, wanted in ((0, 0.13), (16, 0.65), (64, 3.0)):
        pauses = [aws_pause_s(mebibytes << 20) for _ in range(400)]
        assert 0.8 * wanted < statistics.mean(pauses) < 1.25 * wanted
        assert len(set(pauses)) == len(pauses)
