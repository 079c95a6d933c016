"""A function's configuration: from parameters to what is stored, and from that to what the API shows."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from alonzo.core.arn import arn
from alonzo.services.lambda_ import models
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.models import LATEST, Version

Config = dict[str, Any]

#: Parameters that change how a function runs on AWS, and that Alonzo neither enforces nor can store honestly.
_UNSUPPORTED = (
    "CapacityProviderConfig",
    "DurableConfig",
    "RuntimeConfig",
    "AcceleratorConfig",
)
#: In a published version's configuration: the description that `$LATEST` had. Never shown.
SOURCE_DESCRIPTION = "SourceDescription"
#: The key that the code was given with; shown with the code.
SOURCE_KEY = "SourceKMSKeyArn"
#: The ARN of the runtime's build that a version was prepared with, as INIT_START names it.
RUNTIME_VERSION = "RuntimeVersionArn"
#: A published version has a snapshot of its initialised process.
SNAPSHOT = "HasSnapshot"
_FIRST_PYTHON = 12
#: Members taken as they are.
_PLAIN = ("Role", "Handler", "Runtime", "Description", "Timeout", "MemorySize", "KMSKeyArn", "FileSystemConfigs")


def refuse_unsupported(params: Mapping[str, Any]) -> None:
    """Raise for parameters that would be ignored otherwise."""
    for name in _UNSUPPORTED:
        if params.get(name):
            raise invalid(f"Alonzo does not support {name} yet. Leave it out.")


def defaults(name: str, params: Mapping[str, Any]) -> Config:
    """The configuration that CreateFunction starts from."""
    return {
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "PackageType": "Zip",
        "Architectures": list(params.get("Architectures") or ["x86_64"]),
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None"},
        "TracingConfig": {"Mode": "PassThrough"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"},
    }


def with_source(config: Mapping[str, Any], source: Mapping[str, Any]) -> Config:
    """The configuration with what is kept of FunctionCode-like members."""
    kept = {name: value for name, value in config.items() if name != SOURCE_KEY}
    return {**kept, SOURCE_KEY: source[SOURCE_KEY]} if source.get(SOURCE_KEY) else kept


def check_new(name: str, params: Mapping[str, Any]) -> None:
    """What CreateFunction checks before it looks at the code."""
    if len(name) > 64:
        raise invalid(
            f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: Member must"
            " have length less than or equal to 64"
        )
    refuse_unsupported(params)
    if params.get("PackageType", "Zip") == "Image" or "ImageUri" in params["Code"] or params.get("ImageConfig"):
        raise invalid("Alonzo does not run container images yet. Use PackageType Zip.")
    if not params.get("Runtime") or not params.get("Handler"):
        raise invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages.")


def merge(base: Mapping[str, Any], params: Mapping[str, Any]) -> Config:
    """`base` with the configuration members of `params` put over it, checked. Layers are not among them."""
    refuse_unsupported(params)
    if params.get("ImageConfig"):
        raise invalid("ImageConfig is not supported for functions created with zip packages.")
    if "Runtime" in params:
        check_runtime(params["Runtime"])
    _check_range("Timeout", params.get("Timeout"), models.MAX_TIMEOUT_S)
    _check_range("MemorySize", params.get("MemorySize"), models.MAX_MEMORY_MIB)
    config = dict(base)
    if params.get("Runtime", config.get("Runtime")) != config.get("Runtime"):
        config.pop(RUNTIME_VERSION, None)
    config.update({name: params[name] for name in _PLAIN if name in params})
    if "Environment" in params:
        config["Environment"] = environment(params["Environment"].get("Variables") or {})
    if "EphemeralStorage" in params:
        _check_range("EphemeralStorage.Size", params["EphemeralStorage"]["Size"], models.MAX_TMP_MIB)
        config["EphemeralStorage"] = {"Size": params["EphemeralStorage"]["Size"]}
    if "TracingConfig" in params:
        config["TracingConfig"] = {"Mode": params["TracingConfig"].get("Mode", "PassThrough")}
    if "SnapStart" in params:
        config["SnapStart"] = {"ApplyOn": params["SnapStart"].get("ApplyOn", "None")}
    if "VpcConfig" in params:
        config["VpcConfig"] = _vpc(config.get("VpcConfig"), params["VpcConfig"])
    if "DeadLetterConfig" in params:
        target = params["DeadLetterConfig"].get("TargetArn")
        config["DeadLetterConfig"] = {"TargetArn": target} if target else {}
    if params.get("TenancyConfig"):
        config["TenancyConfig"] = dict(params["TenancyConfig"])
    if config.get("TenancyConfig") and config["SnapStart"]["ApplyOn"] != "None":
        raise invalid("SnapStart is not supported for functions with tenant isolation.")
    if "LoggingConfig" in params:
        config["LoggingConfig"] = _logging(base["LoggingConfig"], params["LoggingConfig"])
    return config


def snap_start(config: Mapping[str, Any], version: str) -> bool:
    """Whether a version is initialised when it is published. Other runtimes may ask for it, on AWS too, in vain.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-runtimes (of which Python is ours)
    """
    runtime = config["Runtime"].removeprefix("python3.")
    is_asked_for = config["SnapStart"]["ApplyOn"] == "PublishedVersions"
    return version.isdigit() and is_asked_for and runtime.isdigit() and int(runtime) >= _FIRST_PYTHON


def check_runtime(runtime: str) -> None:
    """Raise AWS's text for a runtime that it does not know or no longer takes."""
    if runtime in models.RUNTIMES:
        return
    if runtime in models.RETIRED_RUNTIMES:
        raise invalid(
            f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions."
            " We recommend you use a supported runtime while creating or updating functions."
        )
    raise invalid(
        f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set:"
        f" [{', '.join(models.RUNTIMES)}] or be a valid ARN"
    )


def environment(variables: Mapping[str, str]) -> Config:
    """The stored Environment. Raises the texts of reserved names and of the 4 KB limit."""
    reserved = [name for name in variables if name in models.RESERVED_VARIABLES]
    if reserved:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment variables you have"
            " provided contains reserved keys that are currently not supported for modification. Reserved keys used in"
            f" this request: {', '.join(reserved)}"
        )
    measured = orjson.dumps(dict(variables))
    if len(measured) > models.MAX_ENVIRONMENT:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment variables you have"
            f" provided exceeded the 4KB limit. String measured: {measured.decode()}"
        )
    return {"Variables": dict(variables)}


def _check_range(member: str, value: int | None, maximum: int) -> None:
    # The model's own maxima are those of managed instances; a plain function's are lower.
    if value is not None and value > maximum:
        raise invalid(
            f"'{member}' value failed to satisfy constraint: Member must have value less than or equal to {maximum}"
        )


def _vpc(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> Config:
    before = old or {}
    return {
        "SubnetIds": list(new.get("SubnetIds", before.get("SubnetIds", []))),
        "SecurityGroupIds": list(new.get("SecurityGroupIds", before.get("SecurityGroupIds", []))),
        "Ipv6AllowedForDualStack": bool(
            new.get("Ipv6AllowedForDualStack", before.get("Ipv6AllowedForDualStack", False))
        ),
        "VpcId": "",
    }


def _logging(old: Mapping[str, Any], new: Mapping[str, Any]) -> Config:
    merged = {**old, **new}
    if merged["LogFormat"] == "JSON":
        merged.setdefault("ApplicationLogLevel", "INFO")
        merged.setdefault("SystemLogLevel", "INFO")
        return merged
    levels = [name for name in ("ApplicationLogLevel", "SystemLogLevel") if name in new]
    if levels:
        raise invalid(f"{' and '.join(levels)} can only be set with LogFormat JSON.")
    return {"LogFormat": merged["LogFormat"], "LogGroup": merged["LogGroup"]}


# -- showing it ------------------------------------------------------------------------------------------------------


_OPTIONAL = ("DeadLetterConfig", "FileSystemConfigs", "KMSKeyArn")
_SHOWN_APART = ("SnapStart", SOURCE_DESCRIPTION, SOURCE_KEY, RUNTIME_VERSION, SNAPSHOT, *_OPTIONAL)


def timestamp(epoch: float) -> str:
    """A time as the Lambda API writes it: 2026-11-20T12:00:00.000+0000."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


def code_sha256(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def show(version: Version, *, suffix: str = "", listed: bool = False) -> Config:
    """A FunctionConfiguration. `suffix` is the qualifier its ARN shows; lists leave the states out, as AWS's do."""
    body = version.body
    config = body.config
    function_arn = arn("lambda", version.region, version.account_id, f"function:{version.name}")
    shown: Config = {
        "FunctionName": version.name,
        "FunctionArn": f"{function_arn}:{suffix}" if suffix else function_arn,
        "CodeSize": body.code.size,
        "CodeSha256": code_sha256(body.code.sha256),
        "LastModified": timestamp(version.modified),
        "Version": version.version,
        "RevisionId": version.revision_id,
        **{name: value for name, value in config.items() if name not in _SHOWN_APART},
        "SnapStart": {
            "ApplyOn": config["SnapStart"]["ApplyOn"],
            "OptimizationStatus": "On" if config.get(SNAPSHOT) else "Off",
        },
    }
    for optional in _OPTIONAL:
        if config.get(optional):
            shown[optional] = config[optional]
    if body.layers:
        shown["Layers"] = [{"Arn": layer.arn, "CodeSize": layer.code.size} for layer in body.layers]
    if not listed:
        if config.get(RUNTIME_VERSION):
            shown["RuntimeVersionConfig"] = {"RuntimeVersionArn": config[RUNTIME_VERSION]}
        _show_states(shown, version)
    return shown


def _show_states(shown: Config, version: Version) -> None:
    for prefix, status in (("State", version.state), ("LastUpdateStatus", version.update)):
        if status.name:
            shown[prefix] = status.name
        if status.reason:
            shown[f"{prefix}Reason"] = status.reason
        if status.code:
            shown[f"{prefix}ReasonCode"] = status.code


def own_suffix(version: Version) -> str:
    """The suffix of a published version's ARN; `$LATEST` has none."""
    return "" if version.version == LATEST else version.version
