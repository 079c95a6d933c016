"""TestMetricFilter: try a filter pattern."""

from __future__ import annotations

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.logs.filters import compile_pattern
from alonzo.services.logs.filters.fields import FieldsPattern
from alonzo.services.logs.state import Logs


async def test_metric_filter(state: Logs, ctx: Context, params: Params) -> Result:
    matches = compile_pattern(params["filterPattern"])
    found = []
    for number, message in enumerate(params["logEventMessages"], 1):
        if matches(message):
            fields = (matches.extract(message) or {}) if isinstance(matches, FieldsPattern) else {}
            values = {f"${name}": value for name, value in fields.items()}
            found.append({"eventNumber": number, "eventMessage": message, "extractedValues": values})
    return {"matches": found}
