"""Starting one peer's server, all of its processes, and ending them by their own ids."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from .peers.catalogue import Peer
from .processes import running, wait
from .valkey import url, valkey

ROOT = Path(__file__).resolve().parent.parent
NODE = Path(__file__).resolve().parent / "peers" / "node"


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
    """Run *peer*'s server; yield what the generator must know of it.

    That is as many processes as the peer has, each on a free port of its own, and the Valkey
    between them if it needs one.

    Args:
        peer: Which.
        node_modules: Where the packages from npm are.
        core: On which core all of it is to run; any by default.

    Raises:
        ServerFailed: something of it ended, or did not listen in time.
    """
    more = dict(peer.environment)
    if node_modules is not None:
        more["BENCH_NODE_MODULES"] = str(node_modules)
    with ExitStack() as stack:
        shared = stack.enter_context(valkey(core)) if peer.valkey else None
        if shared is not None:
            more["BENCH_REDIS"] = url(shared)
        nodes = [stack.enter_context(_node(peer, more, core)) for _ in range(peer.nodes)]
        try:
            yield {"nodes": nodes, "dialect": peer.dialect, "valkey": shared}
        finally:
            # Hypercorn takes two seconds to end; so they all begin to before the last is awaited.
            for node in nodes[:-1]:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(node["pids"][0]).terminate()


@contextmanager
def _node(peer: Peer, more: Mapping[str, str], core: int | None) -> Iterator[dict[str, Any]]:
    """Run one process of *peer*'s, with what it starts; yield where it listens, and for orders."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, control = Path(name), Path(name, "control")
        variables = environment(**more, BENCH_CONTROL=str(control))
        with running(_arguments(peer), folder, variables, core) as process:
            port = wait(process, folder, peer.name, lambda: _listens(process, control))
            pids = [process.pid, *(child.pid for child in process.children(recursive=True))]
            yield {"port": port, "control": str(control), "pids": pids}


def _listens(process: psutil.Popen, control: Path) -> int | None:
    """Return the port, once the server listens on it and for orders."""
    if control.exists():
        for each in [process, *process.children(recursive=True)]:
            for connection in each.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    return int(connection.laddr.port)
    return None
