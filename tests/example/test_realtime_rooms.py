"""Who is in which room, who may come in, and what ends a connection."""

from contextlib import contextmanager

import pytest
from sqlalchemy.exc import OperationalError

from example_app import create_app
from example_app import realtime as chat
from quart_realtime import BrokerUnavailable
from quart_realtime.client_types import RealtimeError
from quart_realtime.protocol import may_reconnect
from quart_realtime.testing import HandshakeRefused, realtime_client

WELCOME = "conversation:conv-welcome"


async def log_in(api, username="ana"):
    answer = await api.post("/auth/login", {"username": username, "password": username})
    return type(api)(api.app, answer.body["access_token"])


async def test_whoever_connects_is_in_the_rooms_of_their_conversations(app, ana):
    conversation_id = await ana.start_conversation("luis")
    async with (
        realtime_client(app, user_id="luis") as luis,
        realtime_client(app, user_id="eva") as eva,
    ):
        rooms = {place["room"] for place in luis.connected["rooms"]}
        assert rooms == {"everyone", "user:luis", WELCOME, f"conversation:{conversation_id}"}
        rooms = {place["room"] for place in eva.connected["rooms"]}
        assert rooms == {"everyone", "user:eva", WELCOME}


async def test_a_foreign_conversation_and_an_unknown_one_are_refused_alike(app, ana):
    foreign = f"conversation:{await ana.start_conversation()}"
    async with realtime_client(app, user_id="luis") as luis:
        answers = await luis.subscribe(foreign, "conversation:unknown", "user:ana", "anything")
    assert {answer["error"]["code"] for answer in answers} == {"forbidden"}


async def test_who_was_away_gets_what_was_missed_and_who_was_removed_does_not(app, ana):
    async with realtime_client(app, user_id="luis") as luis:
        place = next(place for place in luis.connected["rooms"] if place["room"] == WELCOME)
    message = await ana.write("conv-welcome")
    async with realtime_client(app, user_id="luis") as luis:
        (answer,) = await luis.subscribe(place)
        assert answer["recovered"] is True
        assert [event["payload"]["data"] for event in answer["events"]] == [message]
    await ana.delete("/conversations/conv-welcome/members/luis")
    async with realtime_client(app, user_id="luis") as luis:
        assert WELCOME not in {place["room"] for place in luis.connected["rooms"]}
        (answer,) = await luis.subscribe(place)
        assert answer["error"]["code"] == "forbidden"


async def test_who_is_removed_while_connecting_is_not_left_in_the_room(app, ana, monkeypatch):
    look_up = chat._conversations_of

    async def look_up_and_be_removed(user_id):
        found = await look_up(user_id)
        if "conv-welcome" in found:
            await ana.delete(f"/conversations/conv-welcome/members/{user_id}")
        return found

    monkeypatch.setattr(chat, "_conversations_of", look_up_and_be_removed)
    async with realtime_client(app, user_id="luis") as luis:
        assert await luis.expect("room_left") == {"room": WELCOME}
        await ana.write("conv-welcome")
        await luis.expect_none("new_message")


async def test_nobody_is_connected_without_their_conversations(app, ana, monkeypatch):
    async def unreachable(_session, _user_id):
        raise OperationalError("SELECT", {}, ConnectionError())

    monkeypatch.setattr(chat.access, "conversations_of", unreachable)
    async with realtime_client(app) as socket:
        with pytest.raises(RealtimeError) as refused:
            await socket.authenticate(ana.token)
        assert refused.value.code == "unavailable"
        assert may_reconnect(await socket.wait_closed())


async def test_members_see_who_is_there(app):
    async with realtime_client(app, user_id="luis") as luis:
        async with realtime_client(app, user_id="ana") as ana:
            assert await luis.expect("presence_join", room=WELCOME) == {"user_id": "ana"}
            (answer,) = await ana.subscribe(WELCOME)
            present = {person["user_id"] for person in answer["presence"]}
            assert present == {"ana", "luis"}
        assert await luis.expect("presence_leave", room=WELCOME) == {"user_id": "ana"}


async def test_who_comes_back_as_a_member_is_in_again(app, ana):
    async with realtime_client(app, user_id="luis") as luis:
        await ana.delete("/conversations/conv-welcome/members/luis")
        await luis.expect("room_left")
        await ana.post("/conversations/conv-welcome/members", {"member": {"user_id": "luis"}})
        await luis.expect("member_added")
        assert (await luis.expect("room_joined"))["room"] == WELCOME
        message = await ana.write("conv-welcome")
        assert await luis.expect("new_message") == message


@pytest.fixture
async def attentive(config):
    """Return an app that often looks at what the database says."""
    app = create_app(config | {"REVOCATION_REFRESH": 0.05})
    async with app.test_app():
        yield app


@contextmanager
def broker_away(app):
    """Have the broker refuse all that Redis' would while Redis is away."""
    broker = app.extensions["QUART_REALTIME"].hub.broker

    async def refuse(*_):
        raise BrokerUnavailable("away")

    async def note(*_):
        return None

    with pytest.MonkeyPatch.context() as patch:
        for name in ("publish", "command", "subscribe", "enter", "present", "recover"):
            patch.setattr(broker, name, refuse)
        patch.setattr(broker, "exit", note)
        yield


async def test_who_is_removed_while_the_broker_is_away_is_put_out_all_the_same(attentive, caller):
    ana = await caller("ana", on=attentive)
    async with realtime_client(attentive, user_id="luis") as luis:
        with broker_away(attentive):
            assert (await ana.delete("/conversations/conv-welcome/members/luis")).status == 200
            assert await luis.expect("room_left") == {"room": WELCOME}
        assert WELCOME not in (await luis.request("users", "whoami"))["rooms"]


async def test_who_is_let_in_while_the_broker_is_away_comes_in_when_it_is_back(attentive, caller):
    ana = await caller("ana", on=attentive)
    async with realtime_client(attentive, user_id="luis") as luis:
        with broker_away(attentive):
            room = f"conversation:{await ana.start_conversation('luis')}"
            await luis.expect_none("room_joined")
        assert (await luis.expect("room_joined"))["room"] == room


async def test_a_room_that_a_client_has_left_by_itself_it_is_not_put_into_again(attentive):
    async with realtime_client(attentive, user_id="luis") as luis:
        await luis.unsubscribe(WELCOME)
        async with attentive.app_context():
            await chat.put_places_right()
        assert WELCOME not in (await luis.request("users", "whoami"))["rooms"]


async def test_an_unreachable_database_does_not_end_the_look_for_who_is_where(
    attentive, caller, monkeypatch, caplog
):
    ana = await caller("ana", on=attentive)
    look_up = chat.access.conversations_of_each

    async def first_fail(session, user_ids):
        monkeypatch.setattr(chat.access, "conversations_of_each", look_up)
        raise OperationalError("SELECT", {}, ConnectionError())

    async with realtime_client(attentive, user_id="luis") as luis:
        with broker_away(attentive):
            monkeypatch.setattr(chat.access, "conversations_of_each", first_fail)
            await ana.delete("/conversations/conv-welcome/members/luis")
            await luis.expect("room_left")
    assert "couldn't look up who is in which conversation" in caplog.text


async def test_who_deletes_their_account_while_the_broker_is_away_is_sent_away_all_the_same(
    attentive, caller
):
    ana = await caller("ana", on=attentive)
    async with realtime_client(attentive, user_id="ana") as socket:
        with broker_away(attentive):
            assert (await ana.delete("/users/ana")).status == 200
            assert await socket.wait_closed() == 4502


async def test_deleting_an_account_closes_all_its_connections_and_no_other(app):
    async with (
        realtime_client(app, user_id="ana") as one,
        realtime_client(app, user_id="ana") as other,
        realtime_client(app, user_id="luis") as luis,
    ):
        assert await one.request("users", "delete", user_id="ana") == {"user_id": "ana"}
        assert await one.wait_closed() == 4502
        assert await other.wait_closed() == 4502
        assert (await luis.request("users", "whoami"))["user_id"] == "luis"


async def test_a_deleted_user_does_not_come_back(app, ana):
    await ana.delete("/users/ana")
    async with realtime_client(app) as socket:
        with pytest.raises(RealtimeError) as refused:
            await socket.authenticate(ana.token)
        assert refused.value.code == "unauthorized"
        assert await socket.wait_closed() == 4500


async def test_logging_out_closes_the_connection_at_once(app, anybody):
    ana, again = await log_in(anybody), await log_in(anybody)
    async with (
        realtime_client(app, ana.token) as socket,
        realtime_client(app, again.token) as other_login,
    ):
        await ana.post("/auth/logout")
        assert await socket.wait_closed() == 4500
        assert (await other_login.request("users", "whoami"))["user_id"] == "ana"


async def test_logging_out_succeeds_though_the_broker_is_away(app, anybody, monkeypatch):
    ana = await log_in(anybody)

    async def fails(**command):
        raise BrokerUnavailable

    monkeypatch.setattr(app.extensions["QUART_REALTIME"].hub, "command", fails)
    assert (await ana.post("/auth/logout")).status == 204


async def test_a_page_of_another_origin_can_not_connect(app):
    with pytest.raises(HandshakeRefused) as refused:
        async with realtime_client(app, user_id="ana", headers={"Origin": "https://evil.test"}):
            pytest.fail("it could")
    assert refused.value.status == 403
