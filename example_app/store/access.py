"""Who may do what, asked by the other modules of this package."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.errors import ForbiddenError, NotFoundError
from example_app.tables import ConversationRow, MemberRow, UserRow


async def require_member(session: AsyncSession, conversation_id: str, user_id: str) -> None:
    """Raise NotFoundError for an unknown conversation, ForbiddenError if *user_id* isn't in it."""
    if await session.get(MemberRow, (conversation_id, user_id)) is None:
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
