"""Start-up: which route each handler stands for, and the mistakes that show only then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import frozen
from quart import Quart
from werkzeug.routing import Rule

from . import wrappers
from .errors import SetupError
from .registry import AnyFunction, Exposure, Handler, Registry, describe
from .settings import BLUEPRINT

logger = logging.getLogger("quart_realtime")

BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
"""The methods of which a payload becomes the body; of others it becomes the query."""
_AUTOMATIC_METHODS = frozenset({"HEAD", "OPTIONS"})
_EDIT_METHODS = ("PATCH", "PUT")
_DECORATORS_OF_ROUTES = {
    "quart_jwt_extended": "leave it out, a login is required unless you write login=False",
    "quart_schema": "leave it out and annotate the parameters, or data for the whole payload",
}


@frozen
class Route:
    """A handler's endpoint and method; its URL is built from these and the payload."""

    endpoint: str
    method: str
    arguments: frozenset[str]


@frozen(eq=False)
class Resolved:
    """A handler with the route it stands for, None for a native one."""

    handler: Handler
    route: Route | None


Resolutions = dict[tuple[str, str], Resolved]


def resolve(app: Quart, registry: Registry) -> tuple[Resolutions, list[str]]:
    """Find the route of each declared handler and of each exposed blueprint's views.

    Returns:
        What was found, and complaints about handlers that can't be matched with certainty and
        about wrappers that never run: each names the function and what to write instead.
    """
    views = {
        endpoint: _View(endpoint, view, _rules(app, endpoint))
        for endpoint, view in app.view_functions.items()
    }
    own = f"{BLUEPRINT}."  # Our views reach every handler, and wrap none.
    views = {name: view for name, view in views.items() if view.rules and not name.startswith(own)}
    elsewhere = wrappers.Elsewhere(app)
    problems: list[str] = []
    resolved: Resolutions = {}
    for key, handler in registry.handlers.items():
        try:
            route = _route_of(handler, views)
            native = route is None and handler.endpoint is not False
            owner = elsewhere.owner(handler.function) if native else None
        except SetupError as error:
            problems.extend(error.problems)
        else:
            if owner is None:
                resolved[key] = Resolved(handler, route)
            else:
                # Without its route it would answer without its guards; over HTTP it is a 404 too.
                logger.warning(
                    "%s is not served: %s belongs to %s, which isn't registered on this app; "
                    "write endpoint=False to have it answer without a route",
                    handler.name,
                    describe(handler.function),
                    owner,
                )
    for exposure in registry.exposures:
        try:
            _add_exposed(app, exposure, views, resolved)
        except SetupError as error:
            problems.extend(error.problems)
    problems.extend(_emissions_that_never_run(registry, views, resolved.values()))
    return resolved, problems


def rules_of(app: Quart, route: Route) -> list[Rule]:
    """Return the URL rules of *route*."""
    return [rule for rule in _rules(app, route.endpoint) if route.method in (rule.methods or ())]


def _rules(app: Quart, endpoint: str) -> list[Rule]:
    try:
        rules = list(app.url_map.iter_rules(endpoint))
    except KeyError:
        return []
    return [rule for rule in rules if not rule.websocket]


@frozen(eq=False)
class _View:
    """A view function with its rules, and the functions that are to be found inside of it."""

    endpoint: str
    function: AnyFunction
    rules: list[Rule]

    def methods(self) -> set[str]:
        return {method for rule in self.rules for method in rule.methods or ()} - _AUTOMATIC_METHODS

    def route(self, method: str) -> Route:
        rules = self.rules_for(method)
        arguments = frozenset(name for rule in rules for name in rule.arguments)
        return Route(self.endpoint, method, arguments)

    def rules_for(self, method: str) -> list[Rule]:
        return [rule for rule in self.rules if method in (rule.methods or ())]

    def runs(self, function: AnyFunction) -> set[str] | None:
        """Return the methods under which this view certainly runs *function*, else None."""
        if wrappers.runs(self.function, function):
            return self.methods()
        view_class = getattr(self.function, "view_class", None)
        if view_class is None:
            return None
        found = {
            method
            for method in self.methods()
            for name in (method.lower(), "dispatch_request")
            if wrappers.runs(getattr(view_class, name, None), function)
        }
        return found or None

    def holds(self, function: AnyFunction) -> bool:
        """Tell whether *function* is to be found in it in any way, a call of it included."""
        return wrappers.holds(self.function, function)

    def keeps(self, wrapper: AnyFunction) -> bool:
        """Tell whether this very *wrapper* is somewhere in it."""
        return wrappers.keeps(self.function, wrapper)


def _route_of(handler: Handler, views: dict[str, _View]) -> Route | None:
    if handler.endpoint is False:
        _refuse_decorators_of_routes(handler)
        return None
    if handler.endpoint is not None:
        if handler.endpoint not in views:
            known = ", ".join(sorted(views))
            raise SetupError(
                f"{handler.name}: there is no endpoint {handler.endpoint!r}, which "
                f"{describe(handler.function)} names; there are {known}."
            )
        view = views[handler.endpoint]
        return _one_method(handler, view, view.runs(handler.function) or view.methods())
    matches = [
        (view, methods)
        for view in views.values()
        if (methods := view.runs(handler.function)) is not None
    ]
    if not matches:
        _refuse_hidden(handler, views)
        _refuse_decorators_of_routes(handler)
        return None
    if len(matches) > 1:
        endpoints = " or ".join(f'endpoint="{view.endpoint}"' for view, _ in matches)
        raise SetupError(
            f"{handler.name}: {describe(handler.function)} is the view of several endpoints; "
            f"name one: {endpoints}."
        )
    view, methods = matches[0]
    route = _one_method(handler, view, methods)
    rules = [rule.rule for rule in view.rules_for(route.method)]
    if len(rules) > 1:
        raise SetupError(
            f"{handler.name}: {describe(handler.function)} has several rules "
            f'({", ".join(rules)}); write endpoint="{view.endpoint}" to have the payload\'s keys '
            "choose between them, or give each rule an endpoint of its own."
        )
    return route


def _refuse_host(handler: Handler, view: _View) -> None:
    if any(rule.subdomain or rule.host for rule in view.rules):
        raise SetupError(
            f"{handler.name}: the route {view.endpoint!r} of {describe(view.function)} is bound "
            "to a subdomain or a host, and can't answer over the socket; give it a rule without "
            "one."
        )


def _one_method(handler: Handler, view: _View, methods: set[str]) -> Route:
    _refuse_host(handler, view)
    if handler.method is not None:
        method = handler.method.upper()
        if method not in methods:
            raise SetupError(
                f"{handler.name}: {view.endpoint!r} doesn't run {describe(handler.function)} for "
                f"{method}, but for {', '.join(sorted(methods))}."
            )
    elif not methods:
        raise SetupError(
            f"{handler.name}: {describe(view.function)} answers only HEAD and OPTIONS, which no "
            "request over the socket can stand for; give it a route of another method."
        )
    elif len(methods) != 1:
        choices = " or ".join(f'method="{method}"' for method in sorted(methods))
        raise SetupError(
            f"{handler.name}: {describe(handler.function)} answers several methods; name one: "
            f"{choices}."
        )
    else:
        (method,) = methods
    return view.route(method)


def _refuse_hidden(handler: Handler, views: dict[str, _View]) -> None:
    """Refuse a handler that some view seems to wrap in a way that can't be seen through.

    Taken for a native handler it would run without whatever the view's wrapper checks.
    """
    for view in views.values():
        if view.holds(handler.function):
            raise SetupError(
                f"{handler.name}: the view {view.endpoint!r} contains "
                f"{describe(handler.function)}, but not by functools.wraps, so whether it wraps "
                "it can't be told. If it does, put @functools.wraps(function) on the decorator's "
                f'inner function, or write endpoint="{view.endpoint}". If it only calls it, '
                "write endpoint=False: the handler then runs without the route."
            )


def _refuse_decorators_of_routes(handler: Handler) -> None:
    """Refuse a native handler with a decorator that would look for an HTTP request."""
    for layer in wrappers.layers(handler.function):
        module = str(getattr(layer, "__globals__", {}).get("__name__", ""))
        package = module.partition(".")[0]
        if package in _DECORATORS_OF_ROUTES:
            raise SetupError(
                f"{handler.name}: {describe(handler.function)} has no route, so a decorator of "
                f"{package} finds no request: {_DECORATORS_OF_ROUTES[package]}. If it is meant "
                "to have a route, register that on the app before it starts."
            )


def _add_exposed(
    app: Quart, exposure: Exposure, views: dict[str, _View], resolved: Resolutions
) -> None:
    """Add the actions of an exposed blueprint, but for views that have a handler of their own."""
    own = {item.route for item in resolved.values()}
    for action, route in _crud_routes(app, exposure, views).items():
        key = (exposure.resource, action)
        if route in own:
            continue
        if key in resolved:
            if resolved[key].handler.exposed:
                raise SetupError(
                    f"{exposure.resource}.{action} is exposed by two blueprints, by expose at "
                    f"{exposure.place} for the second time: give one of them another resource."
                )
            continue
        view = app.view_functions[route.endpoint]
        handler = Handler(*key, view, login=exposure.login, exposed=True)
        resolved[key] = Resolved(handler, route)


def _crud_routes(app: Quart, exposure: Exposure, views: dict[str, _View]) -> dict[str, Route]:
    """Return the actions of an exposed blueprint with their routes.

    The collection ends in the name of what is collected, ``/users/<id>/messages``, and an item in
    that and a variable, ``/messages/<id>``; other routes of the blueprint are left alone.
    """
    about = (
        f"expose(…, {exposure.resource!r}) at {exposure.place}: the blueprint "
        f"{exposure.blueprint.name!r}"
    )
    prefixes = tuple(
        f"{name}." for name, blueprint in app.blueprints.items() if blueprint is exposure.blueprint
    )
    if not prefixes:
        raise SetupError(
            f"{about} isn't registered on this app; call app.register_blueprint before it starts."
        )
    own = [view for endpoint, view in views.items() if endpoint.startswith(prefixes)]
    collected = {_collected(rule) for view in own for rule in view.rules}
    name = exposure.resource if exposure.resource in collected else None
    if name is None:
        if len(collected) != 1:
            raise SetupError(
                f"{about} has routes for {', '.join(sorted(collected)) or 'nothing'}; name one of "
                "these as the resource, or put @realtime.handler on its views instead."
            )
        (name,) = collected
    found: dict[str, Route] = {}
    for view in own:
        for rule in view.rules:
            if _collected(rule) != name:
                continue
            for action, method in _crud_actions(rule):
                route = Route(view.endpoint, method, frozenset(rule.arguments))
                if found.setdefault(action, route) != route:
                    raise SetupError(
                        f"{about}: both {found[action].endpoint!r} and {view.endpoint!r} would be "
                        f"{exposure.resource}.{action}; put "
                        f'@realtime.handler("{exposure.resource}", "{action}") on the one meant.'
                    )
    return found


def _collected(rule: Rule) -> str:
    """Return the name of what *rule* is about: the last part of its path that is no variable."""
    parts = [part for part in rule.rule.split("/") if part]
    if parts and _is_variable(parts[-1]):
        parts.pop()
    return parts[-1] if parts else ""


def _is_variable(part: str) -> bool:
    return part.startswith("<") and part.endswith(">")


def _crud_actions(rule: Rule) -> Iterator[tuple[str, str]]:
    methods = rule.methods or set()
    if not _is_variable(rule.rule.rstrip("/").rpartition("/")[2]):
        if "GET" in methods:
            yield "get_all", "GET"
        if "POST" in methods:
            yield "create", "POST"
        return
    if "GET" in methods:
        yield "get", "GET"
    for method in _EDIT_METHODS:
        if method in methods:
            yield "update", method
            break
    if "DELETE" in methods:
        yield "delete", "DELETE"


def _emissions_that_never_run(
    registry: Registry, views: dict[str, _View], resolved: Iterable[Resolved]
) -> Iterator[str]:
    """Complain of emissions that stand outside of what the app runs."""
    native = [item.handler.function for item in resolved if item.route is None]
    for emission in registry.emissions:
        if any(wrappers.keeps(view.function, emission.wrapper) for view in views.values()):
            continue
        if any(_within(emission.wrapper, function) for function in native):
            continue
        if any(_within(view.function, emission.function) for view in views.values()):
            yield (
                f'emits("{emission.event}") stands above the route of '
                f"{describe(emission.function)}, so it never runs: put it below @app.post(…)."
            )
        elif any(_within(function, emission.function) for function in native):
            yield (
                f'emits("{emission.event}") stands above @realtime.handler of '
                f"{describe(emission.function)}, so it never runs: put it below."
            )


def _within(function: Callable[..., Any], outer: Callable[..., Any]) -> bool:
    return any(layer is function for layer in wrappers.layers(outer))
