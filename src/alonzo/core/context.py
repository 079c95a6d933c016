"""Who asks, for which account and region: what every operation receives beside its parameters."""

from __future__ import annotations

from typing import Literal

from alonzo.core.arn import arn
from alonzo.core.dataclasses import dataclass, replace

PrincipalKind = Literal["root", "user", "role", "service", "anonymous"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The identity a request acts as.

    `arn` is what error texts and GetCallerIdentity show (for a role: the assumed-role session's ARN; for a service: its
    name, as `s3.amazonaws.com`). `role_arn` is the role behind a session. `session_policies` are JSON documents given
    at AssumeRole. `access_key_id` is the key that signed.
    """

    kind: PrincipalKind
    account_id: str
    arn: str
    user_id: str = ""
    access_key_id: str = ""
    role_arn: str = ""
    session_policies: tuple[str, ...] = ()
    name: str = ""
    #: Session tags (aws:PrincipalTag/…), and when the temporary credentials were issued (aws:TokenIssueTime), epoch.
    tags: tuple[tuple[str, str], ...] = ()
    issued_at: float = 0.0

    @staticmethod
    def root(account_id: str, access_key_id: str = "") -> Principal:
        """The account's administrator: everything is allowed within the account."""
        return Principal("root", account_id, arn("iam", "", account_id, "root"), account_id, access_key_id)

    @staticmethod
    def service(name: str, account_id: str) -> Principal:
        """An AWS service acting for a customer, as `lambda.amazonaws.com`."""
        return Principal("service", account_id, name, name=name)


ANONYMOUS = Principal("anonymous", "", "*")


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one operation.

    `account_id` and `region` say whose resources are meant. `source_arn` and `source_account` are set where a service
    acts for a resource (aws:SourceArn, aws:SourceAccount). `endpoint` is scheme and authority as the client used them
    (`http://localhost:4566`), for URLs in answers. `trace_header` is the X-Amzn-Trace-Id to pass on.
    """

    account_id: str
    region: str
    principal: Principal
    request_id: str
    source_arn: str = ""
    source_account: str = ""
    endpoint: str = "http://localhost:4566"
    trace_header: str = ""
    client_ip: str = ""
    user_agent: str = ""
    secure: bool = False

    def as_service(self, name: str, *, source_arn: str = "", request_id: str | None = None) -> Context:
        """The same account and region, acting as an AWS service on behalf of `source_arn`."""
        return replace(
            self,
            principal=Principal.service(name, self.account_id),
            source_arn=source_arn,
            source_account=self.account_id,
            request_id=request_id or self.request_id,
        )
