"""Messages, in the database."""

from secrets import token_hex
from typing import Annotated

from msgspec import Meta
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.errors import ForbiddenError, NotFoundError
from example_app.models import DeletedMessage, Message, MessagePage, MessageQuery
from example_app.paging import decode_cursor, split_page
from example_app.store.access import require_member
from example_app.tables import ConversationRow, MessageRow

MessageKey = Annotated[int, Meta(ge=0, le=2**63 - 1)]


async def list_messages(
    session: AsyncSession, conversation_id: str, caller: str, page: MessageQuery
) -> MessagePage:
    """Return a page of the messages in a conversation, in the order that *page* asks for."""
    await require_member(session, conversation_id, caller)
    newest_first = page.order == "desc"
    position = MessageRow.position
    query = (
        select(MessageRow)
        .where(MessageRow.conversation_id == conversation_id)
        .order_by(position.desc() if newest_first else position)
        .limit(page.limit + 1)
    )
    if page.cursor is not None:
        last = decode_cursor(page.cursor, MessageKey)
        query = query.where(position < last if newest_first else position > last)
    rows = (await session.scalars(query)).all()
    rows, next_cursor = split_page(rows, page.limit, key=lambda row: row.position)
    return MessagePage([_message(row) for row in rows], next_cursor)


async def get_message(session: AsyncSession, message_id: str, caller: str) -> Message:
    return _message(await _find(session, message_id, caller))


async def create_message(
    session: AsyncSession, conversation_id: str, sender_id: str, content: str
) -> Message:
    """Append a message to a conversation that *sender_id* is in."""
    await require_member(session, conversation_id, sender_id)
    row = MessageRow(
        id=f"msg-{token_hex(12)}",
        conversation_id=conversation_id,
        position=await _next_position(session, conversation_id),
        sender_id=sender_id,
        content=content,
    )
    session.add(row)
    await session.flush()
    return _message(row)


async def edit_message(
    session: AsyncSession, message_id: str, caller: str, content: str
) -> Message:
    """Change a message; only its author may."""
    row = await _find_own(session, message_id, caller)
    row.content = content
    return _message(row)


async def delete_message(session: AsyncSession, message_id: str, caller: str) -> DeletedMessage:
    """Delete a message; only its author may."""
    row = await _find_own(session, message_id, caller)
    await session.delete(row)
    return DeletedMessage(message_id=row.id, conversation_id=row.conversation_id)


async def _next_position(session: AsyncSession, conversation_id: str) -> int:
    """Take the conversation's next position, and keep others from taking one until we commit.

    So messages become visible in the order of their positions: a reader who has seen one never
    finds a lower one appear behind their cursor.
    """
    position = await session.scalar(
        update(ConversationRow)
        .where(ConversationRow.id == conversation_id)
        .values(last_position=ConversationRow.last_position + 1)
        .returning(ConversationRow.last_position)
    )
    if position is None:
        raise NotFoundError("conversation", conversation_id)
    return position


async def _find(session: AsyncSession, message_id: str, caller: str) -> MessageRow:
    row = await session.get(MessageRow, message_id)
    if row is None:
        raise NotFoundError("message", message_id)
    await require_member(session, row.conversation_id, caller)
    return row


async def _find_own(session: AsyncSession, message_id: str, caller: str) -> MessageRow:
    row = await _find(session, message_id, caller)
    if row.sender_id != caller:
        raise ForbiddenError("only the author may do this", message_id=message_id)
    return row


def _message(row: MessageRow) -> Message:
    """Return *row* as it goes over the wire, with times to the second."""
    return Message(
        id=row.id,
        conversation_id=row.conversation_id,
        content=row.content,
        sender_id=row.sender_id,
        timestamp=row.timestamp.replace(microsecond=0),
    )
