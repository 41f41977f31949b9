"""The JavaScript client, as the app that it talks to serves it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

import quart_realtime
from quart_realtime import Realtime

from ..conftest import make_app

FILES = sorted(Path(quart_realtime.__file__).with_name("static").glob("*.js"))


def serving(**settings: Any) -> Quart:
    app = make_app(**settings)
    Realtime(app)
    return app


@pytest.mark.parametrize(
    ("url", "folder"), [("/ws", "/ws/client"), ("/chat/ws", "/chat/ws/client")]
)
async def test_a_page_imports_the_client_from_under_the_websocket(url: str, folder: str) -> None:
    client = serving(URL=url).test_client()
    for file in FILES:
        response = await client.get(f"{folder}/{file.name}")
        assert response.status_code == 200, file.name
        assert response.mimetype == "text/javascript"
        assert await response.get_data() == file.read_bytes()


async def test_a_file_that_is_known_is_asked_for_again_but_not_sent_again() -> None:
    client = serving().test_client()
    response = await client.get("/ws/client/index.js")
    assert response.cache_control.no_cache
    again = {"If-None-Match": response.headers["ETag"]}
    response = await client.get("/ws/client/index.js", headers=again)
    assert response.status_code == 304


@pytest.mark.parametrize(
    "name", ["nothing.js", "../errors.py", "..%2Ferrors.py", "etc/passwd", "index.js/x", ""]
)
async def test_nothing_else_is_served(name: str) -> None:
    response = await serving().test_client().get(f"/ws/client/{name}")
    assert response.status_code == 404


async def test_the_files_stand_in_no_description_of_the_api() -> None:
    body = await (await serving().test_client().get("/openapi.json")).get_json()
    assert not any("client" in path for path in body["paths"])


def test_the_modules_import_nothing_but_each_other() -> None:
    names = {file.name for file in FILES}
    for file in FILES:
        imported = re.findall(r'(?:from|import)\s*\(?"([^"]+)"', file.read_text(encoding="utf-8"))
        example = {"quart-realtime", "quart-realtime/react"}
        if file.name == "react.js":
            names = names | {"react"}
        assert {name.removeprefix("./") for name in imported} <= names | example, file.name
