"""Events from outside the app: a worker, a cron job, a Celery task.

::

    from quart_realtime.emitter import SyncEmitter

    emitter = SyncEmitter("redis://localhost:6379/0")
    emitter.notify("report_ready", {"report_id": 7}, room="user:42")

The URL is the app's own ``QUART_REALTIME_BROKER_URL``. No app runs here, and neither handlers nor
listeners do. Needs the extra: ``pip install "quart-realtime[redis]"``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from .broker import Once
from .broker_url import BrokerUrl, Kind, parse_broker_url
from .emissions import checked_rooms, rooms_of
from .errors import SetupError
from .models import dump, dump_as, to_builtins
from .protocol import Event, HistoryPolicy, check_event_name, check_key, new_event_id
from .registry import HistoryPolicies, Registry

try:
    from .redis_broker import COMMANDS, COMMANDS_KEPT, Publication, names_of, publication
    from .redis_scripts import PUBLISH
    from .redis_servers import Servers, connect
    from .redis_sync import SyncServers
except ImportError as error:
    raise ImportError(
        'the emitter needs redis-py 6.4 or newer: pip install "quart-realtime[redis]"'
    ) from error

__all__ = ["Emitter", "SyncEmitter"]

KEY_TTL = 120.0
"""For how many seconds what was sent under a key is not sent again."""
DEFAULT_HISTORY = HistoryPolicy(100, 300)
"""What rooms keep where the app sets nothing else."""


class Declarations(Protocol):
    """Where events and rooms are declared: a :class:`~quart_realtime.Realtime`."""

    @property
    def declarations(self) -> Registry:
        """What was declared."""


class _Verb(Protocol):
    """Where events go, as far as making them needs to know."""

    publish: Any


S = TypeVar("S", bound=_Verb)


class _Emitting(Generic[S]):
    """Makes what is published, checked against what the app declared as far as that is known."""

    _connect: Callable[[BrokerUrl], S]

    def __init__(
        self,
        url: str,
        *,
        realtime: Declarations | None = None,
        history: HistoryPolicy = DEFAULT_HISTORY,
    ) -> None:
        parsed = _shared(url)
        self._names = names_of(parsed)
        self._registry = Registry() if realtime is None else realtime.declarations
        self._histories = HistoryPolicies(self._registry, history)
        self._servers: S = self._connect(parsed)

    async def _publications(
        self, name: str, data: Any, room: str | list[str] | None, key: str | None
    ) -> list[Publication]:
        """Return how the event *name* is published, for each room that it goes to."""
        check_event_name(name)
        check_key(key)
        declared = self._registry.events.get(name)
        encoded = dump_as(None if declared is None else declared.schema, data)
        if room is None:
            self._registry.check_spelling(name)
            source = self._registry.rooms_of_event(name, None)
            rooms = await rooms_of(source, to_builtins(data), {})
        else:
            rooms = checked_rooms([room] if isinstance(room, str) else room)
        event_id = new_event_id()
        once = None if key is None else Once(key, KEY_TTL)
        kept = declared is None or declared.history
        return [
            self._publication(
                Event(name, encoded, each, event_id),
                self._histories.of(each) if kept else HistoryPolicy(0, 0),
                once,
            )
            for each in rooms
        ]

    def _disconnection(self, user_id: str, reason: str) -> Publication:
        """Return what has every process send a user away."""
        return self._command(do="disconnect", user_id=str(user_id), reason=reason)

    def _rechecking(self, user_id: str) -> Publication:
        """Return what has every process look at a user's rights again."""
        return self._command(do="recheck", user_id=str(user_id))

    def _command(self, **command: str) -> Publication:
        event = Event("command", dump({**command, "node": ""}), COMMANDS)
        return self._publication(event, COMMANDS_KEPT)

    def _publication(
        self, event: Event, history: HistoryPolicy, once: Once | None = None
    ) -> Publication:
        return publication(self._names, self._servers.publish, event, history, once)


class Emitter(_Emitting[Servers]):
    """Sends events to an app's clients, from an event loop of another process.

    It may be used as ``async with``, which closes it at the end; all use is in one event loop.

    Args:
        url: The app's ``QUART_REALTIME_BROKER_URL``.
        realtime: The app's :class:`~quart_realtime.Realtime`, if it can be imported: events are
            checked against what is declared there, and go to the rooms declared there.
        history: What rooms keep without being told; the app's ``QUART_REALTIME_HISTORY_SIZE`` and
            ``_TTL``, where it sets them.

    Raises:
        SetupError: the URL isn't one of a broker that processes can share.
    """

    _connect = staticmethod(connect)

    async def notify(
        self,
        event: str,
        data: Any,
        *,
        room: str | list[str] | None = None,
        key: str | None = None,
    ) -> None:
        """Send an event.

        Args:
            event: The event's type.
            data: What it carries: anything that has a JSON form.
            room: A room or several, as they are; the event's declared room by default, or else
                everyone who is logged in. ``user:`` and an id is one user.
            key: 1 to 64 characters. What is sent to a room again under the same key within two
                minutes is not sent, so that a task may be tried again.

        Raises:
            InvalidPayload: the data isn't what is declared for the event.
            EmissionError: that can't name a room, or the declared room's template can't be
                filled from the data.
            ValueError: that can't name an event, or be a key; or ``realtime`` knows nothing of it,
                no room is said, and its name is close to another's.
            TypeError: the data has no JSON form.
            BrokerUnavailable: it isn't known to have gone out, within 2 seconds for each room.
        """
        for each in await self._publications(event, data, room, key):
            await self._publish(each)

    async def disconnect(self, user_id: str, *, reason: str = "disconnected by the app") -> None:
        """Close all connections of a user, on every process; they don't come back by themselves.

        Raises:
            BrokerUnavailable: it isn't known to have gone out.
        """
        await self._publish(self._disconnection(user_id, reason))

    async def recheck(self, user_id: str) -> None:
        """Have a change of what a user may do take effect, as ``realtime.recheck`` does.

        Raises:
            BrokerUnavailable: it isn't known to have gone out.
        """
        await self._publish(self._rechecking(user_id))

    async def _publish(self, each: Publication) -> None:
        await self._servers.run(PUBLISH, each.keys, *each.arguments, again=each.again)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._servers.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class SyncEmitter(_Emitting[SyncServers]):
    """Sends events to an app's clients, from code without an event loop.

    It is as :class:`Emitter`, but for waiting where it is called, for 4 seconds at most where a
    cluster is away. Threads may share one, and one that was made before a fork may be used after
    it.
    """

    _connect = SyncServers

    def notify(
        self,
        event: str,
        data: Any,
        *,
        room: str | list[str] | None = None,
        key: str | None = None,
    ) -> None:
        """Send an event, as :meth:`Emitter.notify` does."""
        for each in _at_once(self._publications(event, data, room, key)):
            self._publish(each)

    def disconnect(self, user_id: str, *, reason: str = "disconnected by the app") -> None:
        """Close all connections of a user, as :meth:`Emitter.disconnect` does."""
        self._publish(self._disconnection(user_id, reason))

    def recheck(self, user_id: str) -> None:
        """Have a change of what a user may do take effect, as :meth:`Emitter.recheck` does."""
        self._publish(self._rechecking(user_id))

    def _publish(self, each: Publication) -> None:
        self._servers.run(PUBLISH, each.keys, *each.arguments, again=each.again)

    def close(self) -> None:
        """Let go of all connections."""
        self._servers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _shared(url: str) -> BrokerUrl:
    try:
        parsed = parse_broker_url(url)
    except ValueError as error:
        raise SetupError(f"The emitter's URL must be {error}.") from None
    if parsed.kind is Kind.MEMORY:
        raise SetupError(
            "A broker in memory can't be reached from another process: give the app's "
            'QUART_REALTIME_BROKER_URL, such as "redis://localhost:6379/0".'
        )
    return parsed


def _at_once(work: Coroutine[Any, Any, list[Publication]]) -> list[Publication]:
    """Return the result of *work*, which waits for nothing but an app's own coroutines."""
    try:
        work.send(None)
    except StopIteration as done:
        made: list[Publication] = done.value
        return made
    work.close()
    raise TypeError(
        "the event's room is told by an asynchronous function: use Emitter, or pass room="
    )
