"""SnapStart's part of the Runtime API: who may ask what, and when."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.engine.test_runtime_api import NEXT, Client, Told

from alonzo.core.context import Principal
from alonzo.engine.credentials import RoleCredentials
from alonzo.engine.runtime_api import RuntimeApi
from alonzo.engine.runtime_state import RuntimeState
from alonzo.engine.snap_start import SnapStart

RESTORE = "/2018-06-01/runtime/restore/"
CREDENTIALS = "/2021-04-23/credentials"


class Sandbox:
    """Of an environment that reaches the server on loopback, so that no second listener is needed."""

    runtime_api_address = "127.0.0.1:9001"


class Listener(Told):
    """An environment with SnapStart."""

    snap_start: SnapStart

    def runtime_rests(self, frame: int, refusal: str, go: Any) -> None:
        self.heard.append((frame, refusal))
        self.snap_start.rested(frame, refusal, go, alone=True)


@pytest.fixture(params=[False, True])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    import asyncio
    import socket

    listener = Listener()
    who = Principal("role", "000000000000", "arn:aws:sts::000000000000:assumed-role/r/s", "AROA:s")
    credentials = RoleCredentials("ASIA", "secret", "session", 1_800_000_000.0, who)
    listener.snap_start = SnapStart(credentials, "token", None, template=request.param)
    api = RuntimeApi(RuntimeState(listener))
    initialised: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    await listener.snap_start.attach(api, Sandbox(), initialised)  # type: ignore[arg-type]
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    address = server.getsockname()
    await api.serve(server)
    client = Client(*await asyncio.open_connection(*address))
    yield client, listener, initialised
    client.writer.close()
    api.close()


async def test_credentials_for_those_who_know_the_token(served: Any) -> None:
    """AWS's document; anything else is not found."""
    client, _, _ = served
    client.send("GET", CREDENTIALS, Authorization="token")
    status, _, body = await client.receive()
    assert (status, json.loads(body)) == (
        200,
        {
            "AccessKeyId": "ASIA",
            "SecretAccessKey": "secret",
            "Token": "session",
            "Expiration": "2027-01-15T08:00:00Z",
        },
    )
    for headers in ({}, {"Authorization": "other"}, {"Authorization": "tok\u00e9n"}):
        status, body = await client.ask("GET", CREDENTIALS, **headers)
        assert (status, body) == (404, b"cannot get credentials for the provided token\n")
    assert (await client.ask("POST", CREDENTIALS, b""))[0] == 405


async def test_resting_and_going_on(served: Any) -> None:
    """A process that is to be copied gets no answer; others go on at once, may tell of an error, or ask for events."""
    client, listener, initialised = served
    status, answer = await client.ask("POST", RESTORE + "error", b"{}")
    assert (status, answer["errorType"]) == (403, "InvalidStateTransition")
    client.send("GET", RESTORE + "next", Alonzo_Snapshot="7f00", Alonzo_Snapshot_Refused="")
    if listener.snap_start.rests is not None:
        assert await listener.snap_start.rests == (0x7F00, "")
        return
    assert (await client.receive())[0] == 200
    assert listener.heard == [(0x7F00, "")]
    assert (await client.ask("GET", RESTORE + "next"))[0] == 403
    header = {"Lambda_Runtime_Function_Error_Type": "Runtime.AfterRestoreError"}
    assert (await client.ask("POST", RESTORE + "error", b'{"errorMessage": "no"}', **header))[0] == 202
    failure = await initialised
    assert (failure.error_type, failure.payload) == ("Runtime.AfterRestoreError", b'{"errorMessage": "no"}')
    status, answer = await client.ask("GET", NEXT)
    assert (status, answer["errorMessage"].split(" failed")[0]) == (403, "State transition from RestoreError to Ready")


@pytest.mark.parametrize("frame", ["", "zz", "-1x", "0x10", "7" * 400])
async def test_addresses_that_are_none(served: Any, frame: str) -> None:
    """Whatever a process claims is no more than a number."""
    client, listener, _ = served
    client.send("GET", RESTORE + "next", Alonzo_Snapshot=frame)
    if listener.snap_start.rests is not None:
        found, _ = await listener.snap_start.rests
        assert 0 <= found < 1 << 64
    else:
        assert (await client.receive())[0] == 200
