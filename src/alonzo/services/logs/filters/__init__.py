"""Filter patterns: text -> a predicate on messages, bounded in time whatever the pattern and the message.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

from alonzo.services.logs.filters.compiled import Pattern, compile_pattern

__all__ = ["Pattern", "compile_pattern"]
