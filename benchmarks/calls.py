"""How many calls one warm Invoke makes inside the server, and one event: `python -m benchmarks.calls [--write]`.

A count does not depend on how busy the machine is, so it can guard the warm path in CI, where times cannot. Counted are
the interpreter's `call` and `c_call` events on the server's thread, from the socket to the socket (an event: until its
outcome is written), with the client on a thread of its own; timers that fire meanwhile add a little, which the
tolerance covers.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop

from alonzo.app import App
from alonzo.config import Settings
from benchmarks.requests import invoke

STORED = Path(__file__).with_suffix(".json")
TOLERANCE = 0.15
COUNTED = 200
_SOURCE = "def handler(event, context):\n    return {'ok': 1}\n"


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls per request: of Python functions, of functions in C, and of Python functions by package."""

    python: float
    c: float
    packages: dict[str, float]


def warm(settings: Settings) -> Calls:
    """Calls per warm Invoke."""
    return _measure(settings, b"{}", b'{"ok": 1}', "200")


def event(settings: Settings) -> Calls:
    """Calls per Invoke(Event) of 1 KB, of a function that runs one at a time; outcomes are written together."""
    return _measure(settings, b'{"filler": "' + b"x" * 1000 + b'"}', b"\r\n\r\n", "202", X_Amz_Invocation_Type="Event")


#: By their names in the file.
KINDS: dict[str, Callable[[Settings], Calls]] = {"warm": warm, "event": event}


def _measure(settings: Settings, payload: bytes, end: bytes, status: str, **headers: str) -> Calls:
    """Run a server with these settings in this thread, invoke a warm function, and count."""
    seen: Counter[tuple[str, str]] = Counter()

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            seen[event, frame.f_code.co_filename] += 1
        elif event == "c_call":
            seen[event, ""] += 1

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with App(settings) as app:
            endpoint = f"http://127.0.0.1:{app.port}"
            failed: list[BaseException] = []

            def client() -> None:
                try:
                    _create(endpoint, status == "202")
                    request = invoke(endpoint, "counted", payload, **headers)
                    with socket.create_connection(("127.0.0.1", app.port)) as connection:
                        _invoke(connection, request, COUNTED, end, status)
                        _wait_idle(app)
                        _on_loop(loop, lambda: sys.setprofile(count))
                        _invoke(connection, request, COUNTED, end, status)
                        _wait_idle(app)
                        _on_loop(loop, lambda: sys.setprofile(None))
                except BaseException as error:
                    failed.append(error)

            thread = threading.Thread(target=client)
            thread.start()
            while thread.is_alive():
                await asyncio.sleep(0.2)
            if failed:
                raise failed[0]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(main())
        finally:
            sys.setprofile(None)
    packages: Counter[str] = Counter()
    for (event, filename), calls in seen.items():
        if event == "call":
            packages[_package(filename)] += calls
    return Calls(
        sum(packages.values()) / COUNTED,
        seen["c_call", ""] / COUNTED,
        {name: round(calls / COUNTED, 1) for name, calls in packages.most_common() if calls >= COUNTED / 10},
    )


def _package(filename: str) -> str:
    """`engine`, `services/iam`, … for our files; `elsewhere` for the rest."""
    _, found, inside = filename.replace("\\", "/").rpartition("/alonzo/")
    if not found:
        return "elsewhere"
    parts = inside.removesuffix(".py").split("/")
    return "/".join(parts[:2]) if parts[0] == "services" else parts[0]


def _on_loop(loop: asyncio.AbstractEventLoop, act: Any) -> None:
    done = threading.Event()

    def run() -> None:
        act()
        done.set()

    loop.call_soon_threadsafe(run)
    assert done.wait(10)


def _create(endpoint: str, one_at_a_time: bool) -> None:
    import boto3

    from benchmarks.setup import RUNTIME, TRUST, zipped

    session = boto3.session.Session("test", "test", region_name="us-east-1")
    iam, functions = (session.client(name, endpoint_url=endpoint) for name in ("iam", "lambda"))
    role = iam.create_role(RoleName="calls", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    code = {"ZipFile": zipped(_SOURCE)}
    functions.create_function(FunctionName="counted", Runtime=RUNTIME, Handler="app.handler", Role=role, Code=code)
    functions.get_waiter("function_active_v2").wait(FunctionName="counted", WaiterConfig={"Delay": 1})
    if one_at_a_time:
        functions.put_function_concurrency(FunctionName="counted", ReservedConcurrentExecutions=1)


def _invoke(connection: socket.socket, request: bytes, times: int, end: bytes, status: str) -> None:
    """Send a request and read its answer, some times, one after another."""
    connection.settimeout(30)
    begin = f"HTTP/1.1 {status}".encode()
    for _ in range(times):
        connection.sendall(request)
        answer = b""
        while not answer.endswith(end):
            piece = connection.recv(65536)
            assert piece and (answer + piece).startswith(begin[: len(answer + piece)]), answer + piece
            answer += piece


def _wait_idle(app: App) -> None:
    """Until every event has run and its outcome is written."""
    deadline = time.monotonic() + 60
    while not app.engine.queue.idle:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def problem(found: Calls, stored: dict[str, Any], what_makes_them: str = "warm Invoke") -> str:
    """What to say where the calls have grown too much; empty where they have not."""
    grown = [
        f"{what} from {stored[key]:g} to {value:g} ({value / stored[key] - 1:+.0%})"
        for key, what, value in (("python", "Python calls", found.python), ("c", "calls into C", found.c))
        if value > stored[key] * (1 + TOLERANCE)
    ]
    if not grown:
        return ""
    packages = sorted({*found.packages, *stored["packages"]})
    changes = {name: found.packages.get(name, 0) - stored["packages"].get(name, 0) for name in packages}
    where = ", ".join(
        f"{name} {change:+.1f}" for name, change in sorted(changes.items(), key=lambda x: -x[1]) if change >= 0.5
    )
    return (
        f"One {what_makes_them} makes more calls in the server than it did: {'; '.join(grown)}; at most "
        f"{TOLERANCE:+.0%} is allowed. Python calls by package: {where}. If that is worth it, store the new count with "
        "`make bench-calls` and say why in the commit."
    )


def main(arguments: list[str]) -> int:
    kept = json.loads(STORED.read_text())
    status = 0
    for name, measured in KINDS.items():
        found = measured(Settings(port=0, ephemeral=True))
        packages = ", ".join(f"{package} {calls:g}" for package, calls in found.packages.items())
        print(f"calls per {name}: {found.python:g} of Python functions ({packages}), {found.c:g} into C")
        if "--write" in arguments:
            kept[name] = {"python": round(found.python, 1), "c": round(found.c, 1), "packages": found.packages}
            STORED.write_text(json.dumps(kept, indent=2) + "\n")
            print(f"stored in {STORED.name}")
            continue
        said = problem(found, kept[name], name)
        print(said or "within what is allowed")
        status |= bool(said)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
