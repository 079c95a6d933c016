"""What the operations share."""

from __future__ import annotations

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Parts
from alonzo.services.logs import store
from alonzo.services.logs.appending import Batches
from alonzo.services.logs.models import LogGroup, group_missing, group_name_of


@dataclass(frozen=True, slots=True)
class Logs:
    """The service's state is all in the database; `batches` holds what is on its way there."""

    parts: Parts
    batches: Batches

    def now_ms(self) -> int:
        return int(self.parts.clock.now() * 1000)

    async def group(self, ctx: Context, name: str) -> LogGroup:
        """Raises ResourceNotFoundException."""
        found = await self.parts.db.read(lambda c: store.find_group(c, (ctx.account_id, ctx.region), name))
        if found is None:
            raise group_missing()
        return found


def named_group(ctx: Context, params: Params) -> str:
    """The group's name in logGroupName or logGroupIdentifier, of which exactly one must be given."""
    name, identifier = params.get("logGroupName"), params.get("logGroupIdentifier")
    if bool(name) == bool(identifier):
        raise ServiceError(
            "InvalidParameterException", "Exactly one of logGroupName and logGroupIdentifier must be specified."
        )
    return str(name) if name else group_name_of(str(identifier), ctx.account_id, ctx.region)
