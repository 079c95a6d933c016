"""Operations, by noun. Each handler has the snake-case name of its operation."""

from alonzo.services.lambda_.operations import (
    account,
    aliases,
    code_signing,
    concurrency,
    event_invoke,
    functions,
    invoke,
    layer_policies,
    layers,
    permissions,
    tags,
    updates,
    versions,
)

MODULES = (
    account,
    aliases,
    code_signing,
    concurrency,
    event_invoke,
    functions,
    invoke,
    layer_policies,
    layers,
    permissions,
    tags,
    updates,
    versions,
)
