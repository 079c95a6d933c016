"""Whether a document may be stored as a policy, in the words in which AWS refuses it.

Syntax is checked first, over the whole document; then each statement's meaning; the first problem is the answer.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from alonzo.core.policy.conditions import OPERATORS, date
from alonzo.core.policy.document import SYNTAX, VERSIONS, MalformedPolicy, compile_policy, load, strings
from alonzo.core.policy.principals import account_of

LEGACY = "The policy failed legacy parsing"
_DOCUMENT = {"Version", "Id", "Statement"}
_STATEMENT = {
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Principal",
    "NotPrincipal",
    "Condition",
}
_PARTITIONS = re.compile(r"(aws|aws-cn|aws-us-gov|aws-iso|aws-iso-b|aws-iso-e|aws-iso-f|aws-eusc)|.*[*?].*", re.DOTALL)
_IAM_PATHS = (
    "user/",
    "federated-user/",
    "role/",
    "group/",
    "instance-profile/",
    "mfa/",
    "server-certificate/",
    "policy/",
    "sms-mfa/",
    "saml-provider/",
    "oidc-provider/",
    "report/",
    "access-report/",
)
_TRUST_ACTIONS = re.compile(r"sts:[A-Za-z*?]+")
_PRINCIPAL_KINDS = {"AWS", "Service", "Federated", "CanonicalUser"}
_SERVICE = re.compile(r"[a-z0-9][a-z0-9.-]*\.(amazonaws\.com(\.cn)?|amazon\.com|aws\.internal)")
_AWS_PRINCIPAL = re.compile(
    r"\*|\d{12}|arn:aws[a-z-]*:(iam|sts)::\d{12}:(root|user/.+|role/.+|assumed-role/.+/.+|federated-user/.+)"
    r"|A(IDA|ROA|GPA|NPA)[A-Z0-9]{12,}"
)


def check_identity(text: str, *, managed: bool = False) -> None:
    """A policy of a user, group, role or session. Raises MalformedPolicy. `managed` ones must have the new version."""
    document, statements = _read(text)
    if managed and document.get("Version") != "2012-10-17":
        raise MalformedPolicy("Policy document must be version 2012-10-17 or greater.")
    _legacy(statements)
    _unique_sids(statements)
    for statement in statements:
        if "Principal" in statement or "NotPrincipal" in statement:
            raise MalformedPolicy("Policy document should not specify a principal.")
        _check_actions(statement)
        _check_resources(statement)
    compile_policy(text)


def check_trust(text: str) -> None:
    """The trust policy of a role. Raises MalformedPolicy."""
    _, statements = _read(text, "This policy contains invalid Json")
    _legacy(statements)
    _unique_sids(statements)
    for statement in statements:
        for name in ("Resource", "NotResource"):
            if name in statement:
                raise MalformedPolicy(f"Has prohibited field {name}")
        if "Principal" not in statement and "NotPrincipal" not in statement:
            raise MalformedPolicy("Missing required field Principal")
        _check_principals(statement)
        _check_actions(statement)
        for action in strings(statement.get("Action", statement.get("NotAction"))):
            if not _TRUST_ACTIONS.fullmatch(action):
                raise MalformedPolicy("AssumeRole policy may only specify STS AssumeRole actions.")
    compile_policy(text)


def check_resource(text: str) -> None:
    """A resource's policy (bucket, queue, topic): statements name principals. Raises MalformedPolicy.

    What a service demands beyond that (its own actions, its own ARNs), it checks itself.
    """
    _, statements = _read(text)
    _unique_sids(statements)
    for statement in statements:
        if "Principal" not in statement and "NotPrincipal" not in statement:
            raise MalformedPolicy("Missing required field Principal")
        _check_principals(statement)
        if "Action" not in statement and "NotAction" not in statement:
            raise MalformedPolicy("Missing required field Action")
        if "Resource" not in statement and "NotResource" not in statement:
            raise MalformedPolicy("Missing required field Resource")
    compile_policy(text)


def _read(text: str, broken: str = SYNTAX) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The document and its statements, their syntax checked."""
    document = load(text, broken)
    raw = document.get("Statement")
    statements: list[dict[str, Any]] = list(raw) if isinstance(raw, list) else [raw or {}]
    if (
        set(document) - _DOCUMENT
        or document.get("Version", VERSIONS[0]) not in VERSIONS
        or not isinstance(document.get("Id", ""), str)
        or not statements
    ):
        raise MalformedPolicy(SYNTAX)
    for statement in statements:
        _check_syntax(statement)
    return document, statements


def _check_syntax(statement: Any) -> None:
    if (
        not isinstance(statement, dict)
        or set(statement) - _STATEMENT
        or not isinstance(statement.get("Sid", ""), str)
        or str(statement.get("Effect")).lower() not in ("allow", "deny")
    ):
        raise MalformedPolicy(SYNTAX)
    for name in ("Action", "Resource", "Principal"):
        if name in statement and f"Not{name}" in statement:
            raise MalformedPolicy(SYNTAX)
    for name in ("Action", "NotAction", "Resource", "NotResource"):
        if name in statement:
            _check_strings(statement[name])
    for name in ("Principal", "NotPrincipal"):
        if name in statement:
            _check_principal_syntax(statement[name])
    _check_condition_syntax(statement.get("Condition", {}))


def _check_strings(value: Any) -> None:
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str):
            raise MalformedPolicy(SYNTAX)


def _check_principal_syntax(value: Any) -> None:
    if value == "*":
        return
    if not isinstance(value, dict) or not value:
        raise MalformedPolicy(f"Invalid principal in policy: {value!r}" if isinstance(value, str) else SYNTAX)
    for kind, names in value.items():
        if kind not in _PRINCIPAL_KINDS:
            raise MalformedPolicy(SYNTAX)
        _check_strings(names)


def _check_condition_syntax(value: Any) -> None:
    if not isinstance(value, dict):
        raise MalformedPolicy(SYNTAX)
    for operator, keys in value.items():
        if not isinstance(keys, dict):
            raise MalformedPolicy(SYNTAX)
        name = operator.lower()
        for prefix in ("forallvalues:", "foranyvalue:"):
            name = name.removeprefix(prefix)
        if keys and name.removesuffix("ifexists") not in OPERATORS:
            raise MalformedPolicy(SYNTAX)
        for values in keys.values():
            strings(values)


def _legacy(statements: Sequence[dict[str, Any]]) -> None:
    """What only AWS's older parser notices."""
    for statement in statements:
        if statement["Effect"] not in ("Allow", "Deny"):
            raise MalformedPolicy(LEGACY)
        for name in ("Resource", "NotResource"):
            for resource in strings(statement.get(name, [])):
                if resource.startswith("arn:aws:") and 2 < resource.count(":") < 5 and "*" not in resource:
                    raise MalformedPolicy(LEGACY)
                if resource.startswith("arn:aws::"):
                    raise MalformedPolicy(LEGACY)
        for operator, keys in statement.get("Condition", {}).items():
            if operator.lower().startswith("date"):
                for value in (value for values in keys.values() for value in strings(values)):
                    if "${" not in value and date(value) is None:
                        raise MalformedPolicy(LEGACY)


def _unique_sids(statements: Sequence[dict[str, Any]]) -> None:
    sids = [statement["Sid"] for statement in statements if statement.get("Sid")]
    if len(set(sids)) != len(sids):
        raise MalformedPolicy("Statement IDs (SID) in a single policy must be unique.")
    for sid in sids:
        if not re.fullmatch(r"[\w .:/=+,@-]*", sid, re.ASCII):
            raise MalformedPolicy(
                f"Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression"
                f" [0-9A-Za-z]*: {sid[:64]}"
            )


def _check_actions(statement: dict[str, Any]) -> None:
    actions = strings(statement.get("Action", statement.get("NotAction", [])))
    if not actions:
        raise MalformedPolicy("Policy statement must contain actions.")
    for action in actions:
        vendor, colon, rest = action.partition(":")
        if action == "*":
            continue
        if not colon:
            raise MalformedPolicy("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
        if ":" in rest:
            raise MalformedPolicy("Actions/Condition can contain only one colon.")
        if not re.fullmatch(r"[A-Za-z0-9.\-_*?]+", vendor):
            raise MalformedPolicy(f"Vendor {vendor} is not valid")


def _check_resources(statement: dict[str, Any]) -> None:
    resources = strings(statement.get("Resource", statement.get("NotResource", [])))
    if not resources:
        raise MalformedPolicy("Policy statement must contain resources.")
    for resource in resources:
        if resource != "*":
            _check_arn(resource)


def _check_arn(resource: str) -> None:
    if ":" not in resource:
        if resource.strip("*") == "":
            return
        raise MalformedPolicy(f'Resource {resource} must be in ARN format or "*".')
    parts = resource.split(":", 5)
    if not _PARTITIONS.fullmatch(parts[1]):
        padded = ["arn", *parts[1:], *["*"] * (6 - len(parts))]
        raise MalformedPolicy(f'Partition "{parts[1]}" is not valid for resource "{":".join(padded)}".')
    if len(parts) < 3:
        if "*" in resource:
            return
        raise MalformedPolicy("Resource vendor must be fully qualified and cannot contain regexes.")
    if len(parts) < 6:
        return
    if parts[2] == "s3" and parts[3] not in ("", "*") and not parts[5].startswith("accesspoint"):
        raise MalformedPolicy(f"Resource {resource} can not contain region information.")
    if parts[2] == "iam":
        if parts[3] not in ("", "*"):
            raise MalformedPolicy(f"IAM resource {resource} cannot contain region information.")
        if "*" not in parts[5] and parts[5] != "root" and not parts[5].startswith(_IAM_PATHS):
            raise MalformedPolicy(f'IAM resource path must either be "*" or start with {", ".join(_IAM_PATHS)}.')


def _check_principals(statement: dict[str, Any]) -> None:
    value = statement.get("Principal", statement.get("NotPrincipal"))
    if value == "*" or not isinstance(value, dict):
        return
    for kind, names in value.items():
        for name in strings(names):
            if kind == "AWS" and not (_AWS_PRINCIPAL.fullmatch(name) or account_of(name)):
                raise MalformedPolicy(f'Invalid principal in policy: "AWS":"{name}"')
            if kind == "Service" and not _SERVICE.fullmatch(name):
                raise MalformedPolicy(f'Invalid principal in policy: "SERVICE":"{name}"')
