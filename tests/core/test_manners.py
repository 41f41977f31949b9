"""How Realtime gets on with the ways that Quart apps are written in."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

import pydantic
import pytest
from attrs import frozen
from quart import Blueprint, Quart, g
from quart.json.provider import DefaultJSONProvider
from quart_jwt_extended import JWTManager, jwt_required
from quart_schema import QuartSchema, validate_querystring, validate_request, validate_response

from quart_realtime import Realtime, SetupError
from quart_realtime.client_types import RealtimeError as Refused
from quart_realtime.testing import realtime_client

from ..conftest import SECRET


def plain_app(name: str = "tests") -> Quart:
    """Make an app that knows JWT and nothing else."""
    app = Quart(name)
    app.config["JWT_SECRET_KEY"] = SECRET
    JWTManager(app)
    return app


async def headers_of(app: Quart) -> dict[str, str]:
    token = await app.extensions["QUART_REALTIME"].authenticator.issue("ana")
    return {"Authorization": f"Bearer {token}"}


async def by_http(app: Quart, method: str, path: str, **how: Any) -> Any:
    headers = await headers_of(app)
    response = await app.test_client().open(path, method=method, headers=headers, **how)
    assert response.status_code < 300
    return await response.get_json()


# Factories, blueprints, several apps

tags = Blueprint("tags", __name__, url_prefix="/tags")
notes = Blueprint("notes", __name__, url_prefix="/notes")
api = Blueprint("api", __name__, url_prefix="/api")
notes.register_blueprint(tags, url_prefix="/<note_id>/tags")
api.register_blueprint(notes)
of_factory = Realtime()
of_factory.expose(tags, "tags")


@notes.before_request
async def mark() -> None:
    g.marks = ["notes"]


@tags.before_request
async def mark_too() -> None:
    g.marks.append("tags")


@tags.get("/")
async def list_tags(note_id: str) -> Any:
    return {"note_id": note_id, "marks": g.marks}


@notes.post("/<note_id>")
@jwt_required
@of_factory.handler("notes", "create")
@of_factory.emits("noted", room="user:ana")
async def create_note(note_id: str) -> Any:
    return {"note_id": note_id, "marks": g.marks}, 201


def create_app(name: str) -> Quart:
    app = plain_app(name)
    app.config["QUART_REALTIME_URL"] = f"/{name}"
    of_factory.init_app(app)
    app.register_blueprint(api, name=name)
    return app


async def test_a_factorys_apps_have_handlers_of_nested_blueprints_each_by_itself() -> None:
    one, two = create_app("one"), create_app("two")
    async with realtime_client(one, user_id="ana") as ana, realtime_client(two, user_id="ana") as b:
        for client in (ana, b):
            created = await client.request("notes", "create", note_id="7")
            assert created == {"note_id": "7", "marks": ["notes"]}
            listed = await client.request("tags", "get_all", note_id="7")
            assert listed == {"note_id": "7", "marks": ["notes", "tags"]}
        for client in (ana, b):
            assert (await client.expect("noted"))["note_id"] == "7"
            await client.expect_none("noted")


async def test_an_app_without_quart_schema_has_all_of_it() -> None:
    app = plain_app()
    realtime = Realtime(app)

    @app.post("/things/<thing_id>")
    @jwt_required
    @realtime.handler("things", "create")
    @realtime.emits("thing", room="user:ana")
    async def create(thing_id: str) -> Any:
        return {"thing_id": thing_id, "at": datetime(2025, 5, 20, tzinfo=UTC)}, 201

    async with realtime_client(app, user_id="ana") as ana:
        created = await ana.request("things", "create", thing_id="7")
        assert created == await by_http(app, "POST", "/things/7")
        # A route writes as the app does; an event has dates as ISO 8601.
        assert created["at"] == "Tue, 20 May 2025 00:00:00 GMT"
        assert (await ana.expect("thing"))["at"] == "2025-05-20T00:00:00Z"


# Quart-Schema's conversion of casing


@frozen
class NewOrder:
    item_name: str


@frozen
class Order:
    order_id: str
    item_name: str


@frozen
class Wanted:
    page_size: int = 10


def app_in_camel_case() -> Quart:
    app = plain_app()
    QuartSchema(app, convert_casing=True, conversion_preference="msgspec")
    realtime = Realtime(app)

    @app.put("/orders/<order_id>")
    @jwt_required
    @validate_request(NewOrder)
    @validate_response(Order)
    @realtime.handler("orders", "update")
    @realtime.emits("order_changed", room="order:{order_id}")
    async def update(order_id: str, data: NewOrder) -> Any:
        return Order(order_id, data.item_name)

    @app.get("/orders")
    @jwt_required
    @validate_querystring(Wanted)
    @validate_response(Wanted)
    @realtime.handler("orders", "get_all")
    async def get_all(query_args: Wanted) -> Any:
        return query_args

    @realtime.handler("orders", "native")
    async def native(order_id: str, data: Any) -> Any:
        return {"order_id": order_id, "keys": sorted(data)}

    @realtime.room("order:<order_id>")
    async def may_join(order_id: str) -> bool:
        return True

    return app


async def test_camel_case_over_the_socket_is_as_over_http() -> None:
    app = app_in_camel_case()
    async with realtime_client(app, user_id="ana") as ana:
        body = {"itemName": "tea"}
        over_http = await by_http(app, "PUT", "/orders/42", json=body)
        assert over_http == {"orderId": "42", "itemName": "tea"}
        for variable in ("orderId", "order_id"):
            assert await ana.request("orders", "update", {variable: "42"} | body) == over_http
        wanted = await by_http(app, "GET", "/orders", query_string={"pageSize": 5})
        assert await ana.request("orders", "get_all", pageSize=5) == wanted == {"pageSize": 5}


async def test_handlers_without_a_route_and_events_keep_the_casing_that_they_are_written_in() -> (
    None
):
    app = app_in_camel_case()
    async with realtime_client(app, user_id="ana") as ana:
        await ana.subscribe("order:42")
        told = await ana.request("orders", "native", order_id="42", itemName="tea")
        assert told == {"order_id": "42", "keys": ["itemName", "order_id"]}
        await by_http(app, "PUT", "/orders/42", json={"itemName": "tea"})
        assert await ana.expect("order_changed") == {"order_id": "42", "item_name": "tea"}


async def test_without_the_conversion_a_variable_in_camel_case_is_none(app: Quart) -> None:
    realtime = Realtime(app)

    @app.get("/orders/<order_id>")
    @realtime.handler("orders", "get")
    async def get(order_id: str) -> Any:
        return {}

    async with realtime_client(app, user_id="ana") as ana:
        with pytest.raises(Refused, match="order_id: is missing"):
            await ana.request("orders", "get", orderId="42")


# pydantic


class NewUser(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=2)
    born: datetime | None = None


class User(NewUser):
    user_id: int


@pytest.mark.parametrize("preference", [None, "pydantic"])
async def test_pydantic_models_are_checked_and_written_as_over_http(preference: Any) -> None:
    app = plain_app()
    QuartSchema(app, conversion_preference=preference)
    realtime = Realtime(app)
    realtime.event("user_created", User, room="user:ana")

    @app.post("/users")
    @jwt_required
    @validate_request(NewUser)
    @validate_response(User, 201)
    @realtime.handler("users", "create")
    @realtime.emits("user_created")
    async def create(data: NewUser) -> Any:
        return User(user_id=1, **data.model_dump()), 201

    @realtime.handler("users", "native")
    async def native(data: NewUser) -> User:
        return User(user_id=1, **data.model_dump())

    body = {"name": "Ana", "born": "1990-05-20T00:00:00Z"}
    async with realtime_client(app, user_id="ana") as ana:
        created = await ana.request("users", "create", body)
        assert created["user_id"] == 1
        assert created == await by_http(app, "POST", "/users", json=body)
        assert await ana.request("users", "native", body) == {**body, "user_id": 1}
        assert await ana.expect("user_created") == {**body, "user_id": 1}
        for action in ("create", "native"):
            with pytest.raises(Refused) as refused:
                await ana.request("users", action, name="A")
            assert refused.value.code == "validation_error"
            assert set(refused.value.details["fields"]) == {"name"}


# JSON providers of the app's own


class Money:
    def __init__(self, amount: str) -> None:
        self.amount = Decimal(amount)


class OwnProvider(DefaultJSONProvider):
    sort_keys = False

    @staticmethod
    def default(value: Any) -> Any:
        if isinstance(value, Money):
            return {"amount": str(value.amount), "currency": "EUR"}
        return DefaultJSONProvider.default(value)


TEA = {"price": {"amount": "1.20", "currency": "EUR"}}


def app_with_provider() -> tuple[Quart, Realtime]:
    app = plain_app()
    app.json = OwnProvider(app)
    realtime = Realtime(app)

    @app.get("/price")
    @jwt_required
    @realtime.handler("prices", "get")
    @realtime.emits("asked", room="user:ana")
    async def price() -> Any:
        return {"price": Money("1.20")}

    @realtime.handler("prices", "native")
    async def native() -> Any:
        return {"price": Money("1.20")}

    @realtime.handler("prices", "odd")
    async def odd() -> Any:
        return {"price": object()}

    return app, realtime


async def test_what_the_apps_own_json_provider_writes_goes_over_the_socket_too() -> None:
    app, realtime = app_with_provider()
    async with realtime_client(app, user_id="ana") as ana:
        over_http = await by_http(app, "GET", "/price")
        assert over_http == TEA
        assert await ana.request("prices", "get") == TEA
        assert await ana.request("prices", "native") == TEA
        await realtime.notify("told", {"price": Money("1.20")}, room="user:ana")
        assert await ana.expect("told") == TEA
        for _ in range(2):
            assert await ana.expect("asked") == TEA


async def test_what_no_provider_can_write_is_an_error() -> None:
    app, realtime = app_with_provider()
    async with realtime_client(app, user_id="ana") as ana:
        with pytest.raises(Refused) as refused:
            await ana.request("prices", "odd")
        assert refused.value.code == "internal_error"
        with pytest.raises(TypeError, match="can't be written as JSON"):
            await realtime.notify("told", {"price": object()}, room="user:ana")


# Trio


@pytest.fixture
def quart_trio() -> type[Quart]:
    """Return QuartTrio's shape: a Quart whose module is quart_trio's."""
    module = ModuleType("quart_trio.app")
    exec("from quart import Quart\nclass QuartTrio(Quart): pass", module.__dict__)
    kind: type[Quart] = module.QuartTrio
    kind.__module__ = "quart_trio.app"
    assert "quart_trio" not in sys.modules
    return kind


def test_an_app_on_trio_is_refused_with_what_to_write(quart_trio: type[Quart]) -> None:
    class Own(quart_trio):  # type: ignore[valid-type,misc]
        pass

    for kind in (quart_trio, Own):
        with pytest.raises(SetupError, match=r"write app = Quart\(__name__\)"):
            Realtime(kind("tests"))
