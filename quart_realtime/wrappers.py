"""What a view wraps: the functions to be found inside of it, in plain sight or hidden."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

from quart import Blueprint, Quart
from quart.views import View
from werkzeug.local import LocalProxy

AnyFunction = Callable[..., Any]

# Whatever reaches these reaches everything, and wraps none of it.
_CROSSROADS = (Quart, Blueprint, ModuleType, LocalProxy, logging.Logger)
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


def keeps(view: Any, wrapper: AnyFunction, *, beyond: tuple[type, ...] = ()) -> bool:
    """Tell whether *view* has this very *wrapper* in it; what that wraps doesn't count."""
    return any(found is wrapper for found in _inside(view, _CROSSROADS + beyond))


def holds(view: Any, function: AnyFunction, *, beyond: tuple[type, ...] = ()) -> bool:
    """Tell whether *view* has *function* in it in any way, hidden or merely called.

    Args:
        view: Where to look: in what it wraps, closes over and has as defaults, in objects and
            containers that it reaches through these, and in the methods of a view class.
        function: What to look for, or anything that it wraps.
        beyond: Types of objects that aren't looked into.
    """
    wanted = {id(layer) for layer in layers(function)}
    return any(id(found) in wanted for found in _inside(view, _CROSSROADS + beyond))


def _inside(function: Any, beyond: tuple[type, ...]) -> Iterator[Any]:
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(function, 0)]
    while waiting:
        current, depth = waiting.pop()
        # By type() alone: isinstance() would ask a proxy for what it stands for.
        if id(current) in seen or issubclass(type(current), beyond):
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


def strangers(app: Quart) -> list[Blueprint | Quart]:
    """Return the blueprints and apps of this process that are no part of *app*."""
    own = {id(app), *map(id, app.blueprints.values())}
    return [
        thing
        for thing in gc.get_objects()
        if issubclass(type(thing), (Blueprint, Quart)) and id(thing) not in own
    ]


def owner(candidates: list[Blueprint | Quart], function: AnyFunction) -> str | None:
    """Name the one of *candidates* that has *function* in a view, None where none has."""
    for candidate in candidates:
        if isinstance(candidate, Quart):
            if any(runs(view, function) for view in candidate.view_functions.values()):
                return f"the app {candidate.name!r}"
        elif any(holds(deferred, function) for deferred in candidate.deferred_functions):
            return f"the blueprint {candidate.name!r}"
    return None
