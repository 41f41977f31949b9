"""A TCP proxy between a browser and a server, that does to connections what networks do.

``setOffline`` of a browser's tools leaves open websockets alone, so they are cut here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Passes everything on to *port*, until told otherwise.

    Attributes:
        port: Where it listens, on the loopback address.
        refusing: Whether new connections are cut at once.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.refusing = False
        self._target = port
        self._open: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()

    def target(self, port: int) -> None:
        """Pass new connections on to another port."""
        self._target = port

    def go_away(self) -> None:
        """Cut all connections, and refuse new ones."""
        self.refusing = True
        self.cut()

    def come_back(self) -> None:
        """Serve again."""
        self.refusing = False

    def cut(self) -> None:
        """Cut all connections, so that both sides hear of it."""
        for writer in self._open:
            writer.transport.abort()

    def swallow(self) -> None:
        """Pass nothing on any longer, in either direction, and tell nobody."""
        self._passing.clear()

    def pass_on(self) -> None:
        """Pass everything on again, what was swallowed first."""
        self._passing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, until either side ends it."""
        if self.refusing:
            writer.transport.abort()
            return
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, target_writer}
        self._open |= both
        try:
            await asyncio.gather(
                self._pump(reader, target_writer), self._pump(target_reader, writer)
            )
        finally:
            self._open -= both
            for end in both:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """Have a proxy to *port*."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.pass_on()
        proxy.cut()
