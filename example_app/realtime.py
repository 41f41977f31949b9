"""The chat, live: which events there are, who hears them, and who is in which room.

The views in `example_app.views` say by a decorator what each of them answers to and tells; all
that needs more than a decorator is here. A conversation has a room, with its members in it, and
everybody has a room of their own, which the extension makes: ``user:<id>``.

Logging out revokes a token. A connection that was opened with it ends at its next ping, within
``QUART_REALTIME_PING_INTERVAL`` seconds, or at its next request if that is sooner; in another
worker ``REVOCATION_REFRESH`` seconds later at most.
"""

import asyncio
import logging
from typing import Any

from attrs import frozen
from quart import Quart
from quart_jwt_extended import get_jwt_identity
from sqlalchemy.exc import SQLAlchemyError

from example_app.database import reading
from example_app.models import (
    AddedMember,
    Conversation,
    DeletedConversation,
    DeletedMessage,
    Member,
    Message,
    User,
)
from example_app.store import access
from quart_realtime import (
    Connection,
    Forbidden,
    Notification,
    Realtime,
    Unavailable,
    current_connection,
)

realtime = Realtime()
log = logging.getLogger(__name__)


@frozen
class Typing:
    """*user_id* is writing in *conversation_id*."""

    conversation_id: str
    user_id: str


@frozen
class WhoAmI:
    """Whose connection it is, its id, where it comes from, and the rooms it is in."""

    user_id: str
    connection_id: str
    remote_addr: str
    rooms: list[str]


CONVERSATION = "conversation:"


def conversation_room(conversation_id: str) -> str:
    return f"{CONVERSATION}{conversation_id}"


def user_room(user_id: str) -> str:
    return f"user:{user_id}"


# Events


def rooms_of_members(conversation: dict[str, Any]) -> list[str]:
    """Name the room of each member's own: nobody is in the conversation's yet."""
    return [user_room(user_id) for user_id in conversation["members"]]


async def rooms_of_acquaintances(user: dict[str, Any]) -> list[str]:
    """Name the rooms of the user and of everybody in a conversation with them, each once."""
    async with reading() as session:
        acquaintances = await access.acquaintances_of(session, user["id"])
    return [user_room(id_) for id_ in (user["id"], *acquaintances)]


realtime.event("new_message", Message, room="conversation:{conversation_id}")
realtime.event("message_updated", Message, room="conversation:{conversation_id}")
realtime.event("message_deleted", DeletedMessage, room="conversation:{conversation_id}")
realtime.event("conversation_created", Conversation, room=rooms_of_members)
realtime.event("conversation_updated", Conversation, room="conversation:{id}")
realtime.event("conversation_deleted", DeletedConversation, room="conversation:{conversation_id}")
realtime.event(
    "member_added",
    AddedMember,
    # The new member isn't in the conversation's room yet, and so hears of it once.
    room=["conversation:{member.conversation_id}", "user:{member.user_id}"],
)
realtime.event("member_removed", Member, room="conversation:{conversation_id}")
realtime.event("user_updated", User, room=rooms_of_acquaintances)
realtime.event("typing", Typing, room="conversation:{conversation_id}", history=False)


# Rooms, and who is in them


@realtime.room("conversation:<conversation_id>", presence=True)
async def may_join(conversation_id: str) -> bool:
    """Let members in."""
    async with reading() as session:
        return await access.is_member(session, conversation_id, get_jwt_identity())


@realtime.on_connect
async def join_conversations(connection: Connection) -> None:
    """Put whoever connects into the rooms of their conversations."""
    conversation_ids = await _conversations_of(connection.user_id)
    for conversation_id in conversation_ids:
        await connection.join(conversation_room(conversation_id))
    # Whoever was removed between the look and the join was not put out, being not in yet.
    for conversation_id in conversation_ids - await _conversations_of(connection.user_id):
        await connection.leave(conversation_room(conversation_id))
    connection.state[PUT_INTO] = conversation_ids


PUT_INTO = "put into"
"""Under which a connection keeps the ids of the conversations that we have put it into."""


async def _conversations_of(user_id: str) -> set[str]:
    try:
        async with reading() as session:
            return await access.conversations_of(session, user_id)
    except (SQLAlchemyError, OSError) as error:
        # Better no connection, and another attempt soon, than one that hears nothing.
        raise Unavailable from error


@realtime.on("conversation_created")
async def let_in_first_members(told: Notification) -> None:
    """Put the members in, who have just been told of it in rooms of their own."""
    conversation = told.value()
    for user_id in conversation["members"]:
        await realtime.join(user_id, conversation_room(conversation["id"]))


@realtime.on("member_added")
async def let_in_new_member(told: Notification) -> None:
    """Put the new member in, after both the others and the new member have been told."""
    member = told.value()["member"]
    await realtime.join(member["user_id"], conversation_room(member["conversation_id"]))


@realtime.on("member_removed")
async def put_out_member(told: Notification) -> None:
    """Put the former member out, who has just been told with all others."""
    member = told.value()
    await realtime.leave(member["user_id"], conversation_room(member["conversation_id"]))


@realtime.on("conversation_deleted")
async def put_out_all(told: Notification) -> None:
    """Leave the room of a deleted conversation empty."""
    conversation = told.value()
    for user_id in conversation["members"]:
        await realtime.leave(user_id, conversation_room(conversation["conversation_id"]))


# When nobody could be told

# Whoever changes a conversation has all processes told who is in its room. But a process may end,
# or the broker be away, between the change and the telling: then the database knows better.


async def keep_places(app: Quart, interval: float) -> None:
    """Put places right every *interval* seconds, until cancelled."""
    while True:
        await asyncio.sleep(interval)
        try:
            async with app.app_context():
                await put_places_right()
        except (SQLAlchemyError, OSError) as error:
            log.warning("couldn't look up who is in which conversation, trying again: %r", error)


async def put_places_right() -> None:
    """Have this process's connections in the rooms of their conversations and in no others."""
    # Before the database is asked, so that nobody leaves a room who is let in meanwhile.
    rooms = {
        connection: [room for room in connection.rooms if room.startswith(CONVERSATION)]
        for connection in realtime.connections()
        if PUT_INTO in connection.state
    }
    if not rooms:
        return
    async with reading() as session:
        user_ids = {connection.user_id for connection in rooms}
        conversations = await access.conversations_of_each(session, user_ids)
    for connection, before in rooms.items():
        try:
            await _put_right(connection, before, conversations[connection.user_id])
        except Unavailable:
            log.warning("the broker is away: %r is put right later", connection)


async def _put_right(connection: Connection, rooms: list[str], conversation_ids: set[str]) -> None:
    for room in rooms:
        if room.removeprefix(CONVERSATION) not in conversation_ids:
            await connection.leave(room)
    # What a client has left by itself it isn't put into again.
    for conversation_id in conversation_ids - connection.state[PUT_INTO]:
        await connection.join(conversation_room(conversation_id))
    connection.state[PUT_INTO] = conversation_ids


# What has no route


@realtime.handler("users", "whoami")
async def whoami() -> WhoAmI:
    """Tell a client what it is connected as."""
    return WhoAmI(
        user_id=get_jwt_identity(),
        connection_id=current_connection.id,
        remote_addr=current_connection.remote_addr,
        rooms=sorted(current_connection.rooms),
    )


@realtime.handler("conversations", "typing", rate_limit="5/second")
async def show_typing(conversation_id: str) -> None:
    """Show the other members that somebody is writing.

    It happens at every few keys, so it asks no database: only members are in the room.
    """
    room = conversation_room(conversation_id)
    if room not in current_connection.rooms:
        raise Forbidden("only members have access", conversation_id=conversation_id)
    typing = Typing(conversation_id=conversation_id, user_id=get_jwt_identity())
    await realtime.notify("typing", typing, others_only=True)


# When an account goes


async def say_goodbye(user_id: str, conversation_ids: set[str]) -> None:
    """Tell the conversations that *user_id*, whose account is gone, has left, and hang up."""
    try:
        for conversation_id in sorted(conversation_ids):
            await realtime.notify("member_removed", Member(conversation_id, user_id))
    finally:
        await realtime.disconnect(user_id, reason="the account was deleted")
