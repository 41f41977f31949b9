"""All that a client may use of an app, as values: what documents and typed clients are made of."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from .protocol import HistoryPolicy
from .schemas import Schema


@frozen
class Origin:
    """The route that answers a request.

    Attributes:
        method: The HTTP method.
        rule: The URL rules, such as ``/messages/<message_id>``; several are joined by "or".
        endpoint: The endpoint's name.
        guards: The decorators on the view that are known to check who asks, outermost first.
        decorators: Other decorators of the app's own on it, of which it isn't known what they do.

    """

    method: str
    rule: str
    endpoint: str
    guards: tuple[str, ...] = ()
    decorators: tuple[str, ...] = ()


@frozen
class Operation:
    """What one resource does when it is asked for one action.

    Attributes:
        resource: The resource's name.
        action: The action's name.
        request: What the payload must be, without the action.
        response: What the answer's payload is.
        summary: The first paragraph of the function's docstring.
        description: The rest of it.
        login: Whether the connection must be logged in.
        rate_limit: How often one user may ask, in the notation of ``limits``.
        timeout: Within how many seconds it is answered; None for as long as any other.
        origin: The route that answers, None for a function without one.

    """

    resource: str
    action: str
    request: Schema
    response: Schema
    summary: str = ""
    description: str = ""
    login: bool = True
    rate_limit: str | None = None
    timeout: float | None = None
    origin: Origin | None = None

    @property
    def name(self) -> str:
        """The name in tables and messages: ``messages.create``."""
        return f"{self.resource}.{self.action}"


@frozen
class EventContract:
    """An event that clients are told.

    Attributes:
        name: Its type.
        schema: What its data is.
        rooms: Templates of the rooms that it goes to, such as ``conversation:{conversation_id}``.
        chosen_by: Functions that say which rooms it goes to.
        everyone: Whether it may go to everyone who is logged in.
        history: Whether rooms with a history keep it.
        emitted_by: The functions that emit it; an app may tell it from elsewhere too.

    """

    name: str
    schema: Schema
    rooms: tuple[str, ...] = ()
    chosen_by: tuple[str, ...] = ()
    everyone: bool = False
    history: bool = True
    emitted_by: tuple[str, ...] = ()


@frozen
class RoomContract:
    """Rooms that clients may ask to join.

    Attributes:
        pattern: Such as ``conversation:<conversation_id>``.
        variables: What the variables in it may be, by name.
        presence: Whether members are told who is there.
        history: What is kept for those who return.
        summary: The first paragraph of the docstring of the function that lets members in.

    """

    pattern: str
    variables: Mapping[str, Schema]
    presence: bool
    history: HistoryPolicy
    summary: str = ""


@frozen
class Contract:
    """All that a client may use of one app.

    Attributes:
        title: What the app is called.
        version: Its version.
        description: What it says of itself.
        url: The websocket's path.
        operations: What may be asked, in the order of the names.
        events: What is told, in the order of the names.
        rooms: What may be joined, the most literal pattern first.
        schemas: The schemas that the others refer to, by name.
        tokens: Where tokens are looked for, besides the subprotocol: ``headers``, ``cookies``,
            ``query_string``, as quart-jwt-extended calls them.
        token_names: What the header, the cookie and the query argument are called, by these.
        default_history: What rooms keep that say nothing of it themselves.
        max_message_size: How many bytes a message may have.
        rate_limit: How many messages a connection may send, in the notation of ``limits``.

    """

    title: str
    version: str
    description: str
    url: str
    operations: tuple[Operation, ...]
    events: tuple[EventContract, ...]
    rooms: tuple[RoomContract, ...]
    schemas: Mapping[str, Schema]
    tokens: tuple[str, ...]
    token_names: Mapping[str, str]
    default_history: HistoryPolicy
    max_message_size: int
    rate_limit: str | None
