"""The execution role: may the caller pass it, does it exist, does it trust Lambda?"""

from __future__ import annotations

from alonzo.core.arn import parse_arn
from alonzo.core.context import Context
from alonzo.core.errors import NotImplementedOperation, ServiceError
from alonzo.dispatch import Access
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.state import State

_LAMBDA = "lambda.amazonaws.com"


async def check_role(state: State, ctx: Context, role: str, function_arn: str) -> None:
    """Raise what AWS raises where a role cannot become a function's execution role."""
    if parse_arn(role).account_id != ctx.account_id:
        raise ServiceError("AccessDeniedException", "Cross-account pass role is not allowed.", status=403)
    passing = Access(
        "iam:PassRole",
        role,
        resource_account=ctx.account_id,
        conditions={"iam:PassedToService": _LAMBDA, "iam:AssociatedResourceArn": function_arn},
    )
    await state.parts.dispatcher.authorize(ctx, passing, denied_code="AccessDeniedException")
    try:
        await state.parts.dispatcher.call(
            ctx.as_service(_LAMBDA, source_arn=function_arn),
            "sts",
            "AssumeRole",
            {"RoleArn": role, "RoleSessionName": "awslambda_role_check"},
        )
    except NotImplementedOperation:
        raise
    except ServiceError as error:
        raise invalid("The role defined for the function cannot be assumed by Lambda.") from error
