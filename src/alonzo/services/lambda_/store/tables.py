"""Tables. Account and region lead every key."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, String, Table

from alonzo.services.lambda_.models import WORTH_ANOTHER_TRY
from alonzo.storage.database import metadata, only_where

functions = Table(
    "lambda_functions",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("last_version", Integer, nullable=False),
    Column("reserved_concurrency", Integer),
    Column("tags", String, nullable=False),
)

#: Versions whose preparation a crash interrupted, or that only lacked a runtime or room: few, whatever there is in all.
UNFINISHED = (
    "state = 'Pending' OR update_status = 'InProgress' OR state_code IN ("
    + ", ".join(f"'{code}'" for code in WORTH_ANOTHER_TRY)
    + ")"
)
IS_LATEST = "number = 0"

#: `number` is 0 for `$LATEST`, 2**31 - 1 for `$LATEST.PUBLISHED`; `body` and `previous` are JSON.
versions = Table(
    "lambda_versions",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("revision_id", String, nullable=False),
    Column("body", String, nullable=False),
    Column("previous", String),
    Column("modified", Float, nullable=False),
    Column("state", String, nullable=False),
    Column("state_reason", String, nullable=False),
    Column("state_code", String, nullable=False),
    Column("update_status", String, nullable=False),
    Column("update_reason", String, nullable=False),
    Column("update_code", String, nullable=False),
    # A query finds its rows by one of these two only if it says the same in the same words.
    Index("lambda_versions_unfinished", "name", **only_where(UNFINISHED)),
    Index("lambda_versions_by_change", "modified", **only_where(IS_LATEST)),
)

#: One blob for one content in one account.
code = Table(
    "lambda_code",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("sha256", String, primary_key=True),
    Column("blob_id", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("unzipped", Integer, nullable=False),
)

#: Who still needs a code: a version of a function, or a layer version. The last one to go takes the blob along.
code_users = Table(
    "lambda_code_users",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("sha256", String, primary_key=True),
    Column("user", String, primary_key=True),
    Index("lambda_code_users_by_user", "user"),
)

aliases = Table(
    "lambda_aliases",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("alias", String, primary_key=True),
    Column("version", String, nullable=False),
    Column("description", String, nullable=False),
    Column("weights", String, nullable=False),
    Column("revision_id", String, nullable=False),
)

#: `qualifier` is "" for the function itself; `statements` is the whole policy, of older folders an array of them.
policies = Table(
    "lambda_policies",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("qualifier", String, primary_key=True),
    Column("statements", String, nullable=False),
)

event_configs = Table(
    "lambda_event_configs",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("qualifier", String, primary_key=True),
    Column("retries", Integer),
    Column("max_age_s", Integer),
    Column("on_success", String, nullable=False),
    Column("on_failure", String, nullable=False),
    Column("modified", Float, nullable=False),
)

#: Kept when the last version is deleted: numbers are never given twice.
layers = Table(
    "lambda_layers",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("last_version", Integer, nullable=False),
)

layer_versions = Table(
    "lambda_layer_versions",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("code", String, nullable=False),
    Column("description", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("runtimes", String),
    Column("architectures", String),
    Column("license", String, nullable=False),
    Column("policy", String, nullable=False),
    Column("policy_revision", String, nullable=False),
)

#: Recursion, runtime management and code signing of functions; `qualifier` is "" for the function or its `$LATEST`,
#: `value` is JSON.
settings = Table(
    "lambda_settings",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("qualifier", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("value", String, nullable=False),
)

code_signing = Table(
    "lambda_code_signing",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("description", String, nullable=False),
    Column("publishers", String, nullable=False),
    Column("policy", String, nullable=False),
    Column("modified", Float, nullable=False),
    Column("tags", String, nullable=False),
)

#: `qualifier` is "" for the function itself; `cors` is JSON.
url_configs = Table(
    "lambda_url_configs",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("qualifier", String, primary_key=True),
    Column("url_id", String, nullable=False),
    Column("auth_type", String, nullable=False),
    Column("cors", String),
    Column("invoke_mode", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("modified", Float, nullable=False),
    Index("lambda_url_configs_by_id", "url_id", unique=True),
)
