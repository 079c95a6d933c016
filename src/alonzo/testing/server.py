"""A server of one's own for tests: `with Server() as alonzo: alonzo.client("lambda")`."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


class Server:
    """Runs `alonzo up` as a process of its own and makes boto3 clients that talk to it.

    Without `data_dir` it is ephemeral. `settings` become `ALONZO_*` variables. `log` collects what it prints. `python`
    is the interpreter that runs it, `user` the user id (only root may choose one), `variables` are added to its
    environment.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 30.0,
        python: str = sys.executable,
        user: int | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._python = python
        self._identity: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        self._variables = variables or {}
        self._data_dir = data_dir
        self._settings = settings or {}
        self._timeout_s = timeout_s
        self.process: subprocess.Popen[str] | None = None
        self.endpoint = ""
        self.ready_line = ""
        self.log: list[str] = []

    def start(self) -> Server:
        """Start and wait for the ready line. Raises RuntimeError with what the server printed if it does not come."""
        where = ["--ephemeral"] if self._data_dir is None else ["--data-dir", str(self._data_dir)]
        self.process = subprocess.Popen(
            [self._python, "-m", "alonzo.cli.main", "up", "--port", "0", *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment(),
            **self._identity,
        )
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._collect, args=(lines,), daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=self._timeout_s)
            except queue.Empty:
                self.kill()
                raise RuntimeError(f"no ready line within {self._timeout_s} s:\n{''.join(self.log)}") from None
            if line is None:
                self.process.wait()
                raise RuntimeError(f"alonzo up ended:\n{''.join(self.log)}")
            found = re.search(r"ready at (http://\S+)", line)
            if found:
                self.ready_line = line.strip()
                self.endpoint = found[1].replace("localhost", "127.0.0.1")
                return self

    def _collect(self, lines: queue.SimpleQueue[str | None]) -> None:
        assert self.process is not None and self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                self.log.append(line)
                lines.put(line)
        lines.put(None)

    def environment(self) -> dict[str, str]:
        """The server's environment: this process's, without other `ALONZO_*` or `AWS_*` variables."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "ALONZO_"))}
        return {
            **kept,
            "ALONZO_RUNTIMES_DIR": os.environ.get(
                "ALONZO_RUNTIMES_DIR", str(Path("~/.cache/alonzo/runtimes").expanduser())
            ),
            **self._variables,
            **{f"ALONZO_{key.upper()}": value for key, value in self._settings.items()},
        }

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, then wait; returns the exit code. Raises subprocess.TimeoutExpired if it does not end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(
        self,
        service: str,
        *,
        access_key_id: str = "test",
        secret_access_key: str = "test",
        session_token: str | None = None,
        region: str = "us-east-1",
        **config: Any,
    ) -> Any:
        """A boto3 client for a service of this server. `config` goes to botocore's Config."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            aws_session_token=session_token,
            region_name=region,
            config=Config(**{"retries": {"max_attempts": 0}, "read_timeout": 60, **config}),
        )

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
