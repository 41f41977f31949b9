"""The kinds of text that the API takes, with their limits; OpenAPI shows the same limits."""

from typing import Annotated

from msgspec import Meta

# No lone surrogate, which no database stores, and no NUL, which PostgreSQL doesn't.
_STORABLE = r"[^\x00\ud800-\udfff]*$"
_ANY_TEXT = f"^{_STORABLE}"
_NOT_BLANK = rf"^(?=[\s\S]*\S){_STORABLE}"
# Followed by nothing at all: `$` would let a line feed through.
_END = r"(?![\s\S])"

Identifier = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9_-]{{1,64}}{_END}")]
Content = Annotated[
    str, Meta(min_length=1, max_length=4000, pattern=_NOT_BLANK, description="Not blank.")
]
Title = Annotated[
    str, Meta(min_length=1, max_length=200, pattern=_NOT_BLANK, description="Not blank.")
]
DisplayName = Annotated[
    str, Meta(min_length=1, max_length=100, pattern=_NOT_BLANK, description="Not blank.")
]
Username = Annotated[
    str,
    Meta(
        pattern=rf"^[a-z][a-z0-9_.-]{{1,31}}{_END}",
        description="2 to 32 of a-z, 0-9, `_`, `.` and `-`, beginning with a letter.",
    ),
]
NewPassword = Annotated[str, Meta(min_length=8, max_length=128, pattern=_ANY_TEXT)]
Credential = Annotated[str, Meta(max_length=128, pattern=_ANY_TEXT)]
