"""A contract as TypeScript: the ``Api`` that the JavaScript client takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from .contract import Contract, EventContract, Operation
from .schemas import Schema, name_of

_INDENT = "  "
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)
_SCALARS = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
_TAKEN = frozenset(
    re.findall(
        r"\w+",
        """
        Api RoomName any bigint boolean never null number object string symbol undefined unknown
        void break case catch class const continue debugger default delete do else enum export
        extends false finally for function if import in instanceof new return super switch this
        throw true try typeof var while with
        """,
    )
)
"""What no type of the app's can be called."""

HEADER = """\
// What {title} answers and tells, as of version {version}.
// Made by "quart realtime types": make it again rather than change it.
"""


def typescript(contract: Contract) -> str:
    """Return the module that declares the types of *contract*: its schemas, and ``Api``."""
    title = " ".join(contract.title.split())
    version = " ".join(contract.version.split())
    parts = [HEADER.format(title=title, version=version)]
    parts += [_declaration(name, schema) for name, schema in contract.schemas.items()]
    parts += [_room_names(contract), _api(contract)]
    return "\n".join(parts)


def _name(name: str) -> str:
    """Return *name* as one that a type may have."""
    plain = re.sub(r"[^\w$]", "_", name, flags=re.ASCII)
    return f"{plain}_" if plain in _TAKEN or plain[0].isdigit() else plain


def _declaration(name: str, schema: Schema) -> str:
    comment = _comment(_about(schema), "")
    type_ = _type(schema, "")
    if type_.startswith("{") and type_.endswith("}") and "properties" in schema:
        return f"{comment}export interface {_name(name)} {type_}\n"
    return f"{comment}export type {_name(name)} = {type_};\n"


def _room_names(contract: Contract) -> str:
    """Return the names that rooms may have, as one type."""
    names = [
        "`" + re.sub(r"<(?:\w+:)?\w+>", "${string}", room.pattern.replace("\\", "\\\\")) + "`"
        for room in contract.rooms
        if "`" not in room.pattern and "${" not in room.pattern
    ]
    comment = _comment(["The rooms that may be asked for."], "")
    return f"{comment}export type RoomName = {' | '.join(names) or 'never'};\n"


def _api(contract: Contract) -> str:
    resources: dict[str, list[Operation]] = {}
    for operation in contract.operations:
        resources.setdefault(operation.resource, []).append(operation)
    requests = [
        f"{_key(resource)}: {{\n{''.join(map(_operation, operations))}{_INDENT * 2}}};\n"
        for resource, operations in resources.items()
    ]
    lines = [
        _comment(["What may be asked, and what is told; `createWebSocketClient<Api>(…)`."], ""),
        "export interface Api {\n",
        f"{_INDENT}requests: {{\n",
        *(f"{_INDENT * 2}{request}" for request in requests),
        f"{_INDENT}}};\n",
        f"{_INDENT}events: {{\n",
        *map(_event, contract.events),
        f"{_INDENT}}};\n",
        "}\n",
    ]
    return "".join(lines)


def _operation(operation: Operation) -> str:
    indent = _INDENT * 3
    about = [operation.summary, operation.description]
    if operation.rate_limit is not None:
        about.append(f"Each user may ask {operation.rate_limit}.")
    deeper = indent + _INDENT
    return (
        f"{_comment(about, indent)}{indent}{_key(operation.action)}: {{\n"
        f"{deeper}payload: {_type(operation.request, deeper)};\n"
        f"{deeper}response: {_type(operation.response, deeper)};\n"
        f"{indent}}};\n"
    )


def _event(event: EventContract) -> str:
    indent = _INDENT * 2
    about = [f"Goes to {', '.join(event.rooms)}."] if event.rooms else []
    type_ = _type(event.schema, indent)
    return f"{_comment(about, indent)}{indent}{_key(event.name)}: {type_};\n"


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


def _about(schema: Schema) -> list[str]:
    about = [schema.get("description", "")]
    if "default" in schema:
        about.append(f"@default {json.dumps(schema['default'])}")
    return about


def _comment(about: list[str], indent: str) -> str:
    lines = [line.rstrip() for text in filter(None, about) for line in text.splitlines()]
    if not lines:
        return ""
    lines = [line.replace("*/", "* /") for line in lines]
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    body = "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines)
    return f"{indent}/**\n{body}{indent} */\n"


# Types


def _type(schema: Schema | bool, indent: str) -> str:
    """Return the type of *schema*, for a line that is indented by *indent*."""
    if isinstance(schema, bool):
        return "any" if schema else "never"
    name = name_of(schema)
    if name is not None:
        return _name(name)
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        return _united(map(_literal, schema["enum"]))
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _united(_type(part, indent) for part in schema[key])
    if "allOf" in schema:
        parts = dict.fromkeys(_type(part, indent) for part in schema["allOf"])
        return " & ".join(f"({part})" if " | " in part else part for part in parts)
    kind = schema.get("type")
    if isinstance(kind, list):
        return _united(_type({**schema, "type": one}, indent) for one in kind)
    if kind == "array" or (kind is None and ("items" in schema or "prefixItems" in schema)):
        return _array(schema, indent)
    if kind == "object" or "properties" in schema:
        return _object(schema, indent)
    return _SCALARS.get(kind or "", "any")


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, (str, int, bool, type(None))) else "any"


def _united(types: Iterator[str] | map[str]) -> str:
    parts = list(dict.fromkeys(types))
    return "any" if "any" in parts or not parts else " | ".join(parts)


def _operand(type_: str) -> str:
    return f"({type_})" if re.search(r" [|&] ", type_) else type_


def _array(schema: Schema, indent: str) -> str:
    rest = schema.get("items", True)
    if "prefixItems" not in schema:
        return f"{_operand(_type(rest, indent))}[]"
    least = schema.get("minItems", 0)
    parts = [
        _type(part, indent) if at < least else f"{_operand(_type(part, indent))}?"
        for at, part in enumerate(schema["prefixItems"])
    ]
    if rest is not False:
        parts.append(f"...{_operand(_type(rest, indent))}[]")
    return f"[{', '.join(parts)}]"


def _object(schema: Schema, indent: str) -> str:
    properties: Schema = schema.get("properties", {})
    more = schema.get("additionalProperties", not properties)
    required = set(schema.get("required", ()))
    deeper = indent + _INDENT
    lines = [
        f"{_comment(_about(part), deeper)}"
        f"{deeper}{_key(name)}{'' if name in required else '?'}: {_type(part, deeper)};\n"
        for name, part in properties.items()
    ]
    # What no key may be beside those named is an index signature only where none is named.
    if more is not False or not properties:
        rest = "any" if properties else _type(more, deeper)
        lines.append(f"{deeper}[key: string]: {rest};\n")
    # One line does for what is nothing but a map.
    if len(lines) == 1 and not properties:
        return f"{{ {lines[0].strip()} }}"
    return f"{{\n{''.join(lines)}{indent}}}"
