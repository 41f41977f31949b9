"""Payloads to typed values and back: msgspec's conversion, with pydantic where it is used."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from quart import current_app, has_app_context

from .errors import InvalidPayload

__all__ = [
    "check_type",
    "convert",
    "dump",
    "dump_as",
    "field_errors",
    "is_pydantic_type",
    "to_builtins",
]

_PATH = re.compile(r"^(?P<what>.*) - at `\$?(?P<path>[^`]*)`$", re.DOTALL)


def _is_pydantic(value: object) -> bool:
    """Tell whether *value* is pydantic's, without importing pydantic where nobody has."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def is_pydantic_type(expected: object) -> bool:
    """Tell whether *expected* is a model of pydantic's, without importing that either."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(expected, type):
        return False
    return issubclass(expected, pydantic.BaseModel) or hasattr(expected, "__pydantic_validator__")


def _plain(value: Any) -> Any:
    """Turn what msgspec doesn't know into what it does, as the app's own JSON provider would."""
    if _is_pydantic(value):
        return value.model_dump(mode="json")
    default = getattr(current_app.json, "default", None) if has_app_context() else None
    if default is not None:
        # What is raised for what it doesn't know either depends on who has written it.
        with suppress(TypeError, ValueError):
            return default(value)
    raise TypeError(f"{type(value).__name__} can't be written as JSON: {value!r}")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def dump(value: Any) -> bytes:
    """Encode *value* as JSON.

    Args:
        value: Builtins, dates, UUIDs, enums, dataclasses, attrs classes, msgspec Structs, pydantic
            models, nested in any way; and what ``default`` of the current app's JSON provider
            turns into these. NaN and infinities become null.

    Raises:
        TypeError: something in it has no JSON form.
        ValueError: text in it isn't Unicode, such as a lone surrogate.

    """
    return _encoder.encode(value)


def to_builtins(value: Any) -> Any:
    """Return *value* as the dictionaries, lists and scalars that its JSON reads as."""
    return msgspec.to_builtins(value, enc_hook=_plain)


def convert(value: Any, expected: Any, *, strict: bool = True) -> Any:
    """Convert a decoded JSON value to the type *expected*.

    Args:
        value: What was decoded.
        expected: A type or annotation: a builtin, an attrs class, dataclass, Struct, TypedDict,
            pydantic model, or any combination that msgspec reads.
        strict: Whether text that merely looks like a number is refused as one.

    Raises:
        InvalidPayload: the value doesn't fit; the error names the fields.

    """
    if expected is Any:
        return value
    try:
        if is_pydantic_type(expected):
            return _convert_pydantic(value, expected)
        return msgspec.convert(value, expected, strict=strict, dec_hook=_hook)
    except (msgspec.ValidationError, ValueError) as error:
        fields = field_errors(error)
        raise InvalidPayload(fields) from error


def _hook(expected: Any, value: Any) -> Any:
    if is_pydantic_type(expected):
        return _convert_pydantic(value, expected)
    raise NotImplementedError(f"don't know how to read {expected!r} from JSON")


def _convert_pydantic(value: Any, expected: Any) -> Any:
    return sys.modules["pydantic"].TypeAdapter(expected).validate_python(value)


def check_type(expected: Any) -> None:
    """Raise TypeError where no JSON value can be converted to the type *expected*."""

    def hook(part: Any) -> dict[str, Any]:
        if is_pydantic_type(part):
            return {}
        raise TypeError(f"{part!r} is no type that JSON can be read as")

    if expected is not Any and not is_pydantic_type(expected):
        msgspec.json.schema(expected, schema_hook=hook)


def field_errors(error: BaseException) -> dict[str, str]:
    """Name the fields that a validation error of msgspec or pydantic complains of.

    Args:
        error: The error, or one that was raised because of it.

    Returns:
        What is wrong, by the field's dotted name, ``points.1.x``, where a star stands for any key
        of a dictionary; the name is ``payload`` for the value as a whole.
    """
    match = _PATH.match(str(error))
    what, path = (match["what"], _dotted(match["path"])) if match else (str(error), "")
    # msgspec wraps what pydantic raises inside of it.
    source = error.__cause__ if hasattr(error.__cause__, "errors") else error
    listed: Callable[[], list[dict[str, Any]]] | None = getattr(source, "errors", None)
    if callable(listed):
        path = path if source is not error else ""
        return {
            _joined(path, *(str(part) for part in item["loc"])): item["msg"] for item in listed()
        }
    return {_joined(path, _missing_field(what) or ""): what}


def _dotted(path: str) -> str:
    """Turn msgspec's ``.points[1].x`` into ``points.1.x``."""
    return re.sub(r"\[(.*?)\]", r".\1", path.replace("[...]", "[*]")).strip(".")


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part) or "payload"


def _missing_field(what: str) -> str | None:
    match = re.fullmatch(r"Object missing required field `(?P<name>.*)`", what)
    return match["name"] if match else None


def dump_as(expected: Any, value: Any) -> bytes:
    """Check *value* against the type *expected*, None for any, and encode it.

    Raises:
        InvalidPayload: it doesn't fit the type.
        TypeError: it has no JSON form.

    """
    encoded = dump(value)
    if expected is not None:
        convert(msgspec.json.decode(encoded), expected, strict=False)
    return encoded
