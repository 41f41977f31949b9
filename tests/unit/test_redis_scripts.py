"""What the Redis broker's keys are called, and what goes over its channels."""

from __future__ import annotations

import os
import pickle
from typing import Any

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st
from redis.crc import key_slot

from quart_realtime.models import dump
from quart_realtime.protocol import MAX_OFFSET, Event, is_room_name
from quart_realtime.redis_scripts import (
    Names,
    decode_body,
    decode_entries,
    decode_message,
    encode_body,
    placed,
)

NAMES = Names("quart_realtime:0:v1")
NODE = "0" * 32
ODD = [
    "}",
    "{",
    "{}",
    "}{",
    "a}b",
    "{a}",
    "{a}b",
    "a{b}c}",
    "",
    "{r:}",
    ":",
    "r:",
    " ",
    "é🙂",
    "*?[",
]

rooms = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(
    lambda room: is_room_name(room) or not room
) | st.sampled_from(ODD)


def keys_of(names: Names, room: str) -> list[str]:
    """All keys and channels that a script may touch together."""
    return [
        names.channel(room),
        names.place(room),
        names.history(room),
        names.sent(room, "evt-1"),
        names.sent(room, "key:}{"),
        names.users(room),
        names.present(room, NODE),
    ]


# Names


@pytest.mark.parametrize("room", [*ODD, "\0commands", "\0presence:a}b", "\0logins:{}"])
def test_all_keys_of_an_oddly_named_room_are_in_one_slot(room: str) -> None:
    assert len({key_slot(key.encode()) for key in keys_of(NAMES, room)}) == 1


@given(rooms)
def test_all_keys_of_any_room_are_in_one_slot(room: str) -> None:
    assert len({key_slot(key.encode()) for key in keys_of(NAMES, room)}) == 1


def test_rooms_are_spread_over_the_slots() -> None:
    slots = {key_slot(NAMES.place(f"room {n}").encode()) for n in range(1000)}
    assert len(slots) > 900


@given(rooms)
@example("}")
@example("{r:x}")
def test_a_channel_tells_its_room(room: str) -> None:
    assert NAMES.room_of(NAMES.channel(room)) == room
    other = Names("another-prefix.of_64:15:v1")
    assert other.room_of(other.channel(room)) == room


@given(rooms, rooms)
def test_two_rooms_never_share_a_key(one: str, other: str) -> None:
    shared = set(keys_of(NAMES, one)) & set(keys_of(NAMES, other))
    assert bool(shared) == (one == other)


def test_a_room_s_name_and_a_key_together_never_mean_another_room_s_key() -> None:
    assert NAMES.sent("a}:key:b", "key:c") != NAMES.sent("a", "key:b}:key:c")


def test_two_prefixes_never_share_a_key_or_a_channel() -> None:
    here, there = Names("shop:0:v1"), Names("shop:1:v1")
    assert not set(keys_of(here, "room")) & set(keys_of(there, "room"))
    assert here.nodes() != there.nodes()
    assert here.rooms_of(NODE) != there.rooms_of(NODE)
    assert here.once("k") != there.once("k")
    assert here.probe(NODE, 0) != there.probe(NODE, 0)


def test_the_salts_of_a_probe_lead_to_all_slots() -> None:
    thirds = {key_slot(NAMES.probe(NODE, salt).encode()) * 3 // 16384 for salt in range(100)}
    assert thirds == {0, 1, 2}


@given(st.text(max_size=10), st.text(max_size=10))
def test_a_request_s_key_of_any_length_has_a_name_of_its_own(one: str, other: str) -> None:
    assert (NAMES.once(one) == NAMES.once(other)) == (one == other)
    assert len(NAMES.once(one * 1000)) == len(NAMES.once(one))


# What goes over a channel

json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
epochs = st.text("0123456789abcdef", min_size=1, max_size=16)
events = st.builds(
    Event,
    type=st.text(min_size=1),
    data=json.map(dump),
    room=rooms,
    id=st.text(min_size=1),
    exclude=st.none() | st.text(),
)


def message_of(event: Event) -> bytes:
    """What PUBLISH sends of *event*."""
    where = "- 0" if event.offset is None else f"{event.epoch} {event.offset}"
    return where.encode() + b" " + encode_body(event)


@given(events)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    assert decode_body(encode_body(event), event.room) == event
    assert decode_message(message_of(event), event.room) == event


@given(events, epochs, st.integers(1, MAX_OFFSET))
def test_an_event_is_read_with_its_place(event: Event, epoch: str, offset: int) -> None:
    event = evolve(event, epoch=epoch, offset=offset)
    assert decode_message(message_of(event), event.room) == event
    entries = [(f"{offset}-0".encode(), [b"at", b"0", b"event", encode_body(event)])]
    assert decode_entries(entries, epoch, event.room) == (event,)


def test_an_event_without_a_place_stays_without_one() -> None:
    event = Event("kind", b"1", "room")
    assert placed(event, b"- 0") == event
    assert placed(event, b"e 7") == evolve(event, epoch="e", offset=7)


# What makes no sense


def refused(message: bytes) -> bool:
    """Tell whether *message* is refused; whatever else may come of it but an event, fails."""
    try:
        event = decode_message(message, "room")
    except ValueError:
        return True
    assert (event.offset is None) == (event.epoch is None)
    assert event.offset is None or 0 < event.offset <= MAX_OFFSET
    event.data.decode()
    return False


class Nasty:
    """Were it unpickled, it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo unpickled",)


BODY = b'["kind","evt-1",null,1]'
GARBAGE = {
    "nothing": b"",
    "blanks": b"   ",
    "no body": b"e 1",
    "an empty body": b"e 1 ",
    "no place": BODY,
    "a pickle": pickle.dumps(Nasty()),
    "a pickle as the body": b"e 1 " + pickle.dumps(Nasty()),
    "zeros": bytes(100),
    "no number": b"e one " + BODY,
    "a fraction": b"e 1.0 " + BODY,
    "an exponent": b"e 1e3 " + BODY,
    "no offset": b"e  " + BODY,
    "a number beyond all reading": b"e " + b"9" * 5000 + b" " + BODY,
    "an epoch that isn't UTF-8": b"\xff\xfe 1 " + BODY,
    "an offset that isn't UTF-8": b"e \xff " + BODY,
    "data that isn't UTF-8": b'e 1 ["kind","evt-1",null,"\xff"]',
    "a type that isn't UTF-8": b'e 1 ["\xc3\x28","evt-1",null,1]',
    "an overlong encoding": b'e 1 ["kind","evt-1",null,"\xc0\xaf"]',
    "a lone surrogate": b'e 1 ["kind","evt-1",null,"\xed\xa0\x80"]',
    "half an escape": b'e 1 ["\\ud800","evt-1",null,1]',
    "an object": b'e 1 {"type":"kind","id":"evt-1","exclude":null,"data":1}',
    "an empty array": b"e 1 []",
    "a short array": b'e 1 ["kind","evt-1",null]',
    "a long array": b'e 1 ["kind","evt-1",null,1,2]',
    "a type that is a number": b'e 1 [1,"evt-1",null,1]',
    "a type that is null": b'e 1 [null,"evt-1",null,1]',
    "an id that is null": b'e 1 ["kind",null,null,1]',
    "an exclude that is true": b'e 1 ["kind","evt-1",true,1]',
    "no data": b'e 1 ["kind","evt-1",null,]',
    "NaN": b'e 1 ["kind","evt-1",null,NaN]',
    "half of it": b'e 1 ["kind","evt-1",null',
    "more after it": b"e 1 " + BODY + b" more",
    "two of them": b"e 1 " + BODY + BODY,
    "a BOM": b"e 1 \xef\xbb\xbf" + BODY,
    "gzip": b"e 1 \x1f\x8b\x08\x00" + bytes(20),
    "MessagePack": b"e 1 \x94\xa4kind\xa5evt-1\xc0\x01",
    "a negative offset": b"e -1 " + BODY,
    "offset zero": b"e 0 " + BODY,
    "an offset beyond JSON": b"e %d " % (MAX_OFFSET + 1) + BODY,
    "a huge offset": b"e " + b"9" * 4000 + b" " + BODY,
    "an offset with an underscore": b"e 1_0 " + BODY,
    "an offset with a sign": b"e +1 " + BODY,
    "an offset with a tab": b"e \t1 " + BODY,
    "an offset in other digits": "e \u0661 ".encode() + BODY,
    "no epoch": b" 1 " + BODY,
    "no epoch, yet a number": b"- 1 " + BODY,
    "no epoch, and no number": b"- one " + BODY,
}


@pytest.mark.parametrize("message", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_a_wrong_value(message: bytes) -> None:
    assert refused(message)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["arrays", "objects"])
@pytest.mark.parametrize("depth", [100_000, 1_000_000])
def test_what_nests_too_deep_is_a_wrong_value(opening: bytes, depth: int) -> None:
    closing = b"]" if opening == b"[" else b"}"
    data = opening * depth + b"1" + closing * depth
    assert refused(b'e 1 ["kind","evt-1",null,' + data + b"]")
    assert refused(b"e 1 " + data)


@given(st.binary())
def test_any_bytes_are_a_wrong_value(garbage: bytes) -> None:
    assert refused(garbage)
    assert refused(b"e 1 " + garbage)
    assert refused(garbage.replace(b" ", b"") + b" x " + BODY)


@given(st.binary())
def test_any_bytes_as_data_are_a_wrong_value_or_text(garbage: bytes) -> None:
    refused(b'e 1 ["kind","evt-1",null,"' + garbage + b'"]')
    refused(b'e 1 ["kind","evt-1",null,' + garbage + b"]")


@given(st.data(), events, epochs, st.integers(1, MAX_OFFSET))
def test_a_message_that_was_damaged_is_a_wrong_value_or_another_event(
    data: st.DataObject, event: Event, epoch: str, offset: int
) -> None:
    whole = message_of(evolve(event, epoch=epoch, offset=offset))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 4)))
    refused(whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:])
    refused(whole[:start])


@pytest.mark.parametrize(
    "fields",
    [
        [b"at", b"0", b"event", b"garbage"],
        [b"at", b"0", b"event", b""],
        [b"at", b"0", b"event", pickle.dumps(Nasty())],
        [b"at", b"0", b"event", b'["kind","evt-1",null,"\xff"]'],
        [b"at", b"0"],
        [b"x", b"y"],
        [],
    ],
)
def test_an_entry_of_a_stream_that_makes_no_sense_is_a_wrong_value(fields: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        decode_entries([(b"1-0", fields)], "e", "room")
