"""Payloads to typed values and back: msgspec's conversion, with pydantic where it is used."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from attrs import frozen
from quart import current_app, has_app_context

from .errors import InvalidPayload

__all__ = [
    "adapter_of",
    "check_type",
    "convert",
    "dump",
    "dump_as",
    "field_errors",
    "to_builtins",
]

_PATH = re.compile(r"^(?P<what>.*) - at `\$?(?P<path>[^`]*)`$", re.DOTALL)


def _is_pydantic(value: object) -> bool:
    """Tell whether *value* is pydantic's, without importing pydantic where nobody has."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def _is_pydantic_type(expected: object) -> bool:
    """Tell whether *expected* is a model of pydantic's, without importing that either."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(expected, type):
        return False
    return issubclass(expected, pydantic.BaseModel) or hasattr(expected, "__pydantic_validator__")


_FIELDS = ("__dataclass_fields__", "__attrs_attrs__", "__struct_fields__", "__total__", "_fields")
"""What tells a class whose annotations are fields; the last two, a TypedDict and a NamedTuple."""


def _holds_pydantic(expected: Any) -> bool:
    """Tell whether a model of pydantic's is anywhere in *expected*, such as in a field."""
    seen: dict[int, Any] = {}
    waiting = [expected]
    while waiting:
        part = waiting.pop()
        if _is_pydantic_type(part):
            return True
        if id(part) in seen:
            continue
        seen[id(part)] = part
        waiting += [get_origin(part), *get_args(part)]
        with suppress(Exception):  # What can't be evaluated is told by whoever must read it.
            # Of a NewType, and of Python 3.12's type statement.
            waiting += [getattr(part, name, None) for name in ("__supertype__", "__value__")]
            if isinstance(part, type) and any(hasattr(part, name) for name in _FIELDS):
                waiting += get_type_hints(part, include_extras=True).values()
    return False


@frozen(eq=False)
class _Type:
    """A type as a key: by what it is, for not all can be hashed, and ``A | B`` equals ``B | A``."""

    expected: Any

    def __hash__(self) -> int:
        return id(self.expected)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Type) and other.expected is self.expected


@lru_cache(maxsize=1024)
def _adapter(key: _Type) -> Any:
    if not _holds_pydantic(key.expected):
        return None
    pydantic = sys.modules["pydantic"]
    try:
        return pydantic.TypeAdapter(key.expected)
    except pydantic.PydanticUserError:
        return None  # Such as for an attrs class, whose fields msgspec reads one by one.


def adapter_of(expected: Any) -> Any:
    """Return pydantic's adapter of the type *expected*, or None where it is msgspec's to read."""
    return _adapter(_Type(expected)) if "pydantic" in sys.modules else None


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
            pydantic model, or any combination of them; pydantic reads all of one that holds a model
            of its, if it can.
        strict: Whether text that merely looks like a number is refused as one.

    Raises:
        InvalidPayload: the value doesn't fit; the error names the fields.

    """
    if expected is Any:
        return value
    adapter = adapter_of(expected)
    try:
        if adapter is not None:
            return adapter.validate_python(value)
        return msgspec.convert(value, expected, strict=strict, dec_hook=_hook)
    except (msgspec.ValidationError, ValueError) as error:
        fields = field_errors(error)
        raise InvalidPayload(fields) from error


def _hook(expected: Any, value: Any) -> Any:
    adapter = adapter_of(expected)
    if adapter is not None:
        return adapter.validate_python(value)
    raise NotImplementedError(f"don't know how to read {expected!r} from JSON")


def check_type(expected: Any) -> None:
    """Raise TypeError where no JSON value can be converted to the type *expected*."""

    def hook(part: Any) -> dict[str, Any]:
        if adapter_of(part) is not None:
            return {"type": "object"}
        raise TypeError(f"{part!r} is no type that JSON can be read as")

    if expected is Any or adapter_of(expected) is not None:
        return
    try:
        msgspec.json.schema(expected, schema_hook=hook)
    except TypeError as error:
        if "pydantic" in sys.modules and _holds_pydantic(expected):
            raise TypeError(
                f"{error}; and pydantic, which knows no attrs classes and no Structs, can't read "
                "it whole: have only pydantic models, dataclasses and builtins in a union with one"
            ) from None
        raise


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
