"""Operation and member names in snake case, as boto3 writes its methods."""

from __future__ import annotations

import re

# A capital that starts a word: after a lower-case letter or digit, or before one within a run of capitals.
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
#: Plurals of acronyms ("ARNs") are one word, and these names have been spelt so since before there was a rule.
_ACRONYM_PLURAL = re.compile(r"(?<![A-Z])([A-Z]{2,})s(?=$|[A-Z])")
_BRANDS = (("WhatsApp", "Whatsapp"), ("OAuth2", "Oauth2"), ("OTel", "Otel"))
_EXCEPTIONS = {
    "CreateCachediSCSIVolume": "create_cached_iscsi_volume",
    "CreateStorediSCSIVolume": "create_stored_iscsi_volume",
    "DescribeCachediSCSIVolumes": "describe_cached_iscsi_volumes",
    "DescribeStorediSCSIVolumes": "describe_stored_iscsi_volumes",
    "CreateStorediSCSIVolumes": "create_stored_iscsi_volumes",
    "CreateOAuth2TokenWithTokenExchange": "create_o_auth2_token_with_token_exchange",
    "CreateHITWithHITType": "create_hit_with_hit_type",
    "ExecutePartiQLStatement": "execute_partiql_statement",
    "ExecutePartiQLTransaction": "execute_partiql_transaction",
    "ExecutePartiQLBatch": "execute_partiql_batch",
}


def snake(name: str) -> str:
    """`ListObjectsV2` -> `list_objects_v2`."""
    found = _EXCEPTIONS.get(name)
    if found is not None:
        return found
    for brand, word in _BRANDS:
        name = name.replace(brand, word)
    name = _ACRONYM_PLURAL.sub(lambda match: match.group(1).capitalize() + "s", name)
    return _WORD.sub("_", name).lower()
