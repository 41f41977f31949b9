"""Whoever puts an app together wrongly is told which line to change, and to what.

Most do it without a type checker, which would refuse some of this first: what it says is ignored.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from quart import Blueprint, Quart
from quart.asgi import ASGIHTTPConnection, ASGIWebsocketConnection
from quart_jwt_extended import jwt_required
from quart_schema import DataSource, validate_querystring, validate_request

import quart_realtime
from quart_realtime import Realtime, SetupError
from quart_realtime.testing import record_events

from ..conftest import make_app

PACKAGE = Path(quart_realtime.__file__).parent
ELSEWHERE = {"emitter", "redis_broker", "redis_servers", "runtime"}
"""Whose mistakes are in the URL of a broker, and are tried where there is one."""

Mistake = Callable[[Quart, Realtime], Any]
MISTAKES: list[Mistake] = []


def mistake(function: Mistake) -> Mistake:
    MISTAKES.append(function)
    return function


async def view() -> Any:
    return {}


async def other(**_: Any) -> Any:
    return {}


async def of_positions(*args: Any) -> Any: ...


async def of_unreadable(data: Nowhere) -> Any: ...  # type: ignore[name-defined]  # noqa: F821


async def of_complex(data: complex) -> Any: ...


async def of_list(data: list[int]) -> Any: ...


async def of_action(action: str = "") -> Any: ...


async def of_parts() -> Any:
    yield 1


@frozen
class Ban:
    action: str | None = None


class Things:
    async def do(self, number: int) -> Any: ...

    @classmethod
    async def make(cls) -> Any: ...


async def of_two(one: Any, two: Any) -> Any: ...


def blind(function: Any) -> Any:
    async def blindly() -> Any:
        return await function()

    return blindly


def crud(name: str = "boxes") -> Blueprint:
    made = Blueprint(name, __name__)
    made.add_url_rule("/boxes", "all", other, methods=["GET"])
    made.add_url_rule("/boxes/<box_id>", "one", other, methods=["GET"])
    return made


# What is found at once


@mistake
def a_second_realtime(app: Quart, realtime: Realtime) -> None:
    Realtime(app)


@mistake
def a_quart_trio(app: Quart, realtime: Realtime) -> None:
    kind = type("QuartTrio", (Quart,), {"__module__": "quart_trio.app"})
    realtime.init_app(kind("tests"))


@mistake
def a_login_that_is_called(app: Quart, realtime: Realtime) -> None:
    Realtime(authenticate="ana")  # type: ignore[arg-type]


@mistake
def a_login_of_two(app: Quart, realtime: Realtime) -> None:
    Realtime(authenticate=of_two)


@mistake
def no_realtime(app: Quart, realtime: Realtime) -> None:
    with record_events(make_app()):
        pass


@mistake
def a_value_that_is_none(app: Quart, realtime: Realtime) -> None:
    Realtime(make_app(PING_INTERVAL=-1, NONSENSE=2))


@mistake
def a_handler_without_a_name(app: Quart, realtime: Realtime) -> None:
    realtime.handler("", "do")(view)


@mistake
def a_rate_that_is_none(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do", rate_limit="often")(view)


@mistake
def a_timeout_that_is_none(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do", timeout=0)(view)


@mistake
def a_timeout_in_words(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do", timeout="5")(view)  # type: ignore[arg-type]


@mistake
def a_handler_without_its_arguments(app: Quart, realtime: Realtime) -> None:
    realtime.handler(view)  # type: ignore[arg-type]


@mistake
def an_emission_without_its_arguments(app: Quart, realtime: Realtime) -> None:
    realtime.emits(view)  # type: ignore[arg-type]


@mistake
def a_blueprint_that_is_a_view(app: Quart, realtime: Realtime) -> None:
    realtime.expose(view)  # type: ignore[arg-type]


@mistake
def a_blueprint_that_is_none(app: Quart, realtime: Realtime) -> None:
    realtime.expose("boxes", "boxes")  # type: ignore[arg-type]


@mistake
def a_class_method(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(vars(Things)["make"])


@mistake
def a_history_in_words(app: Quart, realtime: Realtime) -> None:
    realtime.room("board", history="10")(view)  # type: ignore[arg-type]


@mistake
def an_event_to_a_number(app: Quart, realtime: Realtime) -> None:
    realtime.event("done", room=5)  # type: ignore[arg-type]


@mistake
def a_condition_in_words(app: Quart, realtime: Realtime) -> None:
    realtime.emits("done", when="always")  # type: ignore[arg-type]


@mistake
def a_handler_twice(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(view)
    realtime.handler("things", "do")(other)


@mistake
def an_event_twice(app: Quart, realtime: Realtime) -> None:
    realtime.event("done")
    realtime.event("done", dict)


@mistake
def an_event_without_a_name(app: Quart, realtime: Realtime) -> None:
    realtime.event("")


@mistake
def an_event_of_no_type(app: Quart, realtime: Realtime) -> None:
    realtime.event("done", complex)


@mistake
def a_template_that_is_none(app: Quart, realtime: Realtime) -> None:
    realtime.emits("done", room="box:<box_id>")


@mistake
def a_listener_without_a_name(app: Quart, realtime: Realtime) -> None:
    realtime.on(view)  # type: ignore[arg-type]


@mistake
def a_room_without_a_pattern(app: Quart, realtime: Realtime) -> None:
    realtime.room(view)  # type: ignore[arg-type]


@mistake
def a_room_twice(app: Quart, realtime: Realtime) -> None:
    realtime.room("board")(view)
    realtime.room("board")(other)


@mistake
def a_room_twice_by_other_names(app: Quart, realtime: Realtime) -> None:
    realtime.room("box:<box_id>")(view)
    realtime.room("box:<string:name>")(other)


@mistake
def a_pattern_of_another_kind(app: Quart, realtime: Realtime) -> None:
    realtime.room("box:<float:box_id>")(view)


@mistake
def a_pattern_in_braces(app: Quart, realtime: Realtime) -> None:
    realtime.room("box:{box_id}")(view)


@mistake
def a_pattern_that_ends_too_soon(app: Quart, realtime: Realtime) -> None:
    realtime.room("box:<box_id")(view)


@mistake
def a_pattern_with_a_variable_twice(app: Quart, realtime: Realtime) -> None:
    realtime.room("box:<a>:<a>")(view)


# What is found when the app starts


@mistake
def a_setting_too_late(app: Quart, realtime: Realtime) -> None:
    app.config["QUART_REALTIME_RETRY_AFTER"] = 1


@mistake
def no_jwt_manager(app: Quart, realtime: Realtime) -> None:
    del app.extensions["quart-jwt-extended"]


@mistake
def cookies_of_any_page(app: Quart, realtime: Realtime) -> Quart:
    open_to_all = make_app(ALLOWED_ORIGINS="*")
    open_to_all.config["JWT_TOKEN_LOCATION"] = ["cookies"]
    Realtime(open_to_all)
    return open_to_all


@mistake
def a_session_of_any_page(app: Quart, realtime: Realtime) -> Quart:
    open_to_all = make_app(ALLOWED_ORIGINS="*")
    Realtime(open_to_all, authenticate=view)
    return open_to_all


@mistake
def two_websockets(app: Quart, realtime: Realtime) -> None:
    app.add_websocket("/ws", "own", view)


@mistake
def a_route_in_the_streams_place(app: Quart, realtime: Realtime) -> None:
    app.add_url_rule("/ws/events", "own", view)


@mistake
def another_connection_class(app: Quart, realtime: Realtime) -> None:
    app.asgi_websocket_class = ASGIWebsocketConnection  # type: ignore[assignment]


@mistake
def another_class_for_requests(app: Quart, realtime: Realtime) -> None:
    app.asgi_http_class = ASGIHTTPConnection  # type: ignore[assignment]


@mistake
def no_such_endpoint(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do", endpoint="nowhere")(view)


@mistake
def two_endpoints(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(view)
    app.add_url_rule("/a", "a", view)
    app.add_url_rule("/b", "b", view)


@mistake
def two_rules(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(view)
    app.add_url_rule("/a", "a", view)
    app.add_url_rule("/b", "a", view)


@mistake
def a_route_of_a_host(app: Quart, realtime: Realtime) -> Quart:
    of_hosts = make_app()
    of_hosts.config["SERVER_NAME"] = "example.com"
    own = Realtime(of_hosts)
    own.handler("things", "do")(view)
    of_hosts.add_url_rule("/a", "a", view, subdomain="api")
    return of_hosts


@mistake
def a_method_that_is_not_the_routes(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do", method="PUT")(view)
    app.add_url_rule("/a", "a", view, methods=["POST"])


@mistake
def a_route_of_no_method(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(view)
    app.add_url_rule("/a", "a", view, methods=["HEAD"])


@mistake
def two_methods(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(view)
    app.add_url_rule("/a", "a", view, methods=["POST", "PUT"])


@mistake
def a_blind_wrapper(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(view)
    app.add_url_rule("/a", "a", blind(view))


@mistake
def a_routes_decorator_without_a_route(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(jwt_required(view))


@mistake
def positions(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(of_positions)


@mistake
def an_annotation_that_can_not_be_read(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(of_unreadable)


@mistake
def an_annotation_that_json_has_not(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(of_complex)


@mistake
def a_method_without_its_object(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(Things.do)


@mistake
def many_answers(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(of_parts)


@mistake
def a_payload_that_is_a_list(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(of_list)


@mistake
def a_parameter_that_is_the_action(app: Quart, realtime: Realtime) -> None:
    realtime.handler("things", "do")(of_action)


@mistake
def a_variable_that_is_the_action(app: Quart, realtime: Realtime) -> None:
    app.post("/do/<action>")(realtime.handler("things", "do")(other))


@mistake
def a_field_that_is_the_action(app: Quart, realtime: Realtime) -> None:
    app.post("/do")(validate_request(Ban)(realtime.handler("things", "do")(other)))


@mistake
def a_query_that_has_the_action(app: Quart, realtime: Realtime) -> None:
    app.get("/do")(validate_querystring(Ban)(realtime.handler("things", "do")(other)))


@mistake
def a_body_that_is_a_list(app: Quart, realtime: Realtime) -> None:
    app.post("/do")(validate_request(list[int])(realtime.handler("things", "do")(other)))  # type: ignore[arg-type]


@mistake
def a_form_with_files(app: Quart, realtime: Realtime) -> None:
    read = validate_request(Ban, source=DataSource.FORM_MULTIPART)
    app.post("/do")(read(realtime.handler("things", "do")(other)))


@mistake
def an_exposed_body_that_is_a_list(app: Quart, realtime: Realtime) -> None:
    made = Blueprint("boxes", __name__)
    made.post("/boxes")(validate_request(list[int])(other))  # type: ignore[arg-type]
    app.register_blueprint(made)
    realtime.expose(made, "boxes")


@mistake
def a_blueprint_too_few(app: Quart, realtime: Realtime) -> None:
    realtime.expose(crud(), "boxes")


@mistake
def a_blueprint_of_another_name(app: Quart, realtime: Realtime) -> None:
    made = crud()
    made.add_url_rule("/lids", "lids", other)
    app.register_blueprint(made)
    realtime.expose(made, "notes")


@mistake
def a_blueprint_with_two_views_for_one_action(app: Quart, realtime: Realtime) -> None:
    made = crud()
    made.add_url_rule("/old/boxes", "old", other)
    app.register_blueprint(made)
    realtime.expose(made, "boxes")


@mistake
def two_blueprints_for_one_resource(app: Quart, realtime: Realtime) -> None:
    for name in ("one", "two"):
        made = crud(name)
        app.register_blueprint(made, url_prefix=f"/{name}")
        realtime.expose(made, "boxes")


@mistake
def an_emission_above_its_route(app: Quart, realtime: Realtime) -> None:
    realtime.emits("done", room="board")(app.post("/do")(view))


@mistake
def an_emission_above_its_handler(app: Quart, realtime: Realtime) -> None:
    async def do() -> None: ...

    realtime.emits("done", room="board")(realtime.handler("things", "do")(do))


@mistake
def an_emission_to_no_room(app: Quart, realtime: Realtime) -> Quart:
    strict = make_app(REQUIRE_ROOM=True)
    own = Realtime(strict)
    strict.post("/do")(own.emits("done")(view))
    return strict


@mistake
def a_jwt_manager_without_a_secret(app: Quart, realtime: Realtime) -> None:
    app.config["JWT_SECRET_KEY"] = None


@mistake
def an_emission_of_a_misspelt_event(app: Quart, realtime: Realtime) -> None:
    realtime.event("payslip", room="user:{account}")
    app.post("/do")(realtime.emits("paylsip")(view))


@mistake
def a_room_of_other_parameters(app: Quart, realtime: Realtime) -> None:
    realtime.room("box:<box_id>")(of_two)


@mistake
def a_room_of_unreadable_annotations(app: Quart, realtime: Realtime) -> None:
    realtime.room("box:<data>")(of_unreadable)


@mistake
def a_hook_of_two(app: Quart, realtime: Realtime) -> None:
    realtime.on_connect(of_two)


@mistake
def a_listener_of_nothing(app: Quart, realtime: Realtime) -> None:
    realtime.event("new_message", room="board")
    realtime.on("new_mesage")(other)


HERE = re.compile(re.escape(__file__) + r":\d+")
KEY = re.compile(r"(QUART_REALTIME|JWT)_[A-Z_]+|app\.asgi_(websocket|http)_class")
WHAT_TO_DO = re.compile(
    r"write|name one|give|set|put|call|must|did you mean|Leave out|leave|take|declare|define|Write"
    r"|Name|but for|there are|known are|1 to"
)


async def told_of(wrong: Mistake) -> str:
    app = make_app()
    realtime = Realtime(app)
    with pytest.raises(SetupError) as caught:
        await (wrong(app, realtime) or app).startup()
    return str(caught.value)


@pytest.mark.parametrize("wrong", MISTAKES, ids=lambda wrong: wrong.__name__)
async def test_a_mistake_is_told_with_its_line_or_its_key_and_what_to_do(wrong: Mistake) -> None:
    for line in (await told_of(wrong)).splitlines():
        assert HERE.search(line) or KEY.search(line), line
        assert WHAT_TO_DO.search(line), line


@pytest.mark.parametrize("kind", ["handler", "event", "room"])
def test_what_a_factory_declares_again_is_told_with_how_factories_do_it(kind: str) -> None:
    realtime = Realtime()

    def create_app() -> None:
        async def do() -> None: ...

        if kind == "handler":
            realtime.handler("things", "do")(do)
        elif kind == "event":
            realtime.event("done")
        else:
            realtime.room("board")(do)

    create_app()
    with pytest.raises(SetupError, match=r"run twice\. Make the Realtime there too, or declare"):
        create_app()


@pytest.mark.parametrize(
    "wrong", [a_handler_twice, an_event_twice, a_room_twice, a_room_twice_by_other_names]
)
async def test_what_is_declared_twice_is_told_with_both_places(wrong: Mistake) -> None:
    assert len(set(HERE.findall(await told_of(wrong)))) == 2


async def test_no_mistake_is_left_out_here(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: set[tuple[str, int]] = set()
    make = SetupError.__init__

    def noting(self: SetupError, *problems: str) -> None:
        frame = sys._getframe(1)
        raised.add((Path(frame.f_code.co_filename).stem, frame.f_lineno))
        make(self, *problems)

    monkeypatch.setattr(SetupError, "__init__", noting)
    for wrong in MISTAKES:
        await told_of(wrong)
    written = {
        (path.stem, node.lineno)
        for path in PACKAGE.glob("*.py")
        if path.stem not in ELSEWHERE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", None) == "SetupError"
        # Those that hand on what was found elsewhere make no mistake of their own.
        and not isinstance(node.args[0], ast.Starred)
    }
    assert written - raised == set()
