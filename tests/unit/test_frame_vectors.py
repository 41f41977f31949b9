"""The wire, by examples that the JavaScript client's tests read too: tests/js/protocol.test.js."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

from quart_realtime import errors, frames, protocol

VECTORS = json.loads((Path(__file__).parent.parent / "frames.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS["from_client"], ids=lambda vector: vector["js"][0])
def test_what_the_client_sends_is_what_the_server_reads(vector: dict[str, Any]) -> None:
    message = protocol.decode(json.dumps(vector["frame"]))
    name, fields = vector["python"]
    assert type(message).__name__ == name
    assert json.loads(json.dumps(attrs.asdict(message))) == fields


def argument(value: Any) -> Any:
    """Make the value that a function of frames takes."""
    if isinstance(value, dict) and "error" in value:
        return getattr(errors, value["error"])(value["message"], **value["details"])
    if isinstance(value, dict) and "data" in value:
        return protocol.Event(**{**value, "data": msgspec.json.encode(value["data"])})
    return value


@pytest.mark.parametrize("vector", VECTORS["from_server"], ids=lambda vector: vector["python"][0])
def test_what_the_server_sends_is_what_the_client_reads(vector: dict[str, Any]) -> None:
    name, *arguments = vector["python"]
    made = getattr(frames, name)
    frame = made(*map(argument, arguments)) if callable(made) else made
    assert json.loads(frame.data) == vector["frame"]


def test_close_codes_mean_the_same_on_both_sides() -> None:
    assert {code.label: int(code) for code in protocol.CloseCode} == VECTORS["close_codes"]
    assert all(map(protocol.may_reconnect, VECTORS["come_back"]))
    assert not any(map(protocol.may_reconnect, VECTORS["stay_away"]))


def test_rooms_are_named_the_same_on_both_sides() -> None:
    assert all(map(protocol.is_room_name, VECTORS["rooms"]))
    assert not any(map(protocol.is_room_name, VECTORS["no_rooms"]))
