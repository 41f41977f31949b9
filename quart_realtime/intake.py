"""Where a route reads which keys of a payload, and what no payload can hold."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from quart import Quart
from quart_schema.validation import DataSource

from .errors import SetupError
from .native import WHOLE_PAYLOAD
from .protocol import ACTION
from .registry import Handler, annotations_of, describe
from .routes import BODY_METHODS, Route
from .schemas import Schema, Schemas, Use, followed
from .signatures import Function, declared_body, declared_query, native_request


@frozen
class Intake:
    """Where the requests to a route carry a payload's keys.

    Attributes:
        has_body: Whether what nothing else says goes into the body, and not into the query.
        is_form: Whether the body is a form, and not JSON.
        body: The keys that are declared for the body.
        query: The keys that are declared for the query.
    """

    has_body: bool
    is_form: bool
    body: frozenset[str]
    query: frozenset[str]

    def parts(self, payload: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what of *payload* goes into the query, and what into the body."""
        if not self.has_body:
            return payload, {}
        if not self.query:
            return {}, payload
        query = {key: value for key, value in payload.items() if key in self.query}
        body = {key: payload[key] for key in payload if key not in query or key in self.body}
        return query, body

    def reads(self, key: str) -> bool:
        """Tell whether *key* is declared for the body or for the query."""
        return key in self.body or key in self.query


def intake_of(app: Quart, handler: Handler, route: Route) -> Intake:
    """Return where *route*, which *handler* stands for, reads what.

    Raises:
        SetupError: no payload can hold what it reads.
    """
    function = Function.of_route(app, route, handler.function)
    about = f"{handler.name}: the route {route.endpoint!r} of {describe(handler.function)}"
    instead = (
        "write @realtime.handler above the other views in place of expose"
        if handler.exposed
        else "leave out its @realtime.handler"
    )
    (body, source), query = declared_body(function), declared_query(function)
    if source is DataSource.FORM_MULTIPART:
        raise SetupError(
            f"{about} reads a form that may have files, and so can't be called over the socket: "
            f"have it read JSON or source=DataSource.FORM, or {instead}."
        )
    schemas = Schemas()
    # Quart-Schema takes a name in either spelling where it converts the casing.
    uses = [Use("Request", camel=camel) for camel in {False, function.camel}]
    bodies = [] if body is None else [schemas.of(body, use) for use in uses]
    queries = [] if query is None else [schemas.of(query, use) for use in uses]
    if not all(_takes_objects(schema, schemas) for schema in bodies):
        raise SetupError(
            f"{about} reads a body that is no object, which a payload always is: name a model with "
            f"a field for it in validate_request, or {instead}."
        )
    intake = Intake(
        route.method in BODY_METHODS or body is not None,
        source is DataSource.FORM,
        frozenset(key for schema in bodies for key in _keys(schema, schemas)),
        frozenset(key for schema in queries for key in _keys(schema, schemas)),
    )
    _refuse_reserved(about, {*intake.body, *intake.query, *route.arguments})
    return intake


def check_native(handler: Handler) -> None:
    """Check what a function without a route takes.

    Raises:
        SetupError: no payload can hold it.
    """
    schemas = Schemas()
    about = f"{handler.name}: {describe(handler.function)}"
    whole = annotations_of(handler.function).get(WHOLE_PAYLOAD)
    if whole is not None and not _takes_objects(schemas.of(whole, Use("Request")), schemas):
        raise SetupError(
            f"{about} wants {WHOLE_PAYLOAD}, the payload as a whole, as something that is no "
            "object: give the parameter another name, to be sent under that."
        )
    request = native_request(Function.native(handler.function), schemas)
    _refuse_reserved(about, _keys(request, schemas))


def _refuse_reserved(about: str, keys: set[str]) -> None:
    if ACTION in keys:
        raise SetupError(
            f"{about} reads {ACTION!r}, which no payload can hold, as payload.{ACTION} says "
            "what is asked: give it another name, or the field of a model an alias."
        )


def _keys(schema: Schema, schemas: Schemas) -> set[str]:
    """Return the keys that *schema* names for an object."""
    known = followed(schema, schemas.components)
    keys = set(known.get("properties", {}))
    return keys.union(*(_keys(part, schemas) for part in _parts(known)))


def _parts(known: Schema) -> list[Schema]:
    return [part for kind in ("anyOf", "oneOf", "allOf") for part in known.get(kind, [])]


def _takes_objects(schema: Schema, schemas: Schemas) -> bool:
    known = followed(schema, schemas.components)
    parts = _parts(known)
    if parts:
        return any(_takes_objects(part, schemas) for part in parts)
    return bool(known.get("type", "object") == "object")
