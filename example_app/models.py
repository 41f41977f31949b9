"""What goes over the wire, as attrs classes: request bodies, query strings and answers."""

from datetime import datetime
from typing import Annotated, Literal

from attrs import field, frozen
from msgspec import Meta

from example_app.fields import (
    Content,
    Credential,
    DisplayName,
    Identifier,
    NewPassword,
    Title,
    Username,
)
from example_app.paging import PageQuery

# Users and tokens


@frozen
class User:
    """A user as everybody may see them."""

    id: str
    username: str
    name: str


@frozen
class UserBody:
    """One user."""

    user: User


@frozen
class UserPage:
    """A page of users; without `next_cursor` it's the last."""

    users: list[User]
    next_cursor: str | None


@frozen
class NewUser:
    """Somebody who registers."""

    username: Username
    name: DisplayName
    password: NewPassword = field(repr=False)


@frozen
class NewUserBody:
    """Body of a registration."""

    user: NewUser


@frozen
class UserChange:
    """What users may change about themselves."""

    name: DisplayName


@frozen
class UserChangeBody:
    """Body of a change to a user."""

    user: UserChange


@frozen
class DeletedUser:
    """The user who is gone."""

    user_id: str


@frozen
class LoginBody:
    """A username and its password."""

    username: Credential
    password: Credential = field(repr=False)


@frozen
class LogoutBody:
    """Optional body of a logout: a refresh token to revoke as well."""

    refresh_token: str | None = field(default=None, repr=False)


@frozen
class AccessToken:
    """A fresh access token."""

    access_token: str = field(repr=False)


@frozen
class TokenPair:
    """An access token, and a refresh token to get the next one with."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


# Conversations


@frozen
class Conversation:
    """A conversation; *members* are the ids of the users who take part."""

    id: str
    title: str
    created_at: datetime
    members: list[str]


@frozen
class ConversationBody:
    """One conversation."""

    conversation: Conversation


@frozen
class ConversationPage:
    """A page of conversations; without `next_cursor` it's the last."""

    conversations: list[Conversation]
    next_cursor: str | None


@frozen
class ConversationQuery(PageQuery):
    """The conversations of *user_id*, which can only be the caller."""

    user_id: Identifier | None = None


@frozen
class NewConversation:
    """A conversation to create; its creator is a member in any case."""

    title: Title
    members: Annotated[list[Identifier], Meta(max_length=100)] = field(factory=list)


@frozen
class NewConversationBody:
    """Body of the creation of a conversation."""

    conversation: NewConversation


@frozen
class ConversationChange:
    """What members may change about their conversation."""

    title: Title


@frozen
class ConversationChangeBody:
    """Body of a change to a conversation."""

    conversation: ConversationChange


@frozen
class DeletedConversation:
    """The conversation that is gone, and the ids of those who were in it."""

    conversation_id: str
    members: list[str]


# Members


@frozen
class Member:
    """*user_id* takes part in *conversation_id*."""

    conversation_id: str
    user_id: str


@frozen
class MemberPage:
    """A page of members; without `next_cursor` it's the last."""

    members: list[Member]
    next_cursor: str | None


@frozen
class NewMember:
    """A user to add."""

    user_id: Identifier


@frozen
class NewMemberBody:
    """Body of the addition of a member."""

    member: NewMember


@frozen
class AddedMember:
    """The new member, and the conversation as it is now."""

    member: Member
    conversation: Conversation


# Messages


@frozen
class Message:
    """A message."""

    id: str
    conversation_id: str
    content: str
    sender_id: str
    timestamp: datetime


@frozen
class MessageBody:
    """One message."""

    message: Message


@frozen
class MessagePage:
    """A page of messages; without `next_cursor` it's the last."""

    messages: list[Message]
    next_cursor: str | None


@frozen
class MessageQuery(PageQuery):
    """Messages from the oldest on, or, with ``desc``, from the newest back."""

    order: Literal["asc", "desc"] = "asc"


@frozen
class NewMessage:
    """A message to send. Conversation and sender are known already; if given, they must agree."""

    content: Content
    conversation_id: Identifier | None = None
    sender_id: Identifier | None = None


@frozen
class NewMessageBody:
    """Body of the creation of a message."""

    message: NewMessage


@frozen
class MessageChange:
    """What authors may change about their message."""

    content: Content


@frozen
class MessageChangeBody:
    """Body of a change to a message."""

    message: MessageChange


@frozen
class DeletedMessage:
    """The message that is gone, and where it was."""

    message_id: str
    conversation_id: str
