"""A TCP proxy between a client and a server, that does to connections what networks do.

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
        target: The port that new connections are passed on to.
        refusing: Whether new connections are cut at once.
        blocks_websockets: Whether handshakes of websockets are cut, as some companies' proxies do
            that let all other requests through.
        arrivals: When connections came, by the clock of the event loop.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.target = port
        self.refusing = False
        self.blocks_websockets = False
        self.arrivals: list[float] = []
        # Both ends of each connection, and whether they get what is meant for them.
        self._open: dict[asyncio.StreamWriter, asyncio.Event] = {}
        self._clients: set[asyncio.StreamWriter] = set()
        self._swallowing = False
        self._serving: set[asyncio.Task[None]] = set()

    def go_away(self) -> None:
        """Cut all connections, and refuse new ones."""
        self.refusing = True
        self.cut()

    def come_back(self) -> None:
        """Serve again."""
        self.refusing = False

    def cut(self) -> None:
        """Reset all connections, so that both sides hear of it."""
        for writer in self._open:
            writer.transport.abort()

    def swallow(self) -> None:
        """Pass nothing on any longer, in either direction, and tell nobody."""
        self._swallowing = True
        for passing in self._open.values():
            passing.clear()

    def swallow_answers(self) -> None:
        """Pass nothing on any longer to those that are connected, though all of theirs."""
        for client in self._clients:
            self._open[client].clear()

    def pass_new_on(self) -> None:
        """Pass on what comes by new connections; those that are open stay silent."""
        self._swallowing = False

    def pass_on(self) -> None:
        """Pass everything on again, what was swallowed first."""
        self._swallowing = False
        for passing in self._open.values():
            passing.set()

    async def end(self) -> None:
        """Cut all connections, and wait until they are gone."""
        self.pass_on()
        self.cut()
        await asyncio.gather(*self._serving)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, until either side ends it."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrivals.append(asyncio.get_running_loop().time())
        if self.refusing:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        for end in (writer, back):
            self._open[end] = asyncio.Event()
            if not self._swallowing:
                self._open[end].set()
        self._clients.add(writer)
        try:
            await asyncio.gather(
                self._pump(reader, back, is_clients=True), self._pump(there, writer)
            )
        finally:
            self._clients.remove(writer)
            for end in (writer, back):
                del self._open[end]
                end.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_clients: bool = False,
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if is_clients and self.blocks_websockets and _opens_websocket(data):
                    break
                await self._open[writer].wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


def _opens_websocket(data: bytes) -> bool:
    """Tell whether *data*, as it is read at once, begins a websocket's handshake."""
    return data.startswith(b"GET ") and b"\nupgrade: websocket" in data.lower()


@asynccontextmanager
async def proxying(port: int) -> AsyncIterator[Proxy]:
    """Run a proxy in front of a local *port*."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
