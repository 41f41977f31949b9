"""Who may do what, and who is where."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.errors import ForbiddenError, NotFoundError
from example_app.tables import ConversationRow, MemberRow, UserRow


async def is_member(session: AsyncSession, conversation_id: str, user_id: str) -> bool:
    return await session.get(MemberRow, (conversation_id, user_id)) is not None


async def conversations_of(session: AsyncSession, user_id: str) -> set[str]:
    """Return the ids of the conversations that *user_id* is in."""
    mine = select(MemberRow.conversation_id).where(MemberRow.user_id == user_id)
    return set(await session.scalars(mine))


async def conversations_of_each(session: AsyncSession, user_ids: set[str]) -> dict[str, set[str]]:
    """Return the ids of the conversations that each of *user_ids* is in."""
    found: dict[str, set[str]] = {user_id: set() for user_id in user_ids}
    rows = await session.execute(
        select(MemberRow.user_id, MemberRow.conversation_id).where(MemberRow.user_id.in_(user_ids))
    )
    for user_id, conversation_id in rows:
        found[user_id].add(conversation_id)
    return found


async def acquaintances_of(session: AsyncSession, user_id: str) -> set[str]:
    """Return the ids of the others who are in some conversation with *user_id*."""
    mine = select(MemberRow.conversation_id).where(MemberRow.user_id == user_id)
    ours = select(MemberRow.user_id).where(MemberRow.conversation_id.in_(mine))
    return set(await session.scalars(ours)) - {user_id}


async def require_member(session: AsyncSession, conversation_id: str, user_id: str) -> None:
    """Raise NotFoundError for an unknown conversation, ForbiddenError if *user_id* isn't in it."""
    if not await is_member(session, conversation_id, user_id):
        if await session.get(ConversationRow, conversation_id) is None:
            raise NotFoundError("conversation", conversation_id)
        raise ForbiddenError("only members have access", conversation_id=conversation_id)


async def conversation_of_member(
    session: AsyncSession, conversation_id: str, user_id: str, *, lock: bool = False
) -> ConversationRow:
    """Return the conversation, with its members; raises what `require_member` raises.

    With *lock*, until the end of the transaction nobody else locks or changes its row.
    """
    conversation = await session.get(
        ConversationRow, conversation_id, with_for_update=True if lock else None
    )
    if conversation is None:
        raise NotFoundError("conversation", conversation_id)
    if user_id not in (member.user_id for member in conversation.members):
        raise ForbiddenError("only members have access", conversation_id=conversation_id)
    return conversation


async def require_users(session: AsyncSession, user_ids: set[str]) -> None:
    """Raise NotFoundError for the first of *user_ids* that nobody has."""
    known = await session.scalars(select(UserRow.id).where(UserRow.id.in_(user_ids)))
    for user_id in sorted(user_ids - set(known)):
        raise NotFoundError("user", user_id)
