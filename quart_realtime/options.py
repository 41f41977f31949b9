"""What the options of declarations take, checked where they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from quart import Blueprint

from .errors import SetupError
from .protocol import HistoryPolicy
from .settings import check_rate

Options: TypeAlias = Mapping[str, tuple[Callable[[Any], bool], str]]
"""By its name, whether an option may have a value, and what it takes, in words."""


def check_options(about: str, options: Options, **given: Any) -> None:
    """Check the values that are *given* for *options*.

    Raises:
        SetupError: one can't be; it says which, of what it is *about*, and what it takes.
    """
    for name, value in given.items():
        may_be, takes = options[name]
        if not may_be(value):
            raise SetupError(f"{about}: {name} must be {takes}, not {value!r}.")


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return isinstance(value, str | None)


def _is_time(value: Any) -> bool:
    return value is None or (
        isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    )


def _is_rate(value: Any) -> bool:
    try:
        check_rate("1/second" if value is None else value)
    except ValueError:
        return False
    return True


def _is_history(value: Any) -> bool:
    if isinstance(value, int):
        return value >= 0 and not isinstance(value, bool)
    return isinstance(value, HistoryPolicy | None)


_FLAG = (_is_flag, "True or False")

HANDLER: Options = {
    "login": _FLAG,
    "timeout": (_is_time, "a number of seconds above 0, or None for the app's"),
    "rate_limit": (_is_rate, 'a rate such as "100/second", or None for no limit'),
    "endpoint": (
        lambda value: value is False or _is_text_or_none(value),
        "the name of an endpoint, False for none, or None to have it found",
    ),
    "method": (_is_text_or_none, 'an HTTP method such as "PUT", or None to have it found'),
}
ROOM: Options = {
    "pattern": (_is_text, 'text such as "conversation:<conversation_id>"'),
    "presence": _FLAG,
    "history": (_is_history, "a number of events, a HistoryPolicy, or None for the app's"),
}
EVENT: Options = {
    "room": (
        lambda value: value is None or callable(value) or isinstance(value, Iterable),
        'a template such as "conversation:{conversation_id}", a list of these, a function of the '
        "data, or None",
    ),
    "history": _FLAG,
}
EMISSION: Options = {
    "data": (
        lambda value: callable(value) or _is_text_or_none(value),
        "a key of what the view returns, a function of that, or None for all of it",
    ),
    "when": (
        lambda value: value is None or callable(value),
        "a function of what the view returns, or None for always",
    ),
    "others_only": _FLAG,
}
EXPOSURE: Options = {
    "blueprint": (lambda value: isinstance(value, Blueprint), "a blueprint"),
    "resource": (_is_text, 'text such as "messages"'),
    "login": _FLAG,
}
