"""What was put survives the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alonzo.config import Settings
from alonzo.core.clock import SystemClock
from alonzo.core.context import Context, Principal
from alonzo.core.ids import Ids
from alonzo.dispatch import Access, Dispatcher, Parts
from alonzo.services import logs
from alonzo.storage import Blobs, Database


class AllowAll:
    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        return None


async def test_events_and_their_ids_survive_a_restart(tmp_path: Path) -> None:
    """A second server on the same data shows the first one's events under the same ids, and goes on with new ones."""
    clock = SystemClock()
    ctx = Context("1" * 12, "us-east-1", Principal.root("1" * 12), "request")
    place = {"logGroupName": "g", "logStreamName": "s"}
    seen: list[list[dict[str, Any]]] = []
    for run in (1, 2):
        database, ids = Database(tmp_path / "alonzo.db"), Ids()
        database.open()
        dispatcher = Dispatcher()
        dispatcher.use(AllowAll())
        dispatcher.add(logs.build(Parts(Settings(), clock, ids, database, Blobs(tmp_path / "blobs", ids), dispatcher)))
        if run == 1:
            await dispatcher.call(ctx, "logs", "CreateLogGroup", {"logGroupName": "g"})
            await dispatcher.call(ctx, "logs", "CreateLogStream", place)
        event = {"timestamp": int(clock.now() * 1000), "message": f"run {run}"}
        await dispatcher.call(ctx, "logs", "PutLogEvents", {**place, "logEvents": [event]})
        seen.append((await dispatcher.call(ctx, "logs", "FilterLogEvents", {"logGroupName": "g"}))["events"])
        await database.close()
    assert [event["message"] for event in seen[1]] == ["run 1", "run 2"]
    assert seen[1][0] == seen[0][0]
    assert seen[1][0]["eventId"] != seen[1][1]["eventId"]
