"""Which route a handler stands for, and what start-up says where that can't be told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

import pytest
from quart import Blueprint, Quart
from quart.views import MethodView, View
from quart_jwt_extended import jwt_optional, jwt_required

from quart_realtime import Realtime, SetupError, current_connection
from quart_realtime.routes import Resolutions, Route, resolve

AnyView = Callable[..., Awaitable[Any]]
NOTHING: frozenset[str] = frozenset()


def polite(function: AnyView) -> AnyView:
    """A decorator by the book."""

    @wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def blind(function: AnyView) -> AnyView:
    """A decorator without functools.wraps, such as one that checks a role."""

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


@pytest.fixture
def app() -> Quart:
    return Quart("tests")


@pytest.fixture
def realtime() -> Realtime:
    return Realtime()


def route(app: Quart, realtime: Realtime, name: str = "messages.create") -> Route | None:
    resource, action = name.split(".")
    return resolved(app, realtime)[resource, action].route


def resolved(app: Quart, realtime: Realtime) -> Resolutions:
    """Resolve what was declared, and raise what is wrong with it, as start-up does."""
    found, problems = resolve(app, realtime._registry)
    if problems:
        raise SetupError(*problems)
    return found


def refusal(app: Quart, realtime: Realtime) -> str:
    with pytest.raises(SetupError) as caught:
        resolved(app, realtime)
    return str(caught.value)


# Anywhere in the stack


def test_a_handler_below_the_route_is_that_route(app: Quart, realtime: Realtime) -> None:
    @app.post("/conversations/<conversation_id>/messages")
    @realtime.handler("messages", "create")
    async def create(conversation_id: str) -> None: ...

    assert route(app, realtime) == Route("create", "POST", frozenset({"conversation_id"}))


@pytest.mark.parametrize("place", range(4))
def test_a_handler_is_its_route_wherever_it_stands(
    app: Quart, realtime: Realtime, place: int
) -> None:
    async def create() -> None: ...

    stack: list[Callable[[Any], Any]] = [polite, polite, app.post("/messages")]
    stack.insert(place, realtime.handler("messages", "create"))
    function: Any = create
    for decorate in stack:
        function = decorate(function)
    assert route(app, realtime) == Route("create", "POST", NOTHING)


@pytest.mark.parametrize("place", range(5))
def test_a_handler_is_its_route_beside_emits_wherever_it_stands(
    app: Quart, realtime: Realtime, place: int
) -> None:
    async def create() -> None: ...

    stack: list[Callable[[Any], Any]] = [
        polite,
        realtime.emits("created"),
        polite,
        app.post("/messages"),
    ]
    stack.insert(place, realtime.handler("messages", "create"))
    function: Any = create
    for decorate in stack:
        function = decorate(function)
    assert route(app, realtime) == Route("create", "POST", NOTHING)


def test_registration_returns_the_function_untouched(realtime: Realtime) -> None:
    async def create() -> None: ...

    assert realtime.handler("messages", "create")(create) is create


def test_a_sync_view_is_found(app: Quart, realtime: Realtime) -> None:
    @app.get("/messages")
    @realtime.handler("messages", "create")
    def get_all() -> dict[str, int]:
        return {}

    assert route(app, realtime) == Route("get_all", "GET", NOTHING)


def test_a_function_that_no_route_has_is_native(app: Quart, realtime: Realtime) -> None:
    @realtime.handler("messages", "create")
    async def native() -> None: ...

    assert route(app, realtime) is None


def test_two_views_that_wrap_one_helper_are_told_apart(app: Quart, realtime: Realtime) -> None:
    async def helper() -> None: ...

    app.add_url_rule("/a", "a", realtime.handler("a", "x")(polite(helper)), methods=["GET"])
    app.add_url_rule("/b", "b", realtime.handler("b", "x")(polite(helper)), methods=["GET"])
    assert route(app, realtime, "a.x") == Route("a", "GET", NOTHING)
    assert route(app, realtime, "b.x") == Route("b", "GET", NOTHING)


def test_a_partial_as_a_view_is_found(app: Quart, realtime: Realtime) -> None:
    @realtime.handler("messages", "create")
    async def create(kind: str) -> None: ...

    app.add_url_rule("/m", "create", partial(create, "plain"), methods=["POST"])
    assert route(app, realtime) == Route("create", "POST", NOTHING)


def test_a_bound_method_as_a_view_is_found(app: Quart, realtime: Realtime) -> None:
    class Messages:
        @realtime.handler("messages", "create")
        async def create(self) -> None: ...

    app.add_url_rule("/m", "create", Messages().create, methods=["POST"])
    assert route(app, realtime) == Route("create", "POST", NOTHING)


# Classes of views


@pytest.mark.parametrize("decorator", [None, polite, blind])
def test_a_method_of_a_method_view_is_its_route(
    app: Quart, realtime: Realtime, decorator: Any
) -> None:
    class Messages(MethodView):
        decorators = [decorator] if decorator else []

        @polite
        @realtime.handler("messages", "create")
        async def post(self) -> None: ...

        @realtime.handler("messages", "get_all")
        async def get(self) -> None: ...

    app.add_url_rule("/messages", view_func=Messages.as_view("messages"))
    assert route(app, realtime) == Route("messages", "POST", NOTHING)
    assert route(app, realtime, "messages.get_all") == Route("messages", "GET", NOTHING)


def test_an_inherited_method_of_a_method_view_is_its_route(app: Quart, realtime: Realtime) -> None:
    class Base(MethodView):
        @realtime.handler("messages", "create")
        async def post(self) -> None: ...

    class Messages(Base):
        decorators = [blind]  # noqa: RUF012

    app.add_url_rule("/messages", view_func=Messages.as_view("messages"))
    assert route(app, realtime) == Route("messages", "POST", NOTHING)


def test_dispatch_request_of_a_view_class_is_its_route(app: Quart, realtime: Realtime) -> None:
    class Create(View):
        methods = ["POST"]  # noqa: RUF012

        @realtime.handler("messages", "create")
        async def dispatch_request(self, **_: Any) -> None: ...

    app.add_url_rule("/messages", view_func=Create.as_view("create"))
    assert route(app, realtime) == Route("create", "POST", NOTHING)


def test_a_method_behind_a_blind_decorator_is_refused(app: Quart, realtime: Realtime) -> None:
    class Messages(MethodView):
        @blind
        @realtime.handler("messages", "create")
        async def post(self) -> None: ...

    app.add_url_rule("/messages", view_func=Messages.as_view("messages"))
    assert "@functools.wraps" in refusal(app, realtime)


# Blueprints


def test_a_route_of_nested_blueprints_with_prefixes_is_found(
    app: Quart, realtime: Realtime
) -> None:
    inner = Blueprint("messages", "messages", url_prefix="/<conversation_id>/messages")
    outer = Blueprint("conversations", "conversations", url_prefix="/conversations")

    @inner.put("/<message_id>")
    @realtime.handler("messages", "create")
    async def replace(conversation_id: str, message_id: str) -> None: ...

    outer.register_blueprint(inner)
    app.register_blueprint(outer, url_prefix="/api")
    expected = frozenset({"conversation_id", "message_id"})
    assert route(app, realtime) == Route("conversations.messages.replace", "PUT", expected)


# What can't be seen through


def test_a_wrapper_without_wraps_is_refused_and_told_how_to_mend(
    app: Quart, realtime: Realtime
) -> None:
    @app.post("/messages", endpoint="create")
    @blind
    @realtime.handler("messages", "create")
    async def create() -> None: ...

    text = refusal(app, realtime)
    assert text.startswith("messages.create: ")
    for advice in ("@functools.wraps", 'endpoint="create"', "endpoint=False", __file__):
        assert advice in text


def test_a_wrapper_without_wraps_is_taken_by_its_endpoint(app: Quart, realtime: Realtime) -> None:
    @app.post("/messages", endpoint="create")
    @blind
    @realtime.handler("messages", "create", endpoint="create")
    async def create() -> None: ...

    assert route(app, realtime) == Route("create", "POST", NOTHING)


def test_a_view_that_calls_a_native_handler_needs_endpoint_false(
    app: Quart, realtime: Realtime
) -> None:
    @realtime.handler("messages", "create")
    async def native() -> None: ...

    @app.post("/messages")
    async def view() -> None:
        await native()

    assert "endpoint=False" in refusal(app, realtime)


@pytest.mark.parametrize("decorator", [jwt_required, jwt_optional])
def test_a_native_handler_behind_a_decorator_of_routes_is_refused(
    app: Quart, realtime: Realtime, decorator: Any
) -> None:
    @realtime.handler("messages", "create")
    @polite
    @decorator
    async def native() -> None: ...

    text = refusal(app, realtime)
    assert "messages.create" in text
    assert "leave it out" in text


def test_endpoint_false_makes_any_function_native(app: Quart, realtime: Realtime) -> None:
    @app.post("/messages")
    @realtime.handler("messages", "create", endpoint=False)
    async def create() -> None: ...

    assert route(app, realtime) is None


class Keeping:
    """A decorator as an object."""

    def __init__(self, function: AnyView) -> None:
        self.function = function

    async def __call__(self, **arguments: Any) -> Any:
        return await self.function(**arguments)


class OnlySlots:
    __slots__ = ("function",)

    def __init__(self, function: AnyView) -> None:
        self.function = function

    async def __call__(self) -> Any:
        return await self.function()


def in_a_tuple(*functions: AnyView) -> AnyView:
    async def wrapper() -> Any:
        return await functions[0]()

    return wrapper


def in_a_default(function: AnyView) -> AnyView:
    async def wrapper(*, inner: AnyView = function) -> Any:
        return await inner()

    return wrapper


@pytest.mark.parametrize(
    "decorator",
    [
        Keeping,
        lambda function: polite(blind(function)),
        lambda function: blind(partial(function)),
        pytest.param(OnlySlots),
        pytest.param(in_a_tuple),
        pytest.param(in_a_default),
    ],
    ids=["object", "two", "partial", "slots", "tuple", "default"],
)
def test_a_handler_is_never_run_past_a_wrapper_of_its_view(
    app: Quart, realtime: Realtime, decorator: Any
) -> None:
    @realtime.handler("messages", "create")
    async def create() -> None: ...

    app.add_url_rule("/messages", "create", decorator(create), methods=["POST"])
    assert "@functools.wraps" in refusal(app, realtime)


def test_a_view_may_close_over_a_proxy_such_as_current_connection(
    app: Quart, realtime: Realtime
) -> None:
    me = current_connection

    @realtime.handler("messages", "create")
    async def native() -> None: ...

    @app.get("/me")
    async def view() -> str:
        return me.id

    assert route(app, realtime) is None
