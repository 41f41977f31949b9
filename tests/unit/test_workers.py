"""How a worker finds out that it isn't alone."""

from __future__ import annotations

import multiprocessing
import sys
from types import SimpleNamespace

import pytest

from quart_realtime.workers import worker_count


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["python"])
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    monkeypatch.delenv("GRANIAN_WORKERS", raising=False)


def test_without_a_word_there_is_one() -> None:
    assert worker_count() == 1


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("granian --workers 4 app:app", 4),
        ("gunicorn -w 3 app:app", 3),
        ("gunicorn --workers=2 app:app", 2),
        ("gunicorn -w app:app", 1),
        ("gunicorn --workers", 1),
        ("pytest -k --workers-of-two", 1),
    ],
)
def test_the_command_line_tells(monkeypatch: pytest.MonkeyPatch, line: str, count: int) -> None:
    monkeypatch.setattr(sys, "argv", line.split())
    assert worker_count() == count


def test_the_configuration_that_a_server_hands_its_workers_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = SimpleNamespace(_kwargs={"config": SimpleNamespace(workers=5)})
    monkeypatch.setattr(multiprocessing, "current_process", lambda: process)
    assert worker_count() == 5


@pytest.mark.parametrize(
    ("server", "name", "count"),
    [
        ("/bin/gunicorn", "WEB_CONCURRENCY", 3),
        ("/bin/uvicorn", "WEB_CONCURRENCY", 3),
        ("/bin/hypercorn", "WEB_CONCURRENCY", 1),
        ("/bin/granian", "GRANIAN_WORKERS", 3),
        ("/bin/granian", "WEB_CONCURRENCY", 1),
    ],
)
def test_the_environment_tells_those_who_read_it(
    monkeypatch: pytest.MonkeyPatch, server: str, name: str, count: int
) -> None:
    monkeypatch.setattr(sys, "argv", [server, "app:app"])
    monkeypatch.setenv(name, "3")
    assert worker_count() == count
