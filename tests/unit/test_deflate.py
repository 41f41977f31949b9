"""Compression, as a client's wsproto writes it and the server's reads it."""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason
from wsproto.handshake import server_extensions_handshake

from quart_realtime.deflate import BoundedDeflate

LIMIT = 1000


def pair(limit: int = LIMIT, **options: Any) -> tuple[Connection, Connection]:
    """Return a client and a server that have agreed on compression."""
    theirs, ours = PerMessageDeflate(**options), BoundedDeflate(limit)
    accepted = server_extensions_handshake([f"{theirs.name}; {theirs.offer()}"], [ours])
    assert accepted is not None
    theirs.finalize(accepted.decode())
    return (
        Connection(ConnectionType.CLIENT, [theirs]),
        Connection(ConnectionType.SERVER, [ours]),
    )


def parts(text: str, size: int) -> list[TextMessage]:
    """Return *text* as one message in frames of *size* characters."""
    starts = range(0, len(text), size)
    return [
        TextMessage(text[start : start + size], message_finished=start == starts[-1])
        for start in starts
    ]


def sent(client: Connection, server: Connection, *events: Event) -> list[Event]:
    """Return what *server* makes of what *client* sends."""
    server.receive_data(b"".join(bytes(client.send(event)) for event in events))
    return list(server.events())


def messages(events: list[Event]) -> list[str | bytes]:
    """Return the whole messages among *events*."""
    whole: list[str | bytes] = []
    begun: list[Any] = []
    for event in events:
        if isinstance(event, Message):
            begun.append(event.data)
            if event.message_finished:
                whole.append(begun[0][:0].join(begun))
                begun.clear()
    assert not begun
    return whole


def closing(events: list[Event]) -> int:
    """Return the code that the last of *events* closes with."""
    assert isinstance(events[-1], CloseConnection)
    return events[-1].code


def raw(payload: bytes, head: int = 0xC1) -> bytes:
    """Return a client's frame of *payload*: a whole compressed text message if *head* isn't given.

    It is masked with zeros.
    """
    assert len(payload) < 126
    return bytes((head, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def test_messages_are_compressed_and_read() -> None:
    client, server = pair()
    wire = bytes(client.send(TextMessage("a" * LIMIT)))
    assert len(wire) < LIMIT / 10
    server.receive_data(wire)
    assert messages(list(server.events())) == ["a" * LIMIT]
    assert messages(sent(client, server, TextMessage("é"), BytesMessage(b"\x00\xff"))) == [
        "é",
        b"\x00\xff",
    ]


def test_the_server_s_own_messages_are_compressed_and_read() -> None:
    client, server = pair()
    for text in ("a" * 10 * LIMIT, "", "b"):
        assert messages(sent(server, client, TextMessage(text))) == [text]


def test_an_uncompressed_message_is_read_as_it_stands() -> None:
    _, server = pair()
    server.receive_data(raw(b"Hello", head=0x81))
    assert messages(list(server.events())) == ["Hello"]


@given(
    texts=st.lists(st.text(min_size=1, max_size=200), max_size=8),
    size=st.integers(1, 50),
    chunk=st.integers(1, 100),
    takeover=st.booleans(),
)
def test_however_messages_are_cut_they_arrive_whole(
    texts: list[str], size: int, chunk: int, takeover: bool
) -> None:
    client, server = pair(client_no_context_takeover=not takeover)
    events: list[Event] = []
    wire = bytearray()
    for part in itertools.chain.from_iterable(parts(text, size) for text in texts):
        wire += client.send(part) + client.send(Ping(b"still there?"))
    for start in range(0, len(wire), chunk):
        server.receive_data(bytes(wire[start : start + chunk]))
        events += server.events()
    assert messages(events) == texts
    assert not any(isinstance(event, CloseConnection) for event in events)


@pytest.mark.parametrize("control", [Ping(b"ping"), Pong(b"pong")])
def test_a_control_frame_within_a_message_leaves_it_whole(control: Event) -> None:
    client, server = pair()
    first, second, third = parts("abcdefgh" * 30, 80)
    events = sent(client, server, first, control, second, control, third, control)
    assert messages(events) == ["abcdefgh" * 30]
    assert [event for event in events if not isinstance(event, Message)] == [control] * 3
    assert messages(sent(client, server, TextMessage("next"))) == ["next"]


def test_a_control_frame_within_an_uncompressed_message_leaves_it_whole() -> None:
    client, server = pair()
    server.receive_data(raw(b"Hel", head=0x01) + raw(b"", head=0x89) + raw(b"lo", head=0x80))
    assert messages(list(server.events())) == ["Hello"]
    assert messages(sent(client, server, TextMessage("compressed"))) == ["compressed"]


def test_a_control_frame_between_messages_may_come_in_pieces() -> None:
    """wsproto reads a header anew that it had but a part of."""
    client, server = pair()
    ping = bytes(client.send(Ping()))
    for cut in range(1, len(ping)):
        events = []
        for piece in (ping[:cut], ping[cut:], bytes(client.send(TextMessage("compressed")))):
            server.receive_data(piece)
            events += server.events()
        assert messages(events) == ["compressed"]


def test_a_bomb_closes_with_1009() -> None:
    client, server = pair()
    events = sent(client, server, TextMessage("a" * 10_000_000))
    assert closing(events) == CloseReason.MESSAGE_TOO_BIG
    assert events[:-1] == []


def test_a_bomb_is_inflated_no_further_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated: list[int] = []

    class Counting:
        def __init__(self, *args: Any) -> None:
            self._inflater = zlib_decompressobj(*args)

        def decompress(self, *args: Any) -> bytes:
            data = self._inflater.decompress(*args)
            inflated.append(len(data))
            return data

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inflater, name)

    zlib_decompressobj = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counting)
    client, server = pair()
    events = sent(client, server, TextMessage("a" * 10_000_000))
    assert closing(events) == CloseReason.MESSAGE_TOO_BIG
    assert inflated == [LIMIT + 1]


def test_a_bomb_in_parts_closes_with_1009() -> None:
    client, server = pair()
    events = sent(client, server, *parts("a" * 2 * LIMIT, 300))
    assert closing(events) == CloseReason.MESSAGE_TOO_BIG
    received = sum(len(event.data) for event in events if isinstance(event, Message))
    assert received <= LIMIT


def test_exactly_the_limit_is_read_and_one_more_is_not() -> None:
    client, server = pair()
    assert messages(sent(client, server, TextMessage("a" * LIMIT))) == ["a" * LIMIT]
    events = sent(client, server, TextMessage("a" * (LIMIT + 1)))
    assert closing(events) == CloseReason.MESSAGE_TOO_BIG


def test_parts_may_have_the_limit_together_and_one_more_is_too_much() -> None:
    client, server = pair()
    assert messages(sent(client, server, *parts("a" * LIMIT, 300))) == ["a" * LIMIT]
    events = sent(client, server, *parts("a" * (LIMIT + 1), 300))
    assert closing(events) == CloseReason.MESSAGE_TOO_BIG


def test_each_message_may_have_the_limit_anew() -> None:
    client, server = pair()
    events = sent(client, server, *(TextMessage(letter * LIMIT) for letter in "abcdefgh"))
    assert messages(events) == [letter * LIMIT for letter in "abcdefgh"]


def test_a_control_frame_does_not_renew_what_a_message_may_have() -> None:
    client, server = pair()
    first, second = parts("a" * 2 * LIMIT, LIMIT)
    events = sent(client, server, first, Ping(), second)
    assert closing(events) == CloseReason.MESSAGE_TOO_BIG


def test_a_limit_of_one_byte_reads_one_byte() -> None:
    client, server = pair(limit=1)
    assert messages(sent(client, server, TextMessage("a"))) == ["a"]
    assert closing(sent(client, server, TextMessage("ab"))) == CloseReason.MESSAGE_TOO_BIG


def test_a_last_block_closes_with_1007() -> None:
    deflater = zlib.compressobj(wbits=-15)
    ended = deflater.compress(b"Hello") + deflater.flush(zlib.Z_FINISH)
    _, server = pair()
    server.receive_data(raw(ended + b"\x00"))
    events = list(server.events())
    assert closing(events) == CloseReason.INVALID_FRAME_PAYLOAD_DATA
    assert events[:-1] == []


def test_nothing_is_kept_of_what_follows_a_last_block() -> None:
    deflater = zlib.compressobj(wbits=-15)
    ended = deflater.compress(b"Hello") + deflater.flush(zlib.Z_FINISH)
    _, server = pair()
    server.receive_data(raw(ended, head=0x41) + raw(b"x" * 100, head=0x00))
    assert closing(list(server.events())) == CloseReason.INVALID_FRAME_PAYLOAD_DATA


def test_what_is_not_compressed_though_it_says_so_closes_with_1007() -> None:
    _, server = pair()
    server.receive_data(raw(b"\xff" * 20))
    assert closing(list(server.events())) == CloseReason.INVALID_FRAME_PAYLOAD_DATA


def test_a_compressed_control_frame_closes_with_1002() -> None:
    _, server = pair()
    server.receive_data(raw(b"x", head=0xC9))
    assert closing(list(server.events())) == CloseReason.PROTOCOL_ERROR


@pytest.mark.parametrize("window", [9, 15])
def test_without_context_takeover_each_message_is_read_for_itself(window: int) -> None:
    client, server = pair(client_no_context_takeover=True, client_max_window_bits=window)
    first = bytes(client.send(TextMessage("again and again")))
    second = bytes(client.send(TextMessage("again and again")))
    # But for the mask, which is another one each time.
    assert len(first) == len(second)
    server.receive_data(first + second + bytes(client.send(TextMessage("c" * LIMIT))))
    assert messages(list(server.events())) == ["again and again"] * 2 + ["c" * LIMIT]


def test_without_context_takeover_a_bomb_closes_with_1009_too() -> None:
    client, server = pair(client_no_context_takeover=True)
    assert messages(sent(client, server, TextMessage("a"))) == ["a"]
    events = sent(client, server, TextMessage("a" * 100 * LIMIT))
    assert closing(events) == CloseReason.MESSAGE_TOO_BIG


def test_an_empty_message_is_read() -> None:
    client, server = pair()
    events = sent(client, server, TextMessage(""), TextMessage("a"))
    assert messages(events) == ["", "a"]
