"""What Prometheus finds at a server of several workers, and what is written about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ..waiting import until
from .server import ROOT, Server, serving
from .sockets import Token, ask, opened

PREFIX = "quart_realtime_"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path_factory.mktemp("metrics")))
        with serving("tests.e2e.metrics_app:app", workers=2) as server:
            yield server


def scrape(server: Server) -> dict[tuple[str, ...], float]:
    """Return each figure, by its name and its labels' values, sorted."""
    with urlopen(f"{server.url}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {
        (sample.name.removeprefix(PREFIX), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    }


async def test_the_figures_are_those_of_all_workers(server: Server, token: Token) -> None:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(opened(server, token("ana"))) for _ in range(8)]
        asked = {"type": "request", "id": "1", "resource": "echo"}
        for socket in sockets:
            await ask(socket, {**asked, "payload": {"action": "say", "text": "hi"}})
        found = scrape(server)
        assert found["connections",] == 8
        assert found["handshakes_total", "connected"] == 8
        assert found["request_seconds_count", "echo", "ok", "say"] == 8
        await until(lambda: scrape(server).get(("broker_up",)) == 1, 10)
    await until(lambda: scrape(server)["connections",] == 0, 10)


def documented() -> set[str]:
    text = (ROOT / "docs" / "security.md").read_text()
    table = text[text.index("| `quart_realtime_…`") :]
    names = re.findall(r"`([a-z_]+)(?:\{[a-z,]+\})?`", table)
    return {
        f"{PREFIX}{name}" for name in names if re.search(r"_total$|_seconds|^connections|_up", name)
    }


def declared() -> set[str]:
    source = (ROOT / "quart_realtime" / "metrics.py").read_text()
    counters = re.findall(r'Counter\(\s*f"\{PREFIX\}([a-z_]+)"', source)
    others = re.findall(r'(?:Gauge|Histogram)\(\s*f"\{PREFIX\}([a-z_]+)"', source)
    return {f"{PREFIX}{name}_total" for name in counters} | {f"{PREFIX}{name}" for name in others}


def test_each_figure_is_written_about() -> None:
    assert len(declared()) > 10
    assert documented() == declared()


def test_the_dashboard_asks_for_figures_that_there_are() -> None:
    dashboard = json.loads(Path(ROOT / "docs" / "grafana.json").read_text())
    asked = {
        name.removesuffix("_bucket").removesuffix("_count")
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(rf"{PREFIX}[a-z_]+", target["expr"])
    }
    assert asked == declared()
