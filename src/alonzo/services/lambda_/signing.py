"""Code signing in force: what a configuration says about the code of a function that is attached to it.

AWS Signer's signatures cannot be checked here, so no code counts as signed: Warn lets it pass, Enforce refuses it.
Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-codesigning.html
"""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.arn import parse_arn
from alonzo.core.errors import ServiceError
from alonzo.services.lambda_.errors import not_found
from alonzo.services.lambda_.models import CodeSigning
from alonzo.services.lambda_.names import FunctionRef
from alonzo.services.lambda_.store import settings


def find(connection: Connection, account_id: str, region: str, config_arn: str) -> CodeSigning | None:
    """The configuration of an ARN, if it is there and of this account and region."""
    parsed = parse_arn(config_arn)
    if (parsed.account_id, parsed.region) != (account_id, region):
        return None
    return settings.get_code_signing(connection, account_id, region, parsed.resource.rpartition(":")[2])


def need_for_function(connection: Connection, account_id: str, region: str, config_arn: str) -> CodeSigning:
    """The configuration that a function names, or the error that operations on functions raise."""
    found = find(connection, account_id, region, config_arn)
    if found is None:
        raise ServiceError(
            "CodeSigningConfigNotFoundException",
            "The code signing configuration cannot be found. Check that the provided configuration is not deleted:"
            f" {config_arn}.",
            status=404,
            fields={"Type": "User"},
        )
    return found


def need(connection: Connection, account_id: str, region: str, config_arn: str) -> CodeSigning:
    """The configuration, or the error that operations on configurations raise (without a Type, as on AWS)."""
    found = find(connection, account_id, region, config_arn)
    if found is None:
        raise ServiceError(
            "ResourceNotFoundException",
            f"The Lambda code signing configuration {config_arn} can not be found.",
            status=404,
            fields={"Type": None},
        )
    return found


def check(connection: Connection, ref: FunctionRef, config_arn: str | None = None) -> None:
    """Raise CodeVerificationFailedException where new code may not be deployed to a function.

    `config_arn` is the configuration of a function that is being created, else the one attached counts.
    """
    attached: str | None = config_arn or settings.get(connection, ref.key, "code-signing")
    if attached is None:
        return
    config = find(connection, ref.account_id, ref.region, attached)
    if config is None:
        raise not_found(f"The code signing configuration {attached} of {ref.arn} is gone.")
    if config.policy == "Enforce":
        raise ServiceError(
            "CodeVerificationFailedException",
            "Lambda cannot deploy the function. The function or layer might be signed using a signature that the client"
            f" is not configured to accept. Check the provided signature for {ref.arn}.",
            fields={"Type": "User"},
        )
