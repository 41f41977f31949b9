"""A route refuses over the socket exactly what it refuses over HTTP, however it is decorated."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import pytest
from attrs import field, frozen
from quart import Blueprint, Quart, Response, abort, g, request
from quart.views import MethodView
from quart_jwt_extended import get_jwt_claims, get_jwt_identity, jwt_required
from quart_schema import validate_request

from quart_realtime import Conflict, Realtime, SetupError
from quart_realtime.client_types import RealtimeError
from quart_realtime.testing import RealtimeClient, realtime_client

from ..conftest import make_app

View = Callable[..., Awaitable[Any]]


@frozen
class NewNote:
    text: str


@frozen
class Case:
    """A request, who makes it, and the status that it must come to."""

    name: str
    status: int
    code: str | None = None
    claims: dict[str, Any] = field(factory=lambda: {"role": "writer"})
    text: Any = "hello"
    box_id: str = "7"
    revoked: bool = False


CASES = [
    Case("granted", 201),
    Case("another role", 403, "forbidden", claims={"role": "reader"}),
    Case("no role", 403, "forbidden", claims={}),
    Case("a body of the wrong type", 400, "validation_error", text=["no", "text"]),
    Case("a body that lacks its field", 400, "validation_error", text=None),
    Case("refused by the hook", 503, "unavailable", text="blocked"),
    Case("refused by abort", 404, "not_found", text="missing"),
    Case("refused by abort with a response", 409, "conflict", text="taken"),
    Case("refused by a RealtimeError", 409, "conflict", text="conflict"),
    Case("refused by a returned status", 422, "validation_error", text="odd"),
    Case("refused with a status that has no code", 418, "bad_request", text="teapot"),
    Case("an exception", 500, "internal_error", text="bug"),
    Case("a variable of the wrong type", 404, "not_found", box_id="seven"),
    Case("a token that was revoked", 401, "unauthorized", revoked=True),
]


class Journal:
    """The side effects of one app's view."""

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []
        self.revoked: set[str] = set()


def role_check(view: View) -> View:
    @wraps(view)
    async def checking(*args: Any, **kwargs: Any) -> Any:
        if get_jwt_claims().get("role") != "writer":
            return {"error": "writers only"}, 403
        return await view(*args, **kwargs)

    return checking


def prepared_app(journal: Journal) -> Quart:
    app = make_app()
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config["JWT_BLACKLIST_ENABLED"] = True
    manager = app.extensions["quart-jwt-extended"]
    manager.token_in_blacklist_loader(lambda token: token["identity"] in journal.revoked)

    @app.before_request
    async def close_some() -> Any:
        g.seen = True
        if request.method == "POST" and b"blocked" in await request.get_data():
            return {"message": "closed for today"}, 503
        return None

    @app.after_request
    async def note(response: Response) -> Response:
        journal.entries.append(("after", response.status_code))
        return response

    @app.post("/boxes/<int:box_id>/secret/notes")
    async def secret(box_id: int) -> Any:
        journal.entries.append(("secret", box_id))
        return {}

    return app


def note_view(journal: Journal) -> View:
    async def create_note(box_id: int, data: NewNote) -> Any:
        assert g.seen
        journal.entries.append(("view", get_jwt_identity(), box_id, data.text))
        match data.text:
            case "missing":
                abort(404)
            case "taken":
                abort(Response(json.dumps({"message": "taken"}), 409, mimetype="application/json"))
            case "conflict":
                raise Conflict("somebody was faster", by="luis")
            case "odd":
                return {"fields": ["text"]}, 422
            case "teapot":
                return {"message": "short and stout"}, 418
            case "bug":
                raise LookupError("a secret of the server")
        return {"note": {"box_id": box_id, "text": data.text}}, 201

    return create_note


STACK = ["route", "jwt", "validate", "role"]


def decorated(app: Quart | Blueprint, realtime: Realtime, view: View, place: int) -> None:
    """Decorate *view* as STACK says, outermost first, with the handler at *place*."""
    decorators: list[Callable[[View], View]] = [
        app.post("/boxes/<int:box_id>/notes"),
        jwt_required,
        validate_request(NewNote),
        role_check,
    ]
    decorators.insert(place, realtime.handler("notes", "create"))
    for decorator in reversed(decorators):
        view = decorator(view)


def plain_app(journal: Journal, place: int) -> Quart:
    app = prepared_app(journal)
    decorated(app, Realtime(app), note_view(journal), place)
    return app


def app_with_blueprint(journal: Journal, *, nested: bool) -> Quart:
    app = prepared_app(journal)
    realtime = Realtime(app)
    blueprint = Blueprint("notes", __name__)
    decorated(blueprint, realtime, note_view(journal), place=4)
    if nested:
        parent = Blueprint("api", __name__)
        parent.register_blueprint(blueprint, url_prefix="/v1")
        app.register_blueprint(parent, url_prefix="/api")
    else:
        app.register_blueprint(blueprint, url_prefix="/api/v1")
    return app


def app_with_method_view(journal: Journal) -> Quart:
    app = prepared_app(journal)
    realtime = Realtime(app)
    view = note_view(journal)

    class Notes(MethodView):
        decorators = (jwt_required,)

        async def get(self, box_id: int) -> Any:
            return {}

        @validate_request(NewNote)
        @role_check
        @realtime.handler("notes", "create")
        async def post(self, box_id: int, data: NewNote) -> Any:
            return await view(box_id, data)

    app.add_url_rule("/boxes/<int:box_id>/notes", view_func=Notes.as_view("notes"))
    return app


APPS: dict[str, tuple[Callable[[Journal], Quart], str]] = {
    **{
        f"handler above {name}": (
            lambda journal, place=place: plain_app(journal, place),
            "/boxes",
        )
        for place, name in enumerate([*STACK, "nothing"])
    },
    "blueprint with url_prefix": (
        lambda journal: app_with_blueprint(journal, nested=False),
        "/api/v1/boxes",
    ),
    "nested blueprint": (lambda journal: app_with_blueprint(journal, nested=True), "/api/v1/boxes"),
    "MethodView": (app_with_method_view, "/boxes"),
}


async def ask_http(app: Quart, url: str, token: str, case: Case) -> tuple[int, Any]:
    body = {} if case.text is None else {"text": case.text}
    response = await app.test_client().post(
        f"{url}/{case.box_id}/notes", json=body, headers={"Authorization": f"Bearer {token}"}
    )
    return response.status_code, await response.get_json(silent=True)


async def ask_socket(client: RealtimeClient, case: Case) -> tuple[str | None, Any]:
    payload = {"box_id": case.box_id} | ({} if case.text is None else {"text": case.text})
    try:
        return None, await client.request("notes", "create", payload)
    except RealtimeError as error:
        return error.code, {"message": error.message, **error.details}


def status_and_body(code: str | None, answer: Any) -> tuple[int, Any]:
    """What HTTP would have said, told by what the socket did say."""
    if code is None:
        return 201, answer
    if "status" in answer:
        return answer["status"], answer.get("body")
    statuses = {"not_found": 404, "conflict": 409}
    if code == "not_found":
        return statuses[code], None
    details = {key: value for key, value in answer.items() if key != "message"}
    body = {"code": code, "message": answer["message"], "details": details}
    return statuses[code], body


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("name", APPS)
async def test_http_and_socket_give_the_same_status_body_and_effects(
    name: str, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    make, url = APPS[name]
    journal = Journal()
    app = make(journal)
    async with app.test_app():
        token = await app.extensions["QUART_REALTIME"].authenticator.issue("ana", case.claims)
        async with realtime_client(app, token) as client:
            if case.revoked:
                journal.revoked.add("ana")
            http = await ask_http(app, url, token, case)
            http_effects = list(journal.entries)
            journal.entries.clear()
            code, answer = await ask_socket(client, case)
    assert http[0] == case.status
    assert code == case.code
    assert status_and_body(code, answer) == http
    # A URL that no route has never becomes a request; over HTTP its hooks run all the same.
    expected = [] if case.box_id != "7" else http_effects
    assert journal.entries == expected
    assert "a secret of the server" not in str(answer)
    assert ("LookupError" in caplog.text) == (case.text == "bug")


async def test_a_variable_with_a_slash_never_reaches_another_route() -> None:
    journal = Journal()
    async with realtime_client(plain_app(journal, place=4), user_id="ana") as client:
        code, _ = await ask_socket(client, Case("", 404, box_id="7/secret"))
    assert code == "not_found"
    assert journal.entries == []


async def test_nothing_runs_before_login() -> None:
    journal = Journal()
    app = plain_app(journal, place=4)
    async with realtime_client(app) as client:
        code, _ = await ask_socket(client, CASES[0])
    assert code == "unauthorized"
    assert journal.entries == []


async def test_a_view_wrapped_without_functools_wraps_is_an_error_at_start_up() -> None:
    app = make_app()
    realtime = Realtime(app)

    def careless(view: View) -> View:
        async def guarding(*args: Any, **kwargs: Any) -> Any:
            return await view(*args, **kwargs)

        return guarding

    @app.post("/notes")
    @careless
    @realtime.handler("notes", "create")
    async def create_note() -> Any:
        return {}

    with pytest.raises(SetupError, match=r"functools\.wraps"):
        await app.startup()


async def test_identity_and_g_of_one_request_never_reach_the_next() -> None:
    app = make_app()
    realtime = Realtime(app)

    @app.get("/left")
    @realtime.handler("box", "leave")
    async def leave() -> Any:
        g.left = "something"
        return {"left": getattr(g, "left", None)}

    @app.get("/found")
    @realtime.handler("box", "find")
    async def find() -> Any:
        return {"found": getattr(g, "left", None), "who": get_jwt_identity()}

    @realtime.handler("box", "find_native")
    async def find_native() -> Any:
        return {"found": getattr(g, "left", None), "who": get_jwt_identity()}

    async with realtime_client(app, user_id="ana") as client:
        await client.request("box", "leave")
        # The route has no @jwt_required, so that nobody put an identity there.
        assert await client.request("box", "find") == {"found": None, "who": None}
        assert await client.request("box", "find_native") == {"found": None, "who": "ana"}


def app_with_claims() -> tuple[Quart, Realtime]:
    app = make_app()
    realtime = Realtime(app)

    @app.get("/claims")
    @jwt_required
    @realtime.handler("claims", "get")
    async def claims() -> Any:
        mine = get_jwt_claims()
        told = dict(mine)
        mine["role"] = "admin"
        return told

    return app, realtime


async def test_what_a_route_does_to_its_claims_is_gone_with_the_request() -> None:
    app, _ = app_with_claims()
    async with realtime_client(app, user_id="ana", claims={"role": "reader"}) as client:
        for _ in range(3):
            assert await client.request("claims", "get") == {"role": "reader"}
        (connection,) = app.extensions["QUART_REALTIME"].connections()
        assert connection.claims == {"role": "reader"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_SECRET_KEY", "another secret that is long enough for all the algorithms there are"),
        ("JWT_DECODE_AUDIENCE", "somebody else"),
        ("JWT_DECODE_ISSUER", "somebody else"),
    ],
)
async def test_a_token_that_http_no_longer_takes_isnt_taken_over_the_socket_either(
    name: str, value: str
) -> None:
    app, _ = app_with_claims()
    async with realtime_client(app, user_id="ana") as client:
        await client.request("claims", "get")
        token = app.extensions["QUART_REALTIME"].connections()[0].identity.token
        app.config[name] = value
        headers = {"Authorization": f"Bearer {token}"}
        over_http = await app.test_client().get("/claims", headers=headers)
        with pytest.raises(RealtimeError) as refused:
            await client.request("claims", "get")
        assert over_http.status_code == refused.value.details["status"]
        assert refused.value.details["body"] == await over_http.get_json()


async def test_a_route_called_by_http_reads_the_token_that_it_is_sent() -> None:
    app, _ = app_with_claims()
    async with realtime_client(app, user_id="ana", claims={"role": "reader"}) as client:
        await client.request("claims", "get")
        for token in ("nonsense", "a.b.c"):
            headers = {"Authorization": f"Bearer {token}"}
            response = await app.test_client().get("/claims", headers=headers)
            assert response.status_code == 422
