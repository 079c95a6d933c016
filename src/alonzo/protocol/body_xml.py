"""XML bodies to parameters, without entities, document types or depth without end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.parsers import expat

from alonzo.protocol.model import Shape
from alonzo.protocol.problems import Malformed
from alonzo.protocol.text import text_reader

MAX_DEPTH = 100
#: CompleteMultipartUpload with 10,000 parts, their checksums included, has 100,000.
MAX_ELEMENTS = 200_000


class Node:
    """An element; names without their namespace's prefix."""

    __slots__ = ("attributes", "children", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Node] = []
        self.text = ""


XmlReader = Callable[[Node], Any]


def decode_xml(body: bytes) -> Node:
    """The root element. Raises Malformed; a document type declaration is refused, so no entity can be declared."""
    stack: list[Node] = [Node("", {})]
    chunks: list[str] = []
    count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(stack) > MAX_DEPTH or count > MAX_ELEMENTS:
            raise Malformed("The XML is nested too deep, or has too many elements")
        chunks.clear()
        node = Node(tag.rpartition(":")[2], attributes)
        stack[-1].children.append(node)
        stack.append(node)

    def end(_tag: str) -> None:
        # Only elements without elements have text that means anything.
        node = stack.pop()
        if not node.children:
            node.text = "".join(chunks)
        chunks.clear()

    def refuse(*_arguments: Any) -> None:
        raise Malformed("A document type declaration is not allowed")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = chunks.append
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise Malformed(f"The XML is not well-formed: {error}") from error
    return stack[0].children[0]


def xml_reader(shape: Shape, memo: dict[Any, XmlReader] | None = None) -> XmlReader:
    """Compile a reader; lists and maps that are flattened are read by their structure instead."""
    memo = {} if memo is None else memo
    key = shape.key
    if key in memo:
        return memo[key]

    def later(node: Node) -> Any:
        return memo[key](node)

    memo[key] = later
    memo[key] = _compile(shape, memo)
    return memo[key]


def _compile(shape: Shape, memo: dict[Any, XmlReader]) -> XmlReader:
    if shape.type == "structure":
        return _structure(shape, memo)
    if shape.type == "list":
        member = xml_reader(shape.member, memo)
        return lambda node: [member(child) for child in node.children]
    if shape.type == "map":
        entry = _entry(shape, memo)
        return lambda node: dict(entry(child) for child in node.children)
    read = text_reader(shape)
    if shape.type in ("string", "character"):
        return lambda node: node.text
    return lambda node: read(node.text)


def _structure(shape: Shape, memo: dict[Any, XmlReader]) -> XmlReader:
    single: dict[str, tuple[str, XmlReader]] = {}
    many: dict[str, tuple[str, XmlReader]] = {}
    entries: dict[str, tuple[str, Callable[[Node], tuple[Any, Any]]]] = {}
    attributes: list[tuple[str, str]] = []
    for name, member in shape.members.items():
        if member.location is not None:
            continue
        wire = member.wire_name or name
        if member.traits.get("xmlAttribute"):
            attributes.append((wire, name))
        elif member.type == "list" and member.flattened:
            # SDKs write the list's own name; a name of its elements is read too, as responses have it.
            many.setdefault(member.member.wire_name or wire, (name, xml_reader(member.member, memo)))
            many[wire] = (name, xml_reader(member.member, memo))
        elif member.type == "map" and member.flattened:
            entries[wire] = (name, _entry(member, memo))
        else:
            single[wire] = (name, xml_reader(member, memo))
    union = bool(shape.traits.get("union"))

    def read(node: Node) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for child in node.children:
            tag = child.tag
            if tag in single:
                name, inner = single[tag]
                found[name] = inner(child)
            elif tag in many:
                name, inner = many[tag]
                found.setdefault(name, []).append(inner(child))
            elif tag in entries:
                name, entry = entries[tag]
                key, value = entry(child)
                found.setdefault(name, {})[key] = value
        for wire, name in attributes:
            value = node.attributes.get(wire)
            if value is not None:
                found[name] = value
        if union and len(found) != 1:
            raise Malformed("A union must have exactly one member")
        return found

    return read


def _entry(shape: Shape, memo: dict[Any, XmlReader]) -> Callable[[Node], tuple[Any, Any]]:
    key_shape, value_shape = shape.map_key, shape.map_value
    key_name, value_name = key_shape.wire_name or "key", value_shape.wire_name or "value"
    read_key, read_value = xml_reader(key_shape, memo), xml_reader(value_shape, memo)

    def read(node: Node) -> tuple[Any, Any]:
        parts = {child.tag: child for child in node.children}
        if key_name not in parts or value_name not in parts:
            raise Malformed("A map's entry needs a key and a value")
        return read_key(parts[key_name]), read_value(parts[value_name])

    return read
