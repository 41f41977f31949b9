"""What handlers take and return, as schemas: out of annotations and quart-schema's decorators."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from attrs import frozen
from quart import Quart, Response, request
from quart_schema.validation import (
    QUART_SCHEMA_QUERYSTRING_ATTRIBUTE,
    QUART_SCHEMA_REQUEST_ATTRIBUTE,
    QUART_SCHEMA_RESPONSE_ATTRIBUTE,
    DataSource,
)
from werkzeug.routing import Rule
from werkzeug.routing.converters import (
    AnyConverter,
    BaseConverter,
    FloatConverter,
    IntegerConverter,
    UUIDConverter,
)
from werkzeug.wrappers import Response as WerkzeugResponse

from .contract import Origin
from .errors import SetupError
from .models import to_builtins
from .native import WHOLE_PAYLOAD
from .registry import AnyFunction, annotations_of
from .results import is_success
from .routes import BODY_METHODS, Route
from .schemas import Schema, Schemas, Use, camel, followed, union
from .wrappers import layers

GUARDS = frozenset({"quart_jwt_extended", "quart_auth", "quart_login", "flask_login"})
"""Packages whose decorators check who asks."""
_OTHERS = frozenset({"quart", "quart_schema", "quart_realtime", "functools", "quart_rate_limiter"})
"""Packages whose decorators are known to do something else, without looking at the body."""

_OBJECT: Schema = {"type": "object"}


@frozen(eq=False)
class Function:
    """A handler's function, with what is wrapped around it.

    Attributes:
        inner: The function that was written.
        layers: All functions around it and itself, outermost first.
        camel: Whether quart-schema writes names in camelCase for it.
        by_alias: Whether what it returns is written under pydantic's aliases.

    """

    inner: AnyFunction
    layers: tuple[AnyFunction, ...]
    camel: bool = False
    by_alias: bool = False

    @classmethod
    def of_route(cls, app: Quart, route: Route, function: AnyFunction) -> Function:
        """Return the view of *route*, which runs *function*."""
        view = app.view_functions[route.endpoint]
        method = _method_of(view, route.method)
        if function is view and method is not None:
            function = method  # What a view class was made into says nothing of the method.
        around = dict.fromkeys([*layers(view), *layers(method), *layers(function)])
        options = app.config.get("QUART_SCHEMA_PYDANTIC_DUMP_OPTIONS") or {}
        return cls(
            inspect.unwrap(function),
            tuple(around),
            camel=bool(app.config.get("QUART_SCHEMA_CONVERT_CASING")),
            by_alias=bool(options.get("by_alias")),
        )

    @classmethod
    def native(cls, function: AnyFunction) -> Function:
        """Return a function without a route."""
        return cls(inspect.unwrap(function), tuple(layers(function)))

    def said(self, attribute: str) -> Any:
        """Return what a decorator of quart-schema left under *attribute*, None where none did."""
        found = (getattr(layer, attribute, None) for layer in self.layers)
        return next((value for value in found if value is not None), None)

    def annotations(self) -> Mapping[str, Any]:
        """Return the annotations; none where they can't be read, which a route may do without."""
        try:
            return annotations_of(self.inner)
        except SetupError:
            return {}

    def decorators(self) -> Iterator[tuple[str, str]]:
        """Yield each decorator's package and name, outermost first."""
        scope = _path_of(self.inner)[:-1]
        for layer in self.layers:
            path = _path_of(layer)
            # What both are defined in, such as an application factory, is no decorator.
            own = path[len(scope) :] if path[: len(scope)] == scope else path
            if len(own) > 1 and layer is not self.inner:
                yield _package_of(layer), own[0]

    def reads_request(self) -> bool:
        """Tell whether it may look at the body or the query by itself."""
        return any(
            _names_request(layer)
            for layer in self.layers
            if _package_of(layer) not in GUARDS | _OTHERS
        )


def _method_of(view: AnyFunction, method: str) -> AnyFunction | None:
    view_class = getattr(view, "view_class", None)
    found = getattr(view_class, method.lower(), None)
    return found or getattr(view_class, "dispatch_request", None)


def _path_of(function: AnyFunction) -> list[str]:
    """Return the names of the functions that *function* was defined in, and its own."""
    code = getattr(function, "__code__", None)
    return str(getattr(code, "co_qualname", "")).split(".<locals>.")


def _package_of(function: AnyFunction) -> str:
    module = getattr(function, "__globals__", {}).get("__name__", "")
    return str(module).partition(".")[0]


def _names_request(function: AnyFunction) -> bool:
    code = getattr(function, "__code__", None)
    if code is None:
        return True  # Whatever it is, it can't be looked into.
    names = {name for part in _codes(code) for name in (*part.co_names, *part.co_freevars)}
    known: dict[str, Any] = getattr(function, "__globals__", {})
    return "request" in names or any(known.get(name) is request for name in names)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def origin_of(function: Function, route: Route, rules: Iterable[Rule]) -> Origin:
    """Return where the requests that *function* answers go."""
    decorators = list(dict.fromkeys(function.decorators()))
    return Origin(
        route.method,
        " or ".join(rule.rule for rule in rules),
        route.endpoint,
        tuple(name for package, name in decorators if package in GUARDS),
        tuple(name for package, name in decorators if package not in GUARDS | _OTHERS),
    )


def documentation_of(function: AnyFunction) -> tuple[str, str]:
    """Return the first paragraph of a docstring, in one line, and the rest of it."""
    summary, _, rest = (inspect.getdoc(function) or "").partition("\n\n")
    return " ".join(summary.split()), rest.strip()


# What they take


def native_request(function: Function, schemas: Schemas) -> Schema:
    """Return what the payload for a function without a route must be."""
    use = Use("Request")
    hints = annotations_of(function.inner)
    properties: Schema = {}
    required = []
    whole: list[Schema] = []
    is_open = False
    for parameter in inspect.signature(function.inner).parameters.values():
        schema = schemas.of(hints.get(parameter.name, Any), use)
        if parameter.kind is parameter.VAR_KEYWORD:
            is_open = True
        elif parameter.name == WHOLE_PAYLOAD:
            whole = [schema]
        else:
            has_default = parameter.default is not parameter.empty
            properties[parameter.name] = _with_default(schema, parameter) if has_default else schema
            required += [] if has_default else [parameter.name]
    return _together(properties, required, whole, is_open, schemas)


def _with_default(schema: Schema, parameter: inspect.Parameter) -> Schema:
    try:
        return {**schema, "default": to_builtins(parameter.default)}
    except TypeError:
        return schema


def route_request(function: Function, route: Route, rules: list[Rule], schemas: Schemas) -> Schema:
    """Return what the payload for a route must be: its URL's variables, and its body or query."""
    variables: Schema = {}
    for rule in rules:
        converters: dict[str, BaseConverter] = getattr(rule, "_converters", {})
        for name in (*converters, *sorted(rule.arguments - converters.keys())):
            schema = _of_converter(converters[name]) if name in converters else {}
            variables[name] = union([variables[name], schema]) if name in variables else schema
    required = [
        name
        for name in variables
        if all(name in rule.arguments and name not in (rule.defaults or {}) for rule in rules)
    ]
    (body, _), query = declared_body(function), declared_query(function)
    use = Use("Request", camel=function.camel)
    read = [schemas.of(model, use) for model in (query, body) if model is not None]
    has_body = route.method in BODY_METHODS or body is not None
    is_open = (body if has_body else query) is None and function.reads_request()
    given_otherwise = {name for part in read for name in _nested_names(part, schemas)}
    if function.camel:
        # The body's or the query's own spelling of a variable stands for that as well.
        spelled = {name for part in read for name in _required(part, schemas)}
        given_otherwise |= {name for name in required if camel(name) in spelled - {name}}
    required = [name for name in required if name not in given_otherwise]
    return _together(variables, required, read, is_open, schemas)


def declared_body(function: Function) -> tuple[Any, DataSource | None]:
    """Return what quart-schema checks the body against, and as what; None for nothing."""
    model, source = function.said(QUART_SCHEMA_REQUEST_ATTRIBUTE) or (None, None)
    return model, source


def declared_query(function: Function) -> Any:
    """Return what quart-schema checks the query against, None for nothing."""
    return function.said(QUART_SCHEMA_QUERYSTRING_ATTRIBUTE)


def _required(schema: Schema, schemas: Schemas) -> list[str]:
    return list(followed(schema, schemas.components).get("required", []))


def _nested_names(schema: Schema, schemas: Schemas) -> set[str]:
    """Return the names in objects inside of the payload, where URL variables may stand as well."""
    properties = followed(schema, schemas.components).get("properties", {})
    inner = (followed(part, schemas.components) for part in properties.values())
    return {name for part in inner for name in part.get("properties", {})}


def _of_converter(converter: BaseConverter) -> Schema:
    match converter:
        case IntegerConverter():
            return {"type": "integer"}
        case FloatConverter():
            return {"type": "number"}
        case AnyConverter():
            return {"enum": sorted(converter.items)}
        case UUIDConverter():
            return {"type": "string", "format": "uuid"}
    return {"type": "string"}


def _together(
    properties: Schema, required: list[str], read: list[Schema], is_open: bool, schemas: Schemas
) -> Schema:
    """Return the schema of an object of *properties* that is all that is *read* from it as well."""
    if len(read) == 1 and not properties and not is_open:
        return read[0] or _OBJECT
    own = {**_OBJECT, "properties": properties, "required": required}
    if not read:
        return {**own, "additionalProperties": is_open}
    parts = [followed(part, schemas.components) for part in read]
    if any(set(part) - _MERGED for part in parts):
        return {"allOf": [own, *read]}
    for part in parts:
        is_open = is_open or not part
        # A URL takes text and numbers alike, so the body's word goes, but for null.
        more = {
            key: _not_null(value) if key in properties else value
            for key, value in part.get("properties", {}).items()
        }
        own["properties"] = own["properties"] | more
        own["required"] = list(dict.fromkeys([*own["required"], *part.get("required", [])]))
    return {**own, "additionalProperties": True} if is_open else own


_MERGED = frozenset({"title", "description", "type", "properties", "required"})
"""What may be said of objects that become one."""


def _not_null(schema: Schema) -> Schema:
    parts = [part for part in schema.get("anyOf", []) if part != {"type": "null"}]
    return union(parts) if parts else schema


# What they return


def response_of(function: Function, schemas: Schemas) -> Schema:
    """Return what the answer to a request is."""
    use = Use("Response", output=True, camel=function.camel, by_alias=function.by_alias)
    return _returned(function, use, schemas)


def value_schema(function: Function, schemas: Schemas) -> Schema:
    """Return what an event carries that is made of what *function* returns, in Python's names."""
    return _returned(function, Use("Event", output=True, by_alias=False), schemas)


def _returned(function: Function, use: Use, schemas: Schemas) -> Schema:
    declared = function.said(QUART_SCHEMA_RESPONSE_ATTRIBUTE) or {}
    models = [model for status, (model, _) in declared.items() if is_success(int(status))]
    if not models:
        models = list(_values_in(function.annotations().get("return", Any)))
    return union([schemas.of(model, use) for model in models])


def _values_in(annotation: Any) -> Iterator[Any]:
    """Yield the types of the values in what a view is annotated to return, without statuses."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        parts = get_args(annotation)
        if any(_is_answer(part) for part in parts):
            for part in parts:
                yield from _values_in(part)
            return
    if origin is tuple and get_args(annotation):
        yield from _values_in(get_args(annotation)[0])
    elif isinstance(annotation, type) and issubclass(annotation, (Response, WerkzeugResponse)):
        yield Any
    else:
        yield NoneType if annotation is None else annotation


def _is_answer(part: Any) -> bool:
    if get_origin(part) is tuple:
        return True
    return isinstance(part, type) and issubclass(part, (Response, WerkzeugResponse))
