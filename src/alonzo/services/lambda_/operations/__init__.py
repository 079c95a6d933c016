"""Operations, by noun. Each handler has the snake-case name of its operation."""

from alonzo.services.lambda_.operations import (
    functions,
    invoke,
)

MODULES = (
    functions,
    invoke,
)
