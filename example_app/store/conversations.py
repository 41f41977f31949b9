"""Conversations, in the database."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Annotated

from msgspec import Meta
from sqlalchemy import delete, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.errors import ForbiddenError
from example_app.fields import Identifier
from example_app.models import Conversation, ConversationPage, DeletedConversation
from example_app.paging import PageQuery, decode_cursor, split_page
from example_app.store.access import conversation_of_member, require_users
from example_app.tables import ConversationRow, MemberRow, UtcDateTime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LAST_MICROSECOND = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
# When the conversation was created, in microseconds since EPOCH, and its id.
ConversationKey = tuple[Annotated[int, Meta(ge=0, le=LAST_MICROSECOND)], Identifier]


async def list_conversations(
    session: AsyncSession, user_id: str, page: PageQuery
) -> ConversationPage:
    """Return a page of the conversations that *user_id* is in, the oldest first."""
    query = (
        select(ConversationRow)
        .join(MemberRow, MemberRow.conversation_id == ConversationRow.id)
        .where(MemberRow.user_id == user_id)
        .order_by(ConversationRow.created_at, ConversationRow.id)
        .limit(page.limit + 1)
    )
    if page.cursor is not None:
        microseconds, id_ = decode_cursor(page.cursor, ConversationKey)
        created_at = EPOCH + microseconds * MICROSECOND
        after = tuple_(literal(created_at, UtcDateTime), literal(id_))
        query = query.where(tuple_(ConversationRow.created_at, ConversationRow.id) > after)
    rows = (await session.scalars(query)).all()
    rows, next_cursor = split_page(rows, page.limit, key=_key)
    return ConversationPage([as_conversation(row) for row in rows], next_cursor)


async def get_conversation(
    session: AsyncSession, conversation_id: str, caller: str
) -> Conversation:
    return as_conversation(await conversation_of_member(session, conversation_id, caller))


async def create_conversation(
    session: AsyncSession, title: str, creator: str, member_ids: Iterable[str]
) -> Conversation:
    """Create a conversation between *creator* and *member_ids*, who must all exist."""
    user_ids = {creator, *member_ids}
    await require_users(session, user_ids)
    row = ConversationRow(
        id=f"conv-{token_hex(8)}",
        title=title,
        created_by=creator,
        members=[MemberRow(user_id=user_id) for user_id in user_ids],
    )
    session.add(row)
    await session.flush()
    return as_conversation(row)


async def rename_conversation(
    session: AsyncSession, conversation_id: str, caller: str, title: str
) -> Conversation:
    row = await conversation_of_member(session, conversation_id, caller)
    row.title = title
    return as_conversation(row)


async def delete_conversation(
    session: AsyncSession, conversation_id: str, caller: str
) -> DeletedConversation:
    """Delete a conversation with all that is in it; only its creator may."""
    row = await conversation_of_member(session, conversation_id, caller)
    if row.created_by != caller:
        raise ForbiddenError("only the creator may do this", conversation_id=conversation_id)
    deleted = DeletedConversation(conversation_id, as_conversation(row).members)
    await session.delete(row)
    return deleted


async def delete_abandoned(session: AsyncSession, conversation_ids: Iterable[str]) -> None:
    """Delete those of *conversation_ids* that have no member left, so nobody could ever again."""
    await session.execute(
        delete(ConversationRow)
        .where(ConversationRow.id.in_(conversation_ids), ~ConversationRow.members.any())
        .execution_options(synchronize_session=False)
    )


def as_conversation(row: ConversationRow) -> Conversation:
    """Return *row* as it goes over the wire, with times to the second."""
    return Conversation(
        id=row.id,
        title=row.title,
        created_at=row.created_at.replace(microsecond=0),
        members=sorted(member.user_id for member in row.members),
    )


def _key(row: ConversationRow) -> ConversationKey:
    return (row.created_at - EPOCH) // MICROSECOND, row.id
