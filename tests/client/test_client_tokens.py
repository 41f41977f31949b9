from __future__ import annotations

import asyncio

import pytest

from quart_realtime import client_link
from quart_realtime.client import (
    Closed,
    ConnectionState,
    Disconnect,
    UnauthorizedError,
)

from .fake_server import within


class Source:
    """A token function that returns one token after the other and remembers the reasons."""

    def __init__(self, *tokens: object) -> None:
        self.tokens = list(tokens)
        self.reasons: list[str] = []

    async def __call__(self, reason: str) -> str:
        self.reasons.append(reason)
        token = self.tokens.pop(0)
        if isinstance(token, Exception):
            raise token
        return token


class Bouncer:
    """Turns away connections whose token isn't on the list."""

    def __init__(self, *good: str, code: int = 4500, label: str = "unauthorized") -> None:
        self.good = good
        self.code = code
        self.label = label

    async def __call__(self, peer) -> None:
        if peer.token in self.good:
            await peer.greet()
            return
        told = {"code": "unauthorized", "message": self.label, "details": {}}
        await peer.send("error", id=None, payload=told)
        await peer.close(self.code, self.label, code=self.label, reconnect=self.code < 4500)


@pytest.fixture
def fast(monkeypatch):
    """The watch over a socket looks often, and for the token only."""
    monkeypatch.setattr(client_link, "LONGEST_NAP", 0.01)
    monkeypatch.setattr(client_link, "GRACE", 1e9)


async def test_a_function_is_asked_once_and_its_token_serves_later_connections(server, make):
    source = Source("first")
    client = make(source)
    await within(client.connect())
    await (await server.peer()).cut()
    assert (await server.peer()).token == "first"
    assert source.reasons == ["connect"]


async def test_a_function_may_take_no_reason(server, make):
    async def token():
        return "plain"

    await within(make(token).connect())
    assert (await server.peer()).token == "plain"


async def test_a_function_may_return_its_token_without_being_awaited(server, make):
    reasons = []

    def token(reason):
        reasons.append(reason)
        return "direct"

    await within(make(token).connect())
    await within(make(lambda: "plain").connect())
    assert [(await server.peer()).token for _ in range(2)] == ["direct", "plain"]
    assert reasons == ["connect"]


@pytest.mark.parametrize("said", [{"access_token": "secret"}, b"secret", 7])
async def test_a_function_that_returns_no_text_is_a_mistake_that_connect_raises(said, make):
    async def later():
        return said

    for token in (lambda: said, later):
        with pytest.raises(TypeError, match="return the token as a str") as caught:
            await within(make(token).connect())
        assert type(said).__name__ in str(caught.value)
        assert "secret" not in str(caught.value)


async def test_a_refresh_that_returns_no_text_ends_a_live_connection(
    server, make, clock, fast, collector
):
    server.greeting["expires_at"] = clock.now + 1
    client = make(Source("first", {"access_token": "second"}))
    lost = collector()
    client.on_disconnect(lost)
    await within(client.connect())
    (end,) = await lost.have(1)
    assert not end.reconnecting
    assert "returned a dict" in end.reason


async def test_a_function_that_returns_none_has_nobody_logged_in(make):
    with pytest.raises(UnauthorizedError, match="the token function returned no token"):
        await within(make(lambda: None).connect())


async def test_a_function_is_called_once_however_long_it_takes_and_however_many_wait(
    server, make, collector
):
    answer = asyncio.get_running_loop().create_future()
    calls = []

    async def token(reason):
        calls.append(reason)
        return await answer

    client = make(token, connect_timeout=0.02)
    failed = collector()
    client.on_error(failed)
    connecting = asyncio.gather(client.connect(), client.connect())
    await failed.have(3)
    answer.set_result("late")
    await within(connecting)
    assert calls == ["connect"]
    assert (await server.peer()).token == "late"


async def test_a_disconnect_gives_up_a_call_that_is_under_way(make):
    started = asyncio.Event()

    async def token():
        started.set()
        await asyncio.Event().wait()

    client = make(token)
    connecting = asyncio.create_task(client.connect())
    await within(started.wait())
    await within(client.disconnect())
    await asyncio.wait([connecting])
    again = asyncio.create_task(client.connect())
    await asyncio.sleep(0)
    again.cancel()
    await asyncio.wait([again])


async def test_a_token_function_may_disconnect(make):
    async def token():
        await client.disconnect()
        return "never"

    client = make(token)
    with pytest.raises(Exception, match="not connected"):
        await within(client.connect())
    assert client.state is ConnectionState.DISCONNECTED


async def test_a_function_that_fails_is_asked_again(server, make, collector):
    source = Source(OSError("no network"), OSError("no network"), ValueError("odd"), "good")
    client = make(source)
    failed = collector()
    client.on_error(failed)
    await within(client.connect())
    assert [str(error) for error in failed] == ["no network", "no network", "odd"]
    assert source.reasons == ["connect"] * 4


async def test_a_function_that_knows_of_no_token_ends_it(server, make, collector):
    client = make(Source(UnauthorizedError("logged out")))
    lost = collector()
    client.on_disconnect(lost)
    with pytest.raises(UnauthorizedError, match="logged out"):
        await within(client.connect())
    assert lost == [Disconnect(4500, "logged out", reconnecting=False)]
    assert server.peers == []


@pytest.mark.parametrize("token", ["", "two words", "a,b", "line\r\nbreak", "ümlaut"])
async def test_what_can_not_travel_as_a_token_is_refused(token, make):
    with pytest.raises(UnauthorizedError, match="a token is a string without"):
        make(token)
    with pytest.raises(UnauthorizedError, match="a token is a string without"):
        await within(make(Source(token)).connect())


async def test_an_expired_token_is_never_sent_again(server, make):
    source = Source("old", "new")
    client = make(source)
    await within(client.connect())
    peer = await server.peer()
    await peer.close(4001, code="token_expired", reconnect=True)
    assert (await server.peer()).token == "new"
    assert source.reasons == ["connect", "expired"]
    assert [peer.token for peer in server.peers] == ["old", "new"]


async def test_a_token_that_expires_while_away_costs_one_call_and_no_attempt(
    server, make, clock, collector
):
    server.greeting["expires_at"] = clock.now + 60
    source = Source("old", "new")
    client = make(source)
    failed = collector()
    client.on_error(failed)
    await within(client.connect())
    peer = await server.peer()
    server.status = 503
    await peer.cut()
    await failed.have(1)
    clock.now += 61
    server.status = None
    server.greeting["expires_at"] = None
    assert (await server.peer()).token == "new"
    assert source.reasons == ["connect", "expired"]


async def test_a_token_that_was_refused_is_not_sent_again_even_if_the_function_insists(
    server, make, collector
):
    server.on_open = Bouncer("good", code=4001, label="token_expired")
    source = Source("old", "old", "good")
    client = make(source)
    await within(client.connect())
    assert [peer.token for peer in server.peers] == ["old", "good"]
    assert source.reasons == ["connect", "expired", "expired"]


@pytest.mark.parametrize(("code", "label"), [(4001, "token_expired"), (4500, "unauthorized")])
async def test_three_fresh_tokens_refused_in_a_row_are_final(code, label, server, make, collector):
    server.on_open = Bouncer(code=code, label=label)
    client = make(Source("a", "b", "c", "d"))
    told = collector()
    client.on_error(told)
    with pytest.raises(UnauthorizedError, match=label) as caught:
        await within(client.connect())
    assert caught.value.code == code
    assert [peer.token for peer in server.peers] == ["a", "b", "c"]
    assert [error.code for error in told] == [code, code]  # Once each; the last is raised.


async def test_a_function_that_insists_on_a_refused_token_is_asked_three_times(server, make):
    server.on_open = Bouncer()
    client = make(Source("a", "a", "a", "a"))
    with pytest.raises(UnauthorizedError, match="refused before"):
        await within(client.connect())
    assert [peer.token for peer in server.peers] == ["a"]


async def test_a_token_that_was_taken_resets_the_count(server, make):
    server.on_open = Bouncer("good", "fine")
    client = make(Source("bad", "worse", "good", "bad2", "worse2", "fine"))
    await within(client.connect())
    await (await server.peer()).close(4500, code="unauthorized", reconnect=False)
    while server.peers[-1].token != "fine":
        await within(server.peer())
    await within(client.connect())


@pytest.mark.parametrize(("code", "label"), [(4001, "token_expired"), (4500, "unauthorized")])
async def test_a_plain_token_that_is_refused_is_final_at_once(code, label, server, make):
    server.on_open = Bouncer(code=code, label=label)
    with pytest.raises(UnauthorizedError):
        await within(make("token").connect())
    assert len(server.peers) == 1


@pytest.mark.parametrize("code", [4001, 4500])
async def test_a_plain_token_that_is_no_longer_taken_is_final(code, server, client, collector):
    lost = collector()
    client.on_disconnect(lost)
    peer = await server.peer()
    await peer.close(code, "sorry")
    assert await lost.have(1) == [Disconnect(code, "sorry", reconnecting=False)]
    assert len(server.peers) == 1
    server.on_open = Bouncer(code=code)
    with pytest.raises(Closed):
        await within(client.connect())


# On a live connection


async def test_a_fresh_token_is_shown_before_the_old_one_expires(server, make, clock, fast):
    server.greeting["expires_at"] = clock.now + 100
    source = Source("first", "second", "third")
    client = make(source)
    await within(client.connect())
    peer = await server.peer()
    clock.now += 79
    await asyncio.sleep(0.05)
    assert peer.sent("auth") == []
    clock.now += 1
    auth = await peer.next("auth")
    assert auth["payload"] == {"token": "second"}
    await peer.answer(auth, {"user_id": "7", "expires_at": clock.now + 30})
    await peer.settle()
    clock.now += 20
    auth = await peer.next("auth")
    assert auth["payload"] == {"token": "third"}
    await peer.answer(auth, {"user_id": "7", "expires_at": None})
    await peer.settle()
    assert source.reasons == ["connect", "refresh", "refresh"]
    assert len(server.peers) == 1


async def test_a_token_good_for_a_year_or_for_ever_is_not_refreshed(server, make, clock, fast):
    for expires_at in (clock.now + 365 * 86400, None):
        server.greeting["expires_at"] = expires_at
        client = make(Source("first"))
        await within(client.connect())
        peer = await server.peer()
        await asyncio.sleep(0.05)
        assert peer.sent("auth") == []


async def test_a_clock_that_is_wrong_by_more_than_a_tokens_life_asks_for_none(
    server, make, clock, fast
):
    server.greeting["expires_at"] = clock.now - 3600
    client = make(Source("first"))
    await within(client.connect())
    peer = await server.peer()
    await asyncio.sleep(0.05)
    await peer.cut()
    assert (await server.peer()).token == "first"


async def test_who_logs_in_after_another_is_asked_for_a_token_of_their_own(server, make):
    source = Source("first", "second")
    client = make(source)
    for token in ("first", "second"):
        await within(client.connect())
        assert (await server.peer()).token == token
        await client.disconnect()
    assert source.reasons == ["connect", "connect"]


async def test_a_plain_token_is_not_refreshed(server, make, clock, fast):
    server.greeting["expires_at"] = clock.now + 1
    client = make("token")
    await within(client.connect())
    peer = await server.peer()
    await asyncio.sleep(0.05)
    assert peer.sent("auth") == []


async def test_a_refresh_that_fails_is_tried_again_in_a_while(server, make, clock, fast, collector):
    server.greeting["expires_at"] = clock.now + 1
    source = Source("first", OSError("no network"), "second", "third")
    client = make(source)
    failed = collector()
    client.on_error(failed)
    await within(client.connect())
    peer = await server.peer()
    await failed.have(1)
    clock.now += 11
    await peer.refuse(await peer.next("auth"), "internal_error")
    await failed.have(2)
    clock.now += 11
    auth = await peer.next("auth")
    assert auth["payload"] == {"token": "third"}
    await peer.answer(auth, {"user_id": "7", "expires_at": clock.now + 1000})
    await peer.settle()
    assert len(server.peers) == 1


async def test_a_fresh_token_larger_than_a_message_may_be_is_a_refresh_that_failed(
    server, make, clock, fast, collector
):
    server.greeting.update(expires_at=clock.now + 1, max_message_size=300)
    client = make(Source("first", "x" * 300, "third"))
    failed = collector()
    client.on_error(failed)
    await within(client.connect())
    peer = await server.peer()
    (error,) = await failed.have(1)
    assert error.code == "payload_too_large"
    clock.now += 11
    assert (await peer.next("auth"))["payload"] == {"token": "third"}
    assert len(server.peers) == 1


async def test_an_answer_to_auth_that_makes_no_sense_is_a_refresh_that_failed(
    server, make, clock, fast, collector
):
    server.greeting["expires_at"] = clock.now + 1
    client = make(Source("first", "second", "third"))
    failed = collector()
    client.on_error(failed)
    await within(client.connect())
    peer = await server.peer()
    await peer.answer(await peer.next("auth"), {"expires_at": "tomorrow"})
    await failed.have(1)
    assert client.state is ConnectionState.CONNECTED


async def test_three_refused_refreshes_are_final(server, make, clock, fast, collector):
    server.greeting["expires_at"] = clock.now + 1
    client = make(Source("first", "a", "b", "c", "d"))
    lost = collector()
    failed = collector()
    client.on_disconnect(lost)
    client.on_error(failed)
    await within(client.connect())
    peer = await server.peer()
    for count in range(1, 3):
        await peer.refuse(await peer.next("auth"), "unauthorized", "not that one")
        await failed.have(count)
        clock.now += 11
    await peer.refuse(await peer.next("auth"), "unauthorized", "not that one")
    assert await lost.have(1) == [Disconnect(4500, "not that one", reconnecting=False)]


async def test_a_function_that_knows_of_no_further_token_ends_a_live_connection(
    server, make, clock, fast, collector
):
    server.greeting["expires_at"] = clock.now + 1
    client = make(Source("first", UnauthorizedError("logged out")))
    lost = collector()
    client.on_disconnect(lost)
    await within(client.connect())
    assert await lost.have(1) == [Disconnect(4500, "logged out", reconnecting=False)]


async def test_a_fresh_token_that_could_not_be_shown_any_more_is_used_for_the_return(
    server, make, clock, fast
):
    server.greeting["expires_at"] = clock.now + 1
    source = Source("first", "second")
    client = make(source)
    await within(client.connect())
    peer = await server.peer()
    await peer.next("auth")
    server.greeting["expires_at"] = None
    await peer.close(4001, code="token_expired", reconnect=True)
    assert (await server.peer()).token == "second"
    assert source.reasons == ["connect", "refresh"]


async def test_a_refreshed_token_that_is_revoked_later_is_not_sent_again(server, make, clock, fast):
    server.greeting["expires_at"] = clock.now + 1
    source = Source("first", "second", "third")
    client = make(source)
    await within(client.connect())
    peer = await server.peer()
    await peer.answer(await peer.next("auth"), {"user_id": "7", "expires_at": None})
    await peer.settle()
    await peer.close(4500, code="unauthorized", reconnect=False)
    assert (await server.peer()).token == "third"


async def test_a_token_that_is_refused_twice_counts_once(server, make, clock, fast, collector):
    """A function that returns what it returned before, and a server that has just revoked that."""
    server.greeting["expires_at"] = clock.now + 1
    source = Source("first", "first", "second")
    client = make(source)
    told = collector()
    client.on_error(told)
    await within(client.connect())
    peer = await server.peer()
    await peer.refuse(await peer.next("auth"), "unauthorized")
    await told.have(1)
    await peer.close(4500, code="unauthorized", reconnect=False)
    assert (await server.peer()).token == "second"
    assert source.reasons == ["connect", "refresh", "expired"]
