"""Every managed runtime of AWS Lambda, in one table, with what this program does with it.

Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
"""

from __future__ import annotations

from datetime import date

from alonzo.core.dataclasses import dataclass
from alonzo.runtimes.errors import RuntimeUnavailable


@dataclass(frozen=True, slots=True)
class ManagedRuntime:
    """One runtime identifier.

    `version` is the language's ("3.12"), or the system's for the OS-only ones; `deprecated` the day on which AWS ended
    or ends its support, None where AWS names none. `available` says whether functions can run on it here.
    """

    identifier: str
    language: str
    version: str = ""
    deprecated: date | None = None
    available: bool = False

    @property
    def execution_env(self) -> str:
        """Value of AWS_EXECUTION_ENV; the OS-only runtimes have none."""
        return "" if self.language == "provided" else f"AWS_Lambda_{self.identifier}"


def _python(version: str, deprecated: date) -> ManagedRuntime:
    return ManagedRuntime(f"python{version}", "python", version, deprecated, available=True)


def _node(version: str, deprecated: date) -> ManagedRuntime:
    return ManagedRuntime(f"nodejs{version}.x", "nodejs", version, deprecated, available=True)


_TABLE = (
    _python("3.8", date(2024, 10, 14)),
    _python("3.9", date(2025, 12, 15)),
    _python("3.10", date(2026, 10, 31)),
    _python("3.11", date(2027, 6, 30)),
    _python("3.12", date(2028, 10, 31)),
    _python("3.13", date(2029, 6, 30)),
    _python("3.14", date(2029, 6, 30)),
    _node("18", date(2025, 9, 1)),
    _node("20", date(2026, 4, 30)),
    _node("22", date(2027, 4, 30)),
    _node("24", date(2028, 4, 30)),
    ManagedRuntime("java8.al2", "java", "8"),
    ManagedRuntime("java11", "java", "11"),
    ManagedRuntime("java17", "java", "17"),
    ManagedRuntime("java21", "java", "21"),
    ManagedRuntime("java25", "java", "25"),
    ManagedRuntime("dotnet6", "dotnet", "6", date(2024, 12, 20)),
    ManagedRuntime("dotnet8", "dotnet", "8", date(2026, 11, 10)),
    ManagedRuntime("dotnet10", "dotnet", "10"),
    ManagedRuntime("ruby3.2", "ruby", "3.2", date(2026, 3, 31)),
    ManagedRuntime("ruby3.3", "ruby", "3.3", date(2027, 3, 31)),
    ManagedRuntime("ruby3.4", "ruby", "3.4"),
    ManagedRuntime("provided.al2", "provided", "al2", date(2026, 7, 31), available=True),
    ManagedRuntime("provided.al2023", "provided", "al2023", date(2029, 6, 30), available=True),
)

#: By identifier, in AWS's order.
RUNTIMES: dict[str, ManagedRuntime] = {runtime.identifier: runtime for runtime in _TABLE}


def lookup(identifier: str) -> ManagedRuntime:
    """The table's row. Raises RuntimeUnavailable for what AWS does not know, or what cannot run here yet."""
    runtime = RUNTIMES.get(identifier)
    known = ", ".join(row.identifier for row in _TABLE if row.available)
    if runtime is None:
        raise RuntimeUnavailable(identifier, f"There is no managed runtime {identifier!r}.", f"Choose one of {known}.")
    if not runtime.available:
        raise RuntimeUnavailable(
            identifier, f"The runtime {identifier} is not available in Alonzo yet.", f"Those that are: {known}."
        )
    return runtime
