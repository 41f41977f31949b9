"""What a view wraps: the functions to be found inside of it, in plain sight or hidden."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from functools import cached_property, partial
from itertools import compress
from types import FunctionType, MethodType, ModuleType
from typing import Any

from quart import Blueprint, Quart
from quart.views import View
from werkzeug.local import LocalProxy

from .registry import AnyFunction, Registry
from .settings import BLUEPRINT

# Whatever reaches these reaches everything, and wraps none of it.
_CROSSROADS = (Quart, Blueprint, Registry, ModuleType, LocalProxy, logging.Logger)
_DEPTH = 5
"""Through how many objects a function may be kept: a cell, an object, its dictionary, a list."""


def layers(function: Any) -> list[AnyFunction]:
    """Return *function* and what it wraps by ``functools.wraps``, outermost first."""
    found = []
    while callable(function):
        if isinstance(function, MethodType):
            function = function.__func__
        found.append(function)
        inner = function.func if isinstance(function, partial) else None
        function = inner or getattr(function, "__wrapped__", None)
    return found


def runs(outer: Any, inner: Any) -> bool:
    """Tell whether of two stacks of wrappers one stands within the other.

    Sharing some layer would not do: two views may wrap one and the same helper.
    """
    above, below = layers(outer), layers(inner)
    if not above or not below:
        return False
    return any(layer is below[0] for layer in above) or any(layer is above[0] for layer in below)


def keeps(view: Any, wrapper: AnyFunction) -> bool:
    """Tell whether *view* has this very *wrapper* in it; what that wraps doesn't count."""
    return any(found is wrapper for found in _inside(view))


def holds(view: Any, function: AnyFunction) -> bool:
    """Tell whether *view* has *function* in it in any way, hidden or merely called.

    Args:
        view: Where to look: in what it wraps, closes over and has as defaults, in objects and
            containers that it reaches through these, and in the methods of a view class.
        function: What to look for, or anything that it wraps.
    """
    wanted = {id(layer) for layer in layers(function)}
    return any(id(found) in wanted for found in _inside(view))


def _inside(function: Any) -> Iterator[Any]:
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(function, 0)]
    while waiting:
        current, depth = waiting.pop()
        # By type() alone: isinstance() would ask a proxy for what it stands for.
        if id(current) in seen or issubclass(type(current), _CROSSROADS):
            continue
        if isinstance(current, type) and not issubclass(current, View):
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, FunctionType):
            waiting += [(part, 0) for part in _parts(current)]
        elif depth < _DEPTH:
            waiting += [(part, depth + 1) for part in gc.get_referents(current)]


def _parts(function: FunctionType) -> Iterator[Any]:
    """Yield what a function keeps of its own; not the globals, which it shares with others."""
    yield from vars(function).values()
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # The cell of a name that has no value yet.
            continue


def _everything(*kinds: type) -> Iterator[Any]:
    """Yield all objects of such *kinds* that there are in this process."""
    objects = gc.get_objects()
    # A process has some hundred thousand objects, and some thousand types.
    types = list(map(type, objects))
    wanted = {each for each in set(types) if issubclass(each, kinds)}
    return compress(objects, map(wanted.__contains__, types))


def _views_of(app: Quart) -> list[AnyFunction]:
    """Return an app's views but for our own, which reaches every handler and wraps none."""
    return [
        view
        for endpoint, view in app.view_functions.items()
        if not endpoint.startswith(f"{BLUEPRINT}.")
    ]


class Elsewhere:
    """The views of blueprints and apps of this process that are no part of *app*."""

    def __init__(self, app: Quart) -> None:
        self._app = app

    @cached_property
    def _places(self) -> list[tuple[str, set[int]]]:
        own = {id(self._app), *map(id, self._app.blueprints.values())}
        places = []
        for thing in _everything(Blueprint, Quart):
            if id(thing) in own:
                continue
            if isinstance(thing, Quart):
                label, views = f"the app {thing.name!r}", _views_of(thing)
            elif thing.name != BLUEPRINT:
                label, views = f"the blueprint {thing.name!r}", thing.deferred_functions
            else:
                continue
            places.append((label, {id(found) for view in views for found in _inside(view)}))
        return places

    def owner(self, function: AnyFunction) -> str | None:
        """Name the one that has *function* in a view, None where none has."""
        wanted = {id(layer) for layer in layers(function)}
        return next((label for label, inside in self._places if inside & wanted), None)
