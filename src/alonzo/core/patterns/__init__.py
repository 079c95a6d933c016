"""The event pattern language of EventBridge, of Lambda's event filters and of SNS's filter policies. Pure.

A pattern is compiled once and matched often; matching takes time linear in the event, whatever the pattern.
Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
"""

from alonzo.core.patterns.compiling import Dialect, compile_pattern, json_fault
from alonzo.core.patterns.errors import PatternError
from alonzo.core.patterns.matching import Matcher

__all__ = ["Dialect", "Matcher", "PatternError", "compile_pattern", "json_fault"]
