"""What the log and the metrics tell."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from prometheus_client import REGISTRY
from quart import abort

from quart_realtime import BrokerUnavailable, Realtime, metrics
from quart_realtime.client_types import RealtimeError
from quart_realtime.testing import HandshakeRefused, RealtimeClient, realtime_client

from ..conftest import SECRET, make_app
from ..waiting import until

SECRET_TEXT = "what only ana may read"


def make(**settings: object) -> Any:
    app = make_app(**settings)
    realtime = Realtime(app)

    @realtime.handler("mail", "send", rate_limit="2/minute")
    async def send(text: str) -> str:
        return text

    @realtime.handler("mail", "forbid")
    async def forbid() -> None:
        abort(403)

    @realtime.room("box:<name>")
    async def may_join(name: str) -> bool:
        return name == "open"

    return app


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"quart_realtime_{name}", labels) or 0.0


Counted = Callable[[], float]


def since(name: str, **labels: str) -> Counted:
    """Return what tells by how much a figure has grown from now on."""
    before = sample(name, **labels)
    return lambda: sample(name, **labels) - before


def of(records: list[logging.LogRecord], refused: str) -> list[Any]:
    """Return the lines about what was refused; their fields are attributes of their own."""
    return [record for record in records if getattr(record, "refused", None) == refused]


async def refuse(client: RealtimeClient, resource: str, action: str, **payload: Any) -> None:
    with pytest.raises(RealtimeError):
        await client.request(resource, action, **payload)


async def test_each_refusal_is_a_line_that_names_who_what_and_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "quart_realtime")
    app = make()
    async with realtime_client(app, user_id="ana") as ana:
        await refuse(ana, "mail", "forbid")
        for _ in range(2):
            await ana.request("mail", "send", text=SECRET_TEXT)
        await refuse(ana, "mail", "send", text=SECRET_TEXT)
        await ana.send({"type": "subscribe", "id": "s", "payload": {"rooms": ["box:a", "nowhere"]}})
        await ana.receive("response")
    (request,) = of(caplog.records, "request")
    assert (request.user, request.resource, request.action, request.code) == (
        *("ana", "mail"),
        *("forbid", "forbidden"),
    )
    assert request.duration >= 0
    (limited,) = of(caplog.records, "message")
    assert limited.code == "rate_limited"
    (room,) = of(caplog.records, "room")
    assert "'box:a', 'nowhere'" in room.getMessage()
    assert {record.connection for record in (request, limited, room)} == {request.connection}


async def test_a_thousand_rooms_in_one_message_are_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "quart_realtime")
    async with realtime_client(make(), user_id="ana") as ana:
        rooms = [f"box:{number}" for number in range(1000)]
        await ana.send({"type": "subscribe", "id": "s", "payload": {"rooms": rooms}})
        await ana.receive("response")
    (line,) = of(caplog.records, "room")
    assert "and 995 more" in line.getMessage()


async def test_who_is_turned_away_is_told_of_without_its_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "quart_realtime")
    app = make()
    token = "eyJhbGciOiJIUzI1NiJ9.eyJpZGVudGl0eSI6ImFuYSJ9.forged"
    with pytest.raises(AssertionError):
        async with realtime_client(app, token=token):
            pass
    with pytest.raises(HandshakeRefused):
        async with realtime_client(app, user_id="ana", headers={"Origin": "https://evil.example"}):
            pass
    (login,) = of(caplog.records, "login")
    assert login.code == "unauthorized"
    (handshake,) = of(caplog.records, "handshake")
    assert handshake.why == "foreign_origin"
    assert "forged" not in caplog.text


async def test_no_payload_is_in_the_log_whatever_its_level(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "quart_realtime")
    async with realtime_client(make(), user_id="ana") as ana:
        await ana.request("mail", "send", text=SECRET_TEXT)
        await refuse(ana, "mail", "send", text=[SECRET_TEXT])
        await ana.send("{" + SECRET_TEXT)
        await ana.receive("error")
    assert SECRET_TEXT not in caplog.text
    assert all(SECRET_TEXT not in str(vars(record)) for record in caplog.records)


async def test_requests_are_counted_by_what_they_ask_for_and_how_they_are_answered() -> None:
    ok = since("request_seconds_count", resource="mail", action="send", code="ok")
    forbidden = since("request_seconds_count", resource="mail", action="forbid", code="forbidden")
    unknown = since("request_seconds_count", resource="unknown", action="unknown", code="not_found")
    limited = since("rate_limited_total", limit="handler")
    async with realtime_client(make(), user_id="ana") as ana:
        for _ in range(2):
            await ana.request("mail", "send", text="x")
        await refuse(ana, "mail", "send", text="x")
        await refuse(ana, "mail", "forbid")
        for number in range(3):
            await refuse(ana, f"made up {number}", "x")
    assert [count() for count in (ok, forbidden, unknown, limited)] == [2, 1, 3, 1]


async def test_connections_are_counted_by_how_they_began_and_ended() -> None:
    connected = since("handshakes_total", result="connected")
    refused = since("handshakes_total", result="unauthorized")
    foreign = since("handshakes_total", result="foreign_origin")
    ended = since("closes_total", code="other")
    app = make()
    now = since("connections")
    async with realtime_client(app, user_id="ana"), realtime_client(app, user_id="luis"):
        assert now() == 2
    with pytest.raises(AssertionError):
        async with realtime_client(app, token="no.token.atall"):
            pass
    with pytest.raises(HandshakeRefused):
        async with realtime_client(app, user_id="ana", headers={"Origin": "null"}):
            pass
    await until(lambda: now() == 0, 5)
    assert (connected(), refused(), foreign()) == (2, 1, 1)
    assert ended() == 2


async def test_events_are_counted_and_so_are_rooms_that_were_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make()
    names = ("events_published_total", "events_delivered_total", "events_dropped_total")
    published, delivered, dropped = map(since, names)
    recovered, lost = (since("resumes_total", result=what) for what in ("recovered", "lost"))
    async with (
        realtime_client(app, user_id="ana") as ana,
        realtime_client(app, user_id="luis") as luis,
    ):
        runtime = app.extensions["QUART_REALTIME"]
        for client in (ana, luis):
            await client.subscribe("box:open")
        await runtime.publish("new", 1, ["box:open"], None)
        first = await ana.receive("event")
        positions = [
            {"room": "box:open", "epoch": first["epoch"], "offset": 0},
            {"room": "box:open", "epoch": "another", "offset": 0},
        ]
        for position in positions:
            await ana.send({"type": "subscribe", "id": "s", "payload": {"rooms": [position]}})
            await ana.receive("response")

        async def fails(*_: Any) -> None:
            raise BrokerUnavailable

        monkeypatch.setattr(runtime.hub.broker, "publish", fails)
        with pytest.raises(BrokerUnavailable):
            await runtime.publish("new", 2, ["box:open"], None)
    assert [count() for count in (published, delivered, dropped)] == [1, 2, 1]
    assert (recovered(), lost()) == (1, 1)


def test_without_prometheus_client_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_installed", False)
    made = metrics.make_metrics.__wrapped__()
    before = sample("events_published_total")
    made.published()
    made.sample(True, {"ignored": 1}, 0.1)
    assert sample("events_published_total") == before


async def test_what_a_client_writes_into_a_token_makes_no_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "quart_realtime")
    claims = {"identity": "ana", "type": "access", "jti": "j", "fresh": False}
    words = "x\nINFO refused connection 1 of 'admin'"
    token = jwt.encode(claims, SECRET, "HS256", headers={"crit": [words]})
    with pytest.raises(AssertionError):
        async with realtime_client(make(), token=token):
            pass
    assert of(caplog.records, "login")
    assert "admin" not in caplog.text
    assert all("\n" not in record.getMessage() for record in caplog.records)


async def test_a_reason_of_the_app_s_is_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "quart_realtime")
    app = make_app()
    realtime = Realtime(app)
    async with realtime_client(app, user_id="ana") as ana:
        await realtime.disconnect(user_id="ana", reason="as\nyou said")
        await ana.wait_closed()
    (line,) = [each for each in caplog.records if "closing" in each.getMessage()]
    assert "as\\nyou said" in line.getMessage()
