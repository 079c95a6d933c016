"""The environment variables that a function sees.

Source: execution-environment contract §6 (recorded on AWS);
https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
"""

from __future__ import annotations

from collections.abc import Mapping

from alonzo.engine.credentials import RoleCredentials
from alonzo.engine.function import FunctionVersion
from alonzo.runtimes.root import USER_MAY_REPLACE
from alonzo.sandbox.base import AWS_PORT, INSIDE_ADDRESS, RUNTIME_API_PORT

#: Defined variables that a function's own configuration may replace. AWS sets no AWS_ENDPOINT_URL, so a function may.
OVERRIDABLE = USER_MAY_REPLACE | {"AWS_ENDPOINT_URL"}


def environment_variables(
    fv: FunctionVersion,
    runtime: Mapping[str, str],
    credentials: RoleCredentials,
    *,
    log_group: str,
    log_stream: str,
    token: str = "",
) -> dict[str, str]:
    """All variables; `runtime` are the runtime's own. User variables never replace reserved ones.

    With a `token` there are those of SnapStart: what differs between environments is not among them, and credentials
    are fetched with the token.
    """
    defined = {
        **_identity(credentials, log_group, log_stream, token),
        "AWS_DEFAULT_REGION": fv.region,
        "AWS_REGION": fv.region,
        "AWS_LAMBDA_FUNCTION_NAME": fv.name,
        "AWS_LAMBDA_FUNCTION_VERSION": fv.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(fv.memory_mib),
        "AWS_LAMBDA_INITIALIZATION_TYPE": fv.initialization_type,
        "AWS_LAMBDA_RUNTIME_API": f"{INSIDE_ADDRESS}:{RUNTIME_API_PORT}",
        "AWS_ENDPOINT_URL": f"http://{INSIDE_ADDRESS}:{AWS_PORT}",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": f"{INSIDE_ADDRESS}:2000",
        "_AWS_XRAY_DAEMON_ADDRESS": INSIDE_ADDRESS,
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "_HANDLER": fv.handler,
        **runtime,
    }
    if fv.log_format == "JSON":
        defined["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        defined["AWS_LAMBDA_LOG_LEVEL"] = fv.application_log_level or "INFO"
    own = {
        name: value
        for name, value in fv.environment.items()
        if not name.startswith("_") and (name not in defined or name in OVERRIDABLE)
    }
    return defined | own


def _identity(credentials: RoleCredentials, log_group: str, log_stream: str, token: str) -> dict[str, str]:
    """What differs between environments of a version.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-monitoring.html (no names of the log)
    """
    if token:
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{RUNTIME_API_PORT}/2021-04-23/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }
    return {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
        "AWS_LAMBDA_LOG_GROUP_NAME": log_group,
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
    }
