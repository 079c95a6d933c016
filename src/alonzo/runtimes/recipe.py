"""What a language must know for its runtimes to be prepared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from alonzo.runtimes.table import ManagedRuntime

#: Called with what is being done now, for people.
Progress = Callable[[str], None]


class Program(Protocol):
    """A language's own program on this machine."""

    @property
    def executable(self) -> str: ...
    @property
    def version(self) -> str: ...


class Recipe(Protocol):
    """Prepares one language's runtimes; one for each language in `prepare.Preparer`."""

    async def find(self, runtime: ManagedRuntime) -> Program:
        """The best program on this machine. Raises RuntimeUnavailable with the way to get one."""

    async def all(self) -> Mapping[str, Program]:
        """The best program for each version in the table of runtimes."""

    def missing(self, runtime: ManagedRuntime) -> tuple[str, str]:
        """Why `all` has no program for it, and the command that gets one."""

    async def fetch(self, runtime: ManagedRuntime, progress: Progress) -> None:
        """Get a program from a package registry where that is possible, so that `find` finds it; else do nothing.
        Raises RuntimeUnavailable."""

    def fingerprint(self) -> str:
        """Names this version of what is put beside the program: prepared with another, a runtime is prepared anew."""

    async def build(
        self, runtime: ManagedRuntime, program: Program, folder: Path, progress: Progress
    ) -> dict[str, str]:
        """Fill `folder`/lang and `folder`/runtime, and try them out; the versions of the packages by name.
        Raises RuntimeUnavailable, OSError."""
