"""Passwords, hashed with scrypt in a thread, since that takes tens of milliseconds by intent."""

import asyncio
import secrets

from werkzeug.security import check_password_hash, generate_password_hash

# Compared with where there is no such user, so that an answer takes as long as for a real one
# and doesn't give away who has an account.
_NOBODYS_HASH = generate_password_hash(secrets.token_hex())


async def hash_password(password: str) -> str:
    """Return what to store instead of *password*."""
    return await asyncio.to_thread(generate_password_hash, password)


async def is_password(password: str, stored_hash: str | None) -> bool:
    """Tell whether *stored_hash* was made from *password*; None means there is no such user."""
    matches = await asyncio.to_thread(check_password_hash, stored_hash or _NOBODYS_HASH, password)
    return matches and stored_hash is not None
