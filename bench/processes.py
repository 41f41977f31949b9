"""Programs that the benchmark starts, and ends by their own process ids."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

START_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0

T = TypeVar("T")


class ServerFailed(Exception):
    """A server did not start, or not in time."""


@contextmanager
def running(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], core: int | None
) -> Iterator[psutil.Popen]:
    """Run a program in *folder*, on that core if one is named; what it says goes to ``log`` there.

    It is ended afterwards, with all that it has started.
    """
    with (folder / "log").open("w") as output:
        process = psutil.Popen(
            arguments,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        if core is not None:
            process.cpu_affinity([core])
        yield process
    finally:
        _stop(process)


def wait(process: psutil.Popen, folder: Path, name: str, ready: Callable[[], T | None]) -> T:
    """Return what *ready* returns as soon as that is something.

    Raises:
        ServerFailed: the process ended, or it took too long.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        found = ready()
        if found is not None:
            return found
        time.sleep(0.02)
    raise ServerFailed(f"{name} did not start:\n{(folder / 'log').read_text()[-2000:]}")


def _stop(process: psutil.Popen) -> None:
    """End the program's processes: kindly, and then not."""
    family = [process, *process.children(recursive=True)] if process.is_running() else []
    if process.poll() is None:
        process.terminate()
    _, alive = psutil.wait_procs(family, timeout=STOP_TIMEOUT)
    for each in alive:
        each.kill()
    psutil.wait_procs(alive, timeout=STOP_TIMEOUT)
    process.wait()
