"""SnapStart in one environment: where its runtime rests to be copied, or goes on as a copy, and gets credentials.

The Runtime API has three more requests then: `restore/next`, which is answered when the environment is complete;
`restore/error`, when a hook failed after it; and the credentials, which no variable may hold, for those who know the
token that the variables hold instead.
Source: execution-environment contract §1; https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

import orjson

from alonzo.engine.credentials import RoleCredentials
from alonzo.engine.log_lines import Restored
from alonzo.engine.outcome import Failure
from alonzo.engine.runtime_api import RuntimeApi
from alonzo.engine.runtime_messages import ACCEPTED, TOO_LARGE, answer_of, forbidden
from alonzo.engine.runtime_state import MAX_RESPONSE, RuntimeState, TransitionError, filter_error_type
from alonzo.engine.snapshots import Taken
from alonzo.sandbox.base import Environment

log = logging.getLogger(__name__)

_NEXT, _ERROR = b"/2018-06-01/runtime/restore/next", b"/2018-06-01/runtime/restore/error"
_CREDENTIALS = b"/2021-04-23/credentials"
_METHODS = {_NEXT: b"GET", _ERROR: b"POST", _CREDENTIALS: b"GET"}
_TEXT = "text/plain; charset=utf-8"
_GO_ON = answer_of("200 OK", b"")
_WRONG_METHOD = answer_of("405 Method Not Allowed", b"")
_NO_CREDENTIALS = answer_of("404 Not Found", b"cannot get credentials for the provided token\n", _TEXT)
_LOOPBACK = "127.0.0.1"
#: How much more than its memory a snapshot may hold: pages of files in /tmp that are mapped.
_FILES_MIB = 128

Header = Callable[[bytes], bytes]
Deliver = Callable[[bytes], None]


class SnapStart:
    """`taken` is the snapshot that the process goes on from, if it does not begin anew.

    `template`: one will be taken of it; then `rests` is done when it rests, with where, and why it cannot be copied.
    """

    def __init__(self, credentials: RoleCredentials, token: str, taken: Taken | None, *, template: bool) -> None:
        self.taken = taken
        self.rests: asyncio.Future[tuple[int, str]] | None = None
        if template:
            self.rests = asyncio.get_running_loop().create_future()
        #: Why a hook failed after the restoring.
        self.error: Failure | None = None
        self.token = token
        self._credentials = credentials
        self._state: RuntimeState | None = None
        self._otherwise: Callable[[bytes, bytes, Header, bytes, Deliver], bool] | None = None
        self._initialised: asyncio.Future[Failure | None] | None = None
        self._went_on = 0.0
        self._sandbox: Environment | None = None

    async def attach(self, api: RuntimeApi, sandbox: Environment, initialised: asyncio.Future[Failure | None]) -> None:
        """Take part in an environment's Runtime API; `initialised` is told why a hook failed."""
        self._state, self._sandbox, self._initialised = api.state, sandbox, initialised
        self._otherwise, api.beside = api.beside, self._serve
        # AWS's SDKs fetch credentials from loopback addresses only.
        port = sandbox.runtime_api_address.rpartition(":")[2]
        if sandbox.runtime_api_address == f"{_LOOPBACK}:{port}":
            return
        listener = await sandbox.open_socket()
        try:
            listener.bind((_LOOPBACK, int(port)))
            await api.serve(listener)
        except OSError as error:  # the function was faster; it does without
            listener.close()
            log.info("environment %s has no credentials endpoint: %s", sandbox.id, error)

    # -- requests -----------------------------------------------------------------------------------------------------

    def _serve(self, method: bytes, url: bytes, header: Header, body: bytes, deliver: Deliver) -> bool:
        wanted = _METHODS.get(url)
        if wanted is None or self._state is None:
            return self._otherwise is not None and self._otherwise(method, url, header, body, deliver)
        if method != wanted:
            deliver(_WRONG_METHOD)
            return True
        try:
            if url == _NEXT:
                self._next(self._state, header, deliver)
            elif url == _ERROR:
                self._failed(self._state, header, body, deliver)
            else:
                deliver(self._document(header(b"authorization").decode("latin-1")))
        except TransitionError as error:
            deliver(forbidden(error))
        return True

    @staticmethod
    def _next(state: RuntimeState, header: Header, deliver: Deliver) -> None:
        try:
            frame = int(header(b"alonzo-snapshot") or b"0", 16)
        except ValueError:
            frame = 0
        frame = frame if 0 < frame < 1 << 64 else 0
        refusal = header(b"alonzo-snapshot-refused").decode("latin-1")
        state.restore_next(frame, refusal, lambda: deliver(_GO_ON))

    def _failed(self, state: RuntimeState, header: Header, body: bytes, deliver: Deliver) -> None:
        if len(body) > MAX_RESPONSE:
            deliver(TOO_LARGE)
            return
        state.restore_error()
        deliver(ACCEPTED)
        error_type = header(b"lambda-runtime-function-error-type").decode("latin-1")
        self.error = Failure("error", filter_error_type(error_type, "Runtime.Unknown"), payload=body)
        if self._initialised is not None and not self._initialised.done():
            self._initialised.set_result(self.error)

    def _document(self, token: str) -> bytes:
        if not secrets.compare_digest(token.encode(), self.token.encode()):
            return _NO_CREDENTIALS
        found = self._credentials
        document = {
            "AccessKeyId": found.access_key_id,
            "SecretAccessKey": found.secret_access_key,
            "Token": found.session_token,
            "Expiration": datetime.fromtimestamp(found.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return answer_of("200 OK", orjson.dumps(document), _TEXT)

    # -- what the runtime did -----------------------------------------------------------------------------------------

    def rested(self, frame: int, refusal: str, go: Callable[[], None], *, alone: bool) -> None:
        """A process that is to be copied never goes on; all others do, at once. `alone`: it has no extensions."""
        if self.rests is None:
            self._went_on = time.perf_counter()
            go()
        elif not self.rests.done():
            self.rests.set_result((frame, refusal) if alone else (0, "it has extensions"))

    async def copy(self, frame: int, memory_mib: int) -> Taken:
        """Copy the process, which rests at `frame`. Raises SandboxError."""
        assert self._sandbox is not None
        return Taken(await self._sandbox.snapshot(frame, memory_mib + _FILES_MIB), self.token)

    def restored(self, began: float) -> Restored:
        """How long it took to go on in an environment that `began` then (of `perf_counter`)."""
        now = time.perf_counter()
        return Restored((now - began) * 1000, (now - self._went_on) * 1000 if self._went_on else 0.0)
