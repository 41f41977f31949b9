"""Logging in, refreshing, logging out, and which tokens are accepted."""

import asyncio
import time
from datetime import timedelta

import jwt
import pytest
from quart_jwt_extended import create_access_token, create_refresh_token
from sqlalchemy.exc import OperationalError

from example_app import create_app
from example_app.revocation import Revocations
from example_app.settings import CLOCKS_DIFFER

from ..waiting import until


async def log_in(api, username="ana"):
    """Log in, and return the same caller with each of the two tokens."""
    status, tokens = await api.post("/auth/login", {"username": username, "password": username})
    assert status == 200
    assert set(tokens) == {"access_token", "refresh_token"}
    return (
        type(api)(api.app, tokens["access_token"]),
        type(api)(api.app, tokens["refresh_token"]),
    )


@pytest.mark.parametrize("username", ["ana", "luis", "eva"])
async def test_demo_users_log_in_with_their_own_name(anybody, username):
    access, _ = await log_in(anybody, username)
    assert (await access.get("/conversations", user_id=username)).status == 200


@pytest.mark.parametrize(
    ("username", "password"), [("ana", "wrong"), ("nobody", "ana"), ("", ""), ("ana", "")]
)
async def test_a_wrong_login_does_not_tell_what_was_wrong(anybody, username, password):
    answer = await anybody.post("/auth/login", {"username": username, "password": password})
    assert answer == (
        401,
        {"code": "unauthorized", "message": "wrong username or password", "details": {}},
    )


async def test_an_unknown_user_costs_as_much_time_as_a_wrong_password(anybody, monkeypatch):
    checked = []
    monkeypatch.setattr(
        "example_app.passwords.check_password_hash",
        lambda stored, _password: checked.append(stored),
    )
    await anybody.post("/auth/login", {"username": "nobody", "password": "ana"})
    (stored,) = checked
    assert stored.startswith("scrypt:")


async def test_a_refresh_token_gives_a_new_access_token(anybody):
    access, refresh = await log_in(anybody)
    status, body = await refresh.post("/auth/refresh")
    assert status == 200
    assert set(body) == {"access_token"}
    assert body["access_token"] != access.token
    renewed = type(anybody)(anybody.app, body["access_token"])
    assert (await renewed.get("/conversations", user_id="ana")).status == 200


async def test_each_token_is_good_for_its_own_purpose_only(anybody):
    access, refresh = await log_in(anybody)
    assert (await access.post("/auth/refresh")).status == 401
    assert (await refresh.get("/users")).status == 401


@pytest.mark.parametrize("options", [{}, {"json": None}, {"json": {}}])
async def test_logging_out_revokes_the_access_token(anybody, options):
    access, refresh = await log_in(anybody)
    assert await access.call("POST", "/auth/logout", **options) == (204, None)
    status, body = await access.get("/users")
    assert status == 401
    assert body == {
        "code": "unauthorized",
        "message": "the token has been revoked",
        "details": {},
    }
    assert (await refresh.post("/auth/refresh")).status == 200


async def test_logging_out_revokes_the_refresh_token_in_the_body(anybody):
    access, refresh = await log_in(anybody)
    assert (await access.post("/auth/logout", {"refresh_token": refresh.token})).status == 204
    assert (await access.get("/users")).status == 401
    assert (await refresh.post("/auth/refresh")).status == 401


async def test_logging_out_revokes_no_other_login(anybody):
    one, _ = await log_in(anybody)
    other, _ = await log_in(anybody)
    await one.post("/auth/logout")
    assert (await other.get("/users")).status == 200


@pytest.mark.parametrize("whose", ["luis", "an access token", "nonsense"])
async def test_logging_out_with_a_refresh_token_that_is_none_of_ours_revokes_nothing(
    anybody, whose
):
    access, _ = await log_in(anybody)
    async with anybody.app.app_context():
        token = {
            "luis": create_refresh_token("luis"),
            "an access token": create_access_token("ana"),
            "nonsense": "nonsense",
        }[whose]
    status, body = await access.post("/auth/logout", {"refresh_token": token})
    assert (status, body["code"]) == (400, "validation_error")
    assert list(body["details"]["fields"]) == ["refresh_token"]
    assert (await access.get("/users")).status == 200


async def test_logging_out_with_an_expired_refresh_token_works(anybody):
    access, _ = await log_in(anybody)
    async with anybody.app.app_context():
        expired = create_refresh_token("ana", expires_delta=timedelta(seconds=-1))
    assert (await access.post("/auth/logout", {"refresh_token": expired})).status == 204


async def test_an_expired_token_is_refused(anybody):
    late = timedelta(seconds=-CLOCKS_DIFFER - 1)
    async with anybody.app.app_context():
        anybody.token = create_access_token("ana", expires_delta=late)
    status, body = await anybody.get("/users")
    assert (status, body["code"]) == (401, "unauthorized")
    assert body["message"] == "the token has expired"


@pytest.mark.parametrize("by_refresh", [False, True])
async def test_a_token_from_a_host_whose_clock_is_ahead_is_taken(anybody, by_refresh):
    now = int(time.time()) + CLOCKS_DIFFER - 3
    claims = {"identity": "ana", "jti": "ahead", "type": "access", "fresh": False}
    claims |= {"user_claims": {}, "iat": now, "nbf": now, "exp": now + 60}
    if by_refresh:
        claims |= {"type": "refresh"}
    secret = anybody.app.config["JWT_SECRET_KEY"]
    anybody.token = jwt.encode(claims, secret, "HS256")
    answer = await (anybody.post("/auth/refresh") if by_refresh else anybody.get("/users"))
    assert answer.status == 200


async def test_a_revoked_token_is_remembered_for_as_long_as_any_host_may_take_it(anybody):
    async with anybody.app.app_context():
        late = timedelta(seconds=2 - CLOCKS_DIFFER)
        anybody.token = create_access_token("ana", expires_delta=late)
    database = anybody.app.extensions["CHAT_DATABASE"]
    assert (await anybody.get("/users")).status == 200
    assert (await anybody.post("/auth/logout")).status == 204
    async with database.reading() as session:
        await anybody.app.extensions["CHAT_REVOCATIONS"].load(session)
    status, body = await anybody.get("/users")
    assert (status, body["message"]) == (401, "the token has been revoked")


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer x.y.z", "Basic YTpi", "Bearer a b", " ", "\xa0", ",", "Bearer x.y.z, "],
)
async def test_a_malformed_token_is_refused(anybody, header):
    answer = await anybody.call("GET", "/users", headers={"Authorization": header})
    assert (answer.status, answer.body["code"]) == (401, "unauthorized")


async def test_a_token_signed_with_another_key_is_refused(anybody, config):
    forger = create_app(config | {"JWT_SECRET_KEY": "another secret, also of 32 bytes"})
    async with forger.app_context():
        anybody.token = create_access_token("ana")
    assert (await anybody.get("/users")).status == 401


async def test_a_deleted_users_tokens_are_refused(anybody):
    access, refresh = await log_in(anybody)
    other, _ = await log_in(anybody)
    assert (await access.delete("/users/ana")).status == 200
    assert (await other.get("/users")).status == 401
    assert (await refresh.post("/auth/refresh")).status == 401


async def test_what_one_worker_revokes_another_refuses_soon(anybody, config):
    other = create_app(config | {"REVOCATION_REFRESH": 0.05})
    access, _ = await log_in(anybody)
    elsewhere = type(anybody)(other, access.token)
    async with other.test_app():
        assert (await elsewhere.get("/users")).status == 200
        await access.post("/auth/logout")

        async def refused() -> bool:
            return (await elsewhere.get("/users")).status == 401

        await until(refused)


async def test_a_revoked_token_stays_revoked_after_a_restart(config, anybody):
    access, _ = await log_in(anybody)
    await access.post("/auth/logout")
    restarted = create_app(config)
    async with restarted.test_app():
        assert (await type(anybody)(restarted, access.token).get("/users")).status == 401


async def test_an_expired_revocation_is_forgotten(app):
    database = app.extensions["CHAT_DATABASE"]
    revocations = Revocations()
    token = {"jti": "old", "identity": "ana", "exp": 1_000_000_000}
    async with app.app_context(), database.writing() as session:
        await revocations.revoke_token(session, token)
    assert revocations.covers(token)
    async with database.reading() as session:
        await revocations.load(session)
    assert not revocations.covers(token)


async def test_an_unreachable_database_does_not_end_the_look_for_revoked_tokens(
    app, monkeypatch, caplog
):
    looked = asyncio.Event()
    revocations = Revocations()

    async def load(_session):
        if caplog.records:
            looked.set()
        raise OperationalError("SELECT", {}, ConnectionError())

    monkeypatch.setattr(revocations, "load", load)
    task = asyncio.create_task(revocations.keep_up(app.extensions["CHAT_DATABASE"], 0.01))
    async with asyncio.timeout(5):
        await looked.wait()
    task.cancel()
    assert "trying again" in caplog.text
