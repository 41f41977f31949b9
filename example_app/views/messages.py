"""Messages."""

from quart import Blueprint
from quart_jwt_extended import get_jwt_identity, jwt_required
from quart_schema import tag_blueprint, validate_querystring, validate_request, validate_response

from example_app.database import reading, writing
from example_app.errors import BadRequestError, ForbiddenError
from example_app.models import (
    DeletedMessage,
    MessageBody,
    MessageChangeBody,
    MessagePage,
    MessageQuery,
    NewMessageBody,
)
from example_app.realtime import realtime
from example_app.store import messages as store

messages = Blueprint("messages", __name__)
tag_blueprint(messages, ["messages"])


@messages.get("/conversations/<conversation_id>/messages")
@jwt_required
@validate_querystring(MessageQuery)
@validate_response(MessagePage)
@realtime.handler("messages", "get_all")
async def list_messages(conversation_id: str, query_args: MessageQuery) -> MessagePage:
    """List the messages of a conversation, to its members."""
    async with reading() as session:
        return await store.list_messages(session, conversation_id, get_jwt_identity(), query_args)


@messages.post("/conversations/<conversation_id>/messages")
@jwt_required
@validate_request(NewMessageBody)
@validate_response(MessageBody, 201)
@realtime.handler("messages", "create")
@realtime.emits("new_message", data="message")
async def create_message(conversation_id: str, data: NewMessageBody) -> tuple[MessageBody, int]:
    """Write into a conversation; its members may, as themselves."""
    caller = get_jwt_identity()
    if data.message.conversation_id not in (None, conversation_id):
        raise BadRequestError(
            "the body names another conversation than the URL",
            conversation_id=data.message.conversation_id,
        )
    if data.message.sender_id not in (None, caller):
        raise ForbiddenError("not your name to write in", sender_id=data.message.sender_id)
    async with writing() as session:
        message = await store.create_message(session, conversation_id, caller, data.message.content)
    return MessageBody(message), 201


@messages.get("/messages/<message_id>")
@jwt_required
@validate_response(MessageBody)
@realtime.handler("messages", "get")
async def get_message(message_id: str) -> MessageBody:
    """Show one message to the members of its conversation."""
    async with reading() as session:
        return MessageBody(await store.get_message(session, message_id, get_jwt_identity()))


@messages.patch("/messages/<message_id>")
@jwt_required
@validate_request(MessageChangeBody)
@validate_response(MessageBody)
@realtime.handler("messages", "update")
@realtime.emits("message_updated", data="message")
async def update_message(message_id: str, data: MessageChangeBody) -> MessageBody:
    """Change the text of one's own message."""
    async with writing() as session:
        message = await store.edit_message(
            session, message_id, get_jwt_identity(), data.message.content
        )
    return MessageBody(message)


@messages.delete("/messages/<message_id>")
@jwt_required
@validate_response(DeletedMessage)
@realtime.handler("messages", "delete")
@realtime.emits("message_deleted")
async def delete_message(message_id: str) -> DeletedMessage:
    """Delete one's own message."""
    async with writing() as session:
        return await store.delete_message(session, message_id, get_jwt_identity())
