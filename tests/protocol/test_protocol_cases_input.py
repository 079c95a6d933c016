"""botocore's input cases in reverse: from the serialized request, the parameters."""

import base64
import copy
import math
from datetime import datetime

import pytest

from alonzo.core.http import Headers, Request
from alonzo.core.streams import BytesStream
from alonzo.protocol.model import ServiceModel
from alonzo.protocol.parse import parse
from alonzo.protocol.timestamps import from_text

FILES = [
    "json", "json_1_0", "json_1_0-query-compatible", "query", "rest-json", "rest-xml", "smithy-rpc-v2-cbor",
    "smithy-rpc-v2-cbor-non-query-compatible", "smithy-rpc-v2-cbor-query-compatible",
]  # fmt: skip

#: Cases that say nothing about a server, by `file:id`, with the reason.
_NO_OPERATION = "the case leaves out the header or parameter that names the operation"
_COMPRESSED = "the gateway decompresses bodies before they are parsed, and the case has no body"
_EMPTY = "an empty list or map is not on the wire, so it cannot be told from none"
_TOKEN = "the client is to make up the token that the parameters lack"
NOT_APPLICABLE = {
    "json:SDKAppliedContentEncoding_awsJson1_1": _NO_OPERATION,
    "json:SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsJson1_1": _NO_OPERATION,
    "json_1_0:AwsJson10EndpointTrait": _NO_OPERATION,
    "json_1_0:AwsJson10EndpointTraitWithHostLabel": _NO_OPERATION,
    "json_1_0:AwsJson10HostWithPath": _NO_OPERATION,
    "json_1_0:SDKAppliedContentEncoding_awsJson1_0": _NO_OPERATION,
    "json_1_0:SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsJson1_0": _NO_OPERATION,
    "query:SDKAppliedContentEncoding_awsQuery": _NO_OPERATION,
    "query:SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsQuery": _NO_OPERATION,
    "query:QueryProtocolIdempotencyTokenAutoFill": _TOKEN,
    "query:QueryEmptyQueryMaps": _EMPTY,
    "rest-json:RestJsonHostWithPath": "the client's endpoint has a path of its own",
    "rest-json:RestJsonHttpPrefixHeadersAreNotPresent": _EMPTY,
    "rest-json:RestJsonOmitsEmptyListQueryValues": _EMPTY,
    "rest-json:RestJsonQueryIdempotencyTokenAutoFill": _TOKEN,
    "rest-json:RestJsonHttpWithEmptyStructurePayload": _EMPTY,
    "rest-json:RestJsonHttpWithHeadersButNoPayload": _EMPTY,
    "rest-json:MediaTypeHeaderInputBase64": "the case's text is the JSON itself; botocore ignores the case too",
    "rest-json:SDKAppliedContentEncoding_restJson1": _COMPRESSED,
    "rest-json:SDKAppendedGzipAfterProvidedEncoding_restJson1": _COMPRESSED,
    "rest-xml:HttpPrefixHeadersAreNotPresent": _EMPTY,
    "rest-xml:QueryIdempotencyTokenAutoFill": _TOKEN,
    "rest-xml:SDKAppliedContentEncoding_restXml": _COMPRESSED,
    "rest-xml:SDKAppendedGzipAfterProvidedEncoding_restXml": _COMPRESSED,
}


def _model(suite, case):
    suite, given = copy.deepcopy(suite), copy.deepcopy(case["given"])
    suite["metadata"].setdefault("apiVersion", "2020-01-01")
    data = {"metadata": suite["metadata"], "shapes": suite["shapes"], "operations": {given["name"]: given}}
    return ServiceModel("test", data)


def _request(case, protocol):
    wire = case["serialized"]
    path, _, query = wire.get("uri", "/").partition("?")
    body = wire.get("body") or ""
    raw = base64.b64decode(body) if protocol == "smithy-rpc-v2-cbor" else body.encode()
    headers = dict(wire.get("headers", {}))
    return Request(wire.get("method", "POST"), path, query, Headers(headers.items()), BytesStream(raw))


def plain(value):
    """Comparable: bytes as text, moments as seconds, special floats as their names, nulls in maps left out."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value


async def check(file, suite, case):
    protocol = suite["metadata"]["protocol"]
    model = _model(suite, case)
    parsed = await parse(model, _request(case, protocol))
    params = {
        key: await value.read(10**6) if hasattr(value, "__aiter__") else value for key, value in parsed.params.items()
    }
    assert parsed.operation == case["given"]["name"]
    expected = plain(case.get("params", {}))
    shape = model.operation(parsed.operation).input
    bound = (
        {name: member for name, member in shape.members.items() if member.location == "querystring"} if shape else {}
    )
    names = {member.wire_name or name for name, member in bound.items() if member.type != "map"}
    for name, member in bound.items():
        # A map of the query string holds what is no member of its own; some cases repeat those members in it.
        if member.type == "map" and name in expected:
            rest = {key: value for key, value in expected.pop(name).items() if key not in names}
            expected.update({name: rest} if rest else {})
    assert plain(params) == expected


@pytest.mark.parametrize("file", FILES)
async def test_requests_become_the_parameters_they_were_made_from(botocore_cases, file):
    """Every serialized request of botocore's cases is parsed into the parameters that it was made from."""
    failures, passed, used = [], 0, set()
    for suite in botocore_cases[f"input/{file}.json"]:
        for index, case in enumerate(suite["cases"]):
            name = f"{file}:{case.get('id') or suite['description'] + '/' + str(index)}"
            if name in NOT_APPLICABLE:
                used.add(name)
                continue
            try:
                await check(file, suite, case)
                passed += 1
            except Exception as error:
                failures.append(f"{name}: {type(error).__name__}: {error}"[:1500])
    assert not failures, f"{len(failures)} of {len(failures) + passed} failed\n" + "\n".join(failures)
    assert used == {name for name in NOT_APPLICABLE if name.startswith(file + ":")}
    assert passed


def test_from_text_reads_all_three_formats():
    """A moment in each of AWS's three formats is the same moment."""
    assert from_text("1422172800") == from_text("2015-01-25T08:00:00Z") == from_text("Sun, 25 Jan 2015 08:00:00 GMT")
