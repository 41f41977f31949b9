"""Who is in which conversation, in the database."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.errors import ConflictError, ForbiddenError, NotFoundError
from example_app.fields import Identifier
from example_app.models import AddedMember, Member, MemberPage
from example_app.paging import PageQuery, decode_cursor, split_page
from example_app.store.access import conversation_of_member, require_member, require_users
from example_app.store.conversations import as_conversation, delete_abandoned
from example_app.tables import MemberRow


async def list_members(
    session: AsyncSession, conversation_id: str, caller: str, page: PageQuery
) -> MemberPage:
    """Return a page of the members of a conversation, by their ids."""
    await require_member(session, conversation_id, caller)
    query = (
        select(MemberRow)
        .where(MemberRow.conversation_id == conversation_id)
        .order_by(MemberRow.user_id)
        .limit(page.limit + 1)
    )
    if page.cursor is not None:
        query = query.where(MemberRow.user_id > decode_cursor(page.cursor, Identifier))
    rows = (await session.scalars(query)).all()
    rows, next_cursor = split_page(rows, page.limit, key=lambda row: row.user_id)
    return MemberPage([_member(row) for row in rows], next_cursor)


async def add_member(
    session: AsyncSession, conversation_id: str, caller: str, user_id: str
) -> AddedMember:
    """Add *user_id* to a conversation that the caller is in."""
    conversation = await conversation_of_member(session, conversation_id, caller)
    await require_users(session, {user_id})
    if any(member.user_id == user_id for member in conversation.members):
        raise ConflictError("already a member", conversation_id=conversation_id, user_id=user_id)
    row = MemberRow(conversation_id=conversation_id, user_id=user_id)
    conversation.members.append(row)
    return AddedMember(_member(row), as_conversation(conversation))


async def remove_member(
    session: AsyncSession, conversation_id: str, caller: str, user_id: str
) -> Member:
    """Remove *user_id*: the caller, or anybody if the caller created the conversation.

    A conversation goes with its last member.
    """
    # Locked, or two last members could each leave because the other is still there.
    conversation = await conversation_of_member(session, conversation_id, caller, lock=True)
    if caller not in (user_id, conversation.created_by):
        raise ForbiddenError("only the creator may remove others", conversation_id=conversation_id)
    row = await session.get(MemberRow, (conversation_id, user_id))
    if row is None:
        raise NotFoundError("user", user_id)
    removed = _member(row)
    await session.delete(row)
    await session.flush()
    await delete_abandoned(session, [conversation_id])
    return removed


def _member(row: MemberRow) -> Member:
    return Member(conversation_id=row.conversation_id, user_id=row.user_id)
