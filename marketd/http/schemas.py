"""
The JSON Schemas of our types, made by msgspec, for OpenAPI 3.1.

The one rule: they describe what is sent. A Decimal is sent as a number, which msgspec would describe as a string. Rules
across the fields of a type are in its `also`, a class variable. An enum names the type of its values, because some code
generators do not look at the values.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import fields

Schema = dict[str, Any]

PREFIX: Final = "#/components/schemas/"
_DECIMAL: Final = {"type": "string", "format": "decimal"}


def components(kinds: Iterable[type[Struct]]) -> dict[str, Schema]:
    """Give the schema of each of these types, and of all types in them, by name."""
    wanted = list(dict.fromkeys(inner for kind in kinds for inner in [kind, *_held(kind)]))
    _, found = msgspec.json.schema_components(wanted, ref_template=PREFIX + "{name}")
    for kind in wanted:
        found[kind.__name__] |= getattr(kind, "also", {})
    for kind in dict.fromkeys(inner for outer in wanted for inner in _structs(outer)):
        if kind.__struct_config__.omit_defaults:
            found[kind.__name__]["properties"] |= _written(kind, found[kind.__name__]["properties"])
    return {name: travelling(schema) for name, schema in sorted(found.items())}


def reference(kind: type[Struct]) -> Schema:
    """Refer to the schema of a type."""
    return {"$ref": PREFIX + kind.__name__}


def bare(kind: Any) -> Schema:
    """Give the schema of a type that is not a Struct."""
    schema: Schema = travelling(msgspec.json.schema(kind))
    return schema


def as_text(schema: Schema) -> Schema:
    """Give the schema of a parameter, which can't be null, or of a field that is left out instead of being null."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    others = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**choices[0], **others} if choices else others


def travelling(schema: Any) -> Any:
    """Correct a schema to what is sent: a Decimal is a number, an enum of words a string; a null default is dropped."""
    if isinstance(schema, list):
        return [travelling(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if _DECIMAL.items() <= schema.items():
        schema = {key: value for key, value in schema.items() if key != "format"} | {"type": "number"}
    if all(isinstance(value, str) for value in schema.get("enum", [None])):
        schema = {"type": "string"} | schema
    return {key: travelling(value) for key, value in schema.items() if (key, value) != ("default", None)}


def _written(kind: type[Struct], properties: Schema) -> Schema:
    """Give the fields of an answer that are left out where they are null, and never sent as that."""
    optional = [field.encode_name for field in fields(kind) if field.default is None]
    return {name: as_text(properties[name]) for name in optional}


def _structs(kind: Any) -> Iterator[type[Struct]]:
    """Find the types of objects, anywhere in a type."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        yield kind
        for field in fields(kind):
            yield from _structs(field.type)
    for argument in get_args(kind):
        yield from _structs(argument)


def _held(kind: Any) -> Iterator[type[Struct]]:
    """Find the declared types of encoded JSON, anywhere in a type."""
    if get_origin(kind) is Annotated:
        yield from (
            meta.extra["holds"] for meta in kind.__metadata__ if getattr(meta, "extra", None) and "holds" in meta.extra
        )
    if isinstance(kind, type) and issubclass(kind, Struct):
        for field in fields(kind):
            yield from _held(field.type)
    for argument in get_args(kind):
        yield from _held(argument)
