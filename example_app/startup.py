"""What happens before the first request and after the last."""

import asyncio
import contextlib
import logging
import secrets

from quart import Quart
from sqlalchemy.ext.asyncio import AsyncSession

from example_app import demo_data
from example_app.database import Database
from example_app.realtime import keep_places
from example_app.revocation import Revocations
from example_app.tables import SettingRow

log = logging.getLogger(__name__)


def init_app(app: Quart) -> None:
    """Prepare the database when *app* starts serving, and let go of it when it stops.

    Any number of workers may start at once: the first one creates what is missing.
    """
    database: Database = app.extensions["CHAT_DATABASE"]
    revocations: Revocations = app.extensions["CHAT_REVOCATIONS"]
    keeping_up: list[asyncio.Task[None]] = []

    @app.before_serving
    async def start() -> None:
        async with database.starting() as session:
            await _settle_secret(app, session)
            if app.config["DEMO_DATA"]:
                await _add_demo_data(session)
            await revocations.load(session)
        interval = app.config["REVOCATION_REFRESH"]
        keeping_up.append(asyncio.create_task(revocations.keep_up(database, interval)))
        keeping_up.append(asyncio.create_task(keep_places(app, interval)))

    @app.after_serving
    async def stop() -> None:
        while keeping_up:
            task = keeping_up.pop()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await database.close()


async def _settle_secret(app: Quart, session: AsyncSession) -> None:
    """Give *app* the signing key that all workers share, unless one is configured."""
    if app.config["JWT_SECRET_KEY"] is not None:
        return
    log.warning(
        "JWT_SECRET_KEY isn't set: using the one in the database, which everybody who can read "
        "the database can sign tokens with"
    )
    setting = await session.get(SettingRow, "jwt_secret_key")
    if setting is None:
        setting = SettingRow(key="jwt_secret_key", value=secrets.token_urlsafe(48))
        session.add(setting)
    app.config["JWT_SECRET_KEY"] = setting.value


async def _add_demo_data(session: AsyncSession) -> None:
    """Add the demo data once in a database's life, so that what is deleted stays deleted."""
    if await session.get(SettingRow, "demo_data") is None:
        session.add(SettingRow(key="demo_data", value="added"))
        await demo_data.add(session)
