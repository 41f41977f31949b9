"""Start-up: which route each handler stands for, and the mistakes that show only then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from attrs import frozen
from quart import Quart
from quart.views import View
from werkzeug.routing import Rule

from .errors import SetupError
from .registry import AnyFunction, Exposure, Handler, Registry, describe

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


def resolve(app: Quart, registry: Registry) -> Resolutions:
    """Find the route of each declared handler and of each exposed blueprint's views.

    Raises:
        SetupError: handlers that can't be matched with certainty, or wrappers that never run. It
            names each, and what to write instead.

    """
    views = {
        endpoint: _View(endpoint, view, _rules(app, endpoint))
        for endpoint, view in app.view_functions.items()
    }
    views = {endpoint: view for endpoint, view in views.items() if view.rules}
    problems: list[str] = []
    resolved: Resolutions = {}
    for key, handler in registry.handlers.items():
        try:
            resolved[key] = Resolved(handler, _route_of(handler, views))
        except SetupError as error:
            problems.extend(error.problems)
    for exposure in registry.exposures:
        try:
            for action, route in _crud_routes(app, exposure, views):
                key = (exposure.resource, action)
                if key not in resolved:
                    view = app.view_functions[route.endpoint]
                    resolved[key] = Resolved(Handler(*key, view), route)
        except SetupError as error:
            problems.extend(error.problems)
    problems.extend(_emissions_that_never_run(registry, views, resolved.values()))
    if problems:
        raise SetupError(*problems)
    return resolved


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

    def arguments(self) -> frozenset[str]:
        return frozenset(name for rule in self.rules for name in rule.arguments)

    def runs(self, function: AnyFunction) -> set[str] | None:
        """Return the methods under which this view certainly runs *function*, else None."""
        if _shares(_layers(self.function), _layers(function)):
            return self.methods()
        view_class = getattr(self.function, "view_class", None)
        if view_class is None:
            return None
        found = {
            method
            for method in self.methods()
            for name in (method.lower(), "dispatch_request")
            if _shares(_layers(getattr(view_class, name, None)), _layers(function))
        }
        return found or None

    def holds(self, function: AnyFunction) -> bool:
        """Tell whether *function* is to be found in it in any way, a call of it included."""
        inside = set(map(id, _inside(self.function)))
        return any(id(layer) in inside for layer in _layers(function))


def _layers(function: Any) -> list[AnyFunction]:
    """Return *function* and what it wraps by ``functools.wraps``, outermost first."""
    layers = []
    while isinstance(function, (FunctionType, MethodType, partial)) or callable(function):
        if isinstance(function, MethodType):
            function = function.__func__
        layers.append(function)
        inner = function.func if isinstance(function, partial) else None
        function = inner or getattr(function, "__wrapped__", None)
    return layers


def _shares(outer: list[AnyFunction], inner: list[AnyFunction]) -> bool:
    """Tell whether one of two stacks of wrappers stands within the other.

    Sharing some layer would not do: two views may wrap one and the same helper.
    """
    if not outer or not inner:
        return False
    return any(layer is inner[0] for layer in outer) or any(layer is outer[0] for layer in inner)


def _inside(function: Any) -> Iterator[Any]:
    """Yield all functions that *function* reaches: what it wraps, closes over or keeps."""
    seen: set[int] = set()
    waiting: list[Any] = [function]
    while waiting:
        current = waiting.pop()
        if id(current) in seen or not callable(current) or isinstance(current, Quart):
            continue
        seen.add(id(current))
        yield current
        waiting.extend(_parts(current))


def _parts(function: Any) -> Iterator[Any]:
    if isinstance(function, MethodType):
        yield function.__func__
        yield function.__self__
    elif isinstance(function, partial):
        yield function.func
        yield from function.args
        yield from function.keywords.values()
    elif isinstance(function, FunctionType):
        yield getattr(function, "__wrapped__", None)
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # The cell of a name that has no value yet.
                continue
    elif isinstance(function, type):
        if issubclass(function, View):
            yield from vars(function).values()
    else:
        yield from vars(function).values() if hasattr(function, "__dict__") else ()
    view_class = getattr(function, "view_class", None)
    if view_class is not None:
        yield view_class


def _route_of(handler: Handler, views: dict[str, _View]) -> Route | None:
    if handler.endpoint is False:
        _refuse_decorators_of_routes(handler)
        return None
    if handler.endpoint is not None:
        if handler.endpoint not in views:
            known = ", ".join(sorted(views))
            raise SetupError(
                f"{handler.name}: there is no endpoint {handler.endpoint!r}; there are {known}."
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
    rules = [rule.rule for rule in view.rules if route.method in (rule.methods or ())]
    if len(rules) > 1:
        raise SetupError(
            f"{handler.name}: {describe(handler.function)} has several rules "
            f'({", ".join(rules)}); write endpoint="{view.endpoint}" to have the payload\'s keys '
            "choose between them, or give each rule an endpoint of its own."
        )
    return route


def _one_method(handler: Handler, view: _View, methods: set[str]) -> Route:
    if handler.method is not None:
        method = handler.method.upper()
        if method not in methods:
            raise SetupError(
                f"{handler.name}: {view.endpoint!r} doesn't run {describe(handler.function)} for "
                f"{method}, but for {', '.join(sorted(methods))}."
            )
    elif len(methods) != 1:
        choices = " or ".join(f'method="{method}"' for method in sorted(methods))
        raise SetupError(
            f"{handler.name}: {view.endpoint!r} answers several methods; name one: {choices}."
        )
    else:
        (method,) = methods
    return Route(view.endpoint, method, view.arguments())


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
    for layer in _layers(handler.function):
        module = str(getattr(layer, "__globals__", {}).get("__name__", ""))
        package = module.partition(".")[0]
        if package in _DECORATORS_OF_ROUTES:
            raise SetupError(
                f"{handler.name}: {describe(handler.function)} has no route, so a decorator of "
                f"{package} finds no request: {_DECORATORS_OF_ROUTES[package]}. If it is meant "
                "to have a route, register that on the app before it starts."
            )


def _crud_routes(
    app: Quart, exposure: Exposure, views: dict[str, _View]
) -> Iterable[tuple[str, Route]]:
    """Yield the actions of an exposed blueprint with their routes.

    The collection is the blueprint's shortest path, an item that path and one variable more;
    other routes of the blueprint are left alone.
    """
    prefixes = tuple(
        f"{name}." for name, blueprint in app.blueprints.items() if blueprint is exposure.blueprint
    )
    if not prefixes:
        raise SetupError(
            f"expose(…, {exposure.resource!r}): the blueprint {exposure.blueprint.name!r} isn't "
            "registered on this app; call app.register_blueprint before it starts."
        )
    own = [view for endpoint, view in views.items() if endpoint.startswith(prefixes)]
    paths = [rule.rule.rstrip("/") for view in own for rule in view.rules]
    collections = [path for path in paths if not path.endswith(">")]
    if not collections:
        raise SetupError(
            f"expose(…, {exposure.resource!r}): the blueprint {exposure.blueprint.name!r} has no "
            'collection, such as "/messages"; put @realtime.handler on its views instead.'
        )
    collection = min(collections, key=len)
    found: dict[str, Route] = {}
    for view in own:
        for rule in view.rules:
            for action, method in _crud_actions(rule, collection):
                route = Route(view.endpoint, method, frozenset(rule.arguments))
                other = found.setdefault(action, route)
                if other.endpoint != view.endpoint:
                    raise SetupError(
                        f"expose(…, {exposure.resource!r}): both {other.endpoint!r} and "
                        f"{view.endpoint!r} would be {exposure.resource}.{action}; put "
                        f'@realtime.handler("{exposure.resource}", "{action}") on the one meant.'
                    )
    return found.items()


def _crud_actions(rule: Rule, collection: str) -> Iterator[tuple[str, str]]:
    methods = rule.methods or set()
    path = rule.rule.rstrip("/")
    if path == collection:
        if "GET" in methods:
            yield "get_all", "GET"
        if "POST" in methods:
            yield "create", "POST"
        return
    parent, _, last = path.rpartition("/")
    if parent != collection or not (last.startswith("<") and last.endswith(">")):
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
        if any(emission.wrapper in _inside(view.function) for view in views.values()):
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
    return any(layer is function for layer in _layers(outer))
