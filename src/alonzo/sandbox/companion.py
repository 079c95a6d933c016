"""A program that joined an environment later, as the server has it (the host's side is `joining`)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from alonzo.sandbox.base import ExecError, Exit, SandboxError
from alonzo.sandbox.status import STATUS

#: Sends a signal to the program.
Signal = Callable[[int], Awaitable[None]]


class NamespaceCompanion:
    """See `base.Companion`."""

    def __init__(self, argv: tuple[str, ...], descriptors: list[int], send: Signal) -> None:
        self._argv = argv
        self.output, self._error, self._status = descriptors
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[bytes] = self._loop.create_future()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._said = b""
        self._loop.add_reader(self._error, self._read_error)
        self._loop.add_reader(self._status, self._read_status)

    def _read_error(self) -> None:
        said = os.read(self._error, 4096)
        self._said += said
        if not said:
            self._close("_error")
            if not self._started.done():
                self._started.set_result(self._said)

    def _read_status(self) -> None:
        said = os.read(self._status, STATUS.size)
        self._close("_status")
        ended = Exit(None, signal.SIGKILL)  # the keeper was killed: so was the environment
        if len(said) == STATUS.size:
            code = os.waitstatus_to_exitcode(STATUS.unpack(said)[0])
            ended = Exit.of(code)
        if not self._exit.done():
            self._exit.set_result(ended)

    async def started(self) -> None:
        """Wait until the program is executed; ExecError or SandboxError if it could not be."""
        said = await asyncio.shield(self._started)
        if said:
            stage, number, text = said.split(b"\0", 2)
            if stage == b"exec":
                raise ExecError(self._argv[0], int(number))
            raise SandboxError(f"the program could not join the sandbox: {text.decode('utf-8', 'replace')}")

    async def wait(self) -> Exit:
        """See `base.Companion.wait`."""
        return await asyncio.shield(self._exit)

    async def signal(self, number: int) -> None:
        """See `base.Companion.signal`."""
        if not self._exit.done():
            await self._send(number)

    def _close(self, name: str) -> None:
        descriptor = getattr(self, name)
        if descriptor >= 0:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            setattr(self, name, -1)

    def close(self) -> None:
        """The environment is given back."""
        for name in ("_error", "_status", "output"):
            self._close(name)
        for future, result in ((self._started, b""), (self._exit, Exit(None, signal.SIGKILL))):
            if not future.done():
                future.set_result(result)  # type: ignore[arg-type]
