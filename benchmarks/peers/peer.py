"""What the measurements ask of a peer, and the process that each is."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import requests
from benchmarks.peers.work import Package

#: Everything that is measured, by its name in the results.
TASKS = ("python", "package", "boto3", "node", "warm", "many", "s3_event", "sqs_event", "s3_put", "sqs_send")


class Peer(ABC):
    """One program that runs functions, or holds what runs them.

    `cannot` maps tasks (of TASKS) to the reason why it has none to measure; `lacks` are the things that Alonzo does in
    the same figures and this one does not: who reads a figure must know them.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    lacks: ClassVar[tuple[str, ...]] = ()
    cannot: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        self.endpoint = ""
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def fetch(self) -> str:
        """Make it available; returns its version. Raises Unavailable."""

    @abstractmethod
    def start(self, functions: Mapping[str, Package]) -> None:
        """Start it with these functions, and wait until it answers."""

    @abstractmethod
    def stop(self) -> None:
        """End every process of it."""

    def ready(self, name: str) -> None:  # noqa: B027 - most peers need nothing
        """Whatever must happen before a function's first invocation and is no part of it."""

    def done(self, name: str) -> None:  # noqa: B027 - most peers need nothing
        """A function will not be invoked any more."""

    def request(self, name: str, **headers: str) -> tuple[str, bytes]:
        """An endpoint, and a signed Invoke of the function there."""
        return self.endpoint, requests.invoke(self.endpoint, name, **headers)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def client(self, service: str) -> Any:
        """A boto3 client."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 0}, read_timeout=60),
        )


class ProcessPeer(Peer):
    """A peer that is one command in a folder of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def home(self) -> Path:
        """Its folder, removed when it is stopped."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="alonzo-peer-", ignore_cleanup_errors=True)
        return Path(self._folder.name)

    def launch(self, command: list[str], environment: Mapping[str, str], cwd: Path | None = None) -> None:
        """Start the command and wait until it answers HTTP on `self.endpoint`."""
        log = (self.home / "log").open("ab")
        self.process = subprocess.Popen(
            command,
            cwd=cwd or self.home,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        try:
            await_answer(self.endpoint, self.process)
        except RuntimeError as error:
            raise RuntimeError(f"{self.name}: {error}\n{(self.home / 'log').read_text()[-2000:]}") from None

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)
            self.process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and the whole group that it leads."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def await_answer(endpoint: str, process: subprocess.Popen[bytes], timeout_s: float = 60) -> None:
    """Until any HTTP answer comes, whatever it says. Raises RuntimeError."""
    deadline = time.monotonic() + timeout_s
    while True:
        connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        except (OSError, http.client.HTTPException):
            if process.poll() is not None:
                raise RuntimeError(f"it ended with {process.returncode}") from None
            if time.monotonic() > deadline:
                raise RuntimeError(f"no answer within {timeout_s:g} s") from None
            time.sleep(0.002)
        finally:
            connection.close()
