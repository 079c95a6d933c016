"""Log groups, streams and chunks of events: all of this service's SQL."""

from alonzo.services.logs.store.append import Appender, NewChunk
from alonzo.services.logs.store.events import Wanted, events_backward, events_forward, snapshot, with_prefix
from alonzo.services.logs.store.groups import (
    add_group,
    delete_group,
    find_group,
    list_groups,
    set_protected,
    set_retention,
    set_tags,
)
from alonzo.services.logs.store.streams import add_stream, delete_stream, find_stream, list_streams, stream_names
from alonzo.services.logs.store.sweep import (
    Merge,
    busy_streams,
    drop_chunks,
    drop_expired,
    groups_with_retention,
    merge,
    orphans,
    plan_merge,
)

__all__ = [
    "Appender",
    "Merge",
    "NewChunk",
    "Wanted",
    "add_group",
    "add_stream",
    "busy_streams",
    "delete_group",
    "delete_stream",
    "drop_chunks",
    "drop_expired",
    "events_backward",
    "events_forward",
    "find_group",
    "find_stream",
    "groups_with_retention",
    "list_groups",
    "list_streams",
    "merge",
    "orphans",
    "plan_merge",
    "set_protected",
    "set_retention",
    "set_tags",
    "snapshot",
    "stream_names",
    "with_prefix",
]
