"""Start-up: which route each handler stands for, and the mistakes that show only then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from attrs import frozen
from quart import Quart
from quart.views import View
from werkzeug.local import LocalProxy
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
            _add_exposed(app, exposure, views, resolved)
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

    def route(self, method: str) -> Route:
        rules = self.rules_for(method)
        arguments = frozenset(name for rule in rules for name in rule.arguments)
        return Route(self.endpoint, method, arguments)

    def rules_for(self, method: str) -> list[Rule]:
        return [rule for rule in self.rules if method in (rule.methods or ())]

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
        # A proxy such as current_connection stands for something only within a request.
        if type(current) is LocalProxy or isinstance(current, Quart):
            continue
        if id(current) in seen or not callable(current):
            continue
        seen.add(id(current))
        yield current
        waiting.extend(_parts(current))


def _parts(function: Any) -> Iterator[Any]:
    """Yield whatever *function* holds directly and could call."""
    if isinstance(function, MethodType):
        yield function.__func__
        yield function.__self__
    elif isinstance(function, partial):
        yield function.func
        yield from _contents([*function.args, *function.keywords.values()])
    elif isinstance(function, FunctionType):
        yield from vars(function).values()
        yield from _contents(_cells(function))
        yield from _contents(function.__defaults__ or ())
        yield from _contents((function.__kwdefaults__ or {}).values())
    elif isinstance(function, type):
        if issubclass(function, View):
            yield from vars(function).values()
    else:
        yield from _contents(getattr(function, "__dict__", {}).values())
        for base in type(function).__mro__:
            slots = base.__dict__.get("__slots__", ())
            names = (slots,) if isinstance(slots, str) else slots
            yield from _contents(getattr(function, name, None) for name in names)


def _cells(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # The cell of a name that has no value yet.
            continue


def _contents(values: Iterable[Any]) -> Iterator[Any]:
    """Yield *values*, and the items of those that are plain containers."""
    for value in values:
        if type(value) in (list, tuple, set, frozenset):
            yield from value
        elif type(value) is dict:
            yield from value.values()
        else:
            yield value


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
    rules = [rule.rule for rule in view.rules_for(route.method)]
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
    elif not methods:
        raise SetupError(
            f"{handler.name}: {view.endpoint!r} answers only HEAD and OPTIONS, which no request "
            "over the socket can stand for."
        )
    elif len(methods) != 1:
        choices = " or ".join(f'method="{method}"' for method in sorted(methods))
        raise SetupError(
            f"{handler.name}: {view.endpoint!r} answers several methods; name one: {choices}."
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
    for layer in _layers(handler.function):
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
                    f"{exposure.resource}.{action} is exposed by two blueprints: give one of "
                    "them another resource."
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
    about = f"expose(…, {exposure.resource!r}): the blueprint {exposure.blueprint.name!r}"
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
