"""Every setting: one table, read once. A flag goes over `ALONZO_*`, that over the file, that over the default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alonzo.core.dataclasses import dataclass, field, fields


class SettingsError(Exception):
    """A setting that is unknown or malformed; the message says what to write instead."""


def _setting(default: Any, help: str, *, unit: str = "", choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": help, "unit": unit, "choices": choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The table of settings. The environment variable of `name` is `ALONZO_NAME`; the file's key is `name`."""

    host: str = _setting("127.0.0.1", "Address to listen on. Anything but loopback needs real access keys.")
    port: int = _setting(4566, "Port to listen on; 0 takes a free one.")
    data_dir: Path = _setting(Path("~/.local/share/alonzo"), "Folder that holds everything durable.")
    ephemeral: bool = _setting(False, "Keep everything in memory and forget it at the end.")
    account_id: str = _setting("000000000000", "The default account, whose administrator is the pair test/test.")
    region: str = _setting("us-east-1", "The region of requests that name none.")
    base_domains: str = _setting(
        "localhost,localhost.localstack.cloud,alonzo.localhost",
        "Host names under which virtual-hosted names are understood, comma separated.",
    )
    cors_origins: str = _setting(
        "", "Origins of web pages that may call the APIs beside those on this machine, comma separated."
    )
    log_level: str = _setting("warning", "The server's own log.", choices=("debug", "info", "warning", "error"))
    isolation: str = _setting("auto", "How functions are isolated.", choices=("auto", "namespaces", "process"))
    runtimes_dir: Path = _setting(Path("~/.cache/alonzo/runtimes"), "Folder of prepared managed runtimes.")
    interpreters: str = _setting("", "More folders to look for interpreters in, colon separated.")
    runtime_client: str = _setting(
        "lean",
        "Who speaks to the Runtime API in Python's runtimes: ours, or AWS's own, which is executed and never forked.",
        choices=("lean", "aws"),
    )
    offline: bool = _setting(False, "Never fetch a runtime's packages.")
    internet: str = _setting(
        "auto", "Outbound internet of functions: where the host allows it, or never.", choices=("auto", "off")
    )
    cold_start: str = _setting(
        "fast",
        "How environments start: forked from a process that has started the runtime already where that makes no"
        " difference but time; always by executing the runtime; or so, and as slowly as on AWS (for tests).",
        choices=("fast", "real", "aws"),
    )
    account_concurrency: int = _setting(1000, "Concurrent executions of an account in a region.")
    max_environments: int = _setting(2000, "Execution environments on this machine at most.")
    idle_timeout_s: float = _setting(
        300.0,
        "An idle execution environment is ended after this time, or earlier where nearly all were used again sooner.",
        unit="s",
    )
    idle_memory_percent: float = _setting(
        25.0,
        "The share of the machine's memory that idle execution environments may take; over it, those that save the"
        " least time of starting for their memory are ended first. 0: no bound.",
        unit="%",
    )
    freeze_after_ms: int = _setting(50, "An idle execution environment is frozen after this time.", unit="ms")
    retry_base_s: float = _setting(
        60.0, "Delay before the first retry of a failed asynchronous invocation; the second takes twice that.", unit="s"
    )
    throttle_base_s: float = _setting(1.0, "First back-off of a throttled asynchronous invocation.", unit="s")
    clock_skew_s: float = _setting(900.0, "How far a signature's time may be off.", unit="s")
    stream_rate_mib: float = _setting(
        2.0, "A streamed response's rate after its first 6 MiB, as on AWS; 0 takes the limit away.", unit="MiB/s"
    )
    log_flush_ms: int = _setting(100, "How long log lines wait to be stored together.", unit="ms")

    @property
    def loopback_only(self) -> bool:
        return self.host in ("127.0.0.1", "::1", "localhost")


def _convert(name: str, kind: str, raw: Any, choices: tuple[str, ...]) -> Any:
    try:
        if kind == "bool":
            if isinstance(raw, bool):
                return raw
            lowered = str(raw).strip().lower()
            if lowered in ("1", "true", "yes", "on"):
                return True
            if lowered in ("", "0", "false", "no", "off"):
                return False
            raise ValueError
        if kind == "int":
            return int(raw)
        if kind == "float":
            return float(raw)
        if kind == "Path":
            return Path(raw).expanduser()
    except (TypeError, ValueError):
        raise SettingsError(f"Setting {name!r} must be of type {kind}, not {raw!r}.") from None
    if choices and raw not in choices:
        raise SettingsError(f"Setting {name!r} must be one of {', '.join(choices)}, not {raw!r}.")
    return str(raw)


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Settings from all sources. `flags` with value None count as not given. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    table = {f.name: f for f in fields(Settings)}
    found: dict[str, Any] = {}
    if file is not None:
        import tomllib  # most starts have no file

        try:
            found.update(tomllib.loads(file.read_text()))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"Cannot read the settings file {file}: {error}.") from None
    for key, value in environ.items():
        if key.startswith("ALONZO_") and key not in _NOT_SETTINGS:
            found[key.removeprefix("ALONZO_").lower()] = value
    found.update({key: value for key, value in (flags or {}).items() if value is not None})
    values: dict[str, Any] = {}
    for name, raw in found.items():
        if name not in table:
            import difflib

            near = difflib.get_close_matches(name, table, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"Unknown setting {name!r}.{hint}")
        spec = table[name]
        kind = spec.type if isinstance(spec.type, str) else spec.type.__name__
        values[name] = _convert(name, kind, raw, spec.metadata["choices"])
    for name in ("data_dir", "runtimes_dir"):
        values[name] = Path(values.get(name, table[name].default)).expanduser()
    return Settings(**values)


#: Variables with the prefix that other parts read themselves.
_NOT_SETTINGS = frozenset({"ALONZO_ENDPOINT", "ALONZO_CONFIG", "ALONZO_HOME"})
