"""A real hypercorn in a process of its own, and a TCP proxy that cuts connections."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUNNING = re.compile(r"Running on http://127\.0\.0\.1:(\d+)")


class Server:
    """A hypercorn process that serves one of the apps of these tests."""

    def __init__(self, app: str, directory: Path = ROOT, workers: int = 1, **settings: Any) -> None:
        self.port = 0
        self.log: list[str] = []
        self._running = threading.Event()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "hypercorn"),
                *("--bind", "127.0.0.1:0", "--workers", str(workers)),
                app,
            ],
            cwd=directory,
            env={**os.environ, "TEST_SETTINGS": json.dumps(settings)},
            stderr=subprocess.PIPE,
            text=True,
            # Hypercorn serves from a child of its own: a group of their own ends them together.
            start_new_session=True,
        )
        self._reading = threading.Thread(target=self._read_log)
        self._reading.start()
        self._running.wait(20)
        if not self.port:
            self.stop()
            raise RuntimeError("the server did not start:\n" + "".join(self.log))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if match := RUNNING.search(line):
                self.port = int(match[1])
                self._running.set()
        self._running.set()

    def stop(self) -> None:
        """End the process, by force if it doesn't end by itself."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._reading.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def serving(app: str, **settings: Any) -> Iterator[Server]:
    """Serve *app*, as ``"module:app"``; *settings* are QUART_REALTIME_… without the prefix."""
    server = Server(app, **settings)
    try:
        yield server
    finally:
        server.stop()


class Proxy:
    """Passes TCP connections on to a port, and cuts them when the test says so."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0

    def cut(self) -> None:
        """Reset all connections, as when a cable is pulled."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, back}
        self._open |= pair
        for source, sink in ((reader, back), (there, writer)):
            pump = asyncio.create_task(self._pump(source, sink, pair))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        pair: set[asyncio.StreamWriter],
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        for writer in pair:
            writer.close()
        self._open -= pair


@asynccontextmanager
async def proxying(target: int) -> AsyncIterator[Proxy]:
    """Run a proxy in front of a local port."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await asyncio.gather(*proxy._pumps)
