"""What an emitted event carries and where it goes, worked out from a view's result."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any

from .errors import RealtimeError, SetupError
from .models import to_builtins
from .options import EVENT, check_options
from .protocol import EVERYONE, check_event_name, is_room_name
from .registry import AnyFunction, Emission, RoomSource, calling_line


class EmissionError(RealtimeError):
    """An event can't be made of what the view returned; the text says what is missing."""


_formatter = Formatter()


def check_template(template: str) -> None:
    """Raise ValueError unless *template* is one such as ``conversation:{message.id}``."""
    if "<" in template and ">" in template:
        raise ValueError("here variables are written {name}, not <name>")
    for _, name, spec, conversion in _formatter.parse(template):
        if name is None:
            continue
        if spec or conversion or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"{{{name}}} is no dotted name")


def declared_rooms(event: str, room: RoomSource) -> RoomSource:
    """Check the name of an event that is declared, and its rooms' templates; return the rooms.

    Raises:
        SetupError: the name can't be one, or the rooms can't be read.
    """
    try:
        check_event_name(event)
    except ValueError as error:
        raise SetupError(f"The event at {calling_line()} can't be declared: {error}.") from None
    check_options(f"The event {event!r} at {calling_line()}", EVENT, room=room)
    if room is None or callable(room):
        return room
    templates = [room] if isinstance(room, str) else list(room)
    for template in templates:
        try:
            check_template(template)
        except (TypeError, ValueError, AttributeError) as error:
            raise SetupError(
                f"{event}: room {template!r} at {calling_line()} can't be read ({error}); write "
                'one such as "conversation:{conversation_id}".'
            ) from None
    return room if isinstance(room, str) else templates


def fill(template: str, *sources: Any) -> str:
    """Fill the ``{dotted.names}`` of *template*.

    Args:
        template: The name of a room, with variables.
        *sources: Where to look for them, in this order: dictionaries, or objects with attributes.

    Raises:
        EmissionError: one isn't to be found, or is neither text nor a whole number.
    """
    filled = ""
    for text, name, _, _ in _formatter.parse(template):
        filled += text
        if name is not None:
            value = to_builtins(_look_up(name, sources))
            if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
                raise EmissionError(
                    f"room {template!r}: {{{name}}} is {value!r}, not text or a number"
                )
            filled += str(value)
    return filled


def _look_up(name: str, sources: Iterable[Any]) -> Any:
    for source in sources:
        value = source
        for part in name.split("."):
            value = _member(value, part)
        if value is not _MISSING:
            return value
    raise EmissionError(f"there is no {name!r} in the event's data or the view's arguments")


_MISSING = object()


def _member(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name, _MISSING)
    # The members of text, numbers and lists are Python's, not the app's.
    if type(value).__module__ == "builtins":
        return _MISSING
    return getattr(value, name, _MISSING)


async def settled(value: Any) -> Any:
    """Return what the app's callable returned, awaited if it is a coroutine function."""
    return await value if inspect.isawaitable(value) else value


async def rooms_of(source: RoomSource, data: Any, arguments: Mapping[str, Any]) -> list[str]:
    """Return the rooms that an event goes to.

    Args:
        source: A template or a list of them, a callable of the data that returns a room or a
            list of them, or None for everyone who is logged in.
        data: The event's data, as builtins.
        arguments: The view's arguments, by name.

    Raises:
        EmissionError: that makes no name of a room.
    """
    if source is None:
        return [EVERYONE]
    if callable(source):
        said = await settled(source(data))
        return checked_rooms([said] if isinstance(said, str) else said)
    templates = [source] if isinstance(source, str) else source
    return checked_rooms(fill(template, data, arguments) for template in templates)


def checked_rooms(rooms: Any) -> list[str]:
    """Return *rooms*, each once.

    Raises:
        EmissionError: they aren't names of rooms.
    """
    if not isinstance(rooms, Iterable):
        raise EmissionError(f"{rooms!r} is no room and no list of rooms")
    found = list(dict.fromkeys(rooms))
    for room in found:
        if not is_room_name(room):
            raise EmissionError(f"{room!r} can't name a room: 1 to 256 printable characters")
    return found


async def data_of(emission: Emission, value: Any, arguments: Mapping[str, Any]) -> Any:
    """Return what *emission* sends, as builtins, of a view that returned *value*.

    A view without a body to its answer sends its arguments.

    Raises:
        EmissionError: the result has no such key.
    """
    if callable(emission.data):
        return to_builtins(await settled(emission.data(value)))
    plain = to_builtins(dict(arguments) if value is None else value)
    if emission.data is None:
        return plain
    found = _member(plain, emission.data)
    if found is _MISSING:
        raise EmissionError(
            f"emits({emission.event!r}, data={emission.data!r}): the view's result has no such key"
        )
    return found


def arguments_of(
    function: AnyFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return a view's arguments by name, without the view object of a ``MethodView``."""
    signature = inspect.signature(function)
    try:
        bound = signature.bind_partial(*args, **kwargs).arguments
    except TypeError:
        return kwargs
    arguments: dict[str, Any] = {}
    for name, value in bound.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= value
        elif kind is not inspect.Parameter.VAR_POSITIONAL and name != "self":
            arguments[name] = value
    return arguments
