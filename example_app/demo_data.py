"""Something to look at on the first start: three users, whose passwords are their usernames."""

from sqlalchemy.ext.asyncio import AsyncSession

from example_app.passwords import hash_password
from example_app.tables import ConversationRow, MemberRow, MessageRow, UserRow

USERS = {"ana": "Ana", "luis": "Luis", "eva": "Eva"}
CONVERSATION_ID = "conv-welcome"
MESSAGES = (("ana", "Hola, Luis"), ("luis", "Hola, Ana. ¿Qué tal?"))


async def add(session: AsyncSession) -> None:
    """Add the demo data to an empty database."""
    session.add_all(
        [
            UserRow(id=id_, username=id_, name=name, password_hash=await hash_password(id_))
            for id_, name in USERS.items()
        ]
    )
    await session.flush()
    session.add(
        ConversationRow(
            id=CONVERSATION_ID,
            title="Welcome",
            created_by="ana",
            last_position=len(MESSAGES),
            members=[MemberRow(user_id=id_) for id_ in USERS],
        )
    )
    await session.flush()
    session.add_all(
        [
            MessageRow(
                id=f"msg-welcome-{position}",
                conversation_id=CONVERSATION_ID,
                position=position,
                sender_id=sender_id,
                content=content,
            )
            for position, (sender_id, content) in enumerate(MESSAGES, start=1)
        ]
    )
