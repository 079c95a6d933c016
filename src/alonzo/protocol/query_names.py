"""What SQS's shapes are called in its query protocol: its model, made for JSON, no longer says.

Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonParameters.html
"""

from __future__ import annotations

from typing import Any

from alonzo.protocol.model import ServiceModel

#: Maps: what the member is called that has one, its entries' keys and its entries' values.
_MAPS = {
    "QueueAttributeMap": ("Attribute", "Name", "Value"),
    "MessageBodyAttributeMap": ("MessageAttribute", "Name", "Value"),
    "MessageBodySystemAttributeMap": ("MessageSystemAttribute", "Name", "Value"),
    "MessageSystemAttributeMap": ("Attribute", "Name", "Value"),
    "TagMap": ("Tag", "Key", "Value"),
}
#: Lists: what each element is called.
_LISTS = {
    "AWSAccountIdList": "AWSAccountId",
    "ActionNameList": "ActionName",
    "AttributeNameList": "AttributeName",
    "BinaryList": "BinaryListValue",
    "MessageAttributeNameList": "MessageAttributeName",
    "MessageSystemAttributeList": "MessageSystemAttributeName",
    "MessageList": "Message",
    "QueueUrlList": "QueueUrl",
    "StringList": "StringListValue",
    "TagKeyList": "TagKey",
    **{
        f"{entry}List": entry
        for entry in (
            "BatchResultErrorEntry",
            "ChangeMessageVisibilityBatchRequestEntry",
            "ChangeMessageVisibilityBatchResultEntry",
            "DeleteMessageBatchRequestEntry",
            "DeleteMessageBatchResultEntry",
            "ListMessageMoveTasksResultEntry",
            "SendMessageBatchRequestEntry",
            "SendMessageBatchResultEntry",
        )
    },
}


class _QueryNames(ServiceModel):
    """A model with these names; what is compiled from it is its own."""

    def __init__(self, model: ServiceModel) -> None:
        self.__dict__.update(model.__dict__)
        self.cache = {}

    def raw_shape(self, name: str) -> dict[str, Any]:
        shape = super().raw_shape(name)
        if name in _MAPS:
            _, key, value = _MAPS[name]
            shape["key"]["locationName"], shape["value"]["locationName"] = key, value
        elif name in _LISTS:
            shape["member"]["locationName"] = _LISTS[name]
            shape["flattened"] = True
        for member in shape.get("members", {}).values():
            if member["shape"] in _MAPS:
                member["locationName"] = _MAPS[member["shape"]][0]
        return shape


def query_model(model: ServiceModel) -> ServiceModel:
    """The model by which to read and write the query protocol."""
    if model.name != "sqs":
        return model
    found: ServiceModel | None = model.cache.get("query names")
    if found is None:
        found = model.cache["query names"] = _QueryNames(model)
    return found
