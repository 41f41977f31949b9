"""The description under the websocket, and the page that shows it."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart

from quart_realtime import Realtime

from ..conftest import make_app

PATHS = ["/ws/asyncapi.json", "/ws/docs", "/ws/docs/docs.js", "/ws/docs/docs.css"]


def serving(**settings: Any) -> Quart:
    app = make_app(**settings)
    realtime = Realtime(app)

    @realtime.handler("users", "whoami")
    async def whoami() -> str:
        return "ana"

    return app


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("docs", "debug", "status"),
    [(None, False, 404), (None, True, 200), (True, False, 200), (False, True, 404)],
)
async def test_names_are_told_only_where_the_app_says_so(
    path: str, docs: bool | None, debug: bool, status: int
) -> None:
    app = serving(DOCS=docs)
    app.debug = debug
    assert (await app.test_client().get(path)).status_code == status


async def test_the_document_tells_what_is_asked_and_where_it_was_asked_for() -> None:
    app = serving(DOCS=True, URL="/chat/ws")
    response = await app.test_client().get(
        "/chat/ws/asyncapi.json", headers={"Host": "chat.example.com"}
    )
    document = await response.get_json()
    assert response.mimetype == "application/json"
    assert "users.whoami" in document["operations"]
    assert document["servers"]["app"]["host"] == "chat.example.com"
    assert document["channels"]["realtime"]["address"] == "/chat/ws"


@pytest.mark.parametrize(
    ("proxies", "host", "protocol"),
    [(["127.0.0.1"], "app.example.com", "wss"), ([], "127.0.0.1:8000", "ws")],
)
async def test_behind_a_proxy_the_document_names_the_outer_server_where_that_is_trusted(
    proxies: list[str], host: str, protocol: str
) -> None:
    headers = {
        "Host": "127.0.0.1:8000",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "app.example.com",
    }
    response = await (
        serving(DOCS=True, TRUSTED_PROXIES=proxies)
        .test_client()
        .get(PATHS[0], headers=headers, scope_base={"client": ("127.0.0.1", 40_000)})
    )
    server = (await response.get_json())["servers"]["app"]
    assert (server["host"], server["protocol"]) == (host, protocol)


async def test_the_page_runs_its_own_scripts_and_the_one_that_is_named() -> None:
    response = await serving(DOCS=True).test_client().get("/ws/docs")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert (
        "script-src 'self' 'unsafe-eval' https://cdn.jsdelivr.net/npm/@asyncapi/react-component@"
        in policy
    )
    html = (await response.get_data()).decode()
    assert html.count('integrity="sha384-') == 2
    assert "<script>" not in html


async def test_the_app_may_serve_the_component_itself() -> None:
    app = serving(DOCS=True, DOCS_JS_URL="/static/asyncapi.js", DOCS_CSS_URL="/static/asyncapi.css")
    response = await app.test_client().get("/ws/docs")
    html = (await response.get_data()).decode()
    assert '<script src="/static/asyncapi.js" defer>' in html
    assert "integrity" not in html
    assert "jsdelivr" not in html + response.headers["Content-Security-Policy"]


async def test_a_title_is_text() -> None:
    app = serving(DOCS=True)
    app.extensions["QUART_SCHEMA"].info.title = "<script>alert(1)</script>"
    html = (await (await app.test_client().get("/ws/docs")).get_data()).decode()
    assert "<title>&lt;script&gt;" in html


@pytest.mark.parametrize("name", ["docs.html", "../settings.py", "nothing.js"])
async def test_nothing_else_is_served(name: str) -> None:
    assert (await serving(DOCS=True).test_client().get(f"/ws/docs/{name}")).status_code == 404


async def test_neither_stands_in_the_description_of_the_rest_api() -> None:
    body = await (await serving(DOCS=True).test_client().get("/openapi.json")).get_json()
    assert body["paths"] == {}


async def test_an_app_with_handlers_of_all_kinds_starts_with_it() -> None:
    async with serving(DOCS=True).test_app():
        pass
