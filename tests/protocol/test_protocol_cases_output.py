"""botocore's output cases in reverse: from the result, a response that means the same."""

import base64
import copy
import json
import math
import re
from datetime import UTC, datetime
from xml.etree import ElementTree

import botocore.parsers
import cbor2
import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel
from botocore.model import ServiceModel as BotocoreModel
from botocore.utils import parse_timestamp

from alonzo.core.errors import ServiceError
from alonzo.protocol.model import ServiceModel
from alonzo.protocol.serialize import serialize, serialize_error

FILES = [
    "json", "json_1_0", "json_1_0-query-compatible", "query", "rest-json", "rest-xml", "smithy-rpc-v2-cbor",
    "smithy-rpc-v2-cbor-query-compatible",
]  # fmt: skip

#: Cases that say nothing about a server, by `file:id`, with the reason.
NOT_APPLICABLE = {
    "rest-json:MediaTypeHeaderOutputBase64": "the case's text is the JSON itself; botocore ignores the case too",
    "smithy-rpc-v2-cbor:RpcV2CborPayloadWithUnsetUnion": "its result has members that its own output shape lacks",
}

#: What is written may differ from the case's body, for botocore reads both alike.
_OFFSET = "a moment is written in UTC, whatever offset the case has"
_TYPE = "`__type` within a union is something for clients to ignore, and nothing that we write"
_UNMODELLED = "the body holds what the model has not, for clients to skip"
READ_BACK_ONLY = {
    "json:AwsJson11DateTimeWithNegativeOffset": _OFFSET,
    "json:AwsJson11DateTimeWithPositiveOffset": _OFFSET,
    "query:AwsQueryDateTimeWithNegativeOffset": _OFFSET,
    "query:AwsQueryDateTimeWithPositiveOffset": _OFFSET,
    "rest-json:RestJsonDateTimeWithNegativeOffset": _OFFSET,
    "rest-json:RestJsonDateTimeWithPositiveOffset": _OFFSET,
    "rest-xml:RestXmlDateTimeWithNegativeOffset": _OFFSET,
    "rest-xml:RestXmlDateTimeWithPositiveOffset": _OFFSET,
    "json:AwsJson11DeserializeIgnoreType": _TYPE,
    "json_1_0:AwsJson10DeserializeIgnoreType": _TYPE,
    "rest-json:RestJsonDeserializeIgnoreType": _TYPE,
    "json:handles_unexpected_json_output": _UNMODELLED,
    "json_1_0:AwsJson10HandlesUnexpectedJsonOutput": _UNMODELLED,
    "smithy-rpc-v2-cbor:RpcV2CborExtraFieldsInTheBodyShouldBeSkippedByClients": _UNMODELLED,
    "json:AwsJson11IntEnums": "the case lists a request's header among the response's",
    "rest-xml:SimpleScalarPropertiesWithXMLPreamble": "the case has a CDATA section between the elements",
}

#: botocore cannot read these back (they are on the list of cases that it ignores itself), so only bytes are compared.
_LISTS = "botocore splits a header's list at every comma"
WIRE_ONLY = {
    "rest-json:RestJsonInputAndOutputWithQuotedStringHeaders": _LISTS,
    "rest-json:RestJsonInputAndOutputWithTimestampHeaders": _LISTS,
    "rest-xml:InputAndOutputWithTimestampHeaders": _LISTS,
    "rest-json:RestJsonHttpPayloadTraitsWithNoBlobBody": "botocore gives an empty blob for none",
    "rest-xml:HttpPayloadTraitsWithNoBlobBody": "botocore gives an empty blob for none",
    "rest-json:RestJsonHttpPayloadWithUnsetUnion": "botocore insists on a member in every union",
    "rest-xml:RestXmlHttpPayloadWithUnsetUnion": "botocore insists on a member in every union",
    "rest-json:HttpPrefixHeadersResponse": "with an empty prefix botocore reads our request id as metadata too",
    "rest-xml:BodyWithXmlName": "botocore takes a root's name for a member's",
    "rest-xml:XmlLists": "botocore mixes flattened lists up that share their elements' shape",
    "query:QueryXmlLists": "botocore mixes flattened lists up that share their elements' shape",
}


def models(suite, case):
    suite, given = copy.deepcopy(suite), copy.deepcopy(case["given"])
    suite["metadata"].setdefault("apiVersion", "2020-01-01")
    name = given.setdefault("name", "OperationName")
    data = {"metadata": suite["metadata"], "shapes": suite["shapes"], "operations": {name: given}}
    theirs = BotocoreModel(copy.deepcopy(data))
    if data["metadata"]["protocol"] == "query" and "output" in given:
        data["operations"][name]["output"].setdefault("resultWrapper", f"{name}Result")
    return ServiceModel("test", data), theirs, name


def typed(shape, value):
    """A case's plain values as a handler gives them."""
    if value is None:
        return None
    if shape.type == "structure" and not shape.traits.get("document"):
        members = shape.members
        return {key: typed(members[key], item) for key, item in value.items() if key in members}
    if shape.type == "list":
        return [typed(shape.member, item) for item in value]
    if shape.type == "map":
        return {key: typed(shape.map_value, item) for key, item in value.items()}
    if shape.type == "timestamp":
        return datetime.fromtimestamp(value, UTC)
    if shape.type == "blob":
        return value.encode()
    if shape.type in ("float", "double"):
        return float(value)
    return value


def plain(value):
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


def _element(node):
    """An element without namespaces, and with its children in a fixed order."""
    tag = re.sub(r"\{.*\}", "", node.tag)
    attributes = {re.sub(r"\{.*\}", "", key): value for key, value in node.attrib.items()}
    children = [_element(child) for child in node if not child.tag.endswith("ResponseMetadata")]
    return (tag, sorted(attributes.items()), (node.text or "").strip(), sorted(children))


def meaning(body, protocol):
    """What a body says, whatever its bytes."""
    if not body:
        return {}
    if protocol == "smithy-rpc-v2-cbor":
        return plain(cbor2.loads(body))
    if protocol in ("json", "rest-json"):
        try:
            return plain(json.loads(body))
        except ValueError:
            return body
    try:
        element = _element(ElementTree.fromstring(body))[1:]
        # A result without members may be an empty element, or nothing.
        inner = element[2]
        return (
            {}
            if element[:2] == ([], "")
            and all(child[1:] == ([], "", []) and child[0].endswith("Result") for child in inner)
            else element
        )
    except ElementTree.ParseError:
        return body


def parsed_by_botocore(theirs, name, response, protocol, shape=None):
    parser = botocore.parsers.PROTOCOL_PARSERS[protocol](
        timestamp_parser=lambda value: parse_timestamp(value).astimezone(UTC).timestamp()
    )
    operation = theirs.operation_model(name)
    if protocol == "query" and operation.output_shape is not None and shape is None:
        operation.output_shape.serialization["resultWrapper"] = f"{name}Result"
    message = {
        "status_code": response.status,
        "headers": HeadersDict(response.headers),
        "body": response.body if protocol != "query" or response.body else b"<xml/>",
        "context": {"operation_name": name},
    }
    assert isinstance(OperationModel, type)
    parsed = parser.parse(message, shape or operation.output_shape)
    parsed.pop("ResponseMetadata", None)
    return parsed


def check_result(label, suite, case):
    protocol = suite["metadata"]["protocol"]
    ours, theirs, name = models(suite, case)
    output = ours.operation(name).output
    result = typed(output, case["result"]) if output is not None else {}
    response = serialize(ours, name, result, request_id="id")
    expected = case["response"]
    assert response.status == expected.get("status_code", 200)
    if label not in WIRE_ONLY:
        assert plain(parsed_by_botocore(theirs, name, response, protocol)) == plain(case["result"])
    if label in READ_BACK_ONLY:
        return
    wanted = expected.get("body", "").encode()
    if protocol == "smithy-rpc-v2-cbor":
        wanted = base64.b64decode(wanted)
    assert meaning(response.body, protocol) == meaning(wanted, protocol)
    sent = {key.lower(): value for key, value in response.headers}
    for key, value in expected.get("headers", {}).items():
        if key.lower() not in ("content-length", "x-amzn-requestid", "x-amz-request-id", "content-type"):
            assert sent.get(key.lower()) == value, key


def check_error(_label, suite, case):
    protocol = suite["metadata"]["protocol"]
    ours, theirs, name = models(suite, case)
    code, members = case["errorCode"], case["error"]
    shape = ours.error_shape(code)
    fields = typed(shape, members) if shape is not None else dict(members)
    error = ServiceError(code, case.get("errorMessage", ""), status=case["response"]["status_code"], fields=fields)
    response = serialize_error(ours, name, error, request_id="id")
    assert response.status == case["response"]["status_code"]
    parsed = parsed_by_botocore(theirs, name, response, protocol)
    assert parsed["Error"]["Code"] == code
    assert (parsed["Error"].get("Message") or "") == case.get("errorMessage", "")
    if shape is not None:
        modelled = parsed_by_botocore(theirs, name, response, protocol, theirs.shape_for_error_code(code))
        assert {key: plain(modelled).get(key) for key in members} == plain(members)


@pytest.mark.parametrize("file", FILES)
def test_results_become_responses_that_mean_the_same(botocore_cases, file):
    """Every result of botocore's cases is written as a response that botocore reads back as that result."""
    failures, passed, used = [], 0, set()
    for suite in botocore_cases[f"output/{file}.json"]:
        for index, case in enumerate(suite["cases"]):
            name = f"{file}:{case.get('id') or suite['description'] + '/' + str(index)}"
            if name in NOT_APPLICABLE:
                used.add(name)
                continue
            try:
                (check_error if "error" in case else check_result)(name, suite, case)
                passed += 1
            except Exception as error:
                failures.append(f"{name}: {type(error).__name__}: {error}"[:1500])
    assert not failures, f"{len(failures)} of {len(failures) + passed} failed\n" + "\n".join(failures)
    assert used == {name for name in NOT_APPLICABLE if name.startswith(file + ":")}
    assert passed
