"""AWS's own managed policies, read from `managed_policies.json` on first use."""

from __future__ import annotations

import base64
import hashlib
from functools import cached_property
from pathlib import Path

import orjson

from alonzo.core.dataclasses import dataclass
from alonzo.services.iam.models import ManagedPolicy, Version

#: When AWS's policies came to be is not of interest here: they all share one date (2015-02-06T18:40:58Z).
_CREATED_AT = 1423248058.0
_ARN = "arn:aws:iam::aws:policy"


@dataclass(frozen=True, slots=True)
class _Own:
    policy: ManagedPolicy
    document: str


class AwsPolicies:
    """By ARN. Only the default version of each is known."""

    @cached_property
    def _by_arn(self) -> dict[str, _Own]:
        raw = orjson.loads((Path(__file__).parent / "managed_policies.json").read_bytes())
        found: dict[str, _Own] = {}
        for path_and_name, entry in raw["policies"].items():
            path, _, name = path_and_name.rpartition("/")
            document = orjson.dumps({"Version": "2012-10-17", "Statement": entry["statements"]}).decode()
            policy = ManagedPolicy(
                "aws",
                name,
                path + "/",
                _policy_id(path_and_name),
                _CREATED_AT,
                _CREATED_AT,
                entry["version"],
                entry["description"],
            )
            found[_ARN + path_and_name] = _Own(policy, document)
        return found

    def find(self, arn: str) -> ManagedPolicy | None:
        own = self._by_arn.get(arn) if arn.startswith(_ARN) else None
        return own.policy if own is not None else None

    def document(self, arn: str) -> str | None:
        own = self._by_arn.get(arn) if arn.startswith(_ARN) else None
        return own.document if own is not None else None

    def version(self, arn: str) -> Version | None:
        own = self._by_arn.get(arn)
        return Version(own.policy.default, own.document, _CREATED_AT) if own is not None else None

    def all(self) -> list[ManagedPolicy]:
        return sorted((own.policy for own in self._by_arn.values()), key=lambda policy: policy.name.lower())


def _policy_id(name: str) -> str:
    """A stable identifier: the real ones say nothing that anybody could use."""
    return "ANPA" + base64.b32encode(hashlib.sha256(name.encode()).digest()[:10]).decode()
