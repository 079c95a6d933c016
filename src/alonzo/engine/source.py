"""Where the engine gets functions from: the lambda service implements it, so the engine never knows its tables."""

from __future__ import annotations

from typing import Protocol

from alonzo.core.dataclasses import dataclass
from alonzo.engine.function import FunctionVersion


@dataclass(frozen=True, slots=True)
class EventConfig:
    """How asynchronous invocations of a function are retried, and where their outcome goes (ARNs, "" for none).

    Source: https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html
    """

    max_retries: int = 2
    max_age_s: float = 21_600
    on_success: str = ""
    on_failure: str = ""
    dead_letter: str = ""


class FunctionSource(Protocol):
    """Finds functions by name. Both are asked for every event, so the answers come from memory."""

    def resolve(self, account_id: str, region: str, name: str, qualifier: str) -> FunctionVersion:
        """The version that `qualifier` ("" is $LATEST) means now. Raises ServiceError ResourceNotFoundException."""

    def event_config(self, account_id: str, region: str, name: str, qualifier: str) -> EventConfig:
        """The asynchronous configuration; the defaults where none was put."""
