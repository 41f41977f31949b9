"""Small stand-ins for the protocols that the pure modules ask for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from quart_realtime.frames import Frame
from quart_realtime.models import dump
from quart_realtime.protocol import Event

BOUND = 15.0
"""How many seconds a test waits for what must come."""


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class Recorder:
    """A broker's listener that keeps what it is brought."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.commands: list[dict[str, Any]] = []
        self.lost: list[str | None] = []
        self._news = asyncio.Event()

    def deliver(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def obey(self, command: Mapping[str, Any]) -> None:
        self.commands.append(dict(command))
        self._news.set()

    def lose(self, room: str | None) -> None:
        self.lost.append(room)
        self._news.set()

    async def rest(self) -> None:
        pass

    async def has(
        self,
        *,
        events: int = 0,
        commands: int = 0,
        lost: int = 0,
        within: float = BOUND,
    ) -> None:
        """Wait, for a bounded time, until so much has come."""
        async with asyncio.timeout(within):
            while (
                len(self.events) < events or len(self.commands) < commands or len(self.lost) < lost
            ):
                self._news.clear()
                await self._news.wait()


class Member:
    """A subscriber that keeps what it is sent."""

    def __init__(self, name: str = "one") -> None:
        self.id = name
        self.rooms: set[str] = set()
        self.frames: list[Frame] = []
        self.lost_places = 0
        self.sent_away: list[str] = []
        self.told_to_join: list[str] = []
        self.told_to_leave: list[str] = []
        self.messages: list[str] = []

    def deliver(self, frame: Frame) -> None:
        self.frames.append(frame)

    def lose_place(self) -> None:
        self.lost_places += 1

    def send_away(self, reason: str) -> None:
        self.sent_away.append(reason)

    async def join(self, room: str) -> None:
        self.told_to_join.append(room)

    async def leave(self, room: str) -> None:
        self.told_to_leave.append(room)

    async def recheck(self) -> None: ...

    async def send(self, event: str, data: Any) -> None: ...

    async def close(self, code: int, reason: str) -> None: ...

    def hear(self, text: str) -> None:
        self.messages.append(text)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [strict_json(frame.text) for frame in self.frames]

    @property
    def heard(self) -> list[Any]:
        """The data of the events that came, in order."""
        return [frame["payload"]["data"] for frame in self.told]

    @property
    def kinds(self) -> list[str]:
        return [frame["payload"]["type"] for frame in self.told]


def event(data: Any = None, room: str = "room", kind: str = "happened", **more: Any) -> Event:
    return Event(kind, dump(data), room, **more)


def strict_json(text: str) -> Any:
    """Read JSON as a browser does: NaN and Infinity are none."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)
