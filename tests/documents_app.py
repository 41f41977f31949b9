"""The app that a page of the documentation builds, with what the page takes for granted."""

from __future__ import annotations

import os
from typing import Any

from quart import Quart, request
from quart_jwt_extended import create_access_token, get_jwt_identity, jwt_required

import quart_realtime
from quart_realtime import Realtime

from .conftest import make_app
from .documents import ROOT, to_run

LAB = """<!doctype html><title>an example</title><script>
window.problems = [];
window.shown = [];
window.show = (what) => shown.push(what);
window.addEventListener("error", ({ message }) => problems.push(message));
window.addEventListener("unhandledrejection", ({ reason }) => problems.push(String(reason)));
</script>"""
"""A page for the examples in JavaScript to run in."""


def build(page: str) -> dict[str, Any]:
    """Run a page's examples in Python, one after the other, and return all names there are then."""
    app, realtime = make_app(), Realtime()
    names: dict[str, Any] = {
        "__name__": __name__,
        "app": app,
        "realtime": realtime,
        "os": os,
        "request": request,
        "get_jwt_identity": get_jwt_identity,
        "jwt_required": jwt_required,
        **{name: getattr(quart_realtime, name) for name in quart_realtime.__all__},
        **SCENES.get(page, {}),
    }
    for example in to_run(page, "python"):
        if example.file is None:
            code = compile(example.as_module(), str(ROOT / page), "exec")
            exec(code, names)
    if names["app"] is app:
        realtime.init_app(app)  # Not before: settings are read then.
    return names


SCENES: dict[str, dict[str, Any]] = {
    "docs/from-fastapi.md": {
        "CONVERSATIONS": {
            "conv123": {"id": "conv123", "title": "Conversación 1"},
            "conv456": {"id": "conv456", "title": "Conversación 2"},
        }
    },
    "docs/from-polling.md": {"TODOS": []},
    "docs/tutorial.md": {"MEMBERS": {"groceries": ["ana"]}},
}
"""What a page's examples use and another part of an app would have."""


def create_app() -> Quart:
    """Make the app of the page that the environment names, and somewhere for it to be seen."""
    if os.environ["DOCUMENTS_PAGE"] in {"docs/fallback.md", "docs/javascript.md"}:
        from .e2e.app import app, realtime

        realtime.room("conversation:<name>", presence=True)(_anybody)
        realtime.handler("users", "whoami")(_whoami)
    else:
        app = build(os.environ["DOCUMENTS_PAGE"])["app"]

    @app.get("/lab")
    async def lab() -> str:
        return LAB

    @app.post("/auth/refresh")
    async def refresh() -> dict[str, str]:
        return {"access_token": create_access_token("user123")}

    return app


async def _anybody(name: str) -> bool:
    return True


async def _whoami() -> str | None:
    return quart_realtime.current_connection.user_id
