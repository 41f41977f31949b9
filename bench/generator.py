"""Having the load generator, a process of its own, do one job."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from .machine import Cores
from .peers.catalogue import Peer
from .servers import environment, serve

JOB_TIMEOUT = 300.0
"""How many seconds one job may take in all."""


class JobFailed(Exception):
    """The generator could not do its job."""


def measure(
    peer: Peer, job: str, arguments: dict[str, Any], cores: Cores, node_modules: Path | None
) -> dict[str, float]:
    """Start *peer*'s server, load it, end it, and return what came of it.

    Raises:
        ServerFailed: the server did not start.
        JobFailed: what the peer did was wrong, or took too long.
    """
    with serve(peer, node_modules, cores.server) as target:
        return load(target, job, arguments, cores)


def load(
    target: dict[str, Any], job: str, arguments: dict[str, Any], cores: Cores
) -> dict[str, float]:
    """Have the generator do a job with a server that runs, and return what came of it.

    Raises:
        JobFailed: what the peer did was wrong, or took too long.
    """
    order = {
        "job": job,
        "target": {**target, "spin": cores.spin},
        "arguments": arguments,
        "core": cores.generator,
    }
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "bench.load", json.dumps(order)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=JOB_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise JobFailed(f"took more than {JOB_TIMEOUT:.0f} s") from None
    if done.returncode:
        # A group of exceptions is drawn, so that its last lines say nothing.
        lines = [line.strip(" |+-") for line in done.stderr.splitlines()]
        said = [line for line in lines if line] or [f"exit code {done.returncode}"]
        raise JobFailed(said[-1])
    result: dict[str, float] = json.loads(done.stdout)
    return result
