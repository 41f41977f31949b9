"""What the nodes have their Valkey server do, seen from that server."""

from __future__ import annotations

import psutil
import redis
from attrs import frozen

from .process import Processes
from .target import Node, Target

OWN = 2
"""How many of the commands between two looks are those that it takes to look, each a request."""


@frozen
class Look:
    """What Valkey and the nodes have done so far.

    Args:
        requests: How many times something was read from a client, so how many round trips the
            clients have made: a pipeline of small commands is one.
        calls: How many commands were run, those in scripts among them.
        sent: How many bytes were sent to each node.
        computed: For how many seconds each node has computed.
        valkey: For how many Valkey has.
    """

    requests: int
    calls: int
    sent: tuple[int, ...]
    computed: tuple[float, ...]
    valkey: float

    def since(self, before: Look) -> Look:
        """Return what was done between *before* and this."""
        return Look(
            self.requests - before.requests - OWN,
            self.calls - before.calls - OWN,
            tuple(now - then for now, then in zip(self.sent, before.sent, strict=True)),
            tuple(now - then for now, then in zip(self.computed, before.computed, strict=True)),
            self.valkey - before.valkey,
        )


class Watch:
    """Asks the Valkey server of a target, by a connection of its own."""

    def __init__(self, target: Target) -> None:
        if target.valkey is None:
            raise RuntimeError("there is no Valkey server to watch")
        self._port = target.valkey.port
        self._nodes = target.nodes
        self._processes = [Processes(node.pids) for node in target.nodes]
        self._client = redis.Redis(port=self._port)

    def look(self) -> Look:
        """Return what has been done so far."""
        clients = {each["addr"]: each for each in self._client.client_list()}
        own = [
            [clients[address] for address in self._addresses(node) if address in clients]
            for node in self._nodes
        ]
        stats = self._client.info("stats", "commandstats", "cpu")
        calls = [stats[name]["calls"] for name in stats if name.startswith("cmdstat_")]
        return Look(
            stats["total_reads_processed"],
            sum(calls),
            tuple(sum(int(each["tot-net-out"]) for each in node) for node in own),
            tuple(processes.cpu() for processes in self._processes),
            stats["used_cpu_user"] + stats["used_cpu_sys"],
        )

    def connections(self, node: Node) -> int:
        """Return how many TCP connections *node* holds to Valkey."""
        return len(self._addresses(node))

    def memory(self) -> int:
        """Return how many bytes Valkey has in use."""
        return int(self._client.info("memory")["used_memory"])

    def close(self) -> None:
        """Let go."""
        self._client.close()

    def _addresses(self, node: Node) -> list[str]:
        return [
            f"{connection.laddr.ip}:{connection.laddr.port}"
            for pid in node.pids
            for connection in psutil.Process(pid).net_connections("tcp")
            if connection.raddr and connection.raddr.port == self._port
        ]
