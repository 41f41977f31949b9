"""Who is in a conversation."""

from quart import Blueprint
from quart_jwt_extended import get_jwt_identity, jwt_required
from quart_schema import tag_blueprint, validate_querystring, validate_request, validate_response

from example_app.database import reading, writing
from example_app.models import AddedMember, Member, MemberPage, NewMemberBody
from example_app.paging import PageQuery
from example_app.realtime import realtime
from example_app.store import members as store

members = Blueprint("members", __name__)
tag_blueprint(members, ["members"])


@members.get("/conversations/<conversation_id>/members")
@jwt_required
@validate_querystring(PageQuery)
@validate_response(MemberPage)
@realtime.handler("members", "get_all")
async def list_members(conversation_id: str, query_args: PageQuery) -> MemberPage:
    """List the members of a conversation, to its members."""
    async with reading() as session:
        return await store.list_members(session, conversation_id, get_jwt_identity(), query_args)


@members.post("/conversations/<conversation_id>/members")
@jwt_required
@validate_request(NewMemberBody)
@validate_response(AddedMember, 201)
@realtime.handler("members", "create")
@realtime.emits("member_added")
async def add_member(conversation_id: str, data: NewMemberBody) -> tuple[AddedMember, int]:
    """Add a user to a conversation; any member may."""
    async with writing() as session:
        added = await store.add_member(
            session, conversation_id, get_jwt_identity(), data.member.user_id
        )
    return added, 201


@members.delete("/conversations/<conversation_id>/members/<user_id>")
@jwt_required
@validate_response(Member)
@realtime.handler("members", "delete")
@realtime.emits("member_removed")
async def remove_member(conversation_id: str, user_id: str) -> Member:
    """Leave a conversation, or remove somebody from one's own."""
    async with writing() as session:
        return await store.remove_member(session, conversation_id, get_jwt_identity(), user_id)
