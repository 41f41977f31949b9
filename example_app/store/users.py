"""Users, in the database."""

from secrets import token_hex

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.errors import ConflictError, ForbiddenError, NotFoundError
from example_app.fields import Identifier
from example_app.models import User, UserPage
from example_app.paging import PageQuery, decode_cursor, split_page
from example_app.store.access import conversations_of
from example_app.store.conversations import delete_abandoned
from example_app.tables import UserRow


async def find_login(session: AsyncSession, username: str) -> tuple[str, str] | None:
    """Return the id and the password hash of the user called *username*, if there is one."""
    row = await session.scalar(select(UserRow).where(UserRow.username == username))
    return None if row is None else (row.id, row.password_hash)


async def list_users(session: AsyncSession, page: PageQuery) -> UserPage:
    """Return a page of all users, by id."""
    query = select(UserRow).order_by(UserRow.id).limit(page.limit + 1)
    if page.cursor is not None:
        query = query.where(UserRow.id > decode_cursor(page.cursor, Identifier))
    rows = (await session.scalars(query)).all()
    rows, next_cursor = split_page(rows, page.limit, key=lambda row: row.id)
    return UserPage([_user(row) for row in rows], next_cursor)


async def get_user(session: AsyncSession, user_id: str) -> User:
    return _user(await _find(session, user_id))


async def create_user(session: AsyncSession, username: str, name: str, password_hash: str) -> User:
    """Register a user; raises ConflictError if the username is taken."""
    row = UserRow(
        id=f"user-{token_hex(8)}", username=username, name=name, password_hash=password_hash
    )
    session.add(row)
    try:
        await session.flush()
    except IntegrityError:
        raise ConflictError("this username is taken", username=username) from None
    return _user(row)


async def rename_user(session: AsyncSession, user_id: str, caller: str, name: str) -> User:
    """Change the display name of *user_id*, who must be the caller."""
    row = await _find_own(session, user_id, caller)
    row.name = name
    return _user(row)


async def delete_user(session: AsyncSession, user_id: str, caller: str) -> set[str]:
    """Delete *user_id*, who must be the caller, with their messages and memberships.

    Returns the ids of the conversations they were in.
    """
    row = await _find_own(session, user_id, caller)
    conversation_ids = await conversations_of(session, user_id)
    await session.delete(row)
    await session.flush()
    await delete_abandoned(session, conversation_ids)
    return conversation_ids


async def _find(session: AsyncSession, user_id: str) -> UserRow:
    row = await session.get(UserRow, user_id)
    if row is None:
        raise NotFoundError("user", user_id)
    return row


async def _find_own(session: AsyncSession, user_id: str, caller: str) -> UserRow:
    row = await _find(session, user_id)
    if user_id != caller:
        raise ForbiddenError("only the user concerned may do this", user_id=user_id)
    return row


def _user(row: UserRow) -> User:
    return User(id=row.id, username=row.username, name=row.name)
