"""Batches: their rules, and each entry's own success or failure."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.sqs.errors import bad_entry_id, empty_batch, repeated_id, too_many_entries
from alonzo.services.sqs.models import MAX_BATCH_ENTRIES

#: Entries' errors have the query protocol's codes in both protocols.
_CODES = {
    "InvalidParameterValueException": "InvalidParameterValue",
    "MissingRequiredParameterException": "MissingParameter",
}
_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


def check_batch(entries: list[Params], entry: str) -> list[Params]:
    """The entries. Raises EmptyBatchRequest, TooManyEntriesInBatchRequest, InvalidBatchEntryId, ….NotDistinct."""
    if not entries:
        raise empty_batch(entry)
    if len(entries) > MAX_BATCH_ENTRIES:
        raise too_many_entries(len(entries))
    seen: set[str] = set()
    for one in entries:
        entry_id = one.get("Id") or ""
        if not _ID.fullmatch(entry_id):
            raise bad_entry_id()
        if entry_id in seen:
            raise repeated_id(entry_id)
        seen.add(entry_id)
    return entries


async def each(entries: list[Params], run: Callable[[Params], Awaitable[Result]]) -> Result:
    """Run every entry; the result has Successful and Failed. They begin in order, and end together."""
    outcomes = await asyncio.gather(*(run(entry) for entry in entries), return_exceptions=True)
    successful: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for entry, outcome in zip(entries, outcomes, strict=True):
        if isinstance(outcome, ServiceError):
            failed.append(
                {
                    "Id": entry["Id"],
                    "SenderFault": outcome.status < 500,
                    "Code": _CODES.get(outcome.code, outcome.code),
                    "Message": outcome.message,
                }
            )
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            successful.append({"Id": entry["Id"], **outcome})
    # AWS leaves the member out where nothing failed.
    return {"Successful": successful, **({"Failed": failed} if failed else {})}
