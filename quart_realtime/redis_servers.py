"""The Redis servers behind a URL: one, those that Sentinel looks after, or a cluster.

Of redis-py this module takes connections, pools, discovery and topology; what is said over them
is others' business.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Literal, TypeAlias, cast

from redis import asyncio as aioredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    ConnectionError,  # noqa: A004
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004
    TryAgainError,
)

from .broker_url import BrokerUrl, Kind
from .errors import BrokerUnavailable, SetupError
from .redis_scripts import Script

Argument: TypeAlias = str | bytes | int

PATIENCE = 2.0
"""For how many seconds Redis may take to answer."""
AT_ONCE = 16
"""How many commands may be under way at once, each over a connection of its own."""
WAITING = 4096
"""How many more may wait for their turn; the next fails at once."""
RETRY_AFTER = 0.05
"""After how many seconds what failed is tried again, as long as there is patience."""
TRY_AFTER = 0.5
"""How many seconds after it gave no answer it is tried again."""

UNREACHABLE = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    ClusterDownError,
    ClusterError,
    TryAgainError,
    RedisClusterException,
    OSError,
    asyncio.TimeoutError,
)
"""What redis-py raises while a server is away, starts, or no longer leads."""
PASSING = ("OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN", "BUSY")
"""What the errors begin with that a server gets over, or is helped over."""
REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)
"""What it raises where waiting doesn't help."""


def told(error: BaseException) -> str:
    """Return what *error* says; those of redis-py say nothing by their representation."""
    return str(error) or type(error).__name__


async def in_turns(work: Iterable[Awaitable[object]]) -> None:
    """Do all of *work*, a few pieces at once; what can't be done holds up nothing else.

    Raises:
        BrokerUnavailable: some of it could not be done.
    """
    failed: BrokerUnavailable | None = None
    pieces = iter(work)
    while batch := list(islice(pieces, AT_ONCE)):
        for outcome in await asyncio.gather(*batch, return_exceptions=True):
            if isinstance(outcome, BrokerUnavailable):
                failed = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
    if failed is not None:
        raise failed


class _Way:
    """The way to one server: how many may use it at once, and whether it is worth trying.

    Once a server has not answered, nobody else waits for it in vain: one at a time finds out
    whether it is back (a circuit breaker, after M. Nygard, *Release It!*, 2007).
    """

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(AT_ONCE)
        self.gave_up_at: float | None = None
        self.on_trial = False

    def admit(self) -> bool:
        """Let one more try, or raise BrokerUnavailable; True where it tries for all others."""
        if self.gave_up_at is None:
            return False
        since = asyncio.get_running_loop().time() - self.gave_up_at
        if self.on_trial or since < TRY_AFTER:
            raise BrokerUnavailable("Redis did not answer a moment ago")
        self.on_trial = True
        return True


class Servers(ABC):
    """The servers behind one URL.

    Attributes:
        publish: The verb that publishes; *subscribe* and *unsubscribe* likewise.
    """

    publish: Literal["PUBLISH", "SPUBLISH"] = "PUBLISH"
    subscribe = "SUBSCRIBE"
    unsubscribe = "UNSUBSCRIBE"

    def __init__(self) -> None:
        self._waiting = 0
        self._ways: dict[str, _Way] = {}

    async def run(
        self, script: Script, keys: Sequence[str], *arguments: Argument, again: bool = True
    ) -> Any:
        """Run *script* in one round trip.

        Args:
            script: What runs.
            keys: The keys that it touches, of one slot.
            *arguments: What it is given.
            again: Whether it may run twice where the first answer was lost.

        Raises:
            BrokerUnavailable: there was no answer within :data:`PATIENCE`.
        """

        def ask() -> Awaitable[Any]:
            return self._evaluate(script, keys, arguments)

        return await self._patiently(keys[0], ask, again=again)

    async def command(self, *words: Argument) -> Any:
        """Give a command that may be given twice; its first argument is its key.

        Raises:
            BrokerUnavailable: as for :meth:`run`.
        """
        return await self._patiently(str(words[1]), lambda: self._command(*words), again=True)

    async def _patiently(self, key: str, ask: Callable[[], Awaitable[Any]], *, again: bool) -> Any:
        if self._waiting >= WAITING:
            raise BrokerUnavailable("too much is waiting for Redis already")
        way = self._way(key)
        trial = way.admit()
        self._waiting += 1
        had_a_turn = False
        try:
            async with asyncio.timeout(PATIENCE) as patience, way.turn:
                had_a_turn = True
                answer = await self._asked(ask, patience, again=again)
        except UNREACHABLE as error:
            if had_a_turn and patience.expired():
                way.gave_up_at = asyncio.get_running_loop().time()
            raise BrokerUnavailable(f"Redis does not answer: {told(error)}") from error
        except RedisError as error:
            raise BrokerUnavailable(f"Redis refuses: {error}") from error
        else:
            way.gave_up_at = None
            return answer
        finally:
            self._waiting -= 1
            if trial:
                way.on_trial = False

    def _way(self, key: str) -> _Way:
        try:
            endpoint = self.endpoint(key)
        except BrokerUnavailable:
            endpoint = "unknown"  # Asking finds it out.
        return self._ways.setdefault(endpoint, _Way())

    async def _asked(
        self, ask: Callable[[], Awaitable[Any]], patience: asyncio.Timeout, *, again: bool
    ) -> Any:
        while True:
            try:
                return await ask()
            except UNREACHABLE:
                # A limit of redis-py's own that is reached in the same moment may take ours for
                # its own, and ours strikes only once.
                if not again or patience.expired():
                    raise
                await asyncio.sleep(RETRY_AFTER)

    @property
    def answers(self) -> bool:
        """Whether all that were asked have answered when last asked."""
        return all(way.gave_up_at is None for way in self._ways.values())

    def is_back(self, endpoint: str) -> None:
        """Let everybody try *endpoint* again: it was heard from."""
        self._ways.pop(endpoint, None)

    async def greet(self, script: Script, keys: Sequence[str], *arguments: Argument) -> str | None:
        """See whether *script* runs; return why not, where that may pass.

        Raises:
            SetupError: it never will as it is.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._evaluate(script, keys, arguments)
        except REFUSED as error:
            raise SetupError(
                f"Redis refuses the connection ({error}): check the user, the password and the "
                "rights in QUART_REALTIME_BROKER_URL."
            ) from error
        except UNREACHABLE as error:
            return told(error)
        except RedisError as error:
            if str(error).startswith(PASSING):
                return str(error)
            raise SetupError(
                f"QUART_REALTIME_BROKER_URL: this server can't be used ({error}); it takes Redis 7 "
                "or Valkey, and redis+cluster:// for a cluster."
            ) from error
        return None

    async def is_part_of_a_cluster(self) -> bool:
        """Tell whether it is one server of a cluster, as far as it says so."""
        return False

    async def _evaluate(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]
    ) -> Any:
        try:
            return await self._command("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            # SCRIPT FLUSH, a restart, a server that took over: EVAL has it kept again.
            return await self._command("EVAL", script.source, len(keys), *keys, *arguments)

    @abstractmethod
    def _command(self, *words: Argument) -> Awaitable[Any]:
        """Give a command to whoever has its key."""

    @abstractmethod
    def endpoint(self, channel: str) -> str:
        """Return the name of the server that *channel* is heard from."""

    @abstractmethod
    def connection(self, endpoint: str) -> AbstractConnection:
        """Return a connection to *endpoint*, not yet open, on which reading never times out."""

    @abstractmethod
    def leads(self, endpoint: str) -> bool:
        """Tell whether anything is to be heard from *endpoint*."""

    @abstractmethod
    async def look_around(self) -> None:
        """Find out anew which server has what, after one has gone."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of all connections."""


class OneServer(Servers):
    """A single server, or the one that leads, by Sentinel's word."""

    def __init__(
        self,
        commands: ConnectionPool,
        listening: ConnectionPool,
        sentinels: Sequence[aioredis.Redis] = (),
    ) -> None:
        super().__init__()
        self._client = aioredis.Redis(connection_pool=commands)
        self._commands = commands
        self._listening = listening
        self._sentinels = sentinels

    def _command(self, *words: Argument) -> Awaitable[Any]:
        return cast("Awaitable[Any]", self._client.execute_command(*words))

    def endpoint(self, channel: str) -> str:
        """Return the only name there is."""
        return ""

    def connection(self, endpoint: str) -> AbstractConnection:
        """Return a connection, not yet open."""
        return cast(AbstractConnection, self._listening.make_connection())

    async def is_part_of_a_cluster(self) -> bool:
        """Tell whether it is, as far as it says so."""
        try:
            async with asyncio.timeout(PATIENCE):
                said = await self._command("INFO", "cluster")
        except (*UNREACHABLE, RedisError):
            return False
        return isinstance(said, dict) and said.get("cluster_enabled") == 1

    def leads(self, endpoint: str) -> bool:
        """Return True: there is no other."""
        return True

    async def look_around(self) -> None:
        """Do nothing: each new connection asks Sentinel, where there is one."""

    async def close(self) -> None:
        """Let go of all connections."""
        await self._commands.disconnect()
        for sentinel in self._sentinels:
            await sentinel.aclose()


class Cluster(Servers):
    """A cluster: each room is on one of its servers, and heard from there (sharded pub/sub)."""

    publish = "SPUBLISH"
    subscribe = "SSUBSCRIBE"
    unsubscribe = "SUNSUBSCRIBE"

    def __init__(self, client: aioredis.RedisCluster) -> None:
        super().__init__()
        self._client = client

    def _command(self, *words: Argument) -> Awaitable[Any]:
        return cast("Awaitable[Any]", self._client.execute_command(*words))

    def endpoint(self, channel: str) -> str:
        """Return the host and port of the server that leads in the channel's slot."""
        try:
            node = self._client.get_node_from_key(channel)
        except RedisClusterException as error:
            raise BrokerUnavailable(f"the cluster isn't known yet: {error}") from error
        if node is None:
            raise BrokerUnavailable("no server of the cluster has the slot")
        return node.name

    def connection(self, endpoint: str) -> AbstractConnection:
        """Return a connection, not yet open."""
        node = self._client.get_node(node_name=endpoint)
        if node is None:
            raise ConnectionError(f"{endpoint} has left the cluster")
        options = {**node.connection_kwargs, "retry": _never()}
        return cast(AbstractConnection, node.connection_class(**options))

    def leads(self, endpoint: str) -> bool:
        """Tell whether a server of that name leads in some slots."""
        return any(node.name == endpoint for node in self._client.get_primaries())

    async def look_around(self) -> None:
        """Ask the cluster anew who leads where."""
        async with asyncio.timeout(PATIENCE):
            await self._client.nodes_manager.initialize()

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.aclose()
        # Those of the URL are kept apart from those that the cluster named itself.
        for node in self._client.nodes_manager.startup_nodes.values():
            await node.disconnect()


def _never() -> Retry:
    return Retry(NoBackoff(), 0)


COMMON: dict[str, Any] = {"protocol": 2}
"""What all connections have in common; a URL's own options go before it."""
_PATIENT = {"socket_timeout": None, "socket_connect_timeout": 2 * PATIENCE}
"""It is always we who lose patience: redis-py's own limit on sending is ``asyncio.wait_for``, which
on Python 3.11 may swallow that we do (CPython issue 86296)."""


def connect(url: BrokerUrl) -> Servers:
    """Return the servers behind *url*; no connection is opened yet.

    Raises:
        SetupError: an option of the URL is unknown.
    """
    try:
        options = [dict(parse_url(server)) for server in url.servers]
        hosts = [(each.pop("host", None), each.pop("port", None)) for each in options]
        settings = {**COMMON, **_PATIENT, **options[0]}
        if url.kind is Kind.CLUSTER:
            return Cluster(_cluster(hosts, settings))
        settings["retry"] = _never()
        if url.kind is Kind.SENTINEL:
            servers = _by_sentinel(url, hosts, settings)
            servers.connection("")
            return servers
        if hosts[0][0] is not None:
            settings |= {"host": hosts[0][0], "port": hosts[0][1]}
        servers = OneServer(ConnectionPool(**settings), ConnectionPool(**settings))
        servers.connection("")
        return servers
    except Exception as error:  # It is options alone that are looked at here.
        raise wrong_option(error) from None


def wrong_option(error: Exception) -> SetupError:
    """Return what to say where redis-py takes the URL, or an option in it, for an *error*.

    What else redis-py says isn't passed on: it may hold the password.
    """
    name = re.search(r"(?:argument|value for) [`'](\w+)[`']", str(error))
    what = f"redis-py doesn't take the option {name[1]!r}" if name else "redis-py can't read it"
    return SetupError(f"QUART_REALTIME_BROKER_URL, the broker's URL, can't be used: {what}.")


def _cluster(hosts: list[tuple[Any, Any]], settings: dict[str, Any]) -> aioredis.RedisCluster:
    settings.pop("db", None)
    secure = settings.pop("connection_class", None) is not None
    nodes = [aioredis.cluster.ClusterNode(host, port) for host, port in hosts]
    return aioredis.RedisCluster(
        startup_nodes=nodes,
        dynamic_startup_nodes=False,
        ssl=secure,
        max_connections=2 * AT_ONCE,
        retry=_never(),
        **settings,
    )


def _by_sentinel(
    url: BrokerUrl, hosts: list[tuple[Any, Any]], settings: dict[str, Any]
) -> OneServer:
    secure = settings.pop("connection_class", None) is not None
    asking = {**COMMON, **_PATIENT, **parse_url(f"redis://?{url.sentinel}"), "ssl": secure}
    sentinel = aioredis.Sentinel(hosts, sentinel_kwargs=asking)
    commands, listening = (
        aioredis.sentinel.SentinelConnectionPool(url.service, sentinel, ssl=secure, **settings)
        for _ in range(2)
    )
    return OneServer(commands, listening, sentinel.sentinels)
