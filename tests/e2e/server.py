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
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUNNING = re.compile(r"(?:[Rr]unning on|Listening at:) (https?)://127\.0\.0\.1:(\d+)")
HYPERCORN = ("hypercorn", "--bind", "127.0.0.1:0")


class Server:
    """A process of a server, Hypercorn or another, that serves one of the apps of these tests.

    *options* are the server's; *settings* are QUART_REALTIME_… without the prefix.
    """

    fast_lane = True
    """Whether sockets take Hypercorn's fast lane where nothing else is set: --lane says it."""

    def __init__(
        self,
        app: str,
        directory: Path = ROOT,
        workers: int = 1,
        options: Sequence[str] = (),
        command: Sequence[str] = HYPERCORN,
        **settings: Any,
    ) -> None:
        settings = {"FAST_LANE": self.fast_lane, **settings}
        self.scheme = "http"
        self.port = 0
        self.log: list[str] = []
        self._logged = threading.Condition()
        self._running = threading.Event()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", *command),
                *("--workers", str(workers)),
                *options,
                app,
            ],
            cwd=directory,
            env={**os.environ, "TEST_SETTINGS": json.dumps(settings)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
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
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}/ws"

    @property
    def worker(self) -> int:
        """The id of the process that serves; Hypercorn's first one only looks after it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = [int(child) for child in children.read_text().split()]
        return max(found, key=lambda child: memory(child, "VmRSS"))

    def logs(self, text: str) -> bool:
        """Tell whether *text* is logged, if only soon: the log lags behind the answers."""
        with self._logged:
            return self._logged.wait_for(lambda: text in "".join(self.log), timeout=10)

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._logged:
                self.log.append(line)
                self._logged.notify_all()
            if match := RUNNING.search(line):
                self.scheme, self.port = match[1], int(match[2])
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
        assert self.process.stdout is not None
        self.process.stdout.close()


def memory(pid: int, kind: str) -> int:
    """Return how many bytes a process holds now (VmRSS), or held at most (VmHWM)."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


@contextmanager
def memory_flat(server: Server, within: int = 32 * 1_048_576) -> Iterator[None]:
    """See that the server never holds *within* bytes more than now, not even for a moment."""
    pid = server.worker
    before = memory(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # Forget the most so far.
    yield
    grown = memory(pid, "VmHWM") - before
    assert grown <= within, f"the server grew by {grown / 1_048_576:.0f} MiB"


@contextmanager
def serving(app: str, **settings: Any) -> Iterator[Server]:
    """Serve *app*, as ``"module:app"``; *settings* are as for :class:`Server`."""
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
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0

    def cut(self) -> None:
        """Reset all connections, as when a cable is pulled."""
        for writer in self._open:
            writer.transport.abort()

    def hold(self) -> None:
        """Keep all connections open, and pass nothing on any more, as when a peer vanishes."""
        self._flows.clear()

    def flow(self) -> None:
        """Pass on again."""
        self._flows.set()

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
                await self._flows.wait()
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
        proxy.flow()
        await asyncio.gather(*proxy._pumps)
