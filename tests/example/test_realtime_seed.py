"""The frames of the document that this project starts from, sent and received to the letter."""

import json
from datetime import UTC, datetime

import pytest

from example_app.tables import ConversationRow, MemberRow, UserRow
from quart_realtime.testing import realtime_client


@pytest.fixture
async def seed(app):
    """Add the users and the conversations of the seed's examples."""
    async with app.extensions["CHAT_DATABASE"].writing() as session:
        for user_id in ("user123", "user789"):
            session.add(UserRow(id=user_id, username=user_id, name=user_id, password_hash=""))
        await session.flush()
        for number, (conversation_id, minute) in enumerate([("conv123", 34), ("conv456", 45)]):
            session.add(
                ConversationRow(
                    id=conversation_id,
                    title=f"Conversación {number + 1}",
                    created_at=datetime(2025, 5, 20, 12, minute, 56 - 56 * number, tzinfo=UTC),
                    members=[MemberRow(user_id="user123"), MemberRow(user_id="user789")],
                )
            )


@pytest.mark.usefixtures("seed")
async def test_the_seeds_list_of_conversations_is_answered_as_the_seed_says(app):
    async with realtime_client(app, user_id="user123") as socket:
        await socket.send(
            """
            {
              "type": "request",
              "id": "msg-123456789",
              "resource": "conversations",
              "payload": {
                "action": "get_all",
                "user_id": "user123"
              }
            }
            """
        )
        answer = await socket.receive()
    assert (answer["type"], answer["id"]) == ("response", "msg-123456789")
    seen = [
        {key: conversation[key] for key in ("id", "title", "created_at")}
        for conversation in answer["payload"]["conversations"]
    ]
    assert seen == json.loads(
        """
        [
          {
            "id": "conv123",
            "title": "Conversación 1",
            "created_at": "2025-05-20T12:34:56Z"
          },
          {
            "id": "conv456",
            "title": "Conversación 2",
            "created_at": "2025-05-20T12:45:00Z"
          }
        ]
        """
    )


@pytest.mark.usefixtures("seed")
async def test_the_seeds_new_message_is_written_and_told_as_the_seed_says(app):
    async with (
        realtime_client(app, user_id="user789") as writer,
        realtime_client(app, user_id="user123") as reader,
    ):
        await writer.send(
            """
            {
              "type": "request",
              "id": "msg-987",
              "resource": "messages",
              "payload": {
                "action": "create",
                "message": {
                  "conversation_id": "conv123",
                  "content": "Hola mundo",
                  "sender_id": "user789"
                }
              }
            }
            """
        )
        answer = await writer.receive("response")
        event = await reader.receive("event")
    message = answer["payload"]["message"]
    assert answer["id"] == "msg-987"
    assert event["id"].startswith("evt-")
    assert event["payload"] == {"type": "new_message", "data": message}
    assert message == {
        "id": message["id"],
        "conversation_id": "conv123",
        "content": "Hola mundo",
        "sender_id": "user789",
        "timestamp": message["timestamp"],
    }


@pytest.mark.usefixtures("seed")
async def test_the_seeds_unknown_conversation_is_an_error_as_the_seed_says(app):
    async with realtime_client(app, user_id="user123") as socket:
        frame = {
            "type": "request",
            "id": "msg-123456789",
            "resource": "conversations",
            "payload": {"action": "get", "conversation_id": "conv999"},
        }
        await socket.send(frame)
        answer = await socket.receive()
    assert answer == {
        "type": "error",
        "id": "msg-123456789",
        "payload": {
            "code": "not_found",
            "message": "conversation not found",
            "details": {"conversation_id": "conv999"},
        },
    }
