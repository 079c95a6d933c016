"""`alonzo logs`."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from alonzo.cli.client import client, plain_errors
from alonzo.cli.durations import moment
from alonzo.cli.text import printable

POLL_S = 0.3
#: Events of one stream may arrive after later ones of another; so much is looked at again while following.
_OVERLAP_MS = 10_000
_REMEMBERED = 20_000


@click.command()
@click.argument("function")
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--since", help="Lines since then: 10m, 2h, 3d, or a time as 2026-01-31T12:00 (UTC).")
@click.option("--lines", "-n", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Without --since.")
@click.option("--filter", "pattern", default="", help="A CloudWatch Logs filter pattern.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def logs(function: str, follow: bool, since: str | None, lines: int, pattern: str, as_json: bool) -> None:
    """Show the log of FUNCTION (or of a log group, written with its leading slash)."""
    start_ms = None if since is None else int(moment(since, time.time()) * 1000)
    with plain_errors():
        tail = Tail(client("logs"), _group_of(function), pattern)
        shown = tail.exists()
        if not shown and not follow:
            raise click.ClickException(f"There is no log group {tail.group}: nothing has written to it yet.")
        if shown:
            shown = _print(tail.last(lines) if start_ms is None else tail.since(start_ms), as_json)
        if not shown and not follow:
            click.echo("There are no such log lines.", err=True)
        while follow:
            time.sleep(POLL_S)
            _print(tail.new(), as_json)


def _print(events: Iterable[dict[str, Any]], as_json: bool) -> bool:
    """Whether there were any."""
    shown = False
    for event in events:
        click.echo(_line(event, as_json))
        shown = True
    return shown


def _group_of(function: str) -> str:
    """The group that the function is configured with; the customary one where there is no such function any more."""
    if function.startswith("/"):
        return function
    from botocore.exceptions import ClientError

    try:
        found = client("lambda").get_function_configuration(FunctionName=function)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return f"/aws/lambda/{function.rsplit(':', 1)[-1]}"
    group: str = found.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{found['FunctionName']}"
    return group


class Tail:
    """Reads a log group: what is there, then what comes."""

    def __init__(self, api: Any, group: str, pattern: str) -> None:
        self._api = api
        self.group = group
        self._wanted = {"logGroupName": group, **({"filterPattern": pattern} if pattern else {})}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._latest_ms = 0

    def exists(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._api.describe_log_streams(logGroupName=self.group, limit=1)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return False
        return True

    def last(self, count: int) -> list[dict[str, Any]]:
        """The latest `count` events, in order. What lies a little further back is noted as seen with them."""
        found: list[dict[str, Any]] = []
        for event in self._pages(startFromHead=False, limit=count):
            if len(found) < count:
                found.append(event)
            if len(found) >= count and event["timestamp"] < found[0]["timestamp"] - _OVERLAP_MS:
                break
            self._note(event)
        return found[::-1]

    def since(self, start_ms: int) -> Iterator[dict[str, Any]]:
        self._latest_ms = start_ms
        for event in self._pages(startTime=max(0, start_ms)):
            yield self._note(event)

    def new(self) -> Iterator[dict[str, Any]]:
        """Events that came since the last call. A group that does not exist yet has none."""
        from botocore.exceptions import ClientError

        try:
            for event in self._pages(startTime=max(0, self._latest_ms - _OVERLAP_MS)):
                if event["eventId"] not in self._seen:
                    yield self._note(event)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise

    def _note(self, event: dict[str, Any]) -> dict[str, Any]:
        self._seen[event["eventId"]] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self._latest_ms = max(self._latest_ms, event["timestamp"])
        return event

    def _pages(self, **more: Any) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            page = self._api.filter_log_events(**self._wanted, **more, **token)
            yield from page["events"]
            if "nextToken" not in page:
                return
            token = {"nextToken": page["nextToken"]}


def _line(event: dict[str, Any], as_json: bool) -> str:
    if as_json:
        kept = ("timestamp", "message", "logStreamName", "ingestionTime", "eventId")
        return json.dumps({name: event[name] for name in kept}, ensure_ascii=False)
    at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return f"{click.style(at, dim=True)}  {printable(event['message'].rstrip())}"
