"""The Redis servers behind a URL, for code without an event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from .broker_url import BrokerUrl, Kind
from .errors import BrokerUnavailable
from .redis_scripts import Script
from .redis_servers import (
    COMMON,
    PATIENCE,
    RETRY_AFTER,
    UNREACHABLE,
    Argument,
    told,
    wrong_option,
)


class SyncServers:
    """The servers behind one URL; threads may share it, and it lives on in a fork.

    Raises:
        SetupError: an option of the URL is unknown.
    """

    def __init__(self, url: BrokerUrl) -> None:
        self.publish = "SPUBLISH" if url.kind is Kind.CLUSTER else "PUBLISH"
        self._url = url
        self._clients: tuple[Any, ...] = ()
        if url.kind is not Kind.CLUSTER:  # Which is asked at once for its servers.
            self._open()

    def _open(self) -> None:
        try:
            self._clients = self._clients or _clients(self._url)
        except (TypeError, ValueError) as error:
            raise wrong_option(error) from None

    def run(
        self, script: Script, keys: Sequence[str], *arguments: Argument, again: bool = True
    ) -> Any:
        """Run *script*, as :meth:`.redis_servers.Servers.run` does."""

        def ask() -> Any:
            self._open()
            call: Callable[..., Any] = self._clients[0].execute_command
            try:
                return call("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return call("EVAL", script.source, len(keys), *keys, *arguments)

        deadline = time.monotonic() + PATIENCE
        try:
            try:
                return ask()
            except UNREACHABLE:
                # Each try has half the patience.
                if not again or time.monotonic() > deadline - PATIENCE / 2:
                    raise
                time.sleep(RETRY_AFTER)
                return ask()
        except UNREACHABLE as error:
            raise BrokerUnavailable(f"Redis does not answer: {told(error)}") from error
        except RedisError as error:
            raise BrokerUnavailable(f"Redis refuses: {error}") from error

    def close(self) -> None:
        """Let go of all connections."""
        for client in self._clients:
            client.close()
            if isinstance(client, redis.RedisCluster):
                # Those of the URL are kept apart from those that the cluster named itself.
                for node in client.nodes_manager.startup_nodes.values():
                    if node.redis_connection is not None:
                        node.redis_connection.close()


def _clients(url: BrokerUrl) -> tuple[Any, ...]:
    """Return the one that takes commands, and those that it asks where to."""
    options = [dict(parse_url(server)) for server in url.servers]
    hosts = [(each.pop("host", None), each.pop("port", None)) for each in options]
    patience = {"socket_timeout": PATIENCE / 2, "socket_connect_timeout": PATIENCE / 2}
    settings: dict[str, Any] = {**COMMON, **patience, **options[0]}
    never = Retry(NoBackoff(), 0)
    if url.kind is Kind.SINGLE:
        client = redis.Redis.from_url(url.servers[0], **COMMON, **patience, retry=never)
        client.connection_pool.make_connection()
        return (client,)
    secure = settings.pop("connection_class", None) is not None
    if url.kind is Kind.SENTINEL:
        asking = {**COMMON, **patience, **parse_url(f"redis://?{url.sentinel}"), "ssl": secure}
        sentinel = Sentinel(hosts, sentinel_kwargs=asking)
        leader = sentinel.master_for(url.service, ssl=secure, retry=never, **settings)
        return leader, *sentinel.sentinels
    settings.pop("db", None)
    nodes = [ClusterNode(host, port) for host, port in hosts]
    cluster = redis.RedisCluster(
        startup_nodes=nodes, dynamic_startup_nodes=False, ssl=secure, retry=never, **settings
    )
    return (cluster,)
