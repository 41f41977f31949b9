"""Conversations."""

from quart import Blueprint
from quart_jwt_extended import get_jwt_identity, jwt_required
from quart_schema import tag_blueprint, validate_querystring, validate_request, validate_response

from example_app.database import reading, writing
from example_app.errors import ForbiddenError
from example_app.models import (
    ConversationBody,
    ConversationChangeBody,
    ConversationPage,
    ConversationQuery,
    DeletedConversation,
    NewConversationBody,
)
from example_app.realtime import realtime
from example_app.store import conversations as store

conversations = Blueprint("conversations", __name__)
tag_blueprint(conversations, ["conversations"])


@conversations.get("/conversations")
@jwt_required
@validate_querystring(ConversationQuery)
@validate_response(ConversationPage)
@realtime.handler("conversations", "get_all")
async def list_conversations(query_args: ConversationQuery) -> ConversationPage:
    """List the conversations that the caller is in, the oldest first."""
    caller = get_jwt_identity()
    if query_args.user_id not in (None, caller):
        raise ForbiddenError("not your conversations", user_id=query_args.user_id)
    async with reading() as session:
        return await store.list_conversations(session, caller, query_args)


@conversations.post("/conversations")
@jwt_required
@validate_request(NewConversationBody)
@validate_response(ConversationBody, 201)
@realtime.handler("conversations", "create")
@realtime.emits("conversation_created", data="conversation")
async def create_conversation(data: NewConversationBody) -> tuple[ConversationBody, int]:
    """Start a conversation; the caller is always a member."""
    new = data.conversation
    async with writing() as session:
        conversation = await store.create_conversation(
            session, new.title, get_jwt_identity(), new.members
        )
    return ConversationBody(conversation), 201


@conversations.get("/conversations/<conversation_id>")
@jwt_required
@validate_response(ConversationBody)
@realtime.handler("conversations", "get")
async def get_conversation(conversation_id: str) -> ConversationBody:
    """Show a conversation to its members."""
    async with reading() as session:
        conversation = await store.get_conversation(session, conversation_id, get_jwt_identity())
    return ConversationBody(conversation)


@conversations.patch("/conversations/<conversation_id>")
@jwt_required
@validate_request(ConversationChangeBody)
@validate_response(ConversationBody)
@realtime.handler("conversations", "update")
@realtime.emits("conversation_updated", data="conversation")
async def update_conversation(
    conversation_id: str, data: ConversationChangeBody
) -> ConversationBody:
    """Give a conversation another title; any member may."""
    async with writing() as session:
        conversation = await store.rename_conversation(
            session, conversation_id, get_jwt_identity(), data.conversation.title
        )
    return ConversationBody(conversation)


@conversations.delete("/conversations/<conversation_id>")
@jwt_required
@validate_response(DeletedConversation)
@realtime.handler("conversations", "delete")
@realtime.emits("conversation_deleted")
async def delete_conversation(conversation_id: str) -> DeletedConversation:
    """Delete a conversation with its messages; only its creator may."""
    async with writing() as session:
        return await store.delete_conversation(session, conversation_id, get_jwt_identity())
