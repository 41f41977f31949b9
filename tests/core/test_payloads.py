"""Each key of a payload reaches that part of a route's request where the route reads it."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen
from pydantic import BaseModel, Field
from quart import Quart, request
from quart_schema import DataSource, validate_querystring, validate_request

from quart_realtime import Realtime
from quart_realtime.client_types import RealtimeError
from quart_realtime.endpoint import runtime_of
from quart_realtime.schemas import Schema
from quart_realtime.survey import contract_of
from quart_realtime.testing import realtime_client

from ..conftest import make_app


@frozen
class Item:
    number: int
    name: str


@frozen
class Options:
    dry: bool = False
    labels: list[str] | None = None


class Aliased(BaseModel):
    count: int = Field(alias="number")


@frozen
class Note:
    note_id: int
    note_text: str = ""


@pytest.fixture
def realtime(app: Quart) -> Realtime:
    return Realtime(app)


def taken(app: Quart, name: str) -> Schema:
    """Return what the contract says of the payload for *name*."""
    runtime = runtime_of(app)
    contract = contract_of(app, runtime.registry, runtime.settings)
    return next(item.request for item in contract.operations if item.name == name)


async def test_a_key_that_the_url_and_the_body_both_have_reaches_both(
    app: Quart, realtime: Realtime
) -> None:
    @app.put("/items/<int:number>")
    @validate_request(Item)
    @realtime.handler("items", "update")
    async def update(number: int, data: Item) -> Any:
        return {"url": number, "body": data.number, "name": data.name}

    @app.put("/aliased/<number>")
    @validate_request(Aliased)
    @realtime.handler("items", "alias")
    async def alias(number: str, data: Aliased) -> Any:
        return {"url": number, "body": data.count}

    @app.get("/items/<number>")
    @validate_querystring(Item)
    @realtime.handler("items", "find")
    async def find(number: str, query_args: Item) -> Any:
        return {"url": number, "query": query_args.number}

    @app.put("/others/<int:number>")
    @realtime.handler("items", "other")
    async def other(number: int) -> Any:
        return await request.get_json()

    async with realtime_client(app, user_id="ana") as client:
        answer = await client.request("items", "update", number=3, name="x")
        assert answer == {"url": 3, "body": 3, "name": "x"}
        assert await client.request("items", "alias", number=3) == {"url": "3", "body": 3}
        assert await client.request("items", "find", number=3, name="x") == {"url": "3", "query": 3}
        assert await client.request("items", "other", number=3, name="x") == {"name": "x"}
    assert taken(app, "items.find")["properties"]["number"] == {"type": "integer"}


async def test_a_variable_may_be_spelled_as_the_body_spells_it() -> None:
    app = make_app()
    app.config["QUART_SCHEMA_CONVERT_CASING"] = True
    realtime = Realtime(app)

    @app.put("/notes/<int:note_id>")
    @validate_request(Note)
    @realtime.handler("notes", "update")
    async def update(note_id: int, data: Note) -> Any:
        return [note_id, data.note_id, data.note_text]

    async with realtime_client(app, user_id="ana") as client:
        for payload, answer in [
            ({"noteId": 3, "noteText": "x"}, [3, 3, "x"]),
            ({"note_id": 3, "note_text": "x"}, [3, 3, "x"]),
            ({"noteId": 4, "note_id": 3}, [3, 4, ""]),
            ({"note_id": 3, "noteId": 4}, [3, 4, ""]),
        ]:
            assert await client.request("notes", "update", payload) == answer
    assert taken(app, "notes.update")["required"] == ["noteId"]


async def test_what_a_route_reads_from_the_query_goes_there_whatever_its_method(
    app: Quart, realtime: Realtime
) -> None:
    @app.post("/items")
    @validate_request(Item)
    @validate_querystring(Options)
    @realtime.handler("items", "create")
    async def create(data: Item, query_args: Options) -> Any:
        return {"dry": query_args.dry, "labels": query_args.labels, "name": data.name}

    @app.post("/runs")
    @validate_querystring(Options)
    @realtime.handler("runs", "create")
    async def run(query_args: Options) -> Any:
        return {"dry": query_args.dry, "body": await request.get_json()}

    @app.delete("/items")
    @validate_request(Item)
    @realtime.handler("items", "delete")
    async def delete(data: Item) -> Any:
        return {"number": data.number, "query": request.query_string.decode()}

    async with realtime_client(app, user_id="ana") as client:
        answer = await client.request(
            "items", "create", number=1, name="x", dry=True, labels=["a", "b"]
        )
        assert answer == {"dry": True, "labels": ["a", "b"], "name": "x"}
        assert await client.request("runs", "create", dry=True, more=[1]) == {
            "dry": True,
            "body": {"more": [1]},
        }
        assert await client.request("items", "delete", number=1, name="x") == {
            "number": 1,
            "query": "",
        }
        with pytest.raises(RealtimeError, match="dry"):
            await client.request("runs", "create", dry={})
    assert list(taken(app, "items.create")["properties"]) == ["dry", "labels", "number", "name"]
    assert taken(app, "items.create")["required"] == ["number", "name"]
    assert list(taken(app, "runs.create")["properties"]) == ["dry", "labels"]
    assert taken(app, "runs.create")["additionalProperties"] is True


async def test_a_route_that_reads_a_form_is_sent_one(app: Quart, realtime: Realtime) -> None:
    @app.post("/items/<int:number>")
    @validate_request(Item, source=DataSource.FORM)
    @realtime.handler("items", "create")
    async def create(number: int, data: Item) -> Any:
        return {"number": data.number, "name": data.name, "type": request.mimetype}

    async with realtime_client(app, user_id="ana") as client:
        answer = await client.request("items", "create", number=3, name="x & y=é")
        assert answer == {
            "number": 3,
            "name": "x & y=é",
            "type": "application/x-www-form-urlencoded",
        }
        with pytest.raises(RealtimeError, match="name"):
            await client.request("items", "create", number=3, name={"no": "text"})
    assert taken(app, "items.create")["required"] == ["number", "name"]


async def test_a_whole_number_will_do_for_a_variable_with_a_point(
    app: Quart, realtime: Realtime
) -> None:
    @app.get("/near/<float(max=9.5):km>")
    @realtime.handler("items", "near")
    async def near(km: float) -> Any:
        return [km]

    async with realtime_client(app, user_id="ana") as client:
        assert await client.request("items", "near", km=2) == [2.0]
        assert await client.request("items", "near", km=2.5) == [2.5]
        assert await client.request("items", "near", km="2.5") == [2.5]
        for wrong in (-2, 10, 10**18, "2", "far"):
            with pytest.raises(RealtimeError) as refused:
                await client.request("items", "near", km=wrong)
            assert refused.value.code == "not_found"


async def test_a_payload_with_an_action_of_its_own_is_not_sent_without_it(
    app: Quart, realtime: Realtime
) -> None:
    async with realtime_client(app, user_id="ana") as client:
        with pytest.raises(ValueError, match="the payload can't have another"):
            await client.request("items", "ban", {"action": "for ever"})
        with pytest.raises(ValueError, match="the payload can't have another"):
            await client.request("items", "ban", action="for ever")


class Things:
    def __init__(self, number: int) -> None:
        self.number = number

    @staticmethod
    async def double(number: int) -> int:
        return 2 * number

    async def add(self, number: int) -> int:
        return self.number + number

    async def __call__(self, number: int) -> int:
        return self.number * number


async def test_what_is_called_like_a_function_answers_like_one(
    app: Quart, realtime: Realtime
) -> None:
    realtime.handler("things", "double")(vars(Things)["double"])
    realtime.handler("things", "add")(Things(3).add)
    realtime.handler("things", "times")(Things(3))

    async with realtime_client(app, user_id="ana") as client:
        assert await client.request("things", "double", number=5) == 10
        assert await client.request("things", "add", number=5) == 8
        assert await client.request("things", "times", number=5) == 15
        with pytest.raises(RealtimeError) as refused:
            await client.request("things", "times", number="5")
        assert refused.value.code == "validation_error"
