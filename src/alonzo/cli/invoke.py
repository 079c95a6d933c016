"""`alonzo invoke`."""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path

import click

from alonzo.cli.client import client, plain_errors

#: The longest a function may run, and a cold start's time.
_READ_TIMEOUT_S = 930


@click.command()
@click.argument("function")
@click.option("--payload", "-p", default="{}", show_default=True, help="JSON, @FILE, or - for standard input.")
@click.option("--qualifier", help="A version or an alias.")
@click.option("--tail", is_flag=True, help="Show the last 4 KB of the log.")
@click.option("--event", is_flag=True, help="Hand it over and do not wait (an asynchronous invocation).")
def invoke(function: str, payload: str, qualifier: str | None, tail: bool, event: bool) -> None:
    """Invoke FUNCTION: the answer on standard output, how it went on standard error.

    Exits with 1 where the function failed.
    """
    if event and tail:
        raise click.UsageError("--tail needs an answer, --event has none.", click.get_current_context())
    body = _payload(payload)
    wanted = {
        "FunctionName": function,
        "Payload": body,
        "InvocationType": "Event" if event else "RequestResponse",
        **({"Qualifier": qualifier} if qualifier else {}),
        **({"LogType": "Tail"} if tail else {}),
    }
    with plain_errors():
        functions = client("lambda", read_timeout=_READ_TIMEOUT_S, retries={"max_attempts": 0})
        started = time.perf_counter()
        answer = functions.invoke(**wanted)
        content = answer["Payload"].read()
        took_ms = (time.perf_counter() - started) * 1000
    if event:
        click.echo(f"Accepted as {answer['ResponseMetadata']['RequestId']} in {took_ms:.1f} ms.", err=True)
        return
    click.echo(content.decode(errors="replace"))
    if answer.get("LogResult"):
        click.echo(base64.b64decode(answer["LogResult"]).decode(errors="replace").rstrip(), err=True)
    failed = answer.get("FunctionError")
    how = f"failed ({failed})" if failed else "answered"
    click.echo(f"Version {answer.get('ExecutedVersion', '$LATEST')} {how} in {took_ms:.1f} ms.", err=True)
    if failed:
        sys.exit(1)


def _payload(given: str) -> bytes:
    try:
        if given == "-":
            body = sys.stdin.buffer.read()
        elif given.startswith("@"):
            body = Path(given[1:]).read_bytes()
        else:
            body = given.encode()
    except OSError as error:
        raise click.ClickException(f"The payload cannot be read: {error}.") from None
    try:
        json.loads(body)
    except ValueError as error:
        raise click.ClickException(f"The payload is not JSON: {error}. Quote it as --payload '{{\"a\": 1}}'.") from None
    return body
