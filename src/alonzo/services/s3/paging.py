"""What all listings have in common: prefix, delimiter, size of a page, encoding of names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from alonzo.core.dataclasses import dataclass
from alonzo.services.s3.errors import invalid_argument
from alonzo.services.s3.models import MAX_LIST_KEYS
from alonzo.services.s3.store.listing import Found


@dataclass(frozen=True, slots=True)
class Page:
    """`url_encoded` names are percent-encoded, for what XML cannot carry."""

    prefix: str
    delimiter: str
    size: int
    url_encoded: bool
    has_delimiter: bool

    @staticmethod
    def of(params: Mapping[str, Any], size: int | None, argument: str) -> Page:
        """Raises InvalidArgument."""
        encoding = params.get("EncodingType")
        if encoding not in (None, "url"):
            raise invalid_argument("Invalid Encoding Method specified in Request", "encoding-type", encoding)
        wanted = MAX_LIST_KEYS if size is None else size
        if not 0 <= wanted <= 2**31 - 1:
            raise invalid_argument(f"Argument {argument} must be an integer between 0 and 2147483647", argument, wanted)
        prefix, delimiter = params.get("Prefix") or "", params.get("Delimiter") or ""
        for name, value in (("prefix", prefix), ("delimiter", delimiter)):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise invalid_argument(f"Invalid {name}: not UTF-8", name, repr(value)) from None
        return Page(prefix, delimiter, min(wanted, MAX_LIST_KEYS), encoding == "url", bool(delimiter))

    def encode(self, name: str) -> str:
        return quote(name, safe="/*-._~", errors="surrogateescape").replace("%20", "+") if self.url_encoded else name

    def described(self) -> dict[str, Any]:
        """The request's own words, as every listing repeats them."""
        answer: dict[str, Any] = {"Prefix": self.encode(self.prefix)}
        if self.has_delimiter:
            answer["Delimiter"] = self.encode(self.delimiter)
        if self.url_encoded:
            answer["EncodingType"] = "url"
        return answer

    def common_prefixes(self, found: Found) -> dict[str, Any]:
        if not found.prefixes:
            return {}
        return {"CommonPrefixes": [{"Prefix": self.encode(prefix.decode())} for prefix in found.prefixes]}
