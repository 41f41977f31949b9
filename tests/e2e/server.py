"""A real server in a process of its own, Hypercorn in most tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUNNING = re.compile(r"(?:[Rr]unning on|Listening at:) (https?)://127\.0\.0\.1:(\d+)")
HYPERCORN = ("hypercorn", "--bind", "127.0.0.1:0")


class Served:
    """What listens on the loopback address."""

    scheme: str
    port: int

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}/ws"


class Server(Served):
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
        # All clients of the tests have one address.
        settings = {"FAST_LANE": self.fast_lane, "HANDSHAKE_RATE_LIMIT": None, **settings}
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


@dataclass
class Memory:
    """By how many bytes a process has grown at most."""

    grown: int = 0


@contextmanager
def memory_flat(server: Server, within: int = 32 * 1_048_576) -> Iterator[Memory]:
    """See that the server never holds *within* bytes more than now, not even for a moment."""
    pid = server.worker
    before = memory(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # Forget the most so far.
    measured = Memory()
    yield measured
    measured.grown = memory(pid, "VmHWM") - before
    assert measured.grown <= within, f"the server grew by {measured.grown / 1_048_576:.0f} MiB"


@contextmanager
def serving(app: str, **settings: Any) -> Iterator[Server]:
    """Serve *app*, as ``"module:app"``; *settings* are as for :class:`Server`."""
    server = Server(app, **settings)
    try:
        yield server
    finally:
        server.stop()
