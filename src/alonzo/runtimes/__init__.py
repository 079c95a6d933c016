"""Managed runtimes: what exists, how it is prepared, how code becomes a root tree."""

from alonzo.runtimes.errors import CodeError, RuntimesError, RuntimeUnavailable
from alonzo.runtimes.packages import MAX_UNZIPPED, ZipInfo, check_size, inspect_zip
from alonzo.runtimes.prepare import Prepared, RuntimeStatus
from alonzo.runtimes.root import USER_MAY_REPLACE, Root, Runtimes, runtime_variables
from alonzo.runtimes.table import RUNTIMES, ManagedRuntime, lookup

__all__ = [
    "MAX_UNZIPPED",
    "RUNTIMES",
    "USER_MAY_REPLACE",
    "CodeError",
    "ManagedRuntime",
    "Prepared",
    "Root",
    "RuntimeStatus",
    "RuntimeUnavailable",
    "Runtimes",
    "RuntimesError",
    "ZipInfo",
    "check_size",
    "inspect_zip",
    "lookup",
    "runtime_variables",
]
