"""What an app has declared: handlers, events, rooms, listeners and hooks; and their lookup."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property, lru_cache, partial
from types import FrameType, FunctionType
from typing import Any, Literal, TypeVar, cast

from attrs import define, field, frozen

from .errors import InvalidPayload, SetupError
from .models import convert
from .options import EVENT, HANDLER, ROOM, check_options
from .protocol import (
    EVERYONE,
    MAX_ID_LENGTH,
    HistoryPolicy,
    is_room_name,
    is_short_name,
)

AnyFunction = Callable[..., Any]
RoomSource = str | AnyFunction | Iterable[str] | None
F = TypeVar("F", bound=AnyFunction)


@frozen
class Handler:
    """A function that answers requests, as declared.

    *endpoint* None leaves it to start-up to find the function's route, a name chooses it, and
    False says that it has none. *exposed* tells that it stands for a route of a whole blueprint.
    """

    resource: str
    action: str
    function: AnyFunction
    login: bool = True
    timeout: float | None = None
    rate_limit: str | None = None
    endpoint: str | Literal[False] | None = None
    method: str | None = None
    exposed: bool = False

    @property
    def name(self) -> str:
        """The name in logs and messages: ``messages.create``."""
        return f"{self.resource}.{self.action}"


@frozen(eq=False)
class Exposure:
    """A blueprint whose CRUD routes all answer requests, and where that is written."""

    blueprint: Any
    resource: str
    login: bool = True
    place: str = "?"


@frozen(eq=False)
class EventType:
    """An event by name: what its data must be, where it goes by default, and if rooms keep it.

    *place* is where it is declared.
    """

    name: str
    schema: Any = None
    room: RoomSource = None
    history: bool = True
    place: str = "?"


@frozen(eq=False)
class Emission:
    """A function that tells an event each time it has succeeded."""

    event: str
    function: AnyFunction
    wrapper: AnyFunction
    room: RoomSource = None
    data: str | AnyFunction | None = None
    when: AnyFunction | None = None
    others_only: bool = False


_VARIABLE = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>[A-Za-z_]\w*)>")
# A number has one name: were leading zeros taken, one room would have many.
_KINDS = {None: "[^:]+", "string": "[^:]+", "int": "0|[1-9][0-9]{0,17}", "path": ".+"}


@frozen(eq=False, slots=False)
class RoomRule:
    """A pattern of room names, and the function that says who may join them."""

    pattern: str
    may_join: AnyFunction
    presence: bool = False
    history: HistoryPolicy | int | None = None
    expression: re.Pattern[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        about = f"The room pattern {self.pattern!r} of {describe(self.may_join)}"
        check_options(about, ROOM, **{name: getattr(self, name) for name in ROOM})
        expression = _compile(self.pattern, describe(self.may_join))
        object.__setattr__(self, "expression", expression)

    def match(self, room: str) -> dict[str, str | int] | None:
        """Return the variables in *room*, or None where it isn't of this pattern."""
        match = self.expression.fullmatch(room)
        if match is None:
            return None
        kinds = self.kinds
        return {
            name: int(text) if kinds[name] == "int" else text
            for name, text in match.groupdict().items()
        }

    @cached_property
    def kinds(self) -> dict[str, str]:
        """What kind each variable is of: ``string``, ``int`` or ``path``."""
        found = _VARIABLE.finditer(self.pattern)
        return {variable["name"]: variable["kind"] or "string" for variable in found}

    @property
    def rooms(self) -> str:
        """The pattern whatever its variables are called: patterns alike in it match one another."""
        return _VARIABLE.sub(lambda found: f"<{found['kind'] or 'string'}>", self.pattern)

    @cached_property
    def annotations(self) -> dict[str, Any]:
        """What the function says its variables are."""
        return annotations_of(self.may_join)

    def arguments(self, variables: Mapping[str, str | int]) -> dict[str, Any] | None:
        """Convert *variables* as the function annotates them; None where they don't fit."""
        try:
            return {
                name: _as_annotated(value, self.annotations.get(name, Any))
                for name, value in variables.items()
            }
        except InvalidPayload:
            return None


def _as_annotated(value: str | int, expected: Any) -> Any:
    """Convert a variable to *expected*; a number that is wanted as text is its digits."""
    try:
        return convert(value, expected, strict=False)
    except InvalidPayload:
        if isinstance(value, str):
            raise
        return convert(str(value), expected, strict=False)


def _compile(pattern: str, owner: str) -> re.Pattern[str]:
    """Compile a room pattern: literal text and ``<name>``, ``<int:name>``, ``<path:name>``."""
    expression, end = "", 0
    about = f"Room pattern {pattern!r} of {owner}"
    for variable in _VARIABLE.finditer(pattern):
        if variable["kind"] not in _KINDS:
            raise SetupError(
                f"{about}: there is no <{variable['kind']}:…>; "
                "write <name>, <int:name> or <path:name>."
            )
        expression += re.escape(pattern[end : variable.start()])
        expression += f"(?P<{variable['name']}>{_KINDS[variable['kind']]})"
        end = variable.end()
    rest = pattern[end:]
    if "{" in pattern or "}" in pattern:
        raise SetupError(f"{about}: here variables are written <name>.")
    if "<" in rest or ">" in rest or not is_room_name(pattern):
        raise SetupError(
            f'{about} can\'t be read: write one such as "conversation:<conversation_id>".'
        )
    try:
        return re.compile(expression + re.escape(rest))
    except re.error as error:
        raise SetupError(f"{about} can't be read: {error}.") from None


def called(function: AnyFunction) -> AnyFunction:
    """Return what runs when *function* is called, for Quart to see whether that is a coroutine.

    An object with a ``__call__`` and a staticmethod show it only from inside.
    """
    if isinstance(function, FunctionType):
        return function  # Nearly all are; the rest of it takes longer than many a function.
    if isinstance(function, staticmethod):
        return function.__func__
    call = inspect.getattr_static(type(function), "__call__", None)
    return cast(AnyFunction, call.__get__(function)) if isinstance(call, FunctionType) else function


def annotations_of(function: AnyFunction) -> dict[str, Any]:
    """Return the evaluated annotations of *function*.

    Raises:
        SetupError: one of them can't be evaluated, so that nothing could be checked against it.
    """
    inner = called(inspect.unwrap(function))
    try:
        return inspect.get_annotations(inner, eval_str=True)
    except (NameError, SyntaxError, TypeError, AttributeError) as error:
        raise SetupError(
            f"The annotations of {describe(function)} can't be read ({error}): define or import "
            "what they name at the top of its module, outside of TYPE_CHECKING."
        ) from None


@frozen(eq=False)
class Login:
    """The app's own function that says who a client is, and whether cookies count for it."""

    function: AnyFunction
    cookies: bool = True
    takes_token: bool = True


@define(eq=False)
class Registry:
    """The declarations of one :class:`~quart_realtime.Realtime`, for any number of apps."""

    login: Login | None = None
    handlers: dict[tuple[str, str], Handler] = field(factory=dict)
    exposures: list[Exposure] = field(factory=list)
    events: dict[str, EventType] = field(factory=dict)
    emissions: list[Emission] = field(factory=list)
    rooms: list[RoomRule] = field(factory=list)
    listeners: dict[str, list[AnyFunction]] = field(factory=dict)
    connect_hooks: list[AnyFunction] = field(factory=list)
    disconnect_hooks: list[AnyFunction] = field(factory=list)

    def add_handler(self, handler: Handler) -> None:
        """Declare *handler*.

        Raises:
            SetupError: its resource and action are taken, or a value can't be.

        """
        key = (handler.resource, handler.action)
        if not all(is_short_name(part) for part in key):
            raise SetupError(
                f"No request can name {key!r}, as {describe(handler.function)} is to be: a "
                f"resource and an action have 1 to {MAX_ID_LENGTH} printable characters, as in "
                'handler("users", "get").'
            )
        if not callable(handler.function):
            raise SetupError(
                f"{handler.name}: {describe(handler.function)} can't be called: put "
                "@realtime.handler right above a function that is in no class."
            )
        check_options(
            f"{handler.name}, {describe(handler.function)}",
            HANDLER,
            **{name: getattr(handler, name) for name in HANDLER},
        )
        known = self.handlers.get(key)
        if known is not None and known != handler:
            raise SetupError(
                f"{handler.name} is registered twice: "
                + _twice(
                    f"by {describe(known.function)}",
                    f"by {describe(handler.function)}",
                    "Give one of them another action.",
                )
            )
        self.handlers[key] = handler

    def add_event(self, event: EventType) -> None:
        """Declare *event*; a second declaration of the name is a :class:`SetupError`."""
        check_options(f"The event {event.name!r} at {event.place}", EVENT, history=event.history)
        if event.name in self.events:
            raise SetupError(
                f"The event {event.name!r} is declared twice: "
                + _twice(f"at {self.events[event.name].place}", f"at {event.place}")
            )
        self.events[event.name] = event

    def add_room(self, rule: RoomRule) -> None:
        """Declare *rule*; the more of a pattern is literal text, the earlier it is tried."""
        for other in self.rooms:
            if rule.rooms == other.rooms:
                same = "" if rule.pattern == other.pattern else f", as {other.pattern!r} before"
                raise SetupError(
                    f"The room pattern {rule.pattern!r} is declared twice{same}: "
                    + _twice(f"by {describe(other.may_join)}", f"by {describe(rule.may_join)}")
                )
        self.rooms.append(rule)
        self.rooms.sort(key=lambda rule: len(_VARIABLE.sub("", rule.pattern)), reverse=True)

    def find_room(self, room: str) -> tuple[RoomRule, dict[str, str | int]] | None:
        """Return the rule that *room* falls under, with the variables in its name."""
        for rule in self.rooms:
            variables = rule.match(room)
            if variables is not None:
                return rule, variables
        return None

    def rooms_of_event(self, name: str, given: RoomSource) -> RoomSource:
        """Return where the event *name* goes: *given*, or what is declared for it."""
        if given is not None or name not in self.events:
            return given
        return self.events[name].room

    def check_spelling(self, name: str) -> None:
        """Raise ValueError where the event *name*, told without a room, looks misspelt.

        It would go to everyone, and what it was meant to be perhaps to one user.
        """
        meant = None if name in self.events else _close_name(name, self._event_names())
        if meant is not None:
            raise ValueError(
                f"the event {name!r} is declared nowhere and would go to everyone: did you mean "
                f"{meant!r}? If there is such an event, declare it by realtime.event({name!r}), "
                "or say room=…"
            )

    def _event_names(self) -> frozenset[str]:
        """Return the names of the events that are declared or emitted."""
        return frozenset({*self.events, *(emission.event for emission in self.emissions)})

    def events_for_everyone(self) -> list[str]:
        """Return the names of emitted events for which no room is said anywhere."""
        return sorted(
            {
                emission.event
                for emission in self.emissions
                if self.rooms_of_event(emission.event, emission.room) is None
            }
        )

    def unreadable_rooms(self) -> list[str]:
        """Return complaints about authorisers that can't be called with their variables."""
        complaints: list[str] = []
        for rule in self.rooms:
            names = list(rule.expression.groupindex)
            try:
                _ = rule.annotations
                inspect.signature(rule.may_join).bind(**dict.fromkeys(names))
            except SetupError as error:
                complaints.extend(error.problems)
            except TypeError as error:
                complaints.append(
                    f"{describe(rule.may_join)} can't be asked about {rule.pattern!r} ({error}): "
                    f"write its parameters as {', '.join(names) or 'none'}."
                )
        return complaints

    def uncallable_hooks(self) -> list[str]:
        """Return complaints about hooks and listeners that can't take what they are given."""
        given: list[tuple[AnyFunction, tuple[str, ...]]] = [
            *((hook, ("connection",)) for hook in self.connect_hooks),
            *((hook, ("connection", "code")) for hook in self.disconnect_hooks),
            *((hook, ("told",)) for hooks in self.listeners.values() for hook in hooks),
        ]
        complaints: list[str] = []
        for hook, names in given:
            try:
                inspect.signature(hook).bind(*names)
            except TypeError as error:
                complaints.append(
                    f"{describe(hook)} can't be called ({error}): write its parameters as "
                    f"{', '.join(names)}."
                )
        return complaints

    def unheard_listeners(self) -> list[str]:
        """Return complaints about listeners to events that look misspelt.

        It can't be known which names :meth:`Realtime.notify` is called with, so only a name that
        is close to a declared or emitted one, and isn't one, counts.
        """
        known = self._event_names()
        complaints = []
        for name, functions in self.listeners.items():
            meant = _close_name(name, known)
            if meant is not None:
                complaints.append(
                    f'on("{name}") of {describe(functions[0])} hears nothing: did you mean '
                    f'"{meant}"? If there is such an event, declare it: '
                    f'realtime.event("{name}").'
                )
        return complaints

    def misspelt_emissions(self) -> list[str]:
        """Return complaints about emissions to everyone of events that look misspelt."""
        declared = frozenset(self.events)
        found = (
            (emission, _close_name(emission.event, declared))
            for emission in self.emissions
            if emission.room is None
        )
        return [
            f'emits("{emission.event}") of {describe(emission.function)} would tell everyone: did '
            f'you mean "{meant}"? If there is such an event, declare it: '
            f'realtime.event("{emission.event}").'
            for emission, meant in found
            if meant is not None
        ]


@lru_cache(maxsize=1024)
def _close_name(name: str, known: frozenset[str]) -> str | None:
    """Return which of *known* was probably meant by *name*; None where it is one of them."""
    close = () if name in known else get_close_matches(name, sorted(known), n=1, cutoff=0.85)
    return next(iter(close), None)


def _twice(first: str, second: str, instead: str = "Leave out one of them.") -> str:
    """Say where something is declared twice, and what to do about it."""
    if first == second:
        # Such as within a function that makes an app, and has made another.
        return (
            f"{first}, which has run twice. Make the Realtime there too, or declare it once, "
            "outside of the function: on a blueprint where it is a route."
        )
    return f"{first} and {second}. {instead}"


class HistoryPolicies:
    """Which history each room keeps: its pattern's, or else the app's."""

    def __init__(self, registry: Registry, default: HistoryPolicy) -> None:
        self._registry = registry
        self._default = default

    def of(self, room: str) -> HistoryPolicy:
        """Return the policy of *room*."""
        found = None if room == EVERYONE else self._registry.find_room(room)
        return self._default if found is None else self.of_rule(found[0])

    def of_rule(self, rule: RoomRule) -> HistoryPolicy:
        """Return the policy of the rooms of *rule*."""
        if rule.history is None:
            return self._default
        if isinstance(rule.history, int):
            return HistoryPolicy(rule.history, self._default.ttl)
        return rule.history


def describe(function: AnyFunction) -> str:
    """Name *function* and the place where it is written, for an error message."""
    inner = inspect.unwrap(function)
    while isinstance(inner, partial):
        inner = inspect.unwrap(inner.func)
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    code = getattr(inner, "__code__", None)
    if code is None and not isinstance(inner, type):
        code = getattr(type(inner).__call__, "__code__", None)
    if code is None:
        return str(name)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})"


def refuse_bare(decorator: str, example: str, what: str, first: object) -> None:
    """Refuse a decorator that stands without its arguments, and so is given the function."""
    if callable(first):
        raise SetupError(
            f"Write @realtime.{decorator}({example}) above {describe(first)}, with {what}."
        )


_NOT_THE_APPS = (f"{__package__}.", "contextlib")


def calling_line() -> str:
    """Return the line of the app's code that calls into this package, for an error message."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_NOT_THE_APPS):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
