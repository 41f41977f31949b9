"""Functions that answer requests without a route."""

from __future__ import annotations

import inspect
from typing import Any

from attrs import frozen
from quart import Quart

from .errors import InvalidPayload, SetupError
from .models import check_type, convert, dump, to_builtins
from .registry import AnyFunction, Handler, annotations_of, called, describe
from .results import RouteError, is_success, value_of

WHOLE_PAYLOAD = "data"
"""The parameter of a native handler that takes the payload as a whole."""


@frozen(eq=False)
class _Parameter:
    name: str
    expected: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


class NativeHandler:
    """A function that no route has, called with arguments out of the payload.

    Raises:
        SetupError: it has parameters that can't be filled by name.
    """

    def __init__(self, handler: Handler) -> None:
        self._function = called(handler.function)
        _check_kind(handler, self._function)
        self._takes_rest = False
        self._parameters: list[_Parameter] = []
        hints = annotations_of(handler.function)
        for parameter in inspect.signature(handler.function).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                self._takes_rest = True
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise SetupError(
                    f"{handler.name}: {describe(handler.function)} takes {parameter}, but "
                    "arguments come by name: write plain parameters, or data for all of them."
                )
            else:
                expected = hints.get(parameter.name, Any)
                _check_type(handler, parameter.name, expected)
                self._parameters.append(_Parameter(parameter.name, expected, parameter.default))

    def bind(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Convert *payload* to the function's arguments.

        Raises:
            InvalidPayload: arguments are missing or don't fit; it names them all.
        """
        arguments: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for parameter in self._parameters:
            name = parameter.name
            try:
                if name == WHOLE_PAYLOAD:
                    arguments[name] = convert(payload, parameter.expected)
                elif name in payload:
                    arguments[name] = convert(payload[name], parameter.expected)
                elif parameter.required:
                    wrong[name] = "is missing"
            except InvalidPayload as error:
                for field, what in error.fields.items():
                    wrong[_dotted(name, field)] = what
        if wrong:
            raise InvalidPayload(wrong)
        if self._takes_rest:
            arguments = {**payload, **arguments}
        return arguments

    async def __call__(self, app: Quart, payload: dict[str, Any]) -> bytes:
        """Run the function and return its answer's payload, encoded."""
        arguments = self.bind(payload)
        return await encoded(await app.ensure_async(self._function)(**arguments))


async def encoded(result: Any) -> bytes:
    """Encode what a view may return, and raise what is no success."""
    if isinstance(result, str):
        return dump(result)  # Over HTTP an empty one is no body; here it is a value like others.
    value, status = await value_of(result)
    if not is_success(status):
        raise RouteError(status, to_builtins(value))
    return dump(value)


def _dotted(parameter: str, field: str) -> str:
    if parameter == WHOLE_PAYLOAD:
        return field
    return parameter if field == "payload" else f"{parameter}.{field}"


def _check_kind(handler: Handler, function: AnyFunction) -> None:
    """Refuse a function that gives no answer, or that wants an object which nobody has."""
    about = f"{handler.name}: {describe(handler.function)}"
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise SetupError(
            f"{about} yields, but a request has one answer: return a list, or send an event for "
            "each part with current_connection.send."
        )
    first = next(iter(inspect.signature(handler.function).parameters), None)
    owner = getattr(inspect.unwrap(handler.function), "__qualname__", "").rpartition(".")[0]
    if first in ("self", "cls") and owner and not owner.endswith("<locals>"):
        raise SetupError(
            f"{about} is a method without its object, {first}: put @realtime.handler on a function "
            f'outside of the class, or write realtime.handler("{handler.resource}", '
            f'"{handler.action}")({owner.rpartition(".")[2]}().{handler.function.__name__}). A '
            "view class has to be registered on the app."
        )


def _check_type(handler: Handler, parameter: str, expected: Any) -> None:
    try:
        check_type(expected)
    except TypeError as error:
        raise SetupError(
            f"{handler.name}: {describe(handler.function)} wants {parameter} as something that a "
            f"request can't hold ({error}): annotate it with an attrs class, a dataclass, a "
            "pydantic model or a builtin."
        ) from None
