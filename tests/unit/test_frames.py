"""What the server sends, as bytes on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from quart_realtime.frames import PING, PONG, Frame

from .fakes import strict_json


def read(wire: bytes) -> list[TextMessage]:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(wire)
    events = list(client.events())
    assert all(isinstance(event, TextMessage) for event in events)
    return events  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "81 00"),
        (1, "81 01"),
        (125, "81 7d"),
        (126, "81 7e 00 7e"),
        (127, "81 7e 00 7f"),
        (65_535, "81 7e ff ff"),
        (65_536, "81 7f 00 00 00 00 00 01 00 00"),
    ],
)
def test_a_frame_s_header_says_how_long_it_is_and_a_client_reads_it(size: int, header: str) -> None:
    frame = Frame(b"x" * size)
    assert frame.wire == bytes.fromhex(header) + b"x" * size
    (message,) = read(frame.wire)
    assert message.data == "x" * size
    assert message.frame_finished
    assert message.message_finished


@given(st.lists(st.text(max_size=300), max_size=10))
def test_frames_in_a_row_are_read_as_they_were_written(texts: list[str]) -> None:
    wire = b"".join(Frame(text.encode()).wire for text in texts)
    assert [message.data for message in read(wire)] == texts


def test_a_frame_is_as_long_as_its_data() -> None:
    frame = Frame("é".encode())
    assert len(frame) == 2
    assert frame.text == "é"
    assert repr(frame) == "Frame('é')"


@pytest.mark.parametrize(("frame", "kind"), [(PING, "ping"), (PONG, "pong")])
def test_a_client_reads_the_frames_that_are_always_the_same(frame: Frame, kind: str) -> None:
    (message,) = read(frame.wire)
    assert strict_json(message.data) == {"type": kind}
