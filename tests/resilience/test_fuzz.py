"""A live connection, used in any order and fed with anything: hypothesis looks for what breaks it.

``FUZZ_SECONDS`` has it look for longer, an hour by 3600, with other examples each time.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ..e2e.conftest import APP, make_token
from ..e2e.server import Server, serving
from .conftest import Figures

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
BOUND = 20.0
ROOMS = ("a", "b", "c")
OWN = {"everyone", "user:ana"}
CLOSES = {1009, 4001, 4006, 4500, 4501}
"""What nonsense may be answered by."""
ANSWERED = {"request", "subscribe", "unsubscribe", "auth"}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from([*ANSWERED, "ping", "pong", "event", "closing"]) | JSON,
        "id": st.text(max_size=70) | JSON,
        "resource": st.sampled_from(["echo", "who", "slow"]) | JSON,
        "key": JSON,
        "payload": st.fixed_dictionaries(
            {},
            optional={
                "action": st.sampled_from(["say", "native"]) | JSON,
                "rooms": st.lists(JSON, max_size=3) | JSON,
                "token": st.text(max_size=40) | JSON,
                "text": JSON,
            },
        )
        | JSON,
    },
)
NONSENSE = (
    st.text(max_size=200)
    | JSON.map(json.dumps)
    | ENVELOPES.map(json.dumps)
    | ENVELOPES.map(lambda envelope: json.dumps(envelope)[: -1 or None])
    | st.sampled_from(["[" * 5_000, "x" * 65_537, '{"type":"ping","id":1e400}', "\0", "null"])
)


class Live(RuleBasedStateMachine):
    """A client that does anything, and knows what it has to be told.

    Rooms are this run's own, so that their offsets are known: as many as were published.
    """

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.run = uuid4().hex
        self.published = dict.fromkeys(ROOMS, 0)
        self.socket: ClientConnection | None = None
        self.stack = ExitStack()
        self.open = False
        self.inside: dict[str, int] = {}
        self.places: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, str] = {}
        self.numbers = 0

    def name(self, room: str) -> str:
        return f"numbers:{self.run}-{room}"

    # What it does

    @precondition(lambda self: self.socket is None)
    @rule(by=st.sampled_from(["handshake", "message"]))
    def arrive(self, by: str) -> None:
        protocols = ["realtime.v1"]
        if by == "handshake":
            protocols.append(f"bearer.{make_token('ana')}")
        opened = connect(self.server.ws_url, subprotocols=protocols)  # type: ignore[arg-type]
        self.socket = self.stack.enter_context(opened)
        self.inside = {}
        if by == "handshake":
            self.until(lambda frame: frame["type"] == "connected")
            self.open = True

    @precondition(lambda self: self.socket is not None)
    @rule(good=st.booleans())
    def log_in(self, good: bool) -> None:
        was_open = self.open
        answer = self.ask("auth", {"token": make_token("ana") if good else "x.y.z"})
        if not good:
            if not was_open:
                self.ended({4500})
            return
        assert answer["type"] == "response"
        if not was_open:
            self.until(lambda frame: frame["type"] == "connected")
        self.open = True

    @precondition(lambda self: self.socket is not None)
    @rule(text=st.text(max_size=30))
    def say(self, text: str) -> None:
        answer = self.ask("request", {"action": "say", "text": text}, resource="echo")
        if self.open:
            assert answer["payload"] == text
        else:
            assert answer["payload"]["code"] == "unauthorized"

    @precondition(lambda self: self.open)
    @rule(rooms=st.lists(st.sampled_from(ROOMS), min_size=1, max_size=3, unique=True))
    def subscribe(self, rooms: list[str]) -> None:
        wanted: list[Any] = [
            {key: self.places[room][key] for key in ("room", "epoch", "offset")}
            if room in self.places
            else self.name(room)
            for room in rooms
        ]
        before = {room: self.places[room]["offset"] for room in rooms if room in self.places}
        answer = self.ask("subscribe", {"rooms": wanted})
        for room, place in zip(rooms, answer["payload"]["rooms"], strict=True):
            assert place["offset"] == self.published[room]
            if room in before:
                told = [event["offset"] for event in place["events"]]
                assert place["recovered"]
                assert told == list(range(before[room] + 1, self.published[room] + 1))
            self.inside[room] = place["offset"]
            self.places[room] = place

    @precondition(lambda self: self.open)
    @rule(room=st.sampled_from(ROOMS))
    def unsubscribe(self, room: str) -> None:
        self.ask("unsubscribe", {"rooms": [self.name(room)]})
        self.inside.pop(room, None)

    @rule(room=st.sampled_from(ROOMS), count=st.integers(1, 5))
    def publish(self, room: str, count: int) -> None:
        first = self.published[room]
        url = f"{self.server.url}/numbers/{self.run}-{room}/{first}/{first + count}"
        with urlopen(Request(url, method="POST"), timeout=BOUND):
            self.published[room] += count

    @precondition(lambda self: self.socket is not None)
    @rule(text=NONSENSE)
    def send_anything(self, text: str) -> None:
        assert self.socket is not None
        if "auth" in text and self.open:
            return  # A token that is refused is another rule's.
        self.send(text)
        self.settle(nonsense=True)

    @precondition(lambda self: self.socket is not None)
    @rule(properly=st.booleans())
    def drop(self, properly: bool) -> None:
        assert self.socket is not None
        if not properly:
            self.socket.socket.shutdown(socket.SHUT_RDWR)
        self.gone()

    # What it checks

    @invariant()
    def it_has_all_that_it_is_owed_and_nothing_else(self) -> None:
        if self.socket is None:
            return
        self.settle()
        for room, offset in self.inside.items():
            assert offset == self.published[room]

    def settle(self, *, nonsense: bool = False) -> None:
        """Read all that has been sent up to now, each frame of it being one that may come."""
        mark = f"p{self.count()}"
        with suppress(ConnectionClosed):  # Reading tells why.
            self.send(json.dumps({"type": "ping", "id": mark}))
        end = self.until(
            lambda frame: frame["type"] == "pong" and frame.get("id") == mark, nonsense
        )
        if isinstance(end, int):
            assert nonsense, f"closed by {end}"
            assert end in CLOSES
            self.gone()

    def until(self, wanted: Any, nonsense: bool = False) -> dict[str, Any] | int:
        """Return the first frame that is *wanted*, or the code that the server closes with."""
        while True:
            assert self.socket is not None
            try:
                frame = json.loads(self.socket.recv(timeout=BOUND))
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006
            self.check(frame, nonsense)
            if wanted(frame):
                return dict(frame)

    def check(self, frame: dict[str, Any], nonsense: bool) -> None:
        """See that *frame* may come, and note what it tells."""
        kind = frame["type"]
        if kind in {"response", "error"}:
            known = self.asked.pop(frame["id"] or "", None)
            assert known is not None or nonsense, f"nobody has asked for {frame}"
        elif kind == "event":
            room = frame.get("room", "everyone")
            assert room in OWN | {self.name(room) for room in self.inside}
            for short in self.inside:
                if room == self.name(short):
                    assert frame["offset"] == self.inside[short] + 1
                    self.inside[short] = self.places[short]["offset"] = frame["offset"]
        else:
            assert kind in {"connected", "pong", "ping", "closing"}

    def ask(self, kind: str, payload: Any, **more: Any) -> dict[str, Any]:
        """Send what is answered, and return the one answer to it."""
        frame_id = f"r{self.count()}"
        self.asked[frame_id] = kind
        self.send(json.dumps({"type": kind, "id": frame_id, "payload": payload, **more}))
        answer = self.until(lambda frame: frame.get("id") == frame_id)
        assert not isinstance(answer, int), f"closed by {answer}"
        return answer

    def send(self, text: str) -> None:
        assert self.socket is not None
        self.socket.send(text)

    def count(self) -> int:
        self.numbers += 1
        return self.numbers

    def ended(self, codes: set[int]) -> None:
        """See that the server closes."""
        assert self.until(lambda frame: False) in codes
        self.gone()

    def gone(self) -> None:
        self.stack.close()
        self.socket = None
        self.open = False
        self.inside = {}
        self.asked = {}

    def teardown(self) -> None:
        self.gone()


@pytest.fixture(scope="module")
def lax() -> Iterator[Server]:
    """Serve with room for a client that comes again and again, and does a lot."""
    with serving(APP, RATE_LIMIT=None, MAX_CONNECTIONS_PER_USER=1000, HISTORY_SIZE=1000) as server:
        yield server


@pytest.mark.line(45, "any order of connect, auth, subscribe, request, nonsense, drop and resume")
@pytest.mark.timeout(max(300, 2 * SECONDS))
def test_whatever_a_client_does_it_has_one_answer_each_and_its_rooms_without_a_gap(
    lax: Server, figures: Figures
) -> None:
    until = time.monotonic() + SECONDS
    runs = 0
    while runs == 0 or time.monotonic() < until:
        run_state_machine_as_test(
            lambda: Live(lax),
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        runs += 1
    figures("runs of up to 2 400 steps", runs)
    assert not [line for line in lax.log if "Traceback" in line]
