"""How many processes the server serves from, as far as one of them can tell."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
from collections.abc import Iterator

_OPTION = re.compile(r"(?:-w|--workers)(?:=(\d+))?")
_VARIABLES = {"WEB_CONCURRENCY": ("gunicorn", "uvicorn"), "GRANIAN_WORKERS": ("granian",)}


def worker_count() -> int:
    """Return how many workers the server was told to run; 1 where that can't be seen.

    Hypercorn and uvicorn hand each worker their configuration, whatever it was read from. Others
    are known by their command line, or by what they read from the environment.
    """
    return max((1, *_by_configuration(), *_by_command_line(sys.argv), *_by_environment()))


def _by_configuration() -> Iterator[int]:
    # What a process was started with is private to multiprocessing; where it isn't there, nothing
    # is known by it.
    given = getattr(multiprocessing.current_process(), "_kwargs", None)
    workers = getattr(given.get("config"), "workers", None) if isinstance(given, dict) else None
    if isinstance(workers, int):
        yield workers


def _by_command_line(words: list[str]) -> Iterator[int]:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option = _OPTION.fullmatch(word)
        count = option and (option[1] or following)
        if count and count.isdecimal():
            yield int(count)


def _by_environment() -> Iterator[int]:
    server = sys.argv[0] if sys.argv else ""
    for name, readers in _VARIABLES.items():
        count = os.environ.get(name, "")
        if count.isdecimal() and any(reader in server for reader in readers):
            yield int(count)
