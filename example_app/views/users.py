"""Users."""

from quart import Blueprint, current_app
from quart_jwt_extended import get_jwt_identity, jwt_required
from quart_schema import (
    security_scheme,
    tag_blueprint,
    validate_querystring,
    validate_request,
    validate_response,
)

from example_app.database import reading, writing
from example_app.models import (
    DeletedUser,
    NewUserBody,
    UserBody,
    UserChangeBody,
    UserPage,
)
from example_app.paging import PageQuery
from example_app.passwords import hash_password
from example_app.realtime import realtime, say_goodbye
from example_app.revocation import revocations
from example_app.store import users as store

users = Blueprint("users", __name__)
tag_blueprint(users, ["users"])
realtime.expose(users, resource="users")


@users.get("/users")
@jwt_required
@validate_querystring(PageQuery)
@validate_response(UserPage)
async def list_users(query_args: PageQuery) -> UserPage:
    """List everybody."""
    async with reading() as session:
        return await store.list_users(session, query_args)


@users.post("/users")
@security_scheme([])
@validate_request(NewUserBody)
@validate_response(UserBody, 201)
async def create_user(data: NewUserBody) -> tuple[UserBody, int]:
    """Register; nobody needs to be logged in for it."""
    password_hash = await hash_password(data.user.password)
    async with writing() as session:
        user = await store.create_user(session, data.user.username, data.user.name, password_hash)
    return UserBody(user), 201


@users.get("/users/<user_id>")
@jwt_required
@validate_response(UserBody)
async def get_user(user_id: str) -> UserBody:
    """Show one user."""
    async with reading() as session:
        return UserBody(await store.get_user(session, user_id))


@users.patch("/users/<user_id>")
@jwt_required
@validate_request(UserChangeBody)
@validate_response(UserBody)
@realtime.emits("user_updated", data="user")
async def update_user(user_id: str, data: UserChangeBody) -> UserBody:
    """Change one's own display name."""
    async with writing() as session:
        user = await store.rename_user(session, user_id, get_jwt_identity(), data.user.name)
    return UserBody(user)


@users.delete("/users/<user_id>")
@jwt_required
@validate_response(DeletedUser)
async def delete_user(user_id: str) -> DeletedUser:
    """Delete one's own account, its messages and its tokens."""
    async with writing() as session:
        conversation_ids = await store.delete_user(session, user_id, get_jwt_identity())
        await revocations().revoke_user(session, user_id)
    # Afterwards, so that this answer still reaches a caller whose connection is closed by it.
    current_app.add_background_task(say_goodbye, user_id, conversation_ids)
    return DeletedUser(user_id)
