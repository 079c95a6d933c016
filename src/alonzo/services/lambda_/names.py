"""Function names as clients write them: a name, a partial ARN or a full ARN, each with or without a qualifier."""

from __future__ import annotations

import re

from alonzo.core.arn import arn
from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.dispatch import Call
from alonzo.services.lambda_.errors import invalid, not_found
from alonzo.services.lambda_.models import LATEST, LATEST_PUBLISHED

_NAME = re.compile(
    r"(?:arn:aws[a-zA-Z-]*:lambda:)?"
    r"(?:(?P<region>(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d):)?"
    r"(?:(?P<account>\d{12}):)?(?:function:)?"
    r"(?P<name>[a-zA-Z0-9-_.]+)"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
_VERSION = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """Which function is meant; `qualifier` is "" where none was given."""

    account_id: str
    region: str
    name: str
    qualifier: str = ""

    @property
    def arn(self) -> str:
        """Unqualified."""
        return arn("lambda", self.region, self.account_id, f"function:{self.name}")

    @property
    def qualified_arn(self) -> str:
        """With the qualifier, if there is one."""
        return f"{self.arn}:{self.qualifier}" if self.qualifier else self.arn

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.account_id, self.region, self.name)


def function_ref(ctx: Context | Call, name: str, qualifier: str | None = None) -> FunctionRef:
    """Resolve a name that has passed the model's pattern.

    Raises the errors of a foreign region and of a qualifier that contradicts the one in the name.
    """
    match = _NAME.fullmatch(name)
    if match is None:  # the model's pattern allows nothing else; callers inside Alonzo are validated too
        raise not_found(f"Function not found: {name}")
    region = match["region"]
    if region is not None and region != ctx.region:
        raise not_found(f"Functions from '{region}' are not reachable in this region ('{ctx.region}')")
    derived = match["qualifier"]
    if derived and qualifier and derived != qualifier:
        raise invalid("The derived qualifier from the function name does not match the specified qualifier.")
    return FunctionRef(match["account"] or ctx.account_id, ctx.region, match["name"], derived or qualifier or "")


def is_version(qualifier: str) -> bool:
    """Whether a qualifier is that of a published version."""
    return qualifier == LATEST_PUBLISHED or _VERSION.fullmatch(qualifier) is not None


def is_alias(qualifier: str) -> bool:
    return bool(qualifier) and qualifier != LATEST and not is_version(qualifier)


def layer_arn(account_id: str, region: str, name: str) -> str:
    return arn("lambda", region, account_id, f"layer:{name}")


_LAYER = re.compile(
    r"arn:aws[a-zA-Z-]*:lambda:(?P<region>[^:]+):(?P<account>\d{12}):layer:(?P<name>[^:]+)(?::(?P<v>\d+))?"
)


@dataclass(frozen=True, slots=True)
class LayerRef:
    """Which layer is meant; `version` is None where none was given."""

    account_id: str
    region: str
    name: str
    version: int | None = None

    @property
    def arn(self) -> str:
        return layer_arn(self.account_id, self.region, self.name)

    @property
    def version_arn(self) -> str:
        return f"{self.arn}:{self.version}"


def layer_ref(ctx: Context, name: str, version: int | None = None) -> LayerRef:
    """Resolve a layer's name or ARN."""
    match = _LAYER.fullmatch(name)
    if match is None:
        return LayerRef(ctx.account_id, ctx.region, name, version)
    in_name = int(match["v"]) if match["v"] else None
    return LayerRef(match["account"], match["region"], match["name"], version if version is not None else in_name)
