"""What the decoder of messages must do with whatever comes."""

from __future__ import annotations

from typing import get_args

from quart_realtime.frames import error_frame, response_frame
from quart_realtime.protocol import MAX_ID_LENGTH, MalformedFrame, Message, decode

MESSAGES = get_args(Message)


def check(data: bytes) -> None:
    """Decode *data* as both a text and its bytes: a message, or an error that can be told."""
    for form in (data, data.decode(errors="replace"), data.decode(errors="surrogateescape")):
        try:
            message = decode(form)
        except MalformedFrame as error:
            error_frame(error.id, error).text.encode()
        else:
            assert isinstance(message, MESSAGES), message
            if message.id is not None:
                assert 1 <= len(message.id) <= MAX_ID_LENGTH
                response_frame(message.id, {}).text.encode()
