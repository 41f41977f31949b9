"""What is loaded: a server's processes, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from attrs import field, frozen

from .counting import Counters
from .dialects import Dialect, dialect
from .process import Meter
from .sockets import Socket, open_many

S = TypeVar("S", bound=Socket)


@frozen
class Node:
    """One process that listens, with those that it has started."""

    port: int
    control: str
    pids: tuple[int, ...] = field(converter=tuple)


@frozen
class Valkey:
    """A Valkey server."""

    port: int
    pid: int


@frozen
class Target:
    """A server to load: one node, or several that share a Valkey server."""

    nodes: tuple[Node, ...]
    dialect: str
    valkey: Valkey | None = None
    spin: bool = False

    @classmethod
    def read(cls, told: dict[str, Any]) -> Target:
        """Read it out of a job's order."""
        nodes = tuple(Node(**node) for node in told["nodes"])
        valkey = Valkey(**told["valkey"]) if told["valkey"] else None
        return cls(nodes, told["dialect"], valkey, told["spin"])

    @property
    def port(self) -> int:
        """Where the first node listens."""
        return self.nodes[0].port

    @property
    def control(self) -> str:
        """Where the first node listens for orders."""
        return self.nodes[0].control

    @property
    def pids(self) -> tuple[int, ...]:
        """All processes of all nodes."""
        return tuple(pid for node in self.nodes for pid in node.pids)

    def speak(self, users: int) -> Dialect:
        """Return how to speak to it, good for so many users."""
        return dialect(self.dialect, users)

    def counters(self, speech: Dialect) -> Counters:
        """Return a counter for its sockets."""
        return Counters(speech, 0.0) if self.spin else Counters(speech)

    def meter(self) -> Meter:
        """Return what sees how busy it is from now on."""
        return Meter(self.pids, self.valkey.pid if self.valkey else None)

    async def open_evenly(self, sockets: Sequence[S]) -> Sequence[S]:
        """Open *sockets*, the same number on each node."""
        share = -(-len(sockets) // len(self.nodes))
        for number, node in enumerate(self.nodes):
            first = number * share
            await open_many(node.port, sockets[first : first + share], first)
        return sockets
