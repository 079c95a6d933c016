"""Tags of functions: their limits, and the one that Alonzo reads."""

from __future__ import annotations

from collections.abc import Mapping

from alonzo.services.lambda_ import models
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.targets import INTERNET_TAG


def check(tags: Mapping[str, str]) -> None:
    """Raise where a function may not have these tags.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-tags.html
    """
    if len(tags) > models.MAX_TAGS:
        raise invalid("Number of tags exceeds resource tag limit.")
    for name, value in tags.items():
        if not 1 <= len(name) <= 128 or len(value) > 256 or name.lower().startswith("aws:"):
            raise invalid(
                f"The tag {name!r} is not valid: keys have 1 to 128 characters and do not begin with aws:, values have"
                " up to 256."
            )
    if tags.get(INTERNET_TAG, "on") not in ("on", "off"):
        raise invalid(f"The tag {INTERNET_TAG} must be on or off.")
