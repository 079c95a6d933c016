"""The three ways in which AWS writes a moment."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?\d{1,16}(?:\.\d{1,12})?(?:[eE][+-]?\d{1,2})?\Z")
_FRACTION = re.compile(r"\.(\d+)")


def from_epoch(seconds: float) -> datetime:
    """Seconds since 1970, to the microsecond. Raises ValueError outside the years 1 to 9999."""
    try:
        if not math.isfinite(seconds):
            raise ValueError("not a moment")
        return _EPOCH + timedelta(microseconds=round(seconds * 1_000_000))
    except OverflowError as error:
        raise ValueError("not a moment") from error


def from_text(text: str) -> datetime:
    """Any of the three formats, in UTC. Raises ValueError."""
    text = text.strip()
    if len(text) > 64:
        raise ValueError("not a moment")
    if _NUMBER.match(text):
        return from_epoch(float(text))
    try:
        if text[:1].isdigit():
            # Python 3.11 takes at most six fractional digits.
            moment = datetime.fromisoformat(_FRACTION.sub(lambda found: "." + found.group(1)[:6].ljust(6, "0"), text))
        else:
            # Imported here, for it brings a good part of the email package, and start-up counts.
            from email.utils import parsedate_to_datetime

            moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (OverflowError, TypeError, IndexError) as error:
        raise ValueError("not a moment") from error


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def to_epoch(moment: datetime) -> float | int:
    """Seconds since 1970 with milliseconds, whole where there are none."""
    seconds = round(_utc(moment).timestamp(), 3)
    return int(seconds) if seconds == int(seconds) else seconds


def to_iso(moment: datetime) -> str:
    """`2015-01-25T08:00:00Z`, with milliseconds where there are any."""
    moment = _utc(moment)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S") if moment.year >= 1000 else moment.isoformat()[:19]
    return f"{text}.{moment.microsecond // 1000:03}Z" if moment.microsecond >= 1000 else text + "Z"


def to_iso_millis(moment: datetime) -> str:
    """`2009-10-12T17:50:30.000Z`: S3 always writes milliseconds."""
    moment = _utc(moment)
    return f"{moment.isoformat()[:19]}.{moment.microsecond // 1000:03}Z"


def to_http_date(moment: datetime) -> str:
    """`Wed, 12 Oct 2009 17:50:00 GMT`."""
    at = _utc(moment)
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} "
        f"{at.hour:02}:{at.minute:02}:{at.second:02} GMT"
    )


WRITERS: dict[str, Any] = {
    "iso8601": to_iso,
    "rfc822": to_http_date,
    "unixtimestamp": to_epoch,
    "unixTimestamp": to_epoch,
}
