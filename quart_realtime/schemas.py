"""Types to JSON Schema, with the names that documents and generated code share."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec
from attrs import define, field, frozen

from .models import adapter_of

logger = logging.getLogger("quart_realtime")

Schema: TypeAlias = dict[str, Any]

REFERENCE = "#/components/schemas/"
"""What a reference to a shared schema begins with; its name follows."""

_ONE = ("items", "additionalProperties", "additionalItems", "not")
_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties")


@frozen
class Use:
    """What a type is used for, on which its schema depends.

    Attributes:
        label: What a schema is called by besides its type's name, where that has another one.
        output: Whether the server writes it: what has a default is always there then.
        camel: Whether quart-schema writes its names in camelCase.
        by_alias: Whether names are pydantic's aliases.

    """

    label: str
    output: bool = False
    camel: bool = False
    by_alias: bool = True


def mapped(schema: Schema, change: Callable[[Any], Any]) -> Schema:
    """Return *schema* with *change* made to each schema that is right inside of it."""
    result = dict(schema)
    for key in _ONE:
        if isinstance(schema.get(key), dict):
            result[key] = change(schema[key])
    for key in _MANY:
        if key in schema:
            result[key] = [change(part) for part in schema[key]]
    for key in _NAMED:
        if key in schema:
            result[key] = {name: change(part) for name, part in schema[key].items()}
    return result


def inside(schema: Schema) -> Iterator[Schema]:
    """Yield *schema* and all schemas in it, references not followed."""
    yield schema
    parts: list[Schema] = []
    mapped(schema, parts.append)
    for part in parts:
        yield from inside(part)


def name_of(schema: Schema) -> str | None:
    """Return the name of the shared schema that *schema* refers to, None where it doesn't."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(REFERENCE):
        return reference.removeprefix(REFERENCE)
    return None


def followed(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    """Return what *schema* stands for: itself, or what it refers to."""
    seen: set[str] = set()
    while (name := name_of(schema)) in components and name not in seen:
        seen.add(str(name))
        schema = components[str(name)]
    return schema


def reachable_from(schemas: Iterable[Schema], components: Mapping[str, Schema]) -> set[str]:
    """Return the names of the shared schemas that *schemas* refer to, directly or not."""
    found: set[str] = set()
    waiting = list(schemas)
    while waiting:
        names = set(filter(None, map(name_of, inside(waiting.pop()))))
        new = (names & components.keys()) - found
        found |= new
        waiting += [components[name] for name in new]
    return found


def union(schemas: list[Schema]) -> Schema:
    """Return the schema of what is one of *schemas*; of none, that of anything."""
    different = [part for at, part in enumerate(schemas) if part not in schemas[:at]]
    if not all(different):
        return {}
    return different[0] if len(different) == 1 else {"anyOf": different} if different else {}


def camel(name: str) -> str:
    """Return *name* as every version of quart-schema writes it in camelCase."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def camelized(schema: Schema) -> Schema:
    """Return *schema* with the names of properties as quart-schema's casing conversion has them."""
    result = mapped(schema, camelized)
    if "properties" in result:
        result["properties"] = {camel(name): part for name, part in result["properties"].items()}
    if "required" in result:
        result["required"] = [camel(name) for name in result["required"]]
    if "discriminator" in result:
        name = camel(result["discriminator"]["propertyName"])
        result["discriminator"] = {**result["discriminator"], "propertyName": name}
    return result


def draft_7(schema: Schema) -> Schema:
    """Return *schema* as JSON Schema's draft 7 has it, which AsyncAPI goes by."""
    result = mapped(schema, draft_7)
    if "prefixItems" in result:
        result["items"], rest = result.pop("prefixItems"), result.get("items", True)
        result["additionalItems"] = rest
    if "discriminator" in result:
        result["discriminator"] = result["discriminator"]["propertyName"]
    return result


@define
class Schemas:
    """The schemas of any number of types; those that have names are shared as components."""

    components: dict[str, Schema] = field(factory=dict)
    _known: dict[tuple[str, bytes], str] = field(factory=dict)

    def of(self, expected: Any, use: Use) -> Schema:
        """Return the schema of the type *expected*; of one that has none, that of anything."""
        local: dict[str, Schema] = {}

        def hook(part: Any) -> Schema:
            adapter = adapter_of(part)
            return {} if adapter is None else _of_pydantic(part, adapter, use, local)

        try:
            schema = hook(expected)
            if not schema:
                (schema,), found = msgspec.json.schema_components(
                    (expected,), schema_hook=hook, ref_template=REFERENCE + "{name}"
                )
                local.update(_always_there(expected, found) if use.output else found)
            elif use.output:
                with suppress(TypeError):  # Of a union that only pydantic reads.
                    local = _always_there(expected, local)
        except (TypeError, NameError, AttributeError, RuntimeError) as error:
            logger.warning("%r can't be described, and counts as anything: %s", expected, error)
            return {}
        if use.camel:
            schema = camelized(schema)
            local = {name: camelized(part) for name, part in local.items()}
        return self._share(schema, local, use)

    def _share(self, schema: Schema, local: dict[str, Schema], use: Use) -> Schema:
        """Take *local* among the components, and return *schema* with the names they got."""
        names: dict[str, str] = {}
        for name in local:
            meant = reachable_from([{"$ref": REFERENCE + name}], local)
            reachable = {part: local[part] for part in meant}
            key = (name, msgspec.json.encode(reachable, order="sorted"))
            if key not in self._known:
                taken = {*self.components, *names.values()}
                self._known[key] = _free_name(name, use.label, taken)
            names[name] = self._known[key]
        for name, part in local.items():
            self.components[names[name]] = _renamed(part, names)
        return _renamed(schema, names)


def _free_name(name: str, label: str, taken: set[str]) -> str:
    # AsyncAPI's keys are of ASCII.
    base = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "Value"
    free = base if base not in taken else base + label
    number = 2
    while free in taken:
        free = f"{base}{label}{number}"
        number += 1
    return free


def _renamed(schema: Schema, names: Mapping[str, str]) -> Schema:
    result = mapped(schema, lambda part: _renamed(part, names))
    name = name_of(schema)
    if name is not None and name in names:
        result["$ref"] = REFERENCE + names[name]
    if "mapping" in schema.get("discriminator", {}):
        mapping = {
            tag: _renamed({"$ref": target}, names)["$ref"]
            for tag, target in schema["discriminator"]["mapping"].items()
        }
        result["discriminator"] = {**schema["discriminator"], "mapping": mapping}
    return result


def _of_pydantic(expected: Any, adapter: Any, use: Use, local: dict[str, Schema]) -> Schema:
    """Return what pydantic's *adapter* of a type takes, and put what has a name into *local*."""
    schema: Schema = adapter.json_schema(
        mode="serialization" if use.output else "validation",
        by_alias=use.by_alias,
        ref_template=REFERENCE + "{model}",
    )
    found: dict[str, Schema] = schema.pop("$defs", {})
    # One that refers to itself is among the definitions already.
    if "$ref" not in schema and (isinstance(expected, type) or "properties" in schema):
        title = expected.__name__ if isinstance(expected, type) else schema.get("title", "")
        name = _free_name(title, use.label, set(found))
        found[name] = schema
        schema = {"$ref": REFERENCE + name}
    for name, part in found.items():
        local[name] = _with_defaults_written(part) if use.output else part
    return schema


def _with_defaults_written(schema: Schema) -> Schema:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    names = [name for name, part in properties.items() if "default" in part or name in required]
    return {**schema, "required": names} if names else schema


def _always_there(expected: Any, found: dict[str, Schema]) -> dict[str, Schema]:
    """Return the components *found* with all required that the server always writes."""
    written: dict[str, set[str]] = {}
    for info in _classes_in(msgspec.inspect.type_info(expected)):
        title, names = info.cls.__name__, _names_written(info)
        written[title] = written.get(title, names) & names
    result = {}
    for name, schema in found.items():
        always = written.get(str(schema.get("title", "")).partition("[")[0], set())
        required = schema.get("required", [])
        there = [
            part for part in schema.get("properties", {}) if part in always or part in required
        ]
        result[name] = {**schema, "required": there} if there else schema
    return result


def _classes_in(info: msgspec.inspect.Type) -> list[Any]:
    """Return what *info* holds of attrs classes, dataclasses and Structs, each once."""
    found: dict[int, Any] = {}
    waiting: list[Any] = [info]
    while waiting:
        current = waiting.pop()
        if isinstance(current, (tuple, list)):
            waiting += current
        elif isinstance(current, (msgspec.inspect.Type, msgspec.inspect.Field)):
            if id(current) in found:
                continue
            found[id(current)] = current
            waiting += [getattr(current, name) for name in current.__struct_fields__]
    kinds = (msgspec.inspect.StructType, msgspec.inspect.DataclassType)
    return [item for item in found.values() if isinstance(item, kinds)]


def _names_written(info: Any) -> set[str]:
    configuration = getattr(info.cls, "__struct_config__", None)
    if configuration is not None and configuration.omit_defaults:
        return set()
    return {item.encode_name for item in info.fields if item.required or _has_default(item)}


def _has_default(item: msgspec.inspect.Field) -> bool:
    """Tell whether *item* has a value where nobody gave one; UNSET isn't written."""
    return any(given is not msgspec.NODEFAULT for given in (item.default, item.default_factory))
