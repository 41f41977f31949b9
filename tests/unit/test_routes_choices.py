"""Handlers with several endpoints, rules or methods; exposed blueprints; emissions."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Blueprint, Quart
from quart.views import MethodView

from quart_realtime import Realtime, SetupError
from quart_realtime.routes import Route

from .test_routes import NOTHING, blind, polite, refusal, resolved, route


@pytest.fixture
def app() -> Quart:
    return Quart("tests")


@pytest.fixture
def realtime() -> Realtime:
    return Realtime()


async def nothing(**_: Any) -> None: ...


# Several


def test_several_methods_are_refused_until_one_is_named(app: Quart, realtime: Realtime) -> None:
    @app.route("/m", methods=["PUT", "PATCH", "OPTIONS"])
    @realtime.handler("messages", "create")
    async def edit() -> None: ...

    assert 'method="PATCH" or method="PUT"' in refusal(app, realtime)


@pytest.mark.parametrize("method", ["PATCH", "patch"])
def test_a_named_method_is_taken(app: Quart, realtime: Realtime, method: str) -> None:
    @app.route("/m", methods=["PUT", "PATCH"])
    @realtime.handler("messages", "create", method=method)
    async def edit() -> None: ...

    assert route(app, realtime) == Route("edit", "PATCH", NOTHING)


def test_a_named_method_that_the_route_does_not_have_is_refused(
    app: Quart, realtime: Realtime
) -> None:
    @app.get("/m")
    @realtime.handler("messages", "create", method="DELETE")
    async def get() -> None: ...

    text = refusal(app, realtime)
    assert "DELETE" in text
    assert "but for GET" in text


def test_several_endpoints_are_refused_until_one_is_named(app: Quart, realtime: Realtime) -> None:
    realtime.handler("messages", "create")(nothing)
    app.add_url_rule("/a", "a", nothing, methods=["POST"])
    app.add_url_rule("/b", "b", nothing, methods=["POST"])
    assert 'endpoint="a" or endpoint="b"' in refusal(app, realtime)

    other = Realtime()
    other.handler("messages", "create", endpoint="b")(nothing)
    assert route(app, other) == Route("b", "POST", NOTHING)


def test_several_rules_are_refused_until_the_endpoint_is_named(
    app: Quart, realtime: Realtime
) -> None:
    realtime.handler("messages", "create")(nothing)
    app.add_url_rule("/a", "a", nothing, methods=["GET"])
    app.add_url_rule("/a/<part>", "a", nothing, methods=["GET"])
    text = refusal(app, realtime)
    assert "/a/<part>" in text
    assert 'endpoint="a"' in text

    other = Realtime()
    other.handler("messages", "create", endpoint="a")(nothing)
    assert route(app, other) == Route("a", "GET", frozenset({"part"}))


def test_a_route_has_the_variables_of_its_method_s_rules_only(
    app: Quart, realtime: Realtime
) -> None:
    realtime.handler("messages", "create", method="POST")(nothing)
    app.add_url_rule("/a", "a", nothing, methods=["POST"])
    app.add_url_rule("/a/<title>", "a", nothing, methods=["GET"])
    assert route(app, realtime) == Route("a", "POST", NOTHING)


def test_an_endpoint_that_is_not_there_is_refused_with_those_that_are(
    app: Quart, realtime: Realtime
) -> None:
    app.add_url_rule("/a", "a", nothing)
    realtime.handler("messages", "create", endpoint="b")(nothing)
    text = refusal(app, realtime)
    assert "no endpoint 'b'" in text
    assert "there are a" in text


def test_a_route_that_only_answers_head_says_so(app: Quart, realtime: Realtime) -> None:
    app.add_url_rule("/a", "a", nothing, methods=["HEAD"])
    realtime.handler("messages", "create")(nothing)
    assert not refusal(app, realtime).endswith(": .")


def test_one_name_for_two_functions_is_refused_with_both_places(realtime: Realtime) -> None:
    realtime.handler("messages", "create")(polite)  # type: ignore[type-var]
    with pytest.raises(SetupError) as caught:
        realtime.handler("messages", "create")(nothing)
    text = str(caught.value)
    assert "messages.create is registered twice" in text
    assert "polite" in text
    assert "nothing" in text


def test_one_function_may_have_two_names(app: Quart, realtime: Realtime) -> None:
    realtime.handler("messages", "create")(nothing)
    realtime.handler("messages", "post")(nothing)
    app.add_url_rule("/a", "a", nothing, methods=["POST"])
    assert route(app, realtime) == route(app, realtime, "messages.post")


def test_all_mistakes_are_told_at_once(app: Quart, realtime: Realtime) -> None:
    realtime.handler("a", "x", endpoint="nowhere")(nothing)
    realtime.handler("b", "x", endpoint="nowhere")(nothing)
    realtime.expose(Blueprint("loose", "loose"), "loose")
    with pytest.raises(SetupError) as caught:
        resolved(app, realtime)
    assert len(caught.value.problems) == 3


# Exposed blueprints


def crud(app: Quart, realtime: Realtime) -> dict[str, Route | None]:
    return {action: item.route for (_, action), item in resolved(app, realtime).items()}


def blueprint(*routes: tuple[str, str, str], **options: Any) -> Blueprint:
    made = Blueprint("m", "m", **options)
    for method, path, name in routes:

        async def view(**_: Any) -> None: ...

        made.add_url_rule(path, name, view, methods=[method])
    return made


CRUD = [
    ("GET", "/messages", "all"),
    ("POST", "/messages", "new"),
    ("GET", "/messages/<message_id>", "one"),
    ("PUT", "/messages/<message_id>", "edit"),
    ("DELETE", "/messages/<int:message_id>", "remove"),
]


def test_the_crud_routes_of_a_blueprint_are_exposed(app: Quart, realtime: Realtime) -> None:
    made = blueprint(*CRUD, ("POST", "/messages/<message_id>/pin", "pin"))
    realtime.expose(made, "messages")
    app.register_blueprint(made, url_prefix="/api")
    item = frozenset({"message_id"})
    assert crud(app, realtime) == {
        "get_all": Route("m.all", "GET", NOTHING),
        "create": Route("m.new", "POST", NOTHING),
        "get": Route("m.one", "GET", item),
        "update": Route("m.edit", "PUT", item),
        "delete": Route("m.remove", "DELETE", item),
    }


def test_a_blueprint_within_another_is_exposed(app: Quart, realtime: Realtime) -> None:
    outer = Blueprint("api", "api", url_prefix="/api/<tenant>")
    made = blueprint(("GET", "/", "all"), ("GET", "/<id>", "one"), url_prefix="/messages")
    outer.register_blueprint(made)
    app.register_blueprint(outer)
    realtime.expose(made, "messages")
    assert crud(app, realtime) == {
        "get_all": Route("api.m.all", "GET", frozenset({"tenant"})),
        "get": Route("api.m.one", "GET", frozenset({"tenant", "id"})),
    }


def test_a_method_view_is_exposed(app: Quart, realtime: Realtime) -> None:
    class Item(MethodView):
        async def get(self, item_id: str) -> None: ...

        async def put(self, item_id: str) -> None: ...

        async def patch(self, item_id: str) -> None: ...

    made = blueprint(("GET", "/items", "all"))
    made.add_url_rule("/items/<item_id>", view_func=Item.as_view("item"))
    app.register_blueprint(made)
    realtime.expose(made, "items")
    found = crud(app, realtime)
    assert found["update"] == Route("m.item", "PATCH", frozenset({"item_id"}))
    assert "delete" not in found


def test_a_handler_of_the_same_name_comes_before_the_exposed_route(
    app: Quart, realtime: Realtime
) -> None:
    made = blueprint(*CRUD)
    app.register_blueprint(made)
    realtime.expose(made, "messages")
    realtime.handler("messages", "create", endpoint=False)(nothing)
    assert crud(app, realtime)["create"] is None


def test_a_view_with_a_handler_of_its_own_keeps_to_that(app: Quart, realtime: Realtime) -> None:
    made = blueprint(("GET", "/messages", "all"))

    @made.post("/messages")
    @realtime.handler("messages", "send", rate_limit="1/minute")
    async def send() -> None: ...

    app.register_blueprint(made)
    realtime.expose(made, "messages")
    assert set(crud(app, realtime)) == {"get_all", "send"}


def test_two_views_for_one_action_are_refused(app: Quart, realtime: Realtime) -> None:
    made = blueprint(*CRUD, ("PATCH", "/messages/<message_id>", "patch"))
    app.register_blueprint(made)
    realtime.expose(made, "messages")
    text = refusal(app, realtime)
    assert "'m.edit'" in text
    assert "'m.patch'" in text
    assert '@realtime.handler("messages", "update")' in text


def test_a_blueprint_that_is_not_registered_is_refused(app: Quart, realtime: Realtime) -> None:
    realtime.expose(blueprint(*CRUD), "messages")
    assert "app.register_blueprint" in refusal(app, realtime)


def test_a_blueprint_without_a_collection_exposes_its_items(app: Quart, realtime: Realtime) -> None:
    made = blueprint(("GET", "/messages/<id>", "one"))
    app.register_blueprint(made)
    realtime.expose(made, "messages")
    assert set(crud(app, realtime)) == {"get"}


def test_a_blueprint_for_several_things_none_of_which_is_the_resource_is_refused(
    app: Quart, realtime: Realtime
) -> None:
    made = blueprint(("GET", "/tags", "tags"), ("GET", "/pings", "pings"))
    app.register_blueprint(made)
    realtime.expose(made, "messages")
    assert "routes for pings, tags; name one of these" in refusal(app, realtime)


@pytest.mark.parametrize("path", ["/tags", "/ping"])
def test_a_route_beside_the_collection_does_not_take_its_place(
    app: Quart, realtime: Realtime, path: str
) -> None:
    made = blueprint(*CRUD, ("GET", path, "other"))
    app.register_blueprint(made)
    realtime.expose(made, "messages")
    assert crud(app, realtime)["get_all"] == Route("m.all", "GET", NOTHING)


def test_a_blueprint_that_is_registered_twice_is_refused(app: Quart, realtime: Realtime) -> None:
    made = blueprint(*CRUD)
    app.register_blueprint(made)
    app.register_blueprint(made, name="again", url_prefix="/again")
    realtime.expose(made, "messages")
    assert "again" in refusal(app, realtime)


def test_two_blueprints_for_one_resource_are_refused(app: Quart, realtime: Realtime) -> None:
    first, second = blueprint(*CRUD), Blueprint("n", "n")
    second.add_url_rule("/notes", "all", nothing, methods=["GET"])
    for made in (first, second):
        app.register_blueprint(made)
        realtime.expose(made, "messages")
    assert "messages.get_all" in refusal(app, realtime)


# Emissions that never run


def test_emits_above_the_route_is_refused(app: Quart, realtime: Realtime) -> None:
    @realtime.emits("created")
    @app.post("/messages")
    async def create() -> None: ...

    text = refusal(app, realtime)
    assert 'emits("created") stands above the route' in text
    assert "put it below" in text


def test_emits_above_the_route_and_a_handler_is_refused(app: Quart, realtime: Realtime) -> None:
    @realtime.handler("messages", "create")
    @realtime.emits("created")
    @app.post("/messages")
    @polite
    async def create() -> None: ...

    assert "stands above the route" in refusal(app, realtime)


def test_emits_above_a_native_handler_is_refused(app: Quart, realtime: Realtime) -> None:
    @realtime.emits("created")
    @realtime.handler("messages", "create")
    async def create() -> None: ...

    assert "stands above @realtime.handler" in refusal(app, realtime)


@pytest.mark.parametrize("decorator", [polite, blind])
def test_emits_below_the_route_is_right(app: Quart, realtime: Realtime, decorator: Any) -> None:
    @app.post("/messages")
    @decorator
    @realtime.emits("created")
    @realtime.emits("told")
    async def create() -> None: ...

    assert resolved(app, realtime) == {}


def test_emits_on_the_method_of_a_view_class_is_right(app: Quart, realtime: Realtime) -> None:
    class Messages(MethodView):
        @realtime.emits("created")
        @realtime.handler("messages", "create")
        async def post(self) -> None: ...

    app.add_url_rule("/messages", view_func=Messages.as_view("messages"))
    assert route(app, realtime) == Route("messages", "POST", NOTHING)


def test_emits_on_a_function_that_views_call_is_right(app: Quart, realtime: Realtime) -> None:
    @realtime.emits("created")
    async def create() -> None: ...

    assert resolved(app, realtime) == {}
