"""What a server's processes use, seen from outside."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

import psutil


class Processes:
    """The processes of one server."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._processes = [psutil.Process(pid) for pid in pids]

    def cpu(self) -> float:
        """Return how many seconds they have computed."""
        times = [process.cpu_times() for process in self._processes]
        return float(sum(time.user + time.system for time in times))

    def memory(self) -> int:
        """Return how many bytes are theirs alone."""
        return sum(process.memory_full_info().uss for process in self._processes)


class Meter:
    """How busy the generator, the server and everything else are, in shares of one core.

    Args:
        pids: The server's processes.
        valkey: The process of the Valkey server that they share, if they do.
    """

    def __init__(self, pids: Sequence[int], valkey: int | None = None) -> None:
        self._processes = Processes(pids)
        self._valkey = None if valkey is None else Processes([valkey])
        gc.collect()
        gc.freeze()
        self._begin = self._now()

    def read(self) -> dict[str, float]:
        """Return the shares since it was made, and the seconds computed."""
        wall, own, server, valkey, machine = (
            now - then for now, then in zip(self._now(), self._begin, strict=True)
        )
        return {
            "generator_busy": own / wall,
            "server_busy": server / wall,
            "others_busy": max(0.0, machine - own - server - valkey) / wall,
            "generator_cpu": own,
            "server_cpu": server,
            **({} if self._valkey is None else {"valkey_busy": valkey / wall}),
        }

    def _now(self) -> tuple[float, float, float, float, float]:
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        valkey = 0.0 if self._valkey is None else self._valkey.cpu()
        return time.perf_counter(), time.process_time(), self._processes.cpu(), valkey, busy
