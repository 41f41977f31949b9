"""A contract as a Python module: typed requests and events over :mod:`quart_realtime.client`."""

from __future__ import annotations

import json
import keyword
import re
import textwrap
from collections.abc import Iterable, Iterator

from attrs import define, field

from .contract import Contract, Operation
from .schemas import Schema, followed, name_of

_WIDTH = 88
"""How long a line may be; ruff's and Black's own default."""
_NESTED = 56
"""How long a type within another may be, before it gets a name of its own."""
_INDENT = "    "
_SCALARS = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}
_BUILTINS = frozenset({"bool", "dict", "float", "int", "list", "object", "str"})
"""What would no longer be a type for the rest of a class that has an attribute of that name."""
_TAKEN = _BUILTINS | frozenset(
    {"Any", "Api", "Callable", "Client", "Literal", "NotRequired", "TypeAlias", "TypedDict"}
    | {"Undo", "overload"}
)
"""What no type of the app's can be called."""

_CLASS_HEADER = (
    "class {name}:\n    {docstring}\n\n    def __init__(self, client: Client) -> None:\n"
)


def python_client(contract: Contract) -> str:
    """Return the module that has the types of *contract*, and ``Api``, its typed client."""
    return _Module(contract).text()


@define
class _Module:
    """The module while it is written."""

    contract: Contract
    names: dict[str, str] = field(init=False)
    _taken: set[str] = field(factory=lambda: set(_TAKEN))
    _classes: list[str] = field(factory=list)
    _aliases: dict[str, str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.names = {name: self._free(_pascal(name)) for name in self.contract.schemas}

    def text(self) -> str:
        """Return all of it."""
        for name, schema in self.contract.schemas.items():
            self._declare(self.names[name], schema)
        resources = list(self._resources())
        blocks = [*self._classes, *self._ordered_aliases(), *(text for *_, text in resources)]
        blocks.append(self._api([(attribute, class_) for attribute, class_, _ in resources]))
        body = "\n\n".join(blocks)
        return f"{self._head(body)}\n\n{body}"

    def _head(self, body: str) -> str:
        title = " ".join(self.contract.title.split())
        version = " ".join(self.contract.version.split())
        about = [
            f"What {title} answers and tells, as of version {version}.",
            "",
            'Made by "quart realtime client": make it again rather than change it.',
        ]
        used = {name for name in _TAKEN if re.search(rf"\b{name}\b", body)}
        typing = sorted(used & {"Any", "Literal", "NotRequired", "TypeAlias", "TypedDict"})
        typing += ["overload"] if "overload" in used else []
        names = f"from typing import {', '.join(typing)}\n\n" if typing else ""
        callback = "from collections.abc import Callable\n" if "Callable" in used else ""
        undo = "from quart_realtime.client_listeners import Undo\n" if "Undo" in used else ""
        return (
            f"{_docstring(about, '')}\n\nfrom __future__ import annotations\n\n"
            f"{callback}{names}"
            f"from quart_realtime.client import Client\n{undo}"
        )

    def _free(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}{number}", number + 1
        self._taken.add(name)
        return name

    # Schemas

    def _declare(self, name: str, schema: Schema) -> None:
        if "properties" in schema and not _is_map(schema):
            self._classes.append(self._typed_dict(name, schema))
        else:
            self._aliases[name] = self._type(schema, name)

    def _typed_dict(self, name: str, schema: Schema) -> str:
        required = set(schema.get("required", ()))
        fields: dict[str, str] = {}
        for key, part in schema["properties"].items():
            type_ = self._type(part, name + _pascal(key))
            fields[key] = type_ if key in required else f"NotRequired[{type_}]"
        if not all(_is_attribute(key) for key in fields):
            return self._functional(name, fields)
        lines = [f"class {name}(TypedDict):"]
        about = [text for text in (schema.get("description"),) if text]
        if about:
            lines.append(_INDENT + _docstring(about, _INDENT))
            lines += [""] if fields else []
        elif not fields:
            lines.append(f"{_INDENT}pass")
        for key, type_ in fields.items():
            fitting = self._fitting(type_, name + _pascal(key), len(key) + len(": ") + 4)
            lines.append(f"{_INDENT}{key}: {fitting}")
            note = schema["properties"][key].get("description")
            lines += [_INDENT + _docstring([note], _INDENT)] if note else []
        return "\n".join(lines) + "\n"

    def _functional(self, name: str, fields: dict[str, str]) -> str:
        """Declare a TypedDict with keys that no attribute can be called."""
        pairs = [
            f"{_INDENT * 2}{_quoted(key)}: {_quoted(type_)},\n" for key, type_ in fields.items()
        ]
        head = f'{name} = TypedDict(\n{_INDENT}"{name}",\n{_INDENT}{{\n'
        return f"{head}{''.join(pairs)}{_INDENT}}},\n)\n"

    def _ordered_aliases(self) -> Iterator[str]:
        """Yield the aliases, each after those that it needs; in a circle it needs none yet."""
        waiting = dict(self._aliases)
        while waiting:
            ready = [
                name
                for name, type_ in waiting.items()
                if not any(re.search(rf"\b{other}\b", type_) for other in waiting)
            ]
            for name in ready or list(waiting):
                type_ = waiting.pop(name)
                yield _alias(name, type_ if ready else _quoted(type_))

    def _fitting(self, type_: str, name: str, before: int) -> str:
        """Return *type_*, or an alias of it where a line has no room for it."""
        if before + len(type_) <= _WIDTH:
            return type_
        wrapped = re.fullmatch(r"NotRequired\[(.*)\]", type_)
        alias = self._free(name)
        self._aliases[alias] = wrapped[1] if wrapped else type_
        return f"NotRequired[{alias}]" if wrapped else alias

    def _type(self, schema: Schema | bool, name: str) -> str:
        """Return the type of *schema*; *name* is for one that has to be declared."""
        if isinstance(schema, bool):
            return "Any"
        reference = name_of(schema)
        if reference is not None:
            return self.names[reference]
        if "const" in schema:
            return _literal([schema["const"]])
        if "enum" in schema:
            return _literal(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return _united(self._nested(part, name) for part in schema[key])
        kind = schema.get("type")
        if isinstance(kind, list):
            return _united(self._type({**schema, "type": one}, name) for one in kind)
        if kind == "array":
            return f"list[{self._item(schema, name)}]"
        if "properties" in schema and not _is_map(schema):
            class_ = self._free(name)
            self._classes.append(self._typed_dict(class_, schema))
            return class_
        if kind == "object" or "allOf" in schema:
            return f"dict[str, {self._nested(schema.get('additionalProperties', {}), name)}]"
        return _SCALARS.get(kind or "", "Any")

    def _nested(self, schema: Schema | bool, name: str) -> str:
        """Return the type of *schema* where it stands within another."""
        return self._fitting(self._type(schema, name), f"{name}Part", _WIDTH - _NESTED)

    def _item(self, schema: Schema, name: str) -> str:
        parts = list(schema.get("prefixItems", ()))
        rest = schema.get("items", not parts or True)
        parts += [] if rest is False else [rest]
        item = _united(self._type(part, f"{name}Item") for part in parts)
        return self._fitting(item, f"{name}Item", _WIDTH - _NESTED)

    # Requests and events

    def _resources(self) -> Iterator[tuple[str, str, str]]:
        """Yield each resource's attribute, class and declaration."""
        resources: dict[str, list[Operation]] = {}
        for operation in self.contract.operations:
            resources.setdefault(operation.resource, []).append(operation)
        attributes: set[str] = {"client", "on"}
        for resource, operations in resources.items():
            class_ = self._free(f"{_pascal(resource)}Requests")
            docstring = _docstring([f"What may be asked of {resource}."], _INDENT)
            methods: set[str] = set()
            text = _CLASS_HEADER.format(name=class_, docstring=docstring)
            text += f"{_INDENT * 2}self._client = client\n"
            for operation in operations:
                text += "\n" + self._method(operation, _identifier(operation.action, methods))
            yield _identifier(resource, attributes), class_, text

    def _method(self, operation: Operation, method: str) -> str:
        base = _pascal(operation.resource) + _pascal(operation.action)
        payload = self._fitting(self._type(operation.request, base), base, 30)
        answer = f"{base}Answer"
        returned = self._fitting(self._type(operation.response, answer), answer, 20)
        required = followed(operation.request, self.contract.schemas).get("required")
        optional = "" if required else " | None = None"
        about = [operation.summary or f"Ask for {operation.name}."]
        about += ["", operation.description] if operation.description else []
        inner = _INDENT * 2
        return (
            f"{_INDENT}async def {method}(\n"
            f"{inner}self,\n"
            f"{inner}payload: {payload}{optional},\n"
            f"{inner}*,\n"
            f"{inner}timeout: float | None = None,\n"
            f"{inner}retry: bool = False,\n"
            f"{_INDENT}) -> {returned}:\n"
            f"{inner}{_docstring(about, inner)}\n"
            f"{inner}answer: {returned} = await self._client.request(\n"
            f"{inner}{_INDENT}{_quoted(operation.resource)},\n"
            f"{inner}{_INDENT}{_quoted(operation.action)},\n"
            f"{inner}{_INDENT}payload,\n"
            f"{inner}{_INDENT}timeout=timeout,\n"
            f"{inner}{_INDENT}retry=retry,\n"
            f"{inner})\n"
            f"{inner}return answer\n"
        )

    def _api(self, resources: list[tuple[str, str]]) -> str:
        about = [
            "What may be asked, and what is told, over a client.",
            "",
            "async with connect(url, token) as client:",
            f"{_INDENT}api = Api(client)",
        ]
        text = _CLASS_HEADER.format(name="Api", docstring=_docstring(about, _INDENT))
        text += f"{_INDENT * 2}self.client = client\n"
        for attribute, class_ in resources:
            text += f"{_INDENT * 2}self.{attribute} = {class_}(client)\n"
        return text + "".join(self._listening())

    def _listening(self) -> Iterator[str]:
        events = self.contract.events
        datas = [
            self._fitting(self._type(event.schema, base), base, 40)
            for event in events
            for base in [f"{_pascal(event.name)}Data"]
        ]
        about = ["Call ``callback(data)`` with each *event*, until the undo is called."]
        body = f"{_INDENT * 2}return self.client.on(event, callback)\n"
        if len(events) > 1:
            for event, data in zip(events, datas, strict=True):
                yield f"\n{_INDENT}@overload\n{_on(_literal([event.name]), data)} ...\n"
        if events:
            one = len(events) == 1
            event_type, data = (_literal([events[0].name]), datas[0]) if one else ("str", "Any")
            docstring = _docstring(about, _INDENT * 2)
            yield f"\n{_on(event_type, data)}\n{_INDENT * 2}{docstring}\n{body}"


def _on(event: str, data: str) -> str:
    """Return the head of ``on`` for one event."""
    inner = _INDENT * 2
    return (
        f"{_INDENT}def on(\n{inner}self,\n{inner}event: {event},\n"
        f"{inner}callback: Callable[[{data}], object],\n{_INDENT}) -> Undo:"
    )


def _is_map(schema: Schema) -> bool:
    """Tell whether more keys are there than those that are named."""
    return not schema.get("properties") or bool(schema.get("additionalProperties", False))


def _united(types: Iterable[str]) -> str:
    parts = list(dict.fromkeys(part for type_ in types for part in _split(type_, "|")))
    if "Any" in parts or not parts:
        return "Any"
    return " | ".join([part for part in parts if part != "None"] + ["None"] * ("None" in parts))


def _literal(values: list[object]) -> str:
    if not all(isinstance(value, (str, int, type(None))) for value in values):
        return "Any"
    return f"Literal[{', '.join(map(_constant, values))}]"


def _constant(value: object) -> str:
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """Return *text* as ruff writes it: in double quotes, unless that takes more of escaping."""
    written = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")
    if text.count('"') <= text.count("'"):
        return written
    return "'" + written[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


_PIECE = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|.""", re.DOTALL)


def _split(type_: str, separator: str) -> list[str]:
    """Split *type_* where *separator* stands outside of brackets and texts."""
    parts, depth = [""], 0
    for piece in _PIECE.findall(type_):
        depth += (piece == "[") - (piece == "]")
        if piece == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts]


def _alias(name: str, type_: str) -> str:
    line = f"{name}: TypeAlias = {type_}"
    if len(line) <= _WIDTH:
        return f"{line}\n"
    parts = _split(type_, "|")
    if len(parts) > 1:
        united = f"\n{_INDENT}| ".join(parts)
        return f"{name}: TypeAlias = (\n{_INDENT}{united}\n)\n"
    generic, _, inner = type_.partition("[")
    values = "".join(f"{_INDENT}{value},\n" for value in _split(inner.removesuffix("]"), ","))
    return f"{name}: TypeAlias = {generic}[\n{values}]\n"


def _docstring(about: list[str], indent: str) -> str:
    """Return a docstring of these lines, for a place that is indented by *indent* already."""
    text = "\n".join(about).strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    lines = [line.rstrip() for line in text.splitlines()] or [""]
    closing = f"\n{indent}" if len(lines) > 1 or lines[-1].endswith('"') else ""
    body = textwrap.indent("\n".join(lines), indent).lstrip()
    return f'"""{body}{closing}"""'


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+", name) or ["value"]


def _pascal(name: str) -> str:
    """Return *name* as classes are called."""
    joined = "".join(word[0].upper() + word[1:] for word in _words(name))
    return f"V{joined}" if joined[0].isdigit() else joined


def _identifier(name: str, taken: set[str]) -> str:
    """Return *name* as attributes are called, another one than those *taken*, and take it."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "value"
    plain = f"v{plain}" if plain[0].isdigit() else plain
    plain = f"{plain}_" if keyword.iskeyword(plain) or plain in _BUILTINS else plain
    free, number = plain, 2
    while free in taken:
        free, number = f"{plain}{number}", number + 1
    taken.add(free)
    return free


def _is_attribute(key: str) -> bool:
    is_name = key.isidentifier() and not keyword.iskeyword(key)
    return is_name and key not in _BUILTINS and not key.startswith("__")
