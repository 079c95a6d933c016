"""Identifiers: their forms, and that none is handed out twice."""

import re
import uuid
from concurrent.futures import ThreadPoolExecutor

from alonzo.core.ids import Ids


def test_uuid_is_version_4():
    """A UUID is a random one as RFC 9562 has it."""
    for _ in range(200):
        made = Ids().uuid()
        assert uuid.UUID(made).version == 4
        assert str(uuid.UUID(made)) == made
        assert uuid.UUID(made).variant == uuid.RFC_4122


def test_no_bytes_twice_across_threads():
    """Threads that draw at the same time never draw the same bytes."""
    ids = Ids()
    with ThreadPoolExecutor(8) as pool:
        drawn = [x for part in pool.map(lambda _: [ids.token_bytes(16) for _ in range(3000)], range(8)) for x in part]
    assert len(set(drawn)) == len(drawn)


def test_large_draws():
    """A draw larger than the pool is as long as asked."""
    assert len(Ids().token_bytes(100_000)) == 100_000


def test_seed_repeats():
    """A seed makes everything repeatable."""
    assert [Ids(7).uuid(), Ids(7).secret()] == [Ids(7).uuid(), Ids(7).secret()]
    assert re.fullmatch(r"AROA[A-Z2-7]{17}", Ids(7).unique_id("AROA"))
