"""One app looked at: its routes, functions, events and rooms become a contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quart import Quart

from .contract import Contract, EventContract, Operation, RoomContract
from .errors import SetupError
from .protocol import HistoryPolicy
from .registry import Emission, HistoryPolicies, Registry, RoomRule, annotations_of
from .routes import Resolved, resolve, rules_of
from .schemas import Schema, Schemas, Use, followed, reachable_from, union
from .settings import Settings
from .signatures import (
    Function,
    documentation_of,
    native_request,
    origin_of,
    response_of,
    route_request,
    value_schema,
)
from .wrappers import keeps, layers

_TOKEN_NAMES = {
    "headers": "JWT_HEADER_NAME",
    "cookies": "JWT_ACCESS_COOKIE_NAME",
    "query_string": "JWT_QUERY_STRING_NAME",
}


def contract_of(app: Quart, registry: Registry, settings: Settings) -> Contract:
    """Return all that a client may use of *app*; nothing is started, and no broker asked.

    Raises:
        SetupError: some handler's route can't be made out, or annotations can't be read.
    """
    resolved, problems = resolve(app, registry)
    if problems:
        raise SetupError(*problems)
    schemas = Schemas()
    # Events and native handlers first, so that what quart-schema renames isn't what gives a name.
    events = [_event(app, registry, name, schemas) for name in _event_names(registry)]
    operations = [
        _operation(app, item, schemas)
        for item in sorted(resolved.values(), key=lambda item: item.handler.name)
    ]
    default = HistoryPolicy(settings.history_size, settings.history_ttl)
    policies = HistoryPolicies(registry, default)
    rooms = [_room(rule, policies, schemas) for rule in registry.rooms]
    used = reachable_from(
        [
            *(event.schema for event in events),
            *(schema for item in operations for schema in (item.request, item.response)),
            *(schema for room in rooms for schema in room.variables.values()),
        ],
        schemas.components,
    )
    title, version, description = _information(app)
    return Contract(
        title,
        version,
        description,
        settings.url,
        tuple(operations),
        tuple(events),
        tuple(rooms),
        {name: schema for name, schema in schemas.components.items() if name in used},
        tuple(_locations(app)),
        {name: str(app.config.get(key, "")) for name, key in _TOKEN_NAMES.items()},
        default,
        settings.max_message_size,
        settings.rate_limit,
    )


def _information(app: Quart) -> tuple[str, str, str]:
    info = getattr(app.extensions.get("QUART_SCHEMA"), "info", None)
    title = getattr(info, "title", None) or app.name
    version = getattr(info, "version", None) or "0.1.0"
    return title, version, getattr(info, "description", None) or ""


def _locations(app: Quart) -> list[str]:
    locations = app.config.get("JWT_TOKEN_LOCATION", ("headers",))
    return [locations] if isinstance(locations, str) else sorted(locations)


def _operation(app: Quart, resolved: Resolved, schemas: Schemas) -> Operation:
    handler, route = resolved.handler, resolved.route
    if route is None:
        function = Function.native(handler.function)
        request, origin = native_request(function, schemas), None
    else:
        function = Function.of_route(app, route, handler.function)
        rules = rules_of(app, route)
        request = route_request(function, route, rules, schemas)
        origin = origin_of(function, route, rules)
    summary, description = documentation_of(function.inner)
    return Operation(
        handler.resource,
        handler.action,
        request,
        response_of(function, schemas),
        summary,
        description,
        handler.login,
        handler.rate_limit,
        handler.timeout,
        origin,
    )


# Events


def _event_names(registry: Registry) -> list[str]:
    return sorted({*registry.events, *(emission.event for emission in registry.emissions)})


def _event(app: Quart, registry: Registry, name: str, schemas: Schemas) -> EventContract:
    declared = registry.events.get(name)
    emissions = [emission for emission in registry.emissions if emission.event == name]
    if declared is not None and declared.schema is not None:
        schema = schemas.of(declared.schema, Use("Event", output=True))
    else:
        schema = union([_emitted(app, emission, schemas) for emission in emissions])
    given = [emission.room for emission in emissions] or [None]
    sources = [registry.rooms_of_event(name, room) for room in given]
    rooms: list[str] = []
    chosen_by: list[str] = []
    for source in sources:
        if callable(source):
            chosen_by.append(getattr(source, "__qualname__", repr(source)))
        elif source is not None:
            rooms += [source] if isinstance(source, str) else source
    return EventContract(
        name,
        schema,
        tuple(dict.fromkeys(rooms)),
        tuple(dict.fromkeys(chosen_by)),
        # One that is only declared, and for no room, is told by notify, which says where to.
        bool(emissions) and None in sources,
        declared is None or declared.history,
        tuple(layers(emission.function)[-1].__qualname__ for emission in emissions),
    )


def _emitted(app: Quart, emission: Emission, schemas: Schemas) -> Schema:
    """Return what *emission* sends, as far as its view tells."""
    if callable(emission.data):
        expected = annotations_of(emission.data).get("return", Any)
        return schemas.of(expected, Use("Event", output=True, by_alias=False))
    view = next((v for v in app.view_functions.values() if keeps(v, emission.wrapper)), None)
    around = dict.fromkeys([*layers(view), *layers(emission.wrapper)])
    function = Function(layers(emission.function)[-1], tuple(around))
    schema = value_schema(function, schemas)
    if schema == {"type": "null"}:
        return {"type": "object"}  # Without a body it is the view's arguments.
    if emission.data is None:
        return schema
    return union([*_members(schema, emission.data, schemas)])


def _members(schema: Schema, name: str, schemas: Schemas) -> Iterator[Schema]:
    """Yield what the key *name* of *schema* may be."""
    known = followed(schema, schemas.components)
    if "anyOf" in known:
        for part in known["anyOf"]:
            yield from _members(part, name, schemas)
    else:
        more = known.get("additionalProperties")
        yield known.get("properties", {}).get(name, more if isinstance(more, dict) else {})


# Rooms


def _room(rule: RoomRule, policies: HistoryPolicies, schemas: Schemas) -> RoomContract:
    hints: dict[str, Any] = rule.annotations
    use = Use("Variable")
    variables = {
        name: schemas.of(hints.get(name, int if kind == "int" else str), use)
        for name, kind in rule.kinds.items()
    }
    summary, _ = documentation_of(rule.may_join)
    return RoomContract(rule.pattern, variables, rule.presence, policies.of_rule(rule), summary)
