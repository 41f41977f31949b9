"""Which tokens are not accepted any more.

The JWT extension asks with a plain function, on every request, so the answer has to be in memory.
The database holds the same for all workers and for the next start. What this worker revokes is
revoked here at once; other workers see it when they next look, `REVOCATION_REFRESH` seconds later
at most.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from quart import current_app
from sqlalchemy import delete, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.database import Database
from example_app.tables import RevokedTokenRow, utc_now

log = logging.getLogger(__name__)


class Revocations:
    """The revoked tokens, in memory and in the database."""

    def __init__(self) -> None:
        self._expiries: dict[str, datetime | None] = {}

    def covers(self, token: dict[str, Any]) -> bool:
        """Tell whether *token*, a JWT's claims, is revoked, or every token of its user."""
        return token["jti"] in self._expiries or token["identity"] in self._expiries

    async def revoke_token(self, session: AsyncSession, token: dict[str, Any]) -> None:
        """Refuse *token*, a JWT's claims, from now on."""
        expires_at = None
        if "exp" in token:
            # One host's clock may be so far behind, and give tokens so much longer.
            leeway = timedelta(seconds=2 * current_app.config["JWT_DECODE_LEEWAY"])
            expires_at = datetime.fromtimestamp(token["exp"], UTC) + leeway
        await self._revoke(session, token["jti"], expires_at)

    async def revoke_user(self, session: AsyncSession, user_id: str) -> None:
        """Refuse every token of *user_id* for good; the id must never be given to anybody else."""
        await self._revoke(session, user_id, None)

    async def load(self, session: AsyncSession) -> None:
        """Learn what other workers have revoked, and forget what has expired."""
        now = utc_now()
        rows = await session.execute(
            select(RevokedTokenRow.jti, RevokedTokenRow.expires_at).where(
                or_(RevokedTokenRow.expires_at.is_(None), RevokedTokenRow.expires_at > now)
            )
        )
        # Added to, not replaced: a token may have been revoked while the query ran.
        self._expiries.update((jti, expires_at) for jti, expires_at in rows)
        self._expiries = {
            jti: expires_at
            for jti, expires_at in self._expiries.items()
            if expires_at is None or expires_at > now
        }

    async def keep_up(self, database: Database, interval: float) -> None:
        """Load again every *interval* seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            try:
                async with database.reading() as session:
                    await self.load(session)
            except (SQLAlchemyError, OSError):
                log.warning("couldn't look up revoked tokens, trying again", exc_info=True)

    async def _revoke(self, session: AsyncSession, jti: str, expires_at: datetime | None) -> None:
        await session.execute(
            delete(RevokedTokenRow).where(RevokedTokenRow.expires_at <= utc_now())
        )
        await session.merge(RevokedTokenRow(jti=jti, expires_at=expires_at))
        self._expiries[jti] = expires_at


def revocations() -> Revocations:
    """Return the current app's revocations."""
    return current_app.extensions["CHAT_REVOCATIONS"]
