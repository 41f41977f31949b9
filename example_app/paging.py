"""Lists by cursor: a page ends with the sort key of its last item, and the next starts after it.

Unlike an offset, a key neither skips nor repeats an item when others come and go in between.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from attrs import frozen
from msgspec import Meta

from example_app.errors import InvalidFieldsError

Key = TypeVar("Key")
Row = TypeVar("Row")


@frozen
class PageQuery:
    """Which page of a list: *limit* items after *cursor*, the previous page's `next_cursor`."""

    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


def encode_cursor(key: Any) -> str:
    """Return *key* as text that is safe in a URL and that clients needn't understand."""
    return urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def decode_cursor(cursor: str, key_type: type[Key]) -> Key:
    """Return the key in *cursor*; raises InvalidFieldsError unless it's a *key_type*."""
    try:
        key = urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        return msgspec.json.decode(key, type=key_type)
    except (binascii.Error, UnicodeError, msgspec.DecodeError):
        raise InvalidFieldsError({"cursor": "not a cursor of this list"}) from None


def split_page(
    rows: Sequence[Row], limit: int, key: Callable[[Row], Any]
) -> tuple[Sequence[Row], str | None]:
    """Return the page in *rows*, of which one more than *limit* was asked for, and its cursor.

    The cursor is None where the list ends with this page. *key* returns a row's sort key.
    """
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode_cursor(key(rows[limit - 1]))
