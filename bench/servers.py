"""Starting one peer's server, and ending it by its own process id."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from .peers.catalogue import Peer

ROOT = Path(__file__).resolve().parent.parent
NODE = Path(__file__).resolve().parent / "peers" / "node"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0


class ServerFailed(Exception):
    """A server did not start, or not in time."""


def _arguments(peer: Peer) -> list[str]:
    program, *rest = shlex.split(peer.command)
    if program == "node":
        return ["node", *rest[:-1], str(NODE / rest[-1])]
    if program == "python":
        return [sys.executable, *rest]
    return [sys.executable, "-m", program, *rest]


def environment(**more: str) -> dict[str, str]:
    """Return the environment for a process of ours: this one's, with the tree to import from."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"} | more


@contextmanager
def serve(
    peer: Peer, node_modules: Path | None = None, core: int | None = None
) -> Iterator[dict[str, Any]]:
    """Run *peer*'s server on a free port; yield what the generator must know of it.

    Args:
        peer: Which.
        node_modules: Where the packages from npm are.
        core: On which core it is to run; any by default.

    Raises:
        ServerFailed: it ended, or did not listen in time.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        control, log = Path(folder, "control"), Path(folder, "log")
        more = {"BENCH_CONTROL": str(control), **dict(peer.environment)}
        if node_modules is not None:
            more["BENCH_NODE_MODULES"] = str(node_modules)
        with log.open("w") as output:
            process = psutil.Popen(
                _arguments(peer),
                cwd=folder,
                env=environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            if core is not None:
                process.cpu_affinity([core])
            port = _wait(process, control, log, peer)
            pids = [process.pid, *(child.pid for child in process.children(recursive=True))]
            yield {
                "port": port,
                "control": str(control),
                "dialect": peer.dialect,
                "pids": pids,
            }
        finally:
            _stop(process)


def _wait(process: psutil.Popen, control: Path, log: Path, peer: Peer) -> int:
    """Return the port when the server listens on it and for orders."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if control.exists():
            for each in [process, *process.children(recursive=True)]:
                for connection in each.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN:
                        return int(connection.laddr.port)
        time.sleep(0.02)
    raise ServerFailed(f"{peer.name} did not start:\n{log.read_text()[-2000:]}")


def _stop(process: psutil.Popen) -> None:
    """End the server's processes: kindly, and then not."""
    family = [process, *process.children(recursive=True)] if process.is_running() else []
    if process.poll() is None:
        process.terminate()
    _, alive = psutil.wait_procs(family, timeout=STOP_TIMEOUT)
    for each in alive:
        each.kill()
    psutil.wait_procs(alive, timeout=STOP_TIMEOUT)
    process.wait()
