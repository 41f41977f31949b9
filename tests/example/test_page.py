"""The page, as far as the server has a hand in it."""

import re
from urllib.parse import urljoin

import pytest

from example_app import create_app
from example_app.realtime import realtime


def directives(response):
    policy = response.headers["Content-Security-Policy"]
    return {name: sources for name, *sources in (part.split() for part in policy.split(";"))}


async def test_the_page_runs_its_own_scripts_and_nothing_else(app):
    response = await app.test_client().get("/")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    policy = directives(response)
    assert policy["default-src"] == ["'none'"]
    for name in ("script-src", "style-src", "connect-src"):
        assert policy[name] == ["'self'"]
    assert policy["require-trusted-types-for"] == ["'script'"]
    page = await response.get_data(as_text=True)
    assert not re.search(r"<style|\sstyle=|\son\w+=|https?:|<script(?![^>]* src=)", page)


async def test_everything_the_page_refers_to_is_there(app):
    client = app.test_client()
    seen, waiting = set(), ["/"]
    while waiting:
        path = waiting.pop()
        response = await client.get(path)
        assert response.status_code == 200, path
        seen.add(path)
        text = await response.get_data(as_text=True)
        found = re.findall(r'(?:href|src)="(static/[^"]+)"|from "(\.[^"]+)"', text)
        names = {urljoin(path, in_page or in_module) for in_page, in_module in found}
        waiting.extend(names - seen - set(waiting))
    assert "/ws/client/client.js" in seen
    assert {path.rpartition(".")[2] for path in seen} == {"/", "css", "js", "svg"}


async def test_no_script_reads_text_as_markup(app):
    for name in ("chat", "dom", "messages", "session", "state", "view"):
        response = await app.test_client().get(f"/static/{name}.js")
        assert "javascript" in response.mimetype
        script = await response.get_data(as_text=True)
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script
        )


@pytest.fixture
async def description_without_realtime(config, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr(realtime, "init_app", lambda app: None)
        plain = create_app(config)
    async with plain.test_app():
        yield await (await plain.test_client().get("/openapi.json")).get_json()


async def test_the_apis_description_is_the_same_as_without_realtime(
    anybody, description_without_realtime
):
    status, body = await anybody.get("/openapi.json")
    assert status == 200
    assert body == description_without_realtime
    assert not {"/", "/ws", "/static/{filename}", "/ws/client/{name}"} & set(body["paths"])


async def test_the_react_page_is_served_where_it_is_built(app, monkeypatch, tmp_path):
    monkeypatch.setattr("example_app.views.page.BUILT", tmp_path / "index.html")
    response = await app.test_client().get("/react")
    assert response.status_code == 404
    assert "npm run react" in (await response.get_json())["message"]

    (tmp_path / "index.html").write_text("<!doctype html><p>React</p>", encoding="utf-8")
    response = await app.test_client().get("/react")
    assert await response.get_data(as_text=True) == "<!doctype html><p>React</p>"
    assert directives(response)["script-src"] == ["'self'"]
